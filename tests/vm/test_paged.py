# SPDX-License-Identifier: MIT
"""Rings of pages that no program fills: a timer does, and the DMA engine of a device."""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import random
import select
import signal
import struct
import time
from collections import Counter
from pathlib import Path

import kernel
import pytest
from abi import errno_of, read_parameter
from effort import scaled
from hostile import Poller, goes_on, scribbling, takes_its_time, told
from notify_kernel import GET
from notify_kernel import Kernel as Listener
from pace import SLACK

from semshare import Area, Ring, RingBroken, aio
from semshare.aio import watch

TYPE = 3
START, STOP, STATUS = 0x40000000 | 32 << 16 | 0xE568, 0xE569, 0x80000000 | 24 << 16 | 0xE56A
EDU = any(
    (each / "vendor").read_text().strip() == "0x1234" and (each / "device").read_text().strip() == "0x11e8"
    for each in Path("/sys/bus/pci/devices").glob("*")
)
no_device = pytest.mark.skipif(not EDU, reason="this machine has no edu device, or this kernel no PCI")


class Producer:
    """The sample's device, open."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def start(self, ring, payload=100, count=0, period_ns=200_000, unfinished=0, reserved=0):
        area = ring if isinstance(ring, int) else ring.area.fileno()
        fcntl.ioctl(self.fd, START, struct.pack("iIQQII", area, payload, count, period_ns, unfinished, reserved))

    def stop(self):
        fcntl.ioctl(self.fd, STOP)

    def status(self):
        """Pages written, the next one, whether it runs, the errno."""
        return struct.unpack("QQII", fcntl.ioctl(self.fd, STATUS, bytes(24)))

    def close(self):
        os.close(self.fd)


@contextlib.contextmanager
def sample(module, path, parameters=""):
    assert kernel.load(module, parameters) == 0
    producer = Producer(path)
    try:
        yield producer
    finally:
        producer.close()
        assert kernel.eventually(lambda: kernel.unload(module) == 0), kernel.holders()


@pytest.fixture
def timer():
    with sample("semshare_paged", "/dev/semshare-paged") as producer:
        yield producer


@pytest.fixture
def device():
    with sample("semshare_edu", "/dev/semshare-edu", "dma_bits=32") as producer:
        yield producer


@pytest.fixture
def ring(no_sets_left):
    with Ring.create(f"paged-{os.getpid()}", 1 << 16, variant="paged", policy="overwrite", max_payload=960) as ring:
        assert ring.area.backend == "module"
        yield ring


def pattern(number, size):
    return bytes((number + i) & 255 for i in range(size))


def take(ring, most=100, seconds=1.0, blocking=True):
    """What is there, checked: numbers, one for each record."""
    numbers = []
    for found in ring.get_records(most, blocking, timeout=seconds if blocking else -1):
        assert found.payload == pattern(found.position, len(found.payload))
        assert found.type == TYPE
        assert found.sequence == found.position
        numbers.append(found.position)
    return numbers


# A timer


def test_a_timer_fills_pages_and_python_finds_them(timer, ring):
    count = scaled(2000, least=100)
    timer.start(ring, payload=960, count=count, period_ns=1_000_000)
    numbers = []
    limit = time.monotonic() + 10 * SLACK
    while (not numbers or numbers[-1] < count - 1) and time.monotonic() < limit:
        numbers += take(ring)
    assert timer.status() == (count, count, 0, 0)
    assert numbers == sorted(set(numbers))
    # Where this machine was slower than the timer: what is missing is counted.
    drops = ring.state().drops
    assert len(numbers) + drops["overwritten"] == count
    assert drops["abandoned"] == drops["refused"] == 0


def test_pages_that_were_not_read_are_written_over_and_counted(timer, ring):
    timer.start(ring, count=100, period_ns=50_000)
    assert kernel.eventually(lambda: not timer.status()[2])
    # 64 pages: of 100 the oldest 36 are gone.
    assert ring.state().used == 1 << 16
    assert take(ring, 200) == list(range(36, 100))
    assert ring.state().drops["overwritten"] == 36
    assert ring.state().used == 0
    # The next run goes on where the pages say.
    timer.start(ring, count=10, period_ns=50_000)
    assert kernel.eventually(lambda: not timer.status()[2])
    assert take(ring, 200) == list(range(100, 110))


def test_unfinished_pages_are_passed_over_and_counted(timer, ring):
    timer.start(ring, count=50, period_ns=50_000, unfinished=7)
    assert kernel.eventually(lambda: not timer.status()[2])
    # The last that is unfinished is 49: no page after it tells that it never will be.
    assert take(ring, 200) == [number for number in range(50) if number % 7]
    assert ring.state().drops == {"refused": 0, "overwritten": 0, "abandoned": 7}


def test_a_consumer_that_is_overtaken_all_the_time_takes_only_whole_pages(timer, ring):
    """The timer goes round four pages while they are copied; a copy that it wrote into does not count."""
    with Ring.create(f"small-{os.getpid()}", 4096, variant="paged", policy="overwrite", max_payload=960) as small:
        timer.start(small, payload=960, period_ns=20_000)
        numbers = []
        limit = time.monotonic() + scaled(10, least=2)
        while time.monotonic() < limit:
            numbers += take(small, 3)
        timer.stop()
        done, following, running, error = timer.status()
        assert (running, error) == (0, 0)
        numbers += take(small, 100, 0)
        assert numbers == sorted(set(numbers))
        assert len(numbers) + small.state().drops["overwritten"] == done == following


def test_what_it_refuses(timer, ring, no_sets_left):
    assert errno_of(timer.start, ring, payload=961) == "EINVAL"
    assert errno_of(timer.start, ring, period_ns=19_999) == "EINVAL"
    with Ring.create(f"long-{os.getpid()}", 1 << 16, variant="paged", policy="overwrite", max_payload=4032) as long:
        assert errno_of(timer.start, long, payload=2048, period_ns=59_999) == "EINVAL"
        timer.start(long, payload=2048, period_ns=60_000)
        timer.stop()
    assert errno_of(timer.start, ring, reserved=1) == "EINVAL"
    assert errno_of(timer.start, -1) == "EBADF"
    with Ring.create(f"sysv-{os.getpid()}", 4096) as other:
        assert errno_of(timer.start, other) == "EMEDIUMTYPE"
    with Area(f"none-{os.getpid()}", 8192, create=True) as area:
        assert errno_of(timer.start, area.fileno()) == "EAGAIN"
    timer.start(ring)
    assert errno_of(timer.start, ring) == "EBUSY"
    timer.stop()
    timer.start(ring)
    assert errno_of(fcntl.ioctl, timer.fd, 0xE56F) == "ENOTTY"


def test_so_many_run_at_a_time(timer, ring):
    """What users may have an interrupt do is limited, also for many of them."""
    with contextlib.ExitStack() as stack:
        timers = [stack.enter_context(contextlib.closing(Producer("/dev/semshare-paged"))) for _ in range(17)]
        for each in timers[:16]:
            each.start(ring, period_ns=1_000_000_000)
        assert errno_of(timers[16].start, ring, count=1) == "EBUSY"
        timers[0].stop()
        timers[16].start(ring, count=1)


def test_killing_who_started_it_ends_it(timer, ring):
    with kernel.child(lambda: (Producer("/dev/semshare-paged").start(ring), signal.pause())):
        assert kernel.eventually(lambda: ring.state().puts > 10)
    assert kernel.eventually(lambda: ring.area.info().kernel_users == 0)
    stood = ring.state().puts
    time.sleep(0.05)
    assert ring.state().puts == stood


@pytest.fixture
def listening():
    assert kernel.load("semshare_notify_test") == 0
    yield
    assert kernel.eventually(lambda: kernel.unload("semshare_notify_test") == 0), kernel.holders()


def scribble(ring, chance):
    """Random and adversarial words, as many as there are in the answer."""
    memory = (ctypes.c_uint64 * (len(ring.area.buffer) // 8)).from_buffer(ring.area.buffer)
    special = [0, 1, (1 << 64) - 1, 1 << 63, 0x4547415000000000, 0x4547415000000040, 0x45474150FFFFFFFF]
    for _ in range(200):
        memory[chance.randrange(len(memory))] = chance.choice([*special, chance.getrandbits(64)])
    return 200


@takes_its_time
def test_a_scribbler_breaks_nothing_but_the_records(timer, listening, names):
    """Every word that a process can write, while an interrupt fills the pages, and this process, or the kernel, takes
    them, and another polls."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    counts = Counter()
    turns = 0
    end = time.monotonic() + scribbling()
    while goes_on(end, turns, counts["rings broken"] and counts["processes that were told so"]):
        before = read_parameter("rings_broken")
        with contextlib.ExitStack() as stack:
            made = Ring.create(names(), 1 << 16, variant="paged", policy="overwrite", max_payload=960, backend="module")
            ring = stack.enter_context(made)
            listener = stack.enter_context(Listener(GET, ring.area.fileno())) if turns % 2 else None
            poller = stack.enter_context(Poller(ring.name, chance.random()))
            timer.start(ring, payload=960, period_ns=20_000)
            until = time.monotonic() + 0.5
            was_told = 0
            while time.monotonic() < until:
                counts["words written"] += scribble(ring, chance)
                if listener:
                    time.sleep(0.001)
                    continue
                try:
                    counts["records"] += len(ring.get_many(100, blocking=False))
                except RingBroken:
                    was_told = 1
            assert timer.status()[2] == 1
            counts.update({"pages": timer.status()[0], "processes that were told so": was_told})
            timer.stop()
            counts.update(poller.stop())
            # A run anew takes what it finds, or says no.
            assert errno_of(timer.start, ring) in (None, "EPROTO", "EAGAIN", "EMEDIUMTYPE", "EINVAL")
            timer.stop()
            if listener:
                records, calls = listener.state()[:2]
                counts.update({"listener records": records, "listener calls": calls})
            turns += 1
        counts["rings broken"] += read_parameter("rings_broken") - before
    print(f"{turns} turns, {told(counts)}")
    assert min(counts["pages"], counts["polls"]) > turns and counts["listener calls"]
    # The word that says so is one of those that are written: who comes next is told, and what the kernel finds counts.
    assert counts["rings broken"] and counts["processes that were told so"]


