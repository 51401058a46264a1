# SPDX-License-Identifier: MIT
"""Parameters and state that kernel code declares: what it reads while honest, dead and hostile processes write."""

import ctypes
import errno
import faulthandler
import fcntl
import mmap
import os
import random
import signal
import struct
import time

import abi
import pytest
from abi import MAP_FAILED, NOBODY, PAGE, READ, WRITE, Child, Handle, become, check, errno_of, in_child, libc
from effort import scaled
from hostile import Scribbler, scribbling, takes_its_time

import semshare
from semshare import Denied, OutOfLimits, Parameters, Removed, UnknownParameter
from semshare.demo.kernel import KernelThreads

MODULE = "semshare_parameters_test"
INT, DOUBLE = 1, 2
MAX, GROUPS = 60, 16
ENTRY = struct.Struct("32sIIQQQ")
STATE_AT, VALUES_AT, SIZE = 4096, 8192, 12288
AT_REFUSED, AT_VERSIONS, AT_WORDS = 64, 128, 256


def bits(value):
    return struct.unpack("Q", struct.pack("d" if isinstance(value, float) else "q", value))[0]


class Create(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char * 64),
        ("parameters", ctypes.c_uint32),
        ("states", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("entries", ctypes.c_char * (64 * MAX)),
    ]


