# SPDX-License-Identifier: MIT
"""The devices and whoever calls them with nonsense: ioctls (ioctl_fuzz.c), every other call on a file, and maps.

SEMSHARE_EFFORT scales how many calls are made, SEMSHARE_SEED repeats a run: each prints its own.
"""

import ctypes
import fcntl
import mmap
import os
import random
import select
import subprocess
import tempfile
from pathlib import Path

import kernel
import pytest
from abi import (
    NOBODY,
    PAGE,
    Child,
    Handle,
    become,
    check,
    errno_of,
    eventually,
    in_child,
    insmod,
    libc,
    open_to_all,
    rmmod,
)
from compiler import compile_c
from effort import scaled
from namespaces import none_left, unshare

HERE = Path(__file__).resolve().parent
NO_32_BIT_CALLS = 77

PATHS = {
    "semshare": "/dev/semshare",
    "demo": "/dev/semshare-demo",
    "route": "/dev/semshare-route",
    "test": "/dev/semshare-test",
    "ring-test": "/dev/semshare-ring-test",
    "bench": "/dev/semshare-bench",
    "channel-test": "/dev/semshare-channel-test",
    "parameters-test": "/dev/semshare-parameters-test",
    "notify-test": "/dev/semshare-notify-test",
    "paged": "/dev/semshare-paged",
}
TEST_MODULES = (
    "semshare_test",
    "semshare_ring_test",
    "semshare_bench",
    "semshare_channel_test",
    "semshare_parameters_test",
    "semshare_notify_test",
    "semshare_paged",
)
# A call of these makes a kernel thread, as often as not, and waits for it.
THREADED = "test", "bench", "channel-test", "parameters-test", "notify-test"


@pytest.fixture(scope="module")
def devices():
    """All devices there are."""
    for module in TEST_MODULES:
        insmod(module)
    yield PATHS
    for module in TEST_MODULES:
        rmmod(module)


@pytest.fixture(scope="module")
def fuzz():
    """The fuzzer, compiled, where any user can run it."""
    with tempfile.TemporaryDirectory(prefix="semshare-fuzz-") as folder:
        os.chmod(folder, 0o755)
        yield compile_c(Path(folder) / "ioctl_fuzz", HERE / "ioctl_fuzz.c", "-O1", "-pthread")


@pytest.fixture(autouse=True)
def nothing_left():
    """Whatever was called: afterwards there are the same areas, sets, threads, namespaces and uses of the module."""

    def state():
        with Handle() as handle:
            areas = [area["name"] for area in handle.list()]
        sets = sorted(line.split()[0] for line in Path("/proc/sysvipc/sem").read_text().splitlines()[1:])
        return areas, sets, kernel.threads("semshare_demo/", "semshare-", "semshare/"), uses()

    before = state()
    yield
    eventually(none_left)
    eventually(lambda: state() == before)


def uses():
    """How many files, mappings and modules hold each of the modules."""
    lines = [line.split() for line in Path("/proc/modules").read_text().splitlines()]
    return {words[0]: words[2] for words in lines if words[0].startswith("semshare")}


def run(fuzz, mode, device, fd, count, uid=0):
    """Run the fuzzer in an IPC namespace of its own, which takes along what it made."""
    seed = int(os.environ.get("SEMSHARE_SEED", random.SystemRandom().randrange(1 << 32)))
    count = scaled(count, 100)

    def body():
        unshare()
        if uid:
            become(uid)
        words = [str(fuzz), mode, device, str(fd), str(seed), str(count)]
        result = subprocess.run(words, pass_fds=[fd] if fd >= 0 else [], stderr=subprocess.PIPE, text=True)
        Child.tell(f"{result.returncode} {result.stderr}")

    print(f"{mode} {device} fd {fd} seed {seed} count {count} uid {uid}")
    child = Child(body)
    status, _, said = child.told().partition(" ")
    child.wait()
    if int(status) == NO_32_BIT_CALLS:
        pytest.skip("this kernel has no system calls of 32-bit programs")
    assert status == "0", said


# ioctls


