"""Draws the loss and accuracy of runs over optimiser steps, and what an attention looks at; start it by
scripts/plot."""

import argparse
import contextlib
import csv
import json
import math
import os
import statistics
import sys
from pathlib import Path

ABOUT = """Draws runs as curves.png and curves.svg beside their curves.csv: a thin line a replica,
the median over the replicas thick, validation dashed. Published figures are marked where there is
a report.json beside the run directories. Of a directory that seqlab inspect wrote, draws a map of the
attention's weights for each source."""
KEYS = ["replica", "epoch", "step"]
VALUES = ["loss", "accuracy", "val_loss", "val_accuracy", "val_sequence_accuracy"]
# What an attention looks at, in a directory of seqlab inspect.
ATTENTION = "attention.weights.csv"
WEIGHT = ["source", "target_step", "source_step", "target_token", "source_token", "weight"]
# More tokens than so many on an axis have no room.
MAX_TOKENS = 30
# A line of more points is a band of noise: it is smoothed.
MAX_POINTS = 125
# From Okabe and Ito's palette: distinct to the colour-blind, and in lightness.
SKY, BLUE, VERMILLION, PURPLE = "#56B4E9", "#0072B2", "#D55E00", "#CC79A7"
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": 200,
    # The same ids in the SVG every time.
    "svg.hashsalt": "seqlab",
}


class Failure(Exception):
    """A message for the user and a hint."""


@contextlib.contextmanager
def failing(path):
    """Lets what goes wrong on the way to, in or with `path` be a `Failure`."""
    try:
        yield
    except ImportError as error:
        raise Failure(f"no matplotlib: {error}", "scripts/plot installs it") from None
    except OSError as error:
        message = f"{error.filename or path}: {error.strerror or error}"
        raise Failure(message, "check the path, its permissions and the room on the disk") from None
    except csv.Error as error:
        raise Failure(f"{path}: {error}", "repair the file") from None
    except MemoryError:
        raise Failure(f"{path}: it does not fit into memory", "name a smaller file") from None


def shown(text):
    """`text` with escapes for what a terminal would obey or could not print."""
    escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
    return "".join(escaped)


def number(cell, where):
    """A cell's value; `None` where it is empty or not finite."""
    try:
        value = float(cell or "nan")
    except ValueError:
        raise Failure(f"{where} is '{cell}', not a number", "repair or remove the line") from None
    return value if math.isfinite(value) else None


def finite(value):
    """A number of a report, which has no others."""
    if not math.isfinite(float(value)):
        raise ValueError(f"{value} is no number")
    return float(value)


def lines(path, columns):
    """Each line of a CSV file with these `columns`: where it is, and its cells."""
    text = path.read_text(encoding="utf-8", errors="replace")
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in columns if name not in (reader.fieldnames or [])]
    if missing:
        raise Failure(f"{path}: no column {', '.join(missing)}", f"name a {path.name} of seqlab")
    if not text.endswith("\n"):
        raise Failure(f"{path}: the last line is cut off", "remove that line")
    for cells in reader:
        where = f"{path}: line {reader.line_num}"
        if None in cells or None in cells.values():
            message = f"{where} does not have {len(reader.fieldnames)} cells"
            raise Failure(message, "repair or remove the line")
        yield where, cells


def read(path):
    """The rows of a curves.csv as `{column: value}`, and `steps` since the replica's row before."""
    rows, last = [], {}
    for where, cells in lines(path, KEYS + VALUES):
        row = {name: number(cells[name], f"{where}: {name}") for name in KEYS + VALUES}
        if None in (row[name] for name in KEYS):
            raise Failure(f"{where} lacks {', '.join(KEYS)}", "repair or remove the line")
        row["steps"] = row["step"] - last.get(row["replica"], 0)
        if row["steps"] <= 0 or row["epoch"] < 1:
            message = f"{where}: epoch {cells['epoch']}, step {cells['step']} is out of order"
            raise Failure(message, "repair the file")
        last[row["replica"]] = row["step"]
        rows.append(row)
    if not rows:
        raise Failure(f"{path}: no rows yet", "wait until the training has logged one")
    return rows


