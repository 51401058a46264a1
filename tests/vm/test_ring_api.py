# SPDX-License-Identifier: MIT
"""The ring functions of kapi.h, call by call, in process context, beside plain Python on the same ring."""

import ctypes
import fcntl
import os
import random
import signal
import struct
import time

import pytest
from abi import (
    AT_DEATHS,
    AT_EPOCH,
    AT_HEAD,
    AT_NEED_DATA,
    AT_NEED_SPACE,
    AT_OWNER_KIND,
    AT_OWNER_PID,
    AT_OWNER_START,
    AT_STATE,
    AT_TAIL,
    BAD_CURSORS,
    CONTROL,
    DATA,
    GETNCNT,
    GETVAL,
    IPC_CREAT,
    IPC_EXCL,
    IPC_RMID,
    MUTEX,
    PAGE,
    RECORD,
    SPACE,
    TWO_OWNERS,
    Child,
    Handle,
    Ring,
    errno_of,
    eventually,
    footprint_of,
    insmod,
    key_of,
    loaded,
    rmmod,
    semctl,
    semget,
    semop,
    set_exists,
    start_time,
    unshare_ipc,
)
from kernel import KernelLog
from pace import SLACK

from semshare import Record

EOPNOTSUPP = "ENOTSUP"  # Python knows it by its other name
PUT, GET, PUT_BATCH, GET_BATCH, LOCK, UNLOCK, DESTROY, TAKE_ROLE, BURST, STATUS, RESERVE, COMMIT, CANCEL = range(1, 14)
ENTRIES, DATA_SIZE = 64, 8192
OPEN = struct.Struct("iIQIHHII")
FOREVER = -1
PROCESS, PREEMPT_OFF, SOFTIRQ, HARDIRQ, NMI = range(5)
SYSV, SPSC, MPSC = range(1, 4)
PRODUCER, CONSUMER = 1, 2  # roles


