"""Folders in the cache that are made whole or not at all, whoever else makes the same ones."""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
import tempfile

PREFIX = ".fetch@"
# Held for as long as its folder is being filled.
LOCK = ".lock"
# After so many seconds without a write, nobody fills a folder whose lock tells nothing any more.
IDLE = 3600


def machine():
    """This machine since it was started; the same in every container on it."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return socket.gethostname()


def prefix():
    """How the names of the folders begin that this machine fills."""
    return f"{PREFIX}{machine()}@"


def last_write(folder):
    """When anything below `folder` was last written to."""
    times = [os.stat(folder).st_mtime]
    for place, _, files in os.walk(folder):
        for path in [place] + [os.path.join(place, name) for name in files]:
            with contextlib.suppress(OSError):
                times.append(os.lstat(path).st_mtime)
    return max(times)


def is_abandoned(folder, now):
    """Whether nobody fills `folder` any more. `now` is by the clock that stamps its files."""
    try:
        with open(os.path.join(folder, LOCK), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Locks need not reach another machine that shares the cache.
        if os.path.basename(folder).startswith(prefix()):
            return True
    except FileNotFoundError:
        # It has just been made or is about to move into place, or an earlier version made it.
        pass
    except OSError:
        return False
    return now - last_write(folder) > IDLE


def remove_abandoned(cache, now):
    """Removes what was left by those that were killed without a chance to tidy up."""
    for name in os.listdir(cache):
        folder = os.path.join(cache, name)
        with contextlib.suppress(OSError):
            if name.startswith(PREFIX) and is_abandoned(folder, now):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def made_whole(dest):
    """A folder beside `dest` that is moved there once it is filled, and removed if that fails."""
    cache = os.path.dirname(dest)
    os.makedirs(cache, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=prefix(), dir=cache)
    try:
        remove_abandoned(cache, os.stat(folder).st_mtime)
        lock_path = os.path.join(folder, LOCK)
        with open(lock_path + ".new", "w") as lock:
            # Where there are no locks, nobody can take this one either.
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(lock.name, lock_path)
            yield folder
            os.remove(lock_path)
            os.chmod(folder, 0o755)
            try:
                os.rename(folder, dest)
            except OSError:
                # Another may have been first: its folder is as good as this one.
                if not os.path.isdir(dest):
                    raise
    finally:
        on_stop_signals(signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)


def on_stop_signals(handler):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def exit_on_stop_signals():
    """Lets a signal end the program by way of `finally`.

    SIGINT included: a shell starts background commands with it ignored.
    """

    def stop(number, _frame):
        # One is enough: a second one must not cut the tidying short.
        on_stop_signals(signal.SIG_IGN)
        sys.exit(128 + number)

    on_stop_signals(stop)
