# SPDX-License-Identifier: MIT
"""The semaphore set of an area, under the key of its name."""

from __future__ import annotations

import contextlib
import errno

from semshare import names
from semshare.area import Area
from semshare.errors import Error, NameExists, NotFound, Removed, failure
from semshare.semaphore_set import SemaphoreSet


def make(area: Area, count: int, mode: int, what: str) -> SemaphoreSet:
    """Make the set of an area that was made just now, its values 0, and bind it: it goes with the area.

    The area's name is the caller's, so nobody else makes this set. Each step leaves what the next who makes it can
    clear away: the set belongs to the area as soon as it is bound, and one that was never operated on to nobody.

    Args:
        what: the object that it is for, by kind and name.

    Raises:
        NameExists: there is a set of that key.
    """
    semaphores = _make(names.key_of(area.name), count, mode, what)
    try:
        area.bind(semaphores.semid, own=True)
    except BaseException:
        with contextlib.suppress(Error):
            semaphores.remove()
        raise
    return semaphores


def _make(key: int, count: int, mode: int, what: str) -> SemaphoreSet:
    for _ in range(2):
        try:
            return SemaphoreSet(key, count=count, create=True, exclusive=True, mode=mode & 0o666)
        except NameExists:
            try:
                there = SemaphoreSet(key)
                state = there.stat()
            except (NotFound, Removed):
                continue
            if state.semaphores == count and not state.last_operation and not any(there.values()):
                # Of a maker who was killed between these lines: it had the area's name, which is ours now.
                there.remove()
                continue
            raise NameExists(
                errno.EEXIST,
                f"{what}: there is a set {there.semid} with its key {key:#x} already, which is that of a lock or of "
                f"another program; choose another name, or remove the set: ipcrm -s {there.semid}",
            ) from None
    raise failure(errno.EEXIST, what, "make its set")
