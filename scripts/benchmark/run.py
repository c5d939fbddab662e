"""Runs the benchmark and writes bench.csv, machine.json and bench.md; start it by scripts/bench."""

import argparse
import csv
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import report
from contestants import Bench, Failure
from groups import GROUPS

PACKAGES = ["jax", "jaxlib", "keras", "numpy", "tensorflow", "tensorflow-cpu", "torch"]


class Parser(argparse.ArgumentParser):
    """Errors in seqlab's form."""

    def error(self, message):
        print(f"error: {message}\nhint: scripts/bench --help lists the options", file=sys.stderr)
        sys.exit(2)


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def arguments():
    about = "Times seqlab beside Keras, PyTorch and JAX."
    parser = Parser("scripts/bench", description=about, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 s: a try, no result")
    parser.add_argument("--only", choices=GROUPS, metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--rounds", type=positive, metavar="N", help="[default: 5]")
    parser.add_argument("--threads", type=positive, metavar="N", help="[default: all cores]")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, metavar="DIR", help="[default: results/bench]")
    # Where scripts/bench put what it built.
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seqlab", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--criterion", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plan", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    cores = os.cpu_count()
    options.threads = options.threads or cores
    if options.threads > cores:
        parser.error(f"--threads {options.threads}, but there are {cores} cores")
    return options


def command_of(options):
    """The command that repeats the run."""
    words = ["scripts/bench"]
    words += ["--quick"] if options.quick else []
    words += ["--only", options.only] if options.only else []
    words += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
    return shlex.join([*words, "--device", options.device])


def cpu_model():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions():
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def git_commit(root):
    def git(*words):
        return subprocess.run(
            ["git", "-C", root, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", "src", "Cargo.lock")
        return git("rev-parse", "--short", "HEAD") + (" with changes" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine(options):
    """Where and with what it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "os": platform.platform(),
        "python": platform.python_version(),
        "device": options.device,
        "versions": versions(),
    }


def about_run(options):
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "command": command_of(options),
        "commit": git_commit(options.root),
        "date": now.strftime("%Y-%m-%d"),
        "threads": options.threads,
    }


def write(options, done, rows):
    """The files, with what an earlier run left of the groups that this one has not measured."""
    options.out.mkdir(parents=True, exist_ok=True)
    csv_path, json_path = options.out / "bench.csv", options.out / "machine.json"
    runs, kept = {}, []
    about = machine(options)
    if csv_path.exists() and json_path.exists():
        before = json.loads(json_path.read_text())
        runs = before.pop("runs")
        if before == about:
            measured = {row[0] for row in rows} - {"agreement"} | {done}
            again = {tuple(row[:4]) for row in map(lambda r: tuple(map(str, r)), rows)}
            kept = [
                row
                for row in report.read(csv_path)
                if row[0] not in measured and not (row[0] == "agreement" and row[:4] in again)
            ]
        else:
            runs = {}
    runs[done] = about_run(options)
    with open(csv_path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(report.COLUMNS)
        writer.writerows(kept)
        writer.writerows((*row[:6], f"{row[6]:.6g}", row[7]) for row in rows)
    json_path.write_text(json.dumps({**about, "runs": runs}, indent=2) + "\n")
    report.write(options.out)


def measure(options):
    bench = Bench(options)
    bench.criterion = options.criterion
    try:
        for name, group in GROUPS.items():
            if options.only in (None, name):
                bench.rows = []
                group(bench)
                write(options, name, bench.rows)
    finally:
        bench.close()


def main():
    options = arguments()
    if options.plan:
        print("plan", options.device, "quick" if options.quick else "full", options.only or "all")
        return
    options.out = options.out or options.root / "results" / "bench"
    if hasattr(os, "sched_setaffinity") and options.threads < len(os.sched_getaffinity(0)):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        measure(options)
    except KeyboardInterrupt:
        sys.exit(130)
    except Failure as failure:
        hint = f"\nhint: {failure.hint}" if failure.hint else ""
        sys.exit(f"error: {failure}{hint}")
    print((options.out / "bench.md").read_text())


if __name__ == "__main__":
    main()
