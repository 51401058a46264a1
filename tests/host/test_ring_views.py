# SPDX-License-Identifier: MIT
"""Records that are written and read where they lie: Ring.reserve() and Ring.view()."""

from __future__ import annotations

import array
import errno
import gc
import mmap
import random
import threading
import time
from contextlib import suppress

import numpy
import pytest
from effort import scaled
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from processes import Child, Gate, wait_until
from test_kill_storm import KINDS, Tally, body, record

from semshare import (
    Abandoned,
    Empty,
    EmptyTimeout,
    Error,
    Full,
    FullTimeout,
    Record,
    RecordView,
    Reservation,
    Ring,
    RoleTaken,
)
from semshare.ring import POLICIES, VARIANTS

CAPACITY = 4096
IN_PLACE = [each.name for each in VARIANTS.values() if each.in_place]


class Refused(Exception):
    """Of a test's own."""


@pytest.fixture(params=IN_PLACE)
def variant(request) -> str:
    return request.param


@pytest.fixture
def ring(name, variant):
    with make(name, variant) as ring:
        yield ring


def make(name: str, variant: str, size: int = CAPACITY, payload: int = 448, **more) -> Ring:
    if variant in ("mpsc", "lanes"):
        more["max_payload"] = payload
    return Ring.create(name, size=size, variant=variant, **more)


def address_of(buffer) -> int:
    return numpy.frombuffer(buffer, dtype="u1").__array_interface__["data"][0]


def drain(ring: Ring) -> list[bytes]:
    """All that is there; a batch need not be."""
    taken: list[bytes] = []
    while some := ring.get_many(100, blocking=False):
        taken += some
    return taken


def has_a_side_to_itself(variant: str) -> bool:
    """Whether a producer has: then it writes one record at a time."""
    return bool(VARIANTS[variant].roles & 1)


# What is put, and what is taken


def test_a_record_is_written_and_read_where_it_lies(ring):
    with ring.area.buffer as memory:
        first, last = address_of(memory), address_of(memory) + len(memory)
    for number in range(100):
        size = number * 4
        with ring.reserve(size, type=number) as view:
            assert (len(view), view.readonly, view.format, view.contiguous) == (size, False, "B", True)
            if size:
                assert first + 4096 <= address_of(view) <= last - size
                assert address_of(view) % 32 == 0
                place = address_of(view)
            view[:] = bytes([number]) * size
        looked = ring.view()
        with looked as view:
            assert view.readonly
            assert view == bytes([number]) * size
            assert (looked.size, looked.type, looked.sequence) == (size, number, number)
            assert looked.time_ns <= time.monotonic_ns()
            if size:
                assert address_of(view) == place
        assert ring.state().used == 0


def test_numpy_works_on_it(ring):
    with ring.reserve(80) as view:
        values = numpy.frombuffer(view, dtype="f8")
        values[:] = numpy.arange(10) / 2
    with ring.view() as view:
        assert numpy.frombuffer(view, dtype="f8").sum() == 22.5
        with pytest.raises(ValueError):
            numpy.frombuffer(view, dtype="f8")[0] = 1
    # And what has the buffer protocol is put without ado.
    numbers = numpy.arange(24).reshape(2, 3, 4)
    for each in (values.copy(), numbers, array.array("d", [1.5]), bytearray(7), memoryview(b"x")):
        ring.put(each)
        assert ring.get() == bytes(each)
    assert ring.put_many([numpy.arange(3), numpy.zeros(2)]) == 2
    assert ring.get_many(9) == [bytes(numpy.arange(3)), bytes(16)]
    with pytest.raises((ValueError, BufferError)):
        ring.put(numpy.arange(9)[::2])


def test_fewer_bytes_than_were_reserved(ring):
    reservation = ring.reserve(100, type=1)
    with reservation as view:
        view[:3] = b"abc"
        reservation.size = 3
        reservation.type = 7
        with pytest.raises(ValueError, match="100 at most"):
            reservation.size = 101
        with pytest.raises((ValueError, OverflowError)):
            reservation.size = -1
    found = ring.get_record()
    assert (found.payload, found.type) == (b"abc", 7)
    with ring.reserve(100) as view:
        view[:] = bytes(100)
    assert ring.get() == bytes(100)


