# SPDX-License-Identifier: MIT
"""The four calls as ioctls of /dev/semshare-route, the structures written out again from the header on purpose."""

import ctypes
import os
import struct

import kernel

CALLER, KTHREAD = 0, 1
CONTEXTS = {"caller": CALLER, "kthread": KTHREAD}

SEMGET = struct.Struct("=iiiI")
SEMTIMEDOP = struct.Struct("=iIQQII")
SEMCTL = struct.Struct("=iiiIQ")


def _iow(number, size):
    return 1 << 30 | size << 16 | 0xE5 << 8 | number


IOC_SEMGET = _iow(0x50, SEMGET.size)
IOC_SEMTIMEDOP = _iow(0x51, SEMTIMEDOP.size)
IOC_SEMCTL = _iow(0x52, SEMCTL.size)


class Route(kernel.Caller):
    """An open /dev/semshare-route. Each call returns what the kernel answered: not negative, or minus an errno."""

    def __init__(self, context=CALLER, fd=None):
        self.fd = os.open("/dev/semshare-route", os.O_RDWR | os.O_CLOEXEC) if fd is None else fd
        self.context = context

    def close(self):
        os.close(self.fd)

    def ioctl(self, command, raw):
        # Not fcntl.ioctl(), which holds the GIL while a call sleeps.
        result = kernel.libc.ioctl(self.fd, ctypes.c_ulong(command), ctypes.create_string_buffer(raw, len(raw)))
        return -ctypes.get_errno() if result == -1 else result

    def semget(self, key, nsems, flags):
        return self.ioctl(IOC_SEMGET, SEMGET.pack(key, nsems, flags, 0))

    def _operate(self, semid, ops, nsops, timeout):
        spec = (ctypes.c_long * 2)(*timeout) if timeout is not None else None
        return self.ioctl(
            IOC_SEMTIMEDOP,
            SEMTIMEDOP.pack(semid, nsops & 0xFFFFFFFF, kernel.address(ops), kernel.address(spec), self.context, 0),
        )

    def semctl(self, semid, number, command, argument=None):
        word = kernel.address(argument) if isinstance(argument, (ctypes.Array, ctypes.Structure)) else argument or 0
        return self.ioctl(IOC_SEMCTL, SEMCTL.pack(semid, number, command, self.context, word & (1 << 64) - 1))
