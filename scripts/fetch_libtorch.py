"""Fetches libtorch from its Python wheels: fetch_libtorch.py VARIANT PLATFORM DEST

VARIANT is cpu or cuda, PLATFORM a key of WHEELS. DEST is made whole or not at all, and gets what
linking and running need of a site-packages folder: torch/include, torch/lib and, as its sibling,
nvidia/, where the libraries look for one another.
"""

import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

from partial import exit_on_stop_signals, made_whole

TORCH = "2.13.0"

# Distribution, version, platform tag, SHA-256: torch and what it pins through cuda-toolkit 13.0.3.
# What they come to in DEST is in scripts/setup, as files_and_bytes.
WHEELS = {
    "linux-x86_64": [
        ("torch", TORCH, "manylinux_2_28_x86_64", "796633c4cdf0fe2cdced72d8f88f22e73dbcfce83132763162f6d4bff13b820b"),
        ("nvidia-cuda-runtime", "13.0.96", "manylinux2014_x86_64", "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"),
        ("nvidia-cuda-crt", "13.0.88", "manylinux2014_x86_64", "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4"),
        ("nvidia-cuda-cupti", "13.0.85", "manylinux_2_25_x86_64", "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"),
        ("nvidia-cublas", "13.1.1.3", "manylinux_2_27_x86_64", "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436"),
        ("nvidia-cuda-nvrtc", "13.0.88", "manylinux2010_x86_64", "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575"),
        ("nvidia-cufft", "12.0.0.61", "manylinux2014_x86_64", "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3"),
        ("nvidia-cufile", "1.15.1.6", "manylinux2014_x86_64", "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44"),
        ("nvidia-curand", "10.4.0.35", "manylinux_2_27_x86_64", "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc"),
        ("nvidia-cusolver", "12.0.4.66", "manylinux_2_27_x86_64", "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112"),
        ("nvidia-cusparse", "12.6.3.3", "manylinux2014_x86_64", "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b"),
        ("nvidia-nvjitlink", "13.0.88", "manylinux2010_x86_64", "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b"),
        ("nvidia-cudnn-cu13", "9.20.0.48", "manylinux_2_27_x86_64", "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304"),
        ("nvidia-cusparselt-cu13", "0.8.1", "manylinux2014_x86_64", "786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0"),
        ("nvidia-nccl-cu13", "2.29.7", "manylinux_2_18_x86_64", "edd81538446786ec3b73972543e53bb43bcaf0bfc8ef76cb679fcc390ffe136d"),
        ("nvidia-nvshmem-cu13", "3.4.5", "manylinux2014_x86_64", "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80"),
    ],
    "linux-aarch64": [
        ("torch", TORCH, "manylinux_2_28_aarch64", "572df8be8ffb4599c88cbd6a0726f1f854f4da65d2e3c09f0e2c2283333cd6d4"),
        ("nvidia-cuda-runtime", "13.0.96", "manylinux2014_aarch64", "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55"),
        ("nvidia-cuda-crt", "13.0.88", "manylinux2014_aarch64", "ee2ea2a97073e02ee62bb27841f437332be2c248e3eac013df07997ada39c003"),
        ("nvidia-cuda-cupti", "13.0.85", "manylinux_2_25_aarch64", "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151"),
        ("nvidia-cublas", "13.1.1.3", "manylinux_2_27_aarch64", "b7a210458267ac818974c53038fbec2e969d5c99f305ab15c72522fa9f001dd5"),
        ("nvidia-cuda-nvrtc", "13.0.88", "manylinux2014_aarch64", "d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b"),
        ("nvidia-cufft", "12.0.0.61", "manylinux2014_aarch64", "2708c852ef8cd89d1d2068bdbece0aa188813a0c934db3779b9b1faa8442e5f5"),
        ("nvidia-cufile", "1.15.1.6", "manylinux_2_27_aarch64", "bdc0deedc61f548bddf7733bdc216456c2fdb101d020e1ab4b88d232d5e2f6d1"),
        ("nvidia-curand", "10.4.0.35", "manylinux_2_27_aarch64", "133df5a7509c3e292aaa2b477afd0194f06ce4ea24d714d616ff36439cee349a"),
        ("nvidia-cusolver", "12.0.4.66", "manylinux_2_27_aarch64", "02c2457eaa9e39de20f880f4bd8820e6a1cfb9f9a34f820eb12a155aa5bc92d2"),
        ("nvidia-cusparse", "12.6.3.3", "manylinux2014_aarch64", "80bcc4662f23f1054ee334a15c72b8940402975e0eab63178fc7e670aa59472c"),
        ("nvidia-nvjitlink", "13.0.88", "manylinux2014_aarch64", "e931536ccc7d467a98ba1d8b89ff7fa7f1fa3b13f2b0069118cd7f47bff07d0c"),
        ("nvidia-cudnn-cu13", "9.20.0.48", "manylinux_2_27_aarch64", "e31454ae00094b0c55319d9d15b6fa2fc50a9e1c0f5c8c80fb75258234e731e1"),
        ("nvidia-cusparselt-cu13", "0.8.1", "manylinux2014_aarch64", "4dca476c50bf4780d46cd0bfbd82e2bc10a08e4fef7950917ce8d7578d22a23f"),
        ("nvidia-nccl-cu13", "2.29.7", "manylinux_2_18_aarch64", "674a12383e3c38a1bcccae7d4f3633b37852230b6047883cb2f4c2d1b36d9bf5"),
        ("nvidia-nvshmem-cu13", "3.4.5", "manylinux2014_aarch64", "6dc2a197f38e5d0376ad52cd1a2a3617d3cdc150fd5966f4aee9bcebb1d68fe9"),
    ],
    "macos-arm64": [
        ("torch", TORCH, "macosx_14_0_arm64", "2fe228aba290d14b9f31b049be550dbd469c3fd3013d7a19705b30454da97027"),
    ],
}