def test_what_is_given_up_was_never_put(ring, variant):
    ring.put(b"before")
    with pytest.raises(Refused), ring.reserve(10) as view:
        view[:] = b"0123456789"
        raise Refused
    reservation = ring.reserve(10)
    with reservation:
        reservation.cancel()
        with pytest.raises(RuntimeError, match="inside"):
            reservation.cancel()
    abandoned = ring.reserve(10)
    abandoned.__enter__()
    del abandoned
    gc.collect()
    never_entered = ring.reserve(10)
    del never_entered
    ring.put(b"after")
    found = ring.get_records(10)
    assert [each.payload for each in found] == [b"before", b"after"]
    dropped = ring.state().drops["abandoned"]
    # One producer's are nothing at all; among many the place was taken already, and its number is missing.
    assert dropped == (3 if variant == "mpsc" else 0)
    assert found[1].sequence == 1 + dropped
    assert ring.state().puts == 2


def test_a_ring_in_which_everything_was_given_up_is_empty_and_not_full(ring):
    for _ in range(5):
        for _ in range(100):
            try:
                reservation = ring.reserve(400, blocking=False)
                with reservation:
                    reservation.cancel()
            except Full:
                break
        with pytest.raises(Empty):
            ring.get(blocking=False)
        ring.put(b"x", blocking=False)
        assert ring.get(blocking=False) == b"x"


def test_a_record_that_is_looked_at_stays_until_the_end(ring):
    ring.put_many([b"one", b"two"])
    with pytest.raises(Refused), ring.view() as view:
        assert view == b"one"
        raise Refused
    looked = ring.view()
    with looked as view:
        assert view == b"one"
        looked.cancel()
    with ring.view() as view:
        assert view == b"one"
        assert ring.state().used > 0
    assert ring.get() == b"two"
    with pytest.raises(Empty), ring.view(blocking=False):
        raise AssertionError("there is none")
    with pytest.raises(EmptyTimeout), ring.view(timeout=0.01):
        raise AssertionError("there is none")


def test_no_space(name, variant):
    with make(name, variant) as ring:
        while ring.put_many([bytes(400)], blocking=False):
            pass
        with pytest.raises(Full), ring.reserve(400, blocking=False):
            raise AssertionError("it is full")
        with pytest.raises(FullTimeout), ring.reserve(400, timeout=0.01):
            raise AssertionError("it is full")
        with pytest.raises(ValueError, match="split it"):
            ring.reserve(ring.max_payload + 1)
        with pytest.raises(ValueError, match="0 or more"):
            ring.reserve(-1)
        threading.Timer(0.05, ring.get_many, [3]).start()
        with ring.reserve(400, timeout=60) as view:
            view[:] = b"x" * 400
        assert drain(ring)[-1] == b"x" * 400


def test_where_the_policy_is_to_refuse_it_is_dropped_and_counted(name, variant):
    with make(name, variant, policy="refuse") as ring:
        put = 0
        with suppress(Full):
            while True:
                with ring.reserve(400):
                    pass
                put += 1
        assert put > 1
        assert ring.state().drops["refused"] == 1
        assert len(drain(ring)) == put
        ring.put(b"last")
        assert ring.get_record().sequence == put + 1


def test_a_mebibyte_in_one_piece_wherever_it_comes_to_lie(name, variant):
    size = 1 << 20
    with make(name, variant, size=8 << 20, payload=size) as ring:
        for number in range(20):
            with ring.reserve(size) as view:
                view[:8] = number.to_bytes(8, "big")
                view[-8:] = number.to_bytes(8, "big")
            with ring.view() as view:
                assert len(view) == size
                assert view[:8] == view[-8:] == number.to_bytes(8, "big")
            # So that the next does not begin where this one did.
            ring.put(bytes(number * 64))
            ring.get()


@pytest.mark.parametrize("variant", [each for each in VARIANTS if each not in IN_PLACE])
def test_a_ring_that_has_no_such_thing_says_which_has(name, variant):
    policy = next(each for each in POLICIES if VARIANTS[variant].can(each))
    with Ring.create(name, size=CAPACITY, variant=variant, policy=policy) as ring:
        for refused in (lambda: ring.reserve(1), ring.view):
            with pytest.raises(Error, match=", ".join(IN_PLACE)) as caught:
                refused()
            assert caught.value.errno == errno.EOPNOTSUPP


