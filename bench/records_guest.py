# SPDX-License-Identifier: MIT
"""Inside the virtual machine: records of kernel code to this process, by a ring and by read(), counted.

The machine has one processor whose clock counts instructions, so a clock that runs in nanoseconds is a counter of them.
Prints, for each way, the instructions per record of each batch, kernel and process together.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import sys
import time

import semshare

RECORD = 64
PUT = struct.Struct("iI")
IOC_PUT = 1 << 30 | PUT.size << 16 | 0xE572
CAPACITY = 1 << 17
#: For each ioctl() that asks the kernel for records: it is this program's alone, no producer needs to be asked.
BATCHES = 4


def by_ring(variant: str, batch: int, rounds: int) -> list[float]:
    """The kernel puts batches of records, each with one call; then the process takes them, each with one call."""
    counts = []
    name = f"bench-{os.getpid()}"
    with semshare.Ring.create(name, CAPACITY, variant=variant, backend="module") as ring:
        device = os.open("/dev/semshare-bench", os.O_RDWR)
        fcntl.ioctl(device, IOC_PUT, PUT.pack(ring.area.fileno(), 0))
        # What can be written to takes the short way through ioctl().
        command = bytearray(PUT.pack(-1, BATCHES * batch))
        for _ in range(rounds):
            began = time.perf_counter_ns()
            fcntl.ioctl(device, IOC_PUT, command)
            for _ in range(BATCHES):
                taken = ring.get_many(batch)
            counts.append((time.perf_counter_ns() - began) / (BATCHES * batch))
            assert len(taken) == batch and len(taken[-1]) == RECORD
        os.close(device)
    return counts


def by_read(batch: int, rounds: int) -> list[float]:
    """One read() for each record."""
    counts = []
    device = os.open("/dev/semshare-bench", os.O_RDWR)
    read = os.read
    for _ in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(BATCHES):
            taken = [read(device, RECORD) for _ in range(batch)]
        counts.append((time.perf_counter_ns() - began) / (BATCHES * batch))
        assert len(taken) == batch and len(taken[-1]) == RECORD
    os.close(device)
    return counts


def main() -> None:
    batch, rounds = map(int, sys.argv[1:])
    report = {variant: by_ring(variant, batch, rounds) for variant in ("spsc", "mpsc")}
    report["read"] = by_read(batch, rounds)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