# Who sleeps until there is a page


@pytest.fixture(params=["timer", pytest.param("device", marks=no_device)])
def run(request, ring):
    """Has one of both fill pages of the ring: the number of the last."""
    producer = request.getfixturevalue(request.param)

    def start():
        timed = request.param == "timer"
        count = scaled(300, least=50) if timed else scaled(5, least=2)
        producer.start(ring, count=count, period_ns=3_000_000 if timed else 0)
        return count - 1

    return start


def check(ring, numbers, last):
    assert numbers == sorted(set(numbers))
    assert len(numbers) + ring.state().drops["overwritten"] == last + 1


def sleep_at(descriptor, ring, last):
    """Take what is there, and look again only when told: the numbers of the pages."""
    numbers, waits = take(ring, blocking=False), 0
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not numbers or numbers[-1] < last:
        waits += 1
        began = time.monotonic()
        poll.poll(2000 * SLACK)
        # When its time is over poll() looks once more: what it finds then it was not told of.
        assert time.monotonic() - began < 2 * SLACK, f"nobody rang; {len(numbers)} pages taken, {ring.state()}"
        while found := take(ring, blocking=False):
            numbers += found
    assert waits > 1, "it never slept"
    return numbers


def test_poll_of_the_area_wakes_for_each_page(run, ring):
    last = run()
    check(ring, sleep_at(ring.area.fileno(), ring, last), last)