def test_what_may_be_overwritten_is_written_in_place_and_copied_out(name):
    with Ring.create(name, size=CAPACITY, variant="spsc", policy="overwrite") as ring:
        for number in range(100):
            with ring.reserve(400) as view:
                view[:] = bytes([number]) * 400
        with pytest.raises(Error, match="overwritten"):
            ring.view()
        found = ring.get_records(100)
        assert [each.payload for each in found] == [bytes([number]) * 400 for number in range(100 - len(found), 100)]
        assert 1 < len(found) == 100 - ring.state().drops["overwritten"]


# How long views live


def test_a_view_is_released_at_the_end(ring):
    with ring.reserve(3) as view:
        view[:] = b"abc"
    with pytest.raises(ValueError, match="released"):
        view[0] = 1
    with ring.view() as view:
        pass
    with pytest.raises(ValueError, match="released"):
        bytes(view)
    reservation = ring.reserve(3)
    with pytest.raises(ValueError, match="not open"):
        memoryview(reservation)
    with reservation:
        pass
    with pytest.raises(RuntimeError, match="once"), reservation:
        pass
    with pytest.raises(ValueError, match="not open"):
        memoryview(reservation)


def test_what_refers_to_it_outlives_record_ring_and_area(name, variant):
    with make(name, variant) as ring:
        with ring.reserve(64) as view:
            written, part = numpy.frombuffer(view, dtype="u1"), view[10:20]
            written[:] = 5
        with ring.view() as view:
            read = numpy.frombuffer(view, dtype="u1")
            assert read.sum() == 320
        ring.unlink()
    del ring, view
    gc.collect()
    # What is there now is no record any more; but it is memory.
    written[0] = part[0] = 9
    assert read[0] == 9
    assert len(bytes(part)) == 10
    del written, part, read


def test_a_ring_that_is_closed_before_the_end(name, variant):
    with make(name, variant) as ring:
        ring.put(b"first")
        other = Ring.attach(name)
        reservation, looking = ring.reserve(5), ring.view()
        view, looked = reservation.__enter__(), looking.__enter__()
        ring.close()
        with pytest.raises(ValueError, match="released"):
            view[0] = 1
        with pytest.raises(ValueError, match="released"):
            bytes(looked)
        for each in (reservation, looking):
            with pytest.raises(ValueError, match="closed meanwhile"):
                each.__exit__(None, None, None)
        with pytest.raises(ValueError, match="closed"):
            ring.reserve(5)
        with pytest.raises(ValueError, match="closed"):
            ring.view()
        with other:
            assert other.get() == b"first"
            with pytest.raises(Empty):
                other.get(blocking=False)
            other.put(b"second")
            assert other.get() == b"second"


def test_a_ring_that_is_closed_while_only_the_view_is_left_of_a_record(ring):
    ring.put(b"whole")
    read = ring.view().__enter__()
    written = ring.reserve(8).__enter__()
    ring.close()
    for view in (read, written):
        with pytest.raises(ValueError, match="released"):
            bytes(view)


def test_a_ring_that_is_closed_while_it_is_waited_for(name, variant):
    with make(name, variant) as ring:
        raised = []

        def wait() -> None:
            try:
                with ring.view():
                    pass
            except ValueError as error:
                raised.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        ring.close()
        thread.join(60)
        assert len(raised) == 1 and "closed" in raised[0]


# Several at once


def test_one_record_at_a_time_where_there_is_one_producer_or_consumer(ring, variant):
    ring.put(b"x")
    with ring.view():
        with pytest.raises(RuntimeError, match="end that first"):
            ring.get()
        with pytest.raises(RuntimeError, match="end that first"), ring.view(blocking=False):
            pass
        ring.put(b"y")
    with ring.reserve(1) as view:
        view[:] = b"z"
        if has_a_side_to_itself(variant):
            with pytest.raises(RuntimeError, match="end that first"):
                ring.put(b"no")
            with pytest.raises(RuntimeError, match="end that first"), ring.reserve(1):
                pass
        assert ring.get() == b"y"
    assert ring.get() == b"z"


def test_other_threads_wait_for_its_end(ring, variant):
    """Those for whom there is a place, or a record, only then."""
    if has_a_side_to_itself(variant):
        with ring.reserve(1) as view:
            view[:] = b"1"
            thread = threading.Thread(target=ring.put, args=[b"2"])
            thread.start()
            time.sleep(0.02)
            with pytest.raises(Empty):
                ring.get_nowait()
        thread.join(60)
    else:
        ring.put_many([b"1", b"2"])
    taken: list[bytes] = []
    with ring.view() as view:
        thread = threading.Thread(target=lambda: taken.append(ring.get(timeout=60)))
        thread.start()
        time.sleep(0.02)
        assert not taken
        assert view == b"1"
    thread.join(60)
    assert taken == [b"2"]


