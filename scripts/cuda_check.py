"""What scripts/cuda-check runs: whether a GPU computes what the CPU does, and how long a step takes there.

It uses the program's command line alone, and nothing that Python does not bring, so that it also runs on a
machine with neither Rust nor a network: see --pack in scripts/cuda-check.
"""

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

STAGES = ("machine", "tests", "compare", "repeat", "steps", "launches", "twin", "auto", "memory")

# Losses in float32 may be this far apart between a GPU and the CPU, TF32 off.
BOUND = 1e-5

# Models by their flags. What a step reads and how it is computed differs between them.
MODELS = {
    "echo": "echo --epochs 50",
    "echo-lag": "echo-lag --epochs 50",
    "partial-echo-2": "partial-echo-2 --epochs 40",
    "partial-echo-4": "partial-echo-4 --epochs 40",
    "reverse": "reverse --samples 1600",
    "addition-2": "addition-2 --samples 1600 --epochs 1",
    "padded-echo": "padded-echo --epochs 60",
    "padded-echo-attention": "padded-echo-attention --epochs 60",
    "reverse-400-40": "reverse-400-40 --samples 640 --epochs 1",
    "lengths, attention, dropout": "reverse --samples 1600 --n-in-min 3 --attention general"
    " --bidirectional true --embedding 32 --dropout 0.2 --recurrent-dropout 0.1",
    "additive attention": "reverse --samples 1600 --attention additive --embedding 16",
    "layers, clipping": "reverse --samples 1600 --layers 2 --global-clipnorm 0.5",
}

# Those of a quick look.
QUICK = ("echo", "reverse", "layers, clipping")

# Presets whose steps are timed, with epochs or samples that do not come to an end.
TIMED = {
    "echo": "echo --epochs 1000000",
    "partial-echo-2": "partial-echo-2 --epochs 1000000",
    "partial-echo-4": "partial-echo-4 --epochs 1000000",
    "reverse": "reverse --samples 100000000",
}

# Presets with flags for some steps, whose launches are counted.
COUNTED = {
    "echo": lambda steps: f"echo --epochs {steps} --length 10",
    "partial-echo-2": lambda steps: f"partial-echo-2 --epochs {steps}",
    "partial-echo-4": lambda steps: f"partial-echo-4 --epochs {steps}",
    "reverse": lambda steps: f"reverse --epochs 1 --samples {32 * steps}",
}

# Steps of two trainings, whose difference is a step's: none is a CUDA graph yet, or nearly all are.
FEW, MANY = (2, 3), (40, 80)


