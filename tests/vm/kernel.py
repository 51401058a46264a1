# SPDX-License-Identifier: MIT
"""The system calls on semaphores, the same as entry points of the module, and the loading of modules.

Needs nothing but ctypes, so that a test of the kernel side rests on no other code of this project. Every call returns
what the kernel answered: a value that is not negative, or minus an errno.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import pathlib
import struct
import time

from pace import SLACK

IPC_CREAT, IPC_EXCL, IPC_NOWAIT, SEM_UNDO = 0o1000, 0o2000, 0o4000, 0x1000
IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 1, 2, 3
GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL = 11, 12, 13, 14, 15, 16, 17
SEM_STAT, SEM_INFO, SEM_STAT_ANY = 18, 19, 20
IPC_64 = 0x100
IPC_PRIVATE = 0
CLONE_NEWIPC = 0x08000000

KMOD_DIR = pathlib.Path(os.environ.get("SEMSHARE_KMOD_DIR", "/nonexistent"))

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# x86-64: the C library would hide what it refuses itself.
SYS = {"semget": 64, "semop": 65, "semctl": 66, "semtimedop": 220, "finit_module": 313, "delete_module": 176}


def syscall(name, *arguments):
    """The system call as it is: its value, or minus its errno."""
    words = [
        each if isinstance(each, (bytes, ctypes.Array, ctypes._SimpleCData)) else ctypes.c_long(each or 0)
        for each in arguments
    ]
    result = libc.syscall(ctypes.c_long(SYS[name]), *words)
    return -ctypes.get_errno() if result == -1 else result


class Ipc64Perm(ctypes.Structure):
    _fields_ = [
        ("key", ctypes.c_int),
        ("uid", ctypes.c_uint),
        ("gid", ctypes.c_uint),
        ("cuid", ctypes.c_uint),
        ("cgid", ctypes.c_uint),
        ("mode", ctypes.c_uint),
        ("seq", ctypes.c_ushort),
        ("pad2", ctypes.c_ushort),
        ("unused1", ctypes.c_ulong),
        ("unused2", ctypes.c_ulong),
    ]


class Semid64Ds(ctypes.Structure):
    _fields_ = [
        ("perm", Ipc64Perm),
        ("otime", ctypes.c_long),
        ("unused1", ctypes.c_ulong),
        ("ctime", ctypes.c_long),
        ("unused2", ctypes.c_ulong),
        ("nsems", ctypes.c_ulong),
        ("unused3", ctypes.c_ulong),
        ("unused4", ctypes.c_ulong),
    ]


class Seminfo(ctypes.Structure):
    names = ("semmap", "semmni", "semmns", "semmnu", "semmsl", "semopm", "semume", "semusz", "semvmx", "semaem")
    _fields_ = [(name, ctypes.c_int) for name in names]

    def all(self):
        return {name: getattr(self, name) for name in self.names}


def shorts(values):
    """An array for GETALL and SETALL."""
    return (ctypes.c_ushort * len(values))(*values)


def operations(ops):
    """struct sembuf[] of (number, change[, flags]) each."""
    return ctypes.create_string_buffer(
        b"".join(struct.pack("=Hhh", *each, *[0] * (3 - len(each))) for each in ops), 6 * len(ops) or 1
    )


def address(buffer):
    return ctypes.addressof(buffer) if buffer is not None else 0


class Caller:
    """The four functions on top of two that a subclass has: _operate and _control."""

    def semop(self, semid, ops, nsops=None):
        return self._operate(
            semid, operations(ops) if ops is not None else None, len(ops) if nsops is None else nsops, None
        )

    def semtimedop(self, semid, ops, seconds, nanoseconds=0):
        return self._operate(semid, operations(ops), len(ops), (seconds, nanoseconds))

    def getall(self, semid, count):
        """The values, or minus an errno."""
        values = shorts([0] * count)
        result = self.semctl(semid, 0, GETALL, values)
        return list(values) if result == 0 else result

    def setall(self, semid, values):
        return self.semctl(semid, 0, SETALL, shorts(values))


class SystemCalls(Caller):
    """What everything is compared with."""

    name = "system call"
    pid = property(lambda self: os.getpid())

    def semget(self, key, nsems, flags):
        return syscall("semget", key, nsems, flags)

    def _operate(self, semid, ops, nsops, timeout):
        if timeout is None:
            return syscall("semop", semid, address(ops), nsops)
        spec = (ctypes.c_long * 2)(*timeout)
        return syscall("semtimedop", semid, address(ops), nsops, address(spec))

    def semctl(self, semid, number, command, argument=None):
        word = address(argument) if isinstance(argument, (ctypes.Array, ctypes.Structure)) else argument
        return syscall("semctl", semid, number, command, word)


class Call(ctypes.Structure):
    """struct semshare_test_call."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("function", "context", "ns")),
        *((name, ctypes.c_int32) for name in ("id", "number", "command", "value")),
        ("timed", ctypes.c_uint32),
        ("timeout_sec", ctypes.c_int64),
        ("timeout_nsec", ctypes.c_int64),
        ("buffer", ctypes.c_uint64),
        ("size", ctypes.c_uint32),
        ("result", ctypes.c_int32),
        ("pid", ctypes.c_int32),
        ("overrun", ctypes.c_uint32),
        ("fail_nth", ctypes.c_uint32),
        ("unfailed", ctypes.c_uint32),
    ]


