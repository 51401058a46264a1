# SPDX-License-Identifier: MIT
"""One channel object in many threads, in a forked child, and where a call is broken off in the middle."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter

import pytest
from processes import LIMIT, Child, Gate, wait_until
from semshare._abi import lib

import semshare
from semshare import Channel, SemaphoreSet
from semshare.channel import ANSWERS, ASKS, COMMANDS, REPLIES

MUTEX = lib.SEMSHARE_CHANNEL_SEM_MUTEX
ECHO = 1


@pytest.fixture
def channel(name):
    # The area and the set stay when a test closes the channel.
    with Channel.create(name, 16) as made, semshare.Area.attach(name) as area:
        yield made
        area.unlink()


def answer(name: str) -> None:
    """A process that answers."""
    with Channel.attach(name) as channel:
        for command in channel.serve():
            command.reply(command.payload)


@pytest.fixture
def answering(channel):
    child = Child(answer, channel.name)
    wait_until(lambda: channel.state().session)
    yield child
    child.kill()


@contextlib.contextmanager
def threads(number, function, *arguments):
    """So many threads run it meanwhile; what they raised is raised here, in the end."""
    raised = []

    def run():
        try:
            function(*arguments)
        except BaseException as error:
            raised.append(error)

    started = [threading.Thread(target=run, daemon=True) for _ in range(number)]
    for each in started:
        each.start()
    yield started
    for each in started:
        each.join(LIMIT)
        assert not each.is_alive()
    if raised:
        raise raised[0]


class Interrupted(Channel):
    """Ctrl-C comes while a thread waits for replies, or sends one."""

    at = None

    def _receive(self, queue, most, timeout):
        if self.at == queue:
            raise KeyboardInterrupt
        return super()._receive(queue, most, timeout)

    def _send(self, queue, *message):
        if self.at == queue:
            raise KeyboardInterrupt
        return super()._send(queue, *message)


# -------------------------------------------------------------------------------------------------- in a forked child


def refused(pending):
    for act in (pending.result, pending.cancel, lambda: pending.add_done_callback(print)):
        with pytest.raises(RuntimeError, match="does not ask"):
            act()
    assert not pending.done()


def test_a_forked_child_cannot_give_up_what_its_parent_asked(channel):
    pending = channel.submit(ECHO, b"mine", timeout=LIMIT)
    assert Child(refused, pending).wait() == 0
    command = next(channel.serve())
    assert command.payload == b"mine"
    command.reply(b"yes")
    assert pending.result() == b"yes"


def test_a_forked_child_that_asks_itself_still_has_no_part_in_what_its_parent_asked(channel, answering):
    answering.signal(signal.SIGSTOP)
    pending = channel.submit(ECHO, timeout=None)
    gate = Gate()

    def child():
        signal.alarm(10)
        gate.pass_through()
        assert channel.call(ECHO, b"mine") == b"mine"
        refused(pending)

    asking = Child(child)
    channel.close()
    answering.signal(signal.SIGCONT)
    gate.open()
    assert asking.wait() == 0
    gate.close()


def test_a_forked_child_does_not_wait_for_a_thread_that_it_does_not_have(channel):
    pending = channel.submit(ECHO, timeout=LIMIT)

    def wait():
        with pytest.raises(semshare.Cancelled):
            pending.result()

    with threads(1, wait):
        wait_until(lambda: channel._reading)

        def child():
            signal.alarm(10)
            refused(pending)

        try:
            assert Child(child).wait() == 0
        finally:
            pending.cancel()


def test_a_forked_child_does_not_wait_for_what_a_thread_of_its_parent_held(channel):
    held, done = threading.Event(), threading.Event()
    channel.submit(ECHO)
    command = next(channel.serve())

    def hold():
        with channel._condition:
            held.set()
            done.wait(LIMIT)

    def child():
        signal.alarm(10)
        with pytest.raises(semshare.RoleTaken):
            channel.submit(ECHO)
        with pytest.raises(semshare.RoleTaken):
            next(channel.serve())
        with pytest.raises(RuntimeError, match="does not answer"):
            command.reply()
        channel.resign()
        channel.close()

    with threads(1, hold):
        held.wait(LIMIT)
        try:
            assert Child(child).wait() == 0
        finally:
            done.set()


def test_a_forked_child_unmaps_what_a_thread_of_its_parent_was_using(channel):
    pending = channel.submit(ECHO, timeout=LIMIT)

    def mapped():
        with open("/proc/self/maps") as maps:
            return sum(channel.name in line for line in maps)

    def child():
        before = mapped()
        channel.close()
        assert mapped() == before - 1

    def wait():
        with pytest.raises(semshare.Cancelled):
            pending.result()

    with threads(1, wait):
        wait_until(lambda: channel._reading)
        time.sleep(0.01)
        try:
            assert Child(child).wait() == 0
        finally:
            pending.cancel()


# ------------------------------------------------------------------------------------------------------- broken off


def test_a_reply_that_could_not_be_given_can_be_given_again(channel):
    pending = channel.submit(ECHO, timeout=LIMIT)
    command = next(channel.serve())
    semaphores = SemaphoreSet(semid=channel.semid)
    semaphores.operate([(MUTEX, -1)])
    try:
        with pytest.raises(semshare.Timeout, match="holds its lock"):
            command.reply(b"yes")
    finally:
        semaphores.operate([(MUTEX, 1)])
    command.reply(b"yes")
    assert pending.result() == b"yes"
    with pytest.raises(RuntimeError, match="it was answered"):
        command.reply(b"yes")


def test_a_reply_that_was_interrupted_is_owed_still(name):
    with Interrupted.create(name) as channel:
        for end in ("reply", "forget", "resign"):
            pending = channel.submit(ECHO, timeout=LIMIT)
            command = next(channel.serve())
            channel.at = REPLIES
            with pytest.raises(KeyboardInterrupt):
                command.reply(b"yes")
            channel.at = None
            if end == "reply":
                command.reply(b"yes")
                assert pending.result() == b"yes"
                continue
            if end == "resign":
                channel.resign()
            del command
            with pytest.raises(semshare.CommandFailed if end == "forget" else semshare.PeerDied):
                pending.result()
        channel.unlink()


def test_a_call_that_is_interrupted_leaves_its_place(name):
    with Interrupted.create(name, 4) as channel:
        channel.at = REPLIES
        for _ in range(9):
            with pytest.raises(KeyboardInterrupt):
                channel.call(ECHO, timeout=None)
        channel.at = None
        pending = channel.submit(ECHO, b"last", blocking=False)
        command = next(channel.serve())
        assert command.payload == b"last"
        command.reply(b"yes")
        assert pending.result() == b"yes"
        channel.unlink()


def test_who_is_called_back_is_called_where_nothing_can_be_counted(channel, monkeypatch):
    def fail(*_):
        raise semshare.Timeout(0, "somebody holds its lock all the time")

    monkeypatch.setattr(Channel, "_count", fail)
    called = []
    pending = channel.submit(ECHO)
    pending.add_done_callback(called.append)
    command = next(channel.serve())
    channel._send(REPLIES, lib.SEMSHARE_CHANNEL_REPLY, 12345, 0, 0, 0, 0, b"unmatched")
    command.reply(b"yes")
    assert pending.result() == b"yes"
    assert called == [pending]


def test_who_is_called_back_when_the_time_is_over_is_called_without_the_lock(channel):
    pending = channel.submit(ECHO, timeout=0.01)
    free = []

    def try_it():
        free.append(channel._condition.acquire(timeout=1.0))
        if free[0]:
            channel._condition.release()

    def look(_):
        with threads(1, try_it):
            pass

    pending.add_done_callback(look)
    with pytest.raises(semshare.Timeout):
        pending.result()
    assert free == [True]


# ------------------------------------------------------------------------------------------------------------- roles


def test_a_role_is_given_back_once(channel):
    for end in (channel.resign, channel.close):
        if end == channel.close:
            channel.submit(ECHO)
        list(channel.serve(timeout=0.0))
        with contextlib.ExitStack() as both, channel._condition:
            both.enter_context(threads(2, end))
            # Both are to have begun.
            time.sleep(0.1)
        values = SemaphoreSet(semid=channel.semid).values()
        assert (values[ANSWERS], values[ASKS]) == (1, 1)


def test_who_closes_leaves_no_role_to_a_thread_that_takes_it_meanwhile(name):
    """As often as not a thread comes to answer, or to ask, in the middle of close()."""
    with Channel.create(name, 4) as kept:
        for _ in range(50):
            channel = Channel.attach(name)
            begin = threading.Barrier(3)

            def ask(channel=channel, begin=begin):
                begin.wait()
                with contextlib.suppress(ValueError):
                    channel.submit(ECHO, blocking=False)

            def serve(channel=channel, begin=begin):
                begin.wait()
                with contextlib.suppress(ValueError, RuntimeError):
                    next(channel.serve(timeout=0.0), None)

            with threads(1, ask), threads(1, serve):
                begin.wait()
                time.sleep(random.uniform(0.0, 0.0003))
                channel.close()
            values = SemaphoreSet(semid=kept.semid).values()
            assert (values[ANSWERS], values[ASKS]) == (1, 1)
        kept.unlink()


def test_threads_that_come_to_answer_at_once_all_do(channel):
    begin = threading.Barrier(8)

    def serve():
        begin.wait()
        assert list(channel.serve(timeout=0.0)) == []

    for _ in range(20):
        with threads(8, serve):
            pass
        channel.resign()


def test_who_does_not_stand_by_does_not_wait_behind_one_who_does(channel, answering):
    commands = []

    def do_not(standby):
        with pytest.raises(semshare.RoleTaken, match=f"process {answering.pid} answers"):
            next(channel.serve(standby=standby))

    with threads(1, lambda: commands.append(next(channel.serve(standby=None)))):
        time.sleep(0.05)
        for standby in (0.0, 0.05):
            with threads(1, do_not, standby):
                pass
        answering.kill()
        pending = channel.submit(ECHO)
    commands.pop().reply(b"yes")
    assert pending.result() == b"yes"


def test_standing_by_has_no_end(channel, monkeypatch):
    """What the native part takes for the end of all time is not."""
    take, late = Channel._take, iter([False] * 5)
    monkeypatch.setattr(Channel, "_take", lambda self, *of: next(late, True) and take(self, *of))
    assert list(channel.serve(timeout=0.0, standby=None)) == []


# --------------------------------------------------------------------------------------------------- taking commands


def test_a_notice_that_overtakes_its_command_in_this_process_is_not_lost(name):
    taken, go_on = threading.Event(), threading.Event()

    class Slow(Channel):
        def _receive(self, queue, most, timeout):
            messages = super()._receive(queue, most, timeout)
            if queue == COMMANDS and any(each[6] == b"slow" for each in messages):
                taken.set()
                go_on.wait(LIMIT)
            return messages

    with Slow.create(name) as channel:
        channel.submit(ECHO)
        held = next(channel.serve())
        pending = channel.submit(ECHO, b"slow")
        commands = []
        with threads(1, lambda: commands.append(next(channel.serve()))):
            taken.wait(LIMIT)
            assert pending.cancel()
            assert not held.cancelled
            go_on.set()
        assert commands[0].cancelled
        channel.unlink()


def test_what_is_taken_after_the_role_was_given_back_is_not_lost(name):
    taken, go_on = threading.Event(), threading.Event()

    class Slow(Channel):
        def _receive(self, queue, most, timeout):
            messages = super()._receive(queue, most, timeout)
            if queue == COMMANDS:
                taken.set()
                go_on.wait(LIMIT)
            return messages

    def serve():
        with pytest.raises(RuntimeError, match="does not answer"):
            next(channel.serve())

    with Slow.create(name) as channel:
        pending = channel.submit(ECHO, timeout=LIMIT)
        with threads(1, serve):
            taken.wait(LIMIT)
            channel.resign()
            go_on.set()
        with pytest.raises(semshare.PeerDied, match="answers no more"):
            pending.result()
        channel.unlink()


def test_each_command_is_given_out_once_however_many_look_for_cancels(channel):
    """Threads that serve and threads that ask whether a command was cancelled take from one queue."""
    number = 2000
    seen = Counter()
    over = threading.Event()

    def ask():
        with Channel.attach(channel.name) as asking:
            pending = []
            for i in range(number):
                pending.append(asking.submit(ECHO, b"%d" % i, timeout=LIMIT))
                if i % 7 == 0:
                    pending[-1].cancel()
            for i, each in enumerate(pending):
                with contextlib.suppress(semshare.Cancelled):
                    assert each.result() == b"%d" % i

    def serve():
        while not over.is_set():
            for command in channel.serve(timeout=0.01):
                seen[command.payload] += 1
                command.reply(command.payload)

    def look():
        while not over.is_set():
            assert not held.cancelled

    with Channel.attach(channel.name) as first:
        first.submit(ECHO)
        held = next(channel.serve())
    with threads(2, serve), threads(2, look):
        asking = Child(ask)
        try:
            assert asking.wait() == 0
        finally:
            over.set()
    assert set(seen.values()) == {1}
    assert set(seen) >= {b"%d" % i for i in range(number) if i % 7}
