# SPDX-License-Identifier: MIT
"""The locks against plain ``sysv_ipc``, the bare system calls, file locks, and ``multiprocessing.Lock``."""

from __future__ import annotations

import ctypes
import mmap
import os
import statistics
import subprocess
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Callable, NamedTuple

import fasteners
import filelock
import sysv_ipc

import semshare

from .measure import Comparison, context, in_turn, run_parties

PAIRS = 50_000
#: Of a rival that takes tens of microseconds.
FILE_PAIRS = 2_000
SECONDS = 0.4

HANDOVERS = 300
#: Seconds between two, in which the next owner falls asleep.
PAUSE = 0.001

POOL = 10_000
#: Locks a second.
CREATED = 20_000

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


def time_with(open_guard: Callable[[], Any], pairs: int = PAIRS) -> float:
    """Nanoseconds of one ``with``, of what a program writes behind it."""
    start = time.perf_counter_ns()
    for _ in repeat(None, pairs):
        with open_guard():
            pass
    return (time.perf_counter_ns() - start) / pairs


def time_lock(lock: Any, pairs: int = PAIRS) -> float:
    """The same of an object that is a guard itself."""
    start = time.perf_counter_ns()
    for _ in repeat(None, pairs):
        with lock:
            pass
    return (time.perf_counter_ns() - start) / pairs


def uncontended(rounds: int) -> Iterator[Comparison]:
    semop_pairs = build_semop_pair()
    name = f"bench-{os.getpid()}"
    lock = semshare.Lock(name)
    permits = semshare.Semaphore(f"{name}-permits", 1)
    table = semshare.RWLock(f"{name}-table")
    plain = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=1)
    plain.undo = True

    def time_pairs() -> float:
        start = time.perf_counter_ns()
        if semop_pairs(plain.id, PAIRS):
            raise OSError("semop failed")
        return (time.perf_counter_ns() - start) / PAIRS

    try:
        for what, ours in (("Lock", lock), ("Semaphore", permits)):
            row = Comparison(f"with semshare.{what}, uncontended", "with sysv_ipc.Semaphore, undo", "ns", at_most=1.0)
            row.ours, row.rival = in_turn(partial(time_lock, ours), partial(time_lock, plain), rounds)
            yield row
        row = Comparison("with semshare.Lock, uncontended", "raw C semop pair, SEM_UNDO", "ns", at_most=1.3)
        row.ours, row.rival = in_turn(partial(time_lock, lock), time_pairs, rounds)
        yield row
        with tempfile.TemporaryDirectory(prefix="semshare-bench-") as folder:
            files = fasteners.InterProcessReaderWriterLock(f"{folder}/table")
            row = Comparison(
                "with semshare.RWLock.read(), uncontended", "fasteners.InterProcessReaderWriterLock", "ns", at_most=0.1
            )
            row.ours, row.rival = in_turn(
                partial(time_with, table.read), partial(time_with, files.read_lock, FILE_PAIRS), rounds
            )
            yield row
            file = filelock.FileLock(f"{folder}/lock")
            row = Comparison("with semshare.Lock, uncontended", "with filelock.FileLock", "ns", at_most=0.05)
            row.ours, row.rival = in_turn(partial(time_lock, lock), partial(time_lock, file, FILE_PAIRS), rounds)
            yield row
    finally:
        plain.remove()
        for each in (lock, permits, table):
            each.unlink()


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
                row.notes.append(f"{label}: Jain {min(report.jain for report in reports[1:]):.3f}")
            yield row
            # Of the same rounds; without the one that was not counted.
            waits = Comparison(f"{row.what}, longest wait", row.against, "µs", at_most=1.0)
            waits.ours, waits.rival = ([each.longest_wait * 1e6 for each in reports[1:]] for reports in (ours, theirs))
            yield waits
    finally:
        plain.remove()
        lock.unlink()


# ---------------------------------------------------------------------------------------------------------- hand-over


