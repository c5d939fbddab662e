"""The report's arithmetic on made-up rows."""

import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import pairs
import report
from experiments import ALL, BY_NAME, ECHO, REVERSE_32

MACHINE = {
    "cpu": "a CPU",
    "cores": 2,
    "memory_gib": 8.0,
    "os": "an OS",
    "python": "3.11.0",
    "device": "cpu",
    "versions": {"jax": "1.0"},
    "runs": {
        "steps": {"command": "scripts/bench", "commit": "abc", "date": "2026-01-01", "threads": 2}
    },
}


def row(contestant, value, group="steps", experiment="echo", replicas=1, round_=1, metric="step"):
    return group, experiment, str(replicas), contestant, str(round_), metric, str(value), "ms"


class Arithmetic(unittest.TestCase):
    def test_a_power_law_has_its_exponent(self):
        self.assertAlmostEqual(report.slope([(x, 3 * x**1.5) for x in (1, 2, 8, 16)]), 1.5)

    def test_the_steepest_pair_of_neighbours_counts(self):
        self.assertAlmostEqual(report.steepest([(1, 1), (2, 2), (4, 8), (8, 8)]), 2)

    def test_numbers_have_three_digits_and_no_exponent(self):
        numbers = [0.000123456, 0.0345678, 1.5, 123.456, 98765, 0, None]
        shown = ["0.000123", "0.0346", "1.50", "123", "98765", "0", ""]
        self.assertEqual([report.number(n) for n in numbers], shown)

    def test_spread_is_median_and_range(self):
        self.assertEqual(report.spread([3, 1, 2]), "2.00 (1.00–3.00)")

    def test_the_fastest_peer_has_the_smallest_median(self):
        rows = [row("jax", 2), row("pytorch", 1), row("pytorch", 9), row("pytorch", 9), row("seqlab", 0)]
        self.assertEqual(report.fastest(report.Results(rows), "echo"), ("jax", 2))

    def test_without_peers_there_is_no_fastest(self):
        self.assertEqual(report.fastest(report.Results([]), "echo"), (None, None))


class Bars(unittest.TestCase):
    def verdict(self, rows, beginning):
        for bar in [*report.ratio_bars(report.Results(rows)), *report.whole_bars(report.Results(rows))]:
            if bar.text.startswith(beginning):
                return bar.measured is not None and bar.measured <= bar.limit
        raise KeyError(beginning)

    def test_a_share_at_the_limit_is_met_and_above_it_is_not(self):
        for mine, met in ((0.69, True), (0.71, False)):
            rows = [row("seqlab", mine), row("jax", 1), row("pytorch", 5)]
            self.assertEqual(self.verdict(rows, "echo: step at most 0.7"), met)

    def test_a_replica_step_of_the_grown_model_is_compared_with_one_model_s_step(self):
        rows = [row("pytorch", 10, "pairs", "pairs-32"), row("jax", 5, "pairs", "pairs-32")]
        rows += [row("seqlab", 4.1, "pairs", "pairs-32")]
        rows += [row(who, ms, "pairs", "pairs-32", 10) for who, ms in (("seqlab", 3.9), ("jax", 8))]
        measured = {bar.text: bar.measured for bar in report.pairs_bars(report.Results(rows))}
        self.assertEqual(measured["pairs-32: step at most 0.45 of PyTorch eager's"], 0.41)
        text = "pairs-32: step at most 0.65 of the fastest peer's (JAX, jitted loop)"
        self.assertEqual(measured[text], 0.82)
        text = "pairs-32, R = 10: replica-step at most 0.4 of PyTorch eager's"
        self.assertEqual(measured[text], 0.39)
        self.assertIsNone(measured["pairs-256: step at most 0.6 of PyTorch eager's"])

    def test_linear_growth_is_met_and_quadratic_is_not(self):
        for power, met in ((1, True), (2, False)):
            points = [(x, x**power) for x in (8, 16, 32)]
            rows = [row("seqlab", y, "growth", "B", metric=str(x)) for x, y in points]
            self.assertEqual(self.verdict(rows, "growth of the step in B"), met)

    def test_a_bar_that_was_not_measured_is_not_in_the_table(self):
        self.assertEqual(report.bars(report.Results([])), "")


def machine_rows(states, **where):
    """Rows of two threads before the first round and after each, in the states with these letters."""
    measured = {"s": (1.02, 60), "a": (1.02, 160), "b": (1.6, 60)}
    rows = []
    for round_, letter in enumerate(states):
        for metric, value in zip(("slowdown", "cache line"), measured[letter]):
            rows.append(row("machine", value, round_=round_, metric=metric, **where))
    return rows