def read_attention(path):
    """What an attention looks at: `{source: (source tokens, target tokens, weights)}`.

    There is a line of weights for each target token, with one for each source token.
    """
    found = {}
    for where, cells in lines(path, WEIGHT):
        sources, targets, weights = found.setdefault(cells["source"], ([], [], []))
        target, source = (number(cells[name], f"{where}: {name}") for name in WEIGHT[1:3])
        if source == 0 and target == len(weights):
            targets.append(cells["target_token"])
            weights.append([])
        if target == 0 and source == len(sources):
            sources.append(cells["source_token"])
        weight = number(cells["weight"], f"{where}: weight")
        if target != len(weights) - 1 or source != len(weights[-1]) or weight is None:
            raise Failure(f"{where} is out of order, or has no weight", "repair the file")
        weights[-1].append(weight)
    for source, (sources, _, weights) in found.items():
        if any(len(line) != len(sources) for line in weights):
            message = f"{path}: source {source} lacks weights of some of its steps"
            raise Failure(message, "write it again with seqlab inspect")
    if not found:
        raise Failure(f"{path}: no rows", "write it again with seqlab inspect")
    return found


def points(rows, column):
    """`[(step, value), …]`, without missing values."""
    return [(row["step"], row[column]) for row in rows if row[column] is not None]


def unzip(curve):
    """Steps and values."""
    return [step for step, _ in curve], [value for _, value in curve]


def by_replica(rows):
    """The rows of each replica."""
    replicas = {}
    for row in rows:
        replicas.setdefault(row["replica"], []).append(row)
    return list(replicas.values())


def median(curves):
    """`[(step, median), …]` over those of the curves that have a value there."""
    values = {}
    for step, value in (point for curve in curves for point in curve):
        values.setdefault(step, []).append(value)
    return [(step, statistics.median(values[step])) for step in sorted(values)]


def mean(rows, column):
    """Mean over all steps of one replica's rows; `None` where they have no value."""
    known = [(row["steps"], row[column]) for row in rows if row[column] is not None]
    return sum(n * value for n, value in known) / sum(n for n, _ in known) if known else None


def coarse(rows, column, width):
    """One replica's curve as if a row were logged where `width` were: the mean over their steps."""
    parts = [rows[i : i + width] for i in range(0, len(rows), width)]
    means = [{"step": part[-1]["step"], column: mean(part, column)} for part in parts]
    return points(means, column)


def epoch_mean(replicas, column):
    """The mean over the last epoch, median over the replicas; `None` where rows are no finer."""
    epochs = [[row for row in rows if row["epoch"] == rows[-1]["epoch"]] for rows in replicas]
    means = [mean(rows, column) for rows in epochs if len(rows) > 1]
    means = [value for value in means if value is not None]
    return statistics.median(means) if means else None


def published(run):
    """What report.json beside the directory `run` has for it: `(loss, accuracy, curve)`.

    The first two are `[lowest, highest]`, the curve is `[(epoch, loss), …]`; empty if not known.
    """
    path = run.parent / "report.json"
    if not path.exists():
        return [], [], []
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        # The report of a recipe has no figures of curves.
        experiments = [] if "average" in report else report["experiments"]
        entries = {entry["name"]: entry.get("published") for entry in experiments}
        found = entries.get(run.name) or {}
        spans = [found.get(name) for name in ("loss", "accuracy")]
        spans = [[finite(span[end]) for end in ("low", "high")] if span else [] for span in spans]
        return (*spans, [(finite(epoch), finite(loss)) for epoch, loss in found.get("curve") or []])
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Failure(f"{path} is no report of seqlab: {error!r}", "repair or remove it") from None