def test_threads_that_wait_for_its_end_are_woken(ring, variant):
    turns = 40
    waited = 0.0
    for turn in range(turns):
        if has_a_side_to_itself(variant) and turn % 2:
            with ring.reserve(0):
                thread = threading.Thread(target=ring.put, args=[b""])
                thread.start()
                wait_until(lambda: ring.state().producers_may_sleep)
            began = time.monotonic()
            thread.join(60)
            assert ring.get_many(2) == [b"", b""]
        else:
            ring.put_many([b"", b""])
            with ring.view():
                thread = threading.Thread(target=ring.get)
                thread.start()
                wait_until(lambda: ring.state().consumers_may_sleep)
            began = time.monotonic()
            thread.join(60)
        waited += time.monotonic() - began
    # Who is not woken looks again after 100 ms.
    assert waited < turns * 0.1 / 3


def test_many_are_reserved_at_once_among_many_producers(name):
    with make(name, "mpsc") as ring:
        reservations = [ring.reserve(8) for _ in range(4)]
        views = [each.__enter__() for each in reservations]
        for number, view in enumerate(views):
            view[:] = bytes([number]) * 8
        ring.put(b"behind them")
        # In whichever order they are committed, they are taken as they were reserved.
        for number in (2, 0, 3, 1):
            reservations[number].__exit__(None, None, None)
        assert ring.get_many(10) == [bytes([number]) * 8 for number in range(4)] + [b"behind them"]


def test_a_fork_leaves_the_record_to_the_parent(ring, variant):
    reservation = ring.reserve(5)
    with reservation as view:
        view[:] = b"hello"

        def child() -> None:
            with pytest.raises(RuntimeError, match="before the fork"):
                reservation.__exit__(None, None, None)
            with pytest.raises(ValueError):
                view[0] = 0
            ring.close()

        assert Child(child).wait() == 0
        assert Child(gc.collect).wait() == 0
    with ring.view() as view:
        assert view == b"hello"

        def other_child() -> None:
            with pytest.raises(RoleTaken), ring.view(blocking=False):
                pass
            with suppress(RoleTaken):
                ring.put(b"x")

        assert Child(other_child).wait() == 0
    assert ring.get_many(2, blocking=False) == ([] if variant == "spsc" else [b"x"])


# Who stops, or is killed, in between


def test_a_commit_that_comes_too_late_fails(name):
    with make(name, "mpsc") as ring:

        def get() -> None:
            taken.append((ring.get(timeout=60), time.monotonic() - began))

        taken: list[tuple[bytes, float]] = []
        reservation = ring.reserve(8)
        with pytest.raises(Abandoned, match="was not put") as caught, reservation as view:
            view[:] = bytes(8)
            ring.put(b"behind it")
            began = time.monotonic()
            thread = threading.Thread(target=get)
            thread.start()
            thread.join(60)
            assert taken and taken[0][0] == b"behind it"
            # SEMSHARE_RING_ABANDON_MS; how much later it is seen depends on the machine.
            assert taken[0][1] > 0.8
        assert caught.value.errno == errno.ESTALE
        assert ring.state().drops["abandoned"] == 1
        # Every slot is of use again.
        for number in range(50):
            ring.put(b"%d" % number, blocking=False)
            assert ring.get(blocking=False) == b"%d" % number
        assert ring.state().drops["abandoned"] == 1
        # An exception is not hidden by it.
        with pytest.raises(Refused), ring.reserve(8):
            with pytest.raises(EmptyTimeout):
                ring.get(timeout=2)
            raise Refused


def test_killed_with_a_record_open(name, variant):
    """Those who come after it are not kept waiting; nothing of its record is ever seen."""
    started = Gate()

    def die() -> None:
        with Ring.attach(name) as ring, ring.reserve(300) as view:
            view[:] = b"?" * 300
            started.open()
            time.sleep(60)

    with make(name, variant) as ring:
        for number in range(20):
            child = Child(die)
            started.pass_through()
            if variant == "spsc":
                # There is no other producer before that one has ended.
                with pytest.raises(RoleTaken):
                    ring.put(b"%d" % number)
                child.kill()
                with Ring.attach(name) as next_producer:
                    next_producer.put(b"%d" % number)
            else:
                ring.put(b"%d" % number)
                child.kill()
            assert ring.get(timeout=30) == b"%d" % number
        assert ring.state().drops["abandoned"] == (20 if variant == "mpsc" else 0)
    started.close()


