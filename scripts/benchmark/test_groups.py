"""What is measured beside the rounds, with contestants and a program that only look like some."""

import unittest
from unittest import mock

import groups
import report
from experiments import ECHO


class Bench:
    """Keeps rows as bench.csv does; `seqlab doctor` finds one thing after the other."""

    def __init__(self, found):
        self.found, self.rows = iter(found), []

    def two_threads(self):
        return next(self.found)

    def add(self, *row):
        self.rows.append(tuple(map(str, row)))


class Contestant:
    contestant = "seqlab"

    def warm(self):
        pass

    def block(self):
        return 1.0


class Observed(unittest.TestCase):
    def rounds(self, bench, count):
        """So many rounds of one contestant: the rows."""

        def record(contestant, round_, ms):
            bench.add("steps", "echo", 1, contestant.contestant, round_, "step", ms, "ms")

        observe = groups.observer(bench, "steps", ECHO)
        with mock.patch.object(groups, "SETTLED", 0):
            groups.alternate(bench, [Contestant()], count, record, observe)
        return bench.rows

    def test_two_threads_are_measured_before_the_first_round_and_after_each(self):
        near = {"slowdown": 1.0, "cache_line_ns": 40.0, "job_ns": 500.0}
        rows = self.rounds(Bench([near, near, {**near, "cache_line_ns": 170.0}]), 2)
        self.assertEqual(rows[0], ("steps", "echo", "1", "machine", "0", "slowdown", "1.0", ""))
        measured = [(row[3], row[4]) for row in rows]
        machine = [[("machine", round_)] * 3 for round_ in "012"]
        seqlab = [[("seqlab", round_)] for round_ in "12"]
        expected = machine[0] + seqlab[0] + machine[1] + seqlab[1] + machine[2]
        self.assertEqual(measured, expected)
        self.assertEqual(report.Results(rows).states("steps", "echo"), {1: "shared", 2: "changed"})

    def test_one_core_has_no_rows(self):
        rows = self.rounds(Bench([None] * 2), 1)
        self.assertEqual([row[3] for row in rows], ["seqlab"])


if __name__ == "__main__":
    unittest.main()