class Head(ctypes.Structure):
    """struct semshare_record."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("position", ctypes.c_uint64),
        ("sequence", ctypes.c_uint64),
        ("time_ns", ctypes.c_uint64),
    ]


class Status(ctypes.Structure):
    """struct semshare_ring_status of kapi.h."""

    _fields_ = [
        ("capacity", ctypes.c_uint64),
        ("used", ctypes.c_uint64),
        ("puts", ctypes.c_uint64),
        ("gets", ctypes.c_uint64),
        ("drops", ctypes.c_uint64 * 3),
        ("broken", ctypes.c_uint32),
    ]


class Call(ctypes.Structure):
    """struct semshare_ring_test_call."""

    _fields_ = [
        ("operation", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("context", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("timeout_ms", ctypes.c_int64),
        ("size", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("sizes", ctypes.c_uint32 * ENTRIES),
        ("types", ctypes.c_uint32 * ENTRIES),
        ("offsets", ctypes.c_uint32 * ENTRIES),
        ("records", Head * ENTRIES),
        ("data", ctypes.c_uint8 * DATA_SIZE),
    ]


IOC_OPEN = 1 << 30 | OPEN.size << 16 | 0xE570
IOC_CALL = 3 << 30 | ctypes.sizeof(Call) << 16 | 0xE571


def _record(head, payload):
    return Record(payload, head.type, head.position, head.sequence, head.time_ns)


class KernelRing:
    """A kernel handle of a ring. Calls raise OSError with the errno that the kernel function returned."""

    context = PROCESS  # of its calls
    cpu = 0  # that is interrupted for it

    def __init__(self, handle, flags=0, capacity=0, mode=0o600, policy=0, context=PROCESS, variant=SYSV, max_payload=0):
        self.fd = os.open("/dev/semshare-ring-test", os.O_RDWR | os.O_CLOEXEC)
        try:
            words = OPEN.pack(handle.fd, flags, capacity, mode, policy, context, variant, max_payload)
            fcntl.ioctl(self.fd, IOC_OPEN, words)
        except OSError:
            os.close(self.fd)
            raise

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _call(self, operation, timeout_ms=0, **fields):
        call = Call(operation=operation, context=self.context, cpu=self.cpu, timeout_ms=timeout_ms, **fields)
        return call, lambda: self._finish(call)

    def _finish(self, call):
        fcntl.ioctl(self.fd, IOC_CALL, call)
        if call.result < 0:
            raise OSError(-call.result, os.strerror(-call.result))
        return call.result

    def put(self, payload, kind=0, timeout_ms=0):
        call, run = self._call(PUT, timeout_ms)
        ctypes.memmove(call.data, payload, min(len(payload), DATA_SIZE))
        call.sizes[0], call.types[0] = len(payload), kind
        return run()

    def get(self, size=DATA_SIZE, timeout_ms=0):
        found = self.get_record(size, timeout_ms)
        return found.type, found.payload

    def get_record(self, size=DATA_SIZE, timeout_ms=0):
        call, run = self._call(GET, timeout_ms, size=size)
        length = run()
        assert length == call.records[0].size
        return _record(call.records[0], bytes(call.data[:length]))

    def put_batch(self, records, timeout_ms=0):
        call, run = self._call(PUT_BATCH, timeout_ms, count=len(records))
        at = 0
        for number, (kind, payload) in enumerate(records):
            ctypes.memmove(ctypes.addressof(call.data) + at, payload, len(payload))
            call.sizes[number], call.types[number], call.offsets[number] = len(payload), kind, at
            at += len(payload)
        return run()

    def get_batch(self, count=ENTRIES, size=DATA_SIZE, timeout_ms=0):
        return [(each.type, each.payload) for each in self.get_records(count, size, timeout_ms)]

    def get_records(self, count=ENTRIES, size=DATA_SIZE, timeout_ms=0):
        call, run = self._call(GET_BATCH, timeout_ms, count=count, size=size)
        taken = [(call.offsets[n], call.records[n]) for n in range(run())]
        assert all(at % 8 == 0 for at, head in taken if head.size)
        return [_record(head, bytes(call.data[at : at + head.size])) for at, head in taken]

    def status(self):
        call, run = self._call(STATUS)
        run()
        return Status.from_buffer_copy(call.data)

    def reserve(self, size, timeout_ms=0):
        return self._call(RESERVE, timeout_ms, size=size)[1]()

    def commit(self, payload, kind=0):
        call, run = self._call(COMMIT)
        ctypes.memmove(call.data, payload, len(payload))
        call.sizes[0], call.types[0] = len(payload), kind
        return run()

    def cancel(self):
        return self._call(CANCEL)[1]()

    def lock(self, timeout_ms=0):
        return self._call(LOCK, timeout_ms)[1]()

    def unlock(self):
        return self._call(UNLOCK)[1]()

    def take_role(self, role):
        call, run = self._call(TAKE_ROLE)
        call.types[0] = role
        return run()

    def burst(self, kind, first, count, longest=160, timeout_ms=30_000):
        """Put the records `first` and on without waiting, see ring_test.h: how many, and calls that found no space."""
        call, run = self._call(BURST, timeout_ms, size=count)
        call.types[0], call.types[1], call.sizes[0] = kind, first, longest
        return run(), call.count

    def destroy(self):
        return self._call(DESTROY)[1]()


@pytest.fixture(scope="module", autouse=True)
def module():
    if not loaded("semshare_ring_test"):
        insmod("semshare_ring_test")
    yield
    rmmod("semshare_ring_test")


@pytest.fixture
def area():
    with Handle().create("api", CONTROL + 4096 + PAGE) as handle:
        yield handle
    with Handle() as handle:
        assert "api" not in [each["name"] for each in handle.list()]


@pytest.fixture
def kernel(area):
    with KernelRing(area, capacity=4096) as ring:
        yield ring


@pytest.fixture
def user(kernel, area):
    ring = Ring(area)
    yield ring
    ring.close()


# Making one


def test_ring_made_by_the_kernel_is_a_ring_to_a_process(area, kernel, user):
    info = area.info()
    assert user.capacity == 4096 and user.semid == info["semid"] and info["bind_flags"] == 1
    assert semget(key_of("api"), 3, 0) == user.semid
    assert [semctl(user.semid, n, GETVAL) for n in range(3)] == [1, 0, 0]
    kernel.put(b"from the kernel", 7)
    assert user.get() == [(7, b"from the kernel")]
    user.put(8, b"from a process")
    assert kernel.get() == (8, b"from a process")


@pytest.mark.parametrize("capacity", [1, 2048, 4097, 6000, 16384, 2**31, 2**63])
def test_bad_capacity(area, capacity):
    assert errno_of(KernelRing, area, capacity=capacity) == "EINVAL"
    assert area.info()["semid"] == -1


def test_bad_mode(area):
    assert errno_of(KernelRing, area, capacity=4096, mode=0o1600) == "EINVAL"


def test_area_takes_one_ring(area, kernel):
    assert errno_of(KernelRing, area, capacity=4096) == "EEXIST"
    assert errno_of(KernelRing, area, flags=4) == "EINVAL"


def test_set_that_has_the_key_is_left_alone(area):
    semid = semget(key_of("api"), 3, IPC_CREAT | IPC_EXCL | 0o600)
    try:
        assert errno_of(KernelRing, area, capacity=4096) == "EEXIST"
        assert set_exists(semid) and area.info()["semid"] == -1
        area.bind(semid)
        assert errno_of(KernelRing, area) == "EAGAIN"  # a set, and no ring
    finally:
        semctl(semid, 0, IPC_RMID)


def test_set_is_not_left_behind_where_another_is_bound(area):
    semid = semget(0, 3, 0o600)
    area.bind(semid, 1)
    assert errno_of(KernelRing, area, capacity=4096) == "EBUSY"
    assert errno_of(semget, key_of("api"), 0, 0) == "ENOENT"


def test_ring_is_made_in_the_callers_own_namespace_only(area):
    def elsewhere():
        unshare_ipc()
        assert errno_of(KernelRing, area, capacity=4096) == "EXDEV"

    Child(elsewhere).wait()


# Put and get


def test_size_limits(kernel, user):
    longest = 4096 // 4 - RECORD.size
    assert errno_of(kernel.put, b"x" * (longest + 1)) == "EMSGSIZE"
    kernel.put(b"x" * longest, 1)
    kernel.put(b"", 2)
    assert errno_of(kernel.get, size=longest - 1) == "EMSGSIZE"
    assert errno_of(kernel.get_batch, size=longest - 1) == "EMSGSIZE"
    assert kernel.get(size=longest) == (1, b"x" * longest)  # it had stayed
    assert kernel.get(size=0) == (2, b"")


def test_empty_and_full_without_waiting(kernel, user):
    assert errno_of(kernel.get) == "EAGAIN"
    count = 0
    while errno_of(kernel.put, b"x" * 32) is None:
        count += 1
    assert count == 64
    assert errno_of(kernel.put, b"x" * 32) == "EAGAIN"
    # Who does not wait asks nobody to be woken.
    assert user.get32(AT_NEED_SPACE) == user.get32(AT_NEED_DATA) == 0
    assert len(kernel.get_batch()) == 64


@pytest.mark.parametrize("timeout_ms", [1, 50, 250])
def test_timeouts(kernel, timeout_ms):
    began = time.monotonic()
    assert errno_of(kernel.get, timeout_ms=timeout_ms) == "ETIMEDOUT"
    assert timeout_ms / 1000 <= time.monotonic() - began < timeout_ms / 1000 + SLACK
    while errno_of(kernel.put, bytes(900)) is None:
        pass
    began = time.monotonic()
    assert errno_of(kernel.put, bytes(900), timeout_ms=timeout_ms) == "ETIMEDOUT"
    assert timeout_ms / 1000 <= time.monotonic() - began < timeout_ms / 1000 + SLACK


@pytest.mark.parametrize("what", ["get", "put", "lock"])
def test_signal_ends_any_sleep(kernel, user, what):
    if what == "put":
        while errno_of(kernel.put, bytes(900)) is None:
            pass
    if what == "lock":
        user.take()
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        began = time.monotonic()
        call = {"get": kernel.get, "put": lambda **k: kernel.put(bytes(900), **k), "lock": kernel.lock}[what]
        assert errno_of(call, timeout_ms=FOREVER) == "EINTR"
        assert time.monotonic() - began < 0.3 + SLACK
    finally:
        signal.signal(signal.SIGALRM, before)
    if what == "lock":
        user.give()


def test_put_of_a_process_wakes_the_kernels_get(area, kernel, user):
    """By its hint, not by the look that comes every 100 ms: the put's own call hands it to who sleeps."""
    turns = 40
    go, going = os.pipe()

    def consumer():
        with KernelRing(area) as mine:
            for number in range(turns):
                os.read(go, 1)
                assert struct.unpack("Q", mine.get(timeout_ms=FOREVER)[1])[0] == number
                Child.tell()

    child = Child(consumer)
    woken = 0
    for number in range(turns):
        os.write(going, b"g")
        eventually(lambda: semctl(user.semid, DATA, GETNCNT) == 1)
        user.put(1, struct.pack("Q", number))
        woken += semctl(user.semid, DATA, GETNCNT) == 0
        child.told()
    child.wait()
    os.close(go)
    os.close(going)
    # A look that ends just before the put takes none.
    assert woken > turns / 2, woken