@pytest.mark.parametrize("device", PATHS)
def test_root_calls_with_nonsense(fuzz, devices, device):
    run(fuzz, "calls", device, -1, 4000 if device in THREADED else 20000)


@pytest.mark.parametrize("device", ["semshare", "demo", "route"])
def test_a_user_calls_with_nonsense(fuzz, devices, device):
    with open_to_all("/dev/semshare", "/dev/semshare-demo"):
        run(fuzz, "calls", device, -1, 20000, NOBODY)


@pytest.mark.parametrize("device", ["semshare", "demo", "route", "ring-test"])
def test_a_user_calls_with_nonsense_on_a_file_of_roots(fuzz, devices, device):
    fd = os.open(PATHS[device], os.O_RDWR | os.O_CLOEXEC)
    try:
        with open_to_all("/dev/semshare"):
            run(fuzz, "calls", device, fd, 4000, NOBODY)
    finally:
        os.close(fd)


@pytest.mark.parametrize("device", PATHS)
def test_a_32_bit_program_calls_with_nonsense(fuzz, devices, device):
    run(fuzz, "compat", device, -1, 1000 if device in THREADED else 5000)


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["root", "user"])
def test_threads_and_children_race_on_the_same_files(fuzz, devices, uid):
    with open_to_all("/dev/semshare", "/dev/semshare-demo"):
        run(fuzz, "race", "-", -1, 20000, uid)


# Every other call on a file


CALLS = {
    "read": lambda fd: os.read(fd, 64),
    "pread": lambda fd: os.pread(fd, 64, 0),
    "write": lambda fd: os.write(fd, b"x" * 64),
    "pwrite": lambda fd: os.pwrite(fd, b"x" * 64, 1 << 40),
    "lseek": lambda fd: os.lseek(fd, 0, os.SEEK_END),
    "ftruncate": lambda fd: os.ftruncate(fd, 64),
    "posix_fallocate": lambda fd: os.posix_fallocate(fd, 0, 64),
    "sendfile": lambda fd: os.sendfile(fd, fd, 0, 64),
    "fsync": lambda fd: os.fsync(fd),
    "seals": lambda fd: fcntl.fcntl(fd, 1033, 15),
    "pipe size": lambda fd: fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20),
}
# Which of them it is changes from kernel to kernel: the module is not even asked.
# A handle without an area says EBADFD itself: an area may be read (SEMSHARE_IOC_NOTIFY).
# The benchmarks' device is also the character device with a read() per record that rings are compared with.
READ = {"bench": ("read", "pread")}
REFUSED = ("EINVAL", "ESPIPE", "ENODEV", "EBADF", "EBADFD", "ENOTSUP")


@pytest.mark.parametrize("device", PATHS)
def test_a_device_is_good_for_ioctls_and_maps_only(devices, device):
    fd = os.open(PATHS[device], os.O_RDWR | os.O_CLOEXEC)
    try:
        for what, call in CALLS.items():
            assert what in READ.get(device, ()) or errno_of(call, fd) in REFUSED, what
        # What the kernel does for every file: always ready, locks, owners, flags.
        assert select.select([fd], [fd], [], 0) == ([fd], [fd], [])
        poll = select.epoll()
        assert errno_of(poll.register, fd) in ("EPERM", None)
        poll.close()
        fcntl.flock(fd, fcntl.LOCK_EX)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        assert errno_of(fcntl.fcntl, fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC) in (None, "EINVAL", "ENOTTY")
        for length, offset in (PAGE, 0), (1 << 40, 0), (PAGE, 1 << 50):
            for flags in mmap.MAP_SHARED, mmap.MAP_PRIVATE:
                answer = errno_of(raw_map, fd, length, flags, offset)
                assert answer == ("EBADFD" if device == "semshare" else "ENODEV"), (length, offset, flags)
    finally:
        os.close(fd)


def raw_map(fd, length, flags, offset):
    return check(libc.mmap(None, length, mmap.PROT_READ, flags, fd, offset))


# Maps