def draw_training(axes, replicas, column):
    """A thin line a replica, if there are several or many rows, and the median of smoothed ones."""
    count, width = len(replicas), math.ceil(len(replicas[0]) / MAX_POINTS)
    if count > 1 or width > 1:
        label = f"{count} replicas" if count > 1 else "training"
        for rows in replicas:
            axes.plot(*unzip(points(rows, column)), color=SKY, linewidth=0.5, label=label)
    label = "training, median" if count > 1 else "training"
    if width > 1:
        label += f", {sum(row['steps'] for row in replicas[0][:width]):,.0f}-step means"
    curve = median(coarse(rows, column, width) for rows in replicas)
    axes.plot(*unzip(curve), color=BLUE, linewidth=1.6, label=label)


def draw_panel(axes, replicas, column, validation, marks):
    """The curves of one column and `marks`, its published values.

    `validation` lists other columns to draw, with label, colour and line style.
    """
    draw_training(axes, replicas, column)
    for name, label, color, style in validation:
        curve = median(points(rows, name) for rows in replicas)
        if curve:
            label += ", median" if len(replicas) > 1 else ""
            axes.plot(*unzip(curve), color=color, linestyle=style, linewidth=1.6, label=label)
    end = max(rows[-1]["step"] for rows in replicas)
    if marks:
        axes.plot([end] * 2, marks, clip_on=False, color="black", linewidth=1.6)
        mark = {"clip_on": False, "linestyle": "", "zorder": 3}
        look = {"color": "black", "marker": "D", "markeredgecolor": "white", "markersize": 6}
        axes.plot([end] * 2, marks, label="published", **look, **mark)
        reached = epoch_mean(replicas, column)
        if reached is not None:
            # A ring around the published mark where the two agree.
            look = {"color": BLUE, "marker": "o", "markerfacecolor": "none", "markersize": 10}
            axes.plot(end, reached, label="training, mean of the last epoch", **look, **mark)
    axes.set_xlim(0, end)
    axes.set_xlabel("optimiser steps")
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter("{x:,.0f}")


def scale_loss(axes):
    """A logarithmic axis where what is drawn spans more than a factor of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    values = [float(y) for line in axes.lines for y in line.get_ydata() if y > 0]
    if values and max(values) > 10 * min(values):
        axes.set_yscale("log")
        subs = (1, 2, 5) if max(values) < 1000 * min(values) else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0)


def figure_of(name, rows, loss, accuracy, curve):
    """The matplotlib figure of a run."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()
    matplotlib.rcParams.update(STYLE)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    replicas = by_replica(rows)
    validation = [("val_loss", "validation", VERMILLION, "--")]
    draw_panel(left, replicas, "loss", validation, loss)
    validation = [
        ("val_accuracy", "validation", VERMILLION, "--"),
        ("val_sequence_accuracy", "validation, whole sequences", PURPLE, ":"),
    ]
    draw_panel(right, replicas, "accuracy", validation, accuracy)
    if curve:
        steps_per_epoch = rows[-1]["step"] / rows[-1]["epoch"]
        steps = [epoch * steps_per_epoch for epoch, _ in curve]
        look = {"color": "black", "linestyle": "", "marker": "o", "markerfacecolor": "none"}
        look["clip_on"] = False
        left.plot(steps, [y for _, y in curve], label="published curve", markersize=3, **look)
    scale_loss(left)
    left.set_ylabel("loss (nats per token)")
    right.set_ylabel("accuracy")
    right.set_ylim(-0.02, 1.02)
    figure.suptitle(shown(name), parse_math=False)
    legend = {}
    for axes in (left, right):
        legend.update((label, handle) for handle, label in zip(*axes.get_legend_handles_labels()))
    columns = min(len(legend), 4)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=columns)
    return figure