class Check:
    """The program, where it computes, and where results go."""

    def __init__(self, arguments):
        self.program, self.tests = os.path.abspath(arguments.program), arguments.tests
        self.counter, self.python = arguments.counter, arguments.python
        self.device, self.out, self.quick = arguments.device, os.path.abspath(arguments.out), arguments.quick
        self.seconds = 0.4 if self.quick else arguments.seconds
        # Many replicas take a CPU minutes that plays a GPU's part.
        many = (1, 16) if self.device == "cpu" else (1, 16, 64, 256)
        self.replicas = (1, 2) if self.quick else many
        self.folder = tempfile.mkdtemp(prefix="seqlab-cuda-check-")
        self.report = []
        self.good = True

    def say(self, text):
        print(text, flush=True)
        self.report.append(text)

    def fail(self, text):
        self.good = False
        self.say("**FAILED:** " + text)

    def run(self, words, limit=600, **environment):
        command, environment = [self.program, *words.split()], {**os.environ, **environment}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=limit
        )

    def train(self, words, name="run"):
        """The rows and the summary of a training, and what it said."""
        shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)
        done = self.run(f"train {words} --log-every 1 --evaluation-samples 20 --quiet --out {name}")
        if done.returncode:
            raise RuntimeError(f"train {words}: {done.stderr.strip()}")
        with open(os.path.join(self.folder, name, "summary.json")) as file:
            return rows_of(os.path.join(self.folder, name)), json.load(file), done.stderr.strip()

    def table(self, name, header, rows):
        """Writes a CSV file, and the same as a table of the report."""
        with open(os.path.join(self.out, name + ".csv"), "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
        lines = [header, ["---"] * len(header), *rows]
        self.say("\n" + "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n")


def rows_of(run):
    with open(os.path.join(run, "curves.csv"), newline="") as file:
        return list(csv.DictReader(file))


def losses(rows):
    return [(row["replica"], row["step"], float(row["loss"])) for row in rows]


def machine(check):
    check.say("\n## Machine\n")
    done = check.run("doctor")
    check.say("```text\n" + done.stdout.strip() + "\n```")
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        check.say("\n" + subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip())
    except (OSError, subprocess.CalledProcessError):
        check.say("\nnvidia-smi shows no GPU.")
    if done.returncode:
        check.fail("seqlab doctor")


def tests(check):
    check.say("\n## tests/cuda.rs\n")
    if not check.tests:
        check.say("Skipped: there is no binary of it.")
        return
    done = subprocess.run([check.tests, "--test-threads", "4"], capture_output=True, text=True, timeout=900)
    results = re.findall(r"^test (\S+) \.\.\. (\w+)$", done.stdout, re.MULTILINE)
    check.table("tests", ["test", "result"], results)
    skipped = sorted(set(re.findall(r"^skipped: .*$", done.stderr, re.MULTILINE)))
    check.say("\n".join(skipped))
    if done.returncode:
        check.fail("tests/cuda.rs\n\n```text\n" + done.stdout[-2000:] + "\n```")


def compare(check):
    check.say(f"\n## Losses beside the CPU's\n\nAll losses of some steps, float32; {BOUND} apart at the most.\n")
    table = []
    for name, words in MODELS.items():
        # A GPU's part is slow where a CPU plays it.
        if check.quick and name not in QUICK:
            continue
        for replicas in (1, 3):
            for gates in ("hard_sigmoid", "sigmoid"):
                if check.quick and (replicas, gates) != (3, "hard_sigmoid"):
                    continue
                words_here = f"{words} --replicas {replicas} --gate-activation {gates}"
                there, _, said = check.train(f"{words_here} --device {check.device} --engine libtorch")
                here, _, _ = check.train(f"{words_here} --device cpu --engine fused")
                pairs = list(zip(losses(there), losses(here)))
                largest = max(abs(a[2] - b[2]) for a, b in pairs)
                same = len(there) == len(here) and all(a[:2] == b[:2] for a, b in pairs)
                table.append([name, gates, replicas, len(there), f"{largest:.1e}"])
                if not same or largest > BOUND:
                    check.fail(f"train {words_here}: losses are {largest:.1e} apart")
                if "longer than" in said:
                    check.fail(f"train {words_here}: {said}")
    check.table("compare", ["model", "gates", "R", "losses", "largest difference"], table)


def repeat(check):
    check.say("\n## The same bits twice\n")
    table = []
    for name in ("echo", "partial-echo-4", "reverse", "lengths, attention, dropout"):
        for replicas in (1, 32)[: 1 if check.quick else 2]:
            words = f"{MODELS[name]} --replicas {replicas} --device {check.device} --engine libtorch"
            once, again = (losses(check.train(words)[0]) for _ in range(2))
            table.append([name, replicas, "yes" if once == again else "no"])
    check.table("repeat", ["model", "R", "same bits"], table)


def milliseconds(check, words):
    """ms a step of a training that is interrupted; `None` where it is too slow to tell."""
    shutil.rmtree(os.path.join(check.folder, "timed"), ignore_errors=True)
    command = [check.program, "train", *words.split(), "--log-every", "5", "--quiet", "--out", "timed"]
    process = subprocess.Popen(command, cwd=check.folder, stderr=subprocess.PIPE, text=True)
    curves = os.path.join(check.folder, "timed")
    # Until there are rows: starting takes longer than some steps do.
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until and not has_rows(curves):
        time.sleep(0.05)
    try:
        process.wait(check.seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        said = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    if not has_rows(curves):
        raise RuntimeError(f"train {words}: {said.strip()}")
    rows = [row for row in rows_of(curves) if row["replica"] == "0"]
    late = rows[len(rows) // 2 :]
    steps = int(late[-1]["step"]) - int(late[0]["step"])
    spent = float(late[-1]["seconds"]) - float(late[0]["seconds"])
    return 1e3 * spent / steps if steps >= 20 else None


def has_rows(run):
    try:
        return len(rows_of(run)) > 0
    except (OSError, csv.Error):
        return False


def shown(ms):
    return "" if ms is None else f"{ms:.4f}"


def steps(check):
    check.say("\n## Time of a step\n\nms a step of all replicas in the training loop, the later half of a short time; empty where there were fewer than 20.\n")
    table = []
    for name, words in TIMED.items():
        for replicas in check.replicas:
            for gates in ("hard_sigmoid", "sigmoid")[: 1 if check.quick else 2]:
                these = f"{words} --replicas {replicas} --gate-activation {gates}"
                there = milliseconds(check, f"{these} --device {check.device} --engine libtorch")
                here = milliseconds(check, f"{these} --device cpu --engine fused")
                table.append([name, gates, replicas, shown(there), shown(here)])
    check.table("steps", ["preset", "gates", "R", f"ms, {check.device}", "ms, CPU"], table)


def launches(check):
    check.say("\n## Launches a step\n\nKernels, copies and recordings, of the first steps and once they are recorded.\n")
    if check.device == "cpu" or not check.counter:
        check.say("Skipped: " + ("there is no GPU to launch on." if check.device == "cpu" else "nothing counts them."))
        return
    table = []
    for name, words in COUNTED.items():
        for replicas in (1, 64):
            by_steps = []
            for pair in (FEW, MANY):
                before, after = (launched(check, f"{words(steps)} --replicas {replicas}") for steps in pair)
                by_steps.append(f"{(after - before) / (pair[1] - pair[0]):.1f}")
            table.append([name, replicas, *by_steps])
    check.table("launches", ["preset", "R", "a step", "a recorded step"], table)


def launched(check, words):
    """What a training launches in all."""
    path = os.path.join(check.folder, "launches")
    shutil.rmtree(os.path.join(check.folder, "counted"), ignore_errors=True)
    done = check.run(
        f"train {words} --log-every 1000 --evaluation-samples 20 --quiet --out counted"
        f" --device {check.device} --engine libtorch",
        CUDA_INJECTION64_PATH=os.path.abspath(check.counter),
        SEQLAB_LAUNCHES=path,
    )
    if done.returncode:
        raise RuntimeError(f"train {words}: {done.stderr.strip()}")
    with open(path) as file:
        found = int(file.read())
    if not found:
        raise RuntimeError(f"no launch was counted: {done.stderr.strip()}")
    return found


def twin(check):
    check.say("\n## Beside PyTorch\n\nms a step of nn.LSTM, eager, and of seqlab on the same model, gates sigmoid.\n")
    peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "benchmark", "peer.py")
    if subprocess.run([check.python, "-c", "import numpy, torch"], capture_output=True).returncode:
        check.say(f"Skipped: {check.python} has no PyTorch.")
        return
    sys.path.insert(0, os.path.dirname(peer))
    import experiments

    table = []
    for experiment in experiments.ALL[: 1 if check.quick else None]:
        name = experiment.name
        command = [check.python, "-B", peer, "pytorch", name, "1", str(os.cpu_count()), check.device]
        asked = f"warm {check.seconds} 0\nrun {check.seconds}\n"
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(f"PyTorch, {name}: {done.stderr.strip()[-500:]}")
        seconds, steps = json.loads(done.stdout.splitlines()[-1])
        flags = " ".join(experiment.seqlab_flags(1_000_000))
        ours = milliseconds(check, f"{flags} --device {check.device} --engine libtorch")
        table.append([name, shown(1e3 * seconds / steps), shown(ours)])
    check.table("twin", ["model", "ms, PyTorch", "ms, seqlab"], table)


def auto(check):
    check.say("\n## What --device auto takes\n")
    if check.device == "cpu":
        check.say("Skipped: there is no GPU to choose.")
        return
    table = []
    for name, words in MODELS.items():
        for replicas in (1, 16):
            shutil.rmtree(os.path.join(check.folder, "chosen"), ignore_errors=True)
            line = check.run(f"train {words} --replicas {replicas} --device auto --evaluation-samples 20 --out chosen").stderr
            found = re.search(r" on (\S+) \(a step is (\w+) to take (\S+) ms on the CPU and (\S+) ms on the GPU\)", line)
            table.append([name, replicas, *(found.groups() if found else ["?"] * 4)])
    check.table("auto", ["model", "R", "taken", "how", "ms, CPU", "ms, GPU"], table)


def memory(check):
    check.say("\n## Memory over many steps\n")
    many = 200 if check.quick else 10_000
    shutil.rmtree(os.path.join(check.folder, "long"), ignore_errors=True)
    words = f"train reverse --samples {32 * many} --evaluation-samples 20 --device {check.device} --engine libtorch"
    process = subprocess.Popen([check.program, *words.split(), "--quiet", "--out", "long"], cwd=check.folder)
    table, begin = [], time.monotonic()
    while process.poll() is None:
        table.append([f"{time.monotonic() - begin:.0f}", resident(process.pid), of_gpu()])
        time.sleep(0.5 if check.quick else 2)
    check.table("memory", ["second", "process, MiB", "GPU, MiB"], table)
    if process.returncode:
        check.fail(words)


def resident(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) // 1024
    except (OSError, AttributeError):
        return ""


def of_gpu():
    try:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return ""


def arguments_of(words):
    parser = argparse.ArgumentParser(prog="scripts/cuda-check", description=__doc__.split("\n")[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; default: all")
    parser.add_argument("--program", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--tests", help=argparse.SUPPRESS)
    parser.add_argument("--counter", help=argparse.SUPPRESS)
    parser.add_argument("--python", default=sys.executable, help="whose PyTorch is timed beside (%(default)s)")
    parser.add_argument("--check-usage", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the stages (cuda)")
    parser.add_argument("--out", default="results/cuda-check", help="folder of report.md and CSV files (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for which a step is timed (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a look that every stage runs: no result")
    arguments = parser.parse_args(words)
    unknown = [stage for stage in arguments.stages if stage not in STAGES]
    if unknown:
        parser.error(f"no stage {unknown[0]}: expected some of {', '.join(STAGES)}")
    return arguments


def main(words):
    arguments = arguments_of(words)
    if arguments.check_usage:
        return 0
    check = Check(arguments)
    os.makedirs(check.out, exist_ok=True)
    version = check.run("--version").stdout.strip()
    check.say(f"# seqlab on {arguments.device}\n\n{version}, {time.strftime('%Y-%m-%d')}.")
    if check.quick:
        check.say("\nA quick look, no result.")
    try:
        for stage in STAGES:
            if not arguments.stages or stage in arguments.stages:
                try:
                    globals()[stage](check)
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    check.fail(f"{stage}: {error}")
    finally:
        shutil.rmtree(check.folder, ignore_errors=True)
        with open(os.path.join(check.out, "report.md"), "w") as file:
            file.write("\n".join(check.report) + "\n")
    return 0 if check.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