MADV = {
    "DONTNEED": 4,
    "WILLNEED": 3,
    "COLD": 20,
    "PAGEOUT": 21,
    "FREE": 8,
    "REMOVE": 9,
    "MERGEABLE": 12,
    "HUGEPAGE": 14,
    "DODUMP": 17,
    "WIPEONFORK": 18,
    "POPULATE_READ": 22,
    "POPULATE_WRITE": 23,
    "COLLAPSE": 25,
}


@pytest.mark.parametrize("advice", MADV)
def test_no_advice_takes_what_a_map_holds(advice):
    """Whatever a process says about its map, the memory is the area's: nobody sees it change."""
    with Handle().create("advice", 8 * PAGE) as handle:
        memory = handle.map()
        memory[:] = bytes(range(256)) * (len(memory) // 256)
        at = handle.raw_map(8 * PAGE)
        libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        libc.madvise(at, 8 * PAGE, MADV[advice])
        assert ctypes.string_at(at, 8 * PAGE) == memory[:]

        def child():
            # WIPEONFORK is for private memory: were it done, the child would find zeros.
            assert ctypes.string_at(at, 8 * PAGE) == memory[:]
            ctypes.memmove(at, b"child", 5)

        in_child(child)
        assert memory[:5] == b"child"
        libc.munmap(at, 8 * PAGE)
        memory.close()


def test_a_map_is_moved_and_cut_and_never_grows():
    with Handle().create("moves", 8 * PAGE) as handle:
        memory = handle.map()
        for page in range(8):
            memory[page * PAGE] = page
        memory.close()
        at = handle.raw_map(8 * PAGE)
        MAYMOVE, FIXED, DONTUNMAP = 1, 2, 4
        for old, new in (8, 9), (1, 8), (8, 1 << 20):
            assert (
                errno_of(lambda old=old, new=new: check(libc.mremap(at, old * PAGE, new * PAGE, MAYMOVE))) == "EFAULT"
            )
        # A second map of the same pages, by an old size of 0, and a move that leaves the old one there.
        for old, flags in (0, MAYMOVE), (8 * PAGE, MAYMOVE | DONTUNMAP):
            other = libc.mremap(at, old, 8 * PAGE, flags)
            if other != ctypes.c_void_p(-1).value:
                assert ctypes.string_at(other + 7 * PAGE, 1) == b"\7"
                libc.munmap(other, 8 * PAGE)
        assert handle.info()["maps"] == 1
        elsewhere = check(libc.mmap(None, 8 * PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0))
        libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
        try:
            moved = check(libc.mremap(at, 8 * PAGE, 8 * PAGE, MAYMOVE | FIXED, elsewhere))
        finally:
            libc.mremap.argtypes = libc.mremap.argtypes[:4]
        assert moved == elsewhere
        check(libc.munmap(moved + 2 * PAGE, 3 * PAGE))
        assert handle.info()["maps"] == 2
        assert [ctypes.string_at(moved + page * PAGE, 1)[0] for page in (0, 1, 5, 6, 7)] == [0, 1, 5, 6, 7]
        libc.munmap(moved, 8 * PAGE)
        assert handle.info()["maps"] == 0


def test_pages_that_the_kernel_still_uses_outlive_their_area():
    """Given to a pipe by vmsplice(), then area, map and handle go: the pages go when the pipe is read."""
    reader, writer = os.pipe()
    handle = Handle().create("spliced", PAGE)
    at = handle.raw_map(PAGE)
    ctypes.memmove(at, b"still here", 10)
    iovec = (ctypes.c_size_t * 2)(at, PAGE)
    libc.vmsplice.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_uint]
    assert check(libc.vmsplice(writer, iovec, 1, 0)) == PAGE
    libc.munmap(at, PAGE)
    handle.close()
    # Taken again by others, if they were free.
    for _ in range(4):
        with Handle().create("others", 64 * PAGE) as other:
            memory = other.map()
            memory[:] = b"\xff" * len(memory)
            memory.close()
    assert os.read(reader, PAGE)[:10] == b"still here"
    for fd in reader, writer:
        os.close(fd)
