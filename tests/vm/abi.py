# SPDX-License-Identifier: MIT
"""The module's ABI in plain Python (fcntl, mmap, struct, ctypes), so that these tests depend on nothing but it.

Structures and numbers are written out again from the headers on purpose: a change of the ABI must fail here.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import signal
import struct
import sys
import time
import traceback
import zlib
from pathlib import Path

from pace import SLACK

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.mremap.restype = ctypes.c_void_p
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]

PAGE = mmap.PAGESIZE
MAP_FAILED = ctypes.c_void_p(-1).value
CLONE_NEWIPC = 0x08000000
NOBODY = 65534


def check(result):
    """The result of a C function, or its errno as an OSError."""
    if result == -1 or result == MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def errno_of(function, *arguments, **keywords):
    """The name of the errno a call ends with, or None."""
    try:
        function(*arguments, **keywords)
    except OSError as error:
        return "EDEADLK" if error.errno == errno.EDEADLK else errno.errorcode[error.errno]
    return None


# SysV semaphores

IPC_CREAT, IPC_EXCL, IPC_NOWAIT, SEM_UNDO = 0o1000, 0o2000, 0o4000, 0x1000
IPC_RMID, IPC_STAT = 0, 2
GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL = 11, 12, 13, 14, 15, 16, 17
MUTEX, DATA, SPACE = 0, 1, 2


def semget(key, nsems, flags):
    return check(libc.semget(ctypes.c_int(key), nsems, flags))


def semop(semid, *operations, timeout=None):
    """Each operation is (semaphore, op, flags)."""
    sops = struct.pack(
        "HhH" * len(operations),
        *(number & 0xFFFF if i % 3 != 1 else number for operation in operations for i, number in enumerate(operation)),
    )
    if timeout is None:
        return check(libc.semop(semid, sops, len(operations)))
    spec = struct.pack("qq", int(timeout), int(timeout % 1 * 1e9))
    return check(libc.semtimedop(semid, sops, len(operations), spec))


def semctl(semid, semnum, command, argument=0):
    return check(libc.semctl(semid, semnum, command, ctypes.c_long(argument)))


def set_exists(semid):
    try:
        semctl(semid, 0, GETVAL)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EIDRM):
            return False
        raise
    return True


def key_of(name):
    value = 2166136261
    for byte in name.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value & 0x7FFFFFFF or 1


# ioctls

READ, WRITE = 1, 2
BIND_OWN = 1
UNLINKED = 1

VERSION = struct.Struct("II56s")
FUNCTION = struct.Struct("II64s64s")
CREATE = struct.Struct("64sQII")
ATTACH = struct.Struct("64sII")
NAME = struct.Struct("64s")
INFO = struct.Struct("QQQ64sIIIIIIIIiiIIQII")
MAKE = struct.Struct("64sQQIIIiQ")
BIND = struct.Struct("iI")
INFO_FIELDS = [
    "id",
    "size",
    "created_ns",
    "name",
    "uid",
    "gid",
    "mode",
    "access",
    "handles",
    "maps",
    "kernel_users",
    "flags",
    "creator_pid",
    "semid",
    "bind_flags",
    "key",
    "address",
    "kind",
    "huge_pages",
]

PAGES, MEMFD, SYSV, CONTIGUOUS, RESERVED = range(5)
HUGE, DMA32 = 1, 2


def _io(direction, number, size):
    return direction << 30 | size << 16 | 0xE5 << 8 | number


IOC_VERSION = _io(3, 0x40, VERSION.size)
IOC_FUNCTION = _io(3, 0x41, FUNCTION.size)
IOC_CREATE = _io(1, 0x42, CREATE.size)
IOC_ATTACH = _io(1, 0x43, ATTACH.size)
IOC_UNLINK = _io(1, 0x44, NAME.size)
IOC_INFO = _io(2, 0x45, INFO.size)
IOC_LIST = _io(3, 0x46, INFO.size)
IOC_BIND = _io(1, 0x47, BIND.size)
IOC_MAKE = _io(1, 0x58, MAKE.size)


def _info(raw):
    info = dict(zip(INFO_FIELDS, INFO.unpack(raw)))
    info["name"] = info["name"].rstrip(b"\0").decode()
    return info


class Handle:
    """An open /dev/semshare."""

    def __init__(self, flags=os.O_RDWR):
        self.fd = os.open("/dev/semshare", flags | os.O_CLOEXEC)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ioctl(self, command, buffer):
        return fcntl.ioctl(self.fd, command, buffer)

    def version(self, abi=0, features=0):
        return VERSION.unpack(self.ioctl(IOC_VERSION, VERSION.pack(abi, features, b"")))

    def create(self, name, size, mode=0o600, flags=0):
        raw = name if isinstance(name, bytes) else name.encode()
        self.ioctl(IOC_CREATE, CREATE.pack(raw, size, mode, flags))
        return self

    def make(self, name, size, kind, source=0, *, mode=0o600, flags=0, address=0, guard=0):
        self.ioctl(IOC_MAKE, MAKE.pack(name.encode(), size, address, mode, kind, flags, source, guard))
        return self

    def attach(self, name, access=READ | WRITE, flags=0):
        raw = name if isinstance(name, bytes) else name.encode()
        self.ioctl(IOC_ATTACH, ATTACH.pack(raw, access, flags))
        return self

    def unlink(self, name):
        self.ioctl(IOC_UNLINK, NAME.pack(name if isinstance(name, bytes) else name.encode()))

    def bind(self, semid, flags=0):
        self.ioctl(IOC_BIND, BIND.pack(semid, flags))
        return self

    def info(self):
        return _info(self.ioctl(IOC_INFO, bytes(INFO.size)))

    def list(self):
        areas, after = [], 0
        while True:
            buffer = bytearray(INFO.size)
            struct.pack_into("Q", buffer, 0, after)
            try:
                fcntl.ioctl(self.fd, IOC_LIST, buffer)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return areas
                raise
            areas.append(_info(buffer))
            after = areas[-1]["id"]

    def names(self):
        return [area["name"] for area in self.list() if not area["flags"] & UNLINKED]

    def map(self, size=None, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_SHARED, offset=0):
        """A mapping as Python makes it: it keeps a duplicate of the descriptor."""
        return mmap.mmap(self.fd, size or self.info()["size"], flags=flags, prot=prot, offset=offset)

    def raw_map(self, size, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_SHARED, offset=0):
        """The address of a mapping that keeps no descriptor."""
        return check(libc.mmap(None, size, prot, flags, self.fd, offset))


# Rings: struct semshare_ring_control by offsets

RING_MAGIC = 0x47525353
CONTROL = 4096
ABI_VERSION = 2
TWO_OWNERS, BAD_CURSORS = 2, 4  # states of a ring
RECORD = struct.Struct("IIQQQ")
AT_EPOCH, AT_OWNER_KIND, AT_OWNER_PID, AT_OWNER_TID, AT_OWNER_START, AT_DEATHS = 64, 68, 72, 76, 80, 88
AT_HEAD, AT_TAIL, AT_NEED_DATA, AT_NEED_SPACE, AT_STATE = 128, 136, 144, 148, 152
AT_PUTS, AT_GETS, AT_PUT_BYTES, AT_REPAIRS, AT_NAME, AT_SEQUENCE = 160, 168, 176, 184, 192, 256


def start_time():
    """This process's start time in clock ticks: field 22 of /proc/self/stat."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def footprint_of(size):
    """The bytes that a payload of that size takes in a ring."""
    return -(-(RECORD.size + size) // RECORD.size) * RECORD.size


class Broken(Exception):
    """The ring's state word says so."""


class Ring:
    """The SysV-locked ring as a process sees it. Made over an area of its own, or over one that has a ring."""

    def __init__(self, handle, capacity=None, extra=0):
        self.handle = handle
        self.memory = handle.map()
        if capacity:
            self.name = handle.info()["name"]
            self.semid = semget(key_of(self.name), 3, IPC_CREAT | IPC_EXCL | 0o600)
            semop(self.semid, (MUTEX, 1, 0))
            handle.bind(self.semid, BIND_OWN)
            struct.pack_into(
                "=IIIQIIiIII",
                self.memory,
                4,
                ABI_VERSION,
                0,
                1,
                capacity,
                capacity // 4 - RECORD.size,
                CONTROL,
                self.semid,
                key_of(self.name),
                3,
                0,
            )
            struct.pack_into("64s", self.memory, AT_NAME, self.name.encode())
            self.set32(0, RING_MAGIC)
        self.capacity = self.get64(16)
        self.semid = struct.unpack_from("i", self.memory, 32)[0]

    def get32(self, at):
        return struct.unpack_from("I", self.memory, at)[0]

    def set32(self, at, value):
        struct.pack_into("I", self.memory, at, value & 0xFFFFFFFF)

    def get64(self, at):
        return struct.unpack_from("Q", self.memory, at)[0]

    def set64(self, at, value):
        struct.pack_into("Q", self.memory, at, value & 0xFFFFFFFFFFFFFFFF)

    def close(self):
        self.memory.close()

    # The lock

    def take(self, undo=True):
        semop(self.semid, (MUTEX, -1, SEM_UNDO if undo else 0))
        epoch = self.get32(AT_EPOCH)
        died = epoch & 1
        self.epoch = epoch + (2 if died else 1) & 0xFFFFFFFF
        self.set32(AT_EPOCH, self.epoch)
        struct.pack_into("=IIIQ", self.memory, AT_OWNER_KIND, 1, os.getpid(), os.getpid(), start_time())
        if died:
            self.set64(AT_DEATHS, self.get64(AT_DEATHS) + 1)
            self.set64(AT_REPAIRS, self.get64(AT_REPAIRS) + 1)
            self.set32(AT_NEED_DATA, 1)
            self.set32(AT_NEED_SPACE, 1)
        return died

    def give(self, hint=None, undo=True):
        if self.get32(AT_EPOCH) != self.epoch:
            self.set32(AT_STATE, TWO_OWNERS)
        struct.pack_into("II", self.memory, AT_OWNER_KIND, 0, 0)
        self.set32(AT_EPOCH, self.epoch + 1)
        mutex = (MUTEX, 1, SEM_UNDO if undo else 0)
        if hint is not None:
            try:
                semop(self.semid, mutex, (hint, 0, IPC_NOWAIT), (hint, 1, 0))
                return
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
        semop(self.semid, mutex)

    # Records

    def _bytes(self, position, size):
        at = position & self.capacity - 1
        first = min(size, self.capacity - at)
        return self.memory[CONTROL + at : CONTROL + at + first] + self.memory[CONTROL : CONTROL + size - first]

    def take_records(self, limit=64):
        """All records there are, at most `limit`, as (type, payload); the lock must be held. Cursors are checked."""
        head, tail = self.get64(AT_HEAD), self.get64(AT_TAIL)
        assert (tail - head) % 2**64 <= self.capacity and not (head | tail) % RECORD.size, (head, tail)
        records = []
        while head != tail and len(records) < limit:
            size, kind, position, _, _ = RECORD.unpack(self._bytes(head, RECORD.size))
            footprint = footprint_of(size)
            assert position == head and size <= self.capacity // 4 - RECORD.size and footprint <= tail - head
            records.append((kind, self._bytes(head + RECORD.size, size)))
            head += footprint
        if records:
            self.set64(AT_HEAD, head)
            self.set64(AT_GETS, self.get64(AT_GETS) + len(records))
        return records

    def get(self, limit=64, timeout=5.0):
        """Records, or an empty list after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        slept = False
        while True:
            self.take()
            if self.get32(AT_STATE):
                self.give()
                raise Broken
            records = self.take_records(limit)
            hint = None
            if records and self.get32(AT_NEED_SPACE):
                self.set32(AT_NEED_SPACE, 0)
                hint = SPACE
            if slept or not records:
                self.set32(AT_NEED_DATA, 1)
            self.give(hint)
            left = deadline - time.monotonic()
            if records or left <= 0:
                return records
            with contextlib.suppress(BlockingIOError):
                semop(self.semid, (DATA, -1, 0), timeout=min(left, 0.1))
            slept = True

    def put(self, kind, payload):
        """Put one record; there must be space."""
        self.take()
        tail = self.get64(AT_TAIL)
        sequence = self.get64(AT_SEQUENCE)
        whole = RECORD.pack(len(payload), kind, tail, sequence, time.monotonic_ns()) + payload
        at = tail & self.capacity - 1
        first = min(len(whole), self.capacity - at)
        self.memory[CONTROL + at : CONTROL + at + first] = whole[:first]
        self.memory[CONTROL : CONTROL + len(whole) - first] = whole[first:]
        self.set64(AT_SEQUENCE, sequence + 1)
        self.set64(AT_TAIL, tail + footprint_of(len(payload)))
        self.set64(AT_PUTS, self.get64(AT_PUTS) + 1)
        hint = None
        if self.get32(AT_NEED_DATA):
            self.set32(AT_NEED_DATA, 0)
            hint = DATA
        self.give(hint)


# The demo's kernel threads

RECORDS, COUNTER = 1, 2
UNLOCKED = 1
START = struct.Struct("iIIIIIQQ")
STATUS = struct.Struct("IIiIQQQ256Q")
DEMO_RECORD = struct.Struct("IIQQ")
IOC_START = _io(1, 0x60, START.size)
IOC_STOP = _io(0, 0x61, 0)
IOC_STATUS = _io(3, 0x62, STATUS.size)


class Demo:
    """An open /dev/semshare-demo."""

    def __init__(self):
        self.fd = os.open("/dev/semshare-demo", os.O_RDWR | os.O_CLOEXEC)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self, area_fd, mode=RECORDS, threads=1, first=0, flags=0, payload=0, count=0, offset=0):
        fcntl.ioctl(self.fd, IOC_START, START.pack(area_fd, mode, threads, first, flags, payload, count, offset))

    def stop(self):
        fcntl.ioctl(self.fd, IOC_STOP)

    def status(self, index=0):
        buffer = bytearray(STATUS.size)
        struct.pack_into("I", buffer, 0, index)
        fcntl.ioctl(self.fd, IOC_STATUS, buffer)
        _, running, error, reserved, done, acquisitions, contended, *wait = STATUS.unpack(buffer)
        assert reserved == 0
        return {
            "running": running,
            "error": error,
            "done": done,
            "acquisitions": acquisitions,
            "contended": contended,
            "wait_ns": wait,
        }

    def wait(self, threads, timeout=60):
        """The statuses of all threads, once none is running."""
        deadline = time.monotonic() + timeout
        while True:
            statuses = [self.status(i) for i in range(threads)]
            if not any(status["running"] for status in statuses):
                return statuses
            assert time.monotonic() < deadline, statuses
            time.sleep(0.02)


class Tally:
    """Checks demo records: checksum, pattern, and each producer's sequence without a gap."""

    def __init__(self):
        self.next = {}
        self.records = 0

    def add(self, records):
        for kind, payload in records:
            assert kind == 1
            checksum, producer, sequence, time_ns = DEMO_RECORD.unpack_from(payload)
            assert zlib.crc32(payload[4:]) == checksum, "torn"
            length = len(payload) - DEMO_RECORD.size
            first = producer + sequence & 255
            pattern = (bytes(range(256)) * (length // 256 + 2))[first : first + length]
            assert payload[DEMO_RECORD.size :] == pattern, "torn"
            assert sequence == self.next.get(producer, 0), (producer, sequence, self.next)
            assert 0 < time_ns <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            self.next[producer] = sequence + 1
            self.records += 1


# Processes


class Child:
    """A forked process that runs a function; wait() passes its failure on."""

    _tell = None

    def __init__(self, function, *arguments):
        sys.stdout.flush()
        sys.stderr.flush()
        self._told, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                Child._tell = tell
                signal.alarm(120)
                function(*arguments)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(tell)

    @staticmethod
    def tell(text="ready"):
        """In the child: say something to the parent."""
        os.write(Child._tell, text.encode())

    def told(self, timeout=None):
        """In the parent: wait until the child says something; for so many seconds, or until it ends."""
        assert select.select([self._told], [], [], timeout)[0], f"for {timeout} s the child has said nothing"
        text = os.read(self._told, 1 << 16).decode()
        assert text, "the child ended and said nothing"
        return text

    def told_all(self):
        """In the parent: all that the child says until it ends."""
        text = ""
        while part := os.read(self._told, 1 << 16):
            text += part.decode()
        return text

    def ended(self):
        """In the parent: wait for its end. Its exit code, or minus the signal that ended it."""
        pid, self.pid = self.pid, None
        os.close(self._told)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def wait(self):
        status = self.ended()
        assert status == 0, f"the child ended with {status}"

    def kill(self):
        if self.pid is not None:
            pid, self.pid = self.pid, None
            os.close(self._told)
            os.kill(pid, signal.SIGKILL)
            _await_end(pid)


def _await_end(pid):
    """Wait for a killed process. Of one that the kernel does not let go, say where each thread of it is."""
    deadline = time.monotonic() + 3 * SLACK
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            where = [
                f"thread {task.name}\n{(task / 'status').read_text()}{(task / 'stack').read_text()}"
                for task in Path(f"/proc/{pid}/task").iterdir()
            ]
            Path("/proc/sysrq-trigger").write_text("l")
            raise AssertionError(f"killed, and alive after {3 * SLACK} s: {pid}\n" + "\n".join(where))
        time.sleep(0.001)


def in_child(function, *arguments):
    Child(function, *arguments).wait()


def become(uid, gid=None, groups=()):
    """Give up root for good: `uid`, its capabilities gone with it."""
    os.setgroups(groups)
    os.setresgid(*[uid if gid is None else gid] * 3)
    os.setresuid(uid, uid, uid)


def unshare_ipc():
    check(libc.unshare(CLONE_NEWIPC))


def eventually(condition, timeout=SLACK):
    """Wait for a condition: what goes with a killed process goes a moment later."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


# Modules

MODULES = Path(os.environ.get("SEMSHARE_KMOD_DIR", "/nowhere"))


def insmod(name, parameters=""):
    fd = os.open(MODULES / f"{name}.ko", os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(libc.syscall(313, fd, parameters.encode(), 0))
    finally:
        os.close(fd)


def rmmod(name):
    check(libc.syscall(176, name.encode(), os.O_NONBLOCK))


def loaded(name):
    return Path(f"/sys/module/{name}").exists()


@contextlib.contextmanager
def written(path, value):
    """A file of the kernel's settings with that value for a while."""
    before = path.read_text()
    path.write_text(str(value))
    try:
        yield
    finally:
        path.write_text(before)


def parameter(name, value, module="semshare"):
    """A module parameter set for a while."""
    return written(Path(f"/sys/module/{module}/parameters/{name}"), value)


def read_parameter(name, module="semshare"):
    return int(Path(f"/sys/module/{module}/parameters/{name}").read_text())


@contextlib.contextmanager
def open_to_all(*paths):
    """The devices may be opened by anybody."""
    modes = [os.stat(path).st_mode & 0o7777 for path in paths]
    for path in paths:
        os.chmod(path, 0o666)
    try:
        yield
    finally:
        for path, mode in zip(paths, modes):
            os.chmod(path, mode)
