# SPDX-License-Identifier: MIT
"""SysV semaphore sets as they are: semget, semop, semtimedop and semctl, one call each."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from semshare import arguments
from semshare._abi import ffi, lib
from semshare.errors import BadKey, BadValue, Error, LimitReached, Removed, Timeout, WrongSize, failure

INT_MAX: Final = 0x7FFFFFFF
UINT_MAX: Final = 0xFFFFFFFF
IPC_CREAT: int = lib.IPC_CREAT
IPC_EXCL: int = lib.IPC_EXCL
IPC_NOWAIT: int = lib.IPC_NOWAIT
IPC_PRIVATE: int = lib.IPC_PRIVATE
SEM_UNDO: int = lib.SEM_UNDO


class Operation(NamedTuple):
    """One struct sembuf."""

    number: int
    """Which semaphore of the set."""
    delta: int
    """Above 0: add it. Below: wait until the value is large enough, and subtract. 0: wait until it is 0."""
    flags: int = 0
    """IPC_NOWAIT: fail with WouldBlock instead of waiting. SEM_UNDO: take it back when this process ends."""


class SetState(NamedTuple):
    """What IPC_STAT says of a set."""

    key: int
    uid: int
    gid: int
    cuid: int
    cgid: int
    mode: int
    last_operation: int
    """sem_otime, seconds since 1970; 0: never."""
    last_change: int
    """sem_ctime."""
    semaphores: int


class SetLimits(NamedTuple):
    """What IPC_INFO says of the system, or SEM_INFO: then `used_sets` and `used_semaphores` count what there is."""

    map_entries: int
    sets: int
    semaphores: int
    undo_structures: int
    semaphores_per_set: int
    operations_per_call: int
    undo_entries: int
    used_sets: int
    largest_value: int
    used_semaphores: int
    highest_index: int


class SemaphoreSet:
    """A set that exists, or is made.

    Args:
        key: its key; None with `semid`; IPC_PRIVATE makes one that has none.
        semid: its id, instead of a key.
        count: semaphores that a new set has, or that an existing one has at least.
        create: make it if there is none. A new set's values are 0.
        exclusive: with `create`: fail if there is one.
        mode: permission bits of a new set, as of a file.

    Nothing is added to what the kernel does but this: a call that a signal interrupts is made again, with the time that
    is left, once the signal's handler has run. If the handler raises, as that of Ctrl-C does, nothing was done.

    Raises:
        NotFound, NameExists, Denied, Error: what semget says.
        WrongSize: there is one, and it has fewer semaphores than `count` (EINVAL).
        BadValue: it is to be made, and no `count` is given (EINVAL).
        LimitReached: there are as many sets or semaphores as there may be (ENOSPC), or a set cannot have
            so many (EINVAL).
    """

    def __init__(
        self,
        key: int | None = None,
        *,
        semid: int | None = None,
        count: int = 0,
        create: bool = False,
        exclusive: bool = False,
        mode: int = 0o600,
    ) -> None:
        if (key is None) == (semid is None):
            raise ValueError("a set is given by its key or by its semid: one of them")
        if semid is not None:
            self.semid = arguments.semid(semid)
            state = self.stat()
            self.key = state.key
            self.count = state.semaphores
            return
        number = arguments.whole("key", key)
        if not -(1 << 31) <= number < 1 << 32:
            raise BadKey(errno.ERANGE, f"key {number:#x} does not fit into the 32 bits of a key_t")
        count = arguments.between("count", count, 0, INT_MAX)
        mode = arguments.mode(mode, 0o777)
        self.key = number
        flags = (lib.IPC_CREAT if create else 0) | (lib.IPC_EXCL if exclusive else 0) | (mode if create else 0)
        self.semid = -1
        signed = number - (1 << 32) if number >= 1 << 31 else number
        semid = lib.semget(signed, count, flags)
        if semid < 0:
            raise self._cannot_open(ffi.errno, signed, count)
        self.semid = int(semid)
        self.count = self.stat().semaphores

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._what}>"

    @property
    def _what(self) -> str:
        if self.semid < 0:
            return f"set with key {self.key:#x}"
        return f"set {self.semid} (key {self.key:#x})" if hasattr(self, "key") else f"set {self.semid}"

    def _checked(self, result: int, doing: str) -> int:
        if result < 0:
            raise self._failure(ffi.errno, doing)
        return int(result)

    def _cannot_open(self, code: int, key: int, count: int) -> Error:
        """What semget says of a number of semaphores that cannot be."""
        from semshare import advice  # which looks at sets by way of this module

        what = f"{self._what}: semget"
        found = -1 if key == lib.IPC_PRIVATE else lib.semget(key, 0, 0)
        has = _count_of(found) if found >= 0 else None
        if code == errno.EINVAL and has is not None and count > has:
            return WrongSize(
                code,
                f"{what}: there is one, and it has {has} semaphores, not {count}; open it with count={has}, or less",
            )
        if code == errno.EINVAL and found < 0 and not count:
            return BadValue(
                code,
                f"{what}: there is none, and a new one has to have semaphores: give count=, 1 to {_most_per_set()}",
            )
        if code == errno.ENOSPC or (code == errno.EINVAL and count):
            return LimitReached(code, f"{what}: {advice.sets_are_limited(count)}")
        return self._failure(code, "semget")

    def _failure(self, code: int, doing: str, number: int = 0) -> Error:
        # The kernel says EINVAL of a set that was removed before the call, as of a bad argument.
        if code == errno.EINVAL and self.semid >= 0 and not exists(self.semid):
            return Removed(code, f"{self._what}: {doing}: there is no such set, or not any more; make a new one")
        if code == errno.EINVAL and number and number >= self.count:
            return BadValue(
                code, f"{self._what}: {doing}: semaphore {number}: it has {self.count}; give 0 to {self.count - 1}"
            )
        return failure(code, self._what, doing)

    # ---------------------------------------------------------------------------------------------------- operations

    def operate(self, operations: Iterable[Sequence[int]], timeout: float | None = None) -> None:
        """Do all operations at once, or none, waiting until all can be done: semop, or semtimedop with a timeout.

        Args:
            operations: Operation tuples, or plain (number, delta) or (number, delta, flags).
            timeout: seconds; None: wait without limit.

        Raises:
            WouldBlock: an operation with IPC_NOWAIT would have to wait.
            BadValue: there are no operations (EINVAL), or a number does not fit (ERANGE).
            Timeout: the time was over (errno EAGAIN, as of semtimedop).
            Removed: the set was removed, before (errno EINVAL) or meanwhile (errno EIDRM).
        """
        given = [Operation(*operation) for operation in operations]
        array = ffi.new("struct sembuf[]", len(given))
        for place, operation in zip(array, given):
            try:
                place.sem_num, place.sem_op, place.sem_flg = operation
            except OverflowError:
                raise BadValue(
                    errno.ERANGE, f"{operation}: a number is 0 to 65535, a delta -32768 to 32767, flags are 16 bits"
                ) from None
            except TypeError:
                raise TypeError(f"{operation}: number, delta and flags are ints") from None
        limit = None
        deadline = 0.0
        if timeout is not None:
            timeout = arguments.seconds("timeout", timeout)
            limit = ffi.new("struct timespec *")
            deadline = time.monotonic() + timeout
        while True:
            if limit is None:
                result = lib.semop(self.semid, array, len(given))
            else:
                left = min(max(deadline - time.monotonic(), 0.0), float(INT_MAX))
                limit.tv_sec, limit.tv_nsec = int(left), int(left % 1 * 1e9)
                result = lib.semtimedop(self.semid, array, len(given), limit)
            if result == 0:
                return
            code = ffi.errno
            # The interpreter runs the signal's handler before this loop's next turn.
            if code != errno.EINTR:
                break
        if code == errno.EAGAIN and limit is not None and not any(o.flags & lib.IPC_NOWAIT for o in given):
            raise Timeout(code, f"{self._what}: semtimedop: nobody made it possible within {timeout} s; try again")
        if code == errno.EINVAL and not given and exists(self.semid):
            raise BadValue(code, f"{self._what}: semop: there are no operations; give one or more")
        raise self._failure(code, "semtimedop" if timeout is not None else "semop")

    # ------------------------------------------------------------------------------------------------------ commands

    def _control(self, number: int, command: int, argument: Any = None, doing: str = "semctl") -> int:
        number = arguments.between("number", number, 0, INT_MAX, "semaphores are numbered from 0")
        # The argument of a variadic call carries its own C type; where a command has none, none is passed.
        more = () if argument is None else (argument,)
        result = lib.semctl(self.semid, number, command, *more)
        if result < 0:
            raise self._failure(ffi.errno, doing, number)
        return int(result)

    def value(self, number: int = 0) -> int:
        """GETVAL"""
        return self._control(number, lib.GETVAL, doing="GETVAL")

    def set_value(self, number: int, value: int) -> None:
        """SETVAL. Erases all processes' undo of this semaphore: not for one that is in use."""
        value = arguments.between("value", value, 0, 32767, "a semaphore counts no further")
        self._control(number, lib.SETVAL, ffi.cast("int", value), "SETVAL")

    def values(self) -> list[int]:
        """GETALL"""
        array = ffi.new("unsigned short[]", max(self.count, 1))
        self._control(0, lib.GETALL, array, "GETALL")
        return list(array)[: self.count]

    def set_values(self, values: Sequence[int]) -> None:
        """SETALL. Erases all processes' undo: not for a set that is in use."""
        if len(values) != self.count:
            raise ValueError(f"{self._what} has {self.count} semaphores; give as many values, not {len(values)}")
        numbers = [arguments.between("value", value, 0, 32767, "a semaphore counts no further") for value in values]
        self._control(0, lib.SETALL, ffi.new("unsigned short[]", numbers or [0]), "SETALL")

    def pid(self, number: int = 0) -> int:
        """GETPID: who changed the semaphore last. 0: nobody, a kernel thread, or one of another pid namespace."""
        return self._control(number, lib.GETPID, doing="GETPID")

    def waiters(self, number: int = 0) -> int:
        """GETNCNT: how many wait for the value to grow."""
        return self._control(number, lib.GETNCNT, doing="GETNCNT")

    def zero_waiters(self, number: int = 0) -> int:
        """GETZCNT: how many wait for it to become 0."""
        return self._control(number, lib.GETZCNT, doing="GETZCNT")

    def stat(self) -> SetState:
        """IPC_STAT"""
        state = ffi.new("struct semid_ds *")
        self._control(0, lib.IPC_STAT, state, "IPC_STAT")
        return _state(state)

    def set_permissions(self, *, uid: int | None = None, gid: int | None = None, mode: int | None = None) -> None:
        """IPC_SET: what is not given stays as it is."""
        state = ffi.new("struct semid_ds *")
        self._control(0, lib.IPC_STAT, state, "IPC_STAT")
        permissions = state.sem_perm
        if uid is not None:
            permissions.uid = arguments.between("uid", uid, 0, UINT_MAX)
        if gid is not None:
            permissions.gid = arguments.between("gid", gid, 0, UINT_MAX)
        if mode is not None:
            mode = arguments.mode(mode, 0o777)
            lib.semshare_ipc_set_mode(ffi.addressof(state, "sem_perm"), mode)
        self._control(0, lib.IPC_SET, state, "IPC_SET")

    def remove(self) -> None:
        """IPC_RMID: everybody who waits gets Removed."""
        self._control(0, lib.IPC_RMID, doing="IPC_RMID")


