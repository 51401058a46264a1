# SPDX-License-Identifier: MIT
"""What the preload library counts: a file that every process of a program maps, whoever it has become meanwhile."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from semshare._abi import ffi, lib

FOLDER_PREFIX = "semshare-exec-"
STALE_AGE = 60.0
"""Seconds: a folder without a file in use that is younger may be one that is being made."""

CALLS = ("semget", "semop", "semtimedop", "semctl")
COMMANDS = {
    lib.IPC_RMID: "IPC_RMID",
    lib.IPC_SET: "IPC_SET",
    lib.IPC_STAT: "IPC_STAT",
    lib.IPC_INFO: "IPC_INFO",
    lib.GETPID: "GETPID",
    lib.GETVAL: "GETVAL",
    lib.GETALL: "GETALL",
    lib.GETNCNT: "GETNCNT",
    lib.GETZCNT: "GETZCNT",
    lib.SETVAL: "SETVAL",
    lib.SETALL: "SETALL",
    lib.SEM_STAT: "SEM_STAT",
    lib.SEM_INFO: "SEM_INFO",
    lib.SEM_STAT_ANY: "SEM_STAT_ANY",
}
OTHER_COMMANDS = "other"


@dataclass
class Call:
    """One of the four calls."""

    routed: int
    """That went through the module, failed ones among them."""
    libc: int
    """Of those: by the C library's function of that name."""
    syscall: int
    """Of those: by its syscall()."""
    failed: int
    """Of those: that ended with an errno."""
    not_routed: int
    """Made as system calls, because the process could not have the device open."""


@dataclass
class Counts:
    """What a program and its children did."""

    processes: int
    """That made such a call."""
    images: int
    """Programs started with the preload library in them."""
    unsupported: int
    """Calls that failed with EOPNOTSUPP: in a kernel thread's context those with SEM_UNDO."""
    calls: dict[str, Call] = field(default_factory=dict)
    commands: dict[str, int] = field(default_factory=dict)
    """The routed semctl, by command."""

    @property
    def routed(self) -> int:
        """All calls that went through the module."""
        return sum(call.routed for call in self.calls.values())

    @property
    def not_routed(self) -> int:
        """All that did not, though they should have."""
        return sum(call.not_routed for call in self.calls.values())

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "routed": self.routed, "not_routed": self.not_routed}


class CallCounters:
    """The counters of one run, in a file of their own while this is open.

    The file may be written by everybody, because a process that has given up its rights starts programs that are to be
    counted too. Its name cannot be guessed and its folder not be listed.
    """

    def __init__(self) -> None:
        _remove_stale()
        try:
            self._make(_parent())
        except OSError as error:
            if error.errno != errno.ENOSPC or _parent() is None:
                raise
            self._make(None)

    def _make(self, parent: str | None) -> None:
        self._folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent)
        try:
            os.chmod(self._folder, 0o711)
            self.path = os.path.join(self._folder, secrets.token_hex(16)).encode()
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # As long as we live, and no longer: who finds it unlocked may remove it.
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            os.fchmod(self._fd, 0o666)
            # With its memory: a page that is not to be had kills who writes to it.
            os.posix_fallocate(self._fd, 0, mmap.PAGESIZE)
            self._map = mmap.mmap(self._fd, mmap.PAGESIZE)
            self._words = ffi.from_buffer("struct preload_counters *", self._map)
            self._words.magic = lib.PRELOAD_COUNTERS_MAGIC
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def __enter__(self) -> CallCounters:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the file. Who has it mapped goes on counting, for nobody."""
        shutil.rmtree(self._folder, ignore_errors=True)
        ffi.release(self._words)
        self._map.close()
        os.close(self._fd)

    def read(self) -> Counts:
        """The counts of this moment."""
        words = self._words
        counts = Counts(processes=words.processes, images=words.images, unsupported=words.unsupported)
        for place, name in enumerate(CALLS):
            libc = words.routed[lib.PRELOAD_BY_LIBC * lib.PRELOAD_CALLS + place]
            syscall = words.routed[lib.PRELOAD_BY_SYSCALL * lib.PRELOAD_CALLS + place]
            counts.calls[name] = Call(libc + syscall, libc, syscall, words.failed[place], words.not_routed[place])
        for command in range(lib.PRELOAD_COMMANDS):
            if number := words.commands[command]:
                name = COMMANDS.get(command, OTHER_COMMANDS)
                counts.commands[name] = counts.commands.get(name, 0) + number
        return counts


def _parent() -> str | None:
    """Memory if there is some, else where temporary files are."""
    shm = "/dev/shm"
    return shm if os.access(shm, os.W_OK | os.X_OK) else None


def _folders() -> Iterator[Path]:
    for parent in dict.fromkeys([_parent() or tempfile.gettempdir(), tempfile.gettempdir()]):
        yield from Path(parent).glob(FOLDER_PREFIX + "*")


def _remove_stale() -> None:
    """Remove what runs that were killed left behind.

    Anybody may put something of that name there, a symbolic link or a FIFO: only what is ours is looked into, and
    nothing is opened before it is known to be a file.
    """
    for folder in _folders():
        with contextlib.suppress(OSError):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                status = os.fstat(fd)
                stale = status.st_uid == os.getuid() and time.time() - status.st_mtime > STALE_AGE and not _in_use(fd)
            finally:
                os.close(fd)
            if stale:
                shutil.rmtree(folder, ignore_errors=True)


def _in_use(folder: int) -> bool:
    """Whether somebody who lives has a file there locked."""
    for name in os.listdir(folder):
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            continue
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False
