"""What scripts/plot.py draws and refuses; pictures only where its matplotlib is installed."""

import contextlib
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import plot

HEADER = (
    "replica,seed,epoch,step,samples,loss,accuracy,val_loss,val_accuracy,val_sequence_accuracy,"
    "learning_rate,grad_norm,seconds\n"
)


def line(replica, epoch, step, loss, val_loss="", accuracy="0.5"):
    return f"{replica},{replica},{epoch},{step},9,{loss},{accuracy},{val_loss},,,0.001,,0.1\n"


TWO_REPLICAS = HEADER + line(0, 1, 10, 4) + line(1, 1, 10, 2) + line(0, 1, 40, 1) + line(1, 1, 40, 5)


class Folder(unittest.TestCase):
    """A test with a directory of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def rows(self, text):
        return plot.read(self.write("run/curves.csv", text))


class Reading(Folder):
    def test_an_empty_cell_is_a_missing_value(self):
        rows = self.rows(HEADER + line(0, 1, 4, "", 2) + line(0, 2, 8, "NaN"))
        self.assertEqual([row["loss"] for row in rows], [None, None])
        self.assertEqual([row["val_loss"] for row in rows], [2, None])

    def test_a_file_that_seqlab_wrote_is_read(self):
        rows = plot.read(Path(__file__).parent.parent / "results/reproduction/echo/curves.csv")
        self.assertEqual((rows[-1]["step"], rows[-1]["steps"]), (2000, 4))

    def test_a_bad_file_is_named_with_what_is_wrong(self):
        whole = HEADER + line(0, 1, 4, 3)
        bad = {
            "": "no column replica, epoch",
            "step,loss\n1,2\n": "no column replica, epoch, accuracy",
            HEADER: "no rows yet",
            whole[:-3]: "the last line is cut off",
            whole + "0,1,2\n": "line 3 does not have 13 cells",
            whole.replace("0.001,", "0.001,,"): "line 2 does not have 13 cells",
            whole + line(0, 1, 8, "three"): "line 3: loss is 'three', not a number",
            whole + line(0, 1, "", 3): "line 3 lacks replica, epoch, step",
            whole + line(0, 1, 4, 3): "line 3: epoch 1, step 4 is out of order",
            whole + line(0, 0, 8, 3): "line 3: epoch 0, step 8 is out of order",
        }
        for text, message in bad.items():
            with self.assertRaises(plot.Failure, msg=message) as caught:
                self.rows(text)
            self.assertIn("run/curves.csv: " + message, caught.exception.args[0])


ATTENTION = "source,target_step,source_step,target_token,source_token,weight\n"
TWO_SOURCES = ATTENTION + (
    "0,0,0,b,a,0.25\n0,0,1,b,b,0.75\n0,1,0,a,a,1.0\n0,1,1,a,b,0.0\n7,0,0,\"$x,\",c,1.0\n"
)


class Attention(Folder):
    def weights(self, text):
        return plot.read_attention(self.write("inside/attention.weights.csv", text))

    def test_weights_are_read_by_source_with_their_tokens(self):
        found = self.weights(TWO_SOURCES)
        self.assertEqual(found["0"], (["a", "b"], ["b", "a"], [[0.25, 0.75], [1, 0]]))
        self.assertEqual(found["7"], (["c"], ["$x,"], [[1]]))

    def test_weights_that_are_not_whole_are_told(self):
        whole = TWO_SOURCES.splitlines(keepends=True)
        bad = {
            "source,weight\n": "no column target_step, source_step, target_token, source_token",
            ATTENTION: "no rows",
            "".join(whole[:-1])[:-1]: "the last line is cut off",
            "".join(whole[:1] + whole[2:]): "line 2 is out of order",
            "".join(whole[:2] + whole[3:]): "source 0 lacks weights",
            "".join(whole[:4]): "source 0 lacks weights",
            TWO_SOURCES.replace("0.75", ""): "line 3 is out of order, or has no weight",
            TWO_SOURCES.replace("0.75", "x"): "line 3: weight is 'x', not a number",
        }
        for text, message in bad.items():
            with self.assertRaises(plot.Failure, msg=message) as caught:
                self.weights(text)
            self.assertIn("attention.weights.csv: " + message, caught.exception.args[0])

    def test_a_directory_of_inspect_stands_for_its_weights(self):
        path = self.write("inside/attention.weights.csv", TWO_SOURCES)
        self.assertEqual(plot.curves_of(path.parent), [path])
        self.assertEqual(plot.targets_of([path], None), {path.with_suffix(""): path})
        self.assertEqual(plot.targets_of([path.parent], self.folder), {self.folder / "inside": path})


class Curves(Folder):
    def test_the_median_is_over_the_replicas_that_have_a_value(self):
        curves = [[(1, 5), (2, 1)], [(1, 1)], [(1, 2), (2, 2)]]
        self.assertEqual(plot.median(curves), [(1, 2), (2, 1.5)])

    def test_a_mean_weighs_rows_by_their_steps(self):
        first, second = plot.by_replica(self.rows(TWO_REPLICAS))
        self.assertEqual(plot.mean(first, "loss"), (10 * 4 + 30 * 1) / 40)
        self.assertEqual(plot.coarse(second, "loss", 2), [(40, (10 * 2 + 30 * 5) / 40)])

    def test_missing_values_have_no_weight_and_no_point(self):
        rows = self.rows(HEADER + line(0, 1, 1, 4) + line(0, 2, 2, "") + line(0, 3, 3, ""))
        self.assertEqual(plot.coarse(rows, "loss", 2), [(2, 4)])

    def test_one_row_an_epoch_is_the_mean_of_the_epoch_already(self):
        replicas = plot.by_replica(self.rows(TWO_REPLICAS))
        self.assertEqual(plot.epoch_mean(replicas, "loss"), (1.75 + 4.25) / 2)
        replicas = plot.by_replica(self.rows(HEADER + line(0, 1, 4, 3) + line(0, 2, 8, 3)))
        self.assertIsNone(plot.epoch_mean(replicas, "loss"))


class Published(Folder):
    def report(self, published):
        another = {"name": "another", "published": {"loss": {"low": 9, "high": 9}}}
        entries = [{"name": "run", "published": published, "other": 1}, another]
        self.write("report.json", json.dumps({"experiments": entries}))
        return plot.published(self.folder / "run")

    def test_figures_come_from_the_entry_of_the_run(self):
        published = {
            "loss": {"low": 1.5, "high": 2},
            "accuracy": None,
            "curve": [[1, 4], [2, 3]],
            "other": 1,
        }
        self.assertEqual(self.report(published), ([1.5, 2], [], [(1, 4), (2, 3)]))

    def test_without_an_entry_nothing_is_known(self):
        self.assertEqual(self.report(None), ([], [], []))
        self.assertEqual(plot.published(self.folder / "unknown"), ([], [], []))
        (self.folder / "report.json").unlink()
        self.assertEqual(plot.published(self.folder / "run"), ([], [], []))

    def test_another_file_is_refused_by_name(self):
        entry = '{"experiments": [{"name": "run", "published": {"curve": [[1, %s]]}}]}'
        numbers = [entry % number for number in ("NaN", "1e999", "1" + "0" * 400)]
        for text in ("{", "[]", "[" * 200_000, '{"experiments": [{}]}', *numbers):
            self.write("report.json", text)
            with self.assertRaises(plot.Failure, msg=text[:80]) as caught:
                plot.published(self.folder / "run")
            self.assertIn("report.json", caught.exception.args[0])


class CommandLine(Folder):
    def plot(self, *words):
        """The exit status and what was said."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            status = plot.main([str(word) for word in words])
        return status, said.getvalue()

    def test_a_directory_stands_for_the_runs_in_it(self):
        files = [self.write(f"{name}/curves.csv", TWO_REPLICAS) for name in "ab"]
        self.assertEqual(plot.curves_of(self.folder), files)
        self.assertEqual(plot.curves_of(self.folder / "b"), files[1:])
        self.assertEqual(plot.curves_of(files[0]), files[:1])

    def test_pictures_lie_beside_their_file_or_in_out(self):
        path = self.write("run/curves.csv", TWO_REPLICAS)
        beside, out = path.with_suffix(""), self.folder / "out"
        self.assertEqual(plot.targets_of([path.parent], None), {beside: path})
        self.assertEqual(plot.targets_of([path.parent], out), {out / "run": path})

    def test_two_runs_never_share_a_picture(self):
        for parent in "ab":
            (self.folder / parent).mkdir()
            self.write(f"{parent}/run/curves.csv", TWO_REPLICAS)
        words = self.folder / "a", self.folder / "b", "--out", self.folder
        status, said = self.plot(*words)
        self.assertEqual(status, 2)
        self.assertIn("would both be", said)

    def test_every_bad_file_is_told(self):
        for name in "ab":
            self.write(f"{name}/curves.csv", "")
        status, said = self.plot(self.folder)
        self.assertEqual(status, 2)
        for name in "ab":
            self.assertIn(f"error: {self.folder}/{name}/curves.csv: ", said)

    def test_a_path_without_curves_is_told(self):
        status, said = self.plot(self.folder)
        self.assertEqual(status, 2)
        self.assertIn(f"error: {self.folder}: no curves.csv there\nhint: ", said)

    def test_what_is_no_csv_is_told(self):
        self.write("run/curves.csv", HEADER + "x" * 200_000 + "\n")
        status, said = self.plot(self.folder)
        self.assertEqual(status, 2)
        self.assertIn(f"error: {self.folder}/run/curves.csv: field larger", said)


    def test_what_cannot_be_read_or_reached_is_told(self):
        (self.folder / "loop").symlink_to("loop")
        long, file = self.folder / ("long" * 100), self.write("file", "") / "below"
        for path in (self.folder / "missing", self.folder / "loop", long, file):
            status, said = self.plot(path)
            self.assertEqual(status, 2)
            self.assertTrue(said.startswith(f"error: {path}: ") and "\nhint: " in said, said)
        path = self.write("run/curves.csv", TWO_REPLICAS)
        denied = PermissionError(13, "Permission denied", str(path))
        for error, message in ((denied, "Permission denied"), (MemoryError(), "it does not fit")):
            with mock.patch.object(Path, "read_text", side_effect=error):
                status, said = self.plot(path)
            self.assertEqual(status, 2)
            self.assertIn(f"error: {path}: {message}", said)


