# SPDX-License-Identifier: MIT
"""Notifications of the module's areas: poll, epoll and select, eventfds both ways, listeners in the kernel, asyncio.

Nothing here looks again by itself, as asyncio and the semaphores do every 100 ms: a wake-up that gets lost is a test
that fails.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import random
import select
import struct
import time
from contextlib import contextmanager

import pytest
from abi import eventually, insmod, loaded, rmmod
from effort import scaled
from hostile import Scribbler, scribbling, takes_its_time
from kernel import KernelLog
from notify_kernel import (
    EVENTFD,
    FILL,
    GET,
    PUT,
    PUT_IRQ,
    RING,
    Kernel,
    count_of,
    eventfd,
    is_of_one_producer,
    producers,
    producers_of,
)
from pace import SLACK
from semshare._abi import lib
from soak import NEVER, PAYLOAD, Tally, putting

import semshare
from semshare import Area, AreaEvent, Empty, Full, Ring, aio
from semshare.aio import watch

IN, OUT, ERR, HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP
LIMIT = 2 * SLACK
VARIANTS = ["sysv", "spsc", "mpsc", "lanes", "paged"]


def events_of(descriptor, seconds=0.0, interest=IN | OUT):
    poll = select.poll()
    poll.register(descriptor, interest)
    found = poll.poll(seconds * 1000)
    return found[0][1] if found else 0


@pytest.fixture(scope="module", autouse=True)
def module():
    if not loaded("semshare_notify_test"):
        insmod("semshare_notify_test")
    yield
    rmmod("semshare_notify_test")


@pytest.fixture(autouse=True)
def nobody_looks_again(monkeypatch):
    monkeypatch.setattr(watch, "RECHECK", NEVER)


@pytest.fixture(params=VARIANTS)
def ring(name, request):
    # Pages are as large as can be unless told: there would be four of them.
    payload = 192 if request.param == "paged" else 0
    with Ring.create(name, 8192, variant=request.param, max_payload=payload, backend="module") as ring:
        ring._recheck(NEVER)
        yield ring


@pytest.fixture
def area(name):
    with Area(name, 4096, backend="module") as area:
        yield area


# -------------------------------------------------------------------------------------------------------------- poll


def test_poll_says_what_a_ring_is_ready_for(ring):
    descriptor = ring.area.fileno()
    assert events_of(descriptor) == OUT
    ring.put(b"x")
    assert events_of(descriptor) == IN | OUT
    with pytest.raises(Full):
        while True:
            ring.put_nowait(b"x" * 100)
    assert events_of(descriptor) == IN
    ring.get_many(10_000)
    assert events_of(descriptor) == OUT


def test_who_polls_for_output_can_put_the_longest_record(ring):
    longest = b"x" * ring.max_payload
    descriptor = ring.area.fileno()
    for _ in range(50):
        with pytest.raises(Full):
            while True:
                ring.put_nowait(b"y" * 60)
        while not events_of(descriptor) & OUT:
            ring.get()
        ring.put_nowait(longest)
        ring.get()


def fill(ring):
    with pytest.raises(Full):
        while True:
            ring.put_nowait(b"x" * ring.max_payload)


def in_process(function):
    """What it answers in a process of its own: whether it is true."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if function() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code < 2, "it failed"
    return code == 0


def test_a_producer_whose_lane_is_full_finds_no_space_in_the_others(name):
    """Each process is told of its own lane; one without of all."""
    with Ring.create(name, 8192, variant="lanes", backend="module") as ring:
        fill(ring)
        descriptor = ring.area.fileno()
        assert ring.used < ring.capacity / 2
        assert events_of(descriptor) == IN

        def is_told_of_space():
            return bool(events_of(descriptor) & OUT)

        def takes_a_lane():
            mine = Ring.attach(name)
            mine.put(b"y")
            told = is_told_of_space()
            fill(mine)
            return told and not is_told_of_space()

        assert not in_process(is_told_of_space)
        assert in_process(takes_a_lane)
        # One of two that are this process's is full still.
        with Ring.attach(name) as second:
            second.put(b"z")
            assert events_of(descriptor) == IN
        while not events_of(descriptor) & OUT:
            ring.get()
        ring.put_nowait(b"x" * ring.max_payload)


def test_the_kernels_producers_are_told_of_their_lane(name):
    """Of semshare_ring_arm(), by way of a thread that waits for space in a lane that is full while others are not."""
    with Ring.create(name, 8192, variant="lanes", backend="module") as ring:
        with Kernel(PUT_IRQ, ring.area.fileno(), count=100) as kernel:
            eventually(lambda: kernel.state()[2] > 0)
            assert events_of(ring.area.fileno()) == IN
            numbers = []
            while len(numbers) < 100:
                numbers += [PAYLOAD.unpack(payload)[1] for payload in ring.get_many(10, timeout=LIMIT)]
        assert numbers == list(range(100))


