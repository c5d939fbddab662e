"""Prints the machine's best float32 matrix product in GFLOP/s: `peak.py THREADS DEVICE`."""

import sys
import time

import torch


def best(size, device, repeats=12):
    a, b = torch.rand(2, size, size, device=device)
    fastest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        # Reading one number waits for the device.
        torch.mm(a, b)[0, 0].item()
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * size**3 / fastest / 1e9


def main():
    torch.set_num_threads(int(sys.argv[1]))
    device = sys.argv[2]
    sizes = [1024, 1536, 2048] if device == "cpu" else [4096, 8192]
    print(max(best(size, device) for size in sizes))


if __name__ == "__main__":
    main()
