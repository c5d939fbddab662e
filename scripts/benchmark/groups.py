"""What is measured: a function a group, each adds its rows to the benchmark."""

import csv
import json
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pairs as grown
from contestants import HERE, KERAS, MACHINE, PAIRS_PEERS, PEERS, SEQLAB, Failure, Peer, Seqlab
from experiments import ALL, ECHO, REVERSE_32
from report import PIECES

TENTHS = range(10)
CHECK_REPLICAS = 8
REPLICAS = [1, 4, 16, 64]
PAIRS_REPLICAS = 10
SETTLED = 0.5  # s until the threads of a peer no longer spin for more work
# What `seqlab doctor --json` has of two threads, by metric and unit.
TWO_THREADS = {
    ("slowdown", ""): "slowdown",
    ("cache line", "ns"): "cache_line_ns",
    ("an item each", "ns"): "job_ns",
}
GROWTH = {
    "B": ("--batch-size", [8, 16, 32, 64, 128, 256]),
    "T": ("--n-in", [6, 12, 24, 48, 96]),
    "H": ("--units", [16, 32, 64, 128, 256, 512]),
    "R": ("--replicas", [1, 2, 4, 8, 16]),
}


def seqlab_curve(bench, experiment):
    """Mean and standard deviation over replicas of the loss of each tenth of the run."""
    epochs = experiment.check_epochs
    every = epochs * experiment.batches // 10
    folder = Seqlab(bench, experiment, CHECK_REPLICAS).train(epochs, "--log-every", every)[0]
    losses = defaultdict(list)
    with open(folder / "curves.csv", newline="") as file:
        for row in csv.DictReader(file):
            losses[int(row["step"])].append(float(row["loss"]))
    tenths = [losses[step] for step in sorted(losses)]
    return [(statistics.mean(tenth), statistics.stdev(tenth)) for tenth in tenths]


def check(bench, experiment, peers, replicas=1):
    """Stops the benchmark unless every peer's loss goes where seqlab's goes."""
    expected = seqlab_curve(bench, experiment)
    name = experiment.name
    for k, (mean, deviation) in enumerate(expected, 1):
        bench.add("agreement", name, replicas, SEQLAB, k, "loss", mean, "")
        bench.add("agreement", name, replicas, SEQLAB, k, "loss sd", deviation, "")
    for peer in peers:
        seeds = [1] if bench.quick else [1, 1 + replicas]
        curve = peer.curve(experiment.check_epochs, seeds)
        for k, (loss, (mean, deviation)) in enumerate(zip(curve, expected, strict=True), 1):
            bench.add("agreement", name, replicas, peer.contestant, k, "loss", loss, "")
            if not abs(loss - mean) <= 4 * deviation + 0.02 * mean:
                raise Failure(
                    f"{peer.contestant} does not train what seqlab trains on {name}: loss "
                    f"{loss:.4f} against {mean:.4f} ± {deviation:.4f} in tenth {k} of the run",
                    "their times cannot be compared before their curves agree",
                )


def alternate(bench, contestants, rounds, record, observe=lambda round_: None):
    """Warms everyone up, then gives each a block a round; who begins moves on every round.

    Calls `observe` with 0 before the first round, and with its number after each."""
    for contestant in contestants:
        contestant.warm()
    observe(0)
    for round_ in range(rounds):
        first = round_ % len(contestants)
        for contestant in contestants[first:] + contestants[:first]:
            record(contestant, round_ + 1, contestant.block())
        observe(round_ + 1)


def observer(bench, group, experiment, replicas=1):
    """Adds what two threads get of the processor, from which the report has the state of each round."""

    def observe(round_):
        time.sleep(SETTLED)
        found = bench.two_threads() or {}
        for (metric, unit), key in TWO_THREADS.items():
            if key in found:
                bench.add(group, experiment.name, replicas, MACHINE, round_, metric, found[key], unit)

    return observe


def steps(bench):
    """ms a step of everyone on every experiment."""
    for experiment in ALL:
        peers = [Peer(bench, name, experiment) for name in PEERS]
        check(bench, experiment, peers)

        def record(contestant, round_, ms):
            bench.add("steps", experiment.name, 1, contestant.contestant, round_, "step", ms, "ms")

        observe = observer(bench, "steps", experiment)
        alternate(bench, [Seqlab(bench, experiment), *peers], bench.rounds, record, observe)
        for peer in peers:
            peer.close()


def replicas(bench):
    """ms a replica and step against JAX's vmap."""
    for experiment in (ECHO, REVERSE_32):
        for count in REPLICAS:
            peer = Peer(bench, "jax", experiment, count)
            if count == 4:
                check(bench, experiment, [peer], count)

            def record(contestant, round_, ms):
                name, value = contestant.contestant, ms / count
                bench.add("replicas", experiment.name, count, name, round_, "step", value, "ms")

            observe = observer(bench, "replicas", experiment, count)
            contestants = [Seqlab(bench, experiment, count), peer]
            alternate(bench, contestants, bench.rounds, record, observe)
            peer.close()


def pairs(bench):
    """The grown model: ms a step of everyone and, at batch 32, a replica-step of many."""
    for experiment in grown.ALL:
        peers = [Peer(bench, name, experiment) for name in PAIRS_PEERS]
        check(bench, experiment, peers)
        contestants = [Seqlab(bench, experiment), *peers]
        if experiment is grown.PAIRS_32:
            many = Peer(bench, "jax", experiment, PAIRS_REPLICAS)
            check(bench, experiment, [many], PAIRS_REPLICAS)
            contestants += [Seqlab(bench, experiment, PAIRS_REPLICAS), many]
            peers.append(many)

        def record(contestant, round_, ms):
            name, count = contestant.contestant, contestant.replicas
            bench.add("pairs", experiment.name, count, name, round_, "step", ms / count, "ms")

        observe = observer(bench, "pairs", experiment)
        alternate(bench, contestants, bench.rounds, record, observe)
        for peer in peers:
            peer.close()


