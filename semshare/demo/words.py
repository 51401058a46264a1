# SPDX-License-Identifier: MIT
"""The two words of the demo that lie in the area behind the ring."""

from __future__ import annotations

from semshare import Ring
from semshare._abi import lib

# One page behind the ring; a cache line for each word, so that looking at one does not slow down writing the other.
SIZE = 4096
COUNTER = 0
ORDER = 64

RUN, STOP, DRAIN = 0, 1, 2
"""Orders of the parent: go on; producers end; the consumer takes what is left and ends."""


class Words:
    """The counter that everybody adds to, and the parent's order to all.

    Assigning to an item of a memoryview of format "Q" is one store of eight bytes, so no half of a word is ever seen.
    """

    def __init__(self, ring: Ring) -> None:
        self.offset: int = lib.SEMSHARE_RING_CONTROL_SIZE + ring.capacity
        extra = ring.area.buffer[self.offset : self.offset + SIZE].cast("Q")
        self.counter = extra[COUNTER // 8 : COUNTER // 8 + 1]
        self.order = extra[ORDER // 8 : ORDER // 8 + 1]
        extra.release()

    @property
    def counter_offset(self) -> int:
        """Where the counter stands in the area."""
        return self.offset + COUNTER

    @property
    def order_offset(self) -> int:
        """Where the order stands in the area."""
        return self.offset + ORDER

    def release(self) -> None:
        """Give the views back, so that the area can be closed."""
        self.counter.release()
        self.order.release()
