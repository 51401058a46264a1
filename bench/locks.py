# SPDX-License-Identifier: MIT
"""The lock against plain ``sysv_ipc`` and against the bare system calls."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Callable, NamedTuple

import sysv_ipc

import semshare

from .measure import Comparison, in_turn, run_parties

PAIRS = 50_000
SECONDS = 0.4

#: (processes, µs inside, processors, wanted ratio of rates). Two on two processors are held there, one each: left to
#: itself the scheduler may run both on one, where they never meet and there is nothing to compare.
CONTENDED = [
    (2, 0, None, 2.5),
    (4, 0, None, 1.0),
    (8, 0, None, 1.0),
    (4, 10, None, 1.0),
    (8, 10, None, 1.0),
    (2, 0, 1, 1.0),
]


class Hammering(NamedTuple):
    """What one process reports: turns it had, and its longest wait in seconds."""

    turns: int
    longest_wait: float


class Contention(NamedTuple):
    """What a round of several processes gave."""

    rate: float
    longest_wait: float
    jain: float


def jain(shares: list[int]) -> float:
    """Jain's fairness index: 1 when all have the same, 1/n when one has all (Jain, Chiu, Hawe 1984)."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def build_semop_pair() -> Callable[[int, int], int]:
    """Compile ``semop_pair.c`` and return its function."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "semop_pair.so"
        source = Path(__file__).with_name("semop_pair.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        function = ctypes.CDLL(str(library)).semop_pairs
    function.argtypes = [ctypes.c_int, ctypes.c_long]
    return function  # type: ignore[no-any-return]


def time_with(lock: Any) -> float:
    """Nanoseconds of one ``with lock: pass``."""
    start = time.perf_counter_ns()
    for _ in repeat(None, PAIRS):
        with lock:
            pass
    return (time.perf_counter_ns() - start) / PAIRS


def uncontended(rounds: int) -> Iterator[Comparison]:
    semop_pairs = build_semop_pair()
    lock = semshare.Lock(f"bench-{os.getpid()}")
    plain = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=1)
    plain.undo = True

    def time_pairs() -> float:
        start = time.perf_counter_ns()
        if semop_pairs(plain.id, PAIRS):
            raise OSError("semop failed")
        return (time.perf_counter_ns() - start) / PAIRS

    try:
        row = Comparison("with semshare.Lock, uncontended", "with sysv_ipc.Semaphore, undo", "ns", at_most=1.0)
        row.ours, row.rival = in_turn(lambda: time_with(lock), lambda: time_with(plain), rounds)
        yield row
        row = Comparison("with semshare.Lock, uncontended", "raw C semop pair, SEM_UNDO", "ns", at_most=1.3)
        row.ours, row.rival = in_turn(lambda: time_with(lock), time_pairs, rounds)
        yield row
    finally:
        plain.remove()
        lock.unlink()


def hammer(barrier: Any, open_lock: Callable[[], Any], inside_us: float, processors: set[int]) -> Hammering:
    os.sched_setaffinity(0, processors)
    lock = open_lock()
    clock = time.perf_counter
    inside = inside_us / 1e6
    turns = 0
    longest = 0.0
    barrier.wait()
    end = clock() + SECONDS
    while True:
        before = clock()
        if before >= end:
            return Hammering(turns, longest)
        with lock:
            taken = clock()
            if inside:
                leave = taken + inside
                while clock() < leave:
                    pass
        turns += 1
        if taken - before > longest:
            longest = taken - before


def contend(open_lock: Callable[[], Any], processes: int, inside_us: float, processors: int | None) -> Contention:
    allowed = sorted(os.sched_getaffinity(0))[:processors]
    own = processes <= len(allowed)
    places = [{allowed[number]} if own else set(allowed) for number in range(processes)]
    reports = run_parties(hammer, [(open_lock, inside_us, place) for place in places])
    turns = [report.turns for report in reports]
    return Contention(sum(turns) / SECONDS, max(report.longest_wait for report in reports), jain(turns))


def contended(rounds: int) -> Iterator[Comparison]:
    name = f"bench-{os.getpid()}"
    cpus = len(os.sched_getaffinity(0))
    lock = semshare.Lock(name)
    plain = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=1)

    def open_plain() -> Any:
        # An object made in the parent works in the child: it is a number. SEM_UNDO belongs to the process.
        plain.undo = True
        return plain

    try:
        for processes, inside_us, processors, wanted in CONTENDED:
            ours: list[Contention] = []
            theirs: list[Contention] = []

            # Bound at definition: they are called within this turn of the loop, and linters cannot know.
            def turn(
                reports: list[Contention],
                open_lock: Callable[[], Any],
                crowd: tuple[int, float, int | None] = (processes, inside_us, processors),
            ) -> float:
                reports.append(contend(open_lock, *crowd))
                return reports[-1].rate

            where = f", {processors} CPU" if processors else ", one on each CPU" if processes <= cpus else ""
            row = Comparison(
                f"lock, {processes} processes, {inside_us} µs inside{where}",
                "plain sysv_ipc",
                "turns/s",
                at_least=wanted,
            )
            row.ours, row.rival = in_turn(
                partial(turn, ours, lambda: semshare.Lock(name, create=False)),
                partial(turn, theirs, open_plain),
                rounds,
            )
            for label, reports in (("semshare", ours), ("sysv_ipc", theirs)):
                row.notes.append(
                    f"{label}: longest wait {max(r.longest_wait for r in reports[1:]) * 1e3:.1f} ms, "
                    f"Jain {min(r.jain for r in reports[1:]):.3f}"
                )
            yield row
    finally:
        plain.remove()
        lock.unlink()