def _state(state: Any) -> SetState:
    permissions = state.sem_perm
    return SetState(
        permissions.__key,
        permissions.uid,
        permissions.gid,
        permissions.cuid,
        permissions.cgid,
        lib.semshare_ipc_mode(ffi.addressof(state, "sem_perm")),
        state.sem_otime,
        state.sem_ctime,
        state.sem_nsems,
    )


def _count_of(semid: int) -> int | None:
    """Semaphores of a set; None if this user may not read it, or it is gone."""
    state = ffi.new("struct semid_ds *")
    return int(state.sem_nsems) if lib.semctl(semid, 0, lib.IPC_STAT, state) >= 0 else None


def _most_per_set() -> str:
    """SEMMSL, for messages."""
    try:
        return f"{limits().semaphores_per_set} (SEMMSL, the first number of sysctl kernel.sem)"
    except Error:
        return "SEMMSL, the first number of sysctl kernel.sem"


def exists(semid: int) -> bool:
    """Whether there is a set of that id in this IPC namespace."""
    if lib.semctl(semid, 0, lib.IPC_STAT, ffi.new("struct semid_ds *")) >= 0:
        return True
    return ffi.errno not in (errno.EINVAL, errno.EIDRM)


def limits() -> SetLimits:
    """IPC_INFO: the limits of this IPC namespace."""
    return _info(lib.IPC_INFO)


