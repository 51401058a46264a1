# SPDX-License-Identifier: MIT
"""A child that runs one instruction at a time."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from typing import Callable

from processes import Child

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
TRACEME, SINGLESTEP, SYSCALL = 0, 9, 24


def _ptrace(request: int, pid: int) -> None:
    if _libc.ptrace(request, pid, None, None) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def possible() -> bool:
    """Whether this machine lets a process step its child. Emulated ones do not all."""
    if platform.machine() != "x86_64":
        return False
    try:
        stepped = Stepped(lambda: None)
    except OSError:
        return False
    try:
        return all(stepped.step() for _ in range(5))
    finally:
        stepped.kill()


class Stepped:
    """A forked child, stopped at the beginning of a function's call. Some instructions of the interpreter lie around
    those of the function."""

    def __init__(self, function: Callable[[], object]) -> None:
        def run() -> None:
            _ptrace(TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            function()
            os.kill(os.getpid(), signal.SIGSTOP)

        self._child = Child(run)
        self.pid = self._child.pid
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != signal.SIGSTOP:
            self._child.status = status
            raise OSError(f"the child did not stop but ended with {status:#x}")
        # Of the system call that stopped it.
        self.step()

    def step(self) -> bool:
        """One instruction, or one system call. False: the function has returned."""
        return self._go(SINGLESTEP)

    def to_next_system_call(self) -> bool:
        """To where the next system call begins, or ends. False: the function has returned."""
        return self._go(SYSCALL)

    def _go(self, how: int) -> bool:
        _ptrace(how, self.pid)
        _, status = os.waitpid(self.pid, 0)
        assert os.WIFSTOPPED(status), f"the child ended with {status:#x}"
        return os.WSTOPSIG(status) == signal.SIGTRAP

    def kill(self) -> None:
        """SIGKILL, here."""
        self._child.kill()
