"""The whole of `reverse` in PyTorch: `pytorch_tutorial.py SAMPLES THREADS DEVICE`."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from experiments import REVERSE_32, draw
from peers.torch_peer import EagerTrainer


@torch.no_grad()
def exact(model, source, target):
    """Share of sources decoded exactly, from an all-zero vector and with the softmax fed back."""
    source = F.one_hot(source.T, REVERSE_32.vocab).float()
    _, state = model.encoder(source)
    fed, output = torch.zeros_like(source[:1]), []
    for _ in range(REVERSE_32.n_out):
        h, state = model.decoder(fed, state)
        fed = model.dense(h).softmax(-1)
        output.append(fed[0].argmax(-1))
    return (torch.stack(output, 1) == target).all(-1).float().mean().item()


def main():
    samples, threads, device = sys.argv[1:]
    torch.set_num_threads(int(threads))
    trainer = EagerTrainer(REVERSE_32, 1, 1, device)
    trainer.run(trainer.prepare(int(samples) // REVERSE_32.batch))
    ids = draw(REVERSE_32, 4, trainer.rng)
    source, target = (torch.from_numpy(i).to(device, torch.int64).flatten(0, 2)[:100] for i in ids)
    print("accuracy", exact(trainer.model, source, target))


if __name__ == "__main__":
    main()
