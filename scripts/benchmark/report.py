"""Writes bench.md, which follows from bench.csv and machine.json alone.

`report.py DIR` writes it; `report.py --check DIR` fails when DIR/bench.md says anything else.
"""

import csv
import json
import math
import statistics
import sys
from collections import Counter, namedtuple
from pathlib import Path

import pairs as grown
from contestants import KERAS, MACHINE, PAIRS_PEERS, PEERS, PYTORCH, SEQLAB
from experiments import ALL

COLUMNS = ["group", "experiment", "replicas", "contestant", "round", "metric", "value", "unit"]
EXPERIMENTS = [experiment.name for experiment in ALL]
PAIRS = list(grown.BY_NAME)
NAMES = {
    SEQLAB: "seqlab",
    "keras-tensorflow": "Keras on TensorFlow",
    "keras-jax": "Keras on JAX",
    "pytorch": "PyTorch eager",
    "pytorch-compiled": "PyTorch compiled",
    "jax": "JAX, jitted loop",
}
PIECES = [
    "batch",
    "forward",
    "dense and loss",
    "transposed copies",
    "backward",
    "weight gradients",
    "adam",
]
PRODUCTS = ["time step", "weight gradient"]
MULTIPLIERS = [SEQLAB, "matrixmultiply", "libtorch"]
TEAMS = [SEQLAB, "rayon"]
# A fit to measured times is never exactly 1.
EXPONENT = 1.05

# Two loops at once take as long as one, give or take the clock, where each has a core, and 1.5 times as
# long where they share two with a third: beyond this, much of a core is others'.
BUSY = 1.2
# ns in which a cache line passes from one thread to another. On an Intel Xeon, which has one cache for all
# cores, it takes 60 to 65; cores of an AMD EPYC with a common cache are nearer to each other, and those
# without are farther. The limit is reasoned from that: no machine of the latter kind has been measured.
APART = 80
STATES = {
    "shared": "two cores with a common cache",
    "apart": "two cores without",
    "busy": "other programs had a part of the cores",
    "changed": "one of these before the round, and another after it",
}

Bar = namedtuple("Bar", "text measured limit unit")


def read(path):
    with open(path, newline="") as file:
        rows = csv.reader(file)
        if next(rows) != COLUMNS:
            raise ValueError(f"{path} has other columns than {','.join(COLUMNS)}")
        return [tuple(row) for row in rows]


class Results:
    """The rows, by what they are about."""

    def __init__(self, rows):
        self.values, self.rounds = {}, {}
        for group, experiment, replicas, contestant, round_, metric, value, _ in rows:
            key = group, experiment, int(replicas), contestant, metric
            self.values.setdefault(key, []).append(float(value))
            self.rounds.setdefault(key, []).append(int(round_))

    def all(self, group, experiment, contestant, metric, replicas=1):
        return self.values.get((group, experiment, replicas, contestant, metric), [])

    def median(self, *key, **more):
        values = self.all(*key, **more)
        return statistics.median(values) if values else None

    def by_round(self, *key):
        """The rounds in which it was measured, each with its value."""
        return dict(zip(self.rounds.get(key, []), self.values.get(key, [])))

    def states(self, group, experiment, replicas=1):
        """The rounds before and after which two threads were measured, each with its state."""
        key = group, experiment, replicas, MACHINE
        slowdowns, lines = (self.by_round(*key, metric) for metric in ("slowdown", "cache line"))
        states = {round_: state_of(slowdowns[round_], lines[round_]) for round_ in slowdowns}
        rounds = (round_ for round_ in states if round_ - 1 in states)
        return {round_: of_round(states[round_ - 1], states[round_]) for round_ in rounds}

    def in_state(self, state, experiment, contestant):
        """ms a step in the rounds of that state."""
        states = self.states("steps", experiment)
        times = self.by_round("steps", experiment, 1, contestant, "step")
        return [ms for round_, ms in times.items() if states.get(round_) == state]

    def has(self, group):
        return any(key[0] == group for key in self.values)

    def replicas(self, experiment, group="replicas"):
        """The numbers of replicas that were measured."""
        keys = (key for key in self.values if key[:2] == (group, experiment))
        return sorted({key[2] for key in keys})

    def sizes(self, size):
        """`(value, ms a step)` of the growth in one size."""
        keys = [key for key in self.values if key[:2] == ("growth", size)]
        return sorted((int(key[4]), statistics.median(self.values[key])) for key in keys)


