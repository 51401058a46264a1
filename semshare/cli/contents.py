# SPDX-License-Identifier: MIT
"""What an area can hold, as its first page tells: how to find it out, and what a person wants to know about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from semshare import RingState
from semshare.ring import look


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Args:
        name: of the kind.
        look: its state, from the first page of an area; None if the area holds none.
        columns: of the table that shows such objects, behind the area's name.
        row: what stands in them. Text may have rich's marks.
        details: the same for programs.
    """

    name: str
    look: Callable[[bytes], Any]
    columns: tuple[str, ...]
    row: Callable[[Any], tuple[str, ...]]
    details: Callable[[Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Content:
    """What was found in an area."""

    kind: Kind
    state: Any


def find(page: bytes) -> Content | None:
    """What the first page of an area says that the area holds; None if nothing that is known."""
    for kind in KINDS:
        state = kind.look(page)
        if state is not None:
            return Content(kind, state)
    return None


def _ring_row(ring: RingState) -> tuple[str, ...]:
    waiting = [
        who for who, may in (("consumers", ring.consumers_may_sleep), ("producers", ring.producers_may_sleep)) if may
    ]
    dropped = ", ".join(f"{count:,} {cause}" for cause, count in ring.drops.items() if count)
    return (
        ring.variant,
        ring.policy,
        f"{ring.fill:.0%} of {ring.capacity:,}",
        f"{ring.puts:,}",
        f"[yellow]{dropped}[/]" if dropped else "-",
        " and ".join(waiting) or "-",
        str(ring.repairs),
        "[red]broken[/]" if ring.broken else "ok",
    )


def _ring_details(ring: RingState) -> Mapping[str, Any]:
    return {
        "variant": ring.variant,
        "policy": ring.policy,
        "capacity": ring.capacity,
        "used": ring.used,
        "fill": round(ring.fill, 4),
        "puts": ring.puts,
        "gets": ring.gets,
        "put_bytes": ring.put_bytes,
        "drops": ring.drops,
        "repairs": ring.repairs,
        "state": "broken" if ring.broken else "ok",
    }


KINDS = (
    Kind(
        "ring",
        look,
        ("variant", "policy", "fill", "put", "dropped", "waiting", "repairs", "state"),
        _ring_row,
        _ring_details,
    ),
)
