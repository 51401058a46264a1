# SPDX-License-Identifier: MIT
"""What the tasks of this process hold, by way of whichever object: nobody can wait for what he holds himself.

That a task has it stands in the object, so that to take what is free costs little. Only who has to wait looks through
the objects of that set.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semshare.aio.held import Held

# Of each set, by their identity. Each entry is made, and taken out, by one call of a dict's.
_objects: dict[int, dict[int, weakref.ref[Held]]] = {}


def opened(held: Held) -> None:
    """There is one more."""
    _objects.setdefault(held.semid, {})[id(held)] = weakref.ref(held)


def gone(held: Held) -> None:
    """There is one less."""
    same = _objects.get(held.semid)
    if same is not None:
        same.pop(id(held), None)
        if not same:
            _objects.pop(held.semid, None)


def has(task: asyncio.Task[Any] | None, semid: int, numbers: Collection[int]) -> bool:
    """Whether a task has one of these semaphores."""
    for reference in list(_objects.get(semid, {}).values()):
        held = reference()
        if held is not None and task in held._owners and not set(numbers).isdisjoint(held._numbers):
            return task is not None
    return False


def all_held() -> list[Held]:
    """The objects."""
    return [held for same in _objects.values() for reference in same.values() if (held := reference()) is not None]
