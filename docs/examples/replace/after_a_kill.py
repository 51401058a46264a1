#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What none of the locks that were replaced can do: a worker is killed inside, and the next puts right what it left.

$ python docs/examples/replace/after_a_kill.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import semshare


def repair(lock, died):
    """Called by an acquire that finds the owner before dead, with the lock held."""
    path = Path(sys.argv[2])
    whole, _, half = path.read_text().rpartition("\n")
    print(f"process {died.pid} left {half!r}", flush=True)
    path.write_text(f"{whole}\n")
    lock.mark_consistent()


def write(line):
    lock = semshare.Lock(sys.argv[1], on_owner_died=repair)
    with lock, Path(sys.argv[2]).open("a") as file:
        file.write(line[: len(line) // 2])
        file.flush()
        if line == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        file.write(f"{line[len(line) // 2 :]}\n")


def main():
    name = f"lines-{os.getpid()}"
    with tempfile.NamedTemporaryFile() as file:
        for line in ("first", "killed", "last"):
            subprocess.run([sys.executable, __file__, name, file.name, line], check=line != "killed")
        print(Path(file.name).read_text(), end="")
    semshare.Lock(name).unlink()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(sys.argv[3])
    else:
        main()