def test_an_eventfd_is_signalled_for_each_page(run, ring):
    descriptor = ring.fileno()
    last = run()
    check(ring, sleep_at(descriptor, ring, last), last)


def test_asyncio_wakes_for_each_page(run, ring, monkeypatch):
    monkeypatch.setattr(watch, "RECHECK", 1000.0)

    async def consume(last):
        numbers = []
        async with aio.Ring(ring) as pages:
            while not numbers or numbers[-1] < last:
                numbers.append((await asyncio.wait_for(pages.get_record(), 2 * SLACK)).position)
            check(ring, numbers, last)

    asyncio.run(consume(run()))


# A device


@no_device
def test_a_device_fills_pages_by_dma_and_python_finds_them(device, ring):
    count = scaled(10, least=4)
    device.start(ring, payload=960, count=count, period_ns=0)
    assert device.status()[2] == 1
    numbers = []
    limit = time.monotonic() + 10 * SLACK
    while len(numbers) < count and time.monotonic() < limit:
        numbers += take(ring)
    assert numbers == list(range(count))
    assert kernel.eventually(lambda: device.status() == (count, count, 0, 0))
    assert ring.state().drops == {"refused": 0, "overwritten": 0, "abandoned": 0}


@no_device
def test_a_device_that_is_faster_than_its_reader_writes_over_pages(device):
    with Ring.create(f"few-{os.getpid()}", 4096, variant="paged", policy="overwrite", max_payload=960) as few:
        device.start(few, count=6, period_ns=0, unfinished=4)
        assert kernel.eventually(lambda: not device.status()[2], 10 * SLACK)
        # Four places: 5 stands where 1 was; 0 and 4 were left unfinished.
        assert take(few) == [2, 3, 5]
        assert few.state().drops == {"refused": 0, "overwritten": 1, "abandoned": 2}


@no_device
def test_stopping_waits_for_the_transfer_and_lets_the_area_go(device, ring):
    device.start(ring, period_ns=0)
    assert kernel.eventually(lambda: ring.state().puts > 0)
    other = Producer("/dev/semshare-edu")
    assert errno_of(other.start, ring, period_ns=0) == "EBUSY"
    other.stop()  # not its own run
    assert device.status()[2] == 1
    other.close()
    device.stop()
    assert ring.area.info().kernel_users == 0
    stood = ring.state().puts
    time.sleep(0.5)
    assert ring.state().puts == stood
    assert errno_of(device.start, ring, period_ns=1) == "EINVAL"


@no_device
def test_a_device_that_goes_away_takes_its_run_with_it(device, ring):
    device.start(ring, period_ns=0)
    name = next(Path("/sys/bus/pci/drivers/semshare_edu").glob("0000:*")).name
    Path("/sys/bus/pci/drivers/semshare_edu/unbind").write_text(name)
    assert errno_of(device.status) == "ENODEV"
    assert ring.area.info().kernel_users == 0
    Path("/sys/bus/pci/drivers/semshare_edu/bind").write_text(name)
    device.start(ring, count=1, period_ns=0)
    assert kernel.eventually(lambda: not device.status()[2])
