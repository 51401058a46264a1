# SPDX-License-Identifier: MIT
"""The kernel's side of the locks, call by call (semshare_lock_test), and sets with a companion made by hand.

Structures and numbers are written out again from the headers on purpose, as in abi.py.
"""

import ctypes
import fcntl
import os
import struct

import abi
from abi import (
    GETALL,
    GETVAL,
    IPC_CREAT,
    IPC_EXCL,
    IPC_NOWAIT,
    IPC_RMID,
    SEM_UNDO,
    SETALL,
    check,
    key_of,
    libc,
    semctl,
    semop,
)

MUTEX, MULTI, RWLOCK, SEMAPHORE, EVENT, CONDITION, BARRIER = range(1, 8)
(LOCK, UNLOCK, CONSISTENT, READ_LOCK, READ_UNLOCK, DOWNGRADE, DOWN, UP, VALUE) = range(1, 10)
SET, CLEAR, WAIT, NOTIFY, ABORT, RESET, SCOPED = range(10, 17)
COUNT, COMPARE, PERMITS, EXCHANGE, MEET = range(32, 37)
COLLECT, STOP = 64, 65
PREEMPT_OFF, ASYNC, SUSPECT, GO_ON = 1, 2, 4, 8
THREADS = 4
FOREVER = -1

# enum semshare_set_kinds
KIND_LOCK, KIND_RLOCK, KIND_POOL, KIND_RWLOCK, KIND_SEMAPHORE, KIND_BOUNDED = range(6)
KIND_EVENT, KIND_CONDITION, KIND_BARRIER = range(6, 9)
WRITER, READERS, WAITING = range(3)
PLACES_NSEMS, PLACES_SIZE, PLACES = 249, 8192, 248

libc.shmat.restype = ctypes.c_void_p
libc.shmdt.argtypes = [ctypes.c_void_p]

OPEN = struct.Struct("II64siIIi16I")
CALL = struct.Struct("IIIIqQQqQ")
IOC_OPEN = 1 << 30 | OPEN.size << 16 | 0xE57A
IOC_CALL = 3 << 30 | CALL.size << 16 | 0xE57B


class KernelLock:
    """A kernel handle. Calls raise OSError with the errno that the kernel function returned.

    Args:
        thread: by which kernel thread of the handle calls are made; 0: by the caller.
    """

    def __init__(self, kind, name="", key=0, *, numbers=(), area=None, guard=None, flags=0):
        self.fd = os.open("/dev/semshare-lock-test", os.O_RDWR | os.O_CLOEXEC)
        self.flags = 0
        area_fd = area.fd if area is not None else -1
        guard_fd = guard.fd if guard is not None else -1
        name = name if isinstance(name, bytes) else name.encode()
        words = [*numbers, *[0] * (16 - len(numbers))]
        try:
            fcntl.ioctl(self.fd, IOC_OPEN, OPEN.pack(kind, key, name, area_fd, flags, len(numbers), guard_fd, *words))
        except OSError:
            os.close(self.fd)
            raise

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, operation, thread=0, *, timeout_ms=0, value=0, offset=0, flags=0):
        """What it answered: (result, suspect, done)."""
        flags |= self.flags
        buffer = bytearray(CALL.pack(operation, thread, flags, 0, timeout_ms, value, offset, 0, 0))
        fcntl.ioctl(self.fd, IOC_CALL, buffer)
        _, _, _, suspect, _, _, _, result, done = CALL.unpack(buffer)
        if flags & ASYNC:
            return 0, 0, 0
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result, bool(suspect), done

    def __getattr__(self, name):
        """lock(), read_unlock(), wait(), ...: the operation of that name; what the function returned."""
        operation = globals()[name.upper()]
        return lambda *arguments, **keywords: self.call(operation, *arguments, **keywords)[0]

    def begin(self, operation, thread, **keywords):
        """Have a kernel thread begin it."""
        self.call(operation, thread, flags=keywords.pop("flags", 0) | ASYNC, **keywords)

    def lock_suspect(self, thread=0, operation=LOCK, **keywords):
        """Take it, also if it is suspect: whether it was."""
        return self.call(operation, thread, flags=SUSPECT, **keywords)[1]

    def job(self, thread, operation, turns, *, upper=0, timeout_ms=FOREVER, flags=0, offset=0):
        """Have a kernel thread begin so many turns."""
        self.begin(operation, thread, value=turns | upper << 32, timeout_ms=timeout_ms, flags=flags, offset=offset)


