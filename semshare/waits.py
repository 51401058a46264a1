# SPDX-License-Identifier: MIT
"""Who waits for which semaphores: the threads that sleep in semop now, as /proc shows them.

The kernel tells of a semaphore how many wait for it, and of a thread in which system call it sleeps, and with what
arguments. So a thread that sleeps in semop or semtimedop, or in the ioctl that `semshare exec` puts in their place,
shows its set, and where in its process's memory the operations stand.

This is a look at what moves. Waits of this package come in slices of a second at most, with moments in between in which
the thread is in no semop: who wants to see all of them looks several times.
"""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from semshare._abi import ffi, lib
from semshare.semaphore_set import Operation

# Numbers of the calls whose first three arguments are semid, operations and how many: semop, semtimedop.
_GENERIC: Final = (193, 192)  # <asm-generic/unistd.h>
SEMOP_CALLS: Final[dict[str, tuple[int, ...]]] = {"x86_64": (65, 220), "aarch64": _GENERIC, "riscv64": _GENERIC}
IOCTL_CALLS: Final[dict[str, int]] = {"x86_64": 16, "aarch64": 29, "riscv64": 29}

# Of what the kernel's functions are called in which a thread sleeps for a semaphore: /proc/PID/wchan.
_SLEEPS_IN: Final = "semtimedop"
# <linux/sched.h>, in field 9 of /proc/PID/stat.
_PF_KTHREAD: Final = 0x00200000
# More operations than that in one call no kernel takes (SEMOPM is 500 unless somebody raised it).
_MOST_OPERATIONS: Final = 32000

_SEMBUF: Final = struct.Struct("=Hhh")
_ROUTED: Final = struct.Struct("=iIQQII")  # struct semshare_route_semtimedop
assert _SEMBUF.size == ffi.sizeof("struct sembuf")
assert _ROUTED.size == ffi.sizeof("struct semshare_route_semtimedop")


class Thread(NamedTuple):
    """A thread of a process. Those of the kernel are processes by themselves."""

    pid: int
    tid: int


class Wait(NamedTuple):
    """A thread that sleeps in a call on a set."""

    thread: Thread
    semid: int
    operations: tuple[Operation, ...]
    """All that it asked for: it gets all at once, or sleeps."""


class Sleepers(NamedTuple):
    """What one look at all threads found."""

    waits: list[Wait]
    unplaced: list[Thread]
    """They sleep for a semaphore, but for which cannot be seen: kernel threads, and those that may not be traced."""
    hidden: int
    """Processes that this user may not look at."""


def look() -> Sleepers:
    """Look at all threads of all processes, those of other IPC namespaces left out."""
    waits: list[Wait] = []
    unplaced: list[Thread] = []
    hidden = 0
    ours = _ipc_namespace("self")
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        pid = int(entry)
        try:
            if _is_kernel_thread(pid):
                if _sleeps_for_a_semaphore(pid, pid):
                    unplaced.append(Thread(pid, pid))
                continue
            if _ipc_namespace(pid) != ours:
                continue
            waits += _waits_of(pid)
        except PermissionError:
            hidden += 1
            unplaced += [thread for thread in _threads_of(pid) if _sleeps_for_a_semaphore(*thread)]
        except OSError:
            continue  # it ended meanwhile
    return Sleepers(waits, unplaced, hidden)


def blocked(operations: Iterable[Operation], values: Sequence[int]) -> list[Operation]:
    """Those of some operations that cannot be done where the semaphores have these values; the first is slept on.

    The kernel does them one after the other, and takes them back where one cannot be done.
    """
    now = dict(enumerate(values))
    found = []
    for operation in operations:
        number, delta, _ = operation
        value = now.get(number)
        if value is None:
            continue  # no such semaphore: what was read was not what it slept on
        if (delta == 0 and value != 0) or value + delta < 0:
            found.append(operation)
        else:
            now[number] = value + delta
    return found


# ----------------------------------------------------------------------------------------------------- one process


def _threads_of(pid: int) -> list[Thread]:
    try:
        return [Thread(pid, int(tid)) for tid in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def _ipc_namespace(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/ipc")


def _is_kernel_thread(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return bool(int(stat.read().rpartition(")")[2].split()[6]) & _PF_KTHREAD)


def _sleeps_for_a_semaphore(pid: int, tid: int) -> bool:
    """As far as a user may see it who may not trace the process: he sees the kernel's function, and no arguments."""
    try:
        with open(f"/proc/{pid}/task/{tid}/wchan", encoding="ascii", errors="replace") as where:
            return _SLEEPS_IN in where.read()
    except OSError:
        return False


def _waits_of(pid: int) -> list[Wait]:
    """The waits of a process's threads.

    Raises:
        PermissionError: this user may not trace it.
    """
    found = []
    for thread in _threads_of(pid):
        try:
            wait = _wait_of(thread)
        except (FileNotFoundError, ProcessLookupError):
            continue  # this thread ended
        if wait is not None:
            found.append(wait)
    return found


def _wait_of(thread: Thread) -> Wait | None:
    """What a thread waits for, if that is a semaphore."""
    machine = platform.machine()
    path = f"/proc/{thread.pid}/task/{thread.tid}/syscall"
    line = _first_line(path)
    # "running", or the number of the call, -1 for none, its six arguments, stack pointer and program counter.
    call, *words = line.split()
    if not words or not call.isdigit():
        return None
    arguments = [int(word, 16) for word in words]
    if int(call) in SEMOP_CALLS.get(machine, ()):
        semid, address, count = arguments[:3]
    elif int(call) == IOCTL_CALLS.get(machine) and arguments[1] & 0xFFFFFFFF == lib.SEMSHARE_ROUTE_SEMTIMEDOP:
        routed = _memory(thread.pid, arguments[2], _ROUTED.size)
        if len(routed) != _ROUTED.size:
            return None
        semid, count, address, *_ = _ROUTED.unpack(routed)
    else:
        return None
    if not 0 < count <= _MOST_OPERATIONS or not _has_our_calls(thread.pid):
        return None
    data = _memory(thread.pid, address, count * _SEMBUF.size)
    # What lies on a stack is worth nothing if the thread went on meanwhile.
    if len(data) != count * _SEMBUF.size or _first_line(path) != line:
        return None
    return Wait(thread, semid & 0x7FFFFFFF, tuple(Operation(*words) for words in _SEMBUF.iter_unpack(data)))


def _first_line(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.readline()


def _has_our_calls(pid: int) -> bool:
    """Whether a process is of 64 bits, as this one is: programs of 32 bits have other numbers for their calls."""
    with open(f"/proc/{pid}/exe", "rb") as program:
        return program.read(5)[4:] == b"\2"  # EI_CLASS


def _memory(pid: int, address: int, size: int) -> bytes:
    """That much of a process's memory, or less where it has no more there."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, address)
    except (OSError, OverflowError):
        return b""
    finally:
        os.close(fd)