def state_of(slowdown, cache_line):
    """Of the machine, by what two threads get of it."""
    if slowdown > BUSY:
        return "busy"
    return "apart" if cache_line > APART else "shared"


def of_round(before, after):
    return before if before == after else "changed"


def number(value):
    """Three significant digits, without an exponent."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def spread(values):
    """Median and range."""
    if not values:
        return ""
    median = number(statistics.median(values))
    if len(values) == 1:
        return median
    return f"{median} ({number(min(values))}–{number(max(values))})"


def ratio(value, other):
    return None if value is None or not other else value / other


def slope(points):
    """The exponent of `y = a xᵇ` by least squares over logarithms."""
    x = [math.log(point[0]) for point in points]
    y = [math.log(point[1]) for point in points]
    x_mean, y_mean = statistics.mean(x), statistics.mean(y)
    covariance = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y))
    return covariance / sum((a - x_mean) ** 2 for a in x)


def steepest(points):
    """The largest exponent between neighbours."""
    return max(slope(pair) for pair in zip(points, points[1:]))


def fastest(results, experiment, group="steps", metric="step", among=PEERS, replicas=1):
    """The peer with the smallest median, and that median; `(None, None)` without one."""
    medians = {p: results.median(group, experiment, p, metric, replicas=replicas) for p in among}
    medians = {peer: median for peer, median in medians.items() if median is not None}
    if not medians:
        return None, None
    best = min(medians, key=medians.get)
    return best, medians[best]


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def ratio_bars(results):
    """The bars at R = 1 and R = 16, as shares of a peer's time."""

    def bar(experiment, peer, limit, share):
        mine = results.median("steps", experiment, SEQLAB, "step")
        theirs = results.median("steps", experiment, peer, "step") if peer else None
        name = NAMES.get(peer)
        return Bar(f"{experiment}: step at most {share} of {name}'s", ratio(mine, theirs), limit, "")

    limits = {
        "echo": (0.7, 4),
        "partial-echo-2": (0.85, 3),
        "partial-echo-4": (0.85, 3),
        "reverse-32": (0.7, 3),
        "reverse-256": (0.85, 2),
    }
    for experiment, (of_fastest, of_eager) in limits.items():
        peer, median = fastest(results, experiment)
        mine = results.median("steps", experiment, SEQLAB, "step")
        text = f"{experiment}: step at most {of_fastest} of the fastest peer's ({NAMES.get(peer)})"
        yield Bar(text, ratio(mine, median), of_fastest, "")
        yield bar(experiment, "pytorch", 1 / of_eager, f"1/{of_eager}")
        of_keras = 4 if experiment.startswith("reverse") else 15
        for backend in KERAS:
            yield bar(experiment, backend, 1 / of_keras, f"1/{of_keras}")
    for experiment in ("echo", "reverse-32"):
        mine, theirs = (
            results.median("replicas", experiment, who, "step", replicas=16)
            for who in (SEQLAB, "jax")
        )
        text = f"{experiment}, R = 16: replica-step at most 0.6 of JAX vmap's"
        yield Bar(text, ratio(mine, theirs), 0.6, "")


def pairs_bars(results):
    """The bars of the grown model: an update, or at R > 1 one of a replica, beside one model's."""
    for experiment, count, of_eager in (
        ("pairs-32", 1, 0.45),
        ("pairs-32", 10, 0.4),
        ("pairs-256", 1, 0.6),
    ):
        mine = results.median("pairs", experiment, SEQLAB, "step", replicas=count)
        eager = results.median("pairs", experiment, "pytorch", "step")
        what = f"{experiment}, R = {count}: replica-step" if count > 1 else f"{experiment}: step"
        yield Bar(f"{what} at most {of_eager} of PyTorch eager's", ratio(mine, eager), of_eager, "")
        peer, median = fastest(results, experiment, "pairs", replicas=count)
        if peer:
            text = f"{what} at most 0.65 of the fastest peer's ({NAMES[peer]})"
            yield Bar(text, ratio(mine, median), 0.65, "")