def produce(name: str, producer: int, returned: memoryview) -> None:
    """Records written in place, until it is killed; each that has been committed is counted."""
    bodies = [body(producer, kind) for kind in range(KINDS)]
    with Ring.attach(name) as ring:
        sequence = 0
        while True:
            payload = record(producer, sequence, bodies)
            with ring.reserve(len(payload), timeout=60) as view:
                half = len(payload) // 2
                view[:half] = payload[:half]
                view[half:] = payload[half:]
            sequence += 1
            returned[producer] = sequence


def test_a_storm_of_kills_loses_nothing_that_was_committed(name, variant):
    count = 1 if variant == "spsc" else 2
    returned = memoryview(mmap.mmap(-1, 8192)).cast("Q")
    chance = random.Random(5)
    tally = Tally()
    with make(name, variant, size=1 << 13) as ring:

        def take() -> bool:
            with suppress(Empty), ring.view(blocking=False) as view:
                tally.add(bytes(view))
                return True
            return False

        number = 0
        while number < 120:
            children = []
            for _ in range(count):
                children.append(Child(produce, name, number, returned))
                number += 1
            wait_until(lambda first=number - count: take() and returned[first])
            until = time.monotonic() + chance.random() * 0.01
            while time.monotonic() < until:
                take()
            for child in children:
                child.kill()
        while take():
            pass
        # Whoever was killed over one may have left a slot that is waited for.
        ring.put(b"last")
        last = ring.get(timeout=30)
        while last != b"last":
            tally.add(last)
            last = ring.get(timeout=30)
        for producer in range(number):
            assert returned[producer] <= tally.next.get(producer, 0) <= returned[producer] + 1, producer


def test_a_consumer_that_is_killed_over_a_record_has_not_taken_it(name, variant):
    started = Gate()

    def die() -> None:
        with Ring.attach(name) as ring, ring.view() as view:
            assert view == b"precious"
            started.open()
            time.sleep(60)

    with make(name, variant) as ring:
        ring.put(b"precious")
        for _ in range(5):
            child = Child(die)
            started.pass_through()
            with pytest.raises(RoleTaken):
                ring.get(blocking=False)
            child.kill()
        assert ring.get(blocking=False) == b"precious"
    started.close()


def test_words_that_lie_while_records_are_open_fault_nothing(name, variant):
    """Whatever somebody writes over the ring meanwhile: errors, or wrong bytes, and no process that dies of it."""
    chance = random.Random(11)
    values = [0, 1, 7, 31, 32, 4096, (1 << 31) - 1, (1 << 32) - 1, 1 << 63, (1 << 64) - 1]

    def scribble(memory: memoryview) -> None:
        words = memory.cast("Q")
        for _ in range(chance.randrange(1, 40)):
            # Those of the ring as a whole, the variant's own, and the heads of records.
            word = chance.choice(
                [chance.randrange(8, 64), chance.randrange(64, 192), chance.randrange(512, len(words))]
            )
            near = words[word] + chance.choice([-64, -32, -1, 1, 32, 64, 1 << 20])
            words[word] = chance.choice([chance.choice(values), near % (1 << 64), chance.getrandbits(64)])

    def suffer() -> None:
        with Ring.attach(name) as ring:
            for _ in range(5):
                ring.put(bytes(300))
            ring.get()
            memory = ring.area.buffer
            as_it_was = bytes(memory)
        for _ in range(scaled(300, 60)):
            with Ring.attach(name) as ring:
                reservation, looked = ring.reserve(200, blocking=False), ring.view(blocking=False)
                with suppress(Error), reservation as writable:
                    with suppress(Error), looked as readable:
                        scribble(memory)
                        writable[:] = bytes(200)
                        bytes(readable)
                    scribble(memory)
                for call in (ring.state, ring.get_nowait, lambda ring=ring: ring.put_nowait(b"x")):
                    with suppress(Error):
                        call()
                for opened in (ring.reserve(448, blocking=False), ring.view(blocking=False)):
                    with suppress(Error), opened as view:
                        bytes(view)
            memory[:] = as_it_was

    with make(name, variant):
        assert Child(suffer).wait() == 0


