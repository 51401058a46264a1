#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that need the same result: who comes first computes it, the others wait for it, but not for ever."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import semshare


def result_of(path):
    lock = semshare.Lock(name_of(path))
    if not lock.acquire(timeout=60):
        sys.exit(f"{lock.owner()} computes for too long")
    try:
        if not path.exists() or lock.owner_died:
            time.sleep(0.2)  # much to compute
            path.write_text("42")
            print("computed", flush=True)
            if lock.owner_died:
                lock.mark_consistent()
        return path.read_text()
    finally:
        lock.release()


def name_of(path):
    return f"result-{hashlib.sha256(bytes(path)).hexdigest()[:16]}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        programs = [subprocess.Popen([sys.executable, __file__, f"{folder}/result"]) for _ in range(3)]
        for program in programs:
            program.wait()
        print(f"3 programs have {Path(folder, 'result').read_text()}")
        semshare.Lock(name_of(Path(folder, "result"))).unlink()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        result_of(Path(sys.argv[1]))
    else:
        main()