def startup(bench):
    """From the start of the process to the end of the first epoch of `echo`."""
    for round_ in range(1, bench.rounds + 1):
        wall = Seqlab(bench, ECHO).train(1)[1]
        bench.add("startup", "echo", 1, SEQLAB, round_, "first epoch", wall, "s")
        for name in PEERS:
            peer = Peer(bench, name, ECHO)
            wall = peer.train(1)
            bench.add("startup", "echo", 1, name, round_, "first epoch", wall, "s")
            peer.close()


def tutorial(bench):
    """The whole `reverse`: process start, training, 100 sequences evaluated, accuracy printed."""
    samples = 6_400 if bench.quick else 100_000
    for round_ in range(1, min(bench.rounds, 1 if bench.quick else 3) + 1):
        for name in [SEQLAB, *KERAS, "pytorch", "jax"]:
            accuracy, wall = tutorial_of(bench, name, samples)
            bench.add("tutorial", "reverse-32", 1, name, round_, "wall", wall, "s")
            bench.add("tutorial", "reverse-32", 1, name, round_, "exact", accuracy, "")
            if not bench.quick and accuracy < 0.9:
                raise Failure(f"{name} gets only {accuracy:.2f} of the tutorial's sequences right")


def tutorial_of(bench, name, samples):
    """Share of sequences that are exact, and wall time."""
    if name == SEQLAB:
        epochs = samples // REVERSE_32.batch
        out, wall, _ = Seqlab(bench, REVERSE_32).train(epochs, evaluated=100)
        summary = json.loads((out / "summary.json").read_text())
        return summary["replicas"][0]["evaluation"]["sequence_accuracy"], wall
    script = HERE / "tutorials" / f"{name.split('-')[0]}_tutorial.py"
    command = [sys.executable, script, samples, bench.threads, bench.device]
    output, wall, _ = bench.finish(bench.spawn(command, bench.environment(name)))
    return float(output.split()[-1]), wall


def memory(bench):
    """Peak resident memory of a process that trains 100 steps."""
    for experiment in ALL:
        epochs = 100 // experiment.batches
        peak = Seqlab(bench, experiment).train(epochs)[2]
        bench.add("memory", experiment.name, 1, SEQLAB, 1, "peak", peak, "MiB")
        for name in PEERS:
            peer = Peer(bench, name, experiment)
            peer.train(epochs)
            bench.add("memory", experiment.name, 1, name, 1, "peak", peer.close(), "MiB")


def growth(bench):
    """seqlab's step against one size at a time, the others those of `reverse`."""
    for size, (flag, values) in GROWTH.items():
        runs = [sized(bench, flag, value) for value in values]

        def record(run, round_, ms):
            bench.add("growth", size, run.replicas, SEQLAB, round_, str(run.size), ms, "ms")

        alternate(bench, runs, min(bench.rounds, 3), record)


def sized(bench, flag, value):
    """seqlab on `reverse` with one size changed."""
    field = {"--batch-size": "batch", "--n-in": "n_in", "--units": "units"}.get(flag)
    experiment = replace(REVERSE_32, **{field: value}) if field else REVERSE_32
    run = Seqlab(bench, experiment, 1 if field else value)
    run.size = value
    return run


def peak(bench):
    """The machine's best matrix product, and what each experiment asks of it."""
    for round_ in range(1, bench.rounds + 1):
        command = [sys.executable, HERE / "peak.py", bench.threads, bench.device]
        output, _, _ = bench.finish(bench.spawn(command, bench.environment("pytorch")))
        bench.add("peak", "product", 1, MACHINE, round_, "speed", float(output), "GFLOP/s")
    for experiment in ALL:
        mflop = experiment.flops() / 1e6
        bench.add("peak", experiment.name, 1, SEQLAB, 1, "products of a step", mflop, "MFLOP")


def estimates(bench, beginning):
    """What criterion measured in the groups whose names begin so: group, function, operations, median in ns."""
    for path in sorted(Path(bench.criterion).glob("**/new/benchmark.json")):
        about = json.loads(path.read_text())
        group, name = about["group_id"], about.get("function_id") or about.get("value_str")
        if group.startswith(beginning):
            median = json.loads(path.with_name("estimates.json").read_text())["median"]
            operations = (about.get("throughput") or {}).get("Elements")
            yield group.removeprefix(beginning), name, operations, median["point_estimate"]


def pieces(bench):
    """What a step is spent on, out of criterion's estimates; nothing where there are none."""
    for experiment, piece, _, ns in estimates(bench, "pieces/"):
        if experiment in (e.name for e in ALL) and piece in (*PIECES, "step"):
            bench.add("pieces", experiment, 1, SEQLAB, 1, piece, ns / 1e6, "ms")


def libraries(bench):
    """What is written by hand beside libraries, likewise."""
    for experiment, name, operations, ns in estimates(bench, "libraries/"):
        what, _, who = name.rpartition(", ")
        value, unit = (operations / ns, "GFLOP/s") if operations else (ns / 1e3, "µs")
        bench.add("libraries", experiment, 1, who, 1, what, value, unit)


GROUPS = {
    function.__name__: function
    for function in (steps, replicas, pairs, startup, tutorial, memory, growth, peak, pieces, libraries)
}