class States(unittest.TestCase):
    def test_two_threads_tell_the_state(self):
        for slowdown, line, expected in (
            (1.0, 30, "shared"),
            (1.2, 80, "shared"),
            (1.2, 81, "apart"),
            (1.21, 30, "busy"),
            (2.0, 900, "busy"),
        ):
            self.assertEqual(report.state_of(slowdown, line), expected)

    def test_a_round_has_the_state_before_and_after_it(self):
        states = report.Results(machine_rows("ssaab")).states("steps", "echo")
        self.assertEqual(states, {1: "shared", 2: "changed", 3: "apart", 4: "changed"})

    def test_a_round_that_nothing_was_measured_beside_has_no_state(self):
        rows = [row("seqlab", 1), *machine_rows("s")]
        self.assertEqual(report.Results(rows).states("steps", "echo"), {})
        self.assertNotIn("State", report.markdown([row("seqlab", 1)], MACHINE))
        self.assertEqual(report.markdown(rows, MACHINE), report.markdown([row("seqlab", 1)], MACHINE))

    def test_each_state_has_medians_where_there_are_several(self):
        times = {"seqlab": [1, 3, 9, 5], "jax": [2, 4, 9, 50]}
        rows = [row(who, ms, round_=k) for who, all in times.items() for k, ms in enumerate(all, 1)]
        text = report.markdown(rows + machine_rows("sssaa"), MACHINE)
        self.assertIn(": 2 shared (two cores with a common cache), 1 apart (two cores without), 1 ch", text)
        self.assertIn("| echo | seqlab | 2.00 (2) |  | 5.00 (1) |  | 9.00 (1) |  |", text)
        line = "| echo | JAX, jitted loop | 3.00 (2) | 0.667 | 50.0 (1) | 0.100 | 9.00 (1) | 1.00 |"
        self.assertIn(line, text)

    def test_one_state_is_named_and_needs_no_medians_of_its_own(self):
        rows = [row("seqlab", 1), row("jax", 2), *machine_rows("bb")]
        text = report.markdown(rows, MACHINE)
        self.assertIn("before and after: 1 busy (other programs had a part of the cores).", text)
        self.assertNotIn("busy: ms a step", text)

    def test_rounds_of_other_groups_are_counted_over_their_experiments(self):
        rows = []
        for count in (1, 4):
            rows += [row(who, 1, "replicas", replicas=count) for who in ("seqlab", "jax")]
            rows += machine_rows("sss", group="replicas", replicas=count)
        self.assertIn("before and after: 4 shared (", report.markdown(rows, MACHINE))


class Files(unittest.TestCase):
    def test_markdown_follows_from_the_files(self):
        rows = [row("seqlab", 1, round_=k) for k in (1, 2)] + [row("jax", 2)]
        text = report.markdown(rows, MACHINE)
        self.assertIn("scripts/bench", text)
        self.assertIn("| echo | seqlab | 1.00 (1.00–1.00) |  |", text)
        self.assertIn("| echo | JAX, jitted loop (fastest peer) | 2.00 | 0.500 |", text)

    def test_every_contestant_of_the_grown_model_has_its_row(self):
        names = [("seqlab", 1), ("pytorch", 1), ("jax", 1), ("seqlab", 10), ("jax", 10)]
        rows = [row(who, 4, "pairs", "pairs-32", count) for who, count in names]
        rows += [row("seqlab", 3, "agreement", "pairs-32", metric="loss")]
        rows += [row("seqlab", 0.5, "agreement", "pairs-32", metric="loss sd")]
        text = report.markdown(rows, MACHINE)
        self.assertEqual(text.count("| pairs-32 | 1 | "), 4)
        self.assertEqual(text.count("| pairs-32 | 10 | "), 2)
        self.assertIn("| pairs-32 | 1 | 3.000 ± 0.500 |", text)

    def test_products_and_threads_stand_beside_those_of_libraries(self):
        speeds = [("seqlab", 120), ("matrixmultiply", 60), ("libtorch", 40)]
        rows = [row(who, speed, "libraries", metric="time step") for who, speed in speeds]
        rows += [row("seqlab", 1, "libraries", metric="weight gradient")]
        text = report.markdown(rows, MACHINE)
        self.assertIn("| echo | time step | 120 | 60.0 | 40.0 |", text)
        self.assertNotIn("weight gradient |", text)
        self.assertNotIn("two threads", text)
        times = [("no thread", "one item", 2), ("seqlab", "an item each", 2.5), ("rayon", "an item each", 4)]
        rows += [row(who, time, "libraries", "threads", metric=what) for who, what, time in times]
        self.assertIn("| two threads | 2.00 | 2.50 | 4.00 |", report.markdown(rows, MACHINE))

    def test_other_columns_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.csv"
            path.write_text("a,b\n")
            with self.assertRaises(ValueError):
                report.read(path)


class Experiments(unittest.TestCase):
    def test_floating_point_operations_of_echo_by_hand(self):
        # One batch of four starts with a zero state: 5.75 steps forward and for the kernel's
        # gradient, 5 for the gradient of h.
        recurrent, dense = 16.5 * 2 * 5 * 16 * 64, 2 * 5 * 6 * 16 * 100
        self.assertEqual(ECHO.flops(), recurrent + 3 * dense)

    def test_floating_point_operations_grow_with_the_batch(self):
        twice = replace(REVERSE_32, batch=64)
        self.assertEqual(twice.flops(), 2 * REVERSE_32.flops())

    def test_names_are_those_of_the_report(self):
        self.assertEqual([e.name for e in ALL], report.EXPERIMENTS)
        self.assertEqual(list(BY_NAME), report.EXPERIMENTS)

    def test_what_the_grown_model_does_without_is_left_out(self):
        flags = replace(pairs.PAIRS_32, dropout=0.0).seqlab_flags(3)
        self.assertNotIn("--dropout", flags)
        self.assertIn("--label-smoothing", flags)
        self.assertEqual(flags[flags.index("--samples") + 1], "96")

    def test_sequences_have_the_published_length(self):
        self.assertEqual([e.length for e in ALL[:3]], [25, 25, 25])


if __name__ == "__main__":
    unittest.main()
