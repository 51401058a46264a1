# SPDX-License-Identifier: MIT
"""The module's entry points to SysV semaphores, compared with the system calls, from every context there is."""

import ctypes
import errno
import fcntl
import os
import pathlib
import signal
import struct
import threading
import time

import kernel
import pytest
from kernel import (
    CLONE_NEWIPC,
    GETALL,
    GETNCNT,
    GETPID,
    GETVAL,
    GETZCNT,
    IPC_64,
    IPC_CREAT,
    IPC_EXCL,
    IPC_INFO,
    IPC_NOWAIT,
    IPC_PRIVATE,
    IPC_RMID,
    IPC_SET,
    IPC_STAT,
    SEM_INFO,
    SEM_STAT,
    SEM_STAT_ANY,
    SEM_UNDO,
    SETALL,
    SETVAL,
    EntryPoints,
    Semid64Ds,
    Seminfo,
    libc,
    name_of,
    shorts,
)
from pace import SLACK, soonest

pytestmark = pytest.mark.usefixtures("no_sets_left")
system = kernel.SystemCalls()
NOBODY = 65534
CONTEXTS = {
    "process": kernel.PROCESS,
    "kthread": kernel.KTHREAD,
    "kthread-with-a-user's-memory": kernel.KTHREAD_MM,
    "workqueue": kernel.WORKQUEUE,
}
NO_SLEEP = {
    "softirq": kernel.SOFTIRQ,
    "preemption-off": kernel.PREEMPT_OFF,
    "interrupts-off": kernel.IRQS_OFF,
    "rcu-reader": kernel.RCU_READER,
}


@pytest.fixture(scope="module")
def _module():
    assert kernel.load("semshare_test") == 0
    yield
    assert kernel.unload("semshare_test") == 0


@pytest.fixture
def device(_module):
    device = kernel.Device()
    yield device
    device.close()


@pytest.fixture(params=CONTEXTS)
def caller(request, device):
    return EntryPoints(device, CONTEXTS[request.param])


@pytest.fixture
def process(device):
    return EntryPoints(device, kernel.PROCESS)


@pytest.fixture
def kthread(device):
    return EntryPoints(device, kernel.KTHREAD)


def new_set(nsems=1, values=None, mode=0o600):
    semid = system.semget(IPC_PRIVATE, nsems, IPC_CREAT | mode)
    assert semid >= 0, name_of(semid)
    if values is not None:
        assert system.setall(semid, values) == 0
    return semid


def waiters(semid, number=0, command=GETNCNT):
    return system.semctl(semid, number, command)


def stat(caller, semid, command=IPC_STAT):
    """The result and, if there is one, what the structure says but for the moment's times."""
    ds = Semid64Ds()
    result = caller.semctl(semid, 0, command, ds)
    perm = ds.perm
    return result, {
        "owner": (perm.uid, perm.gid, perm.cuid, perm.cgid),
        "mode": perm.mode,
        "key": perm.key,
        "nsems": ds.nsems,
        "operated": ds.otime != 0,
        "changed": ds.ctime != 0,
    }


# ------------------------------------------------------------ the same answers


def ordinary_life(caller, key):
    """All a set goes through: every command, and operations of all kinds. A list of what each answered."""
    answers = []

    def note(what, result):
        answers.append((what, result))
        return result

    semid = caller.semget(key, 3, IPC_CREAT | IPC_EXCL | 0o640)
    note("made", semid >= 0)
    note("again, exclusively", caller.semget(key, 3, IPC_CREAT | IPC_EXCL | 0o640))
    note("opened", caller.semget(key, 0, 0) == semid)
    note("opened as a larger one", caller.semget(key, 4, 0))
    note("at first", (stat(caller, semid), caller.getall(semid, 3)))
    note("SETVAL", caller.semctl(semid, 1, SETVAL, 7))
    note("GETVAL", [caller.semctl(semid, number, GETVAL) for number in range(3)])
    note("SETALL", caller.setall(semid, [1, 2, 32767]))
    note("GETALL", caller.getall(semid, 3))
    note("P", caller.semop(semid, [(0, -1)]))
    note("P that waits", caller.semop(semid, [(0, -1, IPC_NOWAIT)]))
    note("Z", caller.semop(semid, [(0, 0)]))
    note("Z that waits", caller.semop(semid, [(1, 0, IPC_NOWAIT)]))
    note("several", caller.semop(semid, [(0, 5), (1, -2), (1, 0), (1, 3)]))
    note("several of which one cannot be done", caller.semop(semid, [(0, -1), (1, -9, IPC_NOWAIT)]))
    note("too high", caller.semop(semid, [(0, -1), (2, 1)]))
    note("after them", caller.getall(semid, 3))
    note("timed", caller.semtimedop(semid, [(0, -1)], 1))
    note("timed out", caller.semtimedop(semid, [(1, -9)], 0, 1000))
    note("waiters", [caller.semctl(semid, 0, command) for command in (GETNCNT, GETZCNT)])
    note("afterwards", stat(caller, semid))

    ds = Semid64Ds()
    ds.perm.uid, ds.perm.gid, ds.perm.mode = 0, NOBODY, 0o4666
    note("IPC_SET", caller.semctl(semid, 0, IPC_SET, ds))
    note("set", stat(caller, semid))
    index = semid % 32768
    note("SEM_STAT", (stat(caller, index, SEM_STAT)[0] == semid, stat(caller, index, SEM_STAT)[1]))
    note("SEM_STAT_ANY", (stat(caller, index, SEM_STAT_ANY)[0] == semid, stat(caller, index, SEM_STAT_ANY)[1]))
    for name, command in ("IPC_INFO", IPC_INFO), ("SEM_INFO", SEM_INFO):
        info = Seminfo()
        highest = max(each % 32768 for each in kernel.sets())
        note(name, (caller.semctl(0, 0, command, info) == highest, info.all()))
    note("IPC_RMID", caller.semctl(semid, 0, IPC_RMID))
    note("of one that is gone", [caller.semctl(semid, 0, command) for command in (GETVAL, IPC_RMID)])
    note("P on one that is gone", caller.semop(semid, [(0, -1)]))
    return answers


