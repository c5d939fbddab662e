"""Makes a Python environment: make_environment.py REQUIREMENTS DEST

DEST is made whole or not at all, and then has a file `complete`.
"""

import os
import subprocess
import sys

from partial import exit_on_stop_signals, made_whole


def fill(folder, requirements):
    """Makes `folder` an environment with what the file `requirements` pins."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
    command = [os.path.join(folder, "bin", "python"), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
    command += ["--requirement=" + requirements]
    subprocess.run(command, check=True, stdout=sys.stderr)
    with open(os.path.join(folder, "complete"), "w"):
        pass


def main():
    exit_on_stop_signals()
    requirements, dest = sys.argv[1:]
    try:
        with made_whole(dest) as folder:
            fill(folder, requirements)
    except subprocess.CalledProcessError:
        message = f"pip could not install {requirements}"
        hint = "check the network and pip's configuration"
    except OSError as error:
        message = f"cannot make {dest}: {error}"
        hint = "check that the folder can be written to and has room (SEQLAB_CACHE names another)"
    else:
        return
    sys.exit(f"error: {message}\nhint: {hint}")


if __name__ == "__main__":
    main()
