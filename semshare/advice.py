# SPDX-License-Identifier: MIT
"""What to do next, where that takes a look at the machine: limits that are reached, sets that somebody removed."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from semshare import semaphore_set
from semshare.errors import Error

SYSTEMD = Path("/run/systemd/system")
LINGERING = Path("/var/lib/systemd/linger")
# Of login.defs: from here on a user is a person, of whom systemd-logind knows when they log out.
FIRST_PERSON = 1000


def sets_are_limited(count: int) -> str:
    """Why there cannot be another set of `count` semaphores, by the numbers, and what helps."""
    try:
        most, used = semaphore_set.limits(), semaphore_set.usage()
    except Error:
        return "a limit of /proc/sys/kernel/sem is reached: semshare rm --stale removes what nobody uses"
    per_set, total, sets = most.semaphores_per_set, most.semaphores, most.sets
    if count > per_set:
        why = f"a set has at most {per_set} semaphores (SEMMSL), and this one would have {count}"
        per_set = count
        first = "make several smaller ones"
    elif used.used_sets >= sets:
        why = f"there are {used.used_sets} sets, and {sets} there may be (SEMMNI)"
        sets *= 2
        first = "remove what nobody uses (semshare rm --stale)"
    elif used.used_semaphores + count > total:
        why = f"there are {used.used_semaphores} semaphores in all sets, and {total} there may be (SEMMNS)"
        total = 2 * max(total, count)
        first = "remove what nobody uses (semshare rm --stale)"
    else:
        why = (
            f"{used.used_sets} of {sets} sets (SEMMNI) and {used.used_semaphores} of {total} semaphores (SEMMNS) are "
            "used now: there was no room a moment ago"
        )
        return f"{why}; try again"
    wider = f"{per_set} {total} {most.operations_per_call} {sets}"
    return f"{why}; {first}, or as root raise the limit: sysctl kernel.sem='{wider}'"


def segments_are_limited(size: int) -> str:
    """Why there cannot be a shared memory segment of `size` bytes, by the numbers, and what helps."""
    now = " ".join(f"kernel.{name} = {_sysctl(name)}" for name in ("shmmni", "shmall", "shmmax"))
    return (
        f"no shared memory segment of {size} bytes can be had ({now}: segments, pages of all, bytes of one); remove "
        "what nobody uses (semshare rm --stale), or as root raise the limit"
    )


def _sysctl(name: str) -> str:
    try:
        return Path(f"/proc/sys/kernel/{name}").read_text().strip()
    except OSError:
        return "unknown"


def why_removed() -> str:
    """Who else may have removed a set: systemd-logind removes those of users who log out. Empty if it does not here."""
    user = os.geteuid()
    if user < FIRST_PERSON or not SYSTEMD.exists() or not logind_removes():
        return ""
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        return ""  # logind does not know them either
    if (LINGERING / name).exists():
        return ""
    return (
        "if nobody did that, systemd-logind has: it removes what a user has when they log out (RemoveIPC in "
        f"logind.conf(5)); loginctl enable-linger {name} ends that; "
    )


def logind_removes() -> bool:
    """Whether systemd-logind removes the sets of users who log out (RemoveIPC).

    It does unless it was told otherwise; later files win.
    """
    found = True
    files = [Path("/usr/lib/systemd/logind.conf"), Path("/etc/systemd/logind.conf")]
    for folder in ("/usr/lib", "/usr/local/lib", "/run", "/etc"):
        files += sorted(Path(f"{folder}/systemd/logind.conf.d").glob("*.conf"))
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and key.strip() == "RemoveIPC":
                found = value.strip().lower() in ("yes", "true", "1", "on", "y", "t")
    return found