def test_a_set_lives_the_same_life(caller):
    assert ordinary_life(caller, 0x5E5A) == ordinary_life(system, 0x5E5A)


BAD_OPERATIONS = {
    "no operations": lambda c, s: c.semop(s, [], 0),
    "501 operations": lambda c, s: c.semop(s, [(0, 1)] * 501),
    "more operations than there is memory": lambda c, s: c.semop(s, [(0, 1)], 0x7FFFFFFF),
    "a negative number of operations": lambda c, s: c.semop(s, [(0, 1)], -1),
    "no memory": lambda c, s: c.semop(s, None, 1),
    "no operations in no memory": lambda c, s: c.semop(s, None, 0),
    "501 operations in no memory": lambda c, s: c.semop(s, None, 501),
    "a semaphore the set has not": lambda c, s: c.semop(s, [(2, 1)]),
    "semaphore 65535": lambda c, s: c.semop(s, [(65535, 1)]),
    "a negative id": lambda c, s: c.semop(-1, [(0, 1)]),
    "an id of nothing": lambda c, s: c.semop(0x7FFFFFFF, [(0, 1)]),
    "an id of before": lambda c, s: c.semop(s + 32768, [(0, 1)]),
    "higher than 32767": lambda c, s: c.semop(s, [(0, 32767), (0, 1)]),
    "a P of 32768": lambda c, s: c.semop(s, [(0, -32768, IPC_NOWAIT)]),
    "a negative timeout": lambda c, s: c.semtimedop(s, [(0, -1)], -1),
    "too many nanoseconds": lambda c, s: c.semtimedop(s, [(0, -1)], 0, 1_000_000_000),
    "negative nanoseconds": lambda c, s: c.semtimedop(s, [(0, -1)], 0, -1),
    "a timeout too long for any clock": lambda c, s: c.semtimedop(s, [(0, 0)], 2**62),
    "a timeout of nothing": lambda c, s: c.semtimedop(s, [(0, -1)], 0),
    "a bad timeout and too many operations": lambda c, s: c.semtimedop(s, [(0, -1)] * 501, -1),
}


@pytest.mark.parametrize("what", BAD_OPERATIONS)
def test_a_bad_operation_is_refused_with_the_same_errno(caller, what):
    bad = BAD_OPERATIONS[what]
    semid = new_set(2)
    assert name_of(bad(caller, semid)) == name_of(bad(system, semid))
    assert system.getall(semid, 2) == [0, 0]


def test_500_operations_in_one_call_are_done(caller):
    semid = new_set(2)
    assert caller.semop(semid, [(i % 2, 1) for i in range(500)]) == 0
    assert system.getall(semid, 2) == [250, 250]


BAD_COMMANDS = {
    **{
        f"command {command} of {who}": lambda c, s, command=command, semid=semid: c.semctl(
            s if semid is None else semid, 0, command, Semid64Ds() if command in (IPC_STAT, IPC_SET, SEM_STAT) else 0
        )
        for command in (GETVAL, GETPID, GETNCNT, GETZCNT, SETVAL, IPC_STAT, IPC_SET, IPC_RMID, SEM_STAT, 99)
        for who, semid in (("a negative id", -1), ("id -32768", -32768), ("an id of nothing", 0x7FFFFFFF))
    },
    **{
        f"command {command} of semaphore {number}": lambda c, s, command=command, number=number: c.semctl(
            s, number, command, 0
        )
        for command in (GETVAL, GETPID, GETNCNT, GETZCNT, SETVAL)
        for number in (-1, 2, 65536, 0x7FFFFFFF)
    },
    **{
        f"unknown command {command}": lambda c, s, command=command: c.semctl(s, 0, command, 0)
        for command in (4, 10, 21, -1, 0x7FFFFFFF, GETVAL | IPC_64, IPC_STAT | IPC_64, IPC_RMID | IPC_64)
    },
    **{f"SETVAL {value}": lambda c, s, value=value: c.semctl(s, 0, SETVAL, value) for value in (-1, 32768, -(2**31))},
    "SETVAL too high, of a semaphore there is not": lambda c, s: c.semctl(s, 9, SETVAL, 40000),
    "SETALL too high": lambda c, s: c.setall(s, [1, 32768]),
    "SETALL to nothing but ones": lambda c, s: c.setall(s, [65535, 65535]),
    "IPC_STAT to no memory": lambda c, s: c.semctl(s, 0, IPC_STAT),
    "IPC_STAT of nothing to no memory": lambda c, s: c.semctl(0x7FFFFFFF, 0, IPC_STAT),
    "SEM_STAT to no memory": lambda c, s: c.semctl(s % 32768, 0, SEM_STAT),
    "IPC_SET from no memory": lambda c, s: c.semctl(s, 0, IPC_SET),
    "IPC_SET of nothing from no memory": lambda c, s: c.semctl(0x7FFFFFFF, 0, IPC_SET),
    "IPC_INFO to no memory": lambda c, s: c.semctl(0, 0, IPC_INFO),
    "IPC_INFO of a negative id": lambda c, s: c.semctl(-1, 0, IPC_INFO, Seminfo()),
    "GETALL to no memory": lambda c, s: c.semctl(s, 0, GETALL),
    "SETALL from no memory": lambda c, s: c.semctl(s, 0, SETALL),
    "GETALL of nothing": lambda c, s: c.getall(0x7FFFFFFF, 2),
    "SETALL of nothing": lambda c, s: c.setall(0x7FFFFFFF, [1, 1]),
    "GETALL of a negative id": lambda c, s: c.getall(-1, 2),
    "IPC_SET to an owner that is none": lambda c, s: c.semctl(
        s, 0, IPC_SET, Semid64Ds(perm=kernel.Ipc64Perm(uid=0xFFFFFFFF))
    ),
}