class Call(ctypes.Structure):
    _fields_ = [
        ("operation", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("bits", ctypes.c_uint64),
        ("values", ctypes.c_uint64 * MAX),
    ]


class Readers(ctypes.Structure):
    _fields_ = [
        ("threads", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("looks", ctypes.c_uint64),
        ("changes", ctypes.c_uint64),
        ("mixed", ctypes.c_uint64),
        ("outside", ctypes.c_uint64),
    ]


IOC_CREATE = abi._io(1, 0x7C, ctypes.sizeof(Create))
IOC_CALL = abi._io(3, 0x7D, ctypes.sizeof(Call))
IOC_READERS = abi._io(3, 0x7E, ctypes.sizeof(Readers))
GET, READ_ALL, SET_STATE, ADD_STATE, DESTROY, SCALED = 1, 2, 3, 4, 5, 6


def entry(name, initial, minimum=None, maximum=None, group=0):
    kind = DOUBLE if isinstance(initial, float) else INT
    limits = (0, 0) if minimum is None else (bits(minimum), bits(maximum))
    return ENTRY.pack(name.encode(), kind, group, *limits, bits(initial))


class Kernel:
    """Parameters that the test module declares, and what its kernel code sees of them."""

    def __init__(self):
        self.fd = os.open("/dev/semshare-parameters-test", os.O_RDWR | os.O_CLOEXEC)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def create(self, name, parameters, states=(), mode=0o600):
        words = Create(name.encode(), len(parameters), len(states), mode, 0, b"")
        entries = b"".join([*parameters, *states][:MAX])
        ctypes.memmove(ctypes.addressof(words) + Create.entries.offset, entries, len(entries))
        fcntl.ioctl(self.fd, IOC_CREATE, words)
        return self

    def _call(self, operation, index=0, value=0):
        call = Call(operation, index, value)
        fcntl.ioctl(self.fd, IOC_CALL, call)
        return call

    def get(self, index):
        return ctypes.c_int64(self._call(GET, index).bits).value

    def get_double(self, index):
        return struct.unpack("d", struct.pack("Q", self._call(GET, index).bits))[0]

    def read(self):
        return [ctypes.c_int64(value).value for value in self._call(READ_ALL).values]

    def set_state(self, index, value):
        self._call(SET_STATE, index, bits(value))

    def add_state(self, index, delta):
        self._call(ADD_STATE, index, bits(delta))

    def destroy(self):
        self._call(DESTROY)

    def scaled(self, value, scale):
        return ctypes.c_int64(self._call(SCALED, scale, bits(value)).bits).value

    def readers(self, threads):
        """Start so many kernel threads that read; what those that read before have seen."""
        report = Readers(threads)
        fcntl.ioctl(self.fd, IOC_READERS, report)
        return report


@pytest.fixture(scope="module", autouse=True)
def module():
    if not abi.loaded(MODULE):
        abi.insmod(MODULE)
    yield
    abi.rmmod(MODULE)


@pytest.fixture
def kernel(names):
    """Its end comes before the look at what is left of the names."""
    with Kernel() as declared:
        yield declared


@pytest.fixture
def motor(kernel, name):
    """rate, a double; first, second and third, which belong together; and two state values."""
    kernel.create(
        name,
        [
            entry("rate", 2.5, 0.0, 100.0),
            entry("first", 0, 0, 1 << 40, group=1),
            entry("second", 1, 0, 1 << 40, group=1),
            entry("third", 2, 0, 1 << 40, group=1),
            entry("level", -3, -5, 5),
        ],
        [entry("made", 7), entry("load", 0.5)],
        0o666,
    )
    return kernel


RATE, FIRST, SECOND, THIRD, LEVEL, MADE, LOAD = range(7)


# What each side sees of the other


def test_what_python_sets_the_kernel_reads(motor, name):
    with Parameters.attach(name) as user:
        assert dict(user) == {"rate": 2.5, "first": 0, "second": 1, "third": 2, "level": -3}
        user["rate"] = 12.25
        user["level"] = -5
        user.update(first=10, second=11, third=12)
        assert motor.get_double(RATE) == 12.25
        assert motor.get(LEVEL) == -5
        assert motor.read()[FIRST : LEVEL + 1] == [10, 11, 12, -5]
        user["second"] = 99
        assert (motor.get(SECOND), motor.read()[SECOND]) == (99, 99)
        assert user.limits("rate") == (0.0, 100.0)


def test_what_the_kernel_exports_python_reads(motor, name):
    with Parameters.attach(name, readonly=True) as user:
        assert dict(user.state) == {"made": 7, "load": 0.5}
        motor.set_state(MADE, -1)
        motor.add_state(MADE, 43)
        motor.set_state(LOAD, 0.75)
        assert dict(user.state) == {"made": 42, "load": 0.75}
        with pytest.raises(Denied):
            user["rate"] = 1.0
        with pytest.raises(Denied):
            user.state["made"] = 1


def test_limits_are_those_of_the_kernel_and_python_knows_them(motor, name):
    with Parameters.attach(name) as user:
        for wrong in ({"rate": 100.5}, {"rate": float("nan")}, {"level": 6}, {"first": -1}):
            with pytest.raises(OutOfLimits):
                user.update(wrong)
        with pytest.raises(UnknownParameter):
            user["speed"] = 1
        assert motor.get_double(RATE) == 2.5 and motor.read()[LEVEL] == -3


def test_two_instances_of_a_module_are_told_apart(names):
    one, two = names(), names()
    with Kernel() as first, Kernel() as second:
        first.create(one, [entry("rate", 1, 0, 10)], [entry("made", 1)])
        second.create(two, [entry("rate", 2, 0, 10)], [entry("made", 2)])
        with Parameters.attach(one) as left, Parameters.attach(two) as right:
            left["rate"], right["rate"] = 5, 6
            second.set_state(1, 22)
            assert (first.get(0), second.get(0)) == (5, 6)
            assert (left.state["made"], right.state["made"]) == (1, 22)


def test_the_name_is_free_again_when_the_kernel_ended_them(motor, name):
    with Parameters.attach(name) as user:
        user.update(first=3, second=4, third=5)
        motor.destroy()
        assert user.facts().ended
        assert user["first"] == 3 and user.state["made"] == 7
        with pytest.raises(Removed):
            user.update(first=4)
        with Kernel() as again:
            again.create(name, [entry("first", 0, 0, 9, group=1)])
            with Parameters.attach(name) as later:
                later["first"] = 8
                assert again.get(0) == 8
                assert user["first"] == 3


def test_rights_are_those_of_the_area(kernel, name, open_to_all):
    kernel.create(name, [entry("rate", 1, 0, 10)], [entry("made", 1)], 0o644)

    def somebody():
        become(NOBODY)
        with pytest.raises(Denied):
            Parameters.attach(name)
        with Parameters.attach(name, readonly=True) as user:
            assert user["rate"] == 1 and user.state["made"] == 1

    in_child(somebody)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [entry("", 1, 0, 2)],
        [entry("a b", 1, 0, 2)],
        [entry("x" * 32, 1, 0, 2)],
        [entry("a", 1, 0, 2), entry("a", 1, 0, 2)],
        [entry("a", 3, 0, 2)],
        [entry("a", 1, 2, 0)],
        [entry("a", 1.0, float("nan"), 2.0)],
        [entry("a", float("nan"), 0.0, 2.0)],
        [entry("a", 1, 0, 2, group=GROUPS)],
        [ENTRY.pack(b"a", 3, 0, 0, 2, 1)],
        [entry(f"a{i}", 1, 0, 2) for i in range(MAX)] + [entry("b", 1, 0, 2)],
    ],
    ids=[
        "none", "empty", "space", "long", "twice", "initial", "limits", "nan-limit", "nan", "group", "type", "many"
    ],
)  # fmt: skip
def test_a_declaration_that_makes_no_sense_is_refused(kernel, name, entries):
    assert errno_of(kernel.create, name, entries) == "EINVAL"
    with Handle() as handle:
        assert errno_of(handle.attach, name) == "ENOENT"


