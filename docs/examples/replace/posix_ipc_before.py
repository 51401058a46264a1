#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Three programs that know nothing of each other but a name add to one number in a file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import posix_ipc

TURNS = 100


def add(name, path):
    lock = posix_ipc.Semaphore(f"/{name}", posix_ipc.O_CREAT, initial_value=1)
    for _ in range(TURNS):
        with lock:
            path.write_text(str(int(path.read_text()) + 1))
    lock.close()


def main():
    name = f"number-{os.getpid()}"
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.write_text("0")
        programs = [subprocess.Popen([sys.executable, __file__, name, path]) for _ in range(3)]
        for program in programs:
            program.wait()
        print(f"3 × {TURNS} = {path.read_text()}")
    posix_ipc.unlink_semaphore(f"/{name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        add(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
