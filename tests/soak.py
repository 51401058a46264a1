# SPDX-License-Identifier: MIT
"""A ring that runs empty and fills up again, many times over, with what came of each sleep counted.

A call that waits looks once more when its time is over, as poll() does: what it finds then it was not told of. So it is
the time that a sleep took which tells whether anybody rang; a machine that is so slow that the limit is over before
records are there costs a sleep more, and no failure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import select
import signal
import struct
import time
from collections.abc import Callable, Iterable, Iterator

from semshare import Ring

PAYLOAD = struct.Struct("QQ")
NEVER = 1000.0
BATCH = 50
# Who slept in a call has the next record ring again: its own wake-up may have been meant for one behind it.
HAND_ON = ("sysv", "robust")
# Where whoever commits rings, one before it may still be writing, which rings again: often, on a busy machine.
OUT_OF_ORDER = ("mpsc",)


class Tally:
    """What came: of each producer all, and in its order."""

    def __init__(self, producers: int) -> None:
        self.next = [0] * producers

    def add(self, payload: bytes) -> None:
        producer, number = PAYLOAD.unpack(payload)
        assert number == self.next[producer], "lost, or out of order"
        self.next[producer] += 1


@dataclasses.dataclass
class Sleeps:
    """What came of sleeping, after a look that found nothing."""

    transitions: int = 0
    """Woken, and something was there."""
    in_vain: int = 0
    """Woken, and nothing was there: another wake-up is needed."""
    idle: int = 0
    """Not woken for as long as the limit is, and nothing was there."""

    def __str__(self) -> str:
        return f"{self.transitions} transitions, {self.in_vain} woken in vain, {self.idle} idle"

    def add(self, woken: bool, found: bool) -> None:
        assert woken or not found, f"a wake-up was lost: something was there, and nobody rang; before that {self}"
        if found:
            self.transitions += 1
        elif woken:
            self.in_vain += 1
        else:
            self.idle += 1


class AtDescriptor:
    """Sleeping by poll()."""

    def __init__(self, descriptor: int, limit: float) -> None:
        self.poll = select.poll()
        self.poll.register(descriptor, select.POLLIN)
        self.limit = limit

    def take(self, ring: Ring, sleeps: Sleeps) -> list[bytes]:
        """Look, and if there is nothing, sleep and look again."""
        if found := ring.get_many(BATCH, blocking=False):
            return found
        began = time.monotonic()
        self.poll.poll(self.limit * 1000)
        woken = time.monotonic() - began < self.limit
        found = ring.get_many(BATCH, blocking=False)
        sleeps.add(woken, bool(found))
        return found


class InCall:
    """Sleeping in a call that waits."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def take(self, ring: Ring, sleeps: Sleeps) -> list[bytes]:
        if found := ring.get_many(BATCH, blocking=False):
            return found
        before, began = ring._wakeups[2], time.monotonic()
        found = ring.get_many(BATCH, timeout=self.limit)
        slept = ring._wakeups[2] - before
        if slept:
            sleeps.in_vain += slept - 1
            sleeps.add(time.monotonic() - began < self.limit, bool(found))
        return found


def put_bursts(name: str, number: int, count: int) -> None:
    """Put records, with pauses of all lengths between a few."""
    chance = random.Random(number)
    with Ring.attach(name) as ring:
        ring._recheck(NEVER)
        sent = 0
        while sent < count:
            size = min(count - sent, chance.randrange(1, 4))
            sent += ring.put_many([PAYLOAD.pack(number, sent + i) for i in range(size)])
            for _ in range(chance.randrange(60)):
                pass
            if not chance.randrange(3):
                time.sleep(chance.random() * 1e-4)


def fork(function: Callable[[], None]) -> int:
    """A process that does it: its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        function()
        code = 0
    finally:
        os._exit(code)


@contextlib.contextmanager
def putting(name: str, numbers: Iterable[int], count: int) -> Iterator[None]:
    """Processes of these numbers that put so many records each; with a test that fails they end."""
    left = [fork(lambda number=number: put_bursts(name, number, count)) for number in numbers]  # type: ignore[misc]
    try:
        yield
        while left:
            assert os.waitpid(left.pop(), 0)[1] == 0
    finally:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def consume(ring: Ring, way: AtDescriptor | InCall, count: int, sleeps: Sleeps, tally: Tally) -> None:
    """Take so many records in that way."""
    while count > 0:
        found = way.take(ring, sleeps)
        count -= len(found)
        for payload in found:
            tally.add(payload)


def soak(
    ring: Ring,
    way: AtDescriptor | InCall,
    wanted: int,
    producers: int,
    start: Callable[[int], contextlib.AbstractContextManager[object]],
) -> Sleeps:
    """Take what producers put until so many transitions were seen.

    Args:
        producers: how many, with numbers from 0 on.
        start: has them put so many records each.
    """
    sleeps = Sleeps()
    while sleeps.transitions < wanted:
        each = min(100_000, max(500, wanted - sleeps.transitions))
        tally = Tally(producers)
        with start(each):
            consume(ring, way, each * producers, sleeps, tally)
        assert tally.next == [each] * producers
    print(f"{ring.state().variant}, {type(way).__name__}: {sleeps}")
    variant = ring.state().variant
    few = 1 if variant in OUT_OF_ORDER or (isinstance(way, InCall) and variant in HAND_ON) else 1 / 20
    assert sleeps.in_vain <= max(10, few * sleeps.transitions), f"woken without need: {sleeps}"
    return sleeps
