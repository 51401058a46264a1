# SPDX-License-Identifier: MIT
"""Watching over a bell in an event loop: kmod_semshare/include/semshare/core/bell.h tells when one is rung."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from semshare._abi import lib
from semshare.errors import Error

if TYPE_CHECKING:
    from semshare.area import Area

# Whoever is killed while it wakes us takes the wake-up along: look again so often, as those who sleep on semaphores do.
RECHECK: float = lib.SEMSHARE_RING_RECHECK_MS / 1000
# A task that always finds something lets the others run now and then.
TURN = 64


class Belled(Protocol):
    """A ring, whose sides are those who wait for records and for space; a channel, whose sides are its queues."""

    area: Area

    @property
    def closed(self) -> bool: ...
    @property
    def _what(self) -> str: ...
    def _listen(self, side: int, /) -> int: ...
    def _hear(self, side: int, /) -> bool: ...
    def _pass_on(self, side: int, /) -> None: ...
    def _check_set(self) -> None: ...


class Watch:
    """The watch of one event loop over one bell."""

    def __init__(self, of: Belled, side: int) -> None:
        self._of = of
        self._side = side
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = -1
        self._watched = False
        self._shared = of.area.backend == "posix"
        self._timer: asyncio.TimerHandle | None = None

    def rung(self) -> None:
        """There may be something to do."""
        raise NotImplementedError

    def tick(self) -> None:
        """Nobody has woken us for a while: look, all the same."""
        self.rung()

    def listen(self) -> asyncio.AbstractEventLoop:
        """Have a descriptor, before the look that may find nothing.

        Raises:
            RuntimeError: it is another event loop's.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._fd = self._of._listen(self._side)
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(f"{self._of._what}: another event loop uses this object; open another")
        return loop

    def watch(self) -> None:
        """Somebody waits."""
        loop = self._loop
        assert loop is not None
        if not self._watched:
            loop.add_reader(self._fd, self._readable)
            self._watched = True
        if self._timer is None:
            self._timer = loop.call_later(RECHECK, self._ticked)

    def unwatch(self) -> None:
        """Nobody waits here. What is written into a FIFO now is for others; an eventfd is ours alone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watched and self._shared and self._loop is not None:
            self._loop.remove_reader(self._fd)
            self._watched = False

    def close(self) -> None:
        """Let go of the loop."""
        if self._watched and self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        self._watched = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _readable(self) -> None:
        self._of._hear(self._side)
        self.rung()

    def _ticked(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(RECHECK, self._ticked)
        self.tick()


class Side(Watch):
    """The tasks of one event loop each of which looks for something to take, and waits while there is nothing."""

    def __init__(self, of: Belled, side: int) -> None:
        super().__init__(of, side)
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._turns = 0

    async def begin(self) -> None:
        """Listen, before the look that may find nothing; and let other tasks run, if we have not waited for a while."""
        self._turns += 1
        if self._turns >= TURN:
            self._turns = 0
            await asyncio.sleep(0)
        self.listen()

    async def wait(self, deadline: float | None) -> bool:
        """Wait until there may be something to do. False: the deadline, of the loop's clock, is over.

        Raises:
            Removed: the set is gone.
        """
        loop = self._loop
        assert loop is not None
        self._turns = 0
        if deadline is not None and loop.time() >= deadline:
            return False
        waiter: asyncio.Future[None] = loop.create_future()
        over = None if deadline is None else loop.call_at(deadline, wake, waiter)
        self._waiters.append(waiter)
        self.watch()
        try:
            await waiter
        except asyncio.CancelledError:
            # Woken and then cancelled: another is to look in its place.
            if waiter.done() and not waiter.cancelled():
                self.rung()
            raise
        finally:
            if over is not None:
                over.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if not self._waiters:
                self.unwatch()
        return True

    def rung(self) -> None:
        """Have the next of our tasks look, or if none waits here, another process."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        if not self._of.closed:
            self._of._pass_on(self._side)

    def more(self) -> None:
        """Something was found: there may be more, for another of our tasks."""
        if self._waiters:
            self.rung()

    def tick(self) -> None:
        """Look whether the set is there still, too: those who wait at a descriptor are not told by the kernel."""
        if self._of.closed:  # behind our back
            self.close()
            return
        try:
            self._of._check_set()
        except Error as error:
            while self._waiters:
                waiter = self._waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(error)
            return
        self.rung()

    def close(self) -> None:
        """Let go of the loop. Who waits looks, and finds the object closed."""
        super().close()
        while self._waiters:
            wake(self._waiters.popleft())


def wake(waiter: asyncio.Future[None]) -> None:
    """Wake a task that has not been woken."""
    if not waiter.done():
        waiter.set_result(None)


def deadline_of(timeout: float | None) -> float | None:
    """When that many seconds are over, by the loop's clock."""
    return None if timeout is None else asyncio.get_running_loop().time() + timeout
