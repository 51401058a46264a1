# SPDX-License-Identifier: MIT
"""Keyword arguments that are passed on as they are, for who checks types: what they mean, the classes tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, TypedDict

if TYPE_CHECKING:
    from semshare._native import LockCore
    from semshare.aio.lock import BaseLock
    from semshare.owned import OnOwnerDied


class Opening(TypedDict, total=False):
    """What opens any object with a set of its own, besides its name."""

    key: int | None
    semid: int | None
    create: bool
    exclusive: bool
    mode: int


class OwnedOpening(Opening, total=False):
    """What opens one that has an owner."""

    on_owner_died: OnOwnerDied


class CountedOpening(Opening, total=False):
    """What opens one that has permits."""

    undo: bool


class Kept(TypedDict, total=False):
    """What create() and attach() pass on: each class takes some of it."""

    mode: int
    on_owner_died: OnOwnerDied
    value: int | None
    undo: bool
    count: int | None
    parties: int | None
    action: Callable[[], object] | None
    timeout: float | None
    lock: LockCore | BaseLock | None


class RingAttaching(TypedDict, total=False):
    """What attaches a ring, besides its name."""

    backend: str | None
    locked: bool


class RingMaking(RingAttaching, total=False):
    """What makes a ring, besides its name and size."""

    mode: int
    variant: str
    policy: str
    max_payload: int
    area_extra: int


class ChannelMaking(TypedDict, total=False):
    """What makes a channel, besides its name and depth."""

    max_payload: int
    mode: int
    backend: str | None
