# SPDX-License-Identifier: MIT
"""Ring in one process and between a few: records, waiting, batches, rights, removal."""

from __future__ import annotations

import errno
import os
import queue
import signal
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from processes import Child, Gate, wait_until
from semshare._abi import ffi, lib

from semshare import (
    Area,
    Denied,
    Empty,
    Error,
    Full,
    HolderDead,
    NameExists,
    NotFound,
    Record,
    Removed,
    Ring,
    RingBroken,
    SemaphoreSet,
    Timeout,
    key_of,
)

MUTEX, DATA, SPACE = lib.SEMSHARE_SEM_MUTEX, lib.SEMSHARE_SEM_DATA, lib.SEMSHARE_SEM_SPACE
NO_SENSE = "its cursors or records make no sense"


@pytest.fixture
def ring(name):
    with Ring.create(name, 4096) as ring:
        yield ring


def semaphores(ring: Ring) -> SemaphoreSet:
    return SemaphoreSet(semid=ring.semid)


LONGEST = 4096 // 4 - 32


def footprint(size: int) -> int:
    return (32 + size + 31) // 32 * 32


# ------------------------------------------------------------------------------------------------------------- records


def test_records_come_out_as_they_went_in(ring):
    for record in (b"", b"x", bytes(range(256)), b"y" * ring.max_payload):
        ring.put(record)
        assert ring.get() == record
    ring.put(bytearray(b"array"), type=7)
    ring.put(memoryview(b"view")[1:], type=0xFFFFFFFF)
    first, second = ring.get_record(), ring.get_record()
    assert isinstance(first, Record) and first[:2] == (b"array", 7)
    assert second[:2] == (b"iew", 0xFFFFFFFF) and second.position == first.position + footprint(5)


