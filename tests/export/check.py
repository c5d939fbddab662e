"""Asks exported models what seqlab was asked, and compares the answers: check.py FORMAT CASE...

A case is a folder with `exported`, which seqlab export wrote, `sources.txt`, a source a line, `predicted.txt`, what
`seqlab predict` says to each, and `expected.safetensors`: `source` and, where they vary, its `lengths`; the `answers`
in float64, probabilities or numbers; `again`, those of a stateful model that goes on with the same sources; the
weights of an `attention`.

PyTorch and Keras then change the weights and save them as `trained.safetensors`, for `seqlab import`, and `said.txt` has
what `seqlab predict` is to say with them to each source, or `~` where two ids are as good as equally probable.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from safetensors.numpy import load_file

BOUND = 1e-5
# Probabilities that differ by less are equal, as far as float32 tells.
TIE = 1e-6
# How far weights are moved.
MOVED = 0.5


class Onnx:
    """The answers of onnxruntime, asked as README has it."""

    def __init__(self, folder, about):
        import onnx
        import onnxruntime

        self.about, self.sessions, self.weights = about, {}, None
        for model in about.models:
            path = str(folder / model["file"])
            onnx.checker.check_model(path, full_check=True)
            session = onnxruntime.InferenceSession(path)
            self.sessions[Path(path).stem] = session
            for ports, of in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
                said = [(port["name"], port["shape"]) for port in model[ports]]
                assert said == [(port.name, port.shape) for port in of], (said, ports)

    def run(self, name, given):
        session = self.sessions[name]
        given = {port.name: given[port.name] for port in session.get_inputs()}
        return dict(zip([port.name for port in session.get_outputs()], session.run(None, given)))

    def answer(self, source, lengths, state=None):
        given = {"source": source, "source_lengths": lengths}
        said = "probabilities" if self.about.vocab else "values"
        if "model" in self.sessions:
            for port in self.sessions["model"].get_inputs():
                zeros = lambda: np.zeros((len(source), port.shape[1]), "float32")
                given[port.name] = given[port.name] if port.name in given else (state or {}).get(port.name, zeros())
            found = self.run("model", given)
            return found[said], {name.removesuffix(".next"): of for name, of in found.items()}
        memory, all_said, self.weights = self.run("encoder", given), [], []
        memory.update(self.first(len(source)))
        for _ in range(self.about.n_out):
            found = self.run("decoder_step", memory)
            all_said.append(found[said])
            self.weights.append(found.get("attention.weights"))
            memory.update({name.removesuffix(".next"): of for name, of in found.items()})
            memory.update(fed=found[said], token=found[said].argmax(-1))
        return np.stack(all_said, 1), None

    def first(self, batch):
        width, start = self.about.vocab or self.about.features_out, self.about.start
        fed = np.zeros((batch, width), "float32")
        if start is not None:
            fed[:, start] = 1
        return {"fed": fed, "token": np.full(batch, width if start is None else start)}


def module(folder):
    """What model.py of `folder` defines."""
    path = folder / "model.py"
    defined = {"__name__": "model", "__file__": str(path)}
    exec(compile(path.read_text(), path, "exec"), defined)
    return defined


class PyTorch:
    def __init__(self, folder, about):
        import torch

        self.about, self.tensor, self.no_grad = about, torch.from_numpy, torch.no_grad
        self.defined = module(folder)
        self.model = self.defined["load"]()

    def answer(self, source, lengths, state=None):
        lengths = None if lengths is None else self.tensor(lengths)
        source = self.tensor(source)
        if not self.about.stateful:
            return self.model.answer(source, lengths).numpy(), None
        with self.no_grad():
            logits, state = self.model(source, lengths, state=state)
            return self.model.said(logits).numpy(), state

    def move(self, path):
        """Moves every weight, the second biases too, and saves them."""
        import torch

        torch.manual_seed(1)
        with self.no_grad():
            for weight in self.model.parameters():
                weight.add_(MOVED * torch.randn_like(weight))
        self.defined["save"](self.model, path)


class Keras:
    def __init__(self, folder, about):
        self.about, self.script = about, module(folder)

    def answer(self, source, lengths, state=None):
        if state is None:
            said = self.script["answer"](source, lengths)
        if not self.about.stateful:
            return said, None
        model = self.script["models"]["model"]
        zeros = {of.name: np.zeros((len(source), self.about.units), "float32") for of in model.inputs}
        found = self.script["run"]("model", {**zeros, **(state or {}), "source": source})
        return found.pop("answer"), found

    def move(self, path):
        """Moves every weight, and saves them."""
        random = np.random.default_rng(1)
        moved = lambda weight: weight + MOVED * random.standard_normal(weight.shape).astype("float32")
        for layer, _ in self.script["named_layers"]:
            layer.set_weights([moved(weight) for weight in layer.get_weights()])
        self.script["save"](path)


FORMATS = {"onnx": Onnx, "pytorch": PyTorch, "keras": Keras}


def tokens(text, kind):
    return list(text) if kind == "characters" else text.split(" ")


def ids(folder, lines, kind):
    """The ids of texts by the vocabulary beside the model, as a user finds them."""
    path = folder / "source-vocabulary.txt"
    known = path.read_text().splitlines() if path.exists() else None
    number = lambda token: known.index(token) if known else int(token)
    return [[number(token) for token in tokens(line, kind)] for line in lines]


def texts(folder, answers, about):
    """What the most probable ids of `answers` say, up to the end."""
    path = folder / "target-vocabulary.txt"
    known = path.read_text().splitlines() if path.exists() else None
    lines = []
    for row in answers.argmax(-1).tolist():
        row = row[: row.index(about.end)] if about.end in row else row
        lines.append(" ".join(known[id] if known else str(id) for id in row))
    return lines


def near_ties(expected, tie=TIE):
    """At which steps two ids are as good as equally probable."""
    best = np.sort(expected, -1)
    return best[..., -1] - best[..., -2] < tie


def check(kind, case):
    folder = case / "exported"
    about = SimpleNamespace(**json.loads((folder / "model.json").read_text()))
    expected = load_file(case / "expected.safetensors")
    source, lengths, answers = (expected.get(name) for name in ("source", "lengths", "answers"))
    sources, predicted = ((case / name).read_text().splitlines() for name in ("sources.txt", "predicted.txt"))
    assert len(sources) == len(predicted) == len(source) == 1000, case
    model = kind(folder, about)
    said, state = model.answer(source, lengths)
    assert said.shape == answers.shape, (said.shape, answers.shape)
    counted, errors = np.ones(answers.shape[:2], bool), {}
    if about.vocab:
        read = ids(folder, sources, about.source_tokens)
        assert all(row[: len(own)].tolist() == own for row, own in zip(source, read)), case
        ties = near_ties(answers)
        # What follows a tie may be either of two sequences.
        counted = ~np.logical_or.accumulate(ties, 1) if about.feedback == "argmax" else counted
        same = [a == b or tie for a, b, tie in zip(texts(folder, said, about), predicted, ties.any(1))]
        assert all(same), f"{case}: {same.count(False)} predictions differ"
    else:
        numbers = np.array([[float(number) for number in line.split()] for line in predicted])
        errors["predicted"] = np.abs(numbers - said.reshape(numbers.shape)).max()
    assert counted.mean() > 0.95, f"{case}: too many ties"
    errors["answers"] = np.abs(said - answers)[counted].max()
    if "again" in expected:
        errors["again"] = np.abs(model.answer(source, lengths, state)[0] - expected["again"]).max()
    if "attention" in expected and isinstance(model, Onnx):
        weights, steps = np.stack(model.weights, 1), counted[..., None]
        errors["attention"] = np.abs((weights - expected["attention"]) * steps).max()
    print(case.name, *(f"{name} {error:.1e}" for name, error in errors.items()))
    assert all(error <= BOUND for error in errors.values()), f"{case}: {errors}"
    if not isinstance(model, Onnx):
        model.move(case / "trained.safetensors")
        said, _ = model.answer(source, lengths)
        (case / "said.txt").write_text("\n".join(sure_texts(folder, said, about)) + "\n")


def sure_texts(folder, answers, about):
    """What `answers` say, where it is not for rounding to decide."""
    if not about.vocab:
        return [" ".join(map(repr, row.ravel().tolist())) for row in answers.astype(float)]
    ties = near_ties(answers, 5 * TIE).any(1)
    return ["~" if tie else line for tie, line in zip(ties, texts(folder, answers, about))]


def main():
    _, kind, *cases = sys.argv
    for case in cases:
        check(FORMATS[kind], Path(case))


if __name__ == "__main__":
    main()