# The Linux libtorch_cpu is linked with these two even where there is no GPU.
CPU_WHEELS = ("torch", "nvidia-cuda-runtime", "nvidia-cuda-cupti")

# Rough sizes in GB: to download, installed.
SIZES = {
    ("cpu", "linux-x86_64"): (0.5, 0.5),
    ("cpu", "linux-aarch64"): (0.4, 0.4),
    ("cpu", "macos-arm64"): (0.1, 0.4),
    ("cuda", "linux-x86_64"): (2.5, 3.9),
    ("cuda", "linux-aarch64"): (2.7, 4.2),
}

# pip holds the largest wheel twice for a moment.
SPARE_GB = 1.2

LICENCES = ("*.dist-info/[Ll][Ii][Cc][Ee][Nn]*",)
FOR_PYTHON = ("torch/lib/libtorch_python.*", "torch/lib/libtorch_global_deps.*", "torch/lib/libshm*")
FOR_CUDA = (
    "torch/lib/libtorch_cuda*",
    "torch/lib/libtorch_nvshmem*",
    "torch/lib/libc10_cuda*",
    "torch/lib/libcaffe2_nvrtc*",
    # It needs libtorch_cuda: see LINKER_SCRIPT.
    "torch/lib/libtorch.so",
)
# What libtorch's headers for CUDA read of CUDA's own, for src/tensor/cpp/cuda.cpp.
HEADERS = tuple(
    "nvidia/cu13/include/" + name
    for name in (
        "builtin_types.h",
        "channel_descriptor.h",
        "crt/host_config.h",
        "crt/host_defines.h",
        "cuda.h",
        "cuda_device_runtime_api.h",
        "cuda_runtime.h",
        "cuda_runtime_api.h",
        "device_types.h",
        "driver_functions.h",
        "driver_types.h",
        "library_types.h",
        "surface_types.h",
        "texture_types.h",
        "vector_functions.h",
        "vector_functions.hpp",
        "vector_types.h",
    )
)
LINKER_SCRIPT = "INPUT(-ltorch_cpu)\n"

BY_HAND = "or unpack a libtorch %s yourself and set LIBTORCH to its folder" % TORCH


