# SPDX-License-Identifier: MIT
"""Rings and channels in asyncio, without a thread.

    async with semshare.aio.Ring.attach("records") as ring:
        async for payload in ring:
            ...

Who finds nothing waits for a descriptor, which the event loop watches: an eventfd of the module's, or a FIFO beside an
area in POSIX shared memory (docs/concepts/notifications.md). A record, or a command, is taken between two awaits and
never in one, so that a task that is cancelled has either taken it and goes on with it, or left it where it was.
"""

from semshare.aio.channel import Channel
from semshare.aio.ring import Ring

__all__ = ["Channel", "Ring"]
