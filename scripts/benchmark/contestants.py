"""Runs the contestants: every one in a process of its own, none of which outlives the benchmark."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SEQLAB = "seqlab"
MACHINE = "machine"  # what is measured of it stands beside the contestants
KERAS = ["keras-tensorflow", "keras-jax"]
PYTORCH = ["pytorch", "pytorch-compiled"]
PEERS = [*KERAS, *PYTORCH, "jax"]
PAIRS_PEERS = ["pytorch", "jax"]


class Failure(Exception):
    """An error with a hint."""

    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint


class Bench:
    """What all measurements share: settings, a scratch folder, the living processes."""

    def __init__(self, arguments):
        self.quick, self.device = arguments.quick, arguments.device
        self.rounds, self.threads = arguments.rounds, arguments.threads
        self.seqlab = arguments.seqlab
        self.seconds = 1 if self.quick else 5
        self.scratch = Path(tempfile.mkdtemp(prefix="seqlab-bench-"))
        self.processes = []
        self.rows = []

    def add(self, group, experiment, replicas, contestant, round_, metric, value, unit):
        self.rows.append((group, experiment, replicas, contestant, round_, metric, value, unit))
        shown = f"{experiment} R={replicas} {contestant}: {metric} {value:.5g} {unit}"
        print(f"bench: {group} {shown}", file=sys.stderr, flush=True)

    def environment(self, contestant):
        """As a user would set it, and nothing left to a framework's guess."""
        threads = str(self.threads)
        names = ["OMP", "MKL", "OPENBLAS"]
        environment = dict(os.environ, **{f"{name}_NUM_THREADS": threads for name in names})
        environment |= {"NPROC": threads, "PJRT_NPROC": threads}
        environment |= {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
        environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(self.scratch / "inductor")
        environment["JAX_PLATFORMS"] = "cuda" if self.device == "cuda" else "cpu"
        if self.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        if contestant in KERAS:
            environment["KERAS_BACKEND"] = contestant.removeprefix("keras-")
        return environment

    def spawn(self, command, environment=None):
        """A process at the head of a group, so that its own children can be ended with it."""
        log = tempfile.TemporaryFile("w+", dir=self.scratch)
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
            env=environment,
            start_new_session=True,
        )
        process.log, process.started = log, started
        self.processes.append(process)
        return process

    def finish(self, process):
        """Lets it come to its end: what it printed, its wall time, its peak memory in MiB."""
        process.stdin.close()
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - process.started
        process.returncode = os.waitstatus_to_exitcode(status)
        self.processes.remove(process)
        if process.returncode != 0:
            raise self.died(process)
        scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
        return output, wall, usage.ru_maxrss / scale

    def two_threads(self):
        """What two threads get of the processor, by `seqlab doctor`; None where there is one core."""
        output, _, _ = self.finish(self.spawn([self.seqlab, "doctor", "--json"]))
        return json.loads(output)["two_threads"]

    def died(self, process):
        process.log.seek(0)
        tail = "".join(process.log.readlines()[-15:])
        command = " ".join(process.args)
        return Failure(f"'{command}' failed:\n{tail}".rstrip(), "run it alone to see more")

    def close(self):
        """Ends whatever still runs, and its children."""
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        self.processes.clear()
        shutil.rmtree(self.scratch, ignore_errors=True)


class Peer:
    """A peer's process, which sleeps between commands; see `peer.py`."""

    def __init__(self, bench, contestant, experiment, replicas=1):
        self.bench, self.contestant = bench, contestant
        self.experiment, self.replicas = experiment, replicas
        arguments = [contestant, experiment.name, replicas, bench.threads, bench.device]
        command = [sys.executable, HERE / "peer.py", *arguments]
        self.process = bench.spawn(command, bench.environment(contestant))

    def ask(self, *command):
        try:
            print(*command, file=self.process.stdin)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.process.wait()
            self.bench.processes.remove(self.process)
            raise self.bench.died(self.process)
        return json.loads(answer)

    def curve(self, epochs, seeds):
        """Mean loss of each tenth of so many epochs, averaged over the seeds."""
        curves = [self.ask("curve", seed, epochs) for seed in seeds]
        return [sum(tenth) / len(tenth) for tenth in zip(*curves)]

    def warm(self):
        self.ask("warm", self.bench.seconds, int(not self.bench.quick))

    def block(self):
        """ms a step over a block."""
        seconds, steps = self.ask("run", self.bench.seconds)
        return seconds / steps * 1e3

    def train(self, epochs):
        """Seconds from the start of the process to the end of so many epochs."""
        self.ask("train", epochs)
        return time.perf_counter() - self.process.started

    def close(self):
        """Its peak memory in MiB."""
        return self.bench.finish(self.process)[2]


class Seqlab:
    """seqlab: each block is a run, timed by its own account of the training loop."""

    contestant = SEQLAB

    def __init__(self, bench, experiment, replicas=1):
        self.bench, self.experiment, self.replicas = bench, experiment, replicas
        self.epochs = 1

    def train(self, epochs, *flags, evaluated=1):
        """Trains so many epochs: the run folder, wall time, peak memory in MiB."""
        out = self.bench.scratch / "run"
        shutil.rmtree(out, ignore_errors=True)
        command = [self.bench.seqlab, "train", *self.experiment.seqlab_flags(epochs)]
        command += ["--replicas", self.replicas, "--device", self.bench.device, "--quiet"]
        command += ["--evaluation-samples", evaluated, "--out", out, *flags]
        _, wall, memory = self.bench.finish(self.bench.spawn(command))
        return out, wall, memory

    def timed(self):
        """Seconds that the loop over `self.epochs` took."""
        summary = json.loads((self.train(self.epochs)[0] / "summary.json").read_text())
        return summary["train_seconds"]

    def warm(self):
        """Finds how many epochs a block has. A short run is mostly what comes besides its steps: the first look at
        memory, and the checkpoint at its end."""
        spent = self.timed()
        while spent < 0.7 * self.bench.seconds:
            growth = min(self.bench.seconds / spent, 50)
            self.epochs = max(self.epochs + 1, int(self.epochs * growth))
            spent = self.timed()
        self.epochs = max(1, round(self.epochs * self.bench.seconds / spent))

    def block(self):
        """ms a step of all replicas over a block."""
        return self.timed() / (self.epochs * self.experiment.batches) * 1e3

    def close(self):
        """There is no process between blocks."""
