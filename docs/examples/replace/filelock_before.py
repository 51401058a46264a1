#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that need the same result: who comes first computes it, the others wait for it, but not for ever."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import filelock


def result_of(path):
    lock = filelock.FileLock(f"{path}.lock")
    try:
        with lock.acquire(timeout=60):
            if not path.exists():
                time.sleep(0.2)  # much to compute
                path.write_text("42")
                print("computed", flush=True)
            return path.read_text()
    except filelock.Timeout:
        sys.exit("somebody computes for too long")


def main():
    with tempfile.TemporaryDirectory() as folder:
        programs = [subprocess.Popen([sys.executable, __file__, f"{folder}/result"]) for _ in range(3)]
        for program in programs:
            program.wait()
        print(f"3 programs have {Path(folder, 'result').read_text()}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        result_of(Path(sys.argv[1]))
    else:
        main()