class Sleep(ctypes.Structure):
    """struct semshare_test_sleep."""

    _fields_ = [
        ("id", ctypes.c_int32),
        ("number", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
        ("returned", ctypes.c_uint32),
        ("result", ctypes.c_int32),
        ("reserved", ctypes.c_uint32),
    ]


CALL = 0xC0000000 | ctypes.sizeof(Call) << 16 | 0xE5 << 8 | 0x70
SLEEP = 0x40000000 | ctypes.sizeof(Sleep) << 16 | 0xE5 << 8 | 0x71
WAKE = 0x80000000 | ctypes.sizeof(Sleep) << 16 | 0xE5 << 8 | 0x72
SEMGET, SEMOP, SEMTIMEDOP, SEMCTL, SEMCTL_VALUES = 1, 2, 3, 4, 5
PROCESS, KTHREAD, KTHREAD_MM, SOFTIRQ, PREEMPT_OFF, IRQS_OFF, RCU_READER, WORKQUEUE = range(1, 9)
NS_CURRENT, NS_OPENED, NS_LOADER, NS_NULL = 1, 2, 3, 4


class Device:
    """/dev/semshare-test, open."""

    def __init__(self):
        self.fd = os.open("/dev/semshare-test", os.O_RDWR | os.O_CLOEXEC)

    def close(self):
        os.close(self.fd)

    def sleep(self, semid, number=0, threads=1):
        """Start kernel threads that sleep in a P each."""
        fcntl.ioctl(self.fd, SLEEP, bytes(Sleep(semid, number, threads)))

    def wake(self):
        """Stop them: how many did not need it, and what the first one's P answered."""
        sleep = Sleep()
        fcntl.ioctl(self.fd, WAKE, sleep)
        return sleep.returned, sleep.result


class EntryPoints(Caller):
    """The module's entry points, called in one kind of context and namespace."""

    def __init__(self, device, context, ns=NS_CURRENT):
        self.device = device
        self.context = context
        self.ns = ns
        self.pid = None  # who made the last call
        self.fail_nth = 0  # which allocation is to fail
        self.unfailed = 0  # what was left of that in the last call

    def call(self, function, **fields):
        buffer = fields.pop("buffer", None)
        call = Call(function=function, context=self.context, ns=self.ns, fail_nth=self.fail_nth, **fields)
        if buffer is not None:
            call.buffer = address(buffer)
            call.size = ctypes.sizeof(buffer)
        # fcntl.ioctl() holds the GIL while it works on a small buffer: no other thread could give what it waits for.
        if libc.ioctl(self.device.fd, ctypes.c_ulong(CALL), ctypes.byref(call)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "/dev/semshare-test")
        assert not call.overrun, "the entry point wrote behind the caller's buffer"
        self.pid = call.pid
        self.unfailed = call.unfailed
        return call.result

    def semget(self, key, nsems, flags):
        return self.call(SEMGET, id=key, number=nsems, command=flags)

    def _operate(self, semid, ops, nsops, timeout):
        if timeout is None:
            return self.call(SEMOP, id=semid, number=nsops, buffer=ops)
        return self.call(
            SEMTIMEDOP, id=semid, number=nsops, buffer=ops, timed=1, timeout_sec=timeout[0], timeout_nsec=timeout[1]
        )

    def semctl(self, semid, number, command, argument=None):
        if isinstance(argument, int):
            return self.call(SEMCTL, id=semid, number=number, command=command, value=argument)
        return self.call(SEMCTL, id=semid, number=number, command=command, buffer=argument)

    def values(self, semid, command, values):
        """semshare_semctl_values()."""
        return self.call(SEMCTL_VALUES, id=semid, command=command, number=len(values), buffer=values)


class Route(Caller):
    """The system calls as ioctls of /dev/semshare-route, carried out by the caller or by a kernel thread for it."""

    CALLER, KTHREAD = 0, 1

    def __init__(self, context=CALLER, flags=os.O_RDWR):
        self.fd = os.open("/dev/semshare-route", flags | os.O_CLOEXEC)
        self.context = context

    def close(self):
        os.close(self.fd)

    def ioctl(self, number, argument):
        """The ioctl as it is: its value, or minus its errno."""
        command = 0x40000000 | len(argument) << 16 | 0xE5 << 8 | number
        result = libc.ioctl(self.fd, ctypes.c_ulong(command), ctypes.c_char_p(argument))
        return -ctypes.get_errno() if result == -1 else result

    def semget(self, key, nsems, flags):
        return self.ioctl(0x50, struct.pack("iiiI", key, nsems, flags, 0))

    def _operate(self, semid, ops, nsops, timeout):
        spec = (ctypes.c_long * 2)(*timeout) if timeout is not None else None
        call = struct.pack("iIQQII", semid, nsops, address(ops), address(spec), self.context, 0)
        return self.ioctl(0x51, call)

    def semctl(self, semid, number, command, argument=None):
        word = address(argument) if isinstance(argument, (ctypes.Array, ctypes.Structure)) else (argument or 0)
        return self.ioctl(0x52, struct.pack("iiiIQ", semid, number, command, self.context, word))


ROUTE_CONTEXTS = {"caller": Route.CALLER, "kthread": Route.KTHREAD}


def sets():
    """The sets of this namespace: the key of each id."""
    lines = pathlib.Path("/proc/sysvipc/sem").read_text().splitlines()[1:]
    return {int(semid): int(key) for key, semid, *_ in map(str.split, lines)}


# ---------------------------------------------------------------- modules


def load(module, parameters=""):
    """Load a module of this checkout: 0 or minus an errno."""
    fd = os.open(KMOD_DIR / f"{module}.ko", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return syscall("finit_module", fd, ctypes.create_string_buffer(parameters.encode()), 0)
    finally:
        os.close(fd)


def unload(module):
    """Unload a module: 0 or minus an errno."""
    return syscall("delete_module", ctypes.create_string_buffer(module.encode()), os.O_NONBLOCK)


def has_symbol(function):
    """Whether this kernel has a function of that name; one that its configuration leaves out is inline, and empty."""
    return f" {function}\n" in pathlib.Path("/proc/kallsyms").read_text()


def loaded():
    """The modules of this project that are loaded, users before what they use."""
    names = [line.split()[0] for line in pathlib.Path("/proc/modules").read_text().splitlines()]
    return sorted((name for name in names if name.startswith("semshare")), key=len, reverse=True)


def holders():
    """Who has a device of this project open, or its memory mapped: "PID NAME: FILE" each."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        for each in (*process.glob("fd/*"), *process.glob("map_files/*")):
            with contextlib.suppress(OSError):
                if (file := os.readlink(each)).startswith("/dev/semshare"):
                    found.append(f"{process.name} {(process / 'comm').read_text().strip()}: {file}")
    return found


@contextlib.contextmanager
def everything_unloaded():
    """No module of this project, and afterwards those again that were there before."""
    before = loaded()

    def unloads(module):
        # A file that a killed process had open may be let go of a moment after it.
        return eventually(lambda: unload(module) == 0)

    try:
        for module in before:
            assert unloads(module), f"{module} is in use: {holders()}"
        yield
    finally:
        left = [module for module in loaded() if not unloads(module)]
        for module in reversed(before):
            assert module in left or load(module) == 0, module
        assert not left, f"{left} in use: {holders()}"


class KernelLog:
    """What the kernel logs from now on."""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self.fd, 0, os.SEEK_END)

    def read(self):
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                lines.append(os.read(self.fd, 8192).decode(errors="replace").split(";", 1)[1].splitlines()[0])
        return lines

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)


# ---------------------------------------------------------------- processes


def threads(*names):
    """The kernel threads whose names begin so: the name of each pid."""
    found = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            name = path.read_text().strip()
            if name.startswith(names):
                found[int(path.parent.name)] = name
    return found


def in_child(function):
    """Run it in a forked process, which leaves by os._exit: its result, a short string."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = function()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, str(text).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text


@contextlib.contextmanager
def child(function):
    """A forked process that runs beside the caller, and is killed in the end."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        os.waitpid(pid, 0)


def eventually(condition, seconds=SLACK):
    """Whether it comes true within that time."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.005)
    return True


def name_of(result):
    """A result as a person reads it."""
    if result == -errno.EOPNOTSUPP:  # Python knows it by its other name
        return "-EOPNOTSUPP"
    return f"-{errno.errorcode[-result]}" if isinstance(result, int) and -4096 < result < 0 else str(result)