def hand_over(barrier: Any, role: str, open_lock: Callable[[], Any], pipes: tuple[Any, Any], shared: Any) -> list[int]:
    """One party; the one who waits returns, for each turn, the nanoseconds from before the release until it has it.

    The other takes the lock, says so, holds it for PAUSE, by when the first sleeps, notes the time, and releases.
    """
    lock = open_lock()
    begun, done = pipes
    stamp = memoryview(shared).cast("Q")
    now = time.monotonic_ns
    times = []
    barrier.wait()
    for _ in range(HANDOVERS):
        if role == "owner":
            lock.acquire()
            begun[1].send_bytes(b".")
            time.sleep(PAUSE)
            stamp[0] = now()
            lock.release()
            done[0].recv_bytes()
        else:
            begun[0].recv_bytes()
            lock.acquire()
            times.append(now() - stamp[0])
            lock.release()
            done[1].send_bytes(b".")
    return times


def handover_times(open_lock: Callable[[], Any]) -> list[int]:
    """Sorted."""
    pipes = (context.Pipe(duplex=False), context.Pipe(duplex=False))
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    return sorted(run_parties(hand_over, [(role, open_lock, pipes, shared) for role in ("owner", "next")])[1])


def handovers(rounds: int) -> Iterator[Comparison]:
    name = f"bench-{os.getpid()}"
    theirs = context.Lock()
    runs: tuple[list[list[int]], list[list[int]]] = ([], [])

    def turn(runs: list[list[int]], open_lock: Callable[[], Any]) -> float:
        runs.append(handover_times(open_lock))
        return statistics.median(runs[-1])

    with semshare.Lock(name) as lock:
        pass
    try:
        half = Comparison("hand-over to a sleeping process, p50", "multiprocessing.Lock", "ns", at_most=1.5)
        half.ours, half.rival = in_turn(
            partial(turn, runs[0], lambda: semshare.Lock(name, create=False)),
            partial(turn, runs[1], lambda: theirs),
            rounds,
        )
        yield half
        # Of the same rounds; without the one that was not counted.
        most = Comparison("hand-over to a sleeping process, p99", half.against, "ns", at_most=1.5)
        most.ours, most.rival = ([float(times[len(times) * 99 // 100]) for times in each[1:]] for each in runs)
        yield most
    finally:
        lock.unlink()


# --------------------------------------------------------------------------------------------------------------- many


def in_system(key: int) -> dict[str, list[list[str]]]:
    """SysV sets and segments of that key: the words of their lines."""
    found = {}
    for kind in ("sem", "shm"):
        lines = [line.split() for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]]
        found[kind] = [words for words in lines if int(words[0]) == key]
    return found


def created(name: str) -> float:
    """Locks a second, of one pool and of an object for each of its locks."""
    start = time.perf_counter()
    pool = semshare.LockPool(name, POOL, exclusive=True)
    locks = list(pool)
    spent = time.perf_counter() - start
    assert len(locks) == POOL
    del locks
    pool.unlink()
    return POOL / spent


def many(rounds: int) -> Iterator[Comparison]:
    name = f"bench-{os.getpid()}"
    rates = [created(name) for _ in range(rounds + 1)][1:]
    row = Comparison(f"semshare.LockPool of {POOL:,}, made, with an object for each lock", "", "locks/s", at_least=1.0)
    row.against = f"{CREATED:,} a second"
    row.ours, row.rival = rates, [float(CREATED)] * rounds
    tracemalloc.start()
    pool = semshare.LockPool(name, POOL)
    try:
        locks = list(pool)
        objects, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found = in_system(pool.key)
        size = sum(int(words[3]) for words in found["shm"])
        row.notes.append(f"in the system: {size / POOL:.0f} bytes of shared memory for each lock")
        row.notes.append(f"in Python: {objects / len(locks):.0f} bytes for each that was asked for")
        yield row
        row = Comparison(f"semshare.LockPool of {POOL:,}, SysV objects", "one for each lock", "objects", at_most=0.001)
        row.ours, row.rival = [float(sum(map(len, found.values())))] * rounds, [float(POOL)] * rounds
        yield row
    finally:
        pool.unlink()


def locks(rounds: int) -> Iterator[Comparison]:
    yield from uncontended(rounds)
    yield from contended(rounds)
    yield from handovers(rounds)
    yield from many(rounds)
