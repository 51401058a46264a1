# SPDX-License-Identifier: MIT
"""Every allocation, and every copy from or to user space, of every call fails once: an errno, and nothing lost.

The kernel's fault injection lets the n-th of them fail in one task (Documentation/fault-injection). Each call is made
with n = 1, 2, … until it has succeeded with nothing having failed. In between what can be seen is as it was: areas and
who uses them, sets and their values, open files. What cannot be seen, the end of the run looks for: lost memory by
kmemleak, and references by unloading the modules.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import pathlib
import struct

import abi
import kernel
import pytest
from abi import BIND, BIND_OWN, CREATE, INFO, NAME, PAGE, READ, WRITE, Handle
from kernel import (
    GETALL,
    GETNCNT,
    GETPID,
    GETVAL,
    GETZCNT,
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
from semshare._abi import ffi, lib

FAIL_NTH = pathlib.Path("/proc/thread-self/fail-nth")
DEBUG = pathlib.Path("/sys/kernel/debug")
#: Of each kind of failure: by default it spares what may wait for memory, which is nearly all of it, and tells a page
#: of stack trace for each.
SETTINGS = {
    "failslab": {"ignore-gfp-wait": "N", "verbose": "0"},
    "fail_page_alloc": {"ignore-gfp-wait": "N", "ignore-gfp-highmem": "N", "min-order": "0", "verbose": "0"},
    "fail_usercopy": {"verbose": "0"},
}
LIMIT = 5000  # more than any call does
MODULES = (
    "semshare_test",
    "semshare_ring_test",
    "semshare_lock_test",
    "semshare_demo",
    "semshare_exec",
    "semshare_channel_test",
    "semshare_parameters_test",
)
ERRNOS = {errno.ENOMEM, errno.EFAULT}

system = kernel.SystemCalls()

pytestmark = pytest.mark.skipif(not FAIL_NTH.exists(), reason="this kernel injects no faults (the kernel debug does)")


@pytest.fixture(autouse=True, scope="module")
def injection():
    """All allocations can fail, and do it quietly."""
    before = {DEBUG / kind / name: value for kind, values in SETTINGS.items() for name, value in values.items()}
    before = {path: (path.read_text(), value) for path, value in before.items()}
    for path, (_, value) in before.items():
        path.write_text(value)
    yield
    for path, (value, _) in before.items():
        path.write_text(value)


@pytest.fixture(autouse=True, scope="module")
def _modules():
    """All of them, and in the end those that were there before: that they can be unloaded is a part of the test."""
    before = kernel.loaded()
    for name in MODULES:
        if name not in before:
            assert kernel.load(name) == 0
    yield
    for name in kernel.loaded():
        if name not in before:
            assert kernel.unload(name) == 0


@pytest.fixture(autouse=True)
def nothing_left(_modules):
    """Whatever a test leaves behind it must not."""
    before = snapshot()
    yield
    assert snapshot() == before


def snapshot(*semids):
    """What can be seen from outside: areas with the numbers of their users, sets, values of these sets, what this
    process has open and mapped, and how many use the module.
    """
    with Handle() as handle:
        # Those of modules that were loaded again differ in this.
        again = {"created_ns": 0, "creator_pid": 0, "id": 0}
        areas = [{**area, **again, "semid": min(area["semid"], 0)} for area in handle.list()]
    lines = pathlib.Path("/proc/sysvipc/sem").read_text().splitlines()[1:]
    sets = [[line.split()[0], *line.split()[2:8]] for line in lines]
    values = [system.getall(semid, 20 if semid < 0 else size_of(semid)) for semid in semids]
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    mapped = [line for line in lines if any(what in line for what in ("semshare", "memfd:", "SYSV"))]
    users = pathlib.Path("/sys/module/semshare/refcnt").read_text()
    return areas, sets, values, len(os.listdir("/proc/self/fd")), mapped, users


def size_of(semid):
    ds = Semid64Ds()
    assert system.semctl(semid, 0, IPC_STAT, ds) == 0
    return ds.nsems


class FailNth:
    """The calling thread's /proc/thread-self/fail-nth."""

    def __init__(self):
        self.fd = os.open(FAIL_NTH, os.O_RDWR | os.O_CLOEXEC)
        self.word = ctypes.create_string_buffer(16)

    def close(self):
        os.close(self.fd)

    def left(self):
        """What is still to succeed; 0 after a failure, and none that can be told if this is where it failed."""
        size = libc.pread(self.fd, self.word, 16, 0)
        return int(self.word.raw[:size]) if size > 0 else None

    def call(self, nth, function, *arguments):
        """Call a C function with its n-th allocation failing: its value or minus its errno, and whether one failed.

        Between the arming and the call there is as little as there can be in Python.
        """
        text = str(nth).encode()
        assert libc.pwrite(self.fd, text, len(text), 0) == len(text)
        result = function(*arguments)
        number = ctypes.get_errno()
        # If this is what fails, it was not the call.
        failed = self.left() == 0
        libc.pwrite(self.fd, b"0", 1, 0)
        return (-number if result in (-1, abi.MAP_FAILED) else result), failed