def whole_bars(results):
    """The bars of the tutorial, of growth, memory and start-up."""
    mine = results.median("tutorial", "reverse-32", SEQLAB, "wall")
    for peer, limit, share in (("keras-tensorflow", 1 / 8, "1/8"), ("keras-jax", 2 / 5, "2/5")):
        theirs = results.median("tutorial", "reverse-32", peer, "wall")
        text = f"whole tutorial: at most {share} of {NAMES[peer]}'s wall time"
        yield Bar(text, ratio(mine, theirs), limit, "")
    for size in "BTR":
        points = results.sizes(size)
        text = f"growth of the step in {size}: exponent at most 1 (measured to ±{EXPONENT - 1:.2f})"
        yield Bar(text, slope(points) if len(points) > 1 else None, EXPONENT, "")
    for experiment in EXPERIMENTS:
        mine = results.median("memory", experiment, SEQLAB, "peak")
        _, theirs = fastest(results, experiment, "memory", "peak", PYTORCH)
        text = f"{experiment}: peak memory below PyTorch's, the smaller of both"
        yield Bar(text, ratio(mine, theirs), 1, "")
    text = "process start to the end of echo's first epoch: under .45 s"
    yield Bar(text, results.median("startup", "echo", SEQLAB, "first epoch"), 0.45, " s")


def bars(results):
    rows = []
    for bar in [*ratio_bars(results), *pairs_bars(results), *whole_bars(results)]:
        if bar.measured is not None:
            verdict = "met" if bar.measured <= bar.limit else "**missed**"
            rows.append([bar.text, number(bar.measured) + bar.unit, verdict])
    return table(["bar", "measured", ""], rows) if rows else ""


def count_states(results, group):
    """How many rounds of the group were in each state, in the order of STATES."""
    measured = {key[1:3] for key in results.values if key[0] == group and key[3] == MACHINE}
    rounds = (results.states(group, *of).values() for of in measured)
    counts = Counter(state for states in rounds for state in states)
    return {name: counts[name] for name in STATES if counts[name]}


def with_states(results, group, section):
    """The section, and behind it which states the rounds were in, where that was measured."""
    counts = count_states(results, group)
    if not counts:
        return section
    told = ", ".join(f"{count} {name} ({STATES[name]})" for name, count in counts.items())
    text = f"Rounds by the state of the machine, as `seqlab doctor` measures it before and after: {told}."
    return f"{section}\n{text}\n"


def steps_by_state(results, states):
    """Medians of the rounds of each state, and how many these are."""
    rows = []
    for experiment in EXPERIMENTS:
        mine = [results.in_state(state, experiment, SEQLAB) for state in states]
        for name in [SEQLAB, *PEERS]:
            row = [experiment, NAMES[name]]
            for state, own in zip(states, mine):
                values = results.in_state(state, experiment, name)
                median = number(statistics.median(values)) if values else ""
                compared = own and values and name != SEQLAB
                share = number(statistics.median(own) / statistics.median(values)) if compared else ""
                row += [f"{median} ({len(values)})" if values else "", share]
            if any(row[2:]):
                rows.append(row)
    columns = [(f"{state}: ms a step (rounds)", "seqlab's share of it") for state in states]
    return table(["experiment", "contestant", *(name for pair in columns for name in pair)], rows)


def steps(results):
    section = with_states(results, "steps", all_steps(results))
    states = list(count_states(results, "steps"))
    return "\n".join([section, steps_by_state(results, states)]) if len(states) > 1 else section


def all_steps(results):
    rows = []
    for experiment in EXPERIMENTS:
        mine = results.median("steps", experiment, SEQLAB, "step")
        best, _ = fastest(results, experiment)
        for name in [SEQLAB, *PEERS]:
            values = results.all("steps", experiment, name, "step")
            if values:
                mark = " (fastest peer)" if name == best else ""
                share = "" if name == SEQLAB else number(ratio(mine, statistics.median(values)))
                rows.append([experiment, NAMES[name] + mark, spread(values), share])
    return table(["experiment", "contestant", "ms a step (range)", "seqlab's share of it"], rows)


def replicas(results):
    rows = []
    for experiment in ("echo", "reverse-32"):
        for count in results.replicas(experiment):
            mine, theirs = (
                results.all("replicas", experiment, who, "step", replicas=count)
                for who in (SEQLAB, "jax")
            )
            share = ratio(statistics.median(mine), statistics.median(theirs))
            rows.append([experiment, count, spread(mine), spread(theirs), number(share)])
    header = ["experiment", "R", "seqlab, ms a replica-step", "JAX vmap", "seqlab's share of it"]
    return with_states(results, "replicas", table(header, rows))


