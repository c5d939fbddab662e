"""Plain JAX: the whole loop is one jitted `lax.scan`, replicas are `vmap`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import BETA_1, BETA_2, EPSILON, LEARNING_RATE, draw, initial_weights


def lstm(weights, projected, state):
    """Outputs of every step `(B, 4H)` of `projected`, and the last state; unrolled over time."""
    h, c = state
    outputs = []
    for step in projected:
        i, f, g, o = jnp.split(step + h @ weights["recurrent"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        outputs.append(h)
    return outputs, (h, c)


def project_ids(weights, ids):
    """The input projection of ids `(B, T)`, a list of T: rows of the kernel."""
    kernel, bias = weights["kernel"], weights["bias"]
    # XLA's choice differs: one gather is faster where a step is overhead, T gathers elsewhere.
    if kernel.shape[-1] < 256:
        return list(kernel[ids.T] + bias)
    return [kernel[ids[:, t]] + bias for t in range(ids.shape[1])]


def forward(experiment, weights, state, source, decoder_input):
    """Logits `(Tout, B, V)` and the encoder's last state."""
    outputs, last = lstm(weights["encoder"], project_ids(weights["encoder"], source), state)
    if experiment.family == "repeat_vector":
        decoder = weights["decoder"]
        projected = outputs[-1] @ decoder["kernel"] + decoder["bias"]
        zero = jnp.zeros_like(outputs[-1])
        outputs, _ = lstm(decoder, [projected] * experiment.n_out, (zero, zero))
    elif experiment.family == "teacher_forced":
        decoder = weights["decoder"]
        outputs, _ = lstm(decoder, project_ids(decoder, decoder_input), last)
    return jnp.stack(outputs) @ weights["dense"]["kernel"] + weights["dense"]["bias"], last


def loss_and_rest(weights, experiment, state, source, target):
    """Mean cross-entropy; beside it the token accuracy and the state to carry on."""
    decoder_input = jnp.pad(target[:, :-1], ((0, 0), (1, 0)))
    logits, state = forward(experiment, weights, state, source, decoder_input)
    log_p = jax.nn.log_softmax(logits)
    loss = -jnp.mean(jnp.take_along_axis(log_p, target.T[..., None], -1))
    accuracy = jnp.mean(jnp.argmax(logits, -1) == target.T)
    return loss, (accuracy, state)


def adam(weights, m, v, t, gradient):
    """One update with ε where Keras has it."""
    map_ = jax.tree.map
    m = map_(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, gradient)
    v = map_(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, gradient)
    rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
    weights = map_(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + EPSILON), weights, m, v)
    return weights, m, v


def step(experiment, carry, ids):
    """One update, the state handed on to the next batch."""
    weights, m, v, t, state = carry
    (loss, (accuracy, state)), gradient = jax.value_and_grad(loss_and_rest, has_aux=True)(
        weights, experiment, state, *ids
    )
    weights, m, v = adam(weights, m, v, t + 1, gradient)
    return (weights, m, v, t + 1, state), jnp.stack([loss, accuracy])


def epoch(experiment, carry, ids):
    """The batches of an epoch, from a zero state."""
    zero = jnp.zeros((experiment.batch, experiment.units))
    body = functools.partial(step, experiment)
    (*carry, _), metrics = jax.lax.scan(body, (*carry, (zero, zero)), ids)
    return tuple(carry), metrics


@functools.cache
def loop(experiment, replicas):
    """The jitted loop over the epochs of `(source, target)`."""
    one = functools.partial(epoch, experiment)
    body = jax.vmap(one) if replicas > 1 else one
    return jax.jit(lambda carry, ids: jax.lax.scan(body, carry, ids), donate_argnums=0)


class Trainer:
    """R models and their data streams."""

    def __init__(self, experiment, seed, replicas, device):
        self.experiment, self.replicas = experiment, replicas
        self.rngs = [np.random.default_rng(seed + k) for k in range(replicas)]
        weights = [initial_weights(experiment, rng) for rng in self.rngs]
        if replicas > 1:
            weights = jax.tree.map(lambda *w: jnp.stack(w), *weights)
        else:
            weights = jax.tree.map(jnp.asarray, weights[0])
        zeros = jax.tree.map(jnp.zeros_like, weights)
        t = jnp.zeros(replicas if replicas > 1 else ())
        self.carry = (weights, zeros, jax.tree.map(jnp.copy, zeros), t)

    def prepare(self, epochs):
        """Ids of fresh epochs, on the device; not timed."""
        drawn = [draw(self.experiment, epochs, rng) for rng in self.rngs]
        if self.replicas > 1:
            drawn = [np.stack(ids, axis=1) for ids in zip(*drawn)]
        else:
            drawn = drawn[0]
        return jax.block_until_ready(tuple(jnp.asarray(ids) for ids in drawn))

    def run(self, prepared):
        """Trains on them; loss and accuracy of every step, the mean over replicas."""
        self.carry, metrics = loop(self.experiment, self.replicas)(self.carry, prepared)
        metrics = np.asarray(metrics)
        if self.replicas > 1:
            metrics = metrics.mean(1)
        return metrics.reshape(-1, 2).T
