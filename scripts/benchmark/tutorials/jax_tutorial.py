"""The whole of `reverse` in plain JAX: `jax_tutorial.py SAMPLES THREADS DEVICE`."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parents[1]))
from experiments import REVERSE_32, draw
from peers.jax_peer import Trainer, lstm, project_ids


@jax.jit
def exact(weights, source, target):
    """Share of sources decoded exactly, from an all-zero vector and with the softmax fed back."""
    encoder, decoder, dense = weights["encoder"], weights["decoder"], weights["dense"]
    zero = jnp.zeros((len(source), REVERSE_32.units))
    _, state = lstm(encoder, project_ids(encoder, source), (zero, zero))
    fed, output = jnp.zeros((len(source), REVERSE_32.vocab)), []
    for _ in range(REVERSE_32.n_out):
        (h,), state = lstm(decoder, [fed @ decoder["kernel"] + decoder["bias"]], state)
        fed = jax.nn.softmax(h @ dense["kernel"] + dense["bias"])
        output.append(jnp.argmax(fed, -1))
    return jnp.mean(jnp.all(jnp.stack(output, 1) == target, -1))


def main():
    trainer = Trainer(REVERSE_32, 1, 1, sys.argv[3])
    trainer.run(trainer.prepare(int(sys.argv[1]) // REVERSE_32.batch))
    source, target = (i.reshape(-1, i.shape[-1])[:100] for i in draw(REVERSE_32, 4, trainer.rngs[0]))
    print("accuracy", float(exact(trainer.carry[0], source, target)))


if __name__ == "__main__":
    main()