def pairs(results):
    rows = []
    for experiment in PAIRS:
        for count in results.replicas(experiment, "pairs"):
            mine = results.median("pairs", experiment, SEQLAB, "step", replicas=count)
            best, _ = fastest(results, experiment, "pairs", replicas=count)
            for name in [SEQLAB, *PAIRS_PEERS]:
                values = results.all("pairs", experiment, name, "step", replicas=count)
                if values:
                    mark = " (fastest peer)" if name == best else ""
                    share = "" if name == SEQLAB else number(ratio(mine, statistics.median(values)))
                    rows.append([experiment, count, NAMES[name] + mark, spread(values), share])
    header = ["experiment", "R", "contestant", "ms a replica-step (range)", "seqlab's share of it"]
    return with_states(results, "pairs", table(header, rows))


def walls(results, group, experiment, metric):
    mine = results.median(group, experiment, SEQLAB, metric)
    rows = []
    for name in [SEQLAB, *PEERS]:
        values = results.all(group, experiment, name, metric)
        if values:
            share = "" if name == SEQLAB else number(ratio(mine, statistics.median(values)))
            exact = number(results.median(group, experiment, name, "exact"))
            rows.append([NAMES[name], spread(values), share] + [exact] * (group == "tutorial"))
    header = ["contestant", "seconds (range)", "seqlab's share of it"]
    return table(header + ["exact"] * (group == "tutorial"), rows)


def startup(results):
    return walls(results, "startup", "echo", "first epoch")


def tutorial(results):
    return walls(results, "tutorial", "reverse-32", "wall")


def memory(results):
    names = [SEQLAB, *PEERS]
    rows = [
        [experiment, *(number(results.median("memory", experiment, n, "peak")) for n in names)]
        for experiment in EXPERIMENTS
    ]
    return table(["MiB", *(NAMES[name] for name in names)], rows)


def growth(results):
    rows = []
    for size in "BTHR":
        points = results.sizes(size)
        if len(points) > 1:
            times = ", ".join(f"{value}: {number(ms)}" for value, ms in points)
            rows.append([size, times, f"{slope(points):.2f}", f"{steepest(points):.2f}"])
    return table(["size", "ms a step", "exponent", "largest between neighbours"], rows)


def peak(results):
    speeds = results.all("peak", "product", MACHINE, "speed")
    lines = [f"The machine's best product runs at {number(max(speeds))} GFLOP/s.\n"]
    rows = []
    for experiment in EXPERIMENTS:
        mflop = results.median("peak", experiment, SEQLAB, "products of a step")
        cells = [experiment, number(mflop)]
        for _, ms in ((SEQLAB, results.median("steps", experiment, SEQLAB, "step")),
                      fastest(results, experiment)):
            reached = ratio(mflop, ms)
            cells += [number(reached), "" if reached is None else f"{reached / max(speeds):.1%}"]
        rows.append(cells)
    header = ["experiment", "MFLOP in products a step", "seqlab, GFLOP/s", "of the peak"]
    lines.append(table([*header, "fastest peer, GFLOP/s", "of the peak"], rows))
    return "\n".join(lines)


def pieces(results):
    rows = []
    for experiment in EXPERIMENTS:
        times = [results.median("pieces", experiment, SEQLAB, piece) for piece in PIECES]
        whole = results.median("pieces", experiment, SEQLAB, "step")
        if whole is not None and None not in times:
            shares = [f"{time / whole:.1%}" for time in [*times, whole - sum(times)]]
            rows.append([experiment, number(whole), *shares])
    return table(["share of a step", "step, ms", *PIECES, "rest"], rows)


def libraries(results):
    rows = []
    for experiment in EXPERIMENTS:
        for product in PRODUCTS:
            speeds = [results.median("libraries", experiment, who, product) for who in MULTIPLIERS]
            if None not in speeds:
                rows.append([experiment, product, *map(number, speeds)])
    header = ["product, GFLOP/s", "", *MULTIPLIERS]
    alone = results.median("libraries", "threads", "no thread", "one item")
    teams = [results.median("libraries", "threads", who, "an item each") for who in TEAMS]
    if alone is None or None in teams:
        return table(header, rows)
    times = [number(time) for time in [alone, *teams]]
    header_of_threads = ["µs", "one item, no thread", *(f"an item each, {who}" for who in TEAMS)]
    return "\n".join([table(header, rows), table(header_of_threads, [["two threads", *times]])])


def agreement(results):
    rows = []
    keys = {key[1:3] for key in results.values if key[0] == "agreement"}
    names = EXPERIMENTS + PAIRS
    for experiment, count in sorted(keys, key=lambda k: (names.index(k[0]), k[1])):
        expected = results.all("agreement", experiment, SEQLAB, "loss", count)
        deviation = results.all("agreement", experiment, SEQLAB, "loss sd", count)
        row = [experiment, count, f"{expected[-1]:.3f} ± {deviation[-1]:.3f}"]
        for name in PEERS:
            losses = results.all("agreement", experiment, name, "loss", count)
            row.append(f"{losses[-1]:.3f}" if losses else "")
        rows.append(row)
    return table(["last tenth's loss", "R", SEQLAB, *(NAMES[name] for name in PEERS)], rows)


