"""The kernels for a GPU compile for every one that CUDA 13 serves, by NVRTC, which needs none.

NVRTC comes with the benchmark's PyTorch and with a libtorch with CUDA; without both there is nothing to try."""

import ctypes
import itertools
import os
import unittest
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src/tensor/cpp/sequence.cuh"
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
# Rows of a block and threads: one kernel for all time steps, of few units and of as many as it is for; and one for
# each.
BLOCKS = ((8, 32), (8, 192), (1, 320), (1, 1024))


def nvrtc():
    """The library, or `None` where there is none."""
    cache = os.environ.get("SEQLAB_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "seqlab"
    )
    folders = ("bench-*/lib/python*/site-packages", "libtorch-*")
    found = (path for folder in folders for path in Path(cache).glob(folder + "/nvidia/cu*/lib/libnvrtc.so.*"))
    for path in found:
        try:
            # It looks for them beside the program alone.
            for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
                ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    return None


def compiled(library, source, options):
    """The status of a compilation, and what the compiler says."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.nvrtcCreateProgram(ctypes.byref(program), source, b"sequence.cuh", 0, None, None)
    words = [option.encode() for option in options]
    status = library.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return status, log.value.decode()


class Kernels(unittest.TestCase):
    def setUp(self):
        self.library = nvrtc()
        if not self.library:
            self.skipTest("there is no NVRTC")

    def test_the_kernels_compile_for_every_gpu(self):
        source = SOURCE.read_bytes()
        kinds = list(itertools.product(("float", "double"), ("false", "true"), BLOCKS))
        # Each architecture with one kind, and one architecture with all.
        cases = [(name, kinds[0]) for name in ARCHITECTURES] + [("sm_90", kind) for kind in kinds[1:]]
        for architecture, (number, hard, (rows, threads)) in cases:
            options = (
                f"--gpu-architecture={architecture}",
                "--std=c++17",
                f"-DSEQLAB_NUMBER={number}",
                f"-DSEQLAB_HARD={hard}",
                f"-DSEQLAB_ROWS={rows}",
                f"-DSEQLAB_THREADS={threads}",
            )
            status, log = compiled(self.library, source, options)
            self.assertEqual((status, log.strip("\0 ")), (0, ""), options)

    def test_what_does_not_compile_is_told(self):
        status, log = compiled(self.library, b"no kernel", ("--gpu-architecture=sm_90",))
        self.assertNotEqual(status, 0)
        self.assertIn("error", log)


if __name__ == "__main__":
    unittest.main()
