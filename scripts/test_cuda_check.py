"""What scripts/cuda-check finds, with a program that only looks like seqlab."""

import contextlib
import csv
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import cuda_check

# Stands for CUPTI and a program that it watches: a call of the runtime that launches by the driver, a call of the
# driver, and one that launches nothing.
CUPTI = """
#include <stdint.h>
#include <stddef.h>
struct call { int site; const char *name; };
typedef void called(void *, int, uint32_t, const struct call *);
int InitializeInjection(void);
static called *back;
int cuptiSubscribe(void **to, called *callback, void *data) { *to = data; back = callback; return 0; }
int cuptiEnableDomain(uint32_t on, void *to, int domain) { return to != NULL || !on || domain < 1 || domain > 2; }
static void tell(int domain, int site, const char *name) {
    struct call call = {site, name};
    back(NULL, domain, 0, &call);
}
int main(void) {
    if (!InitializeInjection()) return 1;
    tell(2, 0, "cudaLaunchKernel"), tell(1, 0, "cuLaunchKernel"), tell(1, 1, "cuLaunchKernel");
    tell(2, 1, "cudaLaunchKernel"), tell(1, 0, "cuGraphLaunch"), tell(1, 1, "cuGraphLaunch");
    tell(2, 0, "cudaGetDevice"), tell(2, 1, "cudaGetDevice");
    return 0;
}
"""

# Trains without training: two rows a replica, whose losses a GPU may have a little off.
PROGRAM = """#!{python}
import json, os, signal, sys, time
words = sys.argv[1:]
def flag(name, default=""):
    return words[words.index(name) + 1] if name in words else default
if words[0] == "--version":
    print("seqlab 0.0.0")
if words[0] == "doctor":
    print("libtorch  2.13.0")
if words[0] == "train":
    os.makedirs(flag("--out"), exist_ok=True)
    off = float(os.environ.get("OFF", "0")) if flag("--device") != "cpu" else 0.0
    with open(flag("--out") + "/curves.csv", "w") as file:
        print("replica,step,loss,seconds", file=file)
        for step in range(5, 105, 5):
            for replica in range(int(flag("--replicas", "1"))):
                print(replica, step, 1.0 / step + off, 0.002 * step, sep=",", file=file)
    with open(flag("--out") + "/summary.json", "w") as file:
        json.dump({{}}, file)
    if os.environ.get("SEQLAB_LAUNCHES"):
        steps = int(flag("--samples", "0")) // 32 or int(flag("--epochs"))
        with open(os.environ["SEQLAB_LAUNCHES"], "w") as file:
            print(900 + (50 * min(steps, 3) + max(steps - 3, 0)) * int(os.environ["LAUNCHES"]), file=file)
    if os.environ.get("NOTE") and flag("--device") != "cpu":
        print("steps took longer than they should: " + os.environ["NOTE"], file=sys.stderr)
    if "1000000" in words or "100000000" in words:
        signal.signal(signal.SIGINT, lambda *_: sys.exit(3))
        time.sleep(60)
"""


class CudaCheck(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.program = self.folder / "seqlab"
        self.program.write_text(PROGRAM.format(python=sys.executable))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def check(self, *words, **environment):
        """The status, the report and the CSV files of a run."""
        out = self.folder / "out"
        words = ["--program", str(self.program), "--out", str(out), "--quick", *words]
        before = dict(os.environ)
        os.environ.update(environment)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                status = cuda_check.main(words)
        finally:
            os.environ.clear()
            os.environ.update(before)
        tables = {path.stem: list(csv.reader(path.read_text().splitlines())) for path in out.glob("*.csv")}
        return status, (out / "report.md").read_text(), tables

    def test_equal_losses_pass_and_are_reported(self):
        status, report, tables = self.check("machine", "compare", "repeat")
        self.assertEqual(status, 0, report)
        self.assertEqual(len(tables["compare"]), 1 + len(cuda_check.QUICK))
        self.assertEqual({line[4] for line in tables["compare"][1:]}, {"0.0e+00"})
        self.assertEqual({line[2] for line in tables["repeat"][1:]}, {"yes"})
        self.assertIn("libtorch  2.13.0", report)

    def test_losses_that_are_too_far_apart_fail(self):
        near = self.check("compare", OFF="9e-6")
        far = self.check("compare", OFF="2e-5")
        self.assertEqual((near[0], far[0]), (0, 1))
        self.assertIn("losses are 2.0e-05 apart", far[1])

    def test_steps_that_could_not_be_recorded_fail(self):
        status, report, _ = self.check("compare", NOTE="no graph")
        self.assertEqual(status, 1)
        self.assertIn("steps took longer than they should: no graph", report)

    def test_a_step_is_timed_by_the_later_half_of_its_rows(self):
        status, report, tables = self.check("steps", "--device", "cpu")
        self.assertEqual(status, 0, report)
        self.assertEqual({line[3] for line in tables["steps"][1:]}, {"2.0000"})

    def test_what_cannot_run_is_told(self):
        self.program.write_text("#!/bin/sh\necho no such preset >&2; exit 2\n")
        status, report, _ = self.check("compare")
        self.assertEqual(status, 1)
        self.assertIn("**FAILED:** compare: train echo", report)
        self.assertIn("no such preset", report)

    def test_launches_of_a_step_are_those_that_one_more_takes(self):
        words = ["launches", "--device", "cuda", "--counter", "count_launches.so"]
        status, report, tables = self.check(*words, LAUNCHES="2")
        self.assertEqual(status, 0, report)
        self.assertEqual(len(tables["launches"]), 1 + 2 * len(cuda_check.COUNTED))
        self.assertEqual({tuple(line[2:]) for line in tables["launches"][1:]}, {("100.0", "2.0")})
        status, report, _ = self.check(*words, LAUNCHES="-9")
        self.assertEqual(status, 1)

    @unittest.skipUnless(shutil.which("cc"), "there is no C compiler")
    def test_a_launch_is_counted_once(self):
        (self.folder / "cupti.c").write_text(CUPTI)
        counter = Path(__file__).parent / "count_launches.c"
        subprocess.run(["cc", "-o", "watched", "cupti.c", counter, "-ldl", "-rdynamic"], cwd=self.folder, check=True)
        environment = {**os.environ, "SEQLAB_LAUNCHES": "count"}
        subprocess.run(["./watched"], cwd=self.folder, env=environment, check=True)
        self.assertEqual((self.folder / "count").read_text(), "2\n")

    def test_without_a_gpu_the_stages_that_need_one_say_so(self):
        python = ["--python", "/bin/false"]
        status, report, _ = self.check("tests", "launches", "twin", "auto", "--device", "cpu", *python)
        self.assertEqual(status, 0, report)
        self.assertEqual(report.count("Skipped: "), 4)

    def test_a_stage_that_there_is_not_is_refused(self):
        with self.assertRaises(SystemExit) as refused, contextlib.redirect_stderr(io.StringIO()):
            cuda_check.arguments_of(["--program", "x", "speed"])
        self.assertEqual(refused.exception.code, 2)


if __name__ == "__main__":
    unittest.main()
