# SPDX-License-Identifier: MIT
"""What the consumer counts, for each producer."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass
class Tally:
    """The records of one producer as they arrived.

    Numbers that were skipped are kept as gaps. A number that arrives later than a higher one fills a gap and is out of
    order; one that fills none came twice. What is still missing at the end was lost.
    """

    received: int = 0
    """Whole records that arrived for the first time."""
    out_of_order: int = 0
    """Records that arrived behind a higher number, or twice."""
    torn: int = 0
    """Records whose checksum or pattern is wrong."""
    next: int = 0
    """One more than the highest number seen."""
    _starts: list[int] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)

    def add(self, sequence: int) -> None:
        """A whole record arrived."""
        if sequence == self.next:
            self.received += 1
            self.next += 1
        elif sequence > self.next:
            self._starts.append(self.next)
            self._ends.append(sequence)
            self.received += 1
            self.next = sequence + 1
        else:
            self.out_of_order += 1
            if self._fill(sequence):
                self.received += 1

    def _fill(self, sequence: int) -> bool:
        at = bisect_right(self._starts, sequence) - 1
        if at < 0 or sequence >= self._ends[at]:
            return False
        start, end = self._starts[at], self._ends[at]
        parts = [(a, b) for a, b in ((start, sequence), (sequence + 1, end)) if a < b]
        self._starts[at : at + 1] = [a for a, _ in parts]
        self._ends[at : at + 1] = [b for _, b in parts]
        return True

    def lost(self, sent: int) -> int:
        """How many of the `sent` records, numbered from 0, never arrived whole."""
        return max(sent - self.received, 0)
