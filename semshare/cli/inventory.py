# SPDX-License-Identifier: MIT
"""What there is in this IPC namespace: areas, the rings in them, and semaphore sets."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from semshare import Area, AreaInfo, segment, shm
from semshare.area import list_areas
from semshare.cli import contents, sets
from semshare.cli.contents import Content
from semshare.cli.sets import Beside, SetInfo
from semshare.semaphore_set import all_sets


@dataclass(frozen=True)
class Inventory:
    areas: list[tuple[AreaInfo, Content | None]]
    sets: list[SetInfo]


def take(*, everybodys: bool = False) -> Inventory:
    """Look at everything.

    Args:
        everybodys: also at sets that are not known to be of this package.
    """
    areas = []
    known: dict[int, Beside] = {}
    for info in list_areas():
        pages = _first_pages(info)
        content = contents.find(pages, info.size) if pages is not None else None
        areas.append((info, content))
        if info.semid is not None:
            lock = content.kind.lock if content is not None else None
            words = sets.copy_of_words(pages, lock) if pages is not None and lock is not None else None
            known[info.semid] = Beside(info.name, content.kind.name if content else "", words)
    for state, companion in segment.all_companions():
        known.setdefault(companion.semid, sets.beside(state, companion))
    found = [
        sets.look(semid, state, known.get(semid, Beside()))
        for semid, state in all_sets()
        if semid in known or everybodys
    ]
    return Inventory(areas, found)


def _first_pages(info: AreaInfo) -> bytes | None:
    """Those that tell what an area holds; None if this user may not read it, or it has no name any more."""
    if info.unlinked:
        return None
    pages = _read(info, min(info.size, contents.SEEN))
    if pages is not None and contents.looks_at_all(pages):
        pages = _read(info, info.size) or pages
    return pages


def _read(info: AreaInfo, size: int) -> bytes | None:
    """The first bytes of an area, or None."""
    with contextlib.suppress(OSError):
        if info.backend == "posix":
            page = shm.peek(info.name, size) or b""
        else:
            with Area(info.name, readonly=True, backend="module", address=None) as area:
                page = bytes(area.buffer[:size])
        if len(page) == size:
            return page
    return None
