# SPDX-License-Identifier: MIT
"""Processes and threads, in words and for programs."""

from __future__ import annotations

import contextlib
import os
import pwd
from typing import Any, Final

from semshare._native import is_dead
from semshare.cli.sets import Holder
from semshare.owner import KINDS, Owner, command_of
from semshare.waits import Thread

COMMAND_WIDTH: Final = 60

# Of /proc/PID/stat, those that say why somebody does not go on.
_STATES: Final = {
    "T": "stopped, kill -CONT {pid} lets it go on",
    "t": "stopped by a debugger",
    "D": "in uninterruptible sleep",
    "Z": "ended",
    "X": "ended",
}


def of(thread: Thread) -> str:
    """A process, or thread of one, with its command."""
    what = f"process {thread.pid}"
    if thread.tid not in (0, thread.pid):
        what = f"thread {thread.tid} of {what}"
    if is_dead(thread.pid):
        return f"{what}, which is dead"
    facts = [_cut(command_of(thread.pid) or ""), _STATES.get(_state_of(thread), "").format(pid=thread.pid)]
    text = ", ".join(each for each in facts if each)
    return f"{what} ({text})" if text else what


def of_holder(holder: Holder) -> str:
    """Who has something, as far as that can be told."""
    if not holder.pid:
        return "kernel code" if holder.kind == "kernel" else "kernel code, or a process of another pid namespace"
    if holder.kind != "process":
        return f"{holder.kind} {holder.pid}"
    return of(Thread(holder.pid, holder.tid))


def of_owner(owner: Owner) -> str:
    """Who stands in the words of a lock."""
    what = f"{KINDS.get(owner.kind, 'owner')} {owner.pid}"
    return f"thread {owner.tid} of {what}" if owner.tid not in (0, owner.pid) else what


def details(thread: Thread) -> dict[str, Any]:
    """A thread, for programs; tid is null if it is not known which of the process."""
    return {"pid": thread.pid, "tid": thread.tid or None, "command": command_of(thread.pid)}


def details_of_holder(holder: Holder) -> dict[str, Any]:
    return {
        "pid": holder.pid,
        "tid": holder.tid or None,
        "kind": holder.kind,
        "alive": holder.alive,
        "command": command_of(holder.pid) if holder.pid and holder.alive is not False else None,
    }


def attached_to(shmid: int | None) -> list[Thread]:
    """Processes that have a SysV segment attached, as far as this user may see it; of none their thread 0."""
    if shmid is None or shmid < 0:
        return []
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/ipc") == os.readlink("/proc/self/ns/ipc"):
                with open(f"/proc/{entry}/maps", encoding="utf-8", errors="replace") as maps:
                    # 7f0000000000-7f0000001000 rw-s 00000000 00:01 4711    /SYSV0badcafe (deleted)
                    if any("/SYSV" in line and line.split()[4] == str(shmid) for line in maps):
                        found.append(Thread(int(entry), 0))
    return sorted(found)


def user(uid: int) -> str:
    """A user's name, or number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _cut(command: str) -> str:
    return command if len(command) <= COMMAND_WIDTH else command[: COMMAND_WIDTH - 1] + "…"


def _state_of(thread: Thread) -> str:
    """The letter of its state; empty if that cannot be seen."""
    try:
        path = f"/proc/{thread.pid}/task/{thread.tid or thread.pid}/stat"
        with open(path, encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
