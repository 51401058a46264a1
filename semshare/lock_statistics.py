# SPDX-License-Identifier: MIT
"""How those who took a lock fared with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from semshare._abi import lib

BUCKETS = 256


@dataclass(frozen=True, repr=False)
class LockStatistics:
    """Counts of one object, or of several put together with +.

    The clock is read only when a lock could not be had at once, so `wait_ns` has `contended` entries.
    """

    acquisitions: int = 0
    """Times the lock was taken."""
    contended: int = 0
    """Of those, times it had to be waited for."""
    wait_ns: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    """Histogram of the waits in nanoseconds; its buckets are those of semshare/core/histogram.h."""

    def __repr__(self) -> str:
        half, most = self.percentile(0.5), self.percentile(0.99)
        waits = f", waits p50 {half} ns, p99 {most} ns" if half is not None else ""
        return f"<{type(self).__name__} {self.acquisitions} acquisitions, {self.contended} contended{waits}>"

    def __add__(self, other: LockStatistics) -> LockStatistics:
        return LockStatistics(
            self.acquisitions + other.acquisitions,
            self.contended + other.contended,
            [ours + theirs for ours, theirs in zip(self.wait_ns, other.wait_ns)],
        )

    def __sub__(self, earlier: LockStatistics) -> LockStatistics:
        return LockStatistics(
            self.acquisitions - earlier.acquisitions,
            self.contended - earlier.contended,
            [ours - theirs for ours, theirs in zip(self.wait_ns, earlier.wait_ns)],
        )

    def percentile(self, share: float) -> int | None:
        """Nanoseconds that a `share` (0 to 1) of the waits were not longer than, at most a quarter too high.

        None if nobody ever waited.
        """
        total = sum(self.wait_ns)
        seen = 0
        for bucket, count in enumerate(self.wait_ns):
            seen += count
            if count and seen >= share * total:
                return int(lib.semshare_histogram_value(bucket))
        return None


class Tally:
    """Counts what becomes LockStatistics, where no native part does: of waits that go on in slices."""

    def __init__(self) -> None:
        self._acquisitions = 0
        self._wait_ns: list[int] = []

    def count(self, waited_ns: int | None = None) -> None:
        """It was had, at once (None) or after a wait of so long."""
        self._acquisitions += 1
        if waited_ns is None:
            return
        if not self._wait_ns:
            self._wait_ns = [0] * BUCKETS
        self._wait_ns[lib.semshare_histogram_bucket(waited_ns)] += 1

    def statistics(self) -> LockStatistics:
        return LockStatistics(self._acquisitions, sum(self._wait_ns), self._wait_ns[:] or [0] * BUCKETS)
