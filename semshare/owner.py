# SPDX-License-Identifier: MIT
"""Who owns a lock."""

from __future__ import annotations

from typing import Final, NamedTuple

from semshare._abi import lib
from semshare._native import is_dead

KINDS: Final[dict[int, str]] = {lib.SEMSHARE_OWNER_USER: "process", lib.SEMSHARE_OWNER_KERNEL: "kernel thread"}


class Owner(NamedTuple):
    """Who holds a lock, as its words say. A plain program writes none: then they are of somebody before it."""

    kind: int
    """1 a process, 2 a kernel thread."""
    pid: int
    tid: int
    """Its thread."""
    start: int
    """When the process was started, clock ticks since boot."""

    @property
    def alive(self) -> bool | None:
        """Whether that process still runs. None where that cannot be told: of a kernel thread.

        A pid is looked up in this process's own pid namespace; of a process in another one this says nothing.
        """
        if self.kind != lib.SEMSHARE_OWNER_USER:
            return None
        return not is_dead(self.pid) and (self.start < 2 or start_of(self.pid) in (None, self.start))

    @property
    def command(self) -> str | None:
        """What that process runs, on one line: its arguments, or its name. None if that cannot be seen."""
        return command_of(self.pid) if self.alive else None

    def __str__(self) -> str:
        return describe(self.kind, self.pid)


def describe(kind: int, pid: int) -> str:
    """An owner in a sentence."""
    return f"{KINDS.get(kind, 'owner')} {pid}"


def start_of(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None if that cannot be seen."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def command_of(pid: int) -> str | None:
    """The arguments of a process, or its name if it has none; None if it cannot be seen."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="backslashreplace") as cmdline:
            arguments = " ".join(cmdline.read().replace("\0", " ").split())
        if arguments:
            return arguments
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="backslashreplace") as comm:
            return comm.read().rstrip("\n") or None
    except OSError:
        return None
