# SPDX-License-Identifier: MIT
"""Channels in asyncio: semshare.aio.Channel.

Who answers waits for commands as who reads a ring waits for records. Of those who ask, each waits for a reply of its
own, or for a place in the queue, and none of them reads the queue: the event loop does, for all, when it is told that
there are replies. If another thread is reading just then, it hands out what it finds, and tells the loop when it stops;
so it is with commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING

import semshare.channel
from semshare.aio.watch import Side, Watch, deadline_of, wake
from semshare.channel import ANSWERS, COMMANDS, REPLIES, SLICE, Command, Pending
from semshare.errors import Error, Full, FullTimeout, HolderDead, RoleTaken, Timeout

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from semshare.options import ChannelMaking


class _Asking(Watch):
    """The tasks of one event loop that wait for replies, or for a place in the queue of commands."""

    def __init__(self, channel: semshare.channel.Channel) -> None:
        super().__init__(channel, REPLIES)
        self._channel = channel
        self._thread = 0
        self._calls = 0
        self._places: deque[asyncio.Future[None]] = deque()
        # The word of the bell is set, and has not been taken back by who rings.
        self._armed = False
        self._looking = False
        self._soon: asyncio.Handle | None = None

    def listen(self) -> asyncio.AbstractEventLoop:
        """As Watch; and hear of what other threads do."""
        loop = super().listen()
        self._thread = threading.get_ident()
        return loop

    async def call(self, opcode: int, payload: bytes, timeout: float | None, cookie: int) -> bytes:
        """See Channel.call()."""
        loop = self.listen()
        deadline = deadline_of(timeout)
        pending = await self._submit(opcode, payload, deadline, cookie)
        done: asyncio.Future[None] = loop.create_future()

        def tell(_: Pending) -> None:
            if threading.get_ident() == self._thread:
                wake(done)
            else:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(wake, done)

        pending.add_done_callback(tell)
        over = None if deadline is None else loop.call_at(deadline, self._overdue, pending)
        self._calls += 1
        self._wait()
        try:
            await done
        except asyncio.CancelledError:
            if pending.cancel():
                # Its place may be free, if nobody has taken it.
                self._give_places(1)
            raise
        finally:
            self._calls -= 1
            if over is not None:
                over.cancel()
            self._rest()
        return pending.result()

    async def _submit(self, opcode: int, payload: bytes, deadline: float | None, cookie: int) -> Pending:
        """Channel.submit(), behind those who wait for a place already."""
        loop = self._loop
        assert loop is not None
        waited = False
        try:
            while True:
                left = None if deadline is None else max(0.0, deadline - loop.time())
                if waited or not self._places:
                    try:
                        return self._channel.submit(opcode, payload, timeout=left, cookie=cookie, blocking=False)
                    except Full as error:
                        if left == 0.0:
                            raise FullTimeout(errno.ETIMEDOUT, error.strerror) from None
                await self._wait_for_place(deadline, waited)
                waited = True
        finally:
            if waited:
                # There may be more; and if we did not take the one that we were woken for, another may.
                self._give_places(0)

    async def _wait_for_place(self, deadline: float | None, first: bool) -> None:
        loop = self._loop
        assert loop is not None
        place: asyncio.Future[None] = loop.create_future()
        over = None if deadline is None else loop.call_at(deadline, wake, place)
        if first:
            self._places.appendleft(place)
        else:
            self._places.append(place)
        self._wait()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._give_places(1)
            raise
        finally:
            if over is not None:
                over.cancel()
            if place in self._places:
                self._places.remove(place)
            self._rest()

    def _give_places(self, least: int) -> None:
        """Wake as many of those who wait for a place as there are, `least` at least: they look themselves."""
        number = max(least, len(self._channel._free))
        while self._places and number > 0:
            place = self._places.popleft()
            if not place.done():
                place.set_result(None)
                number -= 1

    def _wait(self) -> None:
        """Somebody waits from now on."""
        self.watch()
        if not self._armed:
            self._look_soon()

    def _rest(self) -> None:
        if not self._calls and not self._places:
            self.unwatch()

    @property
    def waits(self) -> bool:
        """Whether anybody does."""
        return bool(self._calls or self._places)

    def rung(self) -> None:
        """There may be replies; and the bell is to be armed anew."""
        self._armed = False
        self.look()

    def tick(self) -> None:
        """Look whether who answers is there still, too, and for places that came free without a word."""
        self.look()
        self._give_places(1)

    def _look_soon(self) -> None:
        if self._soon is None and self._loop is not None:
            self._soon = self._loop.call_soon(self.look)

    def look(self) -> None:
        """Read what replies there are, for all; and where there is none, have the next one ring."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if not self.waits:
            return
        channel = self._channel
        self._looking = True
        try:
            found = not channel.closed and channel._step(0.0)
            if not found and not channel.closed:
                channel._arm(REPLIES)
                self._armed = True
                found = channel._step(0.0)
        except (Timeout, HolderDead):
            # Of its lock. At the next tick again.
            return
        except (Error, ValueError):
            # It is lost. Who waits for a reply has been told so; who waits for a place asks, and is.
            self._give_places(len(self._places))
            return
        finally:
            self._looking = False
        if found:
            # Not at once: other tasks are to run.
            self._look_soon()
        self._give_places(len(self._places) if channel.closed else 0)

    def changed(self) -> None:
        """Somebody else has read replies, or cancelled: in any thread."""
        loop = self._loop
        if loop is None or not self.waits:
            return
        if threading.get_ident() != self._thread:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self.look)
        elif not self._looking:
            self._look_soon()

    def _overdue(self, pending: Pending) -> None:
        """Its time is over: the reply is there now, or is none."""
        channel = self._channel
        self._looking = True
        try:
            # What goes wrong here, it will go wrong for whoever looks next.
            with contextlib.suppress(Error, ValueError, RuntimeError):
                channel._step(0.0, pending)
            channel._end(pending)
        finally:
            self._looking = False
        self._give_places(1)

    def close(self) -> None:
        """Let go of the loop. Who waits for a place looks, and finds the channel closed."""
        super().close()
        self._give_places(len(self._places))