class Segment:
    """A SysV segment, attached."""

    def __init__(self, key, size, mode=0o600):
        self.size = size
        self.shmid = check(libc.shmget(ctypes.c_int(key), ctypes.c_size_t(size), IPC_CREAT | IPC_EXCL | mode))
        self.address = check(libc.shmat(self.shmid, None, 0))
        self.memory = (ctypes.c_ubyte * size).from_address(self.address)

    def get32(self, at):
        return struct.unpack_from("I", self.memory, at)[0]

    def get64(self, at):
        return struct.unpack_from("Q", self.memory, at)[0]

    def set32(self, at, value):
        struct.pack_into("I", self.memory, at, value & 0xFFFFFFFF)

    def close(self):
        if self.address:
            libc.shmdt(self.address)
            libc.shmctl(self.shmid, IPC_RMID, None)
            self.address = 0


# struct semshare_lock_segment
MAGIC = 0x4B4C5353
AT_MAGIC, AT_ABI, AT_SEMID, AT_NSEMS, AT_KIND, AT_LIMIT, STATE = 0, 4, 16, 20, 88, 92, 128
# struct semshare_lock_state, from STATE on
EPOCH, OWNER_KIND, OWNER_PID, OWNER_TID, OWNER_START, DEATHS, SUSPECT_WORD = 0, 4, 8, 12, 16, 24, 32
DEAD_KIND, DEAD_PID = 40, 44
# struct semshare_places, and what it has of each waiter
AT_PLACES, WAITERS, WAITER = 192, 64, 32


class Set:
    """A set as the Python classes make it, without them.

    Args:
        values: of its semaphores.
        companion: whether it has one.
        published: or is its maker between SETALL and the semop that publishes it?
    """

    def __init__(self, name, kind=KIND_LOCK, values=(1,), *, limit=0, companion=True, mode=0o600, published=True):
        self.name = name
        self.key = key_of(name)
        self.semid = abi.semget(self.key, len(values), IPC_CREAT | IPC_EXCL | mode)
        self.segment = None
        if companion:
            size = 4096
            if kind == KIND_POOL:
                size = -(-(STATE + 64 * len(values)) // 4096) * 4096
            elif kind in (KIND_CONDITION, KIND_BARRIER):
                size = PLACES_SIZE
            self.segment = Segment(self.key, size, mode)
            struct.pack_into(
                "=IIIiI64sII",
                self.segment.memory,
                4,
                abi.ABI_VERSION,
                0,
                self.key,
                self.semid,
                len(values),
                name.encode(),
                kind,
                limit,
            )
            self.segment.set32(AT_MAGIC, MAGIC)
        if not published:
            check(libc.semctl(self.semid, 0, SETALL, (ctypes.c_ushort * len(values))(*values)))
            return
        raise_them = [(number, value, 0) for number, value in enumerate(values) if value]
        semop(self.semid, *(raise_them or [(0, 0, 0)]))

    def close(self):
        if self.segment is not None:
            self.segment.close()
        if abi.set_exists(self.semid):
            semctl(self.semid, 0, IPC_RMID)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def value(self, number=0):
        return semctl(self.semid, number, GETVAL)

    def values(self):
        count = self.segment.get32(AT_NSEMS) if self.segment is not None else 1
        found = (ctypes.c_ushort * count)()
        check(libc.semctl(self.semid, 0, GETALL, found))
        return list(found)

    def waiters(self, number=0, command=abi.GETNCNT):
        return semctl(self.semid, number, command)

    def word(self, which, number=0):
        return self.segment.get32(STATE + 64 * number + which)

    def write(self, which, value, number=0):
        self.segment.set32(STATE + 64 * number + which, value)

    def take(self, number=0):
        """As a process that writes its words."""
        semop(self.semid, (number, -1, IPC_NOWAIT | SEM_UNDO))
        self.enter(number)

    def enter(self, number=0):
        self.write(EPOCH, self.word(EPOCH, number) + 1, number)
        struct.pack_into(
            "=IIIQ",
            self.segment.memory,
            STATE + 64 * number + OWNER_KIND,
            1,
            os.getpid(),
            os.getpid(),
            abi.start_time(),
        )

    def give(self, number=0):
        self.write(OWNER_KIND, 0, number)
        self.write(EPOCH, self.word(EPOCH, number) + 1, number)
        semop(self.semid, (number, 1, SEM_UNDO))

    def is_sound(self, number=0):
        return self.word(EPOCH, number) % 2 == 0 and not self.word(SUSPECT_WORD, number)


def condition_set(name, **keywords):
    return Set(name, KIND_CONDITION, (1, *[0] * PLACES), **keywords)


def barrier_set(name, parties, **keywords):
    return Set(name, KIND_BARRIER, (1, *[0] * PLACES), limit=parties, **keywords)
