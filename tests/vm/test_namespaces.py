# SPDX-License-Identifier: MIT
"""Namespaces: whose set a key names, where kernel threads act, what is undone where, and what outlives a namespace.

How many IPC namespaces there are is asked of the kernel's own limit (namespaces.py), which also counts those that only
the module still holds.
"""

import array
import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path

import kernel
import pytest
from abi import (
    BIND_OWN,
    CONTROL,
    COUNTER,
    GETNCNT,
    GETVAL,
    IPC_CREAT,
    IPC_EXCL,
    IPC_RMID,
    MUTEX,
    NOBODY,
    PAGE,
    READ,
    RECORDS,
    SEM_UNDO,
    SETVAL,
    SPACE,
    UNLINKED,
    Child,
    Demo,
    Handle,
    Ring,
    become,
    errno_of,
    eventually,
    in_child,
    insmod,
    loaded,
    rmmod,
    semctl,
    semget,
    semop,
    set_exists,
)
from effort import scaled
from kernel import ROUTE_CONTEXTS, Route
from namespaces import enter, gone_after, here, needs_same_id, none_left, same_id, unshare, unshare_user
from pace import soonest

CAPACITY = 4096
COUNTER_AT = CONTROL + CAPACITY
SIZE = COUNTER_AT + PAGE
KEY = 0x5E5F
BUSYBOX = "/run/semshare/busybox"  # in the machine's memory, and started in no time


@pytest.fixture(autouse=True)
def nothing_left():
    """Each test ends with the namespaces, sets and threads with which it began."""
    keys = keys_of_sets()
    eventually(none_left)
    yield
    eventually(none_left)
    eventually(lambda: kernel_threads() == [])
    assert keys_of_sets() == keys


@pytest.fixture(params=ROUTE_CONTEXTS)
def context(request):
    return ROUTE_CONTEXTS[request.param]


@pytest.fixture(params=["system call", *ROUTE_CONTEXTS])
def any_caller(request):
    """The system calls, and the same calls by way of the device."""
    if request.param == "system call":
        yield kernel.SystemCalls()
        return
    route = Route(ROUTE_CONTEXTS[request.param])
    yield route
    route.close()


@pytest.fixture
def test_device():
    assert kernel.load("semshare_test") == 0
    yield
    assert kernel.unload("semshare_test") == 0


def keys_of_sets():
    return sorted(line.split()[0] for line in Path("/proc/sysvipc/sem").read_text().splitlines()[1:])


def kernel_threads():
    """The threads that work for a process now, by name: the demo's, the tests' and those of routed calls."""
    return list(kernel.threads("semshare_demo/", "semshare-sleep", "semshare/").values())


def make_set(semid=None, value=1, key=0):
    """A set of three, all of that value, with that id if one is given."""
    if semid is not None:
        same_id(semid)
    made = semget(key, 3, IPC_CREAT | 0o600)
    assert semid in (None, made), (semid, made)
    for each in range(3):
        semctl(made, each, SETVAL, value)
    return made


def value(semid):
    return semctl(semid, 0, GETVAL)


# The means by which all the other tests see a namespace


def test_a_namespace_that_only_the_module_holds_is_counted():
    """A descriptor taken out of a namespace holds it after its last process, and no longer than it is open."""
    ours, theirs = socket.socketpair()

    def inside():
        unshare()
        send(theirs, Handle().fd)

    in_child(inside)
    fd = receive(ours)
    time.sleep(0.5)
    assert not none_left()
    gone_after(lambda: os.close(fd))
    ours.close()
    theirs.close()


def send(over, *fds):
    over.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def receive(over):
    got = array.array("i")
    _, messages, _, _ = over.recvmsg(1, socket.CMSG_LEN(8 * got.itemsize))
    for _, _, raw in messages:
        got.frombytes(raw)
    return got[0] if len(got) == 1 else list(got)


# Whose set a key, and an id, names


