"""Folders that are made whole or not at all, whoever else makes the same ones."""

import os
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import partial

# Fills a folder beside the one named until it is told to end.
FILL = """
import sys, partial
if sys.argv[2]:
    partial.machine = lambda: sys.argv[2]
with partial.made_whole(sys.argv[1]) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


class Partial(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cache = Path(folder.name)
        self.dest = self.cache / "libtorch"

    def fill(self, machine=""):
        """Another process that fills a folder, and the folder."""
        command = [sys.executable, "-B", "-c", FILL, str(self.dest), machine]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=Path(__file__).parent, **pipes)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process, Path(process.stdout.readline().strip())

    def clean_up(self, seconds_later=0):
        partial.remove_abandoned(str(self.cache), os.stat(self.cache).st_mtime + seconds_later)

    def test_a_folder_moves_into_place_when_it_is_filled(self):
        with partial.made_whole(str(self.dest)) as folder:
            Path(folder, "file").write_text("content")
            self.assertFalse(self.dest.exists())
        self.assertEqual([path.name for path in self.cache.iterdir()], ["libtorch"])
        self.assertEqual([path.name for path in self.dest.iterdir()], ["file"])

    def test_nothing_is_left_of_a_folder_that_could_not_be_filled(self):
        with self.assertRaises(KeyError), partial.made_whole(str(self.dest)):
            raise KeyError
        self.assertEqual(list(self.cache.iterdir()), [])

    def test_the_first_to_fill_a_folder_is_first(self):
        with partial.made_whole(str(self.dest)):
            self.dest.mkdir()
            (self.dest / "first").touch()
        self.assertEqual([path.name for path in self.dest.iterdir()], ["first"])

    def test_a_folder_is_left_alone_while_a_process_fills_it(self):
        for machine in ("", "another"):
            process, folder = self.fill(machine)
            self.clean_up()
            self.clean_up(2 * partial.IDLE)
            self.assertTrue(folder.exists(), machine)
            process.communicate()
            self.assertTrue(self.dest.exists() and not folder.exists(), machine)

    def test_what_a_killed_process_left_goes(self):
        process, folder = self.fill()
        process.kill()
        process.wait()
        self.clean_up()
        self.assertFalse(folder.exists())

    def test_another_machine_that_shares_no_locks_is_not_robbed(self):
        process, folder = self.fill("another")
        process.kill()
        process.wait()
        # As far as this machine can tell, that process goes on.
        self.clean_up(partial.IDLE // 2)
        self.assertTrue(folder.exists())
        self.clean_up(2 * partial.IDLE)
        self.assertFalse(folder.exists())

    def test_a_fetch_of_an_earlier_version_may_be_that_of_another_host_of_this_name(self):
        name = f".fetch@{2**22 + 1}@{socket.gethostname()}@abc"
        (self.cache / name).mkdir()
        self.clean_up()
        self.assertTrue((self.cache / name).exists())
        self.clean_up(2 * partial.IDLE)
        self.assertFalse((self.cache / name).exists())


if __name__ == "__main__":
    unittest.main()
