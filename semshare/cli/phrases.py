# SPDX-License-Identifier: MIT
"""Semaphores, and waits for them, in words."""

from __future__ import annotations

from typing import Final

from semshare._abi import lib
from semshare.cli.relations import Waiting
from semshare.cli.sets import SetInfo
from semshare.deadlocks import Semaphore

_RING: Final = {
    lib.SEMSHARE_SEM_MUTEX: "the lock of ring {}",
    lib.SEMSHARE_SEM_DATA: "records in ring {}",
    lib.SEMSHARE_SEM_SPACE: "space in ring {}",
    lib.SEMSHARE_SEM_CONSUMER: "the consumer's place at ring {}",
}
_CHANNEL: Final = {
    lib.SEMSHARE_CHANNEL_SEM_MUTEX: "the lock of channel {}",
    lib.SEMSHARE_CHANNEL_SEM_COMMANDS: "commands in channel {}",
    lib.SEMSHARE_CHANNEL_SEM_REPLIES: "replies in channel {}",
    lib.SEMSHARE_CHANNEL_SEM_ANSWERS: "the place of who answers channel {}",
    lib.SEMSHARE_CHANNEL_SEM_ASKS: "the place of who asks channel {}",
}


def name_of(info: SetInfo) -> str:
    """An object: what it is, and its name."""
    if not info.use:
        return f"set {info.semid}"
    return f"{info.use} {info.name or f'without a name (set {info.semid})'}"


def semaphore(info: SetInfo, number: int) -> str:
    """What a semaphore of a set is."""
    name = info.name or f"without a name (set {info.semid})"
    if not info.use:
        return f"semaphore {number} of set {info.semid}"
    if info.use == "ring":
        return _RING.get(number, "a producer's place at ring {}").format(name)
    if info.use == "channel":
        return _CHANNEL.get(number, f"semaphore {number} of channel {{}}").format(name)
    if info.kind is None:
        return f"the lock of {info.use} {name}" if number == 0 else f"semaphore {number} of {info.use} {name}"
    if info.kind == lib.SEMSHARE_SET_POOL:
        return f"lock {number} of {name_of(info)}"
    if info.kind == lib.SEMSHARE_SET_RWLOCK:
        return _rwlock(number).format(name)
    if info.kind == lib.SEMSHARE_SET_CONDITION:
        return f"a notification of condition {name}" if number else f"the lock of condition {name}"
    if info.kind == lib.SEMSHARE_SET_BARRIER:
        return f"barrier {name} to open" if number else f"the lock of barrier {name}"
    if info.kind == lib.SEMSHARE_SET_EVENT:
        return f"event {name} to be set"
    if info.permits is not None:
        return f"a permit of {name_of(info)}"
    return f"semaphore {number} of {name_of(info)}" if number else name_of(info)


def _rwlock(number: int) -> str:
    what = {
        lib.SEMSHARE_RWLOCK_WRITER: "the writer of",
        lib.SEMSHARE_RWLOCK_READERS: "the readers of",
        lib.SEMSHARE_RWLOCK_WAITING: "the writers who wait for",
    }
    return f"{what.get(number, 'semaphore ' + str(number) + ' of')} read/write lock {{}}"


def wait(sets: dict[int, SetInfo], waiting: Waiting) -> str:
    """What a thread waits for."""
    operations, semid = waiting.wait.operations, waiting.wait.semid
    info = sets[semid]
    if info.kind == lib.SEMSHARE_SET_RWLOCK:
        reads = any(each.number == lib.SEMSHARE_RWLOCK_READERS and each.delta > 0 for each in operations)
        writes = any(each.number == lib.SEMSHARE_RWLOCK_WRITER and each.delta > 0 for each in operations)
        if reads or writes:
            return f"waits to {'read' if reads else 'write'} {name_of(info)}"
    if info.kind == lib.SEMSHARE_SET_POOL and len(waiting.semaphores) > 1:
        numbers = [str(each.number) for each in waiting.semaphores]
        return f"waits for locks {', '.join(numbers[:-1])} and {numbers[-1]} of {name_of(info)}"
    if info.use:
        return f"waits for {semaphore(info, waiting.semaphores[0].number)}"
    blocking = next(each for each in operations if each.number == waiting.semaphores[0].number)
    change = f"to grow by {-blocking.delta}" if blocking.delta else "to become 0"
    return f"waits for {semaphore(info, blocking.number)} {change}"


def of(sets: dict[int, SetInfo], one: Semaphore) -> str:
    """A semaphore of one of some sets."""
    return semaphore(sets[one.semid], one.number)
