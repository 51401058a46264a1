# SPDX-License-Identifier: MIT
"""Kernel code and Python processes take the same SysV semaphore set around the same mmap'd buffer."""

from semshare.area import Area, AreaInfo
from semshare.errors import (
    AbiMismatch,
    Denied,
    Empty,
    EmptyTimeout,
    Error,
    Full,
    FullTimeout,
    HolderDead,
    LockBroken,
    NameCollision,
    NameExists,
    NotFound,
    OwnerDied,
    OwnerDiedWarning,
    Removed,
    RingBroken,
    RoleTaken,
    Timeout,
    WouldBlock,
)
from semshare.lock import Lock, Owner
from semshare.lock_statistics import LockStatistics
from semshare.names import key_of
from semshare.ring import Record, Ring, RingState
from semshare.semaphore_set import (
    IPC_CREAT,
    IPC_EXCL,
    IPC_NOWAIT,
    IPC_PRIVATE,
    SEM_UNDO,
    Operation,
    SemaphoreSet,
)

__all__ = [
    "Lock",
    "Ring",
    "Area",
    "SemaphoreSet",
    "Operation",
    "Record",
    "RingState",
    "AreaInfo",
    "Owner",
    "LockStatistics",
    "key_of",
    "IPC_CREAT",
    "IPC_EXCL",
    "IPC_NOWAIT",
    "IPC_PRIVATE",
    "SEM_UNDO",
    "Error",
    "Timeout",
    "WouldBlock",
    "Full",
    "FullTimeout",
    "Empty",
    "EmptyTimeout",
    "NotFound",
    "NameExists",
    "NameCollision",
    "Denied",
    "Removed",
    "OwnerDied",
    "OwnerDiedWarning",
    "HolderDead",
    "LockBroken",
    "RingBroken",
    "RoleTaken",
    "AbiMismatch",
]