class _Answering(Side):
    """The tasks of one event loop that wait for commands."""

    def changed(self) -> None:
        """We looked while another thread took commands, and it has stopped: in that thread, or in another."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self.rung)


class _Commands:
    """What Channel.serve() gives: the commands, as they come."""

    def __init__(
        self,
        channel: semshare.channel.Channel,
        side: Side,
        opcodes: Collection[int] | None,
        timeout: float | None,
        standby: float | None,
    ) -> None:
        self._channel = channel
        self._side = side
        self._known = None if opcodes is None else frozenset(opcodes)
        self._timeout = timeout
        self._standby = standby
        self._begun = False

    def __aiter__(self) -> _Commands:
        return self

    async def __anext__(self) -> Command:
        if not self._begun:
            await self._begin()
        deadline = deadline_of(self._timeout)
        await self._side.begin()
        while True:
            try:
                command = self._take()
            except (Error, ValueError, RuntimeError):
                # We do not answer any more. What was rung is for others to hear.
                self._side.rung()
                raise
            if command is not None:
                self._side.more()
                return command
            if not await self._side.wait(deadline):
                raise StopAsyncIteration

    async def _begin(self) -> None:
        """Come to answer. A role is no descriptor, and nobody rings who dies: look now and then."""
        until = float("inf") if self._standby is None else time.monotonic() + self._standby
        while True:
            try:
                self._channel._become(ANSWERS, 0.0)
                break
            except RoleTaken:
                left = until - time.monotonic()
                if left <= 0:
                    raise
            await asyncio.sleep(min(left, SLICE))
        self._begun = True

    def _take(self) -> Command | None:
        command = self._channel._next(self._known, 0.0)
        if command is None:
            self._channel._arm(COMMANDS)
            command = self._channel._next(self._known, 0.0)
        return command


class Channel:
    """A semshare.Channel whose calls are awaited. It belongs to one event loop; any number of its tasks may use it.

    There is to be one of a semshare.Channel at a time.

    Args:
        channel: the channel, which close() closes. Its own calls may be used as well, in other threads too; those that
            wait stop the loop if they are made in its thread.

    Attributes:
        channel: the same.

    Raises:
        RuntimeError: by call(), and by the iteration of serve(): another event loop uses this object.
    """

    def __init__(self, channel: semshare.channel.Channel) -> None:
        self.channel = channel
        self._asking = _Asking(channel)
        self._answering = _Answering(channel, COMMANDS)
        channel._changed_hook = self._asking.changed
        channel._taken_hook = self._answering.changed

    @classmethod
    def create(cls, name: str, depth: int = 256, **options: Unpack[ChannelMaking]) -> Channel:
        """Make a channel, as semshare.Channel.create().

        Raises:
            as semshare.Channel.
        """
        return cls(semshare.channel.Channel.create(name, depth, **options))

    @classmethod
    def attach(cls, name: str, *, backend: str | None = None) -> Channel:
        """Attach a channel, as semshare.Channel.attach().

        Raises:
            as semshare.Channel.
        """
        return cls(semshare.channel.Channel.attach(name, backend=backend))

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<semshare.aio.Channel of {self.channel!r}>"

    async def call(self, opcode: int, payload: bytes = b"", *, timeout: float | None = 10.0, cookie: int = 0) -> bytes:
        """Ask, and wait for the reply. If the task is cancelled, so is the command.

        Args:
            as semshare.Channel.call().

        Returns:
            The reply's payload.

        Raises:
            as semshare.Channel.call().
        """
        return await self._asking.call(opcode, payload, timeout, cookie)

    def serve(
        self, *, opcodes: Collection[int] | None = None, timeout: float | None = None, standby: float | None = 0.0
    ) -> AsyncIterator[Command]:
        """The commands, as they come, each to be answered once. Start a task for each, and many are at a time.

        An iteration that is cancelled has taken no command, and the next goes on.

        Args:
            as semshare.Channel.serve(). The time of `standby` begins with the first iteration.

        Raises:
            as semshare.Channel.serve().
        """
        return _Commands(self.channel, self._answering, opcodes, timeout, standby)

    def resign(self) -> None:
        """Do not answer any more, as semshare.Channel.resign(). Tasks that wait for commands get a RuntimeError."""
        self._answering.close()
        self.channel.resign()

    def close(self) -> None:
        """Let go of the channel. Tasks that wait for it get a ValueError."""
        self._asking.close()
        self._answering.close()
        self.channel._changed_hook = self.channel._taken_hook = None
        self.channel.close()
