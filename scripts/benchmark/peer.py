"""A contestant in a process of its own: `peer.py CONTESTANT EXPERIMENT REPLICAS THREADS DEVICE`.

It reads commands, a line each, and answers each with a line of JSON:
    train N             trains N epochs
    curve SEED N        loss of each tenth of N epochs, from new weights
    warm SECONDS WHOLE  compiles and settles how much work a call to the loop gets; WHOLE is 1
                        where an experiment that is one long `fit` shall be one
    run SECONDS         trains for about so long: [seconds, steps]
"""

import importlib
import json
import os
import sys
import time

import experiments
import pairs

EXPERIMENTS = experiments.BY_NAME | pairs.BY_NAME
TRAINERS = {
    "keras-tensorflow": ("peers.keras_peer", "Trainer"),
    "keras-jax": ("peers.keras_peer", "Trainer"),
    "pytorch": ("peers.torch_peer", "EagerTrainer"),
    "pytorch-compiled": ("peers.torch_peer", "CompiledTrainer"),
    "jax": ("peers.jax_peer", "Trainer"),
}
# Of the model on pairs.
PAIRS_TRAINERS = {
    "pytorch": ("peers.torch_pairs", "Trainer"),
    "jax": ("peers.jax_pairs", "Trainer"),
}
CALLS = 4  # of the loop in a block


class Peer:
    """The commands."""

    def __init__(self, contestant, experiment, replicas, threads, device):
        self.experiment = EXPERIMENTS[experiment]
        trainers = PAIRS_TRAINERS if experiment in pairs.BY_NAME else TRAINERS
        module, name = trainers[contestant]
        trainer = getattr(importlib.import_module(module), name)
        # Everyone else takes the number of threads from the environment.
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(int(threads))
        self.make = lambda seed: trainer(self.experiment, seed, int(replicas), device)
        self.trainer = None
        self.epochs = 1

    def train(self, epochs):
        self.trainer = self.make(1)
        self.timed(int(epochs))

    def curve(self, seed, epochs):
        trainer, epochs = self.make(int(seed)), int(epochs)
        if hasattr(trainer, "curve"):
            losses, _ = trainer.curve(epochs)
        else:
            losses, _ = trainer.run(trainer.prepare(epochs))
        tenth = len(losses) // 10
        return [float(losses[k * tenth : (k + 1) * tenth].mean()) for k in range(10)]

    def warm(self, seconds, whole):
        self.trainer = self.trainer or self.make(1)
        self.timed(1)
        if int(whole) and getattr(self.trainer, "fit_epochs", None):
            self.epochs = self.trainer.fit_epochs
            return
        epochs, spent = 1, self.timed(1)
        while spent < 0.05:
            epochs *= 8
            self.timed(epochs)  # JAX compiles for each size
            spent = self.timed(epochs)
        self.epochs = max(1, round(float(seconds) / CALLS / spent * epochs))
        self.timed(self.epochs)

    def run(self, seconds):
        spent, epochs = 0.0, 0
        while spent < float(seconds) * (1 - 0.5 / CALLS):
            spent += self.timed(self.epochs)
            epochs += self.epochs
        return spent, epochs * self.experiment.batches

    def timed(self, epochs):
        """Seconds that training on so many fresh epochs takes, data not counted."""
        prepared = self.trainer.prepare(epochs)
        start = time.perf_counter()
        losses, accuracies = self.trainer.run(prepared)
        spent = time.perf_counter() - start
        if not (losses.mean() >= 0 and accuracies.mean() >= 0):
            raise ArithmeticError("the loss is not a number")
        return spent


def main():
    # What frameworks print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer = Peer(*sys.argv[1:])
    for line in sys.stdin:
        name, *arguments = line.split()
        print(json.dumps(getattr(peer, name)(*arguments)), file=answers)


if __name__ == "__main__":
    main()