class Failure(Exception):
    """A message for the user and a hint."""


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def is_wanted(name, variant):
    """Whether this member of a wheel is needed to link and run a program."""
    if name.endswith("/"):
        return False
    if variant == "cpu":
        nvidia = ("nvidia/*/lib/libcudart.so*", "nvidia/*/lib/libcupti.so*")
        unwanted = FOR_PYTHON + FOR_CUDA
    else:
        nvidia = ("nvidia/*/lib/*.so*",) + HEADERS
        unwanted = FOR_PYTHON
    wanted = ("torch/include/*", "torch/lib/*") + nvidia + LICENCES
    return matches(name, wanted) and not matches(name, unwanted)


def download(wheel, folder):
    """The path of the wheel, its hash checked by pip."""
    name, version, tag, sha256 = wheel
    requirements = os.path.join(folder, "requirements.txt")
    with open(requirements, "w") as file:
        file.write("%s==%s --hash=sha256:%s\n" % (name, version, sha256))
    # One wheel and one tag at a time: an older pip takes no more than one --platform, and the
    # room on the disk for one wheel is enough.
    command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--no-deps"]
    command += ["--no-input", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--python-version=3.12", "--implementation=cp", "--abi=cp312"]
    command += ["--platform=" + tag, "--dest=" + folder, "--requirement=" + requirements]
    # What pip unpacks goes beside the rest: /tmp may be small, and is not ours to tidy.
    environment = dict(os.environ, TMPDIR=folder)
    log_path = os.path.join(folder, "pip.log")
    with open(log_path, "w+") as log:
        output = sys.stderr if sys.stderr.isatty() else log
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        ).returncode
        if status != 0:
            log.seek(0)
            sys.stderr.writelines(log.readlines()[-12:])
            raise Failure(
                "pip could not download %s %s" % (name, version),
                "check the network; a proxy or a mirror is set in pip's own configuration "
                "(python3 -m pip config, HTTPS_PROXY, PIP_INDEX_URL); " + BY_HAND,
            )
    return os.path.join(folder, next(n for n in os.listdir(folder) if n.endswith(".whl")))


def install(variant, platform, folder):
    """Fills `folder`, the future destination."""
    wheels = [w for w in WHEELS[platform] if variant == "cuda" or w[0] in CPU_WHEELS]
    for wheel in wheels:
        # Below `folder`, so that one removal takes all; its name cannot be a package's.
        with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as downloads:
            with zipfile.ZipFile(download(wheel, downloads)) as archive:
                names = [name for name in archive.namelist() if is_wanted(name, variant)]
                archive.extractall(folder, names)
    if variant == "cpu" and platform.startswith("linux-"):
        with open(os.path.join(folder, "torch", "lib", "libtorch.so"), "w") as file:
            file.write(LINKER_SCRIPT)


def check_room(cache, variant, platform):
    needed = SIZES[variant, platform][1] + SPARE_GB
    free = shutil.disk_usage(cache).free / 1e9
    if free < needed:
        raise Failure(
            "%s has %.1f GB free; libtorch needs %.1f GB to unpack" % (cache, free, needed),
            "make room, or set SEQLAB_CACHE to a folder on another disk",
        )


def fetch(variant, platform, dest):
    with made_whole(dest) as folder:
        check_room(os.path.dirname(dest), variant, platform)
        print(
            "seqlab: fetching libtorch %s (%s, %s): %.1f GB to download, %.1f GB installed\n"
            "seqlab: into %s" % ((TORCH, variant, platform) + SIZES[variant, platform] + (dest,)),
            file=sys.stderr,
            flush=True,
        )
        install(variant, platform, folder)


def main():
    exit_on_stop_signals()
    try:
        fetch(*sys.argv[1:])
    except Failure as failure:
        message, hint = failure.args
    except (OSError, zipfile.BadZipFile) as error:
        message = "cannot unpack libtorch: %s" % error
        hint = "check that the folder can be written to and has room (SEQLAB_CACHE names another)"
    else:
        return
    sys.exit("error: %s\nhint: %s" % (message, hint))


if __name__ == "__main__":
    main()