@pytest.mark.parametrize("what", BAD_COMMANDS)
def test_a_bad_command_is_refused_with_the_same_errno(process, kthread, what):
    bad = BAD_COMMANDS[what]
    answers = {}
    for caller in system, process, kthread:
        semid = new_set(2)
        answers[caller] = name_of(bad(caller, semid)), system.getall(semid, 2), stat(system, semid)[1]
    assert answers[process] == answers[system]
    assert answers[kthread] == answers[system]


BAD_GETS = {
    "a key nobody has": (0x1234567, 1, 0),
    "no semaphores": (0x1234567, 0, IPC_CREAT | 0o600),
    "a negative number of semaphores": (0x1234567, -1, IPC_CREAT | 0o600),
    "more semaphores than semmsl": (0x1234567, 32001, IPC_CREAT | 0o600),
    "a private set without any": (IPC_PRIVATE, 0, IPC_CREAT | 0o600),
    "a key nobody has, exclusively": (0x1234567, 1, IPC_EXCL),
}


@pytest.mark.parametrize("what", BAD_GETS)
def test_a_bad_semget_is_refused_with_the_same_errno(caller, what):
    assert name_of(caller.semget(*BAD_GETS[what])) == name_of(system.semget(*BAD_GETS[what]))


def test_a_full_namespace_answers_enospc(process, kthread):
    limits = pathlib.Path("/proc/sys/kernel/sem")
    before = limits.read_text()
    try:
        new_set()
        limits.write_text("32000 1024000000 500 1\n")
        for caller in system, process, kthread:
            assert name_of(caller.semget(IPC_PRIVATE, 1, 0o600)) == "-ENOSPC"
        info = Seminfo()
        assert kthread.semctl(0, 0, IPC_INFO, info) >= 0
        assert info.semmni == 1
    finally:
        limits.write_text(before)


def test_null_in_place_of_a_namespace_is_refused(device):
    caller = EntryPoints(device, kernel.PROCESS, kernel.NS_NULL)
    semid = new_set()
    assert name_of(caller.semget(1, 1, 0)) == "-EINVAL"
    assert name_of(caller.semop(semid, [(0, 1)])) == "-EINVAL"
    assert name_of(caller.semctl(semid, 0, GETVAL)) == "-EINVAL"


# ------------------------------------------------------- who did it, who waits


def test_the_set_remembers_who_changed_it(caller):
    semid = new_set(2)
    for change in (
        lambda: caller.semop(semid, [(0, 1)]),
        lambda: caller.semctl(semid, 0, SETVAL, 3),
        lambda: caller.setall(semid, [4, 5]),
    ):
        system.semop(semid, [(0, 1)])
        assert system.semctl(semid, 0, GETPID) == os.getpid()
        assert change() == 0
        assert system.semctl(semid, 0, GETPID) == caller.pid
        assert caller.semctl(semid, 0, GETPID) in (caller.pid, system.semctl(semid, 0, GETPID))


def test_waiters_of_all_kinds_are_counted_by_all(device, caller):
    semid = new_set(2, [0, 1])
    with kernel.child(lambda: system.semop(semid, [(0, -1)])), kernel.child(lambda: system.semop(semid, [(1, 0)])):
        device.sleep(semid, 0, threads=3)
        assert kernel.eventually(lambda: waiters(semid) == 4 and waiters(semid, 1, GETZCNT) == 1)
        assert caller.semctl(semid, 0, GETNCNT) == 4
        assert caller.semctl(semid, 0, GETZCNT) == 0
        assert caller.semctl(semid, 1, GETZCNT) == 1
        assert device.wake() == (0, -errno.EINTR)
        assert caller.semctl(semid, 0, GETNCNT) == 1


