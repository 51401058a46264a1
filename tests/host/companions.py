# SPDX-License-Identifier: MIT
"""Sets with companions, made by hand as the ABI says: what the classes make, in whatever state a test wants."""

from __future__ import annotations

from collections.abc import Sequence

from processes import Child
from semshare._abi import ffi, lib

from semshare import SemaphoreSet, key_of, names, segment
from semshare._native import Mapping

PAGE = lib.SEMSHARE_LOCK_SEGMENT_SIZE


class Companion:
    """A set and its companion. Both stay until remove().

    `words` is the struct semshare_lock_segment, `states` its lock states, `places` what a condition or a barrier has.
    """

    def __init__(self, name: str, kind: int, values: Sequence[int], limit: int = 0, *, finished: bool = True) -> None:
        self.name = name
        self.key = key_of(name)
        self.semaphores = SemaphoreSet(self.key, count=len(values), create=True, exclusive=True)
        places = kind in (lib.SEMSHARE_SET_CONDITION, lib.SEMSHARE_SET_BARRIER)
        states = len(values) if kind == lib.SEMSHARE_SET_POOL else 1
        size = ffi.offsetof("struct semshare_lock_segment", "state") + states * 64
        size = lib.SEMSHARE_PLACES_SEGMENT_SIZE if places else -(-size // PAGE) * PAGE
        self.shmid = lib.shmget(self.key, size, lib.IPC_CREAT | lib.IPC_EXCL | 0o600)
        assert self.shmid >= 0
        self.mapping = Mapping.of_segment(self.shmid)
        words = ffi.cast("struct semshare_lock_segment *", ffi.from_buffer(self.mapping))
        words.abi_version = lib.SEMSHARE_ABI_VERSION
        words.key = self.key
        words.semid = self.semaphores.semid
        words.nsems = len(values)
        ffi.buffer(words.name)[:] = names.padded(name)
        words.kind = kind
        words.limit = limit
        words.magic = lib.SEMSHARE_LOCK_MAGIC
        self.words = words
        self.states = ffi.cast("struct semshare_lock_state *", ffi.addressof(words, "state"))
        self.places = ffi.cast("struct semshare_places *", self.states + 1) if places else None
        if finished:
            self.semaphores.operate([(number, value) for number, value in enumerate(values)])

    @property
    def semid(self) -> int:
        return self.semaphores.semid

    def detach(self) -> None:
        """Let go of the companion, as a process that ends does."""
        del self.words, self.states, self.places, self.mapping
        state = segment.state_of(self.shmid)
        assert state is not None and not state.attached

    def remove(self) -> None:
        """Remove what is there of both."""
        lib.semctl(self.semid, 0, lib.IPC_RMID)
        lib.shmctl(self.shmid, lib.IPC_RMID, ffi.NULL)


def left_behind(name: str, kind: int, values: Sequence[int], limit: int = 0, *, finished: bool = True) -> int:
    """Have a child make one, and end. Returns the semid."""

    def make() -> None:
        Companion(name, kind, values, limit, finished=finished)

    assert Child(make).wait() == 0
    return SemaphoreSet(key_of(name)).semid
