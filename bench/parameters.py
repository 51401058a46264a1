# SPDX-License-Identifier: MIT
"""Setting parameters: against ``multiprocessing.Value``, and against a file that is written anew each time, which is
what setting a module's parameter in sysfs is."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import sysv_ipc

import semshare

from .measure import Comparison, in_turn

SETS = 200_000
WRITES = 50_000
GROUPS = 20_000
PROMISED = 100_000.0
"""Updates a second."""


def rate_of_sets(parameters: semshare.Parameters) -> float:
    start = time.perf_counter()
    for value in range(SETS):
        parameters["rate"] = value
    return SETS / (time.perf_counter() - start)


def rate_of_groups(parameters: semshare.Parameters) -> float:
    start = time.perf_counter()
    for value in range(GROUPS):
        parameters.update(low=value, high=value + 1)
    return GROUPS / (time.perf_counter() - start)


def rate_of_value() -> float:
    shared = multiprocessing.Value("q", 0)
    start = time.perf_counter()
    for value in range(SETS):
        shared.value = value
    return SETS / (time.perf_counter() - start)


def rate_of_plain_lock() -> float:
    """Both change together for whoever takes the lock to read them; one killed inside leaves one of them changed."""
    lock = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=1)
    lock.undo = True
    try:
        with mmap.mmap(-1, mmap.PAGESIZE) as memory:
            start = time.perf_counter()
            for value in range(GROUPS):
                with lock:
                    struct.pack_into("qq", memory, 0, value, value + 1)
            return GROUPS / (time.perf_counter() - start)
    finally:
        lock.remove()


def rate_of_file(path: Path) -> float:
    """As `echo 5 > /sys/module/…/parameters/rate` does, but for the shell."""
    start = time.perf_counter()
    for value in range(WRITES):
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.write(fd, b"%d\n" % value)
        os.close(fd)
    return WRITES / (time.perf_counter() - start)


def promised(what: str, rates: list[float]) -> Comparison:
    return Comparison(what, "100,000 a second", "sets/s", at_least=1.0, ours=rates, rival=[PROMISED] * len(rates))


def parameters(rounds: int) -> Iterator[Comparison]:
    declared = [
        semshare.Parameter("rate", 0, 0, 1 << 40),
        semshare.Parameter("low", 0, 0, 1 << 40, group=1),
        semshare.Parameter("high", 0, 0, 1 << 40, group=1),
    ]
    with semshare.Parameters.create(
        f"bench-{os.getpid()}", declared, backend="posix"
    ) as shared, tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        single = "parameter, set, one store, limits checked"
        row = Comparison(single, "multiprocessing.Value, set", "sets/s", at_least=1.0)
        row.ours, row.rival = in_turn(lambda: rate_of_sets(shared), rate_of_value, rounds)
        yield row
        yield promised(single, row.ours)
        row = Comparison(single, "a file opened, written and closed, as in sysfs", "sets/s", at_least=10.0)
        row.ours, row.rival = in_turn(lambda: rate_of_sets(shared), lambda: rate_of_file(Path(file.name)), rounds)
        yield row
        row = Comparison(
            "parameters, two of a group", "struct.pack_into under a sysv_ipc.Semaphore, undo", "sets/s", at_least=0.5
        )
        row.ours, row.rival = in_turn(lambda: rate_of_groups(shared), rate_of_plain_lock, rounds)
        yield row
        yield promised(row.what, row.ours)
