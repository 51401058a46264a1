# SPDX-License-Identifier: MIT
"""Rings in asyncio: semshare.aio.Ring."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING, Callable, TypeVar

import semshare.ring
from semshare.aio.watch import Side, deadline_of
from semshare.errors import Empty, Full
from semshare.ring import Record

if TYPE_CHECKING:
    from typing_extensions import Buffer, Unpack

    from semshare.options import RingAttaching, RingMaking

_Taken = TypeVar("_Taken")


class Ring:
    """A semshare.Ring whose calls are awaited. It belongs to one event loop; any number of its tasks may use it.

    Args:
        ring: the ring, which close() closes. Its own calls may be used as well; those that wait stop the loop.

    Attributes:
        ring: the same.

    Raises:
        RingBroken: somebody wrote over the ring's control page.
        ValueError: the ring is closed.
        RuntimeError: by the calls that are awaited: another event loop uses this object.
    """

    def __init__(self, ring: semshare.ring.Ring) -> None:
        self.ring = ring
        self._data = Side(ring, False)
        self._space = Side(ring, True)
        self._waits = ring.state().policy == "wait"

    @classmethod
    def create(cls, name: str, size: int = 1 << 20, **options: Unpack[RingMaking]) -> Ring:
        """Make a ring, as semshare.Ring.create().

        Raises:
            as semshare.Ring.
        """
        return cls(semshare.ring.Ring.create(name, size, **options))

    @classmethod
    def attach(cls, name: str, **options: Unpack[RingAttaching]) -> Ring:
        """Attach a ring, as semshare.Ring.attach().

        Raises:
            as semshare.Ring.
        """
        return cls(semshare.ring.Ring.attach(name, **options))

    async def __aenter__(self) -> Ring:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<semshare.aio.Ring of {self.ring!r}>"

    async def get(self, timeout: float | None = None) -> bytes:
        """Take the oldest record, waiting for one.

        Args:
            timeout: seconds to wait; None: without limit.

        Returns:
            Its payload.

        Raises:
            EmptyTimeout: there was none until then.
            and as semshare.Ring.get().
        """
        return await self._get_one(self.ring.get_nowait, timeout)

    async def get_record(self, timeout: float | None = None) -> Record:
        """get(), with what stands beside the record's payload.

        Raises:
            as get().
        """
        return await self._get_one(lambda: self.ring.get_record(blocking=False), timeout)

    async def get_many(self, most: int, timeout: float | None = None) -> list[bytes]:
        """Take the oldest records, at most `most`, waiting for the first.

        Returns:
            Their payloads; [] if the time was over.

        Raises:
            as semshare.Ring.get_many().
        """
        deadline = deadline_of(timeout)
        await self._data.begin()
        while not (found := self.ring.get_many(most, blocking=False)):
            if not await self._data.wait(deadline):
                return []
        self._data.more()
        return found

    async def put(self, record: Buffer, *, type: int = 0, timeout: float | None = None) -> None:
        """Put one record, waiting for space.

        Raises:
            FullTimeout: there was none until then.
            and as semshare.Ring.put().
        """
        deadline = deadline_of(timeout)
        await self._space.begin()
        while True:
            try:
                self.ring.put_nowait(record, type=type)
                break
            except Full:
                if not self._waits:
                    raise
            if not await self._space.wait(deadline):
                self.ring._fail(errno.ETIMEDOUT, "put")
        self._space.more()

    async def put_many(self, records: Iterable[Buffer], *, type: int = 0, timeout: float | None = None) -> int:
        """Put records in their order, waiting for space. Cancelled, it has put the first few, or all.

        Returns:
            How many were put: all, unless the time was over, or the ring's policy is to refuse.

        Raises:
            as semshare.Ring.put_many().
        """
        left = list(records)
        count = len(left)
        deadline = deadline_of(timeout)
        await self._space.begin()
        while left:
            del left[: self.ring.put_many(left, type=type, blocking=False)]
            if left and not (self._waits and await self._space.wait(deadline)):
                break
        self._space.more()
        return count - len(left)

    def __aiter__(self) -> Ring:
        """The records, as they come, without end."""
        return self

    async def __anext__(self) -> bytes:
        return await self.get()

    def close(self) -> None:
        """Let go of the ring. Tasks that wait for it get a ValueError."""
        self._data.close()
        self._space.close()
        self.ring.close()

    async def _get_one(self, take: Callable[[], _Taken], timeout: float | None) -> _Taken:
        deadline = deadline_of(timeout)
        await self._data.begin()
        while True:
            try:
                taken = take()
                break
            except Empty:
                pass
            if not await self._data.wait(deadline):
                self.ring._fail(errno.ETIMEDOUT, "get")
        self._data.more()
        return taken