def test_a_v_of_any_kind_wakes_a_p_of_any_kind(device, caller):
    semid = new_set()
    with kernel.child(lambda: system.semop(semid, [(0, -1)])) as pid:
        assert kernel.eventually(lambda: waiters(semid) == 1)
        assert caller.semop(semid, [(0, 1)]) == 0
        assert kernel.eventually(lambda: pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
    device.sleep(semid, 0, threads=1)
    assert kernel.eventually(lambda: waiters(semid) == 1)
    assert caller.semop(semid, [(0, 1)]) == 0
    assert kernel.eventually(lambda: system.semctl(semid, 0, GETPID) not in (0, caller.pid))
    assert device.wake() == (1, 0)
    assert system.semctl(semid, 0, GETVAL) == 0


def test_a_timeout_takes_as_long_as_it_says(caller):
    semid = new_set()
    began = time.monotonic()
    assert name_of(caller.semtimedop(semid, [(0, -1)], 0, 200_000_000)) == "-EAGAIN"
    assert 0.2 <= time.monotonic() - began < 0.2 + SLACK
    assert waiters(semid) == 0


# ------------------------------------------------------------------- rights


def as_nobody(function):
    """Run it in a process without any right: what it answers, as text."""

    def run():
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return function()

    return kernel.in_child(run)


def everything(caller, semid):
    """What each way to look at or change a set answers, those that change least first."""
    return [
        name_of(result)
        for result in (
            caller.semctl(semid, 0, GETVAL),
            caller.semctl(semid, 0, GETPID),
            caller.semctl(semid, 0, GETNCNT),
            caller.semctl(semid, 0, GETZCNT),
            caller.getall(semid, 3),
            stat(caller, semid)[0],
            stat(caller, semid % 32768, SEM_STAT)[0],
            stat(caller, semid % 32768, SEM_STAT_ANY)[0],
            caller.semop(semid, [(0, 0, IPC_NOWAIT)]),
            caller.semop(semid, [(0, -1, IPC_NOWAIT)]),
            caller.semop(semid, [(0, -32768, IPC_NOWAIT)]),
            caller.semctl(semid, 0, SETVAL, 1),
            caller.setall(semid, [1, 1, 1]),
            caller.semctl(semid, 0, IPC_SET, Semid64Ds()),
            caller.semctl(semid, 0, IPC_RMID),
            caller.semget(0x5E5B, 3, 0o600),
            caller.semget(0x5E5B, 3, 0o400),
            caller.semget(0x5E5B, 3, 0o200),
        )
    ]


@pytest.mark.parametrize("mode", [0o600, 0o604, 0o602, 0o606])
def test_a_process_may_what_it_may(process, mode):
    answers = []
    for caller in system, process:
        semid = system.semget(0x5E5B, 3, IPC_CREAT | IPC_EXCL | mode)
        answers.append(
            as_nobody(lambda caller=caller, semid=semid: everything(caller, semid)).replace(str(semid), "ID")
        )
        assert system.semctl(semid, 0, IPC_RMID) == 0
    assert answers[0] == answers[1]
    assert ("EACCES" in answers[0]) == (mode != 0o606)
    assert "EPERM" in answers[0]


def test_setall_needs_no_right_to_read(process):
    semid = new_set(300, mode=0o602)
    assert as_nobody(lambda: process.setall(semid, [3] * 300)) == "0"
    assert as_nobody(lambda: name_of(process.getall(semid, 300))) == "-EACCES"
    assert system.getall(semid, 300) == [3] * 300


def test_a_kernel_thread_may_everything_even_for_nobody(device, kthread):
    semid = new_set()
    assert as_nobody(lambda: kthread.semop(semid, [(0, 1)])) == "0"


# --------------------------------------------------------------------- undo


def test_what_a_process_did_with_undo_is_undone_at_its_end(process):
    semid = new_set(1, [5])
    assert (
        kernel.in_child(lambda: (process.semop(semid, [(0, -3, SEM_UNDO)]), system.semctl(semid, 0, GETVAL)))
        == "(0, 2)"
    )
    assert system.semctl(semid, 0, GETVAL) == 5


@pytest.mark.parametrize("context", ["kthread", "kthread-with-a-user's-memory", "workqueue"])
def test_undo_is_refused_where_no_process_would_undo(device, context):
    caller = EntryPoints(device, CONTEXTS[context])
    semid = new_set(2, [1, 1])
    assert name_of(caller.semop(semid, [(0, -1, SEM_UNDO)])) == "-EOPNOTSUPP"
    assert name_of(caller.semop(semid, [(0, -1), (1, 1), (1, -1, SEM_UNDO | IPC_NOWAIT)])) == "-EOPNOTSUPP"
    assert name_of(caller.semtimedop(semid, [(0, -1, SEM_UNDO)], 1)) == "-EOPNOTSUPP"
    assert system.getall(semid, 2) == [1, 1]


# --------------------------------------------------------- where nobody may sleep


@pytest.mark.parametrize("context", NO_SLEEP)
def test_every_entry_point_refuses_where_sleeping_is_not_allowed(device, context):
    caller = EntryPoints(device, NO_SLEEP[context])
    semid = new_set(2)
    with kernel.KernelLog() as log:
        assert [
            name_of(result)
            for result in (
                caller.semget(IPC_PRIVATE, 1, 0o600),
                caller.semop(semid, [(0, 1)]),
                caller.semop(semid, [(0, -1, IPC_NOWAIT)]),
                caller.semtimedop(semid, [(0, -1)], 0),
                caller.semctl(semid, 0, GETVAL),
                caller.semctl(semid, 0, SETVAL, 1),
                caller.getall(semid, 2),
                caller.setall(semid, [1, 1]),
                caller.values(semid, GETALL, shorts([0, 0])),
                caller.semctl(semid, 0, IPC_RMID),
            )
        ] == ["-EOPNOTSUPP"] * 10
        told = [line for line in log.read() if "sleeping is not allowed" in line]
    # Once since the module was loaded, and it names the caller.
    assert len(told) <= 1
    assert all("run" in line and "semshare_test" in line for line in told), told
    assert system.getall(semid, 2) == [0, 0]


# ------------------------------------------------------------- GETALL and SETALL

SIZES = [1, 2, 250, 256, 257, 300, 2047, 2048, 32000]


@pytest.mark.parametrize("nsems", SIZES)
def test_all_values_go_both_ways(caller, nsems):
    semid = new_set(nsems)
    values = [(7919 * i) % 32768 for i in range(nsems)]
    assert caller.setall(semid, values) == 0
    assert system.getall(semid, nsems) == values
    assert caller.getall(semid, nsems) == values
    assert caller.values(semid, SETALL, shorts(values[::-1])) == 0
    read = shorts([0] * nsems)
    assert caller.values(semid, GETALL, read) == 0
    assert list(read) == values[::-1]


def test_a_set_larger_than_any_before_is_read_and_written(caller):
    limits = pathlib.Path("/proc/sys/kernel/sem")
    before = limits.read_text()
    try:
        limits.write_text("100000 1024000000 500 32000\n")
        semid = new_set(100000)
        values = [i % 32768 for i in range(100000)]
        assert caller.setall(semid, values) == 0
        assert caller.getall(semid, 100000) == values
        assert system.getall(semid, 100000) == values
    finally:
        limits.write_text(before)


def until(condition, seconds=20):
    """Turns for a moment, and for longer on a busy machine until the condition has come true."""
    began = time.monotonic()
    while time.monotonic() < began + 0.25 or (not condition() and time.monotonic() < began + seconds):
        yield


@pytest.mark.parametrize("nsems", [2, 250, 300, 32000])
def test_getall_never_sees_half_an_operation(caller, nsems):
    """A process moves a unit between the first and the last semaphore: their sum is 1 at any time."""
    semid = new_set(nsems, [1] + [0] * (nsems - 1))

    def move():
        while True:
            system.semop(semid, [(0, -1), (nsems - 1, 1)])
            system.semop(semid, [(nsems - 1, -1), (0, 1)])

    seen = set()
    with kernel.child(move):
        for _ in until(lambda: seen == {0, 1}):
            values = caller.getall(semid, nsems)
            assert isinstance(values, list), name_of(values)
            assert sum(values) == 1
            seen.add(values[0])
    assert seen == {0, 1}, "the other process never got to move: nothing was tested"


@pytest.mark.parametrize("nsems", [2, 250, 300, 32000])
def test_setall_is_never_seen_half_done(caller, nsems):
    semid = new_set(nsems, [1] * nsems)

    def change():
        while True:
            caller.setall(semid, [1] * nsems)
            caller.setall(semid, [2] * nsems)

    seen = set()
    with kernel.child(change):
        for _ in until(lambda: seen == {1, 2}):
            values = set(system.getall(semid, nsems))
            assert len(values) == 1
            seen.update(values)
    assert seen == {1, 2}, "the other process never got to change anything: nothing was tested"


def test_setall_lets_those_go_on_who_waited_for_it(device, caller):
    semid = new_set(2)
    device.sleep(semid, 1, threads=2)
    assert kernel.eventually(lambda: waiters(semid, 1) == 2)
    assert caller.setall(semid, [0, 2]) == 0
    assert kernel.eventually(lambda: system.semctl(semid, 1, GETVAL) == 0)
    assert kernel.eventually(lambda: waiters(semid, 1) == 0)
    assert device.wake() == (2, 0)


def test_setall_forgets_what_was_to_be_undone(caller):
    semid = new_set(1, [1])

    def take_and_be_overruled():
        system.semop(semid, [(0, -1, SEM_UNDO)])
        return caller.setall(semid, [9])

    assert kernel.in_child(take_and_be_overruled) == "0"
    assert system.semctl(semid, 0, GETVAL) == 9


def test_the_number_of_values_must_be_right(caller):
    semid = new_set(10, list(range(10)))
    for count in 9, 11, 0x8000:
        assert name_of(caller.values(semid, GETALL, shorts([0] * count))) == "-EINVAL"
        assert name_of(caller.values(semid, SETALL, shorts([0] * count))) == "-EINVAL"
    assert name_of(caller.values(semid, GETVAL, shorts([0] * 10))) == "-EINVAL"
    assert system.getall(semid, 10) == list(range(10))


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_set_that_becomes_another_one_with_the_same_id_is_not_taken_for_itself(device, context):
    """The kernel caller's ten values stay ten, and its own, however often a stranger's set takes its set's id."""
    next_id = pathlib.Path("/proc/sys/kernel/sem_next_id")
    if not next_id.exists():
        pytest.skip("this kernel cannot be told which id comes next")
    caller = EntryPoints(device, CONTEXTS[context])
    semid = new_set(10, [0] * 10)
    stop = threading.Event()

    def replace():
        while not stop.is_set():
            for nsems in 5000, 10, 4, 10, 32000, 10:
                system.semctl(semid, 0, IPC_RMID)
                next_id.write_text(str(semid))
                new = system.semget(IPC_PRIVATE, nsems, 0o600)
                if new != semid:
                    system.semctl(new, 0, IPC_RMID)

    # Others who read much keep the caller waiting between its look at the set's size and its turn.
    large = new_set(32000)
    slow = EntryPoints(device, kernel.KTHREAD)

    def read_much():
        values = shorts([0] * 32000)
        while True:
            slow.semctl(large, 0, GETALL, values)

    thread = threading.Thread(target=replace)
    answers = set()
    with kernel.child(read_much), kernel.child(read_much):
        thread.start()
        try:
            for _ in until(lambda: {0, -errno.EIDRM} <= answers, 10):
                values = shorts([9] * 10)
                result = caller.values(semid, GETALL, values)
                assert list(values) == ([9] * 10 if result else [0] * 10)
                answers.add(result)
                assert name_of(caller.values(semid, SETALL, shorts([0] * 10))) in ("0", "-EINVAL", "-EIDRM")
        finally:
            stop.set()
            thread.join()
    # Which of them came depends on how busy the machine is.
    assert answers <= {0, -errno.EINVAL, -errno.EIDRM}
    assert caller.values(semid, GETALL, shorts([9] * 10)) == 0, "the last one made has ten again"


def test_eight_at_once_do_not_mix_up_their_values(device):
    sets = {new_set(300, [number] * 300): number for number in range(8)}
    wrong = []

    def look(semid, number):
        for context in CONTEXTS.values():
            caller = EntryPoints(device, context)
            for _ in range(15):
                if caller.getall(semid, 300) != [number] * 300 or caller.setall(semid, [number] * 300):
                    wrong.append((context, number))

    threads = [threading.Thread(target=look, args=item) for item in sets.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nothing_stays_mapped_in_the_process(process):
    semid = new_set(32000)
    values = [1] * 32000
    process.setall(semid, values)
    before = [line for line in pathlib.Path("/proc/self/maps").read_text().splitlines() if "[semshare]" in line]
    for _ in range(20):
        assert process.setall(semid, values) == 0
    after = [line for line in pathlib.Path("/proc/self/maps").read_text().splitlines() if "[semshare]" in line]
    assert before == after == []


def test_a_child_forked_in_the_middle_inherits_nothing(process):
    semid = new_set(32000)
    stop = threading.Event()

    def change():
        while not stop.is_set():
            process.setall(semid, [1] * 32000)

    thread = threading.Thread(target=change)
    thread.start()
    inherited = []
    try:
        for _ in range(25):
            pid = os.fork()
            if pid == 0:
                os._exit("[semshare]" in pathlib.Path("/proc/self/maps").read_text())
            inherited.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    finally:
        stop.set()
        thread.join()
    assert not any(inherited)


def test_killing_processes_in_the_middle_leaves_nothing(device):
    """What a kill leaves mapped or referenced would keep the module from being unloaded, or the set from changing."""
    semid = new_set(3000)
    for number in range(60):
        caller = EntryPoints(device, list(CONTEXTS.values())[number % len(CONTEXTS)])

        def work(caller=caller):
            while True:
                caller.setall(semid, [1] * 3000)
                caller.getall(semid, 3000)

        with kernel.child(work):
            time.sleep(0.002 + 0.0007 * number)
    assert system.setall(semid, [0] * 3000) == 0
    for context in CONTEXTS.values():
        assert EntryPoints(device, context).getall(semid, 3000) == [0] * 3000


# --------------------------------------------------------------- ends of a sleep


def test_removal_ends_every_sleep(device, caller):
    semid = new_set()
    device.sleep(semid, 0, threads=5)
    results = []

    def take():
        results.append(caller.semop(semid, [(0, -1)]))

    thread = threading.Thread(target=take)
    thread.start()
    assert kernel.eventually(lambda: waiters(semid) == 6)
    assert system.semctl(semid, 0, IPC_RMID) == 0
    thread.join(10)
    assert results == [-errno.EIDRM]
    assert kernel.eventually(lambda: device.wake()[1] in (0, -errno.EIDRM))


def test_stopping_a_kernel_thread_ends_its_sleep_at_once(device):
    semid = new_set()

    def attempt():
        device.sleep(semid, 0, threads=100)
        assert kernel.eventually(lambda: waiters(semid) == 100)
        began = time.monotonic()
        assert device.wake() == (0, -errno.EINTR)
        took = time.monotonic() - began
        assert waiters(semid) == 0
        return took

    soonest(attempt)
    assert system.semctl(semid, 0, GETVAL) == 0


def test_closing_the_file_stops_its_threads(_module):
    semid = new_set()
    device = kernel.Device()
    device.sleep(semid, 0, threads=3)
    assert kernel.eventually(lambda: waiters(semid) == 3)
    device.close()
    assert waiters(semid) == 0


@pytest.mark.parametrize("context", ["process", "kthread"])
def test_a_signal_ends_a_sleep(device, context):
    caller = EntryPoints(device, CONTEXTS[context])
    semid = new_set()

    def sleep():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        return name_of(caller.semop(semid, [(0, -1)]))

    def interrupt():
        parent = os.getpid()

        def send():
            if kernel.eventually(lambda: waiters(semid) == 1):
                os.kill(parent, signal.SIGUSR1)

        with kernel.child(send):
            return sleep()

    assert kernel.in_child(interrupt) == "-EINTR"
    assert waiters(semid) == 0


@pytest.mark.parametrize("context", ["process", "kthread"])
def test_sigkill_ends_a_sleep(device, context):
    caller = EntryPoints(device, CONTEXTS[context])
    semid = new_set()
    with kernel.child(lambda: caller.semop(semid, [(0, -1)])):
        assert kernel.eventually(lambda: waiters(semid) == 1)
    assert waiters(semid) == 0


# ------------------------------------------------------------------- namespaces


def test_a_call_acts_in_the_namespace_it_names(device):
    """The same key is two sets; a caller in either reaches both, by the namespace that it passes."""
    key = 0x5E5C
    outside = system.semget(key, 1, IPC_CREAT | IPC_EXCL | 0o600)
    system.semctl(outside, 0, SETVAL, 11)

    def inside():
        if libc.unshare(CLONE_NEWIPC):
            return "no namespaces here"
        absent = system.semget(key, 1, 0)
        # With the same id in both a wrong namespace answers with a wrong value, not with EINVAL.
        pathlib.Path("/proc/sys/kernel/sem_next_id").write_text(str(outside))
        semid = system.semget(key, 1, IPC_CREAT | 0o600)
        system.semctl(semid, 0, SETVAL, 22)
        answers = [absent == -errno.ENOENT, semid == outside]
        for context in kernel.PROCESS, kernel.KTHREAD, kernel.WORKQUEUE:
            here = EntryPoints(device, context)
            there = EntryPoints(device, context, kernel.NS_OPENED)
            loader = EntryPoints(device, context, kernel.NS_LOADER)
            answers.append([here.semctl(semid, 0, GETVAL), there.semctl(semid, 0, GETVAL)])
            answers.append([here.getall(semid, 1), there.getall(semid, 1), loader.getall(semid, 1)])
            answers.append([here.semop(semid, [(0, 1)]), there.semop(semid, [(0, 2)]), there.setall(semid, [11])])
            answers.append([here.setall(semid, [22])])
        here = EntryPoints(device, kernel.PROCESS)
        there = EntryPoints(device, kernel.PROCESS, kernel.NS_OPENED)
        answers.append(name_of(there.semget(key, 1, 0)))
        answers.append(here.semget(key, 1, 0) >= 0)
        answers.append(name_of(there.semop(semid, [(0, -1, SEM_UNDO)])))
        answers.append(name_of(here.semop(semid, [(0, -1, SEM_UNDO)])))
        # A kernel thread lives in the first namespace.
        answers.append(name_of(EntryPoints(device, kernel.KTHREAD).semget(key, 1, 0)))
        answers.append(EntryPoints(device, kernel.KTHREAD, kernel.NS_OPENED).semget(key, 1, 0) == outside)
        return answers

    expected = [True, True, *[[22, 11], [[22], [11], [11]], [0, 0, 0], [0]] * 3]
    expected += ["-EXDEV", True, "-EXDEV", "0", "-EXDEV", True]
    assert kernel.in_child(inside) == str(expected)
    assert system.semctl(outside, 0, GETVAL) == 11


def test_undo_follows_the_process_into_its_namespace(process):
    def inside():
        if libc.unshare(CLONE_NEWIPC):
            return "no namespaces here"
        semid = system.semget(IPC_PRIVATE, 1, 0o600)
        system.semctl(semid, 0, SETVAL, 1)
        first = kernel.in_child(lambda: process.semop(semid, [(0, -1, SEM_UNDO)]))
        return first, system.semctl(semid, 0, GETVAL)

    assert kernel.in_child(inside) == "('0', 1)"


def test_a_namespace_lives_as_long_as_a_thread_sleeps_in_it(_module):
    """Its last process is killed with kernel threads asleep in it: the file closes, they stop, it is gone."""
    reader, writer = os.pipe()

    def inside():
        libc.unshare(CLONE_NEWIPC)
        device = kernel.Device()
        semid = system.semget(IPC_PRIVATE, 1, 0o600)
        device.sleep(semid, 0, threads=4)
        kernel.eventually(lambda: waiters(semid) == 4)
        os.write(writer, b"x")
        signal.pause()

    def sleeping():
        return len(kernel.threads("semshare-sleep"))

    with kernel.child(inside):
        os.read(reader, 1)
        assert sleeping() == 4
    assert kernel.eventually(lambda: sleeping() == 0, 1)
    os.close(reader)
    os.close(writer)


def test_namespaces_are_not_leaked(_module):
    """With room for a few, many can be made one after the other, used in every context, and left by a kill."""
    limit = pathlib.Path("/proc/sys/user/max_ipc_namespaces")
    before = limit.read_text()
    reader, writer = os.pipe()

    def inside():
        if not kernel.eventually(lambda: libc.unshare(CLONE_NEWIPC) == 0, 5):
            os.write(writer, b"!")
            return
        device = kernel.Device()
        semid = system.semget(IPC_PRIVATE, 300, 0o600)
        for context in CONTEXTS.values():
            caller = EntryPoints(device, context)
            caller.setall(semid, [0] * 300)
            caller.getall(semid, 300)
            caller.semctl(semid, 0, IPC_INFO, Seminfo())
            caller.semtimedop(semid, [(0, -1)], 0, 1000)
        device.sleep(semid, 0, threads=2)
        os.write(writer, b"x")
        signal.pause()

    try:
        limit.write_text("4\n")
        for _ in range(12):
            with kernel.child(inside):
                assert os.read(reader, 1) == b"x", "no more namespaces: those of before are still there"
    finally:
        limit.write_text(before)
        os.close(reader)
        os.close(writer)


# ----------------------------------------------------------- loading and unloading


def test_the_module_stays_while_it_is_used(_module):
    device = kernel.Device()
    try:
        assert name_of(kernel.unload("semshare_test")) == "-EAGAIN"
        assert name_of(kernel.unload("semshare")) == "-EAGAIN"
    finally:
        device.close()


def test_unloading_stops_kernel_threads_that_sleep_in_a_semaphore_within_a_second():
    semid = new_set()

    def attempt():
        assert kernel.load("semshare") == 0
        assert kernel.load("semshare_test", f"sleeper_semid={semid} sleeper_threads=64") == 0
        assert kernel.eventually(lambda: waiters(semid) == 64)
        began = time.monotonic()
        assert kernel.unload("semshare_test") == 0
        assert kernel.unload("semshare") == 0
        took = time.monotonic() - began
        assert waiters(semid) == 0
        return took

    with kernel.everything_unloaded():
        soonest(attempt)


def test_loading_and_unloading_again_and_again_leaves_nothing():
    semid = new_set(300)
    with kernel.everything_unloaded():
        for _ in range(5):
            assert kernel.load("semshare") == 0
            assert kernel.load("semshare_test") == 0
            device = kernel.Device()
            for context in CONTEXTS.values():
                assert EntryPoints(device, context).setall(semid, [1] * 300) == 0
                assert EntryPoints(device, context).getall(semid, 300) == [1] * 300
            device.close()
            assert kernel.unload("semshare_test") == 0
            assert kernel.unload("semshare") == 0


@pytest.mark.parametrize("function", ["__do_semtimedop", "ksys_semget", "put_ipc_ns"])
def test_a_kernel_without_what_everything_needs_is_refused_in_words(function):
    with kernel.everything_unloaded(), kernel.KernelLog() as log:
        assert name_of(kernel.load("semshare", f"hide={function}")) == "-EOPNOTSUPP"
        text = "\n".join(log.read())
    assert f"this kernel has no function {function}" in text
    assert "CONFIG_SYSVIPC=y" in text
    assert "CONFIG_KPROBES=y" in text


@pytest.mark.parametrize("configuration", ["KPROBES", "SYSVIPC"])
def test_a_kernel_without_a_configuration_is_refused_in_words(configuration):
    with kernel.KernelLog() as log:
        assert name_of(kernel.load(f"semshare_no_{configuration.lower()}")) == "-EOPNOTSUPP"
        told = [line for line in log.read() if "cannot load: " in line]
    assert len(told) == 1
    assert f"CONFIG_{configuration} is not set" in told[0]


def test_the_parameter_hide_knows_what_it_can_hide():
    with kernel.everything_unloaded(), kernel.KernelLog() as log:
        assert name_of(kernel.load("semshare", "hide=semctl_man")) == "-EINVAL"
        assert "semctl_man is none of the functions" in "\n".join(log.read())


OPERATIONS = {
    "IPC_STAT": lambda c, s: stat(c, s)[0],
    "SEM_STAT": lambda c, s: min(stat(c, s % 32768, SEM_STAT)[0], 0),
    "SEM_STAT_ANY": lambda c, s: min(stat(c, s % 32768, SEM_STAT_ANY)[0], 0),
    "IPC_INFO": lambda c, s: min(c.semctl(0, 0, IPC_INFO, Seminfo()), 0),
    "SEM_INFO": lambda c, s: min(c.semctl(0, 0, SEM_INFO, Seminfo()), 0),
    "GETVAL": lambda c, s: c.semctl(s, 0, GETVAL),
    "GETPID": lambda c, s: min(c.semctl(s, 0, GETPID), 0),
    "GETNCNT": lambda c, s: c.semctl(s, 0, GETNCNT),
    "GETZCNT": lambda c, s: c.semctl(s, 0, GETZCNT),
    "GETALL": lambda c, s: c.semctl(s, 0, GETALL, shorts([0, 0])),
    "SETALL": lambda c, s: c.setall(s, [0, 0]),
    "SETVAL": lambda c, s: c.semctl(s, 0, SETVAL, 0),
    "IPC_SET": lambda c, s: c.semctl(s, 0, IPC_SET, Semid64Ds(perm=kernel.Ipc64Perm(mode=0o600))),
    "semop": lambda c, s: c.semop(s, [(0, 0)]),
    "semget": lambda c, s: min(c.semget(0x5E5D, 1, IPC_CREAT | 0o600), 0),
    "IPC_RMID": lambda c, s: c.semctl(s, 0, IPC_RMID),
}

VALUES = {"GETALL", "SETALL"}
STATS = {"IPC_STAT", "SEM_STAT", "SEM_STAT_ANY"}
LACKING = {
    # function: what a process lacks without it, what a kernel thread lacks
    "semctl_setval": ({"SETVAL"},) * 2,
    "semctl_main": ({"GETVAL", "GETPID", "GETNCNT", "GETZCNT"} | VALUES,) * 2,
    "semctl_down": ({"IPC_SET", "IPC_RMID"},) * 2,
    "semctl_stat": (STATS | VALUES,) * 2,
    "security_sem_semctl": ({"IPC_INFO", "SEM_INFO"},) * 2,
    "mm_alloc": ({"GETALL"}, VALUES),
    "arch_pick_mmap_layout": ({"GETALL"}, VALUES),
    # For areas and locks alone: test_memory_python.py, test_kernel_locks.py
    "memfd_fcntl": (set(), set()),
    "do_shmat": (set(), set()),
    "ksys_shmget": (set(), set()),
}


@pytest.mark.parametrize("function", LACKING)
def test_without_a_function_only_what_needs_it_is_not_supported(function):
    if not kernel.has_symbol(function):
        pytest.skip(f"this kernel is configured without {function}: in its headers it is empty")
    with kernel.everything_unloaded():
        assert kernel.load("semshare", f"hide={function}") == 0
        assert kernel.load("semshare_test") == 0
        device = kernel.Device()
        try:
            for context, lacking in zip((kernel.PROCESS, kernel.KTHREAD), LACKING[function]):
                caller = EntryPoints(device, context)
                semid = new_set(2)
                answers = {name: name_of(operate(caller, semid)) for name, operate in OPERATIONS.items()}
                assert answers == {name: "-EOPNOTSUPP" if name in lacking else "0" for name in OPERATIONS}
            found = functions()
            assert [name for name, (is_found, _) in found.items() if not is_found] == [function]
        finally:
            device.close()


def functions():
    """What SEMSHARE_IOC_FUNCTION tells: {name: (found, needed for)}."""
    layout = struct.Struct("=II64s64s")
    number = 0xC0000000 | layout.size << 16 | 0xE5 << 8 | 0x41
    found = {}
    fd = os.open("/dev/semshare", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for index in range(1000):
            buffer = bytearray(layout.pack(index, 0, b"", b""))
            try:
                fcntl.ioctl(fd, number, buffer)
            except OSError as error:
                assert error.errno == errno.ENOENT
                return found
            _, is_found, name, needed = layout.unpack(buffer)
            found[name.rstrip(b"\0").decode()] = bool(is_found), needed.rstrip(b"\0").decode()
    finally:
        os.close(fd)
    raise AssertionError("SEMSHARE_IOC_FUNCTION has no end")


def test_this_kernel_has_every_function():
    found = functions()
    assert found.keys() == {*LACKING, "__do_semtimedop", "ksys_semget", "put_ipc_ns"}
    assert all(is_found and needed for is_found, needed in found.values())


def test_unknown_ioctls_of_the_test_device_are_refused(device):
    assert libc.ioctl(device.fd, ctypes.c_ulong(0xE501), 0) == -1
    assert ctypes.get_errno() == errno.ENOTTY