@pytest.fixture
def fail_nth():
    fail_nth = FailNth()
    yield fail_nth
    fail_nth.close()


def every_failure(attempt, unchanged, undo=lambda result: None, errnos=frozenset()):
    """Make the attempt with each n; how often something failed.

    Where an allocation is one that the call can do without, it succeeds all the same: then, and in the end, its work is
    undone and the next n comes.
    """
    before = unchanged()
    for nth in range(1, LIMIT):
        result, failed = attempt(nth)
        if result < 0:
            assert failed, f"{name_of(result)} without a failure, n = {nth}"
            assert -result in ERRNOS | errnos, f"{name_of(result)}, n = {nth}"
        else:
            undo(result)
        assert unchanged() == before, f"n = {nth}, {name_of(result)}"
        if not failed:
            return nth - 1
    raise AssertionError(f"still failing after {LIMIT} allocations")


def ioctl(fd, command, buffer):
    """For FailNth.call()."""
    return libc.ioctl, fd, ctypes.c_ulong(command), ctypes.byref(buffer)


def raw(data):
    return ctypes.create_string_buffer(data, len(data))


# /dev/semshare


@pytest.mark.parametrize("device", ["semshare", "semshare-route", "semshare-demo"])
def test_open(fail_nth, device):
    path = f"/dev/{device}".encode()
    failures = every_failure(
        lambda nth: fail_nth.call(nth, libc.open, path, os.O_RDWR | os.O_CLOEXEC), snapshot, os.close, {errno.ENFILE}
    )
    assert failures > (2 if device == "semshare" else 1)


def test_questions(fail_nth):
    with Handle() as handle:
        handle.create("fail-nth", PAGE)
        for command, size in (
            (abi.IOC_VERSION, abi.VERSION.size),
            (abi.IOC_FUNCTION, abi.FUNCTION.size),
            (abi.IOC_INFO, INFO.size),
            (abi.IOC_LIST, INFO.size),
        ):
            failures = every_failure(
                lambda nth, command=command, size=size: fail_nth.call(
                    nth, *ioctl(handle.fd, command, raw(bytes(size)))
                ),
                snapshot,
            )
            assert failures > 0
        handle.unlink("fail-nth")


@pytest.mark.parametrize("pages", [1, 3, 1100])
def test_create(fail_nth, pages):
    """A handle has one area for good, so each attempt has one of its own."""

    def attempt(nth):
        with Handle() as handle:
            create = raw(CREATE.pack(b"fail-nth", pages * PAGE, 0o600, 0))
            result, failed = fail_nth.call(nth, *ioctl(handle.fd, abi.IOC_CREATE, create))
            if result < 0:
                assert abi.errno_of(handle.info) == "EBADFD"
                assert "fail-nth" not in handle.names()
            else:
                assert handle.info()["size"] == pages * PAGE
                handle.unlink("fail-nth")
        return result, failed

    if pages < 1000:
        assert every_failure(attempt, snapshot) > pages + 3
        return
    # The many pages are alike: the first, some, the last, and what comes after.
    before = snapshot()
    total = next(nth for nth in range(pages, LIMIT) if attempt(nth) == (0, False)) - 1
    for nth in [*range(1, 12), *range(12, total - 12, 97), *range(max(12, total - 12), total + 1)]:
        result, failed = attempt(nth)
        # Slabs need a new page now and then: at the end there may be fewer than were counted.
        assert -result in (ERRNOS | {0} if failed else {0}), f"n = {nth} of {total}"
        assert failed or nth > total - 12, f"n = {nth} of {total}"
        assert snapshot() == before