@needs_same_id
def test_routed_calls_follow_the_caller_from_namespace_to_namespace(context):
    """One descriptor, one key, one id: each call is about the set of the namespace that the caller has at that call."""

    def body():
        route = Route(context)
        outside = make_set(value=11, key=KEY)
        home = here()
        unshare()
        assert route.semget(KEY, 1, 0) == -2  # ENOENT: that set is not seen from here
        for call in (
            lambda: route.semctl(outside, 0, GETVAL),
            lambda: route.semctl(outside, 0, IPC_RMID),
            lambda: route.semctl(outside, 0, kernel.IPC_STAT, kernel.Semid64Ds()),
            lambda: route.semctl(outside % 32768, 0, kernel.SEM_STAT_ANY, kernel.Semid64Ds()),
            lambda: route.getall(outside, 3),
            lambda: route.setall(outside, [0, 0, 0]),
            lambda: route.semop(outside, [(0, -1)]),
        ):
            assert kernel.name_of(call()) == "-EINVAL"
        inside = make_set(outside, 22, KEY)
        away = here()
        for _ in range(3):
            enter(away)
            assert route.semget(KEY, 1, 0) == inside
            assert route.semctl(inside, 0, GETVAL) == 22
            assert route.semop(inside, [(0, -2), (1, 1)]) == 0
            assert route.getall(inside, 3) == [20, 23, 22]
            assert route.setall(inside, [22, 22, 22]) == 0
            enter(home)
            assert route.semget(KEY, 1, 0) == outside
            assert route.semctl(outside, 0, GETVAL) == 11
            assert route.semop(outside, [(0, 1), (1, -1)]) == 0
            assert route.getall(outside, 3) == [12, 10, 11]
            assert route.setall(outside, [11, 11, 11]) == 0
        assert route.semctl(outside, 0, IPC_RMID) == 0
        enter(away)
        assert route.semctl(inside, 0, GETVAL) == 22

    in_child(body)


@needs_same_id
def test_two_threads_of_a_process_in_two_namespaces_do_not_meet(context):
    """The namespace is the calling thread's. A P sleeps in one while a V on the same id goes by in the other."""

    def body():
        route = Route(context)
        outside = make_set(value=0)
        answers = {}

        def thread():
            unshare()
            inside = make_set(outside, 0)
            entered.set()
            answers["P"] = route.semop(inside, [(0, -1)])
            answers["left"] = value(inside)

        entered = threading.Event()
        other = threading.Thread(target=thread)
        other.start()
        entered.wait()
        time.sleep(0.3)
        assert semctl(outside, 0, GETNCNT) == 0
        assert route.semop(outside, [(0, 7)]) == 0
        time.sleep(0.3)
        assert not answers and value(outside) == 7
        with open_namespace_of(other.native_id) as fd:
            home = here()
            enter(fd)
            assert semctl(outside, 0, GETNCNT) == 1
            assert route.semop(outside, [(0, 3)]) == 0
            enter(home)
        other.join()
        assert answers == {"P": 0, "left": 2}
        assert value(outside) == 7
        semctl(outside, 0, IPC_RMID)

    in_child(body)


