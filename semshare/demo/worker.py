# SPDX-License-Identifier: MIT
"""A Python process of the demo, from the inside: a producer, or the consumer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from semshare import Error, Full, LockStatistics, Ring, Timeout
from semshare.demo import child, record
from semshare.demo.tally import Tally
from semshare.demo.words import DRAIN, RUN, Words

BATCH = 256
"""Records that the consumer takes under one lock."""

PATIENCE = 0.1
"""Seconds that a put or a get waits before it looks whether it should end."""

DRAIN_LIMIT = 5.0
"""Seconds for emptying the ring without the lock, where its end may never be found."""


@dataclass
class Work:
    """What one process has done in one experiment."""

    done: int = 0
    seconds: float = 0.0
    lock: LockStatistics | None = None
    """None of who does not measure."""
    tallies: dict[int, Tally] = field(default_factory=dict)
    strays: int = 0
    """Records that name no producer of this run."""
    damages: int = 0
    """Times the ring's cursors or records made no sense."""


def main(connection: Connection, parent: int, name: str, number: int, locked: bool) -> None:
    """Attach the ring, then do what the parent says until it says None."""
    child.settle(parent)
    try:
        ring = Ring.attach(name, locked=locked)
        words = Words(ring)
        works: dict[str, Callable[..., Work]] = {"produce": produce, "consume": consume, "count": count}
        connection.send("ready")
        while (order := connection.recv()) is not None:
            work, arguments = order
            before, resyncs = ring.lock.statistics(), ring.resyncs
            began = time.monotonic()
            result = works[work](ring, words, number, locked, **arguments)
            result.seconds = time.monotonic() - began
            result.lock = ring.lock.statistics() - before
            result.damages += ring.resyncs - resyncs
            connection.send(result)
        words.release()
        ring.close()
    except Exception as error:
        connection.send(error if isinstance(error, Error) else f"{type(error).__name__}: {error}")
        raise SystemExit(1) from None


def produce(ring: Ring, words: Words, number: int, locked: bool, *, longest: int, records: int) -> Work:
    """Put `records` records, one at least; 0: until told to stop."""
    work = Work()
    writer = record.Writer(number, longest)
    order = words.order
    while work.done == 0 or (order[0] == RUN and work.done != records):
        payload = writer.payload(work.done)
        while True:
            try:
                ring.put(payload, type=record.TYPE, timeout=PATIENCE)
            except (Full, Timeout):
                if order[0] != RUN:
                    return work
            except Error:
                if locked:
                    raise
                # The cursors made no sense for a moment: this is what the lock is for.
                work.damages += 1
                if order[0] != RUN:
                    return work
            else:
                work.done += 1
                break
    return work


def consume(ring: Ring, words: Words, number: int, locked: bool, *, producers: int) -> Work:
    """Take and check every record, until told that no more will come and none is left."""
    work = Work(tallies={producer: Tally() for producer in range(producers)})
    order = words.order
    deadline = None
    while True:
        # Looked at before the ring is: whatever came before the order is then still to be found.
        draining = order[0] == DRAIN
        if draining and not locked:
            deadline = deadline or time.monotonic() + DRAIN_LIMIT
            if time.monotonic() > deadline:
                return work
        try:
            payloads = ring.get_many(BATCH, timeout=PATIENCE)
        except Timeout:
            continue  # it was the lock that could not be had
        except Error:
            if locked:
                raise
            work.damages += 1
            continue
        if draining and not payloads:
            return work
        for payload in payloads:
            producer, sequence, whole = record.read(payload)
            tally = work.tallies.get(producer)
            if tally is None:
                work.strays += 1
            elif whole:
                tally.add(sequence)
            else:
                tally.torn += 1
        work.done += len(payloads)


def count(ring: Ring, words: Words, number: int, locked: bool, *, additions: int) -> Work:
    """Add 1 to the plain counter `additions` times, once at least; 0: until told to stop."""
    counter, order = words.counter, words.order
    done = 0
    if locked:
        lock = ring.lock
        while done == 0 or (order[0] == RUN and done != additions):
            with lock:
                counter[0] = counter[0] + 1
            done += 1
    else:
        while done == 0 or (order[0] == RUN and done != additions):
            counter[0] = counter[0] + 1
            done += 1
    return Work(done=done)


def result_of(message: Any) -> Work:
    """What a process answered to an order: its work, or why there is none.

    Raises:
        RuntimeError: it failed.
    """
    if isinstance(message, Work):
        return message
    raise RuntimeError(str(message))