def test_records_are_numbered_and_dated(ring):
    before = time.monotonic_ns()
    ring.put_many([b"x"] * 5)
    ring.put(b"y")
    records = ring.get_records(10)
    assert [record.sequence for record in records] == list(range(6)) == [r.position // 64 for r in records]
    assert before <= records[0].time_ns <= records[5].time_ns <= time.monotonic_ns()


def test_a_ring_that_refuses_drops_what_does_not_fit_and_counts_it(name):
    with Ring.create(name, 4096, policy="refuse") as ring:
        assert ring.state().policy == "refuse"
        assert ring.put_many([bytes(LONGEST)] * 7) == 4
        began = time.monotonic()
        with pytest.raises(Full, match="dropped"):
            ring.put(b"", timeout=60)
        assert time.monotonic() - began < 30
        assert ring.state().drops == {"refused": 4, "overwritten": 0, "abandoned": 0}
        ring.get()
        ring.put(b"behind the gap")
        assert [record.sequence for record in ring.get_records(9)] == [1, 2, 3, 8]


def test_a_ring_that_overwrites_keeps_the_newest_and_counts_the_others(name):
    with Ring.create(name, 4096, policy="overwrite") as ring, Ring.attach(name) as other:
        for number in range(1000):
            other.put(number.to_bytes(4, "big") * 50)
        assert other.put_many([bytes([number]) * 200 for number in range(60)]) == 60
        records = ring.get_records(1000)
        assert len(records) == 4096 // footprint(200)
        assert [record.payload[0] for record in records] == list(range(60))[-len(records) :]
        assert [record.sequence for record in records] == list(range(1060))[-len(records) :]
        state = other.state()
        assert state.drops == {"refused": 0, "overwritten": 1060 - len(records), "abandoned": 0}
        assert (state.puts, state.gets) == (1060, len(records))


def test_there_are_three_policies(name):
    with pytest.raises(ValueError, match="wait, refuse, overwrite"):
        Ring.create(name, 4096, policy="drop")


def test_batches(ring):
    records = [bytes([i]) * i for i in range(40)]
    assert ring.put_many(records, type=3) == 40
    assert ring.get_many(10) == records[:10]
    assert [record.type for record in ring.get_records(5)] == [3] * 5
    assert ring.get_many(1000) == records[15:]
    assert ring.get_many(5, timeout=0) == [] == ring.get_many(5, blocking=False)
    assert ring.put_many(iter([b"a", bytearray(b"b"), memoryview(b"c")])) == 3
    assert ring.get_many(5) == [b"a", b"b", b"c"]
    assert ring.put_many([]) == 0
    assert ring.put_many([bytes(LONGEST)] * 10, blocking=False) == 4
    assert ring.put_many([bytes(LONGEST)] * 10, timeout=0.01) == 0
    assert ring.get_many(10) == [bytes(LONGEST)] * 4


def test_a_large_batch_of_large_records(name):
    with Ring.create(name, 1 << 20) as ring:
        records = [os.urandom(20000 + i) for i in range(50)]
        assert ring.put_many(records, timeout=0) == 50
        assert ring.get_many(100) == records


def test_full_and_empty(ring):
    with pytest.raises(Empty) as empty:
        ring.get_nowait()
    assert isinstance(empty.value, queue.Empty) and empty.value.errno == errno.EAGAIN
    assert not isinstance(empty.value, Timeout)
    with pytest.raises(Empty):
        ring.get(blocking=False)
    with pytest.raises(Empty) as late:
        ring.get(timeout=0.01)
    assert isinstance(late.value, Timeout) and isinstance(late.value, TimeoutError)
    assert late.value.errno == errno.ETIMEDOUT
    record = bytes(ring.max_payload)
    for _ in range(4):
        ring.put(record)
    assert ring.used == ring.capacity and ring.state().fill == 1.0
    with pytest.raises(Full) as full:
        ring.put_nowait(b"")
    assert isinstance(full.value, queue.Full) and full.value.errno == errno.EAGAIN
    with pytest.raises(Full) as late_full:
        ring.put(b"", timeout=0.01)
    assert isinstance(late_full.value, Timeout) and ring.name in str(late_full.value)
    assert ring.get() == record
    ring.put_nowait(b"")


def test_a_record_that_never_fits_is_refused_with_the_limit(ring):
    too_long = bytes(ring.max_payload + 1)
    assert ring.max_payload == LONGEST
    for call in (ring.put, ring.put_nowait, lambda record: ring.put_many([b"x", record])):
        with pytest.raises(ValueError, match=str(ring.max_payload)):
            call(too_long)
    assert ring.used == 0, "of a batch nothing is put then"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda ring: ring.put("text"), TypeError),
        (lambda ring: ring.put(), TypeError),
        (lambda ring: ring.put(b"", 1), TypeError),
        (lambda ring: ring.put(b"", type=-1), OverflowError),
        (lambda ring: ring.put(b"", type=1 << 32), OverflowError),
        (lambda ring: ring.put(b"", timeout=-3), ValueError),
        (lambda ring: ring.put(b"", blocking=False, timeout=3), ValueError),
        (lambda ring: ring.put_many([b"a", "b"]), TypeError),
        (lambda ring: ring.put_many(5), TypeError),
        (lambda ring: ring.get_many(0), ValueError),
        (lambda ring: ring.get_many(-1), ValueError),
        (lambda ring: ring.get_many(1 << 70), OverflowError),
        (lambda ring: ring.get_many("x"), TypeError),
        (lambda ring: ring.get(type=1), TypeError),
        (lambda ring: ring.get(True, 0, 0), TypeError),
    ],
)
def test_senseless_arguments_are_refused(ring, call, error):
    with pytest.raises(error):
        call(ring)
    assert ring.used == 0 and semaphores(ring).value() == 1


@settings(max_examples=50, deadline=None)
@given(records=st.lists(st.binary(max_size=LONGEST), max_size=30), most=st.integers(1, 40))
def test_any_records_in_any_batches(records, most):
    ring = shared_ring()
    left = list(records)
    found = []
    while left:
        del left[: ring.put_many(left, timeout=0)]
        found += ring.get_many(most)
    while ring.used:
        found += ring.get_many(most)
    assert found == records


_shared: list[Ring] = []


def shared_ring() -> Ring:
    """One ring for many examples: so they also find it at all positions."""
    if not _shared:
        _shared.append(Ring.create(f"test-{os.getpid()}-shared", 4096))
    return _shared[0]


@pytest.fixture(scope="module", autouse=True)
def close_shared_ring():
    yield
    while _shared:
        _shared.pop().close()


