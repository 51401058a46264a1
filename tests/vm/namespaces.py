# SPDX-License-Identifier: MIT
"""IPC and user namespaces: how to enter them, and how many there are, whoever holds them.

A namespace that only kernel code holds is in nobody's /proc. The limit of namespaces that a user may have counts it all
the same until it is freed, on every kernel, to the last one: where a limit of one lets one more be made, none is left.
"""

import ctypes
import os
import time
from pathlib import Path

import pytest
from abi import CLONE_NEWIPC, Child, become, check, libc, written
from pace import SLACK

CLONE_NEWUSER = 0x10000000
PR_SET_DUMPABLE = 4
LIMITS = Path("/proc/sys/user")

NEXT_ID = Path("/proc/sys/kernel/sem_next_id")
needs_same_id = pytest.mark.skipif(not NEXT_ID.exists(), reason="this kernel cannot be told which id comes next")


def unshare(flags=CLONE_NEWIPC):
    check(libc.unshare(flags))


def enter(fd, kind=CLONE_NEWIPC):
    check(libc.setns(fd, kind))


def here():
    """A descriptor of the calling thread's IPC namespace, by which it can come back; it holds the namespace."""
    return os.open("/proc/thread-self/ns/ipc", os.O_RDONLY | os.O_CLOEXEC)


def unshare_user(uid=0, gid=0):
    """To user and IPC namespaces of one's own, in which one is root: what any user may do."""
    outside = os.geteuid(), os.getegid()
    # A process that has given up rights has a /proc of root's until it says that it hides nothing.
    check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
    unshare(CLONE_NEWUSER | CLONE_NEWIPC)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outside[0]} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outside[1]} 1")


def same_id(semid):
    """Let the next semget() of this namespace make a set with that id. Forgotten after it."""
    NEXT_ID.write_text(str(semid))


def limit(number, kind="ipc"):
    """Each user may have so many namespaces, within the context."""
    return written(LIMITS / f"max_{kind}_namespaces", number)


def none_left(uid=0, kind="ipc"):
    """Whether no namespace of a user's making is left, but for those that the machine started with."""

    def attempt():
        if uid:
            become(uid)
        flags = CLONE_NEWIPC if not uid else CLONE_NEWIPC | CLONE_NEWUSER
        Child.tell("made" if libc.unshare(flags) == 0 else os.strerror(ctypes.get_errno()))

    with limit(1, kind):
        child = Child(attempt)
        told = child.told()
        child.wait()
    assert told in ("made", "No space left on device"), told
    return told == "made"


def gone_after(end, uid=0, kind="ipc"):
    """Call `end`, then wait until no namespace is left: the seconds that took, which are for soonest() to judge."""
    began = time.monotonic()
    end()
    while not none_left(uid, kind):
        assert time.monotonic() < began + SLACK, f"an {kind} namespace is still there"
        time.sleep(0.02)
    return time.monotonic() - began