class Program(Folder):
    """scripts/plot.py itself, with no matplotlib to draw with."""

    WORDS = [sys.executable, "-B", "-c"]
    WORDS.append(
        "import plot, sys, unittest.mock\n"
        "plot.figure_of = unittest.mock.Mock()\n"
        "sys.exit(plot.run())"
    )

    def run_it(self, path, **options):
        options = {"stdout": subprocess.PIPE, **options}
        place = Path(__file__).parent
        return subprocess.run([*self.WORDS, path], cwd=place, stderr=subprocess.PIPE, **options)

    def test_a_name_may_be_any_bytes(self):
        for name in (b"latin \xe9", b"\x1b[31m\nred", "\u202e".encode()):
            path = os.path.join(os.fsencode(self.folder), name)
            try:
                os.mkdir(path)
            except OSError:
                continue  # Not every file system has such names.
            ended = self.run_it(path)
            self.assertEqual((ended.returncode, ended.stdout), (2, b""))
            self.assertTrue(ended.stderr.startswith(b"error: "), ended.stderr)
            Path(os.fsdecode(path), "curves.csv").write_text(TWO_REPLICAS)
            ended = self.run_it(path)
            self.assertEqual((ended.returncode, ended.stderr), (0, b""))
            lines = ended.stdout.decode("ascii").splitlines()
            self.assertEqual([line[-4:] for line in lines], [".png", ".svg"])

    def test_output_that_nobody_reads_is_no_error(self):
        self.write("run/curves.csv", TWO_REPLICAS)
        reader, writer = os.pipe()
        os.close(reader)
        ended = self.run_it(self.folder, stdout=writer)
        os.close(writer)
        self.assertEqual((ended.returncode, ended.stderr), (0, b""))

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full")
    def test_output_that_cannot_be_written_is(self):
        self.write("run/curves.csv", TWO_REPLICAS)
        with open("/dev/full", "w") as full:
            ended = self.run_it(self.folder, stdout=full)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(b"error: cannot write standard output: ", ended.stderr)


