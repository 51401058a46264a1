# SPDX-License-Identifier: MIT
"""The ways in which a kernel caller of SysV semaphores, or ipc/sem.c itself, once went wrong, tried on the module.

What other files try is not tried again here:

- SEM_UNDO in a kernel thread or a workqueue, and in a namespace that is not the caller's, where an open file, a process
  or a thread goes away with its namespace: test_entry_points.py, test_namespaces.py.
- A set that becomes another one with the same id under a kernel caller, SETALL and the undo of others, SEMMNI: for
  direct calls of the entry points, test_entry_points.py.
- Signals in the middle of routed calls: test_route.py.  Creators of a lock killed between each two steps:
  tests/host/test_lock_processes.py.

Each race is run again and again, around the instant that matters: what must hold, holds each time, and the kernel log
is looked through at the end.
"""

import ast
import contextlib
import ctypes
import errno
import mmap
import os
import pathlib
import random
import select
import signal
import struct
import time

import kernel
import pytest
from effort import EFFORT, scaled
from kernel import (
    CLONE_NEWIPC,
    GETALL,
    GETNCNT,
    GETPID,
    GETVAL,
    IPC_CREAT,
    IPC_EXCL,
    IPC_NOWAIT,
    IPC_PRIVATE,
    IPC_RMID,
    IPC_STAT,
    SEM_UNDO,
    SETALL,
    SETVAL,
    EntryPoints,
    Route,
    Semid64Ds,
    name_of,
    shorts,
)
from namespaces import needs_same_id, same_id
from pace import SLACK

CLONE_NEWPID = 0x20000000
KEY = 0x5E5B06
EAGAIN, EIDRM, EINTR, EINVAL = -errno.EAGAIN, -errno.EIDRM, -errno.EINTR, -errno.EINVAL

pytestmark = pytest.mark.usefixtures("no_sets_left")
system = kernel.SystemCalls()


@pytest.fixture(scope="module")
def device():
    assert kernel.load("semshare_test") == 0
    device = kernel.Device()
    yield device
    device.close()
    assert kernel.unload("semshare_test") == 0


WAYS = {
    "route": lambda device: Route(Route.CALLER),
    "route-kthread": lambda device: Route(Route.KTHREAD),
    "test": lambda device: EntryPoints(device, kernel.PROCESS),
    "test-kthread": lambda device: EntryPoints(device, kernel.KTHREAD),
}


def make_caller(way, device):
    caller = WAYS[way](device)
    yield caller
    if isinstance(caller, Route):
        caller.close()


@pytest.fixture(params=WAYS)
def caller(request, device):
    """Each way into the module."""
    yield from make_caller(request.param, device)


@pytest.fixture(params=["route", "test"])
def process(request, device):
    """Those in which the process itself acts, so that its operations can be undone."""
    yield from make_caller(request.param, device)


@pytest.fixture(params=["route", "route-kthread"])
def route(request, device):
    """Those that take addresses in user memory."""
    yield from make_caller(request.param, device)


@pytest.fixture
def callers(device):
    """The system calls and all ways into the module."""
    with contextlib.ExitStack() as stack:
        make = contextlib.contextmanager(make_caller)
        yield [system, *(stack.enter_context(make(way, device)) for way in WAYS)]


# ---------------------------------------------------------------- sets and processes


def new_set(values, semid=None):
    """A set with these values; with that id if it is given and free."""
    if semid is not None:
        same_id(semid)
    made = system.semget(IPC_PRIVATE, len(values), 0o600)
    assert made >= 0, name_of(made)
    assert system.setall(made, values) in (0, EIDRM, EINVAL)
    return made


def sleepers(semid, number=0):
    return system.semctl(semid, number, GETNCNT)


class Worker:
    """A forked process that runs a function: what that returns comes back as text, "" if it was killed before."""

    def __init__(self, function):
        self._answer, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.signal(signal.SIGUSR1, lambda *_: None)
                signal.alarm(600)
                text = str(function())
            except BaseException as error:
                text = repr(error)
            os.write(answer, text.encode())
            os._exit(0)
        os.close(answer)

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)

    def answer(self):
        """Waits for its end."""
        assert select.select([self._answer], [], [], 120)[0], "it never answered"
        text = os.read(self._answer, 1 << 16).decode()
        self.bury()
        return text

    def bury(self):
        if self.pid is not None:
            pid, self.pid = self.pid, None
            os.close(self._answer)
            os.waitpid(pid, 0)


