# SPDX-License-Identifier: MIT
"""Areas and sets for programs: what stands in the JSON objects of ls, inspect and top."""

from __future__ import annotations

from typing import Any, Final

from semshare import AreaInfo
from semshare.cli import condition, contents
from semshare.cli.contents import Content
from semshare.cli.sets import Holder, LockState, SetInfo

EACH_SEMAPHORE: Final = ("values", "waiters", "zero_waiters")
"""Of a set's, those with a number for each semaphore."""


def of_area(info: AreaInfo, content: Content | None) -> dict[str, Any]:
    return {
        "name": info.name,
        "backend": info.backend,
        "kind": info.kind,
        "address": info.address,
        "huge_pages": info.huge_pages,
        "size": info.size,
        "mode": f"{info.mode:04o}",
        "uid": info.uid,
        "gid": info.gid,
        "key": info.key,
        "created": info.created,
        "creator_pid": info.creator_pid,
        "handles": info.handles,
        "maps": info.maps,
        "kernel_users": info.kernel_users,
        "semid": info.semid,
        "owns_set": info.owns_set,
        "state": condition_of(info),
        "holds": content.kind.name if content is not None else None,
        **{each.name: None for each in contents.KINDS},
        **({content.kind.name: content.kind.details(content.state)} if content is not None else {}),
    }


def of_set(each: SetInfo) -> dict[str, Any]:
    holder = each.holder
    return {
        "semid": each.semid,
        "key": each.state.key & 0xFFFFFFFF,
        "name": each.name,
        "use": each.use,
        "mode": f"{each.state.mode & 0o777:04o}",
        "uid": each.state.uid,
        "values": each.values,
        "waiters": each.waiters,
        "zero_waiters": each.zero_waiters,
        "owner": of_holder(holder) if holder is not None else None,
        "roles": [{"role": role, **of_holder(holder)} for role, _, holder in each.roles],
        "deaths": each.deaths,
        "state": condition.of(each),
        "limit": each.limit or None,
        "permits": each.permits,
        "suspect": any(lock.suspect for lock in each.locks),
        "locks": [_lock(lock) for lock in each.locks],
    }


def _lock(lock: LockState) -> dict[str, Any]:
    return {
        "number": lock.number,
        "owner": of_holder(lock.holder) if lock.holder is not None else None,
        "deaths": lock.deaths,
        "suspect": lock.suspect,
        "depth": lock.depth,
        "dead": {"pid": lock.dead.pid, "tid": lock.dead.tid} if lock.dead is not None else None,
    }


def of_holder(holder: Holder) -> dict[str, Any]:
    return {"pid": holder.pid, "kind": holder.kind, "alive": holder.alive}


def condition_of(info: AreaInfo) -> str:
    """Whether an area is in use as it should be."""
    return "stale" if info.stale else "unlinked" if info.unlinked else "ok"
