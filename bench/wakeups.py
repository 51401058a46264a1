# SPDX-License-Identifier: MIT
"""What a wake-up costs, against a pipe, and how many a ring at full speed needs."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from typing import Any, Callable

import semshare

from .measure import Comparison, in_turn, run_parties

MESSAGE = 64
WAKEUPS = 500
#: Between two wake-ups, seconds: the consumer is asleep again by then, and has been for long.
PAUSE = 0.001
RING_BYTES = 1 << 20
RECORDS = 200_000
PRODUCERS = 2
VARIANTS = ("sysv", "spsc", "mpsc", "lanes")


def wake(barrier: Any, role: str, put: Callable[[bytes], Any], get: Callable[[], bytes]) -> float:
    """One party of the run that measures wake-ups; the consumer returns the median, in nanoseconds.

    A message says when it was sent, and the consumer looks at the clock as soon as it has it.
    """
    barrier.wait()
    now = time.monotonic_ns
    if role == "producer":
        padding = bytes(MESSAGE - 8)
        for _ in range(WAKEUPS):
            time.sleep(PAUSE)
            put(now().to_bytes(8, "little") + padding)
        return 0.0
    times = []
    for _ in range(WAKEUPS):
        message = get()
        times.append(now() - int.from_bytes(message[:8], "little"))
    return statistics.median(times)


def wake_by_ring(barrier: Any, role: str, name: str) -> float:
    with semshare.Ring.attach(name) as ring:
        return wake(barrier, role, ring.put, ring.get)


def wake_by_pipe(barrier: Any, role: str, ends: tuple[int, int]) -> float:
    return wake(barrier, role, lambda message: os.write(ends[1], message), lambda: os.read(ends[0], MESSAGE))


def ring_time(name: str) -> float:
    return float(run_parties(wake_by_ring, [("producer", name), ("consumer", name)])[1])


def pipe_time() -> float:
    ends = os.pipe()
    try:
        return float(run_parties(wake_by_pipe, [("producer", ends), ("consumer", ends)])[1])
    finally:
        for each in ends:
            os.close(each)


def exchange(barrier: Any, role: str, name: str, count: int) -> int:
    """One party of a run at full speed, one record at a time; returns how many wake-ups it made, of either side."""
    message = bytes(MESSAGE)
    with semshare.Ring.attach(name) as ring:
        barrier.wait()
        if role == "producer":
            for _ in range(count):
                ring.put(message)
        else:
            for _ in range(count):
                ring.get()
        hints, rings, _ = ring._wakeups
        return hints + rings


def records_per_wakeup(name: str, producers: int) -> float:
    each = RECORDS // producers
    arguments: list[tuple[Any, ...]] = [("producer", name, each)] * producers
    arguments.append(("consumer", name, each * producers))
    return each * producers / max(1, sum(run_parties(exchange, arguments)))


def wakeups(rounds: int) -> Iterator[Comparison]:
    for variant in VARIANTS:
        name = f"bench-{os.getpid()}-{variant}"
        with semshare.Ring.create(name, RING_BYTES, variant=variant):
            row = Comparison(f"wake-up to a sleeping consumer, {variant}", "os.pipe", "ns, p50", at_most=1.2)
            row.ours, row.rival = in_turn(lambda name=name: ring_time(name), pipe_time, rounds)
            yield row
        producers = 1 if variant == "spsc" else PRODUCERS
        with semshare.Ring.create(name, RING_BYTES, variant=variant):
            row = Comparison(f"records per wake-up system call, {variant}", "one", "records", at_least=100)
            row.ours = [records_per_wakeup(name, producers) for _ in range(rounds)]
            row.rival = [1.0] * rounds
            yield row