@pytest.mark.parametrize(
    ("value", "scale", "product"),
    [
        (2.5, 1000, 2500),
        (-2.5, 1000, -2500),
        (0.0, 5, 0),
        (1e-310, 1000, 0),
        (0.0015, 1000, 1),
        (1e300, 1, 2**63 - 1),
        (-1e300, 1, 1 - 2**63),
        (float("inf"), 1, 2**63 - 1),
        (float("nan"), 1, 0),
        (4503599627370497.0, 4, 18014398509481988),
    ],
)
def test_doubles_are_scaled_without_floating_point(motor, value, scale, product):
    assert motor.scaled(value, scale) == product


# Whatever users write


@pytest.fixture
def page(motor, name):
    """The page of values, as any user who may write can map it."""
    handle = Handle().attach(name)
    memory = handle.map(PAGE, offset=VALUES_AT)
    yield memory
    memory.close()
    handle.close()


def poke(page, index, value, copy=0):
    struct.pack_into("Q", page, AT_WORDS + copy * 8 * MAX + 8 * index, bits(value))


def test_a_value_outside_of_its_limits_is_never_used_and_counted(motor, name, page):
    with Parameters.attach(name, readonly=True) as user:
        poke(page, LEVEL, 4)
        assert motor.get(LEVEL) == 4
        for wrong in (6, -6, 1 << 62, -(1 << 63)):
            poke(page, LEVEL, wrong)
            assert motor.get(LEVEL) == 4
        for wrong in (float("nan"), -1e-300, 100.00000000000001, float("inf"), float("-inf")):
            poke(page, RATE, wrong)
            assert motor.get_double(RATE) == 2.5
        assert user.facts().refused == 9
        assert user["level"] == -3 and user.facts().refused_here == 1
        poke(page, RATE, -0.0)
        assert motor.get_double(RATE) == 0.0
        poke(page, LEVEL, 5)
        assert motor.get(LEVEL) == 5 and user["level"] == 5


def test_a_group_with_one_wrong_value_is_refused_as_a_whole(motor, name, page):
    with Parameters.attach(name) as user:
        user.update(first=20, second=21, third=22)
        assert motor.read()[FIRST:LEVEL] == [20, 21, 22]
        version = struct.unpack_from("Q", page, AT_VERSIONS + 8)[0]
        for index, value in ((FIRST, 30), (SECOND, 31), (THIRD, -1)):
            poke(page, index, value, copy=(version + 1) & 1)
        struct.pack_into("Q", page, AT_VERSIONS + 8, version + 1)
        assert motor.read()[FIRST:LEVEL] == [20, 21, 22]
        assert user.facts().refused == 1
        # The next honest writer puts it right.
        user.update(first=40, second=41)
        assert motor.read()[FIRST:LEVEL] == [40, 41, 2]


def scribble(memory, seed):
    """Random and adversarial words all over a page."""
    chance = random.Random(seed)
    adversarial = [0, 1, 1 << 63, (1 << 64) - 1, bits(float("nan")), bits(float("inf")), 1 << 40, (1 << 40) + 1]
    words = len(memory) // 8

    def write():
        for _ in range(200):
            value = chance.choice(adversarial) if chance.random() < 0.7 else chance.getrandbits(64)
            # Versions more often than other words: they are what readers follow.
            place = AT_VERSIONS // 8 + chance.randrange(GROUPS) if chance.random() < 0.3 else chance.randrange(words)
            struct.pack_into("Q", memory, 8 * place, value)
        return 200

    return write