@pytest.mark.parametrize("kind", ["huge", "contiguous", "memfd", "sysv"])
def test_make(fail_nth, kind):
    """Of other memory; of huge pages it does without those that cannot be had."""
    pages = 5 if kind != "huge" else 513
    made_of_nothing = {"huge": (abi.PAGES, abi.HUGE, 0), "contiguous": (abi.CONTIGUOUS, 0, 0)}
    number, flags, source = made_of_nothing.get(kind, (0, 0, 0))
    close = contextlib.ExitStack()
    if kind == "memfd":
        number, source = abi.MEMFD, os.memfd_create("fail-nth", os.MFD_ALLOW_SEALING)
        close.callback(os.close, source)
        os.ftruncate(source, pages * PAGE)
        fcntl.fcntl(source, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    elif kind == "sysv":
        number, source = abi.SYSV, abi.check(libc.shmget(IPC_PRIVATE, pages * PAGE, IPC_CREAT | 0o600))
        close.callback(libc.shmctl, source, IPC_RMID, None)
    with close:
        make = abi.MAKE.pack(b"fail-nth", pages * PAGE, 0, 0o600, number, flags, source, 0)

        def attempt(nth):
            with Handle() as handle:
                result, failed = fail_nth.call(nth, *ioctl(handle.fd, abi.IOC_MAKE, raw(make)))
                if result < 0:
                    assert abi.errno_of(handle.info) == "EBADFD"
                    assert "fail-nth" not in handle.names()
                else:
                    assert handle.info()["kind"] == number
                    handle.unlink("fail-nth")
            return result, failed

        assert every_failure(attempt, snapshot) > 3


def test_attach_and_unlink(fail_nth):
    with Handle() as owner:
        owner.create("fail-nth", PAGE)

        def attach(nth):
            with Handle() as handle:
                words = raw(abi.ATTACH.pack(b"fail-nth", READ | WRITE, 0))
                return fail_nth.call(nth, *ioctl(handle.fd, abi.IOC_ATTACH, words))

        assert every_failure(attach, snapshot) > 0

        unlink = ioctl(owner.fd, abi.IOC_UNLINK, raw(NAME.pack(b"fail-nth")))
        for nth in range(1, LIMIT):
            result, failed = fail_nth.call(nth, *unlink)
            assert ("fail-nth" in owner.names()) == (result != 0)
            if result == 0:
                break
            assert failed


@pytest.mark.parametrize("flags", [0, BIND_OWN])
def test_bind(fail_nth, flags):
    semid = system.semget(IPC_PRIVATE, 3, 0o600)

    with Handle() as handle:
        handle.create("fail-nth", PAGE)
        command = ioctl(handle.fd, abi.IOC_BIND, raw(BIND.pack(semid, flags)))
        before = snapshot(semid)
        for nth in range(1, LIMIT):
            result, failed = fail_nth.call(nth, *command)
            if result == 0:
                break
            assert failed and -result in ERRNOS
            assert snapshot(semid) == before
        assert nth > 1
        assert (handle.info()["semid"], handle.info()["bind_flags"]) == (semid, flags)
        handle.unlink("fail-nth")
    if flags & BIND_OWN:
        assert abi.set_exists(semid) is False
    else:
        assert system.semctl(semid, 0, IPC_RMID) == 0


def test_map_split_and_unmap(fail_nth):
    rw = mmap.PROT_READ | mmap.PROT_WRITE
    with Handle() as handle:
        handle.create("fail-nth", 3 * PAGE)

        def attempt(nth):
            place, failed = fail_nth.call(nth, abi.libc.mmap, None, 3 * PAGE, rw, mmap.MAP_SHARED, handle.fd, 0)
            if place < 0:
                return place, failed
            abi.libc.munmap(place, 3 * PAGE)
            return 0, failed

        assert every_failure(attempt, snapshot) > 0

        place = handle.raw_map(3 * PAGE)
        ctypes.memset(place, 7, 3 * PAGE)

        assert handle.info()["maps"] == 1
        for nth in range(1, LIMIT):
            result, failed = fail_nth.call(nth, libc.munmap, ctypes.c_void_p(place + PAGE), PAGE)
            if result == 0:
                break
            assert failed and result == -errno.ENOMEM
            # The kernel may have split it already, and leaves it so: two maps, or three, of the same.
            assert handle.info()["maps"] in (1, 2, 3)
            assert ctypes.string_at(place, 3 * PAGE) == b"\7" * 3 * PAGE
        assert handle.info()["maps"] == 2
        abi.libc.munmap(place, PAGE)
        abi.libc.munmap(place + 2 * PAGE, PAGE)
        assert handle.info()["maps"] == 0

        # A page that cannot be mapped in now is tried again, without the program noticing.
        for nth in range(1, 20):
            place = handle.raw_map(3 * PAGE)
            _, failed = fail_nth.call(nth, libc.memset, ctypes.c_void_p(place + PAGE), 9, 1)
            assert ctypes.string_at(place + PAGE, 1) == b"\t"
            abi.libc.munmap(place, 3 * PAGE)
            if not failed:
                break
        handle.unlink("fail-nth")


# The route


@pytest.fixture(params=[kernel.Route.CALLER, kernel.Route.KTHREAD], ids=["caller", "kthread"])
def route(request):
    route = kernel.Route(request.param)
    yield route
    route.close()


@pytest.fixture(params=[1, 5, 600])
def semid(request):
    """A set that fits on a page, or needs more."""
    semid = system.semget(IPC_PRIVATE, request.param, 0o600)
    assert system.setall(semid, [n % 7 for n in range(request.param)]) == 0
    yield semid
    assert system.semctl(semid, 0, IPC_RMID) == 0


def route_attempt(fail_nth, route, number, words, keep=()):
    """`keep` are buffers whose addresses are among the words."""
    command = 0x40000000 | len(words) << 16 | 0xE5 << 8 | number
    buffer = raw(words)
    return lambda nth: (*fail_nth.call(nth, *ioctl(route.fd, command, buffer)), keep)[:2]


def test_route_semget(fail_nth, route):
    attempt = route_attempt(fail_nth, route, 0x50, struct.pack("iiiI", IPC_PRIVATE, 3, 0o600, 0))
    assert every_failure(attempt, snapshot, lambda semid: system.semctl(semid, 0, IPC_RMID)) > 1


@pytest.mark.parametrize("count", [1, 40, 400])
def test_route_semtimedop(fail_nth, route, semid, count):
    operations = kernel.operations([(0, 1, IPC_NOWAIT)] * count)
    timeout = (ctypes.c_long * 2)(1, 0)
    words = struct.pack("iIQQII", semid, count, kernel.address(operations), kernel.address(timeout), route.context, 0)
    attempt = route_attempt(fail_nth, route, 0x51, words, (operations, timeout))
    assert every_failure(attempt, lambda: snapshot(semid), lambda _: system.semop(semid, [(0, -count)])) > 2


def test_route_semtimedop_with_undo(fail_nth):
    """It needs memory the first time that a process uses it on a set. A process's only."""
    operations = kernel.operations([(0, 1, SEM_UNDO)])

    def attempt(nth):
        fresh = system.semget(IPC_PRIVATE, 1, 0o600)
        words = struct.pack("iIQQII", fresh, 1, kernel.address(operations), 0, route.context, 0)
        result, failed = route_attempt(fail_nth, route, 0x51, words, (operations,))(nth)
        assert system.getall(fresh, 1) == [1 if result == 0 else 0]
        assert system.semctl(fresh, 0, IPC_RMID) == 0
        return result, failed

    with contextlib.closing(kernel.Route(kernel.Route.CALLER)) as route:
        assert every_failure(attempt, snapshot) > 2


def test_route_removal(fail_nth, route):
    def attempt(nth):
        fresh = system.semget(IPC_PRIVATE, 3, 0o600)
        words = struct.pack("iiiIQ", fresh, 0, IPC_RMID, route.context, 0)
        result, failed = route_attempt(fail_nth, route, 0x52, words)(nth)
        assert abi.set_exists(fresh) == (result != 0)
        if result:
            assert system.semctl(fresh, 0, IPC_RMID) == 0
        return result, failed

    assert every_failure(attempt, snapshot) > 0


QUESTIONS = [IPC_STAT, SEM_STAT, IPC_INFO, SEM_INFO, GETALL, GETVAL, GETPID, GETNCNT, GETZCNT]


@pytest.mark.parametrize("cmd", [*QUESTIONS, SETALL, SETVAL, IPC_SET])
def test_route_semctl(fail_nth, route, semid, cmd):
    size = size_of(semid)
    ds = Semid64Ds()
    assert system.semctl(semid, 0, IPC_STAT, ds) == 0
    if cmd in (GETALL, SETALL):
        memory = shorts([3] * size)
    elif cmd in (IPC_INFO, SEM_INFO):
        memory = Seminfo()
    else:
        memory = ds
    argument = 5 if cmd == SETVAL else kernel.address(memory)
    was = system.getall(semid, size)
    number = semid & 0x7FFF if cmd == SEM_STAT else semid
    words = struct.pack("iiiIQ", number, 0, cmd, route.context, argument)
    attempt = route_attempt(fail_nth, route, 0x52, words, (memory,))
    assert every_failure(attempt, lambda: snapshot(semid), lambda _: system.setall(semid, was)) > 0


# The entry points, in every context. The failure is set within, so that it can be in another task


@pytest.fixture(params=["PROCESS", "KTHREAD", "KTHREAD_MM", "WORKQUEUE"])
def caller(request):
    device = kernel.Device()
    yield EntryPoints(device, getattr(kernel, request.param))
    device.close()


def entry_attempt(caller, call):
    def attempt(nth):
        caller.fail_nth = nth
        result = call()
        caller.fail_nth = 0
        return result, caller.unfailed == 0

    return attempt


def test_semget(caller):
    if caller.context != kernel.PROCESS:
        pytest.skip("a process's only")
    key = 0x5E05E0
    attempt = entry_attempt(caller, lambda: caller.semget(key, 600, IPC_CREAT | IPC_EXCL | 0o600))
    assert every_failure(attempt, snapshot, lambda semid: system.semctl(semid, 0, IPC_RMID)) > 0


@pytest.mark.parametrize("flags", [0, SEM_UNDO])
def test_semop(caller, semid, flags):
    """SEM_UNDO needs memory the first time that a process uses it on a set."""
    if flags and caller.context != kernel.PROCESS:
        pytest.skip("SEM_UNDO is a process's only")

    def attempt(nth):
        fresh = system.semget(IPC_PRIVATE, 1, 0o600)
        caller.fail_nth = nth
        result = caller.semop(fresh, [(0, 1, flags)])
        caller.fail_nth = 0
        failed = caller.unfailed == 0
        assert system.getall(fresh, 1) == [1 if result == 0 else 0]
        assert system.semctl(fresh, 0, IPC_RMID) == 0
        return result, failed

    failures = every_failure(attempt, lambda: snapshot(semid))
    assert failures > 0 or not flags


@pytest.mark.parametrize("cmd", [IPC_INFO, SEM_INFO, IPC_STAT, SEM_STAT, GETVAL, GETPID, GETNCNT, GETZCNT])
def test_semctl_questions(caller, semid, cmd):
    memory = Seminfo() if cmd in (IPC_INFO, SEM_INFO) else Semid64Ds()
    index = semid & 0x7FFF if cmd == SEM_STAT else semid
    every_failure(entry_attempt(caller, lambda: caller.semctl(index, 0, cmd, memory)), lambda: snapshot(semid))


@pytest.mark.parametrize("cmd", [SETVAL, IPC_SET])
def test_semctl_changes(caller, semid, cmd):
    ds = Semid64Ds()
    assert system.semctl(semid, 0, IPC_STAT, ds) == 0
    argument = 6 if cmd == SETVAL else ds
    attempt = entry_attempt(caller, lambda: caller.semctl(semid, 0, cmd, argument))
    every_failure(attempt, lambda: snapshot(semid), lambda _: system.semctl(semid, 0, SETVAL, 0))


@pytest.mark.parametrize("cmd", [GETALL, SETALL])
def test_semctl_values(caller, semid, cmd):
    size = size_of(semid)
    was = system.getall(semid, size)

    def attempt(nth):
        values = shorts([11] * size)
        caller.fail_nth = nth
        result = caller.values(semid, cmd, values)
        caller.fail_nth = 0
        if cmd == GETALL:
            assert list(values) == (was if result == 0 else [11] * size)
        return result, caller.unfailed == 0

    assert every_failure(attempt, lambda: snapshot(semid), lambda _: system.setall(semid, was), {errno.ENFILE}) > 0


# Rings in the kernel


@contextlib.contextmanager
def ring_test_device():
    """Closed even if the test fails: open, it would keep the modules, and fail those that come after."""
    fd = os.open("/dev/semshare-ring-test", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("made", [True, False], ids=["make", "open"])
def test_ring_open(fail_nth, made):
    """What is made before a failure is the area's, and goes with it."""
    from test_ring_api import IOC_OPEN, OPEN

    def attempt(nth):
        with Handle() as handle, ring_test_device() as fd:
            handle.create("fail-nth", abi.CONTROL + 4096)
            if not made:
                abi.Ring(handle, 4096).close()
            words = raw(OPEN.pack(handle.fd, 0, 4096 if made else 0, 0o600, 0, 0, 1, 0))
            result, failed = fail_nth.call(nth, *ioctl(fd, IOC_OPEN, words))
            info = handle.info()
            assert info["kernel_users"] == (1 if result == 0 else 0)
            if result == 0 or not made:
                assert abi.set_exists(info["semid"])
            handle.unlink("fail-nth")
        return result, failed

    assert every_failure(attempt, snapshot) > 1


# What goes before a call of the ring, and what undoes it: as often as not the failure left nothing to undo.
RING_CALLS = {
    "PUT": (None, "GET"),
    "GET": ("PUT", "GET"),
    "PUT_BATCH": (None, "GET_BATCH"),
    "GET_BATCH": ("PUT_BATCH", "GET_BATCH"),
    "LOCK": (None, "UNLOCK"),
    "UNLOCK": ("LOCK", "UNLOCK"),
}


def ring_call(operation):
    """Three records of eight bytes, or one."""
    import test_ring_api

    call = test_ring_api.Call(operation=getattr(test_ring_api, operation), count=3, size=100)
    for number in range(3):
        call.sizes[number], call.offsets[number] = 8, 8 * number
    return call


@pytest.mark.parametrize("operation", RING_CALLS)
def test_ring_calls(fail_nth, operation):
    from test_ring_api import IOC_CALL, IOC_OPEN, OPEN

    before, inverse = RING_CALLS[operation]
    answer = {"PUT": 0, "GET": 8, "LOCK": 0, "UNLOCK": 0}.get(operation, 3)

    with Handle() as handle, ring_test_device() as fd:
        handle.create("fail-nth", abi.CONTROL + 4096)
        assert ioctl_now(fd, IOC_OPEN, raw(OPEN.pack(handle.fd, 0, 4096, 0o600, 0, 0, 1, 0))) == 0

        def call_now(operation):
            call = ring_call(operation)
            assert ioctl_now(fd, IOC_CALL, call) == 0
            return call.result

        def attempt(nth):
            if before:
                assert call_now(before) >= 0
            call = ring_call(operation)
            result, failed = fail_nth.call(nth, *ioctl(fd, IOC_CALL, call))
            undone = call_now(inverse)
            if result < 0:
                # The answer may be what was lost: then it was done.
                assert undone in (8, 3, 0, -errno.EAGAIN, -errno.EPERM)
            else:
                assert call.result == answer
                assert (undone < 0) == (before is not None)
            return result, failed

        assert every_failure(attempt, snapshot) > 1
        handle.unlink("fail-nth")


def test_ring_destroy(fail_nth):
    """All of it is done, or nothing."""
    from test_ring_api import IOC_CALL, IOC_OPEN, OPEN

    def attempt(nth):
        with Handle() as handle, ring_test_device() as fd:
            handle.create("fail-nth", abi.CONTROL + 4096)
            assert ioctl_now(fd, IOC_OPEN, raw(OPEN.pack(handle.fd, 0, 4096, 0o600, 0, 0, 1, 0))) == 0
            result, failed = fail_nth.call(nth, *ioctl(fd, IOC_CALL, ring_call("DESTROY")))
            there = "fail-nth" in handle.names()
            info = handle.info()
            assert abi.set_exists(info["semid"]) == there and info["kernel_users"] == there
            assert result < 0 or not there
            if there:
                handle.unlink("fail-nth")
        return result, failed

    assert every_failure(attempt, snapshot) > 1


def ioctl_now(fd, command, buffer):
    function, *arguments = ioctl(fd, command, buffer)
    return function(*arguments)


# Locks


@pytest.mark.parametrize("kind", ["mutex", "pool", "multi", "rwlock", "semaphore", "event", "condition", "barrier"])
def test_lock_open(fail_nth, kind):
    """Where it succeeds all the same it has everything, the words of its owner among it."""
    import lock_kernel as lk

    of, made = {
        "mutex": (lk.MUTEX, lambda: lk.Set("fail-nth")),
        # Of so many locks that what lies beside them is mapped in two steps.
        "pool": (lk.MUTEX, lambda: lk.Set("fail-nth", lk.KIND_POOL, (1,) * 200)),
        "multi": (lk.MULTI, lambda: lk.Set("fail-nth", lk.KIND_POOL, (1,) * 200)),
        "rwlock": (lk.RWLOCK, lambda: lk.Set("fail-nth", lk.KIND_RWLOCK, (0, 0, 0))),
        "semaphore": (lk.SEMAPHORE, lambda: lk.Set("fail-nth", lk.KIND_SEMAPHORE, (1,))),
        "event": (lk.EVENT, lambda: lk.Set("fail-nth", lk.KIND_EVENT, (1,))),
        "condition": (lk.CONDITION, lambda: lk.condition_set("fail-nth")),
        "barrier": (lk.BARRIER, lambda: lk.barrier_set("fail-nth", 2)),
    }[kind]
    numbers = {"pool": (7,), "multi": (3, 7, 199)}.get(kind, ())
    words = lk.OPEN.pack(of, 0, b"fail-nth", -1, 0, len(numbers), -1, *numbers, *[0] * (16 - len(numbers)))

    with made() as places:

        def attempt(nth):
            with driver("lock") as fd:
                result, failed = fail_nth.call(nth, *ioctl(fd, lk.IOC_OPEN, raw(words)))
                if result == 0 and kind not in ("semaphore", "event", "barrier"):
                    number = numbers[0] if numbers else 0
                    before = places.word(lk.EPOCH, number)
                    for operation in (lk.LOCK, lk.UNLOCK):
                        call = raw(lk.CALL.pack(operation, 0, 0, 0, 0, 0, 0, 0, 0))
                        assert ioctl_now(fd, lk.IOC_CALL, call) == 0 and lk.CALL.unpack(call.raw)[7] == 0
                    assert places.word(lk.EPOCH, number) == before + 2
            return result, failed

        assert every_failure(attempt, lambda: snapshot(places.semid)) > 4


# Channels, parameters, eventfds


CHANNEL_OPEN = struct.Struct("=iIIIII")
CHANNEL_CALL = struct.Struct("=IIqq960s")
CHANNEL_FLOOD = struct.Struct("=IIIIq8I")
ASKS, ANSWERS = 1, 2
ECHO = 1
CHANNEL_BYTES = 65536


@contextlib.contextmanager
def driver(name):
    fd = os.open(f"/dev/semshare-{name}-test", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def channel_open(fd, handle, role, depth=0):
    return ioctl(fd, lib.SEMSHARE_CHANNEL_TEST_IOC_OPEN, raw(CHANNEL_OPEN.pack(handle.fd, role, depth, 100, 0o600, 0)))


@pytest.mark.parametrize("role", [ASKS, ANSWERS], ids=["asks", "answers"])
@pytest.mark.parametrize("made", [True, False], ids=["make", "open"])
def test_channel_open(fail_nth, made, role):
    """Two kernel threads, the places, and the role: all of it, or nothing. The role is free for the next."""

    def attempt(nth):
        with Handle() as handle:
            handle.create("fail-nth", CHANNEL_BYTES)
            if not made:
                with driver("channel") as fd:
                    function, *arguments = channel_open(fd, handle, role, 8)
                    assert function(*arguments) == 0
            with driver("channel") as fd:
                result, failed = fail_nth.call(nth, *channel_open(fd, handle, role, 8 if made else 0))
                assert handle.info()["kernel_users"] == (1 if result == 0 else 0)
            if not made:
                with driver("channel") as fd:
                    function, *arguments = channel_open(fd, handle, role)
                    assert function(*arguments) == 0
            handle.unlink("fail-nth")
        return result, failed

    assert every_failure(attempt, snapshot, errnos={errno.EAGAIN}) > 4


def test_channel_calls(fail_nth):
    with Handle() as handle, driver("channel") as answers, driver("channel") as asks:
        handle.create("fail-nth", CHANNEL_BYTES)
        for fd, role, depth in (answers, ANSWERS, 8), (asks, ASKS, 0):
            function, *arguments = channel_open(fd, handle, role, depth)
            assert function(*arguments) == 0

        def call(nth):
            words = raw(CHANNEL_CALL.pack(ECHO, 5, 60_000, 0, b"hello"))
            result, failed = fail_nth.call(nth, *ioctl(asks, lib.SEMSHARE_CHANNEL_TEST_IOC_CALL, words))
            if result == 0:
                assert CHANNEL_CALL.unpack(words.raw)[3:] == (5, b"hello".ljust(960, b"\0"))
            return result, failed

        def flood(nth):
            words = raw(CHANNEL_FLOOD.pack(ECHO, 20, 0, 0, 60_000, *[0] * 8))
            result, failed = fail_nth.call(nth, *ioctl(asks, lib.SEMSHARE_CHANNEL_TEST_IOC_FLOOD, words))
            if result == 0:
                assert CHANNEL_FLOOD.unpack(words.raw)[5] == 20
            return result, failed

        assert every_failure(call, snapshot) > 1
        assert every_failure(flood, snapshot) > 1
        handle.unlink("fail-nth")


def parameters_create(fd):
    from test_parameters import IOC_CREATE, Create, entry

    entries = entry("rate", 1, 0, 100) + entry("share", 0.5, 0.0, 1.0) + entry("seen", 0)
    words = Create(b"fail-nth", 2, 1, 0o600, 0, b"")
    ctypes.memmove(ctypes.addressof(words) + Create.entries.offset, entries, len(entries))
    return ioctl(fd, IOC_CREATE, words)


def test_parameters_create(fail_nth):
    def attempt(nth):
        with Handle() as handle, driver("parameters") as fd:
            result, failed = fail_nth.call(nth, *parameters_create(fd))
            assert ("fail-nth" in handle.names()) == (result == 0)
        return result, failed

    assert every_failure(attempt, snapshot) > 4


def test_parameters_calls(fail_nth):
    from test_parameters import GET, IOC_CALL, IOC_READERS, READ_ALL, Call, Readers

    with driver("parameters") as fd:
        function, *arguments = parameters_create(fd)
        assert function(*arguments) == 0
        for operation in GET, READ_ALL:
            call = Call(operation, 0, 0)
            assert every_failure(lambda nth, call=call: fail_nth.call(nth, *ioctl(fd, IOC_CALL, call)), snapshot) > 1

        def read(nth):
            result = fail_nth.call(nth, *ioctl(fd, IOC_READERS, Readers(threads=2)))
            # Those that were started before one failed.
            assert ioctl_now(fd, IOC_READERS, Readers(threads=0)) == 0
            return result

        assert every_failure(read, snapshot, errnos={errno.EAGAIN}) > 3


@pytest.mark.parametrize("direction", ["TO_USER", "FROM_USER"])
def test_eventfd(fail_nth, direction):
    libc.eventfd.restype = ctypes.c_int
    told = libc.eventfd(0, os.O_CLOEXEC)
    with Handle() as handle:
        handle.create("fail-nth", PAGE)

        def request(events):
            words = (told, events, getattr(lib, f"SEMSHARE_EVENTFD_{direction}"))
            return raw(bytes(ffi.buffer(ffi.new("struct semshare_eventfd *", words))))

        def attempt(nth):
            return fail_nth.call(nth, *ioctl(handle.fd, lib.SEMSHARE_IOC_EVENTFD, request(1)))

        def undo(_):
            assert ioctl_now(handle.fd, lib.SEMSHARE_IOC_EVENTFD, request(0)) == 0

        assert every_failure(attempt, snapshot, undo) > 1
        handle.unlink("fail-nth")
    os.close(told)


# The demo's kernel threads


def test_demo_start(fail_nth):
    with Handle() as handle:
        handle.create("fail-nth", abi.CONTROL + 65536)
        ring = abi.Ring(handle, 65536)

        def attempt(nth):
            with abi.Demo() as demo:
                words = raw(abi.START.pack(handle.fd, abi.RECORDS, 2, 0, 0, 0, 3, 0))
                result, failed = fail_nth.call(nth, *ioctl(demo.fd, abi.IOC_START, words))
                if result == 0:
                    demo.wait(2)
                demo.stop()
            ring.take()
            ring.take_records(1000)
            ring.give()
            return result, failed

        assert every_failure(attempt, snapshot, errnos={errno.EAGAIN}) > 2
        ring.close()
        handle.unlink("fail-nth")


def test_demo_status(fail_nth):
    with Handle() as handle, abi.Demo() as demo:
        handle.create("fail-nth", abi.CONTROL + 65536)
        ring = abi.Ring(handle, 65536)
        demo.start(handle.fd, abi.RECORDS, 1, 0, 0, 0, 3)
        assert demo.wait(1)[0]["done"] == 3
        command = ioctl(demo.fd, abi.IOC_STATUS, raw(bytes(abi.STATUS.size)))
        assert every_failure(lambda nth: fail_nth.call(nth, *command), lambda: (snapshot(), demo.status())) > 1
        demo.stop()
        ring.close()
        handle.unlink("fail-nth")


def test_a_kernel_thread_at_work_allocates_nothing_that_can_fail():
    """Its /proc/PID/fail-nth counts what it does: a thread that puts records goes on as if nothing had been set."""
    with Handle() as handle, abi.Demo() as demo:
        handle.create("fail-nth", abi.CONTROL + 65536)
        ring = abi.Ring(handle, 65536)
        demo.start(handle.fd, abi.RECORDS, 1, 0, 0, 0, 0)
        threads = []
        assert kernel.eventually(lambda: threads.extend(kernel.threads("semshare_demo/")) or threads)
        tally = abi.Tally()
        for nth in range(1, 6):
            pathlib.Path(f"/proc/{threads[0]}/fail-nth").write_text(str(nth))
            until = tally.records + 200
            while tally.records < until:
                tally.add(ring.get())
        assert pathlib.Path(f"/proc/{threads[0]}/fail-nth").read_text().strip() == "5"
        assert demo.status(0)["running"] and demo.status(0)["error"] == 0
        demo.stop()
        ring.close()
        handle.unlink("fail-nth")


# Loading


def finit_module(name, parameters=b""):
    fd = os.open(kernel.KMOD_DIR / f"{name}.ko", os.O_RDONLY | os.O_CLOEXEC)
    words = raw(parameters + b"\0")
    return fd, (libc.syscall, ctypes.c_long(kernel.SYS["finit_module"]), fd, words, ctypes.c_int(0))


def load_attempt(fail_nth, name, parameters=b""):
    def attempt(nth):
        fd, call = finit_module(name, parameters)
        try:
            return fail_nth.call(nth, *call)
        finally:
            os.close(fd)

    return attempt


#: What the kernel's loader makes of some failures: a symbol that it could not look up.
LOADER_ERRNOS = {errno.ENOENT}


#: More than these modules' own, which come last.
LAST = {"semshare_demo": 30, "semshare_exec": 120, "semshare_test": 30}


def functions_found():
    """Whether the module has found each of the kernel's functions."""
    with Handle() as handle:
        for index in range(100):
            try:
                words = handle.ioctl(abi.IOC_FUNCTION, abi.FUNCTION.pack(index, 0, b"", b""))
            except OSError:
                return
            yield abi.FUNCTION.unpack(words)[1]


def loaded_state():
    """Modules, their devices, and what there is to see if the one that shows it is there."""
    devices = sorted(path.name for path in pathlib.Path("/dev").glob("semshare*"))
    return kernel.loaded(), devices, snapshot() if "semshare" in devices else None


def test_load(fail_nth):
    """The loader's own allocations, which come first, are the kernel's: of those a sample is enough.

    Where they end a load with a parameter tells that the module refuses at once.
    """
    with kernel.everything_unloaded():
        for name in ("semshare", "semshare_demo", "semshare_exec", "semshare_test"):
            attempt = load_attempt(fail_nth, name)
            before = loaded_state()

            def count(parameters=b"", name=name):
                """How many allocations a load makes."""
                many = 1_000_000
                fd, call = finit_module(name, parameters)
                text = str(many).encode()
                assert libc.pwrite(fail_nth.fd, text, len(text), 0) == len(text)
                result = call[0](*call[1:])
                left = fail_nth.left()
                libc.pwrite(fail_nth.fd, b"0", 1, 0)
                os.close(fd)
                if result == 0:
                    assert kernel.unload(name) == 0
                return many - left

            total = count()
            own = count(b"hide=no_such_function") if name == "semshare" else total - LAST[name]
            assert 0 < own < total, f"{name}: {own} of {total}"
            failures = 0
            for nth in [*range(1, own, own // 10 + 1), *range(own, total + 3)]:
                result, failed = attempt(nth)
                if result == 0:
                    # It did without, and has all that it has otherwise.
                    if name == "semshare":
                        assert all(functions_found()), f"n = {nth}"
                    assert kernel.unload(name) == 0
                else:
                    failures += nth >= own
                    assert failed, f"{name}: {name_of(result)}, n = {nth}"
                    assert -result in ERRNOS | LOADER_ERRNOS, f"{name}: {name_of(result)}, n = {nth}"
                assert loaded_state() == before, f"{name}: n = {nth}"
            # Much of it, such as telling udev, an initialization can do without; but not all.
            assert failures > 2, f"{name}: {failures} of {total - own}"
            assert kernel.load(name) == 0


# References that no search for lost memory finds


def test_no_namespace_is_held():
    from namespaces import gone_after

    def inside():
        abi.unshare_ipc()
        fail_nth = FailNth()
        create = raw(CREATE.pack(b"fail-nth", PAGE, 0o600, 0))
        for nth in range(1, 12):
            fd, _ = fail_nth.call(nth, libc.open, b"/dev/semshare", os.O_RDWR | os.O_CLOEXEC)
            if fd < 0:
                with Handle() as handle:
                    assert fail_nth.call(nth, *ioctl(handle.fd, abi.IOC_CREATE, create))[0] <= 0
                continue
            fail_nth.call(nth, *ioctl(fd, abi.IOC_CREATE, create))
            os.close(fd)

    gone_after(lambda: abi.in_child(inside))
