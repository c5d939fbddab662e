"""Plain JAX on pairs of their own lengths: masked `lax.scan`s in one jitted loop, replicas by `vmap`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from pairs import draw, initial_weights
from peers.jax_peer import adam


def lstm(weights, inputs, state, valid=None, backwards=False):
    """Outputs `(T, B, H)` of `inputs` `(T, B, I)`, and the last state. Where `valid` `(T, B, 1)` is
    false the state stays as it is."""

    def step(state, now):
        projected, valid = now
        h, c = state
        i, f, g, o = jnp.split(projected + h @ weights["recurrent"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        if valid is not None:
            h, c = jnp.where(valid, h, state[0]), jnp.where(valid, c, state[1])
        return (h, c), h

    projected = inputs @ weights["kernel"] + weights["bias"]
    last, outputs = jax.lax.scan(step, state, (projected, valid), reverse=backwards)
    return outputs, last


def masks(pairs, key):
    """A mask for a sequence and LSTM, `(3, B, E)`."""
    if not pairs.dropout:
        return jnp.ones((3, 1, 1))
    shape = 3, pairs.batch, pairs.embedding
    return jax.random.bernoulli(key, 1 - pairs.dropout, shape) / (1 - pairs.dropout)


def encoded(pairs, weights, source, valid, masks):
    """The encoder's outputs `(Tin, B, 2H)` and last state."""
    read = weights["source_embedding"]["embeddings"][source]
    zero = (jnp.zeros((pairs.batch, pairs.units)),) * 2
    forward, last = lstm(weights["forward"], read * masks[0], zero, valid)
    backward, first = lstm(weights["backward"], read * masks[1], zero, valid, backwards=True)
    state = tuple(jnp.concatenate(both, -1) for both in zip(last, first))
    return jnp.concatenate([forward, backward], -1), state


def logits_of(pairs, weights, key, source, lengths, decoder_input):
    """Logits `(Tout, B, V)` of ids `(T, B)`."""
    valid = jnp.arange(pairs.n_in)[:, None] < lengths
    dropped = masks(pairs, key)
    keys, state = encoded(pairs, weights, source, valid[..., None], dropped)
    fed = weights["decoder_embedding"]["embeddings"][decoder_input] * dropped[2]
    queries, _ = lstm(weights["decoder"], fed, state)
    scores = jnp.einsum("ibh,jbh->bij", queries, keys)
    shares = jax.nn.softmax(jnp.where(valid.T[:, None], scores, -jnp.inf))
    context = jnp.einsum("bij,jbh->ibh", shares, keys)
    mix, dense = weights["attention_output"], weights["dense"]
    mixed = jnp.tanh(jnp.concatenate([context, queries], -1) @ mix["kernel"] + mix["bias"])
    return mixed @ dense["kernel"] + dense["bias"]


def loss_and_accuracy(weights, pairs, key, source, target, lengths):
    """Means over what is no padding; ids are `(B, T)`."""
    source, target = source.T, target.T
    decoder_input = jnp.pad(target[:-1], ((1, 0), (0, 0)))
    logits = logits_of(pairs, weights, key, source, lengths, decoder_input)
    log_p = jax.nn.log_softmax(logits)
    smooth = pairs.label_smoothing
    right = jnp.take_along_axis(log_p, target[..., None], -1)[..., 0]
    losses = -(1 - smooth) * right - smooth * log_p.mean(-1)
    counted = jnp.arange(pairs.n_out)[:, None] <= lengths
    exact = jnp.argmax(logits, -1) == target
    return tuple((values * counted).sum() / counted.sum() for values in (losses, exact))


def clipped(gradient, most):
    norm = jnp.sqrt(sum((g * g).sum() for g in jax.tree.leaves(gradient)))
    scale = most / jnp.maximum(norm, most)
    return jax.tree.map(lambda g: g * scale, gradient)


def step(pairs, carry, batch):
    """One update."""
    weights, m, v, t, key = carry
    (loss, accuracy), gradient = jax.value_and_grad(loss_and_accuracy, has_aux=True)(
        weights, pairs, jax.random.fold_in(key, t.astype(int)), *batch
    )
    gradient = clipped(gradient, pairs.clipnorm)
    weights, m, v = adam(weights, m, v, t + 1, gradient)
    return (weights, m, v, t + 1, key), jnp.stack([loss, accuracy])


@functools.cache
def loop(pairs, replicas):
    """The jitted loop over batches."""
    one = functools.partial(step, pairs)
    body = jax.vmap(one) if replicas > 1 else one
    return jax.jit(lambda carry, batches: jax.lax.scan(body, carry, batches), donate_argnums=0)


class Trainer:
    """R models and their data streams."""

    def __init__(self, pairs, seed, replicas, device):
        self.pairs, self.replicas = pairs, replicas
        seeds = range(seed, seed + replicas)
        self.rngs = [np.random.default_rng(seed) for seed in seeds]
        weights = self.joined([initial_weights(pairs, rng) for rng in self.rngs])
        zeros = jax.tree.map(jnp.zeros_like, weights)
        t, keys = self.joined([(jnp.zeros(()), jax.random.key(seed)) for seed in seeds])
        self.carry = (weights, zeros, jax.tree.map(jnp.copy, zeros), t, keys)

    def joined(self, each, axis=0):
        """What each replica has, with an axis of replicas where there are some."""
        if self.replicas > 1:
            return jax.tree.map(lambda *all: jnp.stack(all, axis), *each)
        return jax.tree.map(jnp.asarray, each[0])

    def prepare(self, epochs):
        """Fresh batches, on the device; not timed."""
        drawn = [draw(self.pairs, epochs, rng) for rng in self.rngs]
        return jax.block_until_ready(self.joined(drawn, axis=1))

    def run(self, prepared):
        """Trains on them; loss and accuracy of every step, the mean over replicas."""
        self.carry, metrics = loop(self.pairs, self.replicas)(self.carry, prepared)
        metrics = np.asarray(metrics)
        if self.replicas > 1:
            metrics = metrics.mean(1)
        return metrics.T
