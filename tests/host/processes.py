# SPDX-License-Identifier: MIT
"""Forked children for tests, and waiting that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from typing import Callable

# Children die with the test run, however that ends. Looked up before any fork.
_prctl = ctypes.CDLL(None).prctl
_unshare = ctypes.CDLL(None, use_errno=True).unshare
CLONE_NEWIPC, CLONE_NEWPID = 0x08000000, 0x20000000
PR_SET_PDEATHSIG = 1

LIMIT = 60.0
"""Seconds after which something that should happen did not. Nothing here measures time."""


def wait_until(condition: Callable[[], object], what: str = "the condition", limit: float = LIMIT) -> None:
    """Look again and again until it is true."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about in {limit:.0f} s"
        time.sleep(0.001)


class Child:
    """A forked child that runs a function. Its exit status is 0 if that returned, 1 if it raised."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                function(*arguments)
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)

    def poll(self) -> bool:
        """Whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        try:
            wait_until(self.poll, f"the end of child {self.pid}")
        except AssertionError:
            self.kill()
            raise
        assert self.status is not None
        return os.waitstatus_to_exitcode(self.status)

    def kill(self) -> None:
        """Kill it with SIGKILL and wait for its end."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            _, self.status = os.waitpid(self.pid, 0)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


class Gate:
    """A pipe by which a process tells others to go on."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def open(self, times: int = 1) -> None:
        """Let so many through."""
        os.write(self._write, b"." * times)

    def pass_through(self) -> None:
        """Wait for it to open."""
        assert os.read(self._read, 1) == b"."

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._read)
        os.close(self._write)


def in_new_namespace(kind: int, function: Callable[[], object]) -> int:
    """What became of a child in a namespace of its own: its exit code."""

    def enter() -> None:
        assert _unshare(kind) == 0, os.strerror(ctypes.get_errno())
        sys.exit(Child(function).wait())

    if os.getuid():
        import pytest  # which programs that use this do without

        pytest.skip("needs root to make a namespace")
    return Child(enter).wait()
