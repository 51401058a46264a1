# SPDX-License-Identifier: MIT
"""How fast counters grow from one look to the next."""

from __future__ import annotations

import time
from collections.abc import Mapping

from semshare import ChannelState, RingState
from semshare.cli.inventory import Inventory
from semshare.cli.sets import TURNS

Counters = Mapping[tuple[str, object], Mapping[str, int]]
"""The counters of an object by their names; of all objects by what tells them apart."""


class Rates:
    """Counters of an inventory, and how much they grew each second since the one before."""

    def __init__(self, now: Inventory, before: Rates | None = None) -> None:
        self.time = time.monotonic()
        self.counters = _counters(now)
        self._before = before.counters if before is not None else {}
        self.seconds = self.time - before.time if before is not None else 0.0
        """Since then; 0 if this is the first."""

    def of(self, kind: str, identity: object) -> dict[str, float | None]:
        """By each counter's name; None where there is nothing to compare with, or it began again."""
        then = self._before.get((kind, identity), {})
        found: dict[str, float | None] = {}
        for name, count in self.counters.get((kind, identity), {}).items():
            grown = count - then[name] if name in then else -1
            if kind == "set" and name in then:
                grown %= TURNS  # it has begun again
            found[name] = grown / self.seconds if grown >= 0 and self.seconds > 0 else None
        return found


def _counters(now: Inventory) -> Counters:
    found: dict[tuple[str, object], dict[str, int]] = {}
    for each in now.sets:
        if each.turns is not None:
            # Not of one that was made anew and has its id by chance.
            found["set", (each.semid, each.state.last_change)] = {"taken": each.turns}
    for info, content in now.areas:
        if content is None:
            continue
        state = content.state
        if isinstance(state, RingState):
            counts = {"puts": state.puts, "gets": state.gets, "put_bytes": state.put_bytes, "repairs": state.repairs}
            drops = sum(state.drops.values())
            found["ring", info.name] = {"drops": drops, **{k: v for k, v in counts.items() if v is not None}}
        elif isinstance(state, ChannelState):
            found["channel", info.name] = {"calls": state.calls, "replies": state.replies}
    return found