def test_kernel_put_wakes_a_process_and_is_woken_by_its_get(area, kernel, user):
    count = 300

    def producer():
        with KernelRing(area) as mine:
            for number in range(count):
                mine.put(struct.pack("I", number) * 100, 1, timeout_ms=FOREVER)

    child = Child(producer)
    seen = []
    began = time.monotonic()
    while len(seen) < count:
        for _, payload in user.get(limit=2):
            seen.append(struct.unpack_from("I", payload)[0])
    child.wait()
    assert seen == list(range(count))
    # Ten records fill the ring: without hints each fill would cost a look.
    assert time.monotonic() - began < count / 10 * 0.1 + SLACK


# Batches


def test_batch_puts_what_fits(kernel):
    records = [(n, bytes([n]) * 200) for n in range(30)]
    put = kernel.put_batch(records)
    assert put == 4096 // footprint_of(200)
    assert errno_of(kernel.put_batch, records[put:]) == "EAGAIN"
    assert kernel.get_batch() == records[:put]
    assert errno_of(kernel.get_batch) == "EAGAIN"
    assert errno_of(kernel.put_batch, []) == "EINVAL"
    assert errno_of(kernel.get_batch, count=0) == "EINVAL"


def test_batch_stops_before_a_record_that_can_never_fit(kernel):
    records = [(1, b"a"), (2, b"b" * 2000), (3, b"c")]
    assert kernel.put_batch(records) == 1
    assert errno_of(kernel.put_batch, records[1:]) == "EMSGSIZE"
    assert kernel.get_batch() == records[:1]


