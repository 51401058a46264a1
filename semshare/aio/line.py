# SPDX-License-Identifier: MIT
"""Tasks that stand in line for something that only a system call can wait for, and the thread that waits for them.

A semaphore is no descriptor that an event loop could watch, and who waits for it must not stop the loop. So a line has
a thread of its own as long as somebody stands in it: one, however many tasks there are, and none that other work could
wait for. It waits in slices, for the first of the line, and ends soon when nobody is left. It is no daemon: nothing is
cut off in the middle when the interpreter exits.

What the thread has got it gives to a task, and that is settled only when the task, running, says so. Until then
anything may happen: the task is cancelled, its time is over, its loop is closed. Then it goes on to the next, or back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Callable, Final

from semshare.aio.watch import wake
from semshare.errors import Error

# Seconds. When nobody waits any more a system call may go on for so long. Each slice that was in vain is followed by a
# longer one: who begins anew to wait for a semaphore stands behind all others that wait for it.
FIRST_SLICE: Final = 0.125
LONGEST_SLICE: Final = 1.0
# A thread with nothing to do ends after this. Another one takes longer to start than this one to go on.
IDLE: Final = 0.05


class _Waiter(threading.Thread):
    """The thread of a line."""


def _exiting() -> bool:
    """Whether the interpreter waits for nobody but threads of lines before it exits."""
    return not threading.main_thread().is_alive() and all(
        thread.daemon or isinstance(thread, _Waiter) or not thread.is_alive() for thread in threading.enumerate()
    )


class Turn:
    """That of a task in a line.

    Args:
        take: waits so many seconds at most, in the line's thread; true if that for which the task waits is there.
        rouse: ends a take() that is going on, if it can be ended.
    """

    __slots__ = ("error", "future", "loop", "rouse", "take")

    def __init__(self, take: Callable[[float], bool], rouse: Callable[[], object] | None = None) -> None:
        self.take = take
        self.rouse = rouse
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        """A hint that the task is to look what became of it."""
        self.error: BaseException | None = None

    def tell(self) -> bool:
        """Have the task look. False: there is no loop any more in which it could."""
        if asyncio._get_running_loop() is self.loop:
            wake(self.future)
            return True
        try:
            self.loop.call_soon_threadsafe(wake, self.future)
        except RuntimeError:
            return False
        return True


class Line:
    """A line in which each task waits for something of its own, which come in the order in which the tasks came."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.closed = False
        self._begin()
        _lines.add(self)

    def _begin(self) -> None:
        # Reentrant: of a task that nobody refers to any more, the end may come at any moment, in this thread too.
        self._changed = threading.Condition(threading.RLock())
        self._turns: deque[Turn] = deque()
        # Those who have got it and have not said so yet.
        self._given: set[Turn] = set()
        self._thread: _Waiter | None = None
        self._then: Callable[[], object] | None = None

    def __len__(self) -> int:
        return len(self._turns)

    # ------------------------------------------------------------------------------------------------- what tasks do

    async def wait(self, turn: Turn, timeout: float | None = None, first: bool = False) -> bool:
        """Stand in line, at most `timeout` seconds, None: without limit.

        Args:
            first: before all others.

        Returns:
            Whether the turn came.

        Raises:
            What take() raised.
            ValueError: the line is closed.
        """
        self._join(turn, first)
        over = None
        try:
            if timeout is not None:
                over = turn.loop.call_later(timeout, wake, turn.future)
            await turn.future
        except BaseException:
            # Cancelled. Or GeneratorExit: the loop is closed, and nobody will ever run this task again.
            if self._leave(turn):
                self.pass_on()
            raise
        finally:
            if over is not None:
                over.cancel()
        came = self._leave(turn)
        if turn.error is not None:
            raise turn.error
        return came

    def _join(self, turn: Turn, first: bool) -> None:
        with self._changed:
            if self.closed:
                raise self._closed()
            if self._thread is None:
                # It waits for this mutex, and then finds us.
                thread = _Waiter(target=self._work, name=f"semshare: {self.what}", daemon=False)
                thread.start()
                self._thread = thread
            if first:
                self._rouse()
                self._turns.appendleft(turn)
            else:
                self._turns.append(turn)
            self._changed.notify_all()

    def _rouse(self) -> None:
        """Whose turn it is, is no more."""
        if self._turns and self._turns[0].rouse is not None:
            self._turns[0].rouse()

    def _leave(self, turn: Turn) -> bool:
        """Whether the turn came."""
        with self._changed:
            if turn in self._given:
                self._given.remove(turn)
                return True
            if turn in self._turns:
                if turn is self._turns[0]:
                    self._rouse()
                self._turns.remove(turn)
            return False

    def pass_on(self) -> None:
        """Who has got it does not want it. What each waits for is its own here: nobody else does."""

    def close(self, then: Callable[[], object]) -> None:
        """Send all away with a ValueError, and call `then` when the thread, if there is one, has ended."""
        with self._changed:
            if self.closed:
                return
            self.closed = True
            given = len(self._given)
            for turn in [*self._given, *self._turns]:
                self._fail(turn, self._closed())
            for _ in range(given):
                self.pass_on()
            if self._thread is not None:
                self._then = then
                self._changed.notify_all()
                return
        then()

    def _closed(self) -> ValueError:
        return ValueError(f"{self.what}: it is closed; open it anew")

    # ------------------------------------------------------------------------------------------ what the thread does

    def _work(self) -> None:
        seconds = FIRST_SLICE
        while (turn := self._first()) is not None:
            try:
                came = turn.take(seconds)
            except BaseException as error:
                self._fail(turn, error)
                continue
            if came:
                self._came(turn)
                seconds = FIRST_SLICE
            else:
                seconds = min(2 * seconds, LONGEST_SLICE)
                self._drop_lost()

    def _first(self) -> Turn | None:
        """Whose turn it is. None: the thread is to end, and has taken leave."""
        idle = False
        while True:
            with self._changed:
                if self._turns:
                    return self._turns[0]
                if idle and not self._given:
                    self._thread = None
                    then, self._then = self._then, None
                    break
                if not idle:
                    self._rest()
                idle = not self._changed.wait(IDLE) or self.closed
            self._drop_lost()
        if then is not None:
            then()
        return None

    def _rest(self) -> None:
        """Nobody waits just now."""

    def _came(self, turn: Turn) -> None:
        """take() of this turn, which was the first when it began, was true."""
        self._give(turn)

    def _give(self, turn: Turn) -> bool:
        """It is this turn's. False: it is not in line any more, or nobody will ever look."""
        with self._changed:
            if turn not in self._turns:
                return False
            self._turns.remove(turn)
            self._given.add(turn)
        return turn.tell() or not self._leave(turn)

    def _fail(self, turn: Turn, error: BaseException) -> None:
        with self._changed:
            if turn in self._turns:
                self._turns.remove(turn)
            self._given.discard(turn)
            turn.error = error
        turn.tell()

    def _drop_lost(self) -> None:
        """Those whose loop is closed, or that wait in vain because the interpreter exits, do not wait any more."""
        exiting = _exiting()
        with self._changed:
            lost = [turn for turn in [*self._turns, *self._given] if exiting or turn.loop.is_closed()]
            given = sum(self._leave(turn) for turn in lost)
        for _ in range(given):
            self.pass_on()

    # ---------------------------------------------------------------------------------------------------- a fork

    def forked(self) -> None:
        """In the child of a fork there is neither the thread nor anybody in line."""
        if self._then is not None:
            self._then()
        self._begin()


