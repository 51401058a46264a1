# SPDX-License-Identifier: MIT
"""The state of a set in a few words."""

from __future__ import annotations

from semshare._abi import lib
from semshare.cli.sets import PLACES, SetInfo


def of(info: SetInfo) -> str:
    """Whether it can be had, and what is wrong with it. Empty if nothing is known of what it means."""
    words = [_values(info), *_troubles(info)]
    return ", ".join(word for word in words if word)


def is_troubled(info: SetInfo) -> bool:
    """Whether somebody should look at it."""
    return bool(_troubles(info))


def _values(info: SetInfo) -> str:
    values = info.values
    if not values or not info.use:
        return ""
    if info.kind == lib.SEMSHARE_SET_POOL:
        return f"{len(values) - sum(map(bool, values)):,} of {len(values):,} taken"
    if info.kind == lib.SEMSHARE_SET_RWLOCK:
        return _rwlock(values)
    if info.kind == lib.SEMSHARE_SET_EVENT:
        return "not set" if values[0] else "set"
    if info.permits is not None:
        return f"{info.permits:,} of {info.limit:,} free" if info.limit else f"{info.permits:,} free"
    text = "free" if values[0] else "taken"
    if info.locks and info.locks[0].depth:
        text += f" {info.locks[0].depth + 1} times"
    if info.kind in PLACES:
        waiting = sum(not place.woken for place in info.places)
        text += f", {waiting} of {info.limit} there" if info.limit else f", {waiting} wait" if waiting else ""
    return text


def _rwlock(values: list[int]) -> str:
    if len(values) < lib.SEMSHARE_RWLOCK_NSEMS:
        return ""
    readers, writers = values[lib.SEMSHARE_RWLOCK_READERS], values[lib.SEMSHARE_RWLOCK_WAITING]
    text = "a writer inside" if values[lib.SEMSHARE_RWLOCK_WRITER] else f"{readers:,} reading" if readers else "free"
    return text + (f", {writers:,} to write" if writers else "")


def _troubles(info: SetInfo) -> list[str]:
    found = []
    if info.broken:
        found.append("broken")
    if any(lock.suspect for lock in info.locks):
        found.append("suspect")
    if any(lock.dead is not None and not lock.suspect for lock in info.locks):
        found.append("owner died")
    if any(lock.holder is not None and lock.holder.alive is False for lock in info.locks):
        found.append("holder dead")
    return found