@takes_its_time
def test_a_hostile_scribbler_gets_no_value_past_the_limits(motor, name, page):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    motor.readers(4)
    with Scribbler(scribble, page, seed) as first, Scribbler(scribble, page, seed + 1) as second:
        time.sleep(scribbling())
        words = first.stop() + second.stop()
    seen = motor.readers(0)
    assert seen.outside == 0
    assert seen.looks > 100
    with Parameters.attach(name) as user:
        facts = user.facts()
        print(f"{words} words written, looks {seen.looks}, refused {facts.refused}, unsettled {facts.unsettled}")
        assert facts.refused > 0
        # What it left is put right by setting everything, once the lock's words are believed again.
        page[:64] = bytes(64)
        for parameter, value in (("rate", 1.5), ("level", 1)):
            user[parameter] = value
        user.update(first=50, second=51, third=52)
        assert motor.read()[FIRST : LEVEL + 1] == [50, 51, 52, 1] and motor.get_double(RATE) == 1.5


# Groups


def change_groups(name, seconds, step):
    with Parameters.attach(name) as user:
        Child.tell()
        value, end = step, time.monotonic() + seconds
        while time.monotonic() < end:
            user.update(first=value, second=value + 1, third=value + 2)
            value = (value + step) % (1 << 39)


def test_kernel_readers_never_see_a_mixed_group(motor, name):
    motor.readers(4)
    writers = [Child(change_groups, name, scaled(10, 2), step) for step in (3, 5)]
    for each in writers:
        each.wait()
    seen = motor.readers(0)
    print(f"looks {seen.looks}, changes {seen.changes}")
    assert (seen.mixed, seen.outside) == (0, 0)
    assert seen.changes > 100


def test_the_test_sees_a_mixed_group(motor, name, page):
    """Members that are stored one by one are seen mixed: so would those of a writer that keeps no versions."""
    motor.readers(2)
    end = time.monotonic() + 30
    value = 0
    while time.monotonic() < end:
        value += 3
        version = struct.unpack_from("Q", page, AT_VERSIONS + 8)[0] + 1
        struct.pack_into("Q", page, AT_VERSIONS + 8, version)
        for index in (FIRST, SECOND, THIRD):
            poke(page, index, value + index - FIRST, copy=version & 1)
        if value % 3000 == 0 and motor.readers(2).mixed:
            return
    pytest.fail("no reader saw one")


def test_a_writer_killed_in_the_middle_of_a_group_changes_nothing(motor, name):
    with Parameters.attach(name) as user:
        user.update(first=60, second=61, third=62)
    motor.readers(2)
    for _ in range(scaled(20, 4)):
        writer = Child(change_groups, name, 60, 3)
        writer.told()
        time.sleep(random.uniform(0, 0.02))
        writer.kill()
        first, second, third = motor.read()[FIRST:LEVEL]
        assert (second, third) == (first + 1, first + 2)
        with Parameters.attach(name) as user:
            user.update(first=70, second=71, third=72)
            assert motor.read()[FIRST:LEVEL] == [70, 71, 72]
    seen = motor.readers(0)
    assert (seen.mixed, seen.outside) == (0, 0)


def test_a_stopped_writer_stops_nobody_but_writers_of_groups_and_those_not_for_ever(motor, name):
    with Parameters.attach(name, timeout=0.3) as user, Parameters.attach(name) as holder:
        lock = holder._writers()
        lock.acquire()
        user["rate"] = 3.5
        assert motor.get_double(RATE) == 3.5 and motor.read()[FIRST:LEVEL] == [0, 1, 2]

        def other():
            with Parameters.attach(name, timeout=0.3) as mine, pytest.raises(semshare.Timeout):
                mine.update(first=1)

        in_child(other)
        lock.release()
        user.update(first=5, second=6, third=7)
        assert motor.read()[FIRST:LEVEL] == [5, 6, 7]


# What only the kernel writes


def test_no_mapping_of_the_kernels_pages_can_be_written(motor, name):
    with Handle().attach(name) as handle:
        assert handle.info()["flags"] & 0x10 and handle.info()["access"] == READ | WRITE
        for offset, size in ((0, SIZE), (0, PAGE), (STATE_AT, PAGE), (STATE_AT, 2 * PAGE)):
            assert errno_of(handle.raw_map, size, offset=offset) == "EACCES", (offset, size)
            address = handle.raw_map(size, prot=mmap.PROT_READ, offset=offset)
            for protection in (mmap.PROT_WRITE, mmap.PROT_READ | mmap.PROT_WRITE):
                with pytest.raises(PermissionError):
                    check(libc.mprotect(address, size, protection))
            check(libc.munmap(address, size))
        for flags in (mmap.MAP_PRIVATE,):
            assert errno_of(handle.raw_map, SIZE, flags=flags) == "EINVAL"