@pytest.fixture
def start():
    """Starts workers, and ends what is left of them."""
    workers = []

    def start(function):
        workers.append(Worker(function))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.pid is not None:
            worker.kill()
            worker.bury()


class Shared:
    """Memory that a test and its workers share; an int in it ends the workers' loops."""

    def __init__(self):
        self.map = mmap.mmap(-1, 4 * mmap.PAGESIZE)
        self.over = ctypes.c_int.from_buffer(self.map, 0)
        self.read, self.written, self.done, self.refused = (
            ctypes.c_int.from_buffer(self.map, at) for at in (4, 8, 12, 16)
        )
        self.address = ctypes.addressof(self.over) + mmap.PAGESIZE

    def put(self, data, at=0):
        self.map[mmap.PAGESIZE + at : mmap.PAGESIZE + at + len(data)] = data


# ---------------------------------------------------------------- the id of another set


@needs_same_id
def test_no_operation_falls_into_the_gap_between_a_set_and_its_successor(caller, start):
    """Between the lookup of a set and its lock it is removed and another made of the same id, over and over.

    A token wanders from the first semaphore to the second: no set ever has more or fewer than it was made with.
    """
    semid = new_set([5, 0])
    shared = Shared()

    def replace():
        rounds = 0
        while not shared.over.value:
            values = system.getall(semid, 2)
            assert values == [0, 0] or sum(values) == 5, values
            assert system.semctl(semid, 0, IPC_RMID) == 0
            assert new_set([5, 0], semid) == semid
            rounds += 1
        return rounds

    def use():
        answers = set()
        ds = Semid64Ds()
        while not shared.over.value:
            answers.add(caller.semop(semid, [(0, -1, IPC_NOWAIT), (1, 1)]))
            answers.add(caller.semtimedop(semid, [(0, -9), (1, 9)], 0, 3_000_000))
            values = caller.getall(semid, 2)
            assert values in (EIDRM, EINVAL, [0, 0]) or sum(values) == 5, values
            answers.add(min(0, caller.semctl(semid, 0, GETVAL)))
            stat = caller.semctl(semid, 0, IPC_STAT, ds)
            assert stat in (EIDRM, EINVAL) or (stat == 0 and ds.nsems == 2)
            shared.done.value |= 0 in answers
            shared.refused.value |= bool(answers & {EIDRM, EINVAL})
        return sorted(answers)

    replacing, using = start(replace), [start(use) for _ in range(3)]
    time.sleep(max(0.5, EFFORT))
    kernel.eventually(lambda: shared.done.value and shared.refused.value, 6 * SLACK)
    shared.over.value = 1
    assert int(replacing.answer()) > 0
    answers = set().union(*(ast.literal_eval(worker.answer()) for worker in using))
    # EINTR, without any signal, is what the kernel's semtimedop answers to a removal at the instant the time is over.
    assert answers <= {0, EAGAIN, EIDRM, EINVAL, EINTR}, answers
    assert 0 in answers and answers & {EIDRM, EINVAL}, "it never met a removal: nothing was tried"


@needs_same_id
def test_values_move_whole_while_the_set_changes_its_size(route, start):
    """More than 256 and fewer, in and out of user memory, while a set of another size takes the id in between."""
    sizes, largest, mark = (257, 1000, 256, 300, 2), 1000, 0xABCD
    semid = new_set([sizes[0]] * sizes[0])
    shared = Shared()

    def replace():
        rounds = 0
        while not shared.over.value:
            size = sizes[rounds % len(sizes)]
            assert system.semctl(semid, 0, IPC_RMID) == 0
            assert new_set([size] * size, semid) == semid
            rounds += 1
            time.sleep(0.002)
        return rounds

    def read():
        seen = set()
        while not shared.over.value:
            values = shorts([mark] * (largest + 1))
            result = route.semctl(semid, 0, GETALL, values)
            if result:
                assert result in (EIDRM, EINVAL), name_of(result)
                assert set(values) == {mark}
                continue
            size = list(values).index(mark)
            assert size in sizes and set(values[size:]) == {mark}
            assert set(values[:size]) in ({0}, {size}, {7}), values[:size]
            seen.add(size)
            shared.read.value = len(seen)
        return len(seen)

    def write():
        answers = set()
        values = shorts([7] * largest)
        while not shared.over.value:
            answers.add(route.semctl(semid, 0, SETALL, values))
            shared.written.value = 0 in answers
        return sorted(answers)

    replacing, reading, writing = start(replace), start(read), start(write)
    time.sleep(max(0.5, 1.5 * EFFORT))
    # A kernel thread that a slow kernel makes for each call seldom meets the set between two removals.
    kernel.eventually(lambda: shared.read.value > 1 and shared.written.value, 6 * SLACK)
    shared.over.value = 1
    assert int(replacing.answer()) > 0
    assert int(reading.answer()) > 1
    assert 0 in (answers := ast.literal_eval(writing.answer())) and set(answers) <= {0, EIDRM, EINVAL}


