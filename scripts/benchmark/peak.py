"""Prints the machine's best float32 matrix product in GFLOP/s: `peak.py THREADS DEVICE`.

Libraries differ twofold in what they get out of a CPU, so the best is that of PyTorch and of JAX.
"""

import sys
import time

import torch


def by_pytorch(size, device):
    a, b = torch.rand(2, size, size, device=device)
    # Reading one number waits for the device.
    return lambda: torch.mm(a, b)[0, 0].item()


def by_jax(size, _device):
    import jax

    a, b = jax.numpy.ones((2, size, size))
    product = jax.jit(jax.numpy.matmul)
    return lambda: product(a, b).block_until_ready()


def best(product, size, repeats=12):
    fastest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        product()
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * size**3 / fastest / 1e9


def main():
    torch.set_num_threads(int(sys.argv[1]))
    device = sys.argv[2]
    sizes = [1024, 1536, 2048] if device == "cpu" else [4096, 8192]
    libraries = [by_pytorch, by_jax] if device == "cpu" else [by_pytorch]
    print(max(best(by(size, device), size) for by in libraries for size in sizes))


if __name__ == "__main__":
    main()