SECTIONS = {
    "agreement": (
        "Agreement",
        "Before anything is timed, the loss of each tenth of a short run has to lie within 4 standard "
        "deviations and 2 % of seqlab's, whose mean and deviation are those of 8 seeds; a peer's loss "
        "is the mean of 2. PyTorch puts Adam's ε elsewhere and is a shade faster at the start for it.",
        agreement,
    ),
    "steps": (
        "Time of a step",
        "Medians and ranges over rounds in which all take turns. Data generation and the curve's CSV "
        "are in seqlab's time and not in the peers'.",
        steps,
    ),
    "replicas": ("Many seeds at once", "", replicas),
    "pairs": (
        "A grown model on pairs of their own lengths",
        "Embedding 128, encoder 2 × 128 units, decoder 256, dot attention, dropout, label smoothing, "
        "gradients clipped; sources of 3–20 ids. PyTorch packs sorted sources, JAX masks and vmaps.",
        pairs,
    ),
    "startup": (
        "Start-up",
        "From the start of the process to the end of echo's first epoch, 4 steps; seqlab's time has "
        "its end in it too.",
        startup,
    ),
    "tutorial": (
        "The whole tutorial",
        "`reverse`: process start, 100,000 samples, 100 sequences decoded freely, accuracy printed.",
        tutorial,
    ),
    "memory": (
        "Peak memory",
        "Peak resident memory of a process that trains 100 steps.",
        memory,
    ),
    "growth": (
        "How the step grows",
        "seqlab on `reverse` (B 32, Tin 6, H 128, R 1) with one size changed; exponents by least "
        "squares over logarithms.",
        growth,
    ),
    "peak": (
        "Share of the machine's peak",
        "Only products that a step needs are counted, the same for all: none with a zero state, none "
        "for a gradient that nobody uses; gathers are free.",
        peak,
    ),
    "pieces": (
        "What a step is spent on",
        "One thread, by `cargo bench --bench pieces`. forward and backward are the LSTMs' time steps; "
        "the rest is look-ups of ids and the gradients of what was looked up, a repeated vector's "
        "projection, biases, and copies.",
        pieces,
    ),
    "libraries": (
        "Products and threads beside libraries",
        "By `cargo bench --bench libraries`. Products on one thread: a block's rows times the recurrent "
        "kernel, added to the gates of a time step, and the sum of that kernel's gradient over all time "
        "steps. Threads: a job of one item for each of two.",
        libraries,
    ),
}


def provenance(machine):
    """How and where it was measured."""
    runs = machine["runs"]
    commands = dict.fromkeys(run["command"] for run in runs.values())
    lines = ["```sh", *commands, "```", ""]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines.append(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['os']}, on {machine['device']}; Python {machine['python']}, {versions}."
    )
    for about in dict.fromkeys((run["commit"], run["date"]) for run in runs.values()):
        groups = [name for name, run in runs.items() if (run["commit"], run["date"]) == about]
        lines.append(f"seqlab at {about[0]}, {about[1]}: {', '.join(groups)}.")
    return "\n".join(lines) + "\n"


def markdown(rows, machine):
    results = Results(rows)
    parts = ["# seqlab beside its peers\n", provenance(machine)]
    measured = bars(results)
    if measured:
        parts += ["## Bars\n", measured]
    for group, (title, text, section) in SECTIONS.items():
        if results.has(group):
            parts += [f"## {title}\n", *([text + "\n"] if text else []), section(results)]
    return "\n".join(parts)


def of_folder(folder):
    machine = json.loads((folder / "machine.json").read_text())
    return markdown(read(folder / "bench.csv"), machine)


def write(folder):
    (folder / "bench.md").write_text(of_folder(folder))


def main():
    *flags, folder = sys.argv[1:] or ["--help"]
    if flags not in ([], ["--check"]) or folder == "--help":
        sys.exit("usage: report.py [--check] DIR")
    folder = Path(folder)
    if not flags:
        write(folder)
    elif (folder / "bench.md").read_text() != of_folder(folder):
        sys.exit(f"error: {folder}/bench.md is stale\nhint: python3 scripts/benchmark/report.py {folder}")


if __name__ == "__main__":
    main()