def test_a_writable_mapping_does_not_move_over_the_kernels_pages(motor, name):
    with Handle().attach(name) as handle:
        address = handle.raw_map(PAGE, offset=VALUES_AT)
        # remap_file_pages() maps another page of the file in place of this one.
        result = libc.syscall(216, ctypes.c_long(address), ctypes.c_long(PAGE), 0, ctypes.c_long(0), 0)
        assert result == -1 and ctypes.get_errno() == errno.EACCES
        moved = libc.mremap(address, PAGE, SIZE, 1)
        assert moved == MAP_FAILED
        libc.munmap(ctypes.c_void_p(address), PAGE)


def test_proc_mem_does_not_write_the_kernels_pages(motor, name):
    with Handle().attach(name) as handle:
        address = handle.raw_map(SIZE, prot=mmap.PROT_READ)
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            for offset in (0, STATE_AT):
                memory.seek(address + offset)
                with pytest.raises(OSError) as raised:
                    memory.write(b"\xff" * 8)
                assert raised.value.errno in (errno.EIO, errno.EFAULT)
        libc.munmap(ctypes.c_void_p(address), SIZE)
    with Parameters.attach(name) as user:
        assert user.state["made"] == 7


def test_a_store_to_the_kernels_pages_kills_its_process_and_a_forked_one(motor, name):
    with Handle().attach(name) as handle:
        address = handle.raw_map(SIZE, prot=mmap.PROT_READ)
        for offset in (0, STATE_AT):
            pid = os.fork()
            if pid == 0:
                faulthandler.disable()
                ctypes.memset(address + offset, 255, 8)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGSEGV
        libc.munmap(ctypes.c_void_p(address), SIZE)
    with Parameters.attach(name) as user:
        assert user.state["made"] == 7


def test_a_handle_that_may_not_write_all_is_no_way_to_have_the_kernel_write(motor, name):
    with Handle().attach(name) as handle, abi.Demo() as demo:
        assert errno_of(demo.start, handle.fd) == "EACCES"


# Areas with a guard that a process makes


def guarded(handle, name, size, guard, kind=abi.PAGES, source=0, flags=0):
    handle.make(name, size, kind, source, mode=0o666, flags=flags, guard=guard)
    return handle


def test_only_the_handle_that_made_it_writes_behind_the_guard(name):
    with Handle() as maker, Handle() as other:
        guarded(maker, name, 3 * PAGE, 2 * PAGE)
        other.attach(name)
        with maker.map() as mine:
            mine[0:4] = b"mine"
            assert errno_of(other.raw_map, 3 * PAGE) == "EACCES"
            with other.map(prot=mmap.PROT_READ) as theirs:
                assert theirs[0:4] == b"mine"
            with other.map(PAGE, offset=2 * PAGE) as theirs:
                theirs[0:4] = b"free"
            assert mine[2 * PAGE : 2 * PAGE + 4] == b"free"


def test_a_later_handle_is_not_taken_for_the_one_that_made_it(name):
    maker = guarded(Handle(), name, 2 * PAGE, PAGE)
    with Handle().attach(name):
        maker.close()
        for _ in range(20):
            with Handle().attach(name) as other:
                assert errno_of(other.raw_map, 2 * PAGE) == "EACCES"


@pytest.mark.parametrize(("size", "guard"), [(PAGE, 1), (PAGE, 2 * PAGE), (PAGE, 1 << 63), (PAGE + 1, 2 * PAGE)])
def test_a_guard_that_makes_no_sense_is_refused(name, size, guard):
    with Handle() as handle:
        assert errno_of(guarded, handle, name, size, guard) == "EINVAL"


def test_memory_that_others_map_by_other_ways_is_not_guarded(name):
    memfd = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(memfd, 2 * PAGE)
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        with Handle() as handle:
            for kind, source in ((abi.MEMFD, memfd), (abi.CONTIGUOUS, 0), (abi.RESERVED, 0)):
                assert errno_of(guarded, handle, name, 2 * PAGE, PAGE, kind, source) == "EINVAL"
            guarded(handle, name, 2 * PAGE, 0, abi.MEMFD, memfd)
    finally:
        os.close(memfd)