def test_get_batch_stops_at_count_and_at_what_fits(kernel):
    kernel.put_batch([(n, bytes([n]) * 13) for n in range(10)])
    assert [kind for kind, _ in kernel.get_batch(count=3)] == [0, 1, 2]
    assert [kind for kind, _ in kernel.get_batch(size=16 + 13)] == [3, 4]
    assert [kind for kind, _ in kernel.get_batch(size=16 + 12)] == [5]
    assert [kind for kind, _ in kernel.get_batch()] == [6, 7, 8, 9]


def test_both_sides_against_a_model(kernel, user):
    """Random puts and gets of either side are those of a queue, over many turns of the ring."""
    dice = random.Random(1)
    model = []
    total = 0
    while total < 40 * 4096:
        choice = dice.randrange(4)
        if choice == 0:
            records = [
                (dice.getrandbits(32), dice.randbytes(dice.choice((0, 1, 15, 16, 17, 100, 600))))
                for _ in range(dice.randrange(1, 6))
            ]
            try:
                put = kernel.put_batch(records)
            except BlockingIOError:
                put = 0
            model += records[:put]
            total += sum(RECORD.size + len(payload) for _, payload in records[:put])
        elif choice == 1 and user.capacity - (user.get64(AT_TAIL) - user.get64(AT_HEAD)) > 200:
            record = (dice.getrandbits(32), dice.randbytes(dice.randrange(100)))
            user.put(*record)
            model.append(record)
        elif choice == 2 and model:
            count = dice.randrange(1, 6)
            got = kernel.get_batch(count)
            assert got == model[: len(got)] and got
            del model[: len(got)]
        elif choice == 3:
            got = user.get(limit=dice.randrange(1, 6), timeout=0)
            assert got == model[: len(got)]
            del model[: len(got)]
    assert user.get32(AT_STATE) == 0


