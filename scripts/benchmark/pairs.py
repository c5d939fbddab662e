"""The grown model on pairs of their own lengths: sizes, data, initial weights.

An embedding, an encoder that reads both ways, a decoder that starts where it ends, dot attention and
tanh([context; output]·kernel + bias), dropout, label smoothing, clipping by the global norm.
"""

from dataclasses import dataclass

from experiments import glorot, lstm_weights


@dataclass(frozen=True)
class Pairs:
    """Sizes; a source is random ids, its target the same backwards and then id 0, the end."""

    name: str
    batch: int
    check_epochs: int
    batches: int = 1
    vocab: int = 51  # sources have ids 1 to 50
    shortest: int = 3  # ids of a source, up to n_in
    n_in: int = 20
    n_out: int = 21
    embedding: int = 128
    units: int = 128  # of one direction; the decoder has twice as many
    dropout: float = 0.3
    label_smoothing: float = 0.1
    clipnorm: float = 1.0

    def seqlab_flags(self, epochs):
        """What `seqlab train` needs to train `epochs` steps."""
        flags = ["reverse", "--gate-activation", "sigmoid", "--batch-size", self.batch]
        flags += ["--vocab", self.vocab, "--n-in-min", self.shortest, "--n-in", self.n_in]
        flags += ["--n-out-min", self.shortest + 1, "--n-out", self.n_out]
        flags += ["--embedding", self.embedding, "--units", self.units]
        flags += ["--bidirectional", "true", "--attention", "dot"]
        flags += ["--dropout", self.dropout] if self.dropout else []
        flags += ["--label-smoothing", self.label_smoothing] if self.label_smoothing else []
        flags += ["--global-clipnorm", self.clipnorm]
        flags += ["--epochs", 1, "--samples", epochs * self.batch]
        return [str(flag) for flag in flags]


PAIRS_32 = Pairs("pairs-32", 32, 600)
PAIRS_256 = Pairs("pairs-256", 256, 200)
ALL = [PAIRS_32, PAIRS_256]
BY_NAME = {pairs.name: pairs for pairs in ALL}


def draw(pairs, steps, rng):
    """Fresh batches: source ids `(steps, B, Tin)` and target ids `(steps, B, Tout)`, both 0 behind
    their ends, and the sources' lengths `(steps, B)`, int32. A target is one longer than its source.
    """
    import numpy as np

    shape = steps, pairs.batch
    lengths = rng.integers(pairs.shortest, pairs.n_in + 1, shape, dtype=np.int32)
    source = rng.integers(1, pairs.vocab, (*shape, pairs.n_in), dtype=np.int32)
    source[np.arange(pairs.n_in) >= lengths[..., None]] = 0
    from_end = lengths[..., None] - 1 - np.arange(pairs.n_out)
    target = np.take_along_axis(source, np.maximum(from_end, 0), -1)
    return source, np.where(from_end >= 0, target, 0), lengths


def initial_weights(pairs, rng):
    """Weights in Keras's layout and from Keras's initialisers, by name, float32."""
    import numpy as np

    def embedding():
        table = rng.uniform(-0.05, 0.05, (pairs.vocab, pairs.embedding))
        return {"embeddings": np.float32(table)}

    def dense(inputs, units):
        return {"kernel": np.float32(glorot(rng, inputs, units)), "bias": np.zeros(units, "f")}

    decoder_units = 2 * pairs.units
    return {
        "source_embedding": embedding(),
        "forward": lstm_weights(rng, pairs.embedding, pairs.units),
        "backward": lstm_weights(rng, pairs.embedding, pairs.units),
        "decoder_embedding": embedding(),
        "decoder": lstm_weights(rng, pairs.embedding, decoder_units),
        "attention_output": dense(2 * decoder_units, decoder_units),
        "dense": dense(decoder_units, pairs.vocab),
    }