def test_huge_pages_are_guarded_in_part(name):
    size = 4 << 20
    with Handle() as maker, Handle() as other:
        guarded(maker, name, size, 2 * PAGE, flags=abi.HUGE)
        other.attach(name)
        with maker.map() as mine, other.map(size - 2 * PAGE, offset=2 * PAGE) as theirs:
            mine[0:4] = b"mine"
            theirs[0:4] = b"free"
            assert mine[2 * PAGE : 2 * PAGE + 4] == b"free"
            assert errno_of(other.raw_map, size) == "EACCES"
            assert errno_of(other.raw_map, PAGE) == "EACCES"


def test_a_guarded_area_has_its_agreed_address_in_python(name):
    address = 0x1200_0000_0000
    with semshare.Area(name, 3 * PAGE, guard=PAGE, address=address, backend="module", mode=0o666) as maker:
        with semshare.Area.attach(name, address=None) as user:
            assert user.info().address == address and user.info().guarded
            assert user.buffer.readonly and not maker.buffer.readonly
        maker.unlink()
    with pytest.raises(ValueError, match="guard"):
        semshare.Area(name, 3 * PAGE, guard=PAGE, kind="contiguous", backend="module")


def test_python_declares_and_others_cannot_write_what_it_declared(name):
    declared = Parameters.create(name, [semshare.Parameter("rate", 1.0, 0.0, 5.0)], {"made": 3}, mode=0o666)
    with declared, Parameters.attach(name) as user:
        user["rate"] = 4.5
        declared.state["made"] = 9
        assert declared["rate"] == 4.5 and user.state["made"] == 9
        with Handle().attach(name) as handle:
            assert errno_of(handle.raw_map, SIZE) == "EACCES"
        with pytest.raises(TypeError):
            user._area.buffer[0] = 1


# The sample: kernel threads whose rate and payload are changed while they run


@pytest.fixture
def producers(names):
    """Two kernel threads that put records into a ring, as slowly and shortly as their parameters say."""
    if not abi.loaded("semshare_demo"):
        abi.insmod("semshare_demo")
    ring_name, name = names(), names()
    with semshare.Ring.create(ring_name, 1 << 20, backend="module") as ring:
        threads = KernelThreads(ring.area.fileno())
        try:
            threads.declare(name, 1000)
            threads.put_records(2, 1, 0, 0, unlocked=False)
            with Parameters.attach(name) as knobs:
                yield ring, knobs
        finally:
            threads.close()


def drain(ring, seconds):
    """The lengths of the records that come in so many seconds."""
    while ring.get_many(1000, timeout=0):
        pass
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        found += [len(record) for record in ring.get_many(1000, timeout=0.05)]
    return found


def test_rate_and_payload_of_the_demos_threads_change_while_they_run(producers):
    ring, knobs = producers
    header = abi.DEMO_RECORD.size
    assert dict(knobs) == {"rate": 1000.0, "payload": 1000}
    assert knobs.limits("payload") == (0, 1000)
    abi.eventually(lambda: knobs.state["threads"] == 2)

    knobs.update(rate=0.0, payload=0)
    time.sleep(0.3)
    assert len(drain(ring, 0.5)) <= 2
    produced = knobs.state["produced"]
    knobs["rate"] = 20.5
    slow = drain(ring, 2)
    assert 10 < len(slow) < 120 and set(slow) == {header}
    assert knobs.state["produced"] > produced

    knobs.update(rate=400.0, payload=1000)
    time.sleep(0.1)
    fast = drain(ring, 2)
    assert len(fast) > 2 * len(slow) and max(fast) > header + 500
    assert max(fast) <= header + 1000
    with pytest.raises(OutOfLimits, match="0 to 1000"):
        knobs["payload"] = 1001
    assert knobs.facts().refused == 0


def test_the_demos_parameters_end_with_their_file(names):
    name = names()
    with semshare.Ring.create(names(), 4096, backend="module") as ring:
        threads = KernelThreads(ring.area.fileno())
        threads.declare(name, 0)
        with pytest.raises(OSError, match="EBUSY"):
            threads.declare(name, 0)
        with Parameters.attach(name) as knobs:
            threads.close()
            assert knobs.facts().ended