@contextlib.contextmanager
def open_namespace_of(tid):
    fd = os.open(f"/proc/self/task/{tid}/ns/ipc", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def test_a_routed_getpid_tells_no_process_of_an_outer_pid_namespace():
    """Whoever carries it out, GETPID answers as its caller sees processes: 0 for one that it does not see."""
    semid = make_set()
    with contextlib.closing(Route()) as route:
        assert route.semop(semid, [(0, 1)]) == 0
    for context, outer in (Route.CALLER, os.getpid()), (Route.KTHREAD, os.getpid()):
        route = Route(context)
        assert route.semctl(semid, 0, kernel.GETPID) == outer

        def body(route=route):
            unshare(0x20000000)  # CLONE_NEWPID: of the children
            assert kernel.in_child(lambda: (os.getpid(), route.semctl(semid, 0, kernel.GETPID))) == "(1, 0)"

        in_child(body)
        route.close()
    semctl(semid, 0, IPC_RMID)


# Where kernel threads act


@needs_same_id
def test_an_area_and_its_kernel_threads_keep_to_the_set_that_was_bound():
    """Opened here, started by a process that has moved on to a namespace in which the same id is another set."""
    with Handle().create("keeps", SIZE) as handle:
        ring = Ring(handle, CAPACITY)

        def moved():
            unshare()
            assert errno_of(semctl, ring.semid, 0, GETVAL) == "EINVAL"
            other = make_set(ring.semid, 0)  # of value 0: taken for the ring's, it would stop everything
            with Demo() as demo:
                demo.start(handle.fd, COUNTER, threads=2, count=500, offset=COUNTER_AT)
                assert [(each["done"], each["error"]) for each in demo.wait(2)] == [(500, 0)] * 2
                demo.start(handle.fd, RECORDS, threads=2, count=5)
                assert [each["done"] for each in demo.wait(2)] == [5] * 2
            assert [semctl(other, each, GETVAL) for each in range(3)] == [0] * 3
            assert semctl(other, 0, kernel.GETPID) == os.getpid()
            # What it cannot do from here is to bind: the set would be another one than it sees.
            with Handle().create("fresh", PAGE) as fresh:
                assert errno_of(fresh.bind, other) is None
            assert errno_of(handle.bind, other) == "EXDEV"
            assert handle.info()["semid"] == ring.semid

        in_child(moved)
        assert ring.get64(COUNTER_AT) == 1000
        assert len(ring.get()) == 10
        assert value(ring.semid) == 1
        ring.close()


@needs_same_id
def test_sleeping_kernel_threads_are_woken_in_the_namespace_they_were_bound_in(test_device):
    """The same id in the starter's new namespace wakes nobody, nor does its removal."""
    semid = make_set(value=0)

    def moved():
        device = kernel.Device()
        device.sleep(semid, threads=4)
        eventually(lambda: semctl(semid, 0, GETNCNT) == 4)
        unshare()
        other = make_set(semid, 0)
        semop(other, (0, 9, 0))
        semctl(other, 0, IPC_RMID)
        time.sleep(0.2)
        Child.tell()
        signal.pause()

    child = Child(moved)
    child.told()
    assert semctl(semid, 0, GETNCNT) == 4
    child.kill()
    eventually(lambda: semctl(semid, 0, GETNCNT) == 0)
    semctl(semid, 0, IPC_RMID)


@needs_same_id
def test_an_owned_set_is_removed_in_its_own_namespace():
    """The area's last reference goes in another namespace, where its id is somebody else's set."""
    with Handle() as watcher:

        def moved():
            handle = Handle().create("owned", PAGE)
            semid = make_set()
            handle.bind(semid, BIND_OWN)
            home = here()
            unshare()
            other = make_set(semid)
            handle.close()
            assert set_exists(other)
            enter(home)
            assert not set_exists(semid)

        in_child(moved)
        assert "owned" not in watcher.names()


# Undo


UNDO_AND_LEAVE = {
    "unshare": lambda: unshare(),
    "setns": lambda: enter(other_namespace()),
    "exit": lambda: None,
}


def other_namespace():
    """A descriptor of a namespace in which nobody is."""
    ours, theirs = socket.socketpair()

    def inside():
        unshare()
        send(theirs, here())

    in_child(inside)
    fd = receive(ours)
    ours.close()
    theirs.close()
    return fd


@pytest.fixture(params=["system call", "caller"])
def undoer(request):
    """Who may ask for an undo: the system calls, and the routed ones that the caller itself carries out."""
    if request.param == "system call":
        yield kernel.SystemCalls()
        return
    route = Route()
    yield route
    route.close()


@needs_same_id
@pytest.mark.parametrize("leave", UNDO_AND_LEAVE)
@pytest.mark.parametrize("fork", ["", "fork before", "fork after"])
def test_undo_is_carried_out_where_it_was_asked_for(undoer, leave, fork):
    """What a process took in a namespace is given back there, when it leaves it; a child's leaving gives nothing."""
    semid = make_set(value=5)

    def body():
        if fork == "fork before":
            in_child(lambda: take_and_leave(in_a_child=False))
            assert value(semid) == 5
            return
        take_and_leave(in_a_child=fork == "fork after")

    def take_and_leave(in_a_child):
        home = here()
        assert undoer.semop(semid, [(0, -2, SEM_UNDO), (1, 1, SEM_UNDO)]) == 0
        assert undoer.getall(semid, 2 + 1) == [3, 6, 5]
        if in_a_child:
            in_child(move_on)
            assert undoer.getall(semid, 3) == [3, 6, 5], "a child undid what is its parent's"
        move_on()
        if leave != "exit":
            away = here()
            enter(home)
            assert undoer.getall(semid, 3) == [5, 5, 5], "not undone on leaving"
            enter(away)

    def move_on():
        UNDO_AND_LEAVE[leave]()
        if leave != "exit":
            # The same id here is another set, with its own undo.
            other = make_set(semid, 5)
            assert undoer.semop(other, [(0, -1, SEM_UNDO)]) == 0
            assert undoer.getall(other, 3) == [4, 5, 5]

    in_child(body)
    assert kernel.SystemCalls().getall(semid, 3) == [5, 5, 5]
    semctl(semid, 0, IPC_RMID)


@needs_same_id
def test_a_thread_that_leaves_undoes_nothing_of_those_that_stay(undoer):
    """The threads of a process share their undos; one that unshares gives up its part, and begins anew elsewhere."""
    semid = make_set(value=5)

    def body():
        assert undoer.semop(semid, [(0, -2, SEM_UNDO)]) == 0

        def thread():
            assert undoer.semop(semid, [(0, -1, SEM_UNDO)]) == 0
            unshare()
            other = make_set(semid, 5)
            results.append(undoer.semop(other, [(0, -1, SEM_UNDO)]))
            results.append(value(other))

        results = []
        one = threading.Thread(target=thread)
        one.start()
        one.join()
        assert results == [0, 4]
        assert value(semid) == 2
        assert undoer.semop(semid, [(0, -1, SEM_UNDO)]) == 0
        assert value(semid) == 1

    in_child(body)
    assert value(semid) == 5
    semctl(semid, 0, IPC_RMID)


@needs_same_id
def test_a_killed_process_undoes_in_the_namespace_in_which_it_died(undoer):
    """Killed asleep after a move: its old undo was done on moving, the new one is done in the new namespace."""
    semid = make_set(value=1)
    reply = os.pipe()

    def body():
        assert undoer.semop(semid, [(0, -1, SEM_UNDO)]) == 0
        unshare()
        other = make_set(semid, 1)
        watcher = Child(watch, other)
        watcher.told()
        assert undoer.semop(other, [(0, -1, SEM_UNDO)]) == 0
        Child.tell()
        undoer.semop(other, [(0, -1, SEM_UNDO)])

    def watch(other):
        Child.tell()
        eventually(lambda: semctl(other, 0, GETNCNT) == 1)
        eventually(lambda: value(other) == 1)
        os.write(reply[1], b"undone")

    child = Child(body)
    child.told()
    assert value(semid) == 1
    time.sleep(0.2)
    child.kill()
    assert os.read(reply[0], 16) == b"undone"
    assert value(semid) == 1
    semctl(semid, 0, IPC_RMID)
    for fd in reply:
        os.close(fd)


# The end of a namespace with kernel threads asleep in it


def asleep_on_a_full_ring():
    """Producers of the demo."""
    handle = Handle().create("dies", SIZE)
    ring = Ring(handle, CAPACITY)
    demo = Demo()
    demo.start(handle.fd, RECORDS, threads=4, payload=200)
    eventually(lambda: semctl(ring.semid, SPACE, GETNCNT) == 4)
    return handle, ring, demo


def asleep_on_a_mutex_of_the_dead():
    """Counters of the demo; the mutex is held by a process that died without undo."""
    handle = Handle().create("dies", SIZE)
    ring = Ring(handle, CAPACITY)
    semop(ring.semid, (MUTEX, -1, 0))
    demo = Demo()
    demo.start(handle.fd, COUNTER, threads=4, offset=COUNTER_AT)
    eventually(lambda: semctl(ring.semid, MUTEX, GETNCNT) == 4)
    return handle, ring, demo


def asleep_in_an_unlinked_area():
    held = asleep_on_a_full_ring()
    held[0].unlink("dies")
    assert held[0].info()["flags"] == UNLINKED
    return held


def asleep_with_only_a_mapping_left():
    """The area's handle is closed; a mapping and the demo's threads hold it."""
    handle, ring, demo = asleep_on_a_full_ring()
    handle.raw_map(SIZE)
    ring.close()
    handle.close()
    return demo


def finished_and_not_stopped():
    """A run that came to its end holds its area until STOP."""
    handle = Handle().create("dies", SIZE)
    ring = Ring(handle, CAPACITY)
    demo = Demo()
    demo.start(handle.fd, RECORDS, threads=4, count=2)
    demo.wait(4)
    return handle, ring, demo


def sleepers_of_the_tests():
    device = kernel.Device()
    semid = make_set(value=0)
    device.sleep(semid, threads=8)
    eventually(lambda: semctl(semid, 0, GETNCNT) == 8)
    return device


def blocked_routed_calls(context):
    route = Route(context)
    semid = make_set(value=0)
    calls = [lambda: route.semop(semid, [(0, -1)])] * 4
    calls += [lambda: route.semtimedop(semid, [(1, 0), (0, -1)], 1000)] * 2
    calls += [lambda: route.semop(semid, [(0, -1, 0)] * 300)] * 2
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    eventually(lambda: semctl(semid, 0, GETNCNT) == 8)
    return route, threads


def blocked_routed_calls_of_the_caller():
    return blocked_routed_calls(Route.CALLER)


def blocked_routed_calls_of_kernel_threads():
    return blocked_routed_calls(Route.KTHREAD)


SITUATIONS = [
    asleep_on_a_full_ring,
    asleep_on_a_mutex_of_the_dead,
    asleep_in_an_unlinked_area,
    asleep_with_only_a_mapping_left,
    finished_and_not_stopped,
    sleepers_of_the_tests,
    blocked_routed_calls_of_the_caller,
    blocked_routed_calls_of_kernel_threads,
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("end", ["exit", "kill"])
def test_a_namespace_goes_with_its_last_process(situation, end, test_device):
    """However its last process ends, the threads stop and the namespace is freed: a second, and nothing is left."""

    def last():
        unshare()
        held = situation()
        Child.tell()
        if end == "exit":
            os._exit(0)
        signal.pause()
        del held

    def attempt():
        child = Child(last)
        child.told()
        took = gone_after(child.kill)
        assert kernel_threads() == []
        return took

    soonest(attempt)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.__name__)
def test_a_namespace_goes_with_the_last_of_several_processes(situation, test_device):
    """Children have inherited all descriptors and mappings: only the last of them takes the namespace with it."""
    reply = os.pipe()

    def first():
        unshare()
        held = situation()
        for _ in range(2):
            if os.fork() == 0:
                os.write(reply[1], b"%8d" % os.getpid())
                signal.pause()
        Child.tell()
        signal.pause()
        del held

    def attempt():
        child = Child(first)
        child.told()
        others = [int(os.read(reply[0], 8)) for _ in range(2)]
        threads = kernel_threads()
        child.kill()
        os.kill(others[0], signal.SIGKILL)
        time.sleep(0.5)
        assert not none_left()
        # A call under way belongs to the thread that made it, and so does its kernel thread: those died with the first.
        if "routed" not in situation.__name__:
            assert sorted(kernel_threads()) == sorted(threads)
        took = gone_after(lambda: os.kill(others[1], signal.SIGKILL))
        assert kernel_threads() == []
        return took

    soonest(attempt)
    for fd in reply:
        os.close(fd)


def test_a_demo_of_another_namespace_holds_what_it_runs_in_until_it_is_closed():
    """The demo's file was opened out here, and works on an area in there: its end ends threads and namespace."""
    demo = Demo()

    def inside(end):
        unshare()
        handle = Handle().create("inner", SIZE)
        ring = Ring(handle, CAPACITY)
        if end == "finished":
            demo.start(handle.fd, RECORDS, threads=2, count=2)
            demo.wait(2)
        else:
            demo.start(handle.fd, RECORDS, threads=2, payload=200)
            eventually(lambda: semctl(ring.semid, SPACE, GETNCNT) == 2)

    for end in "finished", "asleep":
        in_child(inside, end)
        time.sleep(0.3)
        assert not none_left()
        assert len(kernel_threads()) == (2 if end == "asleep" else 0)
        gone_after(demo.stop)
        assert kernel_threads() == []
    in_child(inside, "asleep")
    gone_after(demo.close)


def test_a_passed_handle_keeps_its_namespace_and_works_in_it():
    """A handle that came out of a namespace: the names are those in there, and it may not bind from out here."""
    ours, theirs = socket.socketpair()
    result = os.pipe()

    def inside():
        unshare()
        handle = Handle().create("passed", SIZE)
        ring = Ring(handle, CAPACITY)
        semop(ring.semid, (SPACE, 1, 0))
        unused = Handle()
        send(theirs, handle.fd, unused.fd)
        os.write(result[1], b"%d" % ring.semid)
        signal.pause()

    def adopt(fd):
        handle = Handle.__new__(Handle)
        handle.fd = fd
        return handle

    child = Child(inside)
    handle, unused = map(adopt, receive(ours))
    semid = int(os.read(result[0], 16))
    try:
        for attempt in range(2):
            assert handle.info()["semid"] == semid and handle.names() == unused.names() == ["passed"]
            with Handle() as outer:
                assert "passed" not in outer.names()
                assert errno_of(outer.attach, "passed", READ) == "ENOENT"
                assert errno_of(outer.unlink, "passed") == "ENOENT"
            if attempt == 0:
                # The creator is gone, and with it the only one who could see the set. The kernel still takes it.
                child.kill()
                time.sleep(0.3)
        assert not none_left()
        memory = handle.map()
        with Demo() as demo:
            demo.start(handle.fd, COUNTER, threads=2, count=100, offset=COUNTER_AT)
            assert [each["error"] for each in demo.wait(2)] == [0, 0]
        assert int.from_bytes(memory[COUNTER_AT : COUNTER_AT + 8], "little") == 200
        memory.close()
        mine = make_set()
        assert errno_of(unused.create("later", PAGE).bind, mine) == "EXDEV"
        semctl(mine, 0, IPC_RMID)
        handle.unlink("passed")
        assert unused.names() == ["later"]
        unused.close()
        gone_after(handle.close)
    finally:
        child.kill()
        for each in handle, unused:
            each.close()
        for each in ours, theirs:
            each.close()
        for fd in result:
            os.close(fd)


@pytest.mark.parametrize("cycle", [False, True], ids=["a queue that is closed", "a queue that holds itself"])
def test_descriptors_in_flight_hold_a_namespace_only_while_they_can_arrive(cycle):
    """Sent and never received: gone with the socket, or found by the kernel's collection of unreachable sockets."""
    ours, theirs = socket.socketpair()

    def inside():
        unshare()
        handle = Handle().create("flight", SIZE)
        ring = Ring(handle, CAPACITY)
        demo = Demo()
        demo.start(handle.fd, RECORDS, threads=2, payload=200)
        eventually(lambda: semctl(ring.semid, SPACE, GETNCNT) == 2)
        fds = [handle.fd, demo.fd]
        if cycle:
            one, other = socket.socketpair()
            send(one, *fds, other.fileno(), one.fileno())
            one.close()
            other.close()
        else:
            send(theirs, *fds)

    in_child(inside)
    if cycle:
        # Closing a unix socket makes the kernel look for such rings.
        ours.close()
        theirs.close()
        gone_after(lambda: [each.close() for each in socket.socketpair()])
    else:
        time.sleep(0.3)
        assert not none_left() and len(kernel_threads()) == 2
        theirs.close()
        gone_after(ours.close)
    assert kernel_threads() == []


def test_namespaces_come_and_go(test_device):
    """Many, one after the other, each used by all there is and left by a kill in the midst of it."""

    def worker(seed):
        unshare()
        held = SITUATIONS[seed % len(SITUATIONS)]()
        with Handle().create("other", PAGE) as other:
            other.bind(make_set(), BIND_OWN)
            other.map()
            for context in Route.CALLER, Route.KTHREAD:
                route = Route(context)
                semid = route.semget(KEY, 300, IPC_CREAT | 0o600)
                assert route.setall(semid, [1] * 300) == 0 and route.getall(semid, 300) == [1] * 300
            Child.tell()
            while True:
                Handle().create("churn", 64 * PAGE).close()
        del held

    for turn in range(scaled(16, len(SITUATIONS))):
        child = Child(worker, turn)
        child.told()
        time.sleep(0.005 * (turn % 7))
        child.kill()
        # Each is gone before the next: nothing adds up.
        gone_after(lambda: None)


def test_a_module_loaded_in_a_namespace_gives_it_back_when_it_is_unloaded():
    """The ring of program starts belongs to the module: it is where the module was loaded, and goes with it."""
    rmmod("semshare_exec")
    try:

        def inside():
            unshare()
            insmod("semshare_exec", "ring_bytes=4096")
            with Handle() as handle:
                assert handle.names() == ["exec"]

        in_child(inside)
        with Handle() as handle:
            assert "exec" not in handle.names()
        assert not none_left()
        for _ in range(60):  # more than the ring has room for: its thread waits for space
            os.waitpid(os.posix_spawn(BUSYBOX, ["true"], {}), 0)
        gone_after(lambda: rmmod("semshare_exec"))
    finally:
        if loaded("semshare_exec"):
            rmmod("semshare_exec")
        insmod("semshare_exec")


# User namespaces


def test_root_of_a_user_namespace_is_root_of_no_more_than_that(open_to_all):
    """Every capability in there, none out here: through descriptors of both sides."""
    secret = make_set()
    with Handle().create("secret", SIZE, mode=0o600) as area, Handle() as given, Demo() as demo:
        ring = Ring(area, CAPACITY)
        before = kernel.SystemCalls().getall(ring.semid, 3)

        def inside():
            become(NOBODY)
            with Handle().create("mine", PAGE, mode=0o600) as mine:
                unshare_user()
                assert os.getuid() == 0
                # A handle of the namespace outside, and a capability that counts for nothing there.
                assert errno_of(given.attach, "secret", READ) == "EACCES"
                assert errno_of(given.unlink, "secret") == "EPERM"
                assert "secret" not in given.names()
                assert errno_of(area.bind, secret) == "EXDEV"
                assert errno_of(demo.start, area.fd, COUNTER, count=1, offset=COUNTER_AT) == "EACCES"
                assert errno_of(demo.start, area.fd, RECORDS, count=1) == "EACCES"
                # It is the same user to those outside.
                assert mine.info()["uid"] == 0
                mine.unlink("mine")
            for context in Route.CALLER, Route.KTHREAD:
                route = Route(context)
                for semid in secret, ring.semid:
                    assert kernel.name_of(route.semctl(semid, 0, GETVAL)) == "-EINVAL"
                    assert kernel.name_of(route.semctl(semid, 0, SETVAL, 0)) == "-EINVAL"
                    assert kernel.name_of(route.semctl(semid, 0, IPC_RMID)) == "-EINVAL"
                    assert kernel.name_of(route.semop(semid, [(0, 1)])) == "-EINVAL"
                # In its own it may all, as root may.
                inner = route.semget(context + 1, 3, IPC_CREAT | IPC_EXCL)
                assert inner >= 0 and route.setall(inner, [1, 2, 3]) == 0 and route.getall(inner, 3) == [1, 2, 3]
                ds = kernel.Semid64Ds()
                assert route.semctl(inner, 0, kernel.IPC_STAT, ds) == 0
                assert (ds.perm.uid, ds.perm.cuid, ds.perm.mode) == (0, 0, 0)
                # An owner that has no name in there cannot be given.
                ds.perm.uid = 1
                assert kernel.name_of(route.semctl(inner, 0, kernel.IPC_SET, ds)) == "-EINVAL"
                route.close()
            with Handle().create("own", SIZE, mode=0) as own, Handle() as second:
                second.attach("own")  # by CAP_IPC_OWNER
                third = Ring(own, CAPACITY)
                assert own.info()["uid"] == 0
                with Demo() as mine:
                    mine.start(own.fd, COUNTER, count=10, offset=COUNTER_AT)
                    mine.wait(1)
                third.close()
            Child.tell()

        child = Child(inside)
        child.told()
        child.wait()
        assert kernel.SystemCalls().getall(ring.semid, 3) == before
        assert "mine" not in area.names()
        ring.close()
    semctl(secret, 0, IPC_RMID)


def test_the_namespaces_of_a_user_go_with_its_last_process(open_to_all):
    """User and IPC namespace of somebody without rights, killed with kernel threads asleep in them."""
    eventually(lambda: none_left(NOBODY))
    for kind in "ipc", "user":
        for situation in asleep_on_a_full_ring, blocked_routed_calls_of_kernel_threads, finished_and_not_stopped:

            def last(situation=situation):
                become(NOBODY)
                unshare_user()
                held = situation()
                Child.tell()
                signal.pause()
                del held

            def attempt(last=last, kind=kind):
                child = Child(last)
                child.told()
                took = gone_after(child.kill, NOBODY, kind)
                assert kernel_threads() == []
                return took

            soonest(attempt)
