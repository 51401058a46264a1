# SPDX-License-Identifier: MIT
"""What a user may have the kernel do: no more with the module than without it."""

from __future__ import annotations

import os
import subprocess

import pytest
from abi import (
    ABI_VERSION,
    BIND_OWN,
    CONTROL,
    COUNTER,
    IPC_CREAT,
    IPC_EXCL,
    IPC_RMID,
    MUTEX,
    PAGE,
    Child,
    Demo,
    Handle,
    Ring,
    errno_of,
    eventually,
    key_of,
    semctl,
    semget,
    semop,
)

CAPACITY = 4096
NOBODY = 65534


def test_a_caller_of_another_abi_version_is_refused():
    with Handle() as handle:
        assert handle.version(abi=ABI_VERSION, features=1)
        assert errno_of(handle.version, abi=ABI_VERSION + 1) == "EPROTO"
        assert errno_of(handle.version, features=1 << 31) == "ENOTSUP"


def as_nobody(function, *arguments, **keywords):
    """The name of the errno with which a call ends in a child without rights."""

    def body():
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        Child.tell(str(errno_of(function, *arguments, **keywords)))

    child = Child(body)
    told = child.told()
    child.wait()
    return told


def test_kernel_threads_do_not_use_a_set_for_who_may_not():
    """An area for everybody, its set for its owner only: no kernel thread takes the lock for somebody else."""
    with Handle().create("open", CONTROL + CAPACITY + PAGE, mode=0o666) as handle, Demo() as demo:
        ring = Ring(handle, CAPACITY)
        try:
            one = {"mode": COUNTER, "count": 1, "offset": CONTROL + CAPACITY}
            assert as_nobody(demo.start, handle.fd, **one) == "EACCES"
            demo.start(handle.fd, **one)
            demo.wait(1)
            assert ring.get64(CONTROL + CAPACITY) == 1
        finally:
            ring.close()


def test_only_the_owner_of_an_area_binds_its_set():
    with Handle().create("unbound", PAGE, mode=0o666) as handle:

        def bind():
            semid = semget(0, 1, IPC_CREAT | 0o600)
            try:
                handle.bind(semid)
            finally:
                semctl(semid, 0, IPC_RMID)

        assert as_nobody(bind) == "EPERM"
        semid = semget(key_of("unbound"), 1, IPC_CREAT | IPC_EXCL | 0o600)
        handle.bind(semid, BIND_OWN)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_holder_that_died_without_undo_is_named_in_the_log(threads):
    with Handle().create("held", CONTROL + CAPACITY + PAGE) as handle, Demo() as demo:
        ring = Ring(handle, CAPACITY)
        holder = Child(lambda: semop(ring.semid, (MUTEX, -1, 0)))
        pid = holder.pid
        holder.wait()
        line = f"area held: process {pid} took its lock without SEM_UNDO and is dead; free it: "
        line += f"semshare unlock --semid {ring.semid}"
        demo.start(handle.fd, COUNTER, threads=threads, count=1, offset=CONTROL + CAPACITY)
        eventually(lambda: line in subprocess.run(["dmesg"], capture_output=True, text=True).stdout, 20)
        semop(ring.semid, (MUTEX, 1, 0))
        assert [status["error"] for status in demo.wait(threads)] == [0] * threads
        assert ring.get64(CONTROL + CAPACITY) == threads
        ring.close()
