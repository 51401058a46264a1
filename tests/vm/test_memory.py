# SPDX-License-Identifier: MIT
"""Areas of other memory, through /dev/semshare: imported, contiguous, huge; what their owners do to it, and limits."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import random
import resource
import signal
import struct
import time

import pytest
from abi import (
    CONTIGUOUS,
    CONTROL,
    DMA32,
    HUGE,
    MEMFD,
    NOBODY,
    PAGE,
    PAGES,
    READ,
    RESERVED,
    SYSV,
    UNLINKED,
    Child,
    Demo,
    Handle,
    Ring,
    Tally,
    become,
    check,
    errno_of,
    eventually,
    in_child,
    libc,
    unshare_ipc,
)
from effort import scaled

MIB = 1 << 20
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE = 1, 2, 4, 8, 16
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2
MADV_REMOVE = 9
IPC_PRIVATE, IPC_RMID, IPC_CREAT = 0, 0, 0o1000
RW = mmap.PROT_READ | mmap.PROT_WRITE

libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
libc.shmdt.argtypes = [ctypes.c_void_p]
libc.shmget.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_int]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


@pytest.fixture(autouse=True)
def nothing_left(no_sets_left):
    """No test leaves an area behind, nor a segment."""
    with Handle() as handle:
        areas = handle.names()
    before = segments()
    yield
    with Handle() as handle:
        eventually(lambda: handle.names() == areas and not any(area["flags"] & UNLINKED for area in handle.list()))
    assert segments() == before


def segments():
    with open("/proc/sysvipc/shm", encoding="ascii") as table:
        return [line.split()[1] for line in table.read().splitlines()[1:]]


def memfd(size, seals=F_SEAL_SHRINK, flags=0):
    """A memfd with its first bytes written."""
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | flags)
    os.ftruncate(fd, size)
    if not flags:
        os.pwrite(fd, b"before", 0)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


@contextlib.contextmanager
def segment(size, mode=0o600):
    """A SysV segment, attached."""
    shmid = check(libc.shmget(IPC_PRIVATE, size, IPC_CREAT | mode))
    address = check(libc.shmat(shmid, None, 0))
    try:
        yield shmid, address
    finally:
        libc.shmdt(address)
        libc.shmctl(shmid, IPC_RMID, None)


@pytest.fixture(params=["memfd", "sysv"])
def source(request):
    """Makes an area of a fresh memfd or segment; says how it is seen from outside."""
    with contextlib.ExitStack() as stack:

        class Source:
            kind = MEMFD if request.param == "memfd" else SYSV

            def __init__(self, size):
                self.size = size
                if self.kind == MEMFD:
                    self.number = memfd(size)
                    stack.callback(os.close, self.number)
                    self.memory = mmap.mmap(self.number, size)
                else:
                    self.number, address = stack.enter_context(segment(size))
                    self.memory = (ctypes.c_char * size).from_address(address)
                    self.memory[:6] = b"before"

            def make(self, handle, name="imported", size=None):
                return handle.make(name, size or self.size, self.kind, self.number)

        yield Source


# Import


def test_an_imported_area_is_the_same_memory(source):
    size = 5 * PAGE
    imported = source(size)
    with imported.make(Handle()) as handle, Handle() as second:
        memory = handle.map(size)
        assert memory[:6] == b"before"
        memory[size - 4 :] = b"last"
        assert imported.memory[size - 4 : size] == b"last"
        other = second.attach("imported").map(size)
        imported.memory[PAGE : PAGE + 3] = b"two"
        assert other[PAGE : PAGE + 3] == b"two"
        info = second.info()
        assert (info["kind"], info["size"], info["maps"], info["handles"]) == (imported.kind, size, 2, 2)
        memory.close(), other.close()


def test_kernel_threads_put_into_a_ring_in_imported_memory(source):
    capacity = 65536
    imported = source(CONTROL + capacity)
    imported.memory[:6] = bytes(6)
    with imported.make(Handle()) as handle, Demo() as demo:
        ring, tally = Ring(handle, capacity), Tally()
        demo.start(handle.fd, threads=2, count=scaled(2000, 100))
        while tally.records < 2 * scaled(2000, 100):
            tally.add(ring.get())
        assert imported.memory[:4] == b"SSRG"
        demo.stop()
        ring.close()


@pytest.mark.parametrize(
    ("seals", "wanted"),
    [
        (0, "EPERM"),
        (F_SEAL_GROW, "EPERM"),
        (F_SEAL_SHRINK, None),
        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, None),
        (F_SEAL_SHRINK | F_SEAL_WRITE, "EPERM"),
        (F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE, "EPERM"),
    ],
)
def test_seals_decide(seals, wanted):
    fd = memfd(PAGE, seals)
    with Handle() as handle:
        assert errno_of(handle.make, "sealed", PAGE, MEMFD, fd) == wanted
        if not wanted and not seals & F_SEAL_SEAL:
            # Nor may it be sealed against writing while the kernel may write it.
            assert errno_of(fcntl.fcntl, fd, fcntl.F_ADD_SEALS, F_SEAL_WRITE) == "EBUSY"
    os.close(fd)


def test_what_is_no_memfd_is_refused(tmp_path):
    with Handle() as handle:
        plain = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        os.ftruncate(plain, PAGE)
        shm = os.open("/dev/shm/no-memfd", os.O_RDWR | os.O_CREAT)
        os.ftruncate(shm, PAGE)
        fd = memfd(PAGE)
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        pipe = os.pipe()
        for number in (pipe[0], handle.fd):
            assert errno_of(handle.make, "no", PAGE, MEMFD, number) == "EINVAL"
        # Files that cannot be sealed, in a tmpfs perhaps.
        for number in (plain, shm):
            assert errno_of(handle.make, "no", PAGE, MEMFD, number) in ("EINVAL", "EPERM")
        assert errno_of(handle.make, "no", PAGE, MEMFD, reader) == "EACCES"
        assert errno_of(handle.make, "no", PAGE, MEMFD, -1) == "EBADF"
        assert errno_of(handle.make, "no", PAGE + 1, MEMFD, fd) == "EINVAL"
        assert errno_of(handle.make, "no", PAGE, SYSV, -1) == "EINVAL"
        assert errno_of(handle.make, "no", PAGE, SYSV, 0x7FFF0000) in ("EINVAL", "EIDRM")
        for number in (plain, shm, fd, reader, *pipe):
            os.close(number)
        os.unlink("/dev/shm/no-memfd")
        with segment(PAGE) as (shmid, _):
            assert errno_of(handle.make, "no", PAGE + 1, SYSV, shmid) == "EINVAL"
            assert errno_of(handle.make, "no", PAGE, SYSV, shmid) is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": 5},
        {"kind": 0xFFFFFFFF},
        {"kind": PAGES, "flags": DMA32},
        {"kind": PAGES, "flags": 4},
        {"kind": CONTIGUOUS, "flags": HUGE},
        {"kind": PAGES, "source": 3},
        {"kind": PAGES, "mode": 0o700},
        {"kind": PAGES, "address": 1},
    ],
    ids=str,
)
def test_senseless_words_are_einval(arguments):
    with Handle() as handle:
        assert errno_of(handle.make, "no", PAGE, **arguments) == "EINVAL"


def test_rights_to_a_segment_are_its_own(open_to_all):
    with segment(PAGE, 0o640) as (shmid, _):

        def stranger():
            become(NOBODY)
            with Handle() as handle:
                assert errno_of(handle.make, "stranger", PAGE, SYSV, shmid) == "EACCES"

        in_child(stranger)

        def elsewhere():
            with Handle() as outside:
                unshare_ipc()
                assert errno_of(outside.make, "outside", PAGE, SYSV, shmid) == "EXDEV"
                with Handle() as inside:
                    assert errno_of(inside.make, "inside", PAGE, SYSV, shmid) in ("EINVAL", "EIDRM")

        in_child(elsewhere)


def test_the_process_looks_as_before(source):
    imported = source(16 * PAGE)
    with open("/proc/self/maps", encoding="ascii") as maps:
        before = maps.read().count("\n")
    with imported.make(Handle()), open("/proc/self/maps", encoding="ascii") as maps:
        assert abs(maps.read().count("\n") - before) <= 1


# What the owner of the memory does to it


def test_holes_show_new_pages_to_the_file_and_the_old_ones_to_the_area():
    fd = memfd(3 * PAGE)
    with Handle().make("holes", 3 * PAGE, MEMFD, fd) as handle:
        memory = handle.map()
        assert memory[:6] == b"before"
        assert errno_of(os.ftruncate, fd, PAGE) == "EPERM"
        check(libc.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 3 * PAGE))
        assert os.pread(fd, 6, 0) == bytes(6)
        os.pwrite(fd, b"strange", 0)
        with Handle() as second:
            later = second.attach("holes").map()
        assert memory[:7] == later[:7] == b"before\0"
        later[:5] = b"still"
        assert memory[:5] == b"still"
        memory.close(), later.close()
    os.close(fd)


def test_memory_outlives_whoever_gave_it(source):
    imported = source(2 * PAGE)
    handle = imported.make(Handle())
    if imported.kind == SYSV:
        check(libc.shmctl(imported.number, IPC_RMID, None))
        libc.shmdt(ctypes.addressof(imported.memory))
        assert str(imported.number) not in segments()
    else:
        imported.memory.close()
        os.ftruncate(imported.number, 2 * PAGE)
    memory = handle.map()
    handle.close()
    assert memory[:6] == b"before"
    memory[PAGE] = 7
    assert memory[PAGE] == 7
    memory.close()


def test_a_forked_child_and_an_executed_program_see_it(source):
    imported = source(PAGE)
    with imported.make(Handle()) as handle:
        memory = handle.map()

        def child():
            assert memory[:6] == b"before"
            memory[10:13] = b"kid"
            with Handle() as own:
                assert own.attach("imported").map()[10:13] == b"kid"

        in_child(child)
        assert imported.memory[10:13] == memory[10:13] == b"kid"
        assert handle.info()["maps"] == 1
        memory.close()


def test_a_reader_cannot_write_it(source):
    imported = source(PAGE)
    with imported.make(Handle()), Handle() as reader:
        reader.attach("imported", READ)
        assert errno_of(reader.raw_map, PAGE, RW) == "EACCES"
        address = reader.raw_map(PAGE, mmap.PROT_READ)
        assert ctypes.string_at(address, 6) == b"before"
        assert errno_of(lambda: check(libc.mprotect(address, PAGE, RW))) == "EACCES"
        fd = os.open("/proc/self/mem", os.O_RDWR)
        assert errno_of(os.pwrite, fd, b"evil", address) == "EIO"
        os.close(fd)
        libc.munmap(address, PAGE)


def test_its_mapping_is_no_memory_for_direct_io_but_copies_work(source):
    imported = source(PAGE)
    with imported.make(Handle()) as handle:
        memory = handle.map()
        with open("/proc/self/comm", "rb") as file:
            assert file.readinto(memory) > 0
        # What goes by struct page is refused, and not done to pages that are somebody else's.
        assert errno_of(lambda: check(libc.vmsplice(os.pipe()[1], iovec(memory), 1, 0))) == "EFAULT"
        memory.close()


def iovec(memory):
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return struct.pack("QQ", address, PAGE)


# RLIMIT_MEMLOCK


def test_pins_count_against_the_users_limit_exactly(open_to_all, source):
    pages = 8

    def limited():
        become(NOBODY)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (pages * PAGE, pages * PAGE))
        for turn in range(scaled(50, 10)):
            # All of it, and not a page more, however often and in whatever pieces.
            imported = source(pages * PAGE)
            first = pages - turn % pages
            with imported.make(Handle(), "one", first * PAGE), Handle() as second:
                assert errno_of(imported.make, second, "two", (pages - first + 1) * PAGE) == "ENOMEM"
                if pages - first:
                    imported.make(second, "two", (pages - first) * PAGE)
            if imported.kind == SYSV:
                libc.shmdt(ctypes.addressof(imported.memory))
                libc.shmctl(imported.number, IPC_RMID, None)

        # A killed process gives back as well; a process that only attached has nothing to do with it.
        imported = source(pages * PAGE)
        for _ in range(scaled(20, 5)):
            pid = os.fork()
            if pid == 0:
                handle = imported.make(Handle(), "killed")
                memory = handle.map()
                memory[0] = 1
                os.kill(os.getpid(), signal.SIGKILL)
            assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
            with Handle() as probe:
                eventually(lambda probe=probe: errno_of(imported.make, probe, "probe") is None)
        # What failed for another reason counted for nothing.
        with Handle() as taken, Handle() as handle:
            taken.create("taken", PAGE)
            assert errno_of(imported.make, handle, "taken") == "EEXIST"
            imported.make(handle, "free")
        if imported.kind == SYSV:
            libc.shmdt(ctypes.addressof(imported.memory))
            libc.shmctl(imported.number, IPC_RMID, None)

    in_child(limited)


def test_root_may_pin_more():
    resource_limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, resource_limit[1]))
    fd = memfd(MIB)
    with Handle().make("root", MIB, MEMFD, fd) as handle:
        assert handle.info()["size"] == MIB
    os.close(fd)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, resource_limit)


# Huge pages


def huge_pages(count):
    """Ask the system for so many pages of hugetlbfs; say how many there are."""
    with open("/proc/sys/vm/nr_hugepages", "w", encoding="ascii") as file:
        file.write(str(count))
    with open("/proc/sys/vm/nr_hugepages", encoding="ascii") as file:
        return int(file.read())


def test_huge_pages_of_user_space_are_imported():
    if huge_pages(2) < 2:
        huge_pages(0)
        pytest.skip("no huge pages to be had")
    fd = memfd(4 * MIB, flags=os.MFD_HUGETLB)
    with Handle().make("hugetlb", 3 * MIB, MEMFD, fd) as handle, mmap.mmap(fd, 4 * MIB) as plain:
        memory = handle.map()
        plain[2 * MIB + 5] = 9
        assert memory[2 * MIB + 5] == 9
        check(libc.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * MIB))
        assert memory[2 * MIB + 5] == 9
        memory.close()
    os.close(fd)
    assert huge_pages(0) == 0


def test_a_part_of_a_huge_page_counts_as_the_whole(open_to_all):
    """It is kept as a whole, and nobody could tell by the part how much that is."""
    if huge_pages(1) < 1:
        huge_pages(0)
        pytest.skip("no huge pages to be had")
    fd = memfd(2 * MIB, flags=os.MFD_HUGETLB)

    def limited(limit, wanted):
        become(NOBODY)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
        for _ in range(3):
            with Handle() as handle:
                assert errno_of(handle.make, "part", PAGE, MEMFD, fd) == wanted

    in_child(limited, 2 * MIB - PAGE, "ENOMEM")
    in_child(limited, 2 * MIB, None)
    os.close(fd)
    assert huge_pages(0) == 0


def mapped_huge(address):
    """KiB that are mapped by huge pages in the mapping at `address`."""
    with open("/proc/self/smaps", encoding="ascii") as smaps:
        text = smaps.read()
    entry = text[text.index(f"{address:x}-") :]
    return sum(int(entry.split(f"{word}:", 1)[1].split()[0]) for word in ("FilePmdMapped", "ShmemPmdMapped"))


def test_a_huge_area_is_in_huge_pages_and_mapped_so():
    size = 8 * MIB + 3 * PAGE
    kernel = tuple(map(int, os.uname().release.split(".")[:2]))
    with Handle().make("huge", size, PAGES, flags=HUGE) as handle:
        many = handle.info()["huge_pages"]
        assert 0 <= many <= 4
        memory = handle.map(size)
        assert memory[:] == bytes(size)
        memory[:8], memory[-4:] = b"one page", b"last"
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        if many == 4 and not (6, 2) <= kernel < (6, 15):  # compat.h says why
            assert mapped_huge(address) == 8 * 1024
        # A part of one unmapped, another protected, a child, and a reference to a part that outlives all.
        own = handle.raw_map(4 * MIB)
        ctypes.memset(own, 5, 4 * MIB)
        libc.munmap(own + PAGE, PAGE)
        check(libc.mprotect(own + 16 * PAGE, PAGE, mmap.PROT_READ))
        assert ctypes.string_at(own + MIB, 1) == b"\5" and memory[MIB] == 5
        pipe = os.pipe()
        check(libc.vmsplice(pipe[1], struct.pack("QQ", own + MIB + PAGE, PAGE), 1, 0))

        def child():
            assert memory[MIB] == 5
            memory[MIB] = 6

        in_child(child)
        assert memory[MIB] == 6
        libc.munmap(own, 4 * MIB)
        memory.close()
    assert os.read(pipe[0], PAGE) == bytes([5]) * PAGE
    for fd in pipe:
        os.close(fd)


def test_a_gibibyte_can_be_had_and_whoever_makes_one_can_be_killed():
    folder = "/sys/module/semshare/parameters"
    before = {}
    for name in ("max_area_bytes", "max_total_bytes", "max_user_bytes"):
        with open(f"{folder}/{name}", "r+", encoding="ascii") as file:
            before[name] = file.read()
            file.seek(0)
            file.write(str(1 << 34))
    try:
        for delay in (0.0, 0.02, 0.1):
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(OSError):
                    Handle().make("gibi", 1 << 34, PAGES, flags=HUGE)
                os._exit(0)
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            with Handle() as handle:
                eventually(lambda handle=handle: "gibi" not in handle.names())
        with Handle() as handle:
            try:
                handle.make("gibi", 1 << 30, PAGES, flags=HUGE)
            except OSError as error:
                assert error.errno == errno.ENOMEM
            else:
                with handle.map(1 << 30) as memory:
                    memory[-1] = 7
                    assert memory[-1] == 7 and memory[1 << 29] == 0
    finally:
        for name, value in before.items():
            with open(f"{folder}/{name}", "w", encoding="ascii") as file:
                file.write(value)


# For devices


def frames(address, count):
    """The physical page frames at an address."""
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        words = struct.unpack(f"{count}Q", os.pread(file.fileno(), 8 * count, address // PAGE * 8))
    return [word & (1 << 55) - 1 for word in words]


@pytest.mark.parametrize("flags", [0, DMA32])
def test_contiguous_memory_is_one_run(flags):
    pages = 65
    with Handle().make("run", pages * PAGE - 5, CONTIGUOUS, flags=flags) as handle:
        address = handle.raw_map(pages * PAGE)
        assert ctypes.string_at(address, pages * PAGE) == bytes(pages * PAGE)
        found = frames(address, pages)
        assert found == list(range(found[0], found[0] + pages))
        assert not flags or (found[-1] + 1) * PAGE <= 1 << 32
        assert handle.info()["kind"] == CONTIGUOUS
        libc.munmap(address, pages * PAGE)
    with Handle() as handle:
        assert errno_of(handle.make, "run", 64 * MIB, CONTIGUOUS) == "ENOMEM"


def test_memory_for_devices_is_for_root(open_to_all):
    def stranger():
        become(NOBODY)
        with Handle() as handle:
            for kind in (CONTIGUOUS, RESERVED):
                assert errno_of(handle.make, "mine", PAGE, kind) == "EPERM"

    in_child(stranger)
    with Handle() as handle:
        assert errno_of(handle.make, "reserved", PAGE, RESERVED) == "ENODEV"


# A storm


def test_a_storm_of_hostile_owners(source):
    """Kernel threads put into imported memory while its owners punch holes, unmap, remove, fork, and are killed."""
    capacity = 65536
    size = CONTROL + capacity
    deadline = time.monotonic() + scaled(20, 3)
    rounds = 0
    while time.monotonic() < deadline:
        name = f"storm{rounds}"
        imported = source(size)
        imported.memory[:6] = bytes(6)
        with imported.make(Handle(), name) as handle, Demo() as demo:
            ring = Ring(handle, capacity)
            demo.start(handle.fd, threads=2, payload=random.choice((0, 100, 3000)))
            children = []
            for _ in range(3):
                pid = os.fork()
                if pid == 0:
                    try:
                        torment(imported, name)
                    finally:
                        os._exit(0)
                children.append(pid)
            tally = Tally()
            for _ in range(10):
                tally.add(ring.get(timeout=1.0))
            for pid in children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if imported.kind == SYSV:
                libc.shmdt(ctypes.addressof(imported.memory))
            tally.add(ring.get())
            assert tally.records and demo.status(0)["error"] == 0
            demo.stop()
            ring.close()
        rounds += 1
    print(f"{rounds} rounds")


def torment(imported, name):
    random.seed(os.getpid())
    while True:
        what = random.randrange(6)
        with contextlib.suppress(OSError):
            if what == 0:
                with Handle() as handle:
                    imported.make(handle, f"{name}.{os.getpid()}")
            elif what == 1:
                with Handle() as handle:
                    memory = handle.attach(name).map()
                    memory[CONTROL + 65535]
                    memory.close()
            elif what == 2 and imported.kind == MEMFD:
                at = random.randrange(imported.size // PAGE) * PAGE
                libc.fallocate(imported.number, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE)
            elif what == 3 and imported.kind == MEMFD:
                os.ftruncate(imported.number, imported.size + random.randrange(3) * PAGE)
            elif what == 2:
                libc.shmctl(imported.number, IPC_RMID, None)
            elif what == 3:
                address = libc.shmat(imported.number, None, 0)
                if address != ctypes.c_void_p(-1).value:
                    libc.madvise(address, imported.size, MADV_REMOVE)
                    libc.munmap(address + PAGE, PAGE)
                    libc.shmdt(address)
            elif what == 4:
                pid = os.fork()
                if pid == 0:
                    imported.make(Handle(), f"{name}.{os.getpid()}")
                    os.kill(os.getpid(), signal.SIGKILL)
                os.waitpid(pid, 0)
            else:
                libc.mlockall(3)
                libc.munlockall()


def test_other_threads_may_change_the_mapping_under_the_import():
    """While one thread imports, another maps and unmaps all over the place: the area is of the file or is none."""
    import threading

    fd = memfd(64 * PAGE)
    os.pwrite(fd, b"mine" * (16 * PAGE), 0)
    stop = threading.Event()

    def unmap():
        """Puts other memory where the next mapping of that size goes."""
        while not stop.is_set():
            address = libc.mmap(None, 64 * PAGE, RW, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
            libc.munmap(address, 64 * PAGE)
            again = libc.mmap(address, 64 * PAGE, RW, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10, -1, 0)
            libc.munmap(again, 64 * PAGE)

    def look(handle):
        with handle.map() as memory:
            assert memory[:4] == memory[63 * PAGE : 63 * PAGE + 4] == b"mine"

    def child():
        threads = [threading.Thread(target=unmap) for _ in range(2)]
        for thread in threads:
            thread.start()
        counts = {}
        try:
            for _ in range(scaled(300, 30)):
                with Handle() as handle:
                    result = errno_of(handle.make, "race", 64 * PAGE, MEMFD, fd)
                    counts[result] = counts.get(result, 0) + 1
                    assert result in (None, "EFAULT", "EINVAL")
                    if result is None:
                        # Looked at where nobody maps anything over it: only this thread lives on in there.
                        in_child(look, handle)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        print(counts)

    # Now and then what it puts somewhere lies over memory of its own, and it dies of that. Again, then.
    for _ in range(20):
        status = Child(child).ended()
        if status not in (-signal.SIGSEGV, -signal.SIGBUS):
            break
    assert status == 0
    os.close(fd)