class RingMachine(RuleBasedStateMachine):
    """A ring, used by way of two objects, against a list."""

    number = 0

    def __init__(self):
        super().__init__()
        RingMachine.number += 1
        self.first = Ring.create(f"test-{os.getpid()}-machine-{RingMachine.number}", 4096, area_extra=100)
        self.second = Ring.attach(self.first.name)
        self.model: list[tuple[bytes, int]] = []
        self.position = 0

    def teardown(self):
        self.first.close()
        self.second.close()

    def side(self, which):
        return self.second if which else self.first

    @property
    def free(self):
        return 4096 - sum(footprint(len(payload)) for payload, _ in self.model)

    @rule(which=st.booleans(), payload=st.binary(max_size=1009), kind=st.integers(0, 2**32 - 1), way=st.integers(0, 2))
    def put(self, which, payload, kind, way):
        ring = self.side(which)
        call = [
            lambda: ring.put_nowait(payload, type=kind),
            lambda: ring.put(payload, type=kind, blocking=False),
            lambda: ring.put(payload, type=kind, timeout=0),
        ][way]
        try:
            call()
            assert footprint(len(payload)) <= self.free
            self.model.append((payload, kind))
        except Full as error:
            assert footprint(len(payload)) > self.free and isinstance(error, Timeout) == (way == 2)
        except ValueError:
            assert len(payload) > LONGEST

    @rule(which=st.booleans(), payloads=st.lists(st.binary(max_size=600), max_size=12), kind=st.integers(0, 9))
    def put_many(self, which, payloads, kind):
        fitting = 0
        free = self.free
        for payload in payloads:
            free -= footprint(len(payload))
            if free < 0:
                break
            fitting += 1
        assert self.side(which).put_many(payloads, type=kind, timeout=0) == fitting
        self.model += [(payload, kind) for payload in payloads[:fitting]]

    @rule(which=st.booleans(), way=st.integers(0, 2))
    def get(self, which, way):
        ring = self.side(which)
        call = [ring.get_nowait, lambda: ring.get(blocking=False), lambda: ring.get(timeout=0)][way]
        try:
            assert call() == self.model.pop(0)[0]
        except Empty as error:
            assert not self.model and isinstance(error, Timeout) == (way == 2)
        except IndexError:
            raise AssertionError("a record out of nothing") from None

    @rule(which=st.booleans())
    def get_record(self, which):
        try:
            payload, kind, position, *_ = self.side(which).get_record(False)
            assert (payload, kind) == self.model.pop(0)
            assert position >= self.position and position % 32 == 0
            self.position = position + footprint(len(payload))
        except Empty:
            assert not self.model

    @rule(which=st.booleans(), most=st.integers(1, 15))
    def get_many(self, which, most):
        found = self.side(which).get_many(most, timeout=0)
        assert found == [payload for payload, _ in self.model[:most]]
        del self.model[:most]

    @invariant()
    def fill_levels_agree(self):
        state = self.first.state()
        assert state.used == 4096 - self.free == self.second.used
        assert state.puts - state.gets == len(self.model)
        assert not state.broken and state.repairs == 0
        assert semaphores(self.first).value(MUTEX) == 1


TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# ------------------------------------------------------------------------------------------------- making and attaching


def test_a_ring_is_an_area_and_a_set_of_its_name(ring, name):
    assert ring.area.size == 4096 + 4096 and ring.area.name == name
    assert ring.area.info().semid == ring.semid and ring.area.info().owns_set
    there = semaphores(ring)
    assert (there.key, there.count, there.values()) == (key_of(name), 3, [1, 0, 0])
    state = ring.state()
    assert (state.name, state.key, state.semid, state.capacity) == (name, key_of(name), ring.semid, 4096)
    assert f"semid {ring.semid}" in repr(ring) and "0 of 4096" in repr(ring)


def test_create_attach_and_either(name):
    with pytest.raises(NotFound):
        Ring.attach(name)
    with Ring(name, 8192) as made:
        with Ring(name) as there:
            made.put(b"x")
            assert there.get() == b"x" and there.capacity == 8192
        with pytest.raises(NameExists):
            Ring.create(name)
        with pytest.raises(NameExists):
            Ring(name, create=True)
        with Ring(name, create=False) as attached:
            assert attached.semid == made.semid
    with pytest.raises(NotFound):
        Ring(name, create=False)
    assert "closed" in repr(made)
    for use in (made.get, lambda: made.put(b""), lambda: made.put_many([b""]), lambda: made.get_many(1)):
        with pytest.raises(ValueError, match="closed"):
            use()
    made.close()