def label(axis, tokens):
    """Puts `tokens` on an axis, or as many of them as have room."""
    places = range(0, len(tokens), math.ceil(len(tokens) / MAX_TOKENS))
    axis.set_ticks(places, [shown(tokens[place]) for place in places], parse_math=False)
    axis.set_tick_params(length=0)


def attention_map(name, sources, targets, weights):
    """The matplotlib figure of an attention's weights."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()
    matplotlib.rcParams.update(STYLE)
    size = [min(max(0.25 * len(tokens), low), 11) for tokens, low in ((sources, 2.5), (targets, 1.5))]
    figure = Figure(figsize=(size[0] + 1.5, size[1] + 1.2), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(weights, aspect="auto", cmap="cividis", interpolation="nearest", vmin=0, vmax=1)
    label(axes.xaxis, sources)
    label(axes.yaxis, targets)
    axes.set_xlabel("source")
    axes.set_ylabel("predicted")
    figure.colorbar(drawn, label="attention weight")
    figure.suptitle(shown(name), parse_math=False)
    return figure


def draw(path, target):
    """Writes the pictures of a curves.csv, or of an attention's weights.

    Returns their paths.
    """
    run = path.resolve().parent
    if path.name != ATTENTION:
        return save(figure_of(run.name, read(path), *published(run)), target)
    pictures = []
    for source, found in read_attention(path).items():
        figure = attention_map(f"{run.name}, source {source}", *found)
        pictures += save(figure, f"{target}-{shown(source).replace(os.sep, '_')}")
    return pictures


def save(figure, target):
    """Writes a picture to `target` as .png and .svg, always the same bytes. Returns their paths."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    metadata = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    for suffix, about in metadata.items():
        figure.savefig(f"{target}{suffix}", metadata=about)
    return [f"{target}{suffix}" for suffix in metadata]


def curves_of(path):
    """The curves.csv files that an argument stands for, or an attention's weights."""
    if os.path.isfile(path):
        return [path]
    for name in ("curves.csv", ATTENTION):
        if os.path.isfile(path / name):
            return [path / name]
    files = [folder / "curves.csv" for folder in sorted(path.iterdir())]
    found = [file for file in files if os.path.isfile(file)]
    if not found:
        hint = "name a curves.csv, a run directory, or a directory of run directories"
        raise Failure(f"{path}: no curves.csv there", hint)
    return found


def targets_of(paths, out):
    """`{picture: its curves.csv}`; a picture has no suffix yet."""
    targets = {}
    for argument in paths:
        with failing(argument):
            for path in curves_of(argument):
                target = out / path.resolve().parent.name if out else path.with_suffix("")
                other = targets.setdefault(target, path)
                if other != path:
                    message = f"{other} and {path} would both be {target}.png"
                    raise Failure(message, "draw them one by one")
    return targets


def tell(failure):
    message, hint = map(shown, failure.args)
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)


def main(words=None):
    """Draws what the command line names; the exit status."""
    parser = argparse.ArgumentParser("scripts/plot", description=ABOUT, allow_abbrev=False)
    text = "a curves.csv, a run directory, a directory of run directories or of seqlab inspect"
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help=text)
    text = "write DIR/<run>.png and DIR/<run>.svg instead"
    parser.add_argument("--out", type=Path, metavar="DIR", help=text)
    options = parser.parse_args(words)
    try:
        targets = targets_of(options.paths, options.out)
    except Failure as failure:
        tell(failure)
        return 2
    status = 0
    for target, path in targets.items():
        try:
            with failing(path):
                pictures = draw(path, target)
            for picture in pictures:
                print(shown(picture), flush=True)
        except Failure as failure:
            tell(failure)
            status = 2
    return status


def run():
    """What the program does; the exit status."""
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return main()
    except BrokenPipeError:
        # Whoever read standard output stopped, as head does.
        status = 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        tell(Failure(f"cannot write standard output: {error.strerror}", "check where it goes"))
        status = 1
    # Nothing is left to be written when the program ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


if __name__ == "__main__":
    sys.exit(run())
