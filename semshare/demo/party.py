# SPDX-License-Identifier: MIT
"""The parties of the demo, as the parent sees them: it starts them, gives orders and collects answers."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semshare.demo import child, worker
from semshare.demo.words import Words
from semshare.demo.worker import Work

PLAIN_PROGRAM = Path(__file__).with_name("plain_producer.py")


class Party:
    """One process. It is `starting`, then `idle` or `busy`, and at last `ended`."""

    kind = ""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.state = "starting"
        self.failure: str | None = None
        """Why it ended before it was told to."""
        self.work: Work | None = None
        """What it answered to the last order."""

    def fileno(self) -> int:
        """Readable when there is something to receive()."""
        raise NotImplementedError

    def receive(self) -> None:
        """Take what it answered. To be called when fileno() is readable."""
        raise NotImplementedError

    def order(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Let it do a piece of work."""
        raise NotImplementedError

    def end(self, deadline: float) -> None:
        """Tell it to end, and wait; kill it at `deadline` (monotonic)."""
        raise NotImplementedError

    def kill(self) -> None:
        """Kill it, whatever it does, and wait."""
        raise NotImplementedError

    def give_up(self) -> None:
        """End it without asking. It has failed, then or before."""
        self._fail("did not answer, and was killed")
        self.kill()
        self.end(0.0)

    def _fail(self, why: str) -> None:
        if self.state != "ended":
            self.state = "ended"
            self.failure = self.failure or why


def _ended_how(status: int | None) -> str:
    if status is None:
        return "went silent"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended by itself with status {status}"


class PythonParty(Party):
    """A process that uses this package."""

    kind = "python"

    def __init__(self, number: int, name: str, ring: str, locked: bool) -> None:
        super().__init__(number, name)
        # fork: the package is loaded already, and a start costs milliseconds on the slowest virtual machine.
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=worker.main, args=(theirs, os.getpid(), ring, number, locked), name=name, daemon=True
        )
        self._process.start()
        theirs.close()

    def fileno(self) -> int:
        return self._connection.fileno()

    def receive(self) -> None:
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(1)
            self._fail(_ended_how(self._process.exitcode))
            return
        if message == "ready":
            self.state = "idle"
            return
        try:
            self.work = worker.result_of(message)
            self.state = "idle"
        except RuntimeError as error:
            self._fail(f"failed: {error}")

    def order(self, command: str, arguments: Mapping[str, Any]) -> None:
        self.work = None
        self.state = "busy"
        with contextlib.suppress(OSError):  # if it is dead, receive() tells how it died
            self._connection.send((command, dict(arguments)))

    def end(self, deadline: float) -> None:
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(max(deadline - time.monotonic(), 0))
        if self._process.exitcode is None:
            self.kill()
            self._fail("did not end when told to, and was killed")
        elif self._process.exitcode != 0:
            self._fail(_ended_how(self._process.exitcode))
        self.state = "ended"
        self._connection.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


class PlainParty(Party):
    """The program that knows nothing of this package."""

    kind = "plain"

    def __init__(self, number: int, name: str, area_fd: int, longest: int, locked: bool, words: Words) -> None:
        super().__init__(number, name)
        parent = os.getpid()
        self._counter_offset = words.counter_offset
        self._began = 0.0
        self._heard = b""
        self._errors = b""
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(PLAIN_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[area_fd],
            preexec_fn=lambda: child.settle(parent),
        )
        self._say(area_fd, number, longest, int(locked), words.order_offset)

    def _say(self, *lines: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # if it is dead, receive() tells how it died
            self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
            self._process.stdin.flush()

    def fileno(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def receive(self) -> None:
        heard = os.read(self.fileno(), 4096)
        if not heard:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            self._fail(self._how())
            return
        self._heard += heard
        while b"\n" in self._heard:
            line, self._heard = self._heard.split(b"\n", 1)
            if line == b"ready":
                self.state = "idle"
            else:
                done = int(line.split()[1])
                self.work = Work(done=done, seconds=time.monotonic() - self._began)
                self.state = "idle"

    def _how(self) -> str:
        assert self._process.stderr is not None
        how = _ended_how(self._process.returncode)
        if self._process.returncode is not None:
            said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            how += f": {said[-1]}" if said else ""
        return how

    def order(self, command: str, arguments: Mapping[str, Any]) -> None:
        self.work = None
        self.state = "busy"
        self._began = time.monotonic()
        if command == "produce":
            self._say(f"records {arguments['records']}")
        else:
            self._say(f"counter {self._counter_offset} {arguments['additions']}")

    def end(self, deadline: float) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            self.kill()
            self._fail("did not end when told to, and was killed")
        if self._process.returncode != 0:
            self._fail(self._how())
        self.state = "ended"
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