@pytest.mark.parametrize("size", [0, -1, 1, 2048, 5000, 1 << 31, 1 << 70, 4096.0])
def test_a_size_that_is_no_power_of_two_is_refused(name, size):
    with pytest.raises(ValueError, match="power of two"):
        Ring.create(name, size)


def test_there_is_room_behind_the_ring_for_what_its_users_like(name):
    with Ring.create(name, 4096, area_extra=100) as ring, Ring.attach(name) as other:
        mine = ring.area.buffer[8192:]
        assert len(mine) == 100
        mine[0] = 5
        ring.put_many([bytes(LONGEST)] * 4)
        assert other.area.buffer[8192] == 5 and bytes(mine[1:]) == bytes(99)


def test_many_processes_open_or_make_one_ring(name):
    start, done = Gate(), Gate()
    counts = Ring(f"{name}-counts", 4096)

    def use():
        start.pass_through()
        with Ring(name, 4096) as ring:
            ring.put(b"x")
            counts.put(ring.get())
            done.pass_through()

    children = [Child(use) for _ in range(12)]
    start.open(12)
    for _ in range(12):
        assert counts.get(timeout=60) == b"x"
    done.open(12)
    assert [child.wait() for child in children] == [0] * 12
    counts.close()
    start.close(), done.close()


def test_a_leftover_set_that_nobody_used_is_replaced_and_any_other_is_not(name):
    key = key_of(name)
    leftover = SemaphoreSet(key, count=3, create=True)
    with Ring.create(name, 4096) as ring:
        assert ring.semid != leftover.semid
    used = SemaphoreSet(key, count=3, create=True)
    used.operate([(1, 1)])
    with pytest.raises(NameExists, match=f"ipcrm -s {used.semid}"):
        Ring.create(name, 4096)
    used.remove()
    other = SemaphoreSet(key, count=1, create=True)
    with pytest.raises(NameExists, match=str(other.semid)):
        Ring.create(name, 4096)
    other.remove()


def test_an_area_without_a_ring_is_not_attached_as_one(name):
    with Area(name, 100), pytest.raises(NotFound, match="holds no ring"):
        Ring.attach(name)


def test_an_area_that_names_a_strange_set_is_not_trusted(name):
    stranger = SemaphoreSet(0, count=3, create=True)
    try:
        with Ring.create(name, 4096) as ring:
            control = ffi.cast("struct semshare_ring_control *", ffi.from_buffer(ring.area.buffer))
            control.semid = stranger.semid
            with pytest.raises(Error, match="not its own"):
                Ring.attach(name)
            control.semid, control.key = ring.semid, 5
            with pytest.raises(Error, match="not its own"):
                Ring.attach(name)
        assert stranger.values() == [0, 0, 0]
    finally:
        stranger.remove()


def test_attaching_waits_until_the_ring_is_made(name):
    area = Area(name, 8192)
    started = Gate()

    def attach():
        started.open()
        with Ring.attach(name) as ring:
            assert ring.get(timeout=30) == b"late"

    child = Child(attach)
    started.pass_through()
    time.sleep(0.1)
    there = SemaphoreSet(key_of(name), count=3, create=True)
    area.bind(there.semid)
    there.operate([(0, 1)])
    lib.semshare_ring_format(
        ffi.cast("struct semshare_ring_control *", ffi.from_buffer(area.buffer)),
        ffi.new("struct semshare_ring_params *", (4096, lib.SEMSHARE_RING_SYSV, lib.SEMSHARE_RING_WAIT, 0, 0)),
        there.semid,
        key_of(name),
        name.encode().ljust(64, b"\0"),
    )
    with Ring.attach(name) as ring:
        ring.put(b"late")
        assert child.wait() == 0
    area.close()
    started.close()


