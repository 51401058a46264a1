# SPDX-License-Identifier: MIT
"""Threads of forked processes that do what a test tells them, one thing after the other, and answer when it is done."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection, Pipe
from typing import Any, Callable

from processes import LIMIT, Child


def _serve(pipe: Connection, mine: dict[str, Any]) -> None:
    while True:
        told = pipe.recv()
        if told is None:
            threading.Thread(target=_succeed, args=(threading.current_thread(), pipe, mine), daemon=True).start()
            return
        function, arguments = told
        try:
            answer = (True, function(mine, *arguments))
        except Exception as error:
            answer = (False, error)
        try:
            pipe.send(answer)
        except (TypeError, AttributeError) as error:
            pipe.send((False, RuntimeError(f"cannot be sent: {answer!r}: {error}")))


def _succeed(before: threading.Thread, pipe: Connection, mine: dict[str, Any]) -> None:
    before.join()
    pipe.send((True, threading.get_native_id()))
    _serve(pipe, mine)


class Actor:
    """One of these threads.

    It is told functions that can be imported, and calls them with a dict of its own, in which they may keep what they
    need, and what else they were given. Under "process" that dict has one which the threads of a process share.
    """

    def __init__(self, pipe: Connection, number: int) -> None:
        self._pipe = pipe
        self.number = number
        """Of the thread in its process; 0: the main thread."""
        self.busy = False
        """Whether it has been told something that it has not answered yet."""
        self.pid = 0
        self.tid = 0

    def start(self, function: Callable[..., object], *arguments: object) -> None:
        """Tell it to call that, and do not wait."""
        assert not self.busy
        self._pipe.send((function, arguments))
        self.busy = True

    def answered(self) -> bool:
        """Whether there is an answer."""
        return self.busy and self._pipe.poll()

    def answer(self) -> Any:
        """What the function returned; or raise what it raised."""
        assert self.busy
        if not self._pipe.poll(LIMIT):
            raise AssertionError(f"thread {self.tid} of process {self.pid} did not answer in {LIMIT:.0f} s")
        returned, value = self._pipe.recv()
        self.busy = False
        if returned:
            return value
        raise value

    def call(self, function: Callable[..., object], *arguments: object) -> Any:
        """Tell it to call that, and wait for its answer."""
        self.start(function, *arguments)
        return self.answer()

    def end(self) -> None:
        """Tell it to end; another goes on in its place, with its dict. Not the main thread."""
        assert self.number
        self._pipe.send(None)
        self.busy = True
        self.tid = self.answer()


class Troupe:
    """A forked process of such threads."""

    def __init__(self, threads: int) -> None:
        pipes = [Pipe() for _ in range(threads)]
        self._child = Child(self._perform, [there for _, there in pipes], [here for here, _ in pipes])
        for _, there in pipes:
            there.close()
        self.pid = self._child.pid
        self.actors = [Actor(here, number) for number, (here, _) in enumerate(pipes)]
        for actor in self.actors:
            actor.pid = self.pid
            actor.tid = actor.call(_whoami)

    @staticmethod
    def _perform(pipes: list[Connection], others: list[Connection]) -> None:
        for other in others:
            other.close()
        process: dict[str, Any] = {}
        for pipe in pipes[1:]:
            threading.Thread(target=_serve, args=(pipe, {"process": process}), daemon=True).start()
        _serve(pipes[0], {"process": process})

    def kill(self) -> None:
        """Kill all of them with SIGKILL."""
        self._child.kill()
        for actor in self.actors:
            actor._pipe.close()
            actor.busy = False


def _whoami(mine: dict[str, Any]) -> int:
    return threading.get_native_id()
