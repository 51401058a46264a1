# SPDX-License-Identifier: MIT
"""What the tests with scribblers share: how long they go on, who writes, and who polls meanwhile."""

from __future__ import annotations

import os
import random
import select
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from abi import Child, check, libc
from effort import EFFORT
from notify_kernel import count_of, eventfd
from pace import SLACK, SLOW

from semshare import Area, AreaEvent

IN, OUT, ERR, HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP
PR_SET_PDEATHSIG = 1
# What a poll is asked to take at most: so that the end is seen also where nobody rings.
PART = 0.02


def scribbling(cases: int = 1) -> float:
    """For how many seconds one case is scribbled over: 20 times the effort, which so many cases share.

    Never less than what a few turns take, on any kernel.
    """
    return max(3.0 if SLOW else 1.5, 20 * EFFORT / cases)


# pytest's limit is for tests that last seconds: with more effort these last minutes.
takes_its_time = pytest.mark.timeout(scribbling() + (1200 if SLOW else 300))
# How much longer scribblers may go on until what they have to bring about has come about.
PATIENCE = 10 * SLACK


def goes_on(end: float, turns: int, enough: object) -> bool:
    """Whether another turn is due: until the time is over, and then until that was seen which has to be seen once.

    How many turns there are in a given time, and so whether one of them breaks anything, is the machine's affair.
    """
    now = time.monotonic()
    return now < end or turns < 2 or (not enough and now < end + PATIENCE)


def told(counts: Counter[str]) -> str:
    """Counts as a line for people."""
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if count)


def _until_told() -> Iterator[None]:
    """In a child: says that it is ready, and goes on until SIGTERM. It does not outlive its parent."""
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    Child.tell()
    while not ended:
        signal.alarm(120)
        yield


class Scribbler:
    """A process that writes what it likes, until it is told to end.

    Args:
        start: called in that process, with what comes behind it. It answers a function that writes some words and says
            how many.
    """

    def __init__(self, start: Callable[..., Callable[[], int]], *arguments: object) -> None:
        self.child = Child(self._scribble, start, arguments)
        assert self.child.told(2 * SLACK) == "ready"

    @staticmethod
    def _scribble(start: Callable[..., Callable[[], int]], arguments: tuple[object, ...]) -> None:
        write = start(*arguments)
        Child.tell(str(sum(write() for _ in _until_told())))

    def stop(self) -> int:
        """How many words it wrote."""
        os.kill(self.child.pid, signal.SIGTERM)
        words = int(self.child.told(2 * SLACK))
        self.child.wait()
        return words

    def __enter__(self) -> Scribbler:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()


def _wait_at(name: str, seed: float) -> None:
    """Poll until told to end, at times by edges, at times for one of both: each has the kernel look at other words."""
    dice = random.Random(seed)
    done: Counter[str] = Counter()
    slowest = 0.0
    with Area(name, backend="module") as area, select.epoll() as epoll:
        signalled = [eventfd(), eventfd()]
        rings = eventfd()
        for descriptor, event in zip(signalled, (AreaEvent.DATA, AreaEvent.SPACE)):
            area.add_eventfd(descriptor, event)
            epoll.register(descriptor, IN)
        area.add_eventfd(rings, AreaEvent.DATA | AreaEvent.SPACE, from_user=True)
        epoll.register(area.fileno(), IN | OUT)
        for _ in _until_told():
            epoll.modify(area.fileno(), dice.choice((IN, OUT, IN | OUT)) | dice.choice((0, select.EPOLLET)))
            began = time.monotonic()
            found = epoll.poll(PART)
            slowest = max(slowest, time.monotonic() - began)
            done["polls"] += 1
            done["polls in vain"] += not found
            for descriptor, events in found:
                if descriptor in signalled:
                    done["eventfd signals"] += count_of(descriptor)
                else:
                    done["polls with an error"] += bool(events & (ERR | HUP))
            if dice.random() < 0.1:
                os.write(rings, struct.pack("Q", 1))
                done["eventfd writes"] += 1
            # What is ready stays so for long: scribblers are to have the processor as well.
            time.sleep(dice.random() * 1e-3)
    assert slowest < SLACK, f"a poll of {PART} s took {slowest} s"
    Child.tell(" ".join(f"{what.replace(' ', '_')}={count}" for what, count in done.items()))


class Poller:
    """A process that waits at an area's descriptor, and at eventfds both ways, until it is told to end."""

    def __init__(self, name: str, seed: float) -> None:
        self.child = Child(_wait_at, name, seed)
        assert self.child.told(2 * SLACK) == "ready"

    def stop(self) -> Counter[str]:
        """Its end has to come, and soon: how often it did what."""
        os.kill(self.child.pid, signal.SIGTERM)
        said = self.child.told(2 * SLACK)
        self.child.wait()
        pairs = (pair.partition("=") for pair in said.split())
        return Counter({what.replace("_", " "): int(count) for what, _, count in pairs})

    def __enter__(self) -> Poller:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