# The lock


def test_lock_excludes_and_says_who_has_it(kernel, user):
    kernel.lock()
    assert user.get32(AT_EPOCH) % 2 == 1 and user.get32(AT_OWNER_KIND) == 2
    assert user.get32(AT_OWNER_PID) == os.getpid() and user.get64(AT_OWNER_START) == start_time()
    assert errno_of(semop, user.semid, (MUTEX, -1, 0), timeout=0.05) == "EAGAIN"
    assert errno_of(kernel.lock, timeout_ms=10) == "EDEADLK"
    assert errno_of(kernel.put, b"") == "EDEADLK"
    assert errno_of(kernel.get) == "EDEADLK"
    kernel.unlock()
    assert errno_of(kernel.unlock) == "EPERM"
    assert user.get32(AT_EPOCH) % 2 == 0 and user.get32(AT_OWNER_KIND) == 0
    user.take()
    assert errno_of(kernel.lock) == "EAGAIN"
    assert errno_of(kernel.lock, timeout_ms=50) == "ETIMEDOUT"
    user.give()
    kernel.lock()
    kernel.unlock()


def test_closing_gives_the_lock_back(area, kernel, user):
    with KernelRing(area) as other:
        other.lock()
        assert errno_of(kernel.lock) == "EAGAIN"
    kernel.lock()
    kernel.unlock()
    assert user.get64(AT_DEATHS) == 0


def test_process_killed_with_the_kernels_lock_gives_it_back(area, kernel, user):
    """The handle's file closes with the process: no undo is needed."""

    def victim():
        KernelRing(area).lock()
        Child.tell()
        signal.pause()

    child = Child(victim)
    child.told()
    assert errno_of(kernel.lock) == "EAGAIN"
    child.kill()
    kernel.lock(timeout_ms=5000)
    kernel.unlock()
    assert semctl(user.semid, MUTEX, GETVAL) == 1


def test_process_killed_asleep_in_the_kernels_get_leaves_nothing(area, kernel, user):
    for _ in range(5):

        def victim():
            Child.tell()
            KernelRing(area).get(timeout_ms=FOREVER)

        child = Child(victim)
        child.told()
        eventually(lambda: semctl(user.semid, DATA, GETNCNT) == 1)
        child.kill()
        assert semctl(user.semid, DATA, GETNCNT) == 0
    assert area.info()["kernel_users"] == 1
    kernel.put(b"x")
    assert kernel.get() == (0, b"x")


# Where nobody may sleep

CALLS = {
    "put": lambda ring: ring.put(b"x"),
    "put-batch": lambda ring: ring.put_batch([(1, b"x"), (2, b"y")]),
    "get": lambda ring: ring.get(),
    "get-batch": lambda ring: ring.get_batch(),
    "lock": lambda ring: ring.lock(),
    "lock-waiting": lambda ring: ring.lock(timeout_ms=FOREVER),
    "unlock": lambda ring: ring.unlock(),
}


@pytest.mark.parametrize("flags", [0, 1], ids=["locked", "unlocked"])
@pytest.mark.parametrize("what", CALLS)
def test_every_call_refuses_where_sleeping_is_not_allowed(area, kernel, user, what, flags):
    kernel.put(b"there")
    with KernelRing(area, flags=flags) as ring, KernelLog() as log:
        if what == "unlock":
            ring.lock()
        before = user.memory[:], semctl(user.semid, MUTEX, GETVAL)
        ring.context = PREEMPT_OFF
        assert errno_of(CALLS[what], ring) == EOPNOTSUPP
        assert (user.memory[:], semctl(user.semid, MUTEX, GETVAL)) == before
        ring.context = PROCESS
        if what == "unlock":
            ring.unlock()
        tells_the_caller(log)
    assert kernel.get() == (0, b"there")


@pytest.mark.parametrize("capacity", [0, 4096], ids=["open", "make"])
def test_no_ring_is_opened_or_made_where_sleeping_is_not_allowed(area, capacity):
    if not capacity:
        KernelRing(area, capacity=4096).close()
    before = area.info(), bytes(area.map())
    with KernelLog() as log:
        assert errno_of(KernelRing, area, capacity=capacity, context=PREEMPT_OFF) == EOPNOTSUPP
        tells_the_caller(log)
    assert (area.info(), bytes(area.map())) == before


