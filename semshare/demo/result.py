# SPDX-License-Identifier: MIT
"""What a run of the demo found, and whether it adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from semshare import LockStatistics
from semshare.demo.program_start import ProgramStart


@dataclass
class Producer:
    """One producer: what it says it sent, and what the consumer says of it."""

    name: str
    kind: str
    sent: int | None = None
    """None if it ended before it could say."""
    received: int = 0
    lost: int = 0
    out_of_order: int = 0
    torn: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Records a second that arrived, over the time in which it produced."""
        return self.received / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "sent": self.sent,
            "received": self.received,
            "lost": self.lost,
            "out_of_order": self.out_of_order,
            "torn": self.torn,
            "rate": round(self.rate, 1),
        }


@dataclass
class LockFigures:
    """How the parties that measure fared: those of the package and the kernel's threads, not the plain program."""

    acquisitions: int = 0
    contended: int = 0
    wait_p50_ns: int | None = None
    wait_p99_ns: int | None = None
    """Of all acquisitions, from asking to having; None if there was none."""
    parties: int = 0

    @classmethod
    def of(cls, parties: Sequence[LockStatistics]) -> LockFigures:
        """All parties put together."""
        total = sum(parties, LockStatistics())
        # Processes read the clock only when they have to wait: what is missing in their histograms took no time.
        total.wait_ns[0] += max(total.acquisitions - sum(total.wait_ns), 0)
        return cls(total.acquisitions, total.contended, total.percentile(0.50), total.percentile(0.99), len(parties))

    @property
    def contended_share(self) -> float:
        return self.contended / self.acquisitions if self.acquisitions else 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "acquisitions": self.acquisitions,
            "contended": self.contended,
            "contended_share": round(self.contended_share, 4),
            "wait_p50_ns": self.wait_p50_ns,
            "wait_p99_ns": self.wait_p99_ns,
            "parties": self.parties,
        }


@dataclass
class Counter:
    """The second experiment: one number that everybody adds 1 to."""

    parties: dict[str, int | None] = field(default_factory=dict)
    """Additions that each party says it made; None of one that ended before it could say."""
    counted: int = 0
    seconds: float = 0.0

    @property
    def expected(self) -> int:
        return sum(done or 0 for done in self.parties.values())

    @property
    def complete(self) -> bool:
        """Whether all parties said what they did."""
        return None not in self.parties.values()

    def as_dict(self) -> dict[str, Any]:
        return {"expected": self.expected, "counted": self.counted, "parties": self.parties}


@dataclass
class Result:
    """All of it."""

    locked: bool
    area: str
    seconds: float = 0.0
    producers: list[Producer] = field(default_factory=list)
    strays: int = 0
    """Records that arrived and name no producer of this run."""
    damages: int = 0
    """Times that the ring's cursors or records made no sense to somebody."""
    lock: LockFigures = field(default_factory=LockFigures)
    counter: Counter | None = None
    """None if the run ended before."""
    program_starts: list[ProgramStart] | None = None
    """None if nothing publishes them here."""
    machine: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What was left out, and how to get it."""
    interrupted: str | None = None
    """The signal that ended the run."""
    failures: list[str] = field(default_factory=list)
    """What went wrong beside the numbers."""

    @property
    def records_damaged(self) -> bool:
        """Whether a record was lost or torn."""
        return any(producer.lost or producer.torn for producer in self.producers)

    @property
    def counter_damaged(self) -> bool:
        """Whether an addition is missing."""
        counter = self.counter
        return counter is not None and counter.complete and counter.counted != counter.expected

    def reasons(self) -> list[str]:
        """Why this run does not show what it is to show; empty if it does."""
        reasons = list(self.failures)
        if self.interrupted:
            reasons.append(f"interrupted by {self.interrupted}: these are the figures so far")
        reasons += [f"{producer.name} put no record" for producer in self.producers if producer.sent == 0]
        if self.counter is not None:
            reasons += [
                f"{name} added nothing to the counter" for name, done in self.counter.parties.items() if done == 0
            ]
        elif not self.interrupted:
            reasons.append("the counter was not run")
        return reasons + (self._wrong() if self.locked else self._missing_damage())

    def _wrong(self) -> list[str]:
        reasons = []
        for producer in self.producers:
            found = [
                f"{number} {what}"
                for number, what in (
                    (producer.lost, "lost"),
                    (producer.out_of_order, "out of order"),
                    (producer.torn, "torn"),
                )
                if number
            ]
            if producer.sent is not None and producer.received > producer.sent:
                found.append(f"{producer.received - producer.sent} more received than sent")
            if found:
                reasons.append(f"{producer.name}: {', '.join(found)}")
        if self.strays:
            reasons.append(f"{self.strays} records of no producer")
        if self.damages:
            reasons.append(f"the ring made no sense {self.damages} times")
        if self.counter is not None and self.counter_damaged:
            reasons.append(f"the counter: expected {self.counter.expected}, counted {self.counter.counted}")
        return reasons

    def _missing_damage(self) -> list[str]:
        reasons = []
        if not self.records_damaged:
            reasons.append("no lock, and yet no record was lost or torn: this proves nothing, try more --seconds")
        if self.counter is not None and not self.counter_damaged:
            reasons.append("no lock, and yet no addition is missing: this proves nothing, try more --seconds")
        return reasons

    @property
    def ok(self) -> bool:
        return not self.reasons()

    def as_dict(self) -> dict[str, Any]:
        """The one object of --json."""
        counter = self.counter or Counter()
        return {
            "ok": self.ok,
            "reasons": self.reasons(),
            "locked": self.locked,
            "interrupted": self.interrupted,
            "area": self.area,
            "seconds": round(self.seconds, 3),
            "producers": [producer.as_dict() for producer in self.producers],
            "strays": self.strays,
            "damages": self.damages,
            "lock": self.lock.as_dict(),
            "counter": counter.as_dict(),
            "exec": [start.as_dict() for start in self.program_starts or []],
            "machine": self.machine,
            "notes": self.notes,
        }
