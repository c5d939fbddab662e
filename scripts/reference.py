"""The `reverse` experiment a second time without seqlab: Keras's equations in JAX, seed by seed, as JSON.

    python3 scripts/reference.py 20 > src/reports/reference/reverse-again.json

Needs jax and numpy, as pinned in scripts/benchmark/requirements.txt. Each seed trains once on 100,000 samples and is
then evaluated on 16,384 fresh sequences: the encoder reads the source, the decoder starts from a vector of
zeros and reads its own probabilities.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

VOCAB, UNITS, BATCH, STEPS, FRESH = 51, 128, 32, 3_125, 16_384
N_IN, N_OUT = 6, 3
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7


def glorot(rng, rows, columns):
    limit = np.sqrt(6 / (rows + columns))
    return rng.uniform(-limit, limit, (rows, columns))


def orthogonal(rng, rows, columns):
    q, r = np.linalg.qr(rng.standard_normal((columns, rows)))
    return (q * np.sign(np.diag(r))).T


def initial(seed):
    rng = np.random.default_rng(seed)

    def lstm():
        bias = np.zeros(4 * UNITS)
        bias[UNITS : 2 * UNITS] = 1
        kernel = glorot(rng, VOCAB, 4 * UNITS)
        return {"kernel": kernel, "recurrent": orthogonal(rng, UNITS, 4 * UNITS), "bias": bias}

    dense = {"kernel": glorot(rng, UNITS, VOCAB), "bias": np.zeros(VOCAB)}
    weights = {"encoder": lstm(), "decoder": lstm(), "dense": dense}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), weights)


def hard_sigmoid(x):
    return jnp.clip(0.2 * x + 0.5, 0, 1)


def cell(layer, projected, state):
    h, c = state
    gates = projected + h @ layer["recurrent"] + layer["bias"]
    i, f, g, o = jnp.split(gates, 4, -1)
    c = hard_sigmoid(f) * c + hard_sigmoid(i) * jnp.tanh(g)
    return hard_sigmoid(o) * jnp.tanh(c), c


def encode(weights, source):
    state = (jnp.zeros((len(source), UNITS)),) * 2
    for t in range(N_IN):
        state = cell(weights["encoder"], weights["encoder"]["kernel"][source[:, t]], state)
    return state


def logits(weights, state):
    return state[0] @ weights["dense"]["kernel"] + weights["dense"]["bias"]


def loss(weights, source):
    """Teacher forced: mean cross-entropy and token accuracy; the decoder's first input is id 0."""
    target = source[:, :N_OUT][:, ::-1]
    read = jnp.pad(target[:, :-1], ((0, 0), (1, 0)))
    state, said = encode(weights, source), []
    for t in range(N_OUT):
        state = cell(weights["decoder"], weights["decoder"]["kernel"][read[:, t]], state)
        said.append(logits(weights, state))
    said = jnp.stack(said, 1)
    of_target = jnp.take_along_axis(jax.nn.log_softmax(said), target[..., None], -1)
    return -of_target.mean(), (said.argmax(-1) == target).mean()


def draw(key, n):
    return jax.random.randint(key, (n, N_IN), 1, VOCAB)


@jax.jit
def train(weights, key):
    def step(carry, t):
        weights, m, v = carry
        source = draw(jax.random.fold_in(key, t), BATCH)
        scores, gradient = jax.value_and_grad(loss, has_aux=True)(weights, source)
        m = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, gradient)
        v = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, gradient)
        rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2 ** (t + 1.0)) / (1 - BETA_1 ** (t + 1.0))
        update = lambda w, m, v: w - rate * m / (jnp.sqrt(v) + EPSILON)
        return (jax.tree.map(update, weights, m, v), m, v), scores

    zeros = jax.tree.map(jnp.zeros_like, weights)
    (weights, _, _), scores = jax.lax.scan(step, (weights, zeros, zeros), jnp.arange(STEPS))
    return weights, scores


@jax.jit
def evaluate(weights, source):
    state, read, said = encode(weights, source), jnp.zeros((len(source), VOCAB)), []
    for _ in range(N_OUT):
        state = cell(weights["decoder"], read @ weights["decoder"]["kernel"], state)
        read = jax.nn.softmax(logits(weights, state))
        said.append(read.argmax(-1))
    right = jnp.stack(said, 1) == source[:, :N_OUT][:, ::-1]
    return right.mean(), right.all(1).mean()


def seed_of(seed):
    training, fresh = jax.random.split(jax.random.key(seed))
    weights, (losses, accuracies) = train(initial(seed), training)
    tokens, exact = evaluate(weights, draw(fresh, FRESH))
    mean = lambda x: float(np.asarray(x, np.float64).mean())
    figures = {
        "loss": mean(losses),
        "accuracy": mean(accuracies),
        "token_accuracy": float(tokens),
        "sequence_accuracy": float(exact),
    }
    return {"seed": seed} | {name: float(f"{value:.6g}") for name, value in figures.items()}


if __name__ == "__main__":
    rows = []
    for seed in range(int(sys.argv[1])):
        rows.append(json.dumps(seed_of(seed)))
        print(rows[-1], file=sys.stderr, flush=True)
    print("[\n  " + ",\n  ".join(rows) + "\n]")