def tells_the_caller(log):
    """Once since the module was loaded."""
    told = [line for line in log.read() if "sleeping is not allowed" in line]
    assert len(told) <= 1
    assert all("[semshare_ring_test]" in line for line in told), told


# Broken, destroyed, unlocked


def test_record_that_lies_breaks_the_ring(kernel, user):
    kernel.put(b"x" * 100)
    user.set32(CONTROL, 5000)  # its size
    assert errno_of(kernel.get) == "EPROTO"
    assert user.get32(AT_STATE) == BAD_CURSORS
    user.set32(AT_STATE, 0)
    for call in (kernel.get, lambda: kernel.put(b""), kernel.lock):
        assert errno_of(call) == "EPROTO"
    assert semctl(user.semid, MUTEX, GETVAL) == 1
    assert [semctl(user.semid, n, GETVAL) for n in (DATA, SPACE)] == [1, 1]


def test_break_wakes_a_sleeper(area, kernel, user):
    def sleeper():
        with KernelRing(area) as mine:
            Child.tell()
            assert errno_of(mine.get, timeout_ms=FOREVER) == "EPROTO"

    child = Child(sleeper)
    child.told()
    eventually(lambda: semctl(user.semid, DATA, GETNCNT) == 1)
    user.set32(AT_STATE, 1)
    assert errno_of(kernel.lock) == "EPROTO"
    child.wait()


def test_second_owner_is_noticed_on_leaving(kernel, user):
    kernel.lock()
    user.set32(AT_EPOCH, user.get32(AT_EPOCH) + 2)
    assert errno_of(kernel.unlock) == "EPROTO"
    assert user.get32(AT_STATE) == TWO_OWNERS
    assert semctl(user.semid, MUTEX, GETVAL) == 1


def test_destroy_ends_it_for_all(area, kernel, user):
    def sleeper():
        with KernelRing(area) as mine:
            Child.tell()
            assert errno_of(mine.get, timeout_ms=FOREVER) == "EIDRM"
            assert errno_of(mine.get) == "EPROTO"

    child = Child(sleeper)
    child.told()
    eventually(lambda: semctl(user.semid, DATA, GETNCNT) == 1)
    kernel.destroy()
    child.wait()
    assert not set_exists(user.semid)
    with Handle() as other:
        assert errno_of(other.attach, "api") == "ENOENT"
    assert errno_of(KernelRing, area) == "EIDRM"


def test_removed_set_is_eidrm(kernel, user):
    semctl(user.semid, 0, IPC_RMID)
    assert errno_of(kernel.put, b"") == "EIDRM"
    assert errno_of(kernel.get) == "EIDRM"
    assert errno_of(kernel.lock) == "EIDRM"


def test_unlocked_handle_uses_no_semaphore_and_starts_over_after_a_lie(area, kernel, user):
    user.take()
    with KernelRing(area, flags=1) as unlocked:
        unlocked.put(b"x" * 20, 3)
        assert unlocked.get() == (3, b"x" * 20)
        unlocked.lock()
        unlocked.unlock()
        assert errno_of(unlocked.get) == "EAGAIN"
        assert errno_of(unlocked.get, timeout_ms=30) == "ETIMEDOUT"
        user.set64(AT_HEAD, user.get64(AT_TAIL) + RECORD.size)
        assert errno_of(unlocked.put, b"") == "EPROTO"
        assert errno_of(unlocked.get) == "EPROTO"
        unlocked.put(b"again")
        assert unlocked.get() == (0, b"again")
        unlocked.put(b"torn")
        user.set64(CONTROL + (user.get64(AT_HEAD) & 4095) + 8, 1)  # its position
        assert errno_of(unlocked.get) == "EPROTO"
        assert errno_of(unlocked.get) == "EAGAIN"
    assert user.get32(AT_STATE) == 0
    assert [semctl(user.semid, n, GETVAL) for n in range(3)] == [0, 0, 0]
    user.give()
    kernel.put(b"locked")
    assert kernel.get() == (0, b"locked")
