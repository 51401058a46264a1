#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Four processes number the lines of a file: one of them reads how many there are, and adds the next."""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path

WORKERS, LINES = 4, 50


def work(lock, path):
    for _ in range(LINES):
        with lock:
            number = len(path.read_text().splitlines())
            with path.open("a") as file:
                file.write(f"{number}\n")


def main():
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        lock = multiprocessing.Lock()
        workers = [multiprocessing.Process(target=work, args=(lock, path)) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        numbers = [int(line) for line in path.read_text().splitlines()]
        print(f"{len(numbers)} lines, in order: {numbers == list(range(WORKERS * LINES))}")


if __name__ == "__main__":
    main()