def test_another_user_needs_the_right(name):
    """In POSIX shared memory: who may use the module's is tested in the machine."""
    if os.getuid():
        pytest.skip("needs root to become somebody else")

    def somebody_else():
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(Denied):
            Ring.attach(name, backend="posix")

    def welcome():
        os.setgid(65534)
        os.setuid(65534)
        with Ring.attach(name, backend="posix") as ring:
            assert ring.get() == b"for all"

    with Ring.create(name, 4096, backend="posix"):
        assert Child(somebody_else).wait() == 0
    with Ring.create(name, 4096, mode=0o666, backend="posix") as ring:
        ring.put(b"for all")
        assert Child(welcome).wait() == 0


# ------------------------------------------------------------------------------------------------------------- waiting


def test_a_consumer_sleeps_until_a_record_comes(ring):
    child = Child(lambda: sys.exit(0 if ring.get() == b"wake up" else 1))
    wait_until(lambda: semaphores(ring).waiters(DATA) == 1, "a sleeping consumer")
    assert ring.state().consumers_may_sleep
    ring.put(b"wake up")
    assert child.wait() == 0


def test_a_producer_sleeps_until_there_is_space(ring):
    ring.put_many([bytes(LONGEST)] * 4)
    child = Child(lambda: ring.put(b"at last"))
    wait_until(lambda: semaphores(ring).waiters(SPACE) == 1, "a sleeping producer")
    assert ring.state().producers_may_sleep
    assert ring.get_many(4) == [bytes(LONGEST)] * 4
    assert ring.get() == b"at last"
    assert child.wait() == 0


def test_a_batch_larger_than_the_ring_goes_through_piece_by_piece(ring):
    records = [os.urandom(500) for _ in range(100)]
    child = Child(lambda: sys.exit(0 if ring.put_many(records) == 100 else 1))
    found = []
    while len(found) < 100:
        found += ring.get_many(7, timeout=60)
    assert found == records
    assert child.wait() == 0


@pytest.mark.parametrize("sleepers", [1, 5])
def test_every_sleeper_gets_a_record_of_a_batch(ring, sleepers):
    children = [Child(lambda: sys.exit(0 if ring.get() == b"one each" else 1)) for _ in range(sleepers)]
    wait_until(lambda: semaphores(ring).waiters(DATA) == sleepers, "all asleep")
    ring.put_many([b"one each"] * sleepers)
    assert [child.wait() for child in children] == [0] * sleepers
    assert ring.used == 0


def test_hints_never_count_above_one(ring):
    for _ in range(50):
        child = Child(lambda: ring.get())
        ring.put(b"x")
        assert child.wait() == 0
        values = semaphores(ring).values()
        assert values[MUTEX] == 1 and values[DATA] <= 1 and values[SPACE] <= 1


def test_a_record_whose_wakeup_was_swallowed_is_found_all_the_same(ring):
    """As a plain program that gives no hints, or a waiter that was killed with one."""
    child = Child(lambda: sys.exit(0 if ring.get() == b"silent" else 1))
    wait_until(lambda: semaphores(ring).waiters(DATA) == 1, "a sleeping consumer")
    with ring.lock:
        control = ffi.cast("struct semshare_ring_control *", ffi.from_buffer(ring.area.buffer))
        control.need_data = 0
    ring.put(b"silent")
    assert semaphores(ring).value(DATA) == 0
    assert child.wait() == 0