def usage() -> SetLimits:
    """SEM_INFO: the limits, and how many sets and semaphores there are."""
    return _info(lib.SEM_INFO)


def _info(command: int) -> SetLimits:
    info = ffi.new("struct seminfo *")
    highest = lib.semctl(0, 0, command, info)
    if highest < 0:
        raise failure(ffi.errno, "semaphores", "SEM_INFO" if command == lib.SEM_INFO else "IPC_INFO")
    return SetLimits(
        info.semmap,
        info.semmni,
        info.semmns,
        info.semmnu,
        info.semmsl,
        info.semopm,
        info.semume,
        info.semusz,
        info.semvmx,
        info.semaem,
        highest,
    )


def stat_index(index: int, *, any_mode: bool = False) -> tuple[int, SetState]:
    """SEM_STAT: the id and the state of the set at a place of the kernel's table, 0 to usage().highest_index.

    Args:
        any_mode: SEM_STAT_ANY: also of a set that this user may not read.
    """
    state = ffi.new("struct semid_ds *")
    command = lib.SEM_STAT_ANY if any_mode else lib.SEM_STAT
    semid = lib.semctl(index, 0, command, state)
    if semid < 0:
        raise failure(ffi.errno, f"set at index {index}", "SEM_STAT_ANY" if any_mode else "SEM_STAT")
    return semid, _state(state)


def all_sets() -> list[tuple[int, SetState]]:
    """The id and the state of every set of this IPC namespace, by id."""
    found = []
    for index in range(usage().highest_index + 1):
        try:
            found.append(stat_index(index, any_mode=True))
        except OSError:
            continue  # no set stands there, or not any more
    return sorted(found)