class Queue(Line):
    """A line of tasks that all wait for the same, of which each gets one.

    Args:
        what: for messages.
        take: gets one, in so many seconds at most. It is called in the line's thread.
        give: gives one back.
        rest: nobody waits any more; called in the line's thread.
    """

    def __init__(
        self,
        what: str,
        take: Callable[[float], bool],
        give: Callable[[], object],
        rest: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(what)
        self._take = take
        self._give_back = give
        self._when_resting = rest

    async def get(self, timeout: float | None = None) -> bool:
        """Wait for one. False: the time is over.

        Raises:
            As wait().
        """
        return await self.wait(Turn(self._take), timeout)

    def _came(self, turn: Turn) -> None:
        self.pass_on()

    def pass_on(self) -> None:
        """There is one that nobody has: it is for the first, whoever that is, or it goes back."""
        while True:
            with self._changed:
                if not self._turns:
                    break
                turn = self._turns[0]
            if self._give(turn):
                return
        # There is nothing to give back to, or nothing right with it: who takes it next is told.
        with contextlib.suppress(Error):
            self._give_back()

    def _rest(self) -> None:
        if self._when_resting is not None:
            self._when_resting()


class _CrowdTurn(Turn):
    __slots__ = ("number",)

    number: int
    """How often it had come when the task began to wait."""


class Crowd(Line):
    """A line of tasks that all wait for the same, which then is for all of them.

    Args:
        what: for messages.
        take: waits for it, so many seconds at most. It is called in the line's thread.
        count: how often it has come: a number that is another when it has come again, and may be gone.
    """

    def __init__(self, what: str, take: Callable[[float], bool], count: Callable[[], int]) -> None:
        super().__init__(what)
        self._take = take
        self._count = count
        # How often it has come, and had when the thread began to wait.
        self._times = self._times_before = 0

    async def get(self, number: int, timeout: float | None = None) -> bool:
        """Wait for it, which had come so often before. False: the time is over.

        Raises:
            As wait().
        """
        turn = _CrowdTurn(self._wait)
        turn.number = number
        if await self.wait(turn, timeout):
            return True
        return not self.closed and self._count() != number

    def _wait(self, seconds: float) -> bool:
        self._times_before = self._times
        # While nobody slept here it may have come, and gone.
        now = self._count()
        with self._changed:
            for turn in list(self._turns):
                if isinstance(turn, _CrowdTurn) and turn.number != now:
                    self._give(turn)
            if not self._turns:
                return False
        return self._take(seconds)

    def all(self) -> None:
        """It is there, for all who are in line now."""
        with self._changed:
            self._times += 1
            for turn in list(self._turns):
                self._give(turn)

    def _came(self, turn: Turn) -> None:
        with self._changed:
            # Else it is what all() has told of already, and who is in line now has come behind that.
            if self._times == self._times_before:
                self.all()


def close_behind(lines: Sequence[Line], then: Callable[[], object]) -> None:
    """Close some lines, and call `then` when none of them has a thread any more."""
    # Of several threads that come here at once, one has the last.
    is_last = [True] + [False] * (len(lines) - 1)

    def closed() -> None:
        if is_last.pop():
            then()

    for line in lines:
        line.close(closed)


_lines: weakref.WeakSet[Line] = weakref.WeakSet()


def _forked() -> None:
    for line in list(_lines):
        line.forked()


os.register_at_fork(after_in_child=_forked)
