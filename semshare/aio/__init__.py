# SPDX-License-Identifier: MIT
"""Rings, channels and locks in asyncio.

    async with semshare.aio.Ring.attach("records") as ring:
        async for payload in ring:
            ...

Of rings and channels, who finds nothing waits for a descriptor, which the event loop watches: an eventfd of the
module's, or a FIFO beside an area in POSIX shared memory (docs/concepts/notifications.md). A record, or a command, is
taken between two awaits and never in one, so that a task that is cancelled has either taken it and goes on with it, or
left it where it was.

    async with semshare.aio.Lock("my-lock"):
        ...

A semaphore is no descriptor. For the tasks that wait for a lock, or one of its like, a thread of that object's own does
(docs/how-to/asyncio-locks.md). A task that is cancelled has taken nothing.
"""

from semshare.aio.barrier import Barrier
from semshare.aio.channel import Channel
from semshare.aio.condition import Condition
from semshare.aio.event import Event
from semshare.aio.lock import Lock, RLock
from semshare.aio.multi_lock import MultiLock
from semshare.aio.ring import Ring
from semshare.aio.rwlock import ReadSide, RWLock, WriteSide
from semshare.aio.semaphore import BoundedSemaphore, Semaphore

__all__ = [
    "Ring",
    "Channel",
    "Lock",
    "RLock",
    "RWLock",
    "ReadSide",
    "WriteSide",
    "Semaphore",
    "BoundedSemaphore",
    "Event",
    "Condition",
    "Barrier",
    "MultiLock",
]