def test_space_of_a_ring_that_overwrites(name):
    """A put never waits there."""
    for variant in ("sysv", "spsc", "paged"):
        with Ring.create(name, 8192, variant=variant, policy="overwrite", backend="module") as ring:
            for _ in range(100):
                ring.put(b"x" * 200)
            assert events_of(ring.area.fileno()) == IN | OUT


def test_a_record_that_is_being_written_is_none_yet(name):
    """Who polls sleeps until it is committed, and does not go round and round."""
    with Ring.create(name, 8192, variant="mpsc", backend="module") as ring:
        descriptor = ring.area.fileno()
        with ring.reserve(8) as place:
            assert events_of(descriptor) == OUT
            place[:] = bytes(8)
        assert events_of(descriptor) == IN | OUT
        ring.get()
        with ring.reserve(8), Ring.attach(name) as other:
            # One that is there behind it is to be found.
            other.put(b"x")
            assert events_of(descriptor) == IN | OUT


def cursors_of(ring):
    """The cursors of users, as numbers of 64-bit words of the area: of lanes those of the first."""
    variant, offset = ring.state().variant, semshare.ring.ffi.offsetof
    words = offset("struct semshare_ring_control", "words") // 8
    if variant == "sysv":
        return [offset("struct semshare_ring_control", each) // 8 for each in ("head", "tail")]
    if variant == "paged":
        return [words + offset("struct semshare_paged_words", "head") // 8]
    kind = "struct semshare_mpsc_words" if variant == "mpsc" else "struct semshare_spsc_words"
    return [words + offset(kind, each) // 8 for each in ("head", "tail")]


def test_cursors_that_make_no_sense_are_an_error_at_once(ring):
    """Whoever waits for a record or for space is told, and does not sleep."""
    descriptor = ring.area.fileno()
    ring.put(b"x")
    ring.get()
    words = memoryview(ring.area.buffer).cast("Q")
    for place in cursors_of(ring):
        before = words[place]
        for lie in (before + (1 << 40) + 32, (1 << 63) + 1):
            words[place] = lie
            for interest in (IN, OUT):
                assert events_of(descriptor, NEVER, interest) & ERR, (place, lie)
            words[place] = before
            assert events_of(descriptor) == OUT
    words.release()


def test_poll_of_what_is_no_area():
    with open("/dev/semshare", "rb") as device:
        assert events_of(device.fileno()) == ERR


def test_poll_of_a_broken_ring(ring):
    other = Ring.attach(ring.name)
    poll = select.epoll()
    poll.register(other.area.fileno(), IN | select.EPOLLET)
    assert poll.poll(0) == []
    words = memoryview(ring.area.buffer).cast("I")
    words[152 // 4] = 1
    assert events_of(ring.area.fileno()) & ERR
    words.release()
    other.close()


def test_poll_of_a_ring_whose_set_is_gone(ring):
    semshare.SemaphoreSet(semid=ring.semid).remove()
    assert events_of(ring.area.fileno()) & HUP


def test_poll_wakes(ring):
    """Each of select, poll and epoll sleeps until a process, or the kernel, puts a record."""
    descriptor = ring.area.fileno()
    epoll = select.epoll()
    epoll.register(descriptor, IN)
    waits = [
        lambda: select.select([descriptor], [], [], LIMIT)[0],
        lambda: events_of(descriptor, LIMIT, IN),
        lambda: epoll.poll(LIMIT),
    ]
    for wait in waits * 3:
        pid = os.fork()
        if pid == 0:
            time.sleep(0.02)
            Ring.attach(ring.name).put(b"x")
            os._exit(0)
        assert wait()
        ring.get()
        os.waitpid(pid, 0)
    what = PUT if ring.state().variant == "sysv" else PUT_IRQ
    if is_of_one_producer(ring):
        return  # the child's role went with it; a kernel producer has a test of its own
    for wait in waits:
        with Kernel(what, descriptor, count=1) as kernel:
            assert wait()
            ring.get()
            eventually(lambda kernel=kernel: kernel.done == 1)


def test_a_reader_may_poll_and_not_ring(name, ring):
    with Area(name, readonly=True, backend="module") as area:
        assert events_of(area.fileno(), interest=IN) == 0
        with pytest.raises(semshare.Denied):
            area.notify()
        ring.put(b"x")
        assert events_of(area.fileno(), interest=IN) == IN


# ------------------------------------------------------------------------------------------------ areas without a ring


def test_notify_is_seen_by_each_handle_until_it_has_read_it(name, area):
    with Area(name, backend="module") as other:
        assert events_of(other.fileno(), interest=IN) == 0
        area.notify()
        area.notify(AreaEvent.DATA | AreaEvent.SPACE)
        for each in (area, other):
            assert events_of(each.fileno(), interest=IN) == IN
            assert struct.unpack("Q", os.read(each.fileno(), 8)) == (2,)
            assert events_of(each.fileno(), interest=IN) == 0
            with pytest.raises(BlockingIOError):
                os.read(each.fileno(), 8)
        with pytest.raises(OSError) as error:
            os.read(area.fileno(), 7)
        assert error.value.errno == errno.EINVAL


def test_an_interrupt_rings(area):
    with Kernel(RING, area.fileno()):
        assert events_of(area.fileno(), LIMIT, IN) == IN


@pytest.mark.parametrize("request_", [(0, 0), (8, 0), (1, 1)])
def test_bad_notify(area, request_):
    with pytest.raises(OSError) as error:
        fcntl.ioctl(area.fileno(), 1 << 30 | 8 << 16 | 0xE548, struct.pack("II", *request_))
    assert error.value.errno == errno.EINVAL


# ---------------------------------------------------------------------------------------------------------- eventfds


def test_an_eventfd_is_told_of_its_events(area):
    data, space = eventfd(), eventfd()
    area.add_eventfd(data, AreaEvent.DATA)
    area.add_eventfd(space, AreaEvent.SPACE)
    area.notify(AreaEvent.DATA)
    assert (count_of(data), count_of(space)) == (1, 0)
    area.notify(AreaEvent.DATA | AreaEvent.SPACE)
    assert (count_of(data), count_of(space)) == (1, 1)
    area.remove_eventfd(data)
    area.notify(AreaEvent.DATA)
    assert count_of(data) == 0
    with pytest.raises(semshare.NotFound):
        area.remove_eventfd(data)
    os.close(data)
    os.close(space)
    area.notify(AreaEvent.SPACE)  # nobody has it any more but the module


def test_eventfds_are_counted(area):
    made = []
    with pytest.raises(semshare.Error) as error:
        for _ in range(100):
            made.append(eventfd())
            area.add_eventfd(made[-1])
    assert error.value.errno == errno.ENOSPC and len(made) == 9
    with pytest.raises(semshare.NameExists):
        area.add_eventfd(made[0])
    for each in made:
        os.close(each)


@pytest.mark.parametrize("bad", [(-1, 1, 0, 0), (0, 8, 0, 0), (0, 1, 2, 0), (0, 1, 0, 1)])
def test_bad_eventfd(area, bad):
    with pytest.raises(OSError):
        fcntl.ioctl(area.fileno(), 1 << 30 | 16 << 16 | 0xE549, struct.pack("iIII", *bad))
    with pytest.raises(semshare.Error):
        area.add_eventfd(area.fileno())


@pytest.mark.parametrize("readonly", [True, False])
def test_an_area_signals_so_many_eventfds_however_many_handles_there_are(area, readonly):
    """They are signalled with interrupts off, on behalf of whoever rings."""
    with contextlib.ExitStack() as stack:
        made = []
        with pytest.raises(semshare.Error) as error:
            while len(made) < 1000:
                handle = stack.enter_context(Area(area.name, readonly=readonly, backend="module"))
                for _ in range(8):
                    descriptor = eventfd()
                    stack.callback(os.close, descriptor)
                    handle.add_eventfd(descriptor)
                    made.append(descriptor)
        assert error.value.errno == errno.ENOSPC
        assert len(made) == lib.SEMSHARE_EVENTFDS_AREA_MAX // (2 if readonly else 1)
        area.notify()
        assert [count_of(each) for each in made] == [1] * len(made)
    # Those of handles that are closed count no more.
    descriptor = eventfd()
    area.add_eventfd(descriptor)
    os.close(descriptor)


def test_an_eventfd_from_a_user_rings(area):
    from_user, to_user = eventfd(), eventfd()
    area.add_eventfd(from_user, AreaEvent.DATA, from_user=True)
    area.add_eventfd(to_user)
    os.write(from_user, struct.pack("Q", 5))
    assert events_of(area.fileno(), LIMIT, IN) == IN
    # No eventfd feeds another: that could go round for ever.
    assert (count_of(from_user), count_of(to_user)) == (0, 0)
    os.close(from_user)
    os.close(to_user)


def test_an_eventfd_that_is_both_does_not_feed_itself(area):
    both = eventfd()
    area.add_eventfd(both)
    area.add_eventfd(both, from_user=True)
    os.write(both, struct.pack("Q", 1))
    area.notify()
    time.sleep(0.1)
    os.read(area.fileno(), 8)
    time.sleep(0.1)
    assert events_of(area.fileno(), interest=IN) == 0
    os.close(both)


def test_kernel_code_hears_an_eventfd():
    descriptor = eventfd()
    os.write(descriptor, struct.pack("Q", 1))
    with Kernel(EVENTFD, descriptor) as kernel:
        eventually(lambda: kernel.calls == 1)
        for number in range(2, 30):
            os.write(descriptor, struct.pack("Q", number))
            eventually(lambda number=number: kernel.calls == number)
        os.close(descriptor)
        time.sleep(0.05)
        assert kernel.calls == 29
    with pytest.raises(OSError) as error, open("/dev/null") as null:
        Kernel(EVENTFD, null.fileno())
    assert error.value.errno == errno.EINVAL


def test_eventfds_come_and_go_while_they_are_signalled(name, area):
    """Registered, taken back, closed with the handle, from both sides, while others ring and write."""
    stop = time.monotonic() + scaled(10, 2)
    children = []
    shared = [eventfd() for _ in range(4)]
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                chance = random.Random(number)
                while time.monotonic() < stop:
                    with Area(name, backend="module") as mine:
                        for _ in range(20):
                            descriptor = chance.choice(shared)
                            direction = chance.random() < 0.5
                            try:
                                if chance.random() < 0.5:
                                    mine.add_eventfd(descriptor, from_user=direction)
                                else:
                                    mine.remove_eventfd(descriptor, from_user=direction)
                            except semshare.Error as error:
                                assert error.errno in (errno.EEXIST, errno.ENOENT, errno.ENOSPC), error
                            mine.notify()
                            os.write(descriptor, struct.pack("Q", 1))
                            count_of(descriptor)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    for each in shared:
        os.close(each)


# ------------------------------------------------------------------------------------------------- no wake-up is lost


def test_no_wakeup_is_lost_in_asyncio(ring):
    each = scaled(10_000, 500)
    tally = Tally(producers_of(ring))

    async def consume():
        async with aio.Ring(ring) as records:
            for _ in range(each * len(tally.next)):
                # Cancelled, it does not look once more, as one does whose time is over.
                tally.add(await asyncio.wait_for(records.get(), LIMIT))

    with producers(ring, each):
        asyncio.run(consume())
    assert set(tally.next) == {each}


@pytest.mark.parametrize("trigger", [0, select.EPOLLET])
def test_no_wakeup_is_lost_in_epoll(ring, trigger):
    each = scaled(10_000, 500)
    tally = Tally(producers_of(ring))
    left = each * len(tally.next)
    waits = 0
    with producers(ring, each) as kernels, select.epoll() as poll:
        poll.register(ring.area.fileno(), IN | trigger)
        while left:
            waits += 1
            assert poll.poll(LIMIT), f"a wake-up was lost, {left} records left, {[k.state() for k in kernels]}"
            # With edges nothing but an empty ring is followed by another.
            while payloads := ring.get_many(50, blocking=False):
                left -= len(payloads)
                for payload in payloads:
                    tally.add(payload)
                if not trigger:
                    break
    print(waits, "waits")


def test_no_wakeup_of_a_listener_in_the_kernel_is_lost(ring):
    """It takes records when it is called, and only then."""
    each = scaled(10_000, 500)
    with Kernel(GET, ring.area.fileno()) as kernel:
        count = 1 if is_of_one_producer(ring) else 3
        with putting(ring.name, range(count), each):
            pass
        eventually(lambda: kernel.done == each * count, LIMIT)
        done, calls, _, wrong, error = kernel.state()
        assert (wrong, error) == (0, 0)
        assert 0 < calls <= done + 2


def test_no_wakeup_of_a_listener_in_the_kernel_for_space_is_lost(ring):
    """It puts records when it is called, and only then: after each few of its own somebody has to take one."""
    count = scaled(5000, 300)
    tally = Tally(1)
    with Kernel(FILL, ring.area.fileno(), count) as kernel:
        while tally.next[0] < count:
            for payload in ring.get_many(3, timeout=LIMIT):
                tally.add(payload)
        eventually(lambda: kernel.done == count)
        assert kernel.state()[3:] == (0, 0)


@contextmanager
def lie(ring):
    """The ring looks as if it had a record, and the kernel, which takes its records, can have none."""
    words = memoryview(ring.area.buffer).cast("Q")
    locked = ring.state().variant == "sysv"
    mutex = semshare.SemaphoreSet(semid=ring.semid)
    if locked:
        mutex.operate([(0, -1, 0)])
    # The tail that only who has the lock reads, or the head that the kernel has a copy of.
    pages = ring.state().variant == "paged"
    place = (136 if locked else 512 if pages else 512 + 128) // 8
    true = words[place]
    words[place] = (true + (64 if locked else -1 if pages else -64)) % 2**64
    try:
        yield
    finally:
        words[place] = true
        words.release()
        if locked:
            mutex.operate([(0, 1, 0)])


def test_a_listener_is_not_kept_by_a_ring_that_lies(ring):
    """Its call comes to an end, it is called again now and then, and what is put afterwards it gets."""
    with Kernel(GET, ring.area.fileno()) as kernel:
        ring.put(PAYLOAD.pack(0, 0))
        eventually(lambda: kernel.done == 1)
        with lie(ring):
            ring.area.notify()
            calls = kernel.calls
            eventually(lambda: kernel.calls > calls + 2)
        ring.put(PAYLOAD.pack(0, 1))
        eventually(lambda: kernel.done == 2)
        assert kernel.state()[3:] == (0, 0)


def test_no_wakeup_for_space_is_lost(ring):
    """The kernel takes records; two tasks put into a ring that is full nearly all the time."""
    each = scaled(10_000, 300)

    async def produce(records, number):
        for i in range(each):
            await asyncio.wait_for(records.put(PAYLOAD.pack(number, i)), LIMIT)

    async def both():
        async with aio.Ring(ring) as records:
            await asyncio.gather(produce(records, 0), produce(records, 1))
            await asyncio.to_thread(eventually, lambda: kernel.done == 2 * each, LIMIT)

    with Kernel(GET, ring.area.fileno()) as kernel:
        asyncio.run(both())
        assert kernel.state()[3:] == (0, 0)


def test_the_sample_prints_what_is_put(ring):
    """docs/concepts/notifications.md"""
    ring.put(b"before", type=1)
    log = KernelLog()
    insmod("semshare_listen", f"area={ring.name}")
    try:
        ring.put_many([b"one", b"two"], type=2)
        lines = []
        eventually(lambda: lines.extend(log.read()) or sum("semshare_listen: " in line for line in lines) == 3)
        found = [line.split("semshare_listen: ")[1] for line in lines if "semshare_listen: " in line]
        wanted = ["0: type 1, 6 bytes: before", "1: type 2, 3 bytes: one", "2: type 2, 3 bytes: two"]
        assert found == [f"{ring.name}: {each}" for each in wanted]
    finally:
        rmmod("semshare_listen")


def test_the_kernel_rings_once_for_one_wait(ring):
    """Who is awake is not rung for: many records, one signal."""
    count = 10
    what = PUT if ring.state().variant == "sysv" else PUT_IRQ
    descriptor = ring.fileno()
    with pytest.raises(Empty):
        ring.get_nowait()
    with Kernel(what, ring.area.fileno(), count) as kernel:
        eventually(lambda: kernel.done == count)
        assert select.select([descriptor], [], [], LIMIT)[0]
        assert count_of(descriptor) == 1
        assert len(ring.get_many(100, blocking=False)) == count


def scribble_bells(name):
    words = memoryview(Ring.attach(name).area.buffer).cast("I")
    place = semshare.ring.ffi.offsetof("struct semshare_ring_control", "bell_data") // 4

    def write():
        words[place] = random.getrandbits(32) if random.random() < 0.5 else 0
        words[place + 1] = random.getrandbits(32)
        return 2

    return write


@takes_its_time
def test_bells_are_words_that_users_write(ring):
    """A scribbler over the words that ask for a ring: who polls is woken all the same, and nothing breaks."""
    what = PUT if ring.state().variant == "sysv" else PUT_IRQ
    tally = Tally(1)
    polls = 0
    until = time.monotonic() + scribbling(cases=len(VARIANTS))
    endless = Kernel(what, ring.area.fileno(), 1 << 60, 0, 50)
    with Scribbler(scribble_bells, ring.name) as scribbler, endless, select.epoll() as poll:
        poll.register(ring.area.fileno(), IN)
        while time.monotonic() < until or tally.next[0] < 200:
            polls += 1
            assert poll.poll(LIMIT), "a wake-up of the kernel's was lost to a scribbler"
            for payload in ring.get_many(50, blocking=False):
                tally.add(payload)
        words = scribbler.stop()
    print(f"{words} words written, {polls} polls, {tally.next[0]} records")
    assert ring.state().broken is None