# Whatever order things happen in


WAITING, THERE, LOST = "waiting", "there", "lost"


class Entry:
    """What the machine knows of a record."""

    def __init__(self, number: int, size: int, state: str) -> None:
        self.number, self.size, self.state = number, size, state

    @property
    def payload(self) -> bytes:
        return bytes([self.number % 256]) * self.size


class Machine(RuleBasedStateMachine):
    """One ring against a list. Records that are open are ended in any order."""

    name = variant = ""

    def __init__(self) -> None:
        super().__init__()
        self.ring = make(self.name, self.variant)
        self.expected: list[Entry] = []
        self.open: list[tuple[Reservation, Entry]] = []
        self.looked: RecordView | None = None
        self.number = 0

    def teardown(self) -> None:
        self.ring.unlink()
        # With whatever is open.
        self.ring.close()

    def can_put(self) -> bool:
        return not has_a_side_to_itself(self.variant) or not self.open

    @precondition(can_put)
    @rule(size=st.integers(0, 448))
    def put(self, size: int) -> None:
        entry = self.entry(size, THERE)
        with suppress(Full):
            self.ring.put(entry.payload, type=entry.number, blocking=False)
            self.expected.append(entry)

    @precondition(can_put)
    @rule(size=st.integers(0, 448))
    def reserve(self, size: int) -> None:
        entry = self.entry(size, WAITING)
        reservation = self.ring.reserve(size, type=entry.number, blocking=False)
        with suppress(Full):
            reservation.__enter__()[:] = entry.payload
            self.expected.append(entry)
            self.open.append((reservation, entry))

    def entry(self, size: int, state: str) -> Entry:
        self.number += 1
        return Entry(self.number, size, state)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), how=st.sampled_from(["commit", "shorten", "cancel"]))
    def end(self, data: st.DataObject, how: str) -> None:
        reservation, entry = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if how == "cancel":
            reservation.cancel()
            entry.state = LOST
        else:
            if how == "shorten":
                reservation.size = entry.size = entry.size // 2
            try:
                reservation.__exit__(None, None, None)
                assert entry.state == WAITING
                entry.state = THERE
            except Abandoned:
                # It can have been waited for, for a second, where the machine is slow.
                assert self.variant == "mpsc"
                entry.state = LOST
        if entry.state == LOST and entry in self.expected:
            self.expected.remove(entry)

    def take(self, found: Record | RecordView, payload: bytes) -> None:
        while self.expected[0].state == WAITING and found.type != self.expected[0].number:
            self.expected.pop(0).state = LOST
        entry = self.expected.pop(0)
        assert (found.type, payload, entry.state) == (entry.number, entry.payload, THERE)

    def is_there(self) -> bool:
        return bool(self.expected) and self.expected[0].state == THERE

    @precondition(lambda self: not self.looked)
    @rule(most=st.integers(1, 5))
    def get(self, most: int) -> None:
        found = self.ring.get_records(most, blocking=False)
        for each in found:
            self.take(each, each.payload)
        # What came to a lane since it was looked at waits for the next batch.
        assert len(found) == most or not self.is_there() or (found and self.variant == "lanes")

    @precondition(lambda self: not self.looked)
    @rule()
    def look(self) -> None:
        looked = self.ring.view(blocking=False)
        try:
            looked.__enter__()
            self.looked = looked
        except Empty:
            assert not self.is_there()

    @precondition(lambda self: self.looked)
    @rule(how=st.sampled_from(["take", "leave"]))
    def end_look(self, how: str) -> None:
        if how == "take":
            self.take(self.looked, bytes(self.looked))
            self.looked.__exit__(None, None, None)
        else:
            self.looked.cancel()
        self.looked = None

    @invariant()
    def what_is_counted(self) -> None:
        state = self.ring.state()
        assert not state.broken
        assert 0 <= state.used <= state.capacity
        if self.variant != "mpsc":
            assert sum(state.drops.values()) == 0


@pytest.mark.parametrize("variant", IN_PLACE)
def test_any_order_of_calls(variant, name):
    machine = type("Named", (Machine,), {"name": name, "variant": variant})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=60, deadline=None))