# ---------------------------------------------------------------- the instant of IPC_RMID


@needs_same_id
def test_exits_at_the_instant_of_removal_undo_nothing_in_the_successor(process, start):
    for number in range(scaled(12)):
        semid = new_set([10, 0])
        gate, open_gate = os.pipe()

        def take_and_wait(semid=semid, gate=gate):
            assert process.semop(semid, [(0, -1, SEM_UNDO), (1, 1, SEM_UNDO)]) == 0
            return os.read(gate, 1)

        workers = [start(take_and_wait) for _ in range(4)]
        assert kernel.eventually(lambda semid=semid: system.getall(semid, 2) == [6, 4])
        os.write(open_gate, b"gogo")
        time.sleep(random.uniform(0, 0.004) if number % 3 else 0)
        assert system.semctl(semid, 0, IPC_RMID) == 0
        assert new_set([3, 3], semid) == semid
        for worker in workers:
            worker.answer()
        assert system.getall(semid, 2) == [3, 3]
        assert system.semctl(semid, 0, IPC_RMID) == 0
        os.close(gate)
        os.close(open_gate)


def test_a_timeout_at_the_instant_of_removal_is_one_or_the_other(caller, start):
    """The moment of the removal is moved to where both come."""
    timeout = 0.006 * SLACK
    delay, seen = timeout / 2, set()
    rounds = 0
    while rounds < scaled(15, least=12) or ({EAGAIN, EIDRM} - seen and rounds < 100):
        rounds += 1
        semid = new_set([0])
        workers = [
            start(lambda semid=semid: caller.semtimedop(semid, [(0, -1)], 0, round(timeout * 1e9))) for _ in range(3)
        ]
        kernel.eventually(lambda semid=semid: sleepers(semid) != 0, timeout)
        time.sleep(delay)
        assert system.semctl(semid, 0, IPC_RMID) == 0
        answers = [int(worker.answer()) for worker in workers]
        # A worker may come too late even to find the set.
        assert set(answers) <= {EAGAIN, EIDRM, EINVAL}, answers
        seen.update(answers)
        delay *= 0.8 if answers.count(EAGAIN) > 1 else 1.2
    assert {EAGAIN, EIDRM} <= seen


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL])
def test_a_signal_at_the_instant_of_removal_ends_the_sleep_once(caller, number, start):
    for attempt in range(scaled(10)):
        semid = new_set([0])
        workers = [start(lambda semid=semid: caller.semop(semid, [(0, -1)])) for _ in range(3)]
        assert kernel.eventually(lambda semid=semid: sleepers(semid) == 3)
        gate, open_gate = os.pipe()

        def send(workers=workers, gate=gate):
            os.read(gate, 1)
            for worker in workers:
                worker.kill(number)

        sender = start(send)
        os.write(open_gate, b"x")
        time.sleep(random.uniform(0, 0.003) if attempt % 3 else 0)
        assert system.semctl(semid, 0, IPC_RMID) == 0
        sender.answer()
        answers = [worker.answer() for worker in workers]
        allowed = {str(EIDRM), str(EINTR) if number == signal.SIGUSR1 else ""}
        assert set(answers) <= allowed, answers
        os.close(gate)
        os.close(open_gate)
    assert not kernel.threads("semshare/")


# ---------------------------------------------------------------- the instant of the wake-up


