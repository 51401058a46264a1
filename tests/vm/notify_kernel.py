# SPDX-License-Identifier: MIT
"""The kernel's side of notifications: kernel code that puts, takes, rings, or listens (semshare_notify_test)."""

import contextlib
import ctypes
import fcntl
import os
import struct

from soak import putting

from semshare.ring import VARIANTS

PUT, PUT_IRQ, GET, EVENTFD, RING, FILL = range(1, 7)
START = struct.Struct("IiQQII")
STATE = struct.Struct("QQQQq")
IOC_START = 1 << 30 | START.size << 16 | 0xE548
IOC_STATE = 2 << 30 | STATE.size << 16 | 0xE549


def eventfd():
    """os.eventfd() is not in every Python there is."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.eventfd(0, os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0
    return descriptor


def count_of(descriptor):
    """What an eventfd has counted; 0 if nothing."""
    try:
        return struct.unpack("Q", os.read(descriptor, 8))[0]
    except BlockingIOError:
        return 0


class Kernel:
    """Kernel code that does one thing with an area, or an eventfd, until it is closed."""

    def __init__(self, what, descriptor, count=0, number=0, pause_us=0):
        self.fd = os.open("/dev/semshare-notify-test", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(self.fd, IOC_START, START.pack(what, descriptor, count, number, pause_us, 0))
        except OSError:
            os.close(self.fd)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def state(self):
        """Done, calls, full, wrong, error."""
        return STATE.unpack(fcntl.ioctl(self.fd, IOC_STATE, bytes(STATE.size)))

    @property
    def done(self):
        return self.state()[0]

    @property
    def calls(self):
        return self.state()[1]


def is_of_one_producer(ring):
    return VARIANTS[ring.state().variant].producers == 1


def producers_of(ring):
    """How many producers() are."""
    return 1 if is_of_one_producer(ring) else 4


@contextlib.contextmanager
def producers(ring, each, pause_us=50):
    """Producers on both sides, as many as there can be, that put so many records each: those of the kernel."""
    locked, descriptor = VARIANTS[ring.state().variant].locked, ring.area.fileno()
    with contextlib.ExitStack() as stack:
        kernels = [stack.enter_context(Kernel(PUT if locked else PUT_IRQ, descriptor, each, 0, pause_us))]
        if not is_of_one_producer(ring):
            kernels.append(stack.enter_context(Kernel(PUT, descriptor, each, 1, pause_us)))
            stack.enter_context(putting(ring.name, (2, 3), each))
        yield kernels
