"""The experiments that every contestant trains: sizes, data, initial weights, arithmetic."""

from dataclasses import dataclass, replace

LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7


@dataclass(frozen=True)
class Experiment:
    """Sizes of an experiment; an epoch is what lies between two resets of the state."""

    name: str
    preset: str
    family: str  # lstm, repeat_vector or teacher_forced
    vocab: int
    low: int
    high: int  # ids are low..high, both included
    n_in: int
    n_out: int
    units: int
    batch: int
    batches: int  # steps an epoch
    check_epochs: int  # enough for the loss to have moved visibly

    @property
    def length(self):
        """Ids in the sequence that an epoch's windows are cut from."""
        return self.batch * self.batches + self.n_in - 1

    def seqlab_flags(self, epochs):
        """What `seqlab train` needs to train `epochs` epochs."""
        flags = [self.preset, "--gate-activation", "sigmoid", "--batch-size", self.batch]
        flags += ["--units", self.units, "--n-in", self.n_in]
        if self.family == "teacher_forced":
            flags += ["--epochs", 1, "--samples", epochs * self.batch]
        else:
            flags += ["--epochs", epochs]
        return [str(flag) for flag in flags]

    def flops(self):
        """Floating-point operations of a step's matrix products, as few as it takes.

        Gathers are free, a product with a zero state is none, and no gradient goes into the state
        that a batch starts from, but for that of a decoder which starts where its encoder ends.
        """
        hidden, rows = self.units, self.batch
        product = 2 * rows * hidden * 4 * hidden
        from_zero = 1 / self.batches  # share of the batches that start with a zero state
        products = 2 * (self.n_in - from_zero) + self.n_in - 1
        if self.family == "repeat_vector":
            products += 3 * (self.n_out - 1) + 3  # and the projection of the vector, once
        elif self.family == "teacher_forced":
            products += 3 * self.n_out
        answers = 2 * rows * self.n_out * hidden * self.vocab
        return products * product + 3 * answers


ECHO = Experiment("echo", "echo", "lstm", 100, 0, 98, 6, 6, 16, 5, 4, 400)
PARTIAL_ECHO_2 = Experiment(
    "partial-echo-2", "partial-echo-2", "repeat_vector", 100, 0, 98, 5, 2, 150, 21, 1, 300
)
PARTIAL_ECHO_4 = replace(
    PARTIAL_ECHO_2, name="partial-echo-4", preset="partial-echo-4", n_out=4, units=300
)
REVERSE_32 = Experiment(
    "reverse-32", "reverse", "teacher_forced", 51, 1, 50, 6, 3, 128, 32, 1, 600
)
REVERSE_256 = replace(REVERSE_32, name="reverse-256", batch=256, check_epochs=300)

ALL = [ECHO, PARTIAL_ECHO_2, PARTIAL_ECHO_4, REVERSE_32, REVERSE_256]
BY_NAME = {experiment.name: experiment for experiment in ALL}


def draw(experiment, epochs, rng):
    """Source and target ids `(epochs, batches, B, T)` of fresh epochs, int32."""
    import numpy as np

    e = experiment
    if e.family == "teacher_forced":
        shape = (epochs, e.batches, e.batch, e.n_in)
        source = rng.integers(e.low, e.high + 1, shape, dtype=np.int32)
        return source, np.ascontiguousarray(source[..., : e.n_out][..., ::-1])
    sequences = rng.integers(e.low, e.high + 1, (epochs, e.length), dtype=np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(sequences, e.n_in, axis=1)
    source = np.ascontiguousarray(windows).reshape(epochs, e.batches, e.batch, e.n_in)
    return source, np.ascontiguousarray(source[..., : e.n_out])


def shift_right(target):
    """What teacher forcing feeds the decoder: id 0, then the target without its last id."""
    import numpy as np

    return np.concatenate([np.zeros_like(target[..., :1]), target[..., :-1]], -1)


def glorot(rng, rows, columns):
    limit = (6 / (rows + columns)) ** 0.5
    return rng.uniform(-limit, limit, (rows, columns))


def orthogonal(rng, rows, columns):
    import numpy as np

    q, r = np.linalg.qr(rng.standard_normal((columns, rows)))
    return (q * np.sign(np.diag(r))).T


def lstm_weights(rng, inputs, units):
    """Those of one LSTM in Keras's layout, by name, float32."""
    import numpy as np

    bias = np.zeros(4 * units)
    bias[units : 2 * units] = 1
    kernels = glorot(rng, inputs, 4 * units), orthogonal(rng, units, 4 * units)
    return {
        name: np.float32(values)
        for name, values in zip(("kernel", "recurrent", "bias"), (*kernels, bias))
    }


def initial_weights(experiment, rng):
    """Weights in Keras's layout and from Keras's initialisers, by name, float32."""
    import numpy as np

    e = experiment
    layers = {"encoder": lstm_weights(rng, e.vocab, e.units)}
    if e.family != "lstm":
        inputs = e.units if e.family == "repeat_vector" else e.vocab
        layers["decoder"] = lstm_weights(rng, inputs, e.units)
    kernel = np.float32(glorot(rng, e.units, e.vocab))
    layers["dense"] = {"kernel": kernel, "bias": np.zeros(e.vocab, np.float32)}
    return layers
