# SPDX-License-Identifier: MIT
"""What is known of an area, of whichever kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AreaInfo:
    """An area as it is now."""

    backend: str
    """ "module" or "posix"."""
    name: str
    size: int
    mode: int
    uid: int
    gid: int
    key: int
    """The SysV key of the name."""
    created: float
    """Seconds since 1970."""
    creator_pid: int
    """0 if it cannot be seen from here."""
    semid: int | None
    """The set that is bound to it."""
    owns_set: bool
    """Whether the set goes with the area."""
    handles: int | None = None
    """Open descriptors; None where that is not known. Of an area in POSIX shared memory: descriptions that hold the
    flock, as far as /proc/locks shows them."""
    maps: int | None = None
    """Mappings. Known of the module's areas only."""
    kernel_users: int = 0
    """References held by kernel code."""
    unlinked: bool = False
    """The name is gone, the memory is still used."""
    guarded: bool = False
    """Its start can be written by who made it alone."""
    kind: str = "pages"
    """Where its memory comes from: "pages", "memfd", "sysv", "contiguous" or "reserved"."""
    address: int = 0
    """Where those who use it agree to map it; 0 if they do not."""
    huge_pages: int = 0
    """Pages of 2 MiB in it. Known of the module's areas only."""
    stale: bool = False
    """Nobody uses it, and nobody will remove it: its last user was killed."""