def test_threads_share_a_ring(ring):
    """Producers and consumers of one object, in one process: every record once, each producer's in its order."""
    found: dict[int, list[int]] = {0: [], 1: []}
    lock = threading.Lock()

    def produce(number):
        for sequence in range(2000):
            ring.put(bytes([number]) + sequence.to_bytes(4, "little"))

    def consume(total):
        while True:
            with lock:  # so that records are noted in the order in which they were taken
                for record in ring.get_many(50, timeout=0.01):
                    found[record[0]].append(int.from_bytes(record[1:], "little"))
                if sum(map(len, found.values())) == total:
                    return

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(2)]
    threads += [threading.Thread(target=consume, args=(4000,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: list(range(2000)), 1: list(range(2000))}


def test_signals_do_not_end_a_wait_and_ctrl_c_does(ring):
    waited = Gate()

    def wait():
        hits = 0

        def count(*_):
            nonlocal hits
            hits += 1

        signal.signal(signal.SIGALRM, count)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        with pytest.raises(Empty):
            ring.get(timeout=0.2)
        assert hits > 0
        waited.open()
        assert ring.get() == b"x"
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            ring.get()
        except KeyboardInterrupt:
            sys.exit(42)

    child = Child(wait)
    waited.pass_through()
    ring.put(b"x")
    wait_until(lambda: ring.used == 0, "the child's get")
    wait_until(lambda: semaphores(ring).waiters(DATA) == 1, "the child's next wait")
    child.signal(signal.SIGINT)
    assert child.wait() == 42
    ring.put(b"y")
    assert ring.get() == b"y"
    waited.close()


def test_closing_sends_threads_home(name):
    ring = Ring.create(name, 4096)
    errors = []

    def wait():
        try:
            ring.get()
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: semaphores(ring).waiters(DATA) == 1, "a sleeper")
    ring.close()
    thread.join()
    assert "closed" in errors[0]


# ---------------------------------------------------------------------------------------------------------- the lock


def test_the_rings_lock_keeps_others_out(ring):
    def put():
        ring.put(b"from outside")

    with ring.lock as lock:
        assert lock is ring.lock and lock.held()
        child = Child(put)
        wait_until(lambda: semaphores(ring).waiters(MUTEX) == 1, "the producer's wait")
        assert ring.used == 0
        for call in (
            ring.get,
            ring.get_nowait,
            lambda: ring.put(b""),
            lambda: ring.put_many([b""]),
            lambda: ring.get_many(1),
        ):
            with pytest.raises(RuntimeError, match="holds the ring's lock"):
                call()
    assert child.wait() == 0
    assert ring.get() == b"from outside"
    with pytest.raises(ValueError, match="unlink"):
        ring.lock.unlink()


def test_the_rings_statistics_count_its_own_calls(ring):
    before = ring.lock.statistics()
    for _ in range(10):
        ring.put(b"x")
        ring.get()
    with ring.lock:
        pass
    assert (ring.lock.statistics() - before).acquisitions == 21


def test_a_ring_whose_lock_is_held_is_not_closed(name):
    with Ring.create(name, 4096) as ring, ring.lock:
        with pytest.raises(RuntimeError, match="release it first"):
            ring.close()
        assert not ring.closed


def test_a_holder_of_the_rings_lock_that_dies_is_repaired_by_the_next(ring):
    gate = Gate()

    def hold():
        ring.lock.acquire()
        gate.open()
        signal.pause()

    ring.put(b"before")
    child = Child(hold)
    gate.pass_through()
    child.kill()
    assert ring.get(timeout=60) == b"before"
    assert ring.state().repairs == 1
    gate.close()


def test_a_dead_holder_without_undo_is_named(ring):
    taker = Child(lambda: semaphores(ring).operate([(MUTEX, -1)]))
    assert taker.wait() == 0
    with pytest.raises(HolderDead, match=f"semshare unlock --semid {ring.semid}") as caught:
        ring.get()
    assert caught.value.pid == taker.pid
    for call in (ring.get_nowait, lambda: ring.get(timeout=0.01), lambda: ring.put(b"x")):
        with pytest.raises(HolderDead):
            call()
    semaphores(ring).operate([(MUTEX, 1)])
    ring.put(b"x")


def test_a_lock_that_is_held_on_and_on_is_told_even_to_who_does_not_wait(ring):
    semaphores(ring).operate([(MUTEX, -1)])  # we live, so it is not a dead holder
    with pytest.raises(Timeout, match="lock") as caught:
        ring.get_nowait()
    assert not isinstance(caught.value, Empty)
    semaphores(ring).operate([(MUTEX, 1)])
    with pytest.raises(Empty):
        ring.get_nowait()


# ------------------------------------------------------------------------------------------------- broken and removed


def control_of(ring: Ring):
    return ffi.cast("struct semshare_ring_control *", ffi.from_buffer(ring.area.buffer))


@pytest.mark.parametrize(
    ("word", "value"),
    [("head", 1 << 40), ("tail", 1 << 40), ("head", 8), ("tail", 40), ("tail", (1 << 64) - 32), ("state", 1)],
)
def test_words_that_make_no_sense_break_the_ring_for_good(ring, name, word, value):
    other = Ring.attach(name)
    setattr(control_of(ring), word, value)
    with pytest.raises(RingBroken, match=name) as caught:
        ring.put(b"x")
    assert caught.value.errno == errno.EPROTO
    setattr(control_of(ring), word, 0)
    if word == "state":
        control_of(ring).state = 1
    for call in (ring.get, other.get, lambda: other.put(b"x"), lambda: other.get_many(3)):
        with pytest.raises(RingBroken):
            call()
    assert ring.state().broken and "broken" in repr(ring)
    assert str(caught.value).count(ring.state().broken) == 1
    assert ring.state().broken == ("one of its users says so" if word == "state" else NO_SENSE)
    assert semaphores(ring).value(MUTEX) == 1
    other.close()


@pytest.mark.parametrize(("offset", "value"), [(0, 5000), (8, 3), (0, 4000000000)])
def test_what_is_no_record_is_not_taken_for_one(ring, offset, value):
    ring.put(b"0123456789")
    area = ring.area.buffer
    area[4096 + offset : 4096 + offset + 4] = value.to_bytes(4, sys.byteorder)
    with pytest.raises(RingBroken):
        ring.get()


def test_sleepers_learn_that_the_ring_is_broken(ring):
    def wait():
        try:
            ring.get()
        except RingBroken:
            sys.exit(7)

    children = [Child(wait) for _ in range(3)]
    wait_until(lambda: semaphores(ring).waiters(DATA) == 3, "three sleepers")
    control_of(ring).head = 1
    with pytest.raises(RingBroken):
        ring.put(b"x")
    assert [child.wait() for child in children] == [7] * 3


def test_a_mutex_that_was_reset_breaks_the_ring(ring):
    gate, go = Gate(), Gate()

    def hold():
        with pytest.raises(Error), ring.lock:
            gate.open()
            go.pass_through()

    child = Child(hold)
    gate.pass_through()
    semaphores(ring).set_value(MUTEX, 1)
    with pytest.raises(Empty):
        ring.get_nowait()
    go.open()
    assert child.wait() == 0
    gate.close(), go.close()


def test_removal_of_the_set_reaches_everybody(ring):
    def wait(call, *arguments):
        try:
            call(*arguments)
        except Removed:
            sys.exit(9)

    ring.put_many([bytes(LONGEST)] * 4)
    children = [Child(wait, ring.put, b"x") for _ in range(2)]
    wait_until(lambda: semaphores(ring).waiters(SPACE) == 2, "sleepers")
    semaphores(ring).remove()
    assert [child.wait() for child in children] == [9] * 2
    for call in (ring.get, ring.get_nowait, lambda: ring.put_nowait(b""), lambda: ring.lock.acquire()):
        with pytest.raises(Removed) as caught:
            call()
        assert caught.value.errno == errno.EIDRM
    with pytest.raises(Removed):
        Ring.attach(ring.name)


def test_unlinking_a_ring_in_posix_shared_memory_sends_everybody_home(name):
    def wait():
        try:
            ring.get()
        except Removed:
            sys.exit(9)

    with Ring.create(name, 4096, backend="posix") as ring:
        children = [Child(wait) for _ in range(3)]
        wait_until(lambda: semaphores(ring).waiters(DATA) == 3, "sleepers")
        ring.unlink()
        assert [child.wait() for child in children] == [9] * 3
        with pytest.raises(NotFound):
            Ring.attach(ring.name)


def test_without_the_lock_one_process_can_still_use_it(name):
    """The experiment: no lock, no hints; garbage is given up and counted, and nothing is broken for good."""
    with Ring.create(name, 4096, locked=False) as ring, Ring.attach(name, locked=False) as other:
        before = ring.lock.statistics().acquisitions
        for i in range(100):
            ring.put(bytes([i]) * 100)
            assert other.get(timeout=60) == bytes([i]) * 100
        with pytest.raises(Empty):
            ring.get(timeout=0.01)
        control_of(ring).head = 1 << 50
        with pytest.raises(Empty):
            ring.get_nowait()
        assert ring.resyncs == 1 and not ring.state().broken
        ring.put(b"on it goes")
        assert other.get() == b"on it goes"
        assert ring.lock.statistics().acquisitions == before
