#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two workers each sell a ticket at a time, as long as there are any."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import redis

TICKETS = 30


def sell(path, name):
    lock = redis.Redis.from_url(os.environ["REDIS_URL"]).lock(name, timeout=10, sleep=0.01)
    sold = 0
    while True:
        with lock:
            left = int(path.read_text())
            if not left:
                break
            path.write_text(str(left - 1))
            sold += 1
    print(sold)


def main():
    name = f"tickets-{os.getpid()}"
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_text(str(TICKETS))
        command = [sys.executable, __file__, file.name, name]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        sold = sum(int(worker.communicate()[0]) for worker in workers)
        print(f"{TICKETS} tickets, sold: {sold}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sell(Path(sys.argv[1]), sys.argv[2])
    else:
        main()
