# SPDX-License-Identifier: MIT
"""sem_player, compiled and running: it plays sequences of semaphore operations and tells what happened."""

import contextlib
import pathlib
import struct
import subprocess
import time

from compiler import compile_c

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = [HERE / name for name in ("sem_player.c", "sem_steps.c", "sem_worker.c")]

PLAIN = 1  # root only, and no bad pointers but NULL
RARE_UNDO = 2  # for kernel threads, which only refuse it
RECORD = 20  # bytes of struct record

_LENGTH = struct.Struct("=I")


def compile_player(folder):
    """The program, in that folder: static, because it forks a lot."""
    return compile_c(folder / "sem_player", SOURCES, "-O1", "-static")


class Players:
    """A player for each path to the kernel, started when it is first wanted."""

    def __init__(self, program):
        self._program = program
        self._players = {}
        # The players set the machine's clock: it is put right in the end.
        self._began = time.time(), time.monotonic()

    def _player(self, path):
        if path not in self._players:
            command = [self._program, path, str(int(self._began[0]))]
            self._players[path] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._players[path]

    def _ask(self, path, script):
        player = self._player(path)
        player.stdin.write(_LENGTH.pack(len(script)) + script)
        player.stdin.flush()
        length = player.stdout.read(_LENGTH.size)
        assert length, f"the player of {path} ended with {player.wait()}"
        return player.stdout.read(*_LENGTH.unpack(length)).decode()

    def play(self, script, paths):
        """What happened on each of these paths, one after the other."""
        return [self._ask(path, script) for path in paths]

    def counts(self, path):
        """How often each call gave each answer: {"semop EINVAL": 3, "semtimedop slept:EIDRM": 1, …}."""
        lines = (line.rpartition(" ") for line in self._ask(path, b"").splitlines())
        return {what: int(number) for what, _, number in lines}

    def stop(self):
        """End the players: the next one starts with a namespace as new as all others'."""
        for player in self._players.values():
            with contextlib.suppress(BrokenPipeError):
                player.stdin.close()
            player.wait()
            player.stdout.close()
        self._players.clear()
        epoch, monotonic = self._began
        time.clock_settime(time.CLOCK_REALTIME, epoch + time.monotonic() - monotonic)
