# SPDX-License-Identifier: MIT
"""Rings against other queues: 64-byte messages unless it says otherwise, two producers, one consumer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import semshare

from . import rivals
from .measure import Comparison, context, in_turn, run_parties

MESSAGE = bytes(64)
PRODUCERS = 2
BATCH = 64
RING_BYTES = 1 << 20
ONE_AT_A_TIME = 100_000
BATCHED = 640_000
QUEUED = 30_000
# Enough for a run of a tenth of a second and more: the variants without a lock, and their rivals.
FAST_ONE_AT_A_TIME = 1_000_000
FAST_BATCHED = 4_000_000
RIVALS = 200_000
LARGE = 1 << 20
LARGE_RING_BYTES = 8 << 20
LARGE_RECORDS = 2_000
PAGE = 4096


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


def use_ring_in_place(barrier: Any, role: str, name: str, count: int) -> float:
    """One party; a producer fills records where they lie, the consumer reads a byte of each page of them."""
    with semshare.Ring(name, create=False) as ring:
        source = bytes(range(256)) * (LARGE // 256)
        barrier.wait()
        start = time.perf_counter()
        for _ in range(count):
            if role == "producer":
                with ring.reserve(LARGE) as view:
                    view[:] = source
            else:
                with ring.view() as view:
                    view[::PAGE].tobytes()
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


def ring_bandwidth(name: str, total: int) -> float:
    each = total // PRODUCERS
    arguments: list[tuple[Any, ...]] = [("producer", name, each)] * PRODUCERS
    arguments.append(("consumer", name, each * PRODUCERS))
    return each * PRODUCERS * LARGE / run_parties(use_ring_in_place, arguments)[-1]


def rings(rounds: int) -> Iterator[Comparison]:
    name = f"bench-{os.getpid()}"
    with semshare.Ring(name, RING_BYTES, create=True):
        row = Comparison("ring, one at a time", "multiprocessing.Queue", "messages/s", at_least=3.0)
        row.ours, row.rival = in_turn(lambda: ring_rate(name, ONE_AT_A_TIME, 1), queue_rate, rounds)
        yield row
        row = Comparison(f"ring, batches of {BATCH}", "multiprocessing.Queue", "messages/s", at_least=15.0)
        row.ours, row.rival = in_turn(lambda: ring_rate(name, BATCHED, BATCH), queue_rate, rounds)
        yield row
    for variant in ("mpsc", "lanes"):
        with semshare.Ring.create(name, RING_BYTES, variant=variant):
            row = Comparison(f"{variant}, one at a time", "pyzmq PUSH/PULL, ipc", "messages/s", at_least=2.0)
            row.ours, row.rival = in_turn(
                lambda: ring_rate(name, FAST_ONE_AT_A_TIME, 1),
                lambda: rivals.zmq_rate(PRODUCERS, RIVALS, MESSAGE),
                rounds,
            )
            yield row
            row = Comparison(f"{variant}, batches of {BATCH}", "faster-fifo, the same", "messages/s", at_least=5.0)
            row.ours, row.rival = in_turn(
                lambda: ring_rate(name, FAST_BATCHED, BATCH),
                lambda: rivals.fifo_rate(PRODUCERS, RIVALS, BATCH, MESSAGE, RING_BYTES),
                rounds,
            )
            yield row
    with semshare.Ring.create(name, LARGE_RING_BYTES, variant="mpsc", max_payload=LARGE):
        row = Comparison("mpsc, 1 MiB in place", "memcpy, one core", "bytes/s", at_least=0.5)
        row.notes.append("the consumer reads a byte of each page")
        row.ours, row.rival = in_turn(
            lambda: ring_bandwidth(name, LARGE_RECORDS),
            lambda: rivals.memcpy_rate(LARGE, LARGE_RECORDS, LARGE_RING_BYTES),
            rounds,
        )
        yield row
