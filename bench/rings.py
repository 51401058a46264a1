# SPDX-License-Identifier: MIT
"""The ring against ``multiprocessing.Queue``: 64-byte messages, two producers, one consumer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import semshare

from .measure import Comparison, context, in_turn, run_parties

MESSAGE = bytes(64)
PRODUCERS = 2
BATCH = 64
RING_BYTES = 1 << 20
ONE_AT_A_TIME = 100_000
BATCHED = 640_000
QUEUED = 30_000


def consume_queue(barrier: Any, role: str, queue: Any, count: int) -> float:
    """One party of the queue's run; returns the seconds from the common start to its end."""
    barrier.wait()
    start = time.perf_counter()
    if role == "producer":
        put = queue.put
        for _ in range(count):
            put(MESSAGE)
        queue.close()
        queue.join_thread()
    else:
        get = queue.get
        for _ in range(count):
            get()
    return time.perf_counter() - start


def use_ring(barrier: Any, role: str, name: str, count: int, batch: int) -> float:
    """One party of the ring's run; returns the seconds from the common start to its end."""
    with semshare.Ring(name, create=False) as ring:
        barrier.wait()
        start = time.perf_counter()
        if role == "producer" and batch == 1:
            put = ring.put
            for _ in range(count):
                put(MESSAGE)
        elif role == "producer":
            put_many = ring.put_many
            messages = [MESSAGE] * batch
            for _ in range(count // batch):
                put_many(messages)
        elif batch == 1:
            get = ring.get
            for _ in range(count):
                get()
        else:
            get_many = ring.get_many
            while count > 0:
                count -= len(get_many(batch))
        return time.perf_counter() - start


def queue_rate() -> float:
    queue = context.Queue()
    each = QUEUED // PRODUCERS
    arguments: list[tuple[Any, ...]] = [("producer", queue, each)] * PRODUCERS
    arguments.append(("consumer", queue, each * PRODUCERS))
    return each * PRODUCERS / run_parties(consume_queue, arguments)[-1]


def ring_rate(name: str, total: int, batch: int) -> float:
    each = total // PRODUCERS
    arguments: list[tuple[Any, ...]] = [("producer", name, each, batch)] * PRODUCERS
    arguments.append(("consumer", name, each * PRODUCERS, batch))
    return each * PRODUCERS / run_parties(use_ring, arguments)[-1]


def rings(rounds: int) -> Iterator[Comparison]:
    name = f"bench-{os.getpid()}"
    with semshare.Ring(name, RING_BYTES, create=True):
        row = Comparison("ring, one at a time", "multiprocessing.Queue", "messages/s", at_least=3.0)
        row.ours, row.rival = in_turn(lambda: ring_rate(name, ONE_AT_A_TIME, 1), queue_rate, rounds)
        yield row
        row = Comparison(f"ring, batches of {BATCH}", "multiprocessing.Queue", "messages/s", at_least=15.0)
        row.ours, row.rival = in_turn(lambda: ring_rate(name, BATCHED, BATCH), queue_rate, rounds)
        yield row