def kill_at_the_wake_up(caller, start, flags, values):
    """A sleeper's P is granted and the sleeper killed at once: the value must be one of these afterwards."""
    seen = set()
    for attempt in range(scaled(24, least=12)):
        semid = new_set([0])
        worker = start(lambda semid=semid: caller.semop(semid, [(0, -1, flags)]))
        assert kernel.eventually(lambda semid=semid: sleepers(semid) == 1)
        first, second = worker.kill, lambda semid=semid: system.semop(semid, [(0, 1)])
        if attempt % 2:
            first, second = second, first
        first()
        time.sleep((0, 0.0003, 0.03, 0, 0.003)[attempt // 2 % 5])
        second()
        worker.answer()
        assert sleepers(semid) == 0
        value = system.semctl(semid, 0, GETVAL)
        assert value in values
        seen.add(value)
        # It can be had, or given and had.
        assert system.semop(semid, [(0, -1 if value else 1, IPC_NOWAIT)]) == 0
        assert system.semctl(semid, 0, IPC_RMID) == 0
    assert not kernel.threads("semshare/")
    return seen


def test_a_sleeper_killed_at_its_wake_up_has_taken_or_not(caller, start):
    assert kill_at_the_wake_up(caller, start, 0, {0, 1}) == {0, 1}


def test_a_sleeper_killed_at_its_wake_up_gives_back_what_it_took_with_undo(process, start):
    assert kill_at_the_wake_up(process, start, SEM_UNDO, {1}) == {1}


def test_a_thread_stopped_by_a_signal_is_gone_and_does_not_try_again(start):
    route = Route(Route.KTHREAD)
    semid = new_set([0])
    worker = start(lambda: (route.semop(semid, [(0, -1)]), route.semop(semid, [(0, 1)]), route.semop(semid, [(0, -1)])))
    assert kernel.eventually(lambda: sleepers(semid) == 1)
    assert len(kernel.threads("semshare/")) == 1
    worker.kill(signal.SIGUSR1)
    # The next calls have threads of their own, which nobody stopped.
    assert worker.answer() == f"({EINTR}, 0, 0)"
    assert sleepers(semid) == 0 and not kernel.threads("semshare/")
    route.close()


# ---------------------------------------------------------------- one operation beside many


def test_single_and_several_operations_of_all_callers_keep_what_two_semaphores_share(callers, start):
    """For a single operation the kernel takes one semaphore's lock, for several the set's: neither passes the other."""
    tokens = 4
    semid = new_set([tokens, 0])
    shared = Shared()

    def move(caller):
        moves = 0
        while not shared.over.value or not moves:
            there, back = ((0, -1), (1, 1)), ((1, -1), (0, 1))
            for ops in (there, back):
                assert caller.semtimedop(semid, ops, 20) == 0
            moves += 1
        return moves

    def hold():
        held = 0
        while not shared.over.value or not held:
            for caller in callers:
                for number in (0, 1):
                    if caller.semtimedop(semid, [(number, -1)], 0, SLACK * 200_000) == 0:
                        assert caller.semop(semid, [(number, 1)]) == 0
                        held += 1
        return held

    workers = [start(hold), *(start(lambda caller=caller: move(caller)) for caller in callers)]
    until = time.monotonic() + max(SLACK / 10, 2.5 * EFFORT)
    looked = 0
    while time.monotonic() < until:
        for caller in callers:
            # The one who takes and gives in two calls has at most one in its hands; nobody else ever has one.
            assert tokens - 1 <= sum(caller.getall(semid, 2)) <= tokens
            looked += 1
    shared.over.value = 1
    done = [worker.answer() for worker in workers]
    assert all(each.isdigit() and int(each) > 0 for each in done), done
    assert looked and sum(system.getall(semid, 2)) == tokens


# ---------------------------------------------------------------- undo


def test_more_undo_than_fits_changes_nothing(process):
    """32767 times taken with undo and given without: there is no room for one more."""
    semid = new_set([32767, 0])

    def take():
        pair = [(0, -1, SEM_UNDO), (0, 1)]
        for count in [250] * 131 + [17]:
            assert process.semop(semid, pair * count) == 0
        assert system.semop(semid, [(0, -100)]) == 0
        before = state()
        answers = [
            name_of(process.semop(semid, ops))
            for ops in (
                [(0, -1, SEM_UNDO)],
                [(1, 1), (0, -1, SEM_UNDO)],
                [(1, 1, SEM_UNDO), (0, -1), (0, -1, SEM_UNDO)],
                [(0, -1, SEM_UNDO | IPC_NOWAIT)],
            )
        ]
        assert state() == before
        return answers

    def state():
        ds = Semid64Ds()
        assert system.semctl(semid, 0, IPC_STAT, ds) == 0
        pids = [system.semctl(semid, number, GETPID) for number in (0, 1)]
        return system.getall(semid, 2), pids, sleepers(semid), ds.otime, ds.ctime

    assert kernel.in_child(take) == str(["-ERANGE"] * 4)
    # 32667 + 32767 at its exit.
    assert system.getall(semid, 2) == [32767, 0]


def test_what_is_undone_at_exit_stays_within_0_and_32767(process):
    semid = new_set([0, 32767])

    def give_and_take():
        assert process.semop(semid, [(0, 5, SEM_UNDO), (1, -5, SEM_UNDO)]) == 0
        return kernel.in_child(lambda: system.semop(semid, [(0, -3), (1, 2)]))

    assert kernel.in_child(give_and_take) == "0"
    assert system.getall(semid, 2) == [0, 32767]


def test_setval_forgets_what_was_to_be_undone_in_that_semaphore_alone(caller, start):
    semid = new_set([5, 5])
    gate, open_gate = os.pipe()

    def take():
        system.semop(semid, [(0, -1, SEM_UNDO), (1, -1, SEM_UNDO)])
        os.read(gate, 1)

    worker = start(take)
    assert kernel.eventually(lambda: system.getall(semid, 2) == [4, 4])
    assert caller.semctl(semid, 0, SETVAL, 9) == 0
    os.write(open_gate, b"x")
    worker.answer()
    assert system.getall(semid, 2) == [9, 5]
    os.close(gate)
    os.close(open_gate)


# ---------------------------------------------------------------- the first ones


def open_and_use(caller, die_as_first):
    """The usual way to open a set that may not be there: sem_otime says that it has been made ready.

    A set that nobody makes ready is removed, for its creator is dead, or so slow that it has to begin again.
    """
    while True:
        semid = caller.semget(KEY, 1, IPC_CREAT | IPC_EXCL | 0o600)
        if semid >= 0:
            if die_as_first(semid):
                os._exit(0)
            if caller.semop(semid, [(0, 1)]) == 0:
                break
            continue
        assert semid == -errno.EEXIST, name_of(semid)
        semid = caller.semget(KEY, 1, 0)
        patience = time.monotonic() + 3
        ds = Semid64Ds()
        while semid >= 0 and caller.semctl(semid, 0, IPC_STAT, ds) == 0 and not ds.otime:
            if time.monotonic() > patience:
                caller.semctl(semid, 0, IPC_RMID)
            time.sleep(0.001)
        if semid >= 0 and ds.otime:
            break
    for change in (-1, 1):
        if (result := caller.semop(semid, [(0, change)])) in (EIDRM, EINVAL):
            return open_and_use(caller, die_as_first)
        assert result == 0, name_of(result)
    return "used"


@pytest.mark.parametrize("the_first", ["lives", "is killed before its first operation"])
def test_fifty_that_come_first_open_one_set(route, the_first, start):
    crowd = 50
    told, tell = os.pipe()
    gate, open_gate = os.pipe()
    shared = Shared()

    def come():
        os.write(tell, b"x")
        os.read(gate, 1)
        return open_and_use(route, die_as_first)

    def die_as_first(semid):
        # Only the one that made the very first set.
        first = ctypes.c_int.from_buffer(shared.map, 8)
        first.value += 1
        return first.value == 1 and the_first != "lives"

    workers = [start(come) for _ in range(crowd)]
    ready = 0
    while ready < crowd:
        ready += len(os.read(told, crowd))
    os.write(open_gate, b"x" * crowd)
    answers = [worker.answer() for worker in workers]
    assert answers.count("used") == (crowd if the_first == "lives" else crowd - 1), answers
    semid = system.semget(KEY, 1, 0)
    assert system.semctl(semid, 0, GETVAL) == 1
    for fd in (told, tell, gate, open_gate):
        os.close(fd)


def test_a_full_namespace_has_room_again_when_a_set_is_removed(caller):
    def fill():
        if kernel.libc.unshare(CLONE_NEWIPC):
            return "no namespaces here"
        pathlib.Path("/proc/sys/kernel/sem").write_text("32000 1024000000 500 3\n")
        # A kernel thread has no namespace of the caller's: it cannot make sets for it.
        maker = caller if isinstance(caller, Route) or caller.context == kernel.PROCESS else system
        ids = [maker.semget(IPC_PRIVATE, 1, 0o600) for _ in range(5)]
        answers = [name_of(semid) if semid < 0 else "made" for semid in ids]
        answers.append(name_of(caller.semctl(ids[1], 0, IPC_RMID)))
        answers.append("made" if maker.semget(KEY, 1, IPC_CREAT | 0o600) >= 0 else "no room")
        answers.append(name_of(maker.semget(KEY + 1, 1, IPC_CREAT | 0o600)))
        return answers

    assert kernel.in_child(fill) == str([*["made"] * 3, *["-ENOSPC"] * 2, "0", "made", "-ENOSPC"])


# ---------------------------------------------------------------- who it was


@pytest.mark.parametrize("way", ["route-kthread", "test-kthread"])
def test_a_container_sees_a_kernel_thread_as_nobody(way, device):
    semid = new_set([0])
    for by_thread in make_caller(way, device):
        assert by_thread.semop(semid, [(0, 1)]) == 0
    thread = system.semctl(semid, 0, GETPID)
    assert thread not in (0, os.getpid())
    routed = Route(Route.CALLER), Route(Route.KTHREAD)

    def inside():
        return os.getpid(), [each.semctl(semid, 0, GETPID) for each in (system, *routed)]

    def enter():
        assert kernel.libc.unshare(CLONE_NEWPID) == 0
        return kernel.in_child(inside)

    assert kernel.in_child(enter) == "(1, [0, 0, 0])"
    assert {each.semctl(semid, 0, GETPID) for each in routed} == {thread}
    for each in routed:
        each.close()


# ---------------------------------------------------------------- memory that changes


SEMTIMEDOP = struct.Struct("=iIQQII")
SEMCTL = struct.Struct("=iiiIQ")


def routed_semtimedop(route, semid, nsops, address, timeout=0):
    return route.ioctl(0x51, SEMTIMEDOP.pack(semid, nsops, address, timeout, route.context, 0))


def sembufs(*ops):
    return b"".join(struct.pack("=Hhh", *op) for op in ops)


@pytest.mark.parametrize("nsops", [1, 16, 17, 500])
def test_operations_rewritten_while_they_sleep_are_done_as_they_were(route, nsops, start):
    """On the stack and beyond it: what is copied once cannot be changed, checked or not."""
    semid = new_set([0, 0])
    shared = Shared()
    shared.put(sembufs((0, -1, 0), *[(1, 1, 0)] * (nsops - 1)))
    timeout = shared.address + 2 * mmap.PAGESIZE
    shared.put(struct.pack("=qq", 600, 0), 2 * mmap.PAGESIZE)
    worker = start(lambda: routed_semtimedop(route, semid, nsops, shared.address, timeout))
    assert kernel.eventually(lambda: sleepers(semid) == 1)
    shared.put(sembufs(*[(65535, -32768, SEM_UNDO | IPC_NOWAIT)] * nsops))
    shared.put(struct.pack("=qq", -1, -1), 2 * mmap.PAGESIZE)
    time.sleep(0.05)
    assert sleepers(semid) == 1
    assert system.semop(semid, [(0, 2)]) == 0
    assert worker.answer() == "0"
    assert system.getall(semid, 2) == [1, nsops - 1]


def rewriting(shared, contents, at=0):
    """What a worker does that puts these into the memory in turns; the first is there from the start."""
    shared.put(contents[0], at)

    def rewrite():
        while not shared.over.value:
            for content in contents:
                shared.put(content, at)

    return rewrite


def calls_until(expected, call):
    """What it answered in a while, and in a longer one on a busy machine, until all that is expected has come."""
    answers = set()
    began = time.monotonic()
    while time.monotonic() < began + 0.7 * EFFORT or (not expected <= answers and time.monotonic() < began + 30):
        answers.add(call())
    return answers


@pytest.mark.parametrize("nsops", [1, 40])
def test_operations_rewritten_all_the_time_are_good_or_refused(route, nsops, start):
    semid, other = new_set([100] * 2), new_set([100] * 2)
    shared = Shared()
    good = sembufs(*[(0, 1, IPC_NOWAIT), (0, -1, IPC_NOWAIT)] * nsops)[: 6 * nsops]
    bad = sembufs(*[(65535, -32768, SEM_UNDO | IPC_NOWAIT)] * nsops)
    zero = sembufs(*[(1, 0, IPC_NOWAIT | SEM_UNDO)] * nsops)
    rewriter = start(rewriting(shared, [good, bad, zero]))

    def call():
        bad_one = -errno.EOPNOTSUPP if route.context == Route.KTHREAD else -errno.EFBIG
        answers = calls_until({0, bad_one}, lambda: routed_semtimedop(route, semid, nsops, shared.address))
        assert {0, bad_one} <= answers <= {0, bad_one, EAGAIN, -errno.EFBIG, -errno.ERANGE}, answers
        return system.getall(semid, 2)

    before = start(call).answer()
    assert before.startswith("["), before
    shared.over.value = 1
    rewriter.answer()
    after = system.getall(semid, 2)
    if route.context == Route.KTHREAD:
        assert str(after) == before, "a kernel thread's operations were undone"
    assert all(0 <= value <= 32767 for value in after)
    assert system.getall(other, 2) == [100] * 2


def test_a_timeout_rewritten_all_the_time_is_good_or_refused(route, start):
    semid = new_set([0])
    shared = Shared()
    shared.put(sembufs((0, -1, 0)))
    at = 2 * mmap.PAGESIZE
    rewriter = start(rewriting(shared, [struct.pack("=qq", 0, 100_000), struct.pack("=qq", -1, 2**62)], at))

    def call():
        return routed_semtimedop(route, semid, 1, shared.address, shared.address + at)

    answers = calls_until({EAGAIN, EINVAL}, call)
    shared.over.value = 1
    rewriter.answer()
    assert answers == {EAGAIN, EINVAL}, answers
    assert system.semctl(semid, 0, GETVAL) == 0 and sleepers(semid) == 0


@pytest.mark.parametrize("nsems", [2, 300])
def test_values_rewritten_all_the_time_never_pass_the_check_and_change_after_it(route, nsems, start):
    semid = new_set([0] * nsems)
    shared = Shared()
    rewriter = start(rewriting(shared, [bytes(shorts([5] * nsems)), bytes(shorts([65535] * nsems))]))

    def set_and_look():
        result = route.ioctl(0x52, SEMCTL.pack(semid, 0, SETALL, route.context, shared.address))
        values = set(system.getall(semid, nsems))
        assert values <= {0, 5, 0x00FF}, values  # the last half written; the other half, 0xFF05, is refused
        return result

    answers = calls_until({0, -errno.ERANGE}, set_and_look)
    shared.over.value = 1
    rewriter.answer()
    assert answers == {0, -errno.ERANGE}, answers


def test_a_call_rewritten_all_the_time_is_good_or_refused(route, start):
    """The ioctl's own argument: how many operations, and where, and of which set."""
    semid = new_set([0])
    shared = Shared()
    shared.put(sembufs(*[(0, 1, 0), (0, -1, IPC_NOWAIT)] * 250))
    calls = [
        SEMTIMEDOP.pack(which, nsops, address, timeout, route.context, 0)
        for which, nsops, address, timeout in (
            (semid, 2, shared.address, 0),
            (semid, 500, shared.address, 0),
            (semid, 501, shared.address, 0),
            (semid, 2, 8, 0),
            (-1, 0x7FFFFFFF, shared.address, 8),
        )
    ]
    at = 3 * mmap.PAGESIZE - 64
    rewriter = start(rewriting(shared, calls, at))

    def call():
        argument = ctypes.c_void_p(shared.address + at)
        result = kernel.libc.ioctl(route.fd, ctypes.c_ulong(0x40000000 | SEMTIMEDOP.size << 16 | 0xE551), argument)
        return -ctypes.get_errno() if result == -1 else result

    answers = calls_until({0, -errno.E2BIG, -errno.EFAULT}, call)
    shared.over.value = 1
    rewriter.answer()
    assert {0, -errno.E2BIG, -errno.EFAULT} <= answers <= {0, -errno.E2BIG, -errno.EFAULT, EINVAL}, answers
    assert system.semctl(semid, 0, GETVAL) == 0
