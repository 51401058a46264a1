# SPDX-License-Identifier: MIT
"""What an area can hold, as its first pages tell: how to find it out, and what a person wants to know about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from semshare import ChannelState, RingState, channel, parameters
from semshare._native import is_dead
from semshare.parameters import ParametersLook
from semshare.ring import CONTROL_SIZE, LOCK_OFFSET, look, looks_at_data

SEEN: int = max(CONTROL_SIZE, parameters.SIZE, channel.CONTROL_SIZE)
"""So many bytes of an area are looked at, where it has as many, unless looks_at_all() of these."""
SHOWN = 6
"""So many values of parameters stand in a line."""


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Args:
        name: of the kind.
        look: its state, from the first pages of an area, and the area's size; None if the area holds none.
        columns: of the table that shows such objects, behind the area's name.
        row: what stands in them. Text may have rich's marks.
        details: the same for programs.
        lock: where in these pages the words of its lock are, if it has one.
    """

    name: str
    look: Callable[[bytes, int], Any]
    columns: tuple[str, ...]
    row: Callable[[Any], tuple[str, ...]]
    details: Callable[[Any], Mapping[str, Any]]
    lock: int | None = None


@dataclass(frozen=True)
class Content:
    """What was found in an area."""

    kind: Kind
    state: Any


def looks_at_all(pages: bytes) -> bool:
    """Whether what the area holds is not told by its first pages."""
    return looks_at_data(pages)


def find(pages: bytes, size: int) -> Content | None:
    """What the first pages of an area of that size say that the area holds; None if nothing that is known."""
    for kind in KINDS:
        state = kind.look(pages, size)
        if state is not None:
            return Content(kind, state)
    return None


def _counts(counts: Mapping[str, int]) -> str:
    """Those that are not 0, of what nobody likes to see."""
    text = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return f"[yellow]{text}[/]" if text else "-"


def _ring_row(ring: RingState) -> tuple[str, ...]:
    waiting = [
        who for who, may in (("consumers", ring.consumers_may_sleep), ("producers", ring.producers_may_sleep)) if may
    ]
    return (
        ring.variant,
        ring.policy,
        f"{ring.fill:.0%} of {ring.capacity:,}",
        f"{ring.puts:,}",
        _counts(ring.drops),
        " and ".join(waiting) or "-",
        str(ring.repairs),
        f"[red]broken: {escape(ring.broken)}[/]" if ring.broken else "ok",
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
        "broken": ring.broken,
    }


def for_json(value: int | float) -> int | float | str:
    """JSON has no infinities, and no NaN, which state may be."""
    return value if math.isfinite(value) else str(value)


def _pairs(values: Mapping[str, int | float]) -> str:
    """The first of them. `semshare get` shows all."""
    shown = [escape(f"{name}={value}") for name, value in list(values.items())[:SHOWN]]
    return " ".join([*shown, *(["…"] if len(values) > SHOWN else [])]) or "-"


def _parameters_row(look: ParametersLook) -> tuple[str, ...]:
    facts = look.facts
    return (
        facts.declared_by + (f" {facts.pid}" if facts.pid else ""),
        _pairs(look.values),
        _pairs(look.state),
        str(look.groups),
        f"[yellow]{facts.refused:,}[/]" if facts.refused else "0",
        ("ended" if facts.ended else "ok") + (f", [yellow]{facts.unsettled:,} unsettled[/]" if facts.unsettled else ""),
    )


def _parameters_details(look: ParametersLook) -> Mapping[str, Any]:
    facts = look.facts
    return {
        "declared_by": facts.declared_by,
        "pid": facts.pid,
        "values": {name: for_json(value) for name, value in look.values.items()},
        "state": {name: for_json(value) for name, value in look.state.items()},
        "groups": look.groups,
        "refused": facts.refused,
        "unsettled": facts.unsettled,
        "ended": facts.ended,
    }


def _channel_row(channel: ChannelState) -> tuple[str, ...]:
    return (
        _party(channel.asks),
        _party(channel.answers),
        f"{channel.outstanding:,} of {channel.depth:,}",
        f"{channel.replies:,} to {channel.calls:,}",
        _counts({"timed out": channel.timeouts, "cancelled": channel.cancels, "lost": channel.deaths}),
        _counts({"unmatched": channel.unmatched, "malformed": channel.malformed}),
        f"[red]broken: {escape(channel.broken)}[/]" if channel.broken else "ok",
    )


def _party(pid: int | None) -> str:
    """Who came last to ask, or to answer."""
    if pid is None:
        return "-"
    if pid == 0:
        return "kernel"
    return f"pid {pid}" + (" [red]dead[/]" if is_dead(pid) else "")


def _channel_details(channel: ChannelState) -> Mapping[str, Any]:
    return {
        "depth": channel.depth,
        "max_payload": channel.max_payload,
        "asks": _party_details(channel.asks),
        "answers": _party_details(channel.answers),
        "outstanding": channel.outstanding,
        "calls": channel.calls,
        "replies": channel.replies,
        "timeouts": channel.timeouts,
        "cancels": channel.cancels,
        "deaths": channel.deaths,
        "unmatched": channel.unmatched,
        "malformed": channel.malformed,
        "state": "broken" if channel.broken else "ok",
        "broken": channel.broken,
    }


def _party_details(pid: int | None) -> Mapping[str, Any] | None:
    if pid is None:
        return None
    return {"kind": "process" if pid else "kernel", "pid": pid, "alive": not is_dead(pid) if pid else None}


KINDS = (
    Kind(
        "ring",
        look,
        ("variant", "policy", "fill", "put", "dropped", "waiting", "repairs", "state"),
        _ring_row,
        _ring_details,
        LOCK_OFFSET,
    ),
    Kind(
        "parameters",
        lambda pages, _: parameters.look(pages),
        ("declared by", "values", "state", "groups", "refused", "condition"),
        _parameters_row,
        _parameters_details,
        parameters.VALUES,
    ),
    Kind(
        "channel",
        lambda pages, _: channel.look(pages),
        ("asks", "answers", "outstanding", "replies", "no reply", "dropped", "state"),
        _channel_row,
        _channel_details,
        channel.LOCK_OFFSET,
    ),
)
