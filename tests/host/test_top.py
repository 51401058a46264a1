# SPDX-License-Identifier: MIT
"""semshare top: rates of what goes on, for a terminal, a pipe and programs, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from companions import Companion
from processes import Child, wait_until
from semshare._abi import lib

from semshare import Lock, Ring
from semshare.cli import inventory
from semshare.cli.inventory import Inventory
from semshare.cli.rates import Rates
from semshare.cli.top import View, as_dict

LIMIT = 60
TOP = [sys.executable, "-m", "semshare.cli", "top"]


def top(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([*TOP, *arguments], capture_output=True, text=True, timeout=LIMIT)


@pytest.fixture
def lock(name):
    made = Lock(name)
    yield made
    made.unlink()


@pytest.fixture
def ring(name):
    with Ring.create(name, 1 << 16) as made:
        yield made
        made.unlink()


def only(name: str) -> Inventory:
    """What there is of that name."""
    found = inventory.take()
    areas = [each for each in found.areas if each[0].name == name]
    return Inventory(areas, [each for each in found.sets if each.name == name])


class Running:
    """A top that is stopped after the test."""

    def __init__(self, *arguments: str, **more) -> None:
        self.process = subprocess.Popen([*TOP, *arguments], stdin=subprocess.DEVNULL, **more)

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(LIMIT)


@pytest.fixture
def start():
    with contextlib.ExitStack() as stack:

        def run(*arguments: str, **more) -> Running:
            running = Running(*arguments, **more)
            stack.callback(running.process.wait)
            stack.callback(running.process.kill)
            return running

        yield run


# -------------------------------------------------------------------------------------------------------------- rates


def test_a_rate_is_what_a_counter_grew_by_in_a_second(name, ring, lock_of_another_name):
    first = Rates(only(name))
    ring.put_many([b"x" * 10] * 30)
    ring.get_many(20)
    second = Rates(only(name), first)
    second.seconds = 2.0
    rates = second.of("ring", name)
    assert rates == {"puts": 15.0, "gets": 10.0, "put_bytes": 150.0, "drops": 0.0, "repairs": 0.0}
    with lock_of_another_name:
        before = Rates(only(lock_of_another_name.name))
    for _ in range(7):
        with lock_of_another_name:
            pass
    after = Rates(only(lock_of_another_name.name), before)
    after.seconds = 1.0
    (info,) = only(lock_of_another_name.name).sets
    assert after.of("set", (info.semid, info.state.last_change)) == {"taken": 7.0}


@pytest.fixture
def lock_of_another_name(names):
    made = Lock(names())
    yield made
    made.unlink()


def test_there_is_no_rate_of_what_was_not_there_or_began_anew(name, ring):
    ring.put(b"x")
    first = Rates(only(name))
    assert set(first.of("ring", name).values()) == {None} and first.seconds == 0
    second = Rates(only(name), first)
    second._before["ring", name]["puts"] += 5
    assert second.of("ring", name)["puts"] is None and second.of("ring", name)["gets"] == 0.0
    assert second.of("ring", "another") == {}


def test_the_count_of_a_locks_turns_begins_again_and_the_rate_does_not(name, by_epoch):
    by_epoch(2**32 - 4)
    first = Rates(only(name))
    by_epoch(4)
    second = Rates(only(name), first)
    second.seconds = 1.0
    ((kind, identity),) = second.counters
    assert second.of(kind, identity) == {"taken": 4.0}


@pytest.fixture
def by_epoch(name):
    """Writes the epoch of a lock."""
    made = Companion(name, lib.SEMSHARE_SET_LOCK, [1])

    def write(epoch: int) -> None:
        made.states[0].epoch = epoch

    yield write
    made.remove()


def test_the_busiest_come_first_and_then_those_for_which_most_wait(names):
    locks = [Lock(names()) for _ in range(3)]
    before = Rates(inventory.take())
    with locks[2]:
        pass
    with locks[1]:
        waiter = Child(Lock(locks[1].name).acquire)
        wait_until(lambda: locks[1].waiters() == 1, "the waiter")
        with locks[2]:
            found = inventory.take()
    assert waiter.wait() == 0
    mine = {lock.name for lock in locks}
    view = View(0.0, Inventory([], [each for each in found.sets if each.name in mine]), Rates(found, before))
    assert [each.name for each in view.sets] == [locks[2].name, locks[1].name, locks[0].name]
    assert [each["waiting"] for each in as_dict(view)["sets"]] == [0, 1, 0]
    for lock in locks:
        lock.unlink()


# -------------------------------------------------------------------------------------------------------- for programs


def test_one_json_object_for_each_look(name, ring):
    ring.put(b"x")
    ended = top("--json", "-n", "3", "--interval", "0.1")
    assert ended.returncode == 0 and ended.stderr == ""
    looks = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(looks) == 3
    for look in looks:
        assert look["seconds"] > 0
        (area,) = [each for each in look["areas"] if each["name"] == name]
        assert area["ring"]["puts"] == 1 and area["rates"]["puts"] == 0.0
        (found,) = [each for each in look["sets"] if each["name"] == name]
        assert found["state"] == "free" and found["rates"]["taken"] is not None and "values" not in found
    assert looks[0]["time"] <= looks[1]["time"] <= looks[2]["time"]


def test_programs_see_what_goes_on_while_it_does(name, lock, start):
    running = start("--json", "--interval", "0.1", stdout=subprocess.PIPE, text=True)
    running.process.stdout.readline()
    rates = []
    deadline = time.monotonic() + LIMIT
    while not any(rates):
        for _ in range(100):
            with lock:
                pass
        look = json.loads(running.process.stdout.readline())
        rates += [each["rates"]["taken"] for each in look["sets"] if each["name"] == name]
        assert time.monotonic() < deadline
    assert running.interrupt() == 0


def test_what_is_made_and_removed_meanwhile_comes_and_goes(names, start):
    running = start("--json", "--interval", "0.1", stdout=subprocess.PIPE, text=True)

    def look() -> list[str]:
        return [each["name"] for each in json.loads(running.process.stdout.readline())["sets"]]

    late = Lock(names())
    wait_until(lambda: late.name in look(), "the new lock to be seen")
    late.unlink()
    wait_until(lambda: late.name not in look(), "the lock to be gone")


# ------------------------------------------------------------------------------------------------------------ a pipe


def test_into_a_pipe_each_look_is_a_table_below_the_last(name, ring):
    ring.put(b"x")
    ended = top("-n", "2", "--interval", "0.1")
    assert ended.returncode == 0 and ended.stderr == "" and "\x1b" not in ended.stdout
    assert ended.stdout.count(f"\n{name} ") == 2 * 3  # as a ring, as its set, as its area
    assert ended.stdout.count("puts/s") == 2


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_ctrl_c_ends_it_quietly(arguments, start):
    running = start(*arguments, "--interval", "0.1", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.process.stdout.readline()
    assert running.interrupt() == 0
    assert running.process.stderr.read() == ""


def test_wrong_usage():
    assert top("--interval", "0").returncode == 2
    assert top("-n", "0").returncode == 2


# --------------------------------------------------------------------------------------------------------- a terminal


class Terminal:
    """A terminal, with lines for some that others have here."""

    def __init__(self) -> None:
        self.ours, self.its = pty.openpty()
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", 100, 200, 0, 0))
        self.seen = ""

    def read(self) -> bool:
        """Whether there was anything more."""
        more = bool(select.select([self.ours], [], [], 0.05)[0])
        if more:
            self.seen += os.read(self.ours, 65536).decode(errors="replace")
        return more

    def shows(self, text: str, times: int = 1) -> bool:
        self.read()
        return self.seen.count(text) >= times

    def close(self) -> None:
        os.close(self.ours)
        os.close(self.its)


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    made.close()


def test_on_a_terminal_it_is_live_and_leaves_what_was_seen_last(name, lock, start, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    with lock:
        running = start("--interval", "0.3", stdout=terminal.its, stderr=terminal.its)
        wait_until(lambda: terminal.shows(name), "the lock to be shown")
        assert "\x1b[?1049h" in terminal.seen, "the other screen"
        wait_until(lambda: terminal.shows(" waiting; ", 2), "the next look")
        running.process.send_signal(signal.SIGINT)
        # Who writes to a terminal that nobody reads does not end.
        wait_until(lambda: not terminal.read() and running.process.poll() is not None, "its end")
        assert running.process.returncode == 0
    before, _, after = terminal.seen.rpartition("\x1b[?1049l")
    assert before and name in after
    assert "Traceback" not in terminal.seen and "Aborted" not in terminal.seen


def test_on_a_terminal_it_ends_after_so_many_looks(start, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    running = start("-n", "1", "--interval", "0.1", stdout=terminal.its, stderr=terminal.its)
    wait_until(lambda: not terminal.read() and running.process.poll() is not None, "its end")
    assert running.process.returncode == 0 and "\x1b[?1049l" in terminal.seen
