# SPDX-License-Identifier: MIT
"""Channels between processes: one asks, another answers; and between objects of one process."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import random
import re
import signal
import threading
import time

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from processes import Child, wait_until
from semshare._abi import ffi, lib

import semshare
from semshare import Channel
from semshare.cli import ls

ECHO, FAIL, DIE, HOLD, SIT = 1, 2, 3, 4, 5
AT_STATE = ffi.offsetof("struct semshare_channel_control", "state")


@pytest.fixture
def channel(name):
    with Channel.create(name, 16) as made:
        yield made
        made.unlink()


def answer(name, opcodes=None, standby=0.0):
    """A process that answers."""
    with Channel.attach(name) as channel:
        held = []
        for command in channel.serve(opcodes=opcodes, standby=standby):
            if command.opcode == ECHO:
                command.reply(command.payload)
            elif command.opcode == FAIL:
                command.fail(errno.EPERM, "not for you")
            elif command.opcode == DIE:
                os.kill(os.getpid(), signal.SIGKILL)
            elif command.opcode == HOLD:
                held.append(command)
                if len(held) == 8:
                    random.shuffle(held)
                    while held:
                        each = held.pop()
                        each.reply(each.payload)
            elif command.opcode == SIT:
                held.append(command)


@pytest.fixture
def answering(channel):
    child = Child(answer, channel.name)
    wait_until(lambda: channel.state().session)
    yield child
    child.kill()


def untaken(channel):
    """Bytes of commands that nobody has taken."""
    control = ffi.from_buffer("struct semshare_ring_control *", channel.area.buffer[4096:8192])
    return control.tail - control.head


# ------------------------------------------------------------------------------------------------- asking, and replies


def test_a_call_returns_the_reply(channel, answering):
    assert channel.call(ECHO, b"hello") == b"hello"
    assert channel.call(ECHO) == b""
    assert channel.call(ECHO, memoryview(bytes(channel.max_payload))) == bytes(channel.max_payload)
    state = channel.state()
    assert (state.calls, state.replies, state.answers, state.asks) == (3, 3, answering.pid, os.getpid())


def test_many_are_outstanding_and_answered_in_any_order_and_cookies_come_back(channel, answering):
    ends = []
    pending = [channel.submit(HOLD, b"%d" % i, cookie=i << 40) for i in range(8)]
    for each in pending:
        each.add_done_callback(ends.append)
    assert [(each.cookie, each.result()) for each in pending] == [(i << 40, b"%d" % i) for i in range(8)]
    assert sorted(map(id, ends)) == sorted(map(id, pending))
    assert channel.outstanding() == 0


def test_more_than_there_are_places_wait_for_places(channel, answering):
    pending = [channel.submit(ECHO, b"%d" % i) for i in range(1000)]
    assert [each.result() for each in pending] == [b"%d" % i for i in range(1000)]


def test_threads_ask_at_the_same_time(channel, answering):
    wrong = []

    def ask(number):
        for i in range(100):
            payload = b"%d/%d" % (number, i)
            if channel.call(ECHO, payload) != payload:
                wrong.append(payload)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def test_an_error_is_the_one_that_was_given(channel, answering):
    with pytest.raises(semshare.CommandFailed, match="not for you") as raised:
        channel.call(FAIL)
    assert raised.value.errno == errno.EPERM


def test_an_unknown_opcode_is_an_error_and_no_stall(channel):
    child = Child(answer, channel.name, {ECHO})
    with pytest.raises(semshare.UnknownOpcode, match="opcode 77"):
        channel.call(77)
    assert channel.call(ECHO, b"on") == b"on"
    child.kill()


def test_what_is_no_command_is_answered_with_an_error_or_passed_over(channel):
    channel.submit(ECHO)
    for kind in (lib.SEMSHARE_CHANNEL_REPLY, 77):
        channel._send(lib.SEMSHARE_CHANNEL_COMMANDS, kind, 12345, 0, 0, 0, 0, b"garbage")
    child = Child(answer, channel.name)
    assert channel.call(ECHO, b"on") == b"on"
    assert channel.state().replies == 4 and channel.state().unmatched == 2
    child.kill()


def test_replies_to_nothing_are_counted_and_dropped(channel, answering):
    channel.call(ECHO)  # what was there before it came to ask is dropped uncounted
    for number in range(300):
        reply = lib.SEMSHARE_CHANNEL_REPLY
        channel._send(lib.SEMSHARE_CHANNEL_REPLIES, reply, random.choice([number, 1 << 63]), 0, 0, 0, 0, b"")
        if number % 10 == 9:
            assert channel.call(ECHO, b"on") == b"on"
    assert channel.state().unmatched == 300


# -------------------------------------------------------------------------------------------------------------- limits


def test_a_deadline_ends_a_command_that_nobody_takes(channel):
    began = time.monotonic()
    with pytest.raises(semshare.Timeout, match="nobody answers it"):
        channel.call(ECHO, timeout=0.1)
    assert time.monotonic() - began >= 0.1


def test_a_deadline_ends_a_command_that_nobody_answers(channel, answering):
    with pytest.raises(semshare.Timeout, match=f"process {answering.pid} answers it"):
        channel.call(SIT, timeout=0.1)
    assert channel.outstanding() == 1
    assert channel.call(ECHO, b"on") == b"on"


def test_places_of_what_nobody_took_come_back(channel):
    for _ in range(channel.depth * 3):
        with pytest.raises(semshare.Timeout):
            channel.call(ECHO, timeout=0.0)
    child = Child(answer, channel.name)
    assert channel.call(ECHO, b"on") == b"on"
    assert channel.state().replies == 1
    child.kill()


def test_no_place_is_full(channel):
    pending = [channel.submit(ECHO) for _ in range(channel.depth)]
    with pytest.raises(semshare.Full, match="16 commands are outstanding"):
        channel.submit(ECHO, blocking=False)
    with pytest.raises(semshare.FullTimeout):
        channel.submit(ECHO, timeout=0.05)
    assert all(each.cancel() for each in pending)
    channel.submit(ECHO, blocking=False)


def test_what_is_too_long_or_no_number_is_refused(channel, name):
    with pytest.raises(ValueError, match="1025 bytes; it takes 1024 at most"):
        channel.call(ECHO, bytes(1025))
    for opcode, cookie in ((-1, 0), (1 << 32, 0), (1, 1 << 64)):
        with pytest.raises(ValueError, match="numbers of 32"):
            channel.submit(opcode, cookie=cookie)
    for depth, max_payload in ((3, 1024), (16385, 1), (16, 0), (16, 65537), (16384, 65536), (-1, 1)):
        with pytest.raises(ValueError, match="a channel has"):
            Channel(name + "x", depth, max_payload=max_payload, create=True)


def test_who_is_late_sees_neither_a_command_whose_time_is_over_nor_one_that_was_cancelled(channel):
    with pytest.raises(semshare.Timeout):
        channel.call(ECHO, b"old", timeout=0.01)
    channel.submit(ECHO, b"cancelled").cancel()
    last = channel.submit(ECHO, b"last")
    command = next(channel.serve())
    assert command.payload == b"last"
    command.reply(b"ok")
    assert last.result() == b"ok"


# ------------------------------------------------------------------------------------------------------------- cancel


def test_a_cancelled_command_ends_so_and_who_answers_is_told(channel):
    pending = channel.submit(ECHO, b"mine")
    command = next(channel.serve())
    assert not command.cancelled
    assert pending.cancel() and not pending.cancel()
    assert command.cancelled
    with pytest.raises(semshare.Cancelled):
        pending.result()
    command.reply(b"too late")
    assert channel.submit(ECHO).done() is False
    with pytest.raises(semshare.Timeout):
        channel.call(ECHO, timeout=0.01)
    assert channel.state().unmatched == 0


# ----------------------------------------------------------------------------------------------------------- answering


def test_each_command_is_answered_once(channel):
    pending = channel.submit(ECHO)
    command = next(channel.serve())
    with pytest.raises(ValueError, match="at most"):
        command.reply(bytes(1025))
    with pytest.raises(ValueError, match="1 to 4095"):
        command.fail(0)
    command.reply(b"1")
    with pytest.raises(RuntimeError, match="it was answered"):
        command.reply(b"2")
    assert pending.result() == b"1"


def test_a_command_that_is_forgotten_is_answered_with_an_error(channel):
    pending = channel.submit(ECHO)
    command = next(channel.serve())
    del command
    gc.collect()
    with pytest.raises(semshare.CommandFailed, match="forgotten"):
        pending.result()


def test_serve_ends_after_its_time(channel):
    assert list(channel.serve(timeout=0.05)) == []


def test_only_one_process_asks_and_one_answers(channel, answering):
    def other():
        with Channel.attach(channel.name) as mine:
            with pytest.raises(semshare.RoleTaken, match="asks already"):
                mine.call(ECHO)
            with pytest.raises(semshare.RoleTaken, match=f"process {answering.pid} answers already"):
                next(mine.serve())

    channel.call(ECHO)
    assert Child(other).wait() == 0


def test_a_forked_child_has_no_part_in_what_its_parent_asked(channel, answering):
    pending = channel.submit(ECHO)

    def child():
        with pytest.raises(RuntimeError, match="does not ask"):
            pending.result()
        with pytest.raises(semshare.RoleTaken):
            channel.call(ECHO)

    assert Child(child).wait() == 0
    assert pending.result() == b""


# ---------------------------------------------------------------------------------------------------------------- death


def test_what_a_killed_process_had_taken_fails_and_what_it_had_not_is_for_the_next(channel):
    child = Child(answer, channel.name)
    dying = channel.submit(DIE)
    left = [channel.submit(ECHO, b"%d" % i) for i in range(5)]
    with pytest.raises(semshare.PeerDied, match="did not answer"):
        dying.result()
    child.wait()
    child = Child(answer, channel.name)
    assert [each.result() for each in left] == [b"%d" % i for i in range(5)]
    assert channel.state().deaths == 1 and channel.state().session == 2
    child.kill()


def test_a_successor_that_waits_takes_over_at_once(channel):
    first = Child(answer, channel.name)
    held = [channel.submit(SIT) for _ in range(5)]
    wait_until(lambda: not untaken(channel))
    second = Child(answer, channel.name, None, None)
    third = Child(answer, channel.name, None, None)
    time.sleep(0.05)
    first.kill()
    for each in held:
        with pytest.raises(semshare.PeerDied):
            each.result()
    assert channel.call(ECHO, b"on") == b"on"
    second.kill()
    third.kill()


def test_who_leaves_answers_what_it_has_not_answered(channel):
    with Channel.attach(channel.name) as other:
        pending = channel.submit(ECHO)
        command = next(other.serve())
        other.resign()
        with pytest.raises(semshare.PeerDied, match="answers no more"):
            pending.result()
        with pytest.raises(RuntimeError, match="does not answer"):
            command.reply()
        child = Child(answer, channel.name)
        assert channel.call(ECHO, b"on") == b"on"
        child.kill()


def test_who_asks_is_killed_and_the_next_asks(channel, answering):
    def ask():
        with Channel.attach(channel.name) as mine:
            for _ in range(10):
                mine.submit(ECHO, bytes(1024))
            mine.submit(SIT)
            wait_until(lambda: not untaken(mine))
            os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(5):
        assert Child(ask).wait() == -signal.SIGKILL
    assert channel.call(ECHO, b"mine") == b"mine"


def test_processes_that_answer_are_killed_at_any_time(channel):
    """Every command ends, once, with its own reply or PeerDied."""
    ended = {"replies": 0, "deaths": 0}
    stop = threading.Event()

    def kill():
        while not stop.is_set():
            child = Child(answer, channel.name, None, None)
            time.sleep(random.uniform(0.0, 0.05))
            child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        until = time.monotonic() + 3
        number = 0
        while time.monotonic() < until:
            batch = {number + i: channel.submit(ECHO, b"%d" % (number + i), timeout=60) for i in range(8)}
            number += 8
            for each, pending in batch.items():
                with contextlib.suppress(semshare.PeerDied):
                    assert pending.result() == b"%d" % each
                    ended["replies"] += 1
                    continue
                ended["deaths"] += 1
    finally:
        stop.set()
        killer.join()
    assert ended["replies"] and channel.state().deaths == ended["deaths"], ended
    assert channel.outstanding() == 0


# ------------------------------------------------------------------------------------------------------------ the end


def test_closing_ends_what_is_outstanding(name):
    channel = Channel.create(name)
    pending = channel.submit(ECHO)
    results = []

    def wait():
        with pytest.raises(ValueError, match="closed"):
            pending.result()
        results.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    with Channel.attach(name) as other:
        channel.close()
        thread.join()
        # Not before: who waits would find its set removed.
        other.unlink()
    assert results and repr(channel) == f"<semshare.Channel {name!r}: closed>"
    with pytest.raises(ValueError, match="closed"):
        channel.call(ECHO)


def test_removal_ends_all(channel):
    pending = channel.submit(ECHO)
    semshare.SemaphoreSet(semid=channel.semid).remove()
    with pytest.raises(semshare.Removed, match="make a new channel"):
        pending.result()


def test_a_channel_is_one_object(name):
    with Channel.create(name) as channel:
        with pytest.raises(semshare.NameExists):
            Channel.create(name)
        with pytest.raises(semshare.NotFound, match="holds no ring"):
            semshare.Ring.attach(name)
        assert semshare.SemaphoreSet(semid=channel.semid).values() == [1, 0, 0, 1, 1]
        assert Channel(name).semid == channel.semid
        channel.unlink()
    with pytest.raises(semshare.NotFound):
        Channel.attach(name)


def test_an_area_that_holds_something_else_is_no_channel(name):
    with semshare.Ring.create(name, 4096) as ring:
        with pytest.raises(semshare.NotFound, match="holds no channel"):
            Channel.attach(name)
        ring.unlink()


# ----------------------------------------------------------------------------------------------------- hostile parties


def test_a_scribbler_breaks_the_channel_and_nothing_else(names):
    """Every word at random: calls end, each with something that says what happened."""
    pick = random.Random(1)
    broken = 0
    for _ in range(8):
        name = names()
        with Channel.create(name, 8, max_payload=100) as channel:
            child = Child(answer_whatever_comes, name)
            words = channel.area.buffer.cast("Q")
            replies = len(words) - (len(words) - 512) // 2
            places = [*range(512, 600), *range(replies, replies + 40), *range(len(words))]
            for _ in range(300):
                place = pick.choice(places)
                words[place] = pick.choice([0, 32, 1 << 31, (1 << 64) - 1, words[place] + 32 & (1 << 64) - 1])
                try:
                    channel.call(ECHO, b"x", timeout=0.01)
                except (semshare.ChannelBroken, semshare.AbiMismatch):
                    broken += 1
                    break
                except (semshare.Error, ValueError):
                    continue
            child.kill()
            words.release()
            channel.unlink()
    assert broken


def answer_whatever_comes(name):
    with contextlib.suppress(semshare.Error, ValueError), Channel.attach(name) as channel:
        for command in channel.serve():
            with contextlib.suppress(semshare.Error, ValueError):
                command.reply(command.payload)


def test_a_broken_channel_stays_so_for_all(channel, answering):
    assert channel.call(ECHO) == b""
    head = channel.area.buffer[4096:8192].cast("Q")
    head[128 // 8] += 1
    with pytest.raises(semshare.ChannelBroken, match="make"):
        channel.call(ECHO)
    head.release()
    reason = "its cursors or records make no sense"
    assert channel.state().broken == reason and "broken" in repr(channel)
    with pytest.raises(semshare.ChannelBroken, match=reason):
        channel.call(ECHO)
    assert answering.wait() == 1


def test_what_broke_a_channel_first_is_what_all_are_told(channel):
    """Two owners at once, says one who was there; its cursors, which are wrong as well, come too late."""
    assert channel.state().broken is None
    ffi.cast("uint32_t *", ffi.from_buffer(channel.area.buffer))[AT_STATE // 4] = lib.SEMSHARE_RING_TWO_OWNERS
    channel.area.buffer[4096 + 128] ^= 1
    reason = "two owners were inside its lock at once"
    with pytest.raises(semshare.ChannelBroken, match=reason):
        channel.call(ECHO, timeout=0.1)
    assert channel.state().broken == reason
    listed = json.loads(CliRunner().invoke(ls.command, ["--json"]).output)
    found = next(each for each in listed["areas"] if each["name"] == channel.name)["channel"]
    assert (found["state"], found["broken"]) == ("broken", reason)


# ----------------------------------------------------------------------------------------- any order of what can happen


class Machine(RuleBasedStateMachine):
    """Calls, replies, cancels, timeouts, resignations and deaths in any order, beside a model."""

    number = 0

    def __init__(self):
        super().__init__()
        Machine.number += 1
        self.name = f"test-{os.getpid()}-machine-{Machine.number}"
        self.asks = Channel.create(self.name, 4, max_payload=64)
        self.answers = Channel.attach(self.name)
        self.queued = []  # numbers, oldest first
        self.pending = {}
        self.taken = {}
        self.expected = {}
        self.next = 0
        self.serving = False

    def teardown(self):
        self.asks.unlink()
        self.answers.close()
        self.asks.close()

    @rule()
    def submit(self):
        try:
            pending = self.asks.submit(ECHO, b"%d" % self.next, timeout=1000, cookie=self.next, blocking=False)
        except semshare.Full:
            assert self.asks.outstanding() == 4
            return
        self.pending[self.next] = pending
        self.queued.append(self.next)
        self.next += 1

    @rule()
    def take(self):
        self.serving = True
        for command in self.answers.serve(timeout=0.0):
            number = self.queued.pop(0)
            assert (command.cookie, command.payload) == (number, b"%d" % number)
            self.taken[number] = command
            break
        else:
            assert not self.queued

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), good=st.booleans())
    def reply(self, data, good):
        number = data.draw(st.sampled_from(sorted(self.taken)))
        command = self.taken.pop(number)
        if good:
            command.reply(command.payload[::-1])
        else:
            command.fail(errno.EPERM)
        if number in self.pending and number not in self.expected:
            self.expected[number] = command.payload[::-1] if good else semshare.CommandFailed

    @precondition(lambda self: any(n not in self.expected for n in self.pending))
    @rule(data=st.data(), how=st.sampled_from(["cancel", "expire"]))
    def give_up(self, data, how):
        number = data.draw(st.sampled_from(sorted(n for n in self.pending if n not in self.expected)))
        pending = self.pending[number]
        if how == "cancel":
            assert pending.cancel()
            self.expected[number] = semshare.Cancelled
        else:
            pending._deadline = 0.0
            self.expected[number] = semshare.Timeout
            with pytest.raises(semshare.Timeout):
                pending.result()
        if number in self.queued:
            self.queued.remove(number)

    @precondition(lambda self: self.serving)
    @rule(how=st.sampled_from(["resign", "die"]))
    def leave(self, how):
        self.serving = False
        for number in self.taken.keys() & self.pending.keys():
            self.expected.setdefault(number, semshare.PeerDied)
        if how == "die":
            # What a kill does: the role is free, nothing is said.
            for command in self.taken.values():
                command._open = False
            self.answers._roles.clear()
            self.answers._term = None
            self.answers._taken.clear()
            early = [each for each in self.answers._early if each[0] == lib.SEMSHARE_CHANNEL_COMMAND]
            assert not early
            self.answers._early.clear()
            self.answers._give(lib.SEMSHARE_CHANNEL_SEM_ANSWERS)
        else:
            self.answers.resign()
        self.taken.clear()

    @rule()
    def collect(self):
        """What must have ended has, as it must."""
        for number, expected in list(self.expected.items()):
            pending = self.pending.pop(number)
            del self.expected[number]
            if isinstance(expected, bytes):
                assert pending.result() == expected
            else:
                with pytest.raises(expected):
                    pending.result()

    @invariant()
    def nothing_ended_that_must_not(self):
        for number, pending in self.pending.items():
            assert number in self.expected or not pending.done()

    @invariant()
    def who_looks_sees_what_is_outstanding(self):
        places = [pending for pending in self.asks._entries if pending is not None and not pending._void]
        assert self.answers.state().outstanding == len(places)


Machine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMachine = Machine.TestCase


# ------------------------------------------------------------------------------------------------------- semshare ls


def test_ls_shows_who_asks_and_who_answers(channel, answering):
    channel.call(ECHO)
    listed = json.loads(CliRunner().invoke(ls.command, ["--json"]).output)
    found = next(each for each in listed["areas"] if each["name"] == channel.name)["channel"]
    assert found["asks"] == {"kind": "process", "pid": os.getpid(), "alive": True}
    assert (found["answers"]["pid"], found["calls"], found["replies"], found["state"]) == (answering.pid, 1, 1, "ok")
    assert next(each for each in listed["sets"] if each["name"] == channel.name)["use"] == "channel"
    assert ls_row(channel)[:4] == [f"pid {os.getpid()}", f"pid {answering.pid}", "0 of 16", "1 to 1"]


def ls_row(channel):
    """What the table of channels says of it, column by column."""
    lines = CliRunner().invoke(ls.command, []).output.splitlines()
    (line,) = (line for line in lines if line.startswith(f"{channel.name} ") and " of 16 " in line)
    assert len(line.rstrip()) <= 120
    return re.split("  +", line.strip())[1:]


def test_ls_shows_what_became_of_commands(channel):
    child = Child(answer, channel.name, None, None)
    for pending in [channel.submit(SIT) for _ in range(2)]:
        wait_until(lambda: not untaken(channel))
        pending.cancel()
    late, held = channel.submit(SIT), channel.submit(SIT)
    wait_until(lambda: not untaken(channel))
    late._deadline = 0.0
    with pytest.raises(semshare.Timeout):
        late.result()
    # What was taken and given up keeps its place until it is answered, or who took it is gone.
    assert ls_row(channel)[2:] == ["4 of 16", "0 to 4", "1 timed out, 2 cancelled", "-", "ok"]
    child.kill()
    with pytest.raises(semshare.PeerDied):
        held.result()
    # One that nobody had taken keeps none.
    channel.submit(ECHO).cancel()
    channel._send(lib.SEMSHARE_CHANNEL_REPLIES, lib.SEMSHARE_CHANNEL_REPLY, 1 << 63, 0, 0, 0, 0, b"")
    channel._step(0.0)
    assert ls_row(channel)[2:] == ["0 of 16", "1 to 5", "1 timed out, 3 cancelled, 1 lost", "1 unmatched", "ok"]
    listed = json.loads(CliRunner().invoke(ls.command, ["--json"]).output)
    found = next(each for each in listed["areas"] if each["name"] == channel.name)["channel"]
    wanted = {"outstanding": 0, "timeouts": 1, "cancels": 3, "deaths": 1, "unmatched": 1, "malformed": 0}
    assert {key: found[key] for key in wanted} == wanted


def test_what_is_outstanding_ends_with_who_asks(channel):
    def ask(name):
        asks = Channel.attach(name)
        for _ in range(3):
            asks.submit(ECHO)
        os.kill(os.getpid(), signal.SIGKILL)

    assert Child(ask, channel.name).wait() == -signal.SIGKILL
    assert channel.state().outstanding == 3 and ls_row(channel)[0].endswith(" dead")
    with Channel.attach(channel.name) as other:
        other.submit(ECHO)
        assert channel.state().outstanding == 1
    assert channel.state().outstanding == 0