def has_matplotlib():
    """Whether this Python has the version that scripts/plot installs."""
    requirements = Path(__file__).with_name("plot-requirements.txt").read_text()
    try:
        return f"matplotlib=={importlib.metadata.version('matplotlib')} " in requirements
    except importlib.metadata.PackageNotFoundError:
        return False


@unittest.skipUnless(has_matplotlib(), "scripts/plot's matplotlib is not installed")
class Pictures(Folder):
    def figure(self, text, *known):
        return plot.figure_of("run", self.rows(text), *(known or ([], [], [])))

    def test_the_same_run_is_the_same_bytes(self):
        path = self.write("run/curves.csv", TWO_REPLICAS)
        for name in "ab":
            with contextlib.redirect_stdout(io.StringIO()):
                plot.draw(path, self.folder / name)
        for suffix in (".png", ".svg"):
            first, second = [(self.folder / (name + suffix)).read_bytes() for name in "ab"]
            self.assertEqual(first, second)
            self.assertNotIn(b"<dc:date>", first)

    def test_an_attention_is_a_map_for_each_source(self):
        path = self.write("inside/attention.weights.csv", TWO_SOURCES)
        pictures = [plot.draw(path, self.folder / name) for name in "ab"]
        self.assertEqual(pictures[0], [f"{self.folder}/a-{k}{end}" for k in "07" for end in (".png", ".svg")])
        for first, second in zip(*pictures):
            self.assertEqual(Path(first).read_bytes(), Path(second).read_bytes())

    def test_a_map_has_the_tokens_on_its_axes(self):
        axes = plot.attention_map("name", ["$a", "b"], ["c"], [[0.25, 0.75]]).axes[0]
        self.assertEqual(axes.images[0].get_array().tolist(), [[0.25, 0.75]])
        labels = [[text.get_text() for text in axis.get_ticklabels()] for axis in (axes.xaxis, axes.yaxis)]
        self.assertEqual(labels, [["$a", "b"], ["c"]])
        many = [str(k) for k in range(400)]
        axes = plot.attention_map("name", many, ["c"], [[1 / 400] * 400]).axes[0]
        self.assertEqual([text.get_text() for text in axes.get_xticklabels()], many[::14])

    def test_a_thin_line_a_replica_and_their_median(self):
        lines = self.figure(TWO_REPLICAS).axes[0].lines
        values = [list(line.get_ydata()) for line in lines]
        self.assertEqual(values, [[4, 1], [2, 5], [3, 3]])

    def test_many_rows_of_one_replica_are_smoothed(self):
        text = HEADER + "".join(line(0, i, i, 1 + i % 2) for i in range(1, 251))
        raw, smooth = self.figure(text).axes[0].lines
        self.assertEqual((len(raw.get_ydata()), set(smooth.get_ydata())), (250, {1.5}))

    def test_the_loss_is_logarithmic_from_a_factor_of_ten_on(self):
        for last, scale in ((0.41, "linear"), (0.39, "log")):
            text = HEADER + line(0, 1, 4, 4) + line(0, 2, 8, last)
            self.assertEqual(self.figure(text).axes[0].get_yscale(), scale)

    def test_published_figures_are_where_the_run_ends(self):
        text = HEADER + line(0, 1, 4, 4) + line(0, 2, 8, 2, 3)
        figure = self.figure(text, [1.5, 1.7], [1, 1], [(1.5, 3)])
        drawn = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
        self.assertEqual(drawn["published"], [[8, 1.5], [8, 1.7]])
        self.assertEqual(drawn["published curve"], [[6, 3]])
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        self.assertEqual(labels, ["training", "validation", "published", "published curve"])


if __name__ == "__main__":
    unittest.main()
