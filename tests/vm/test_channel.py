# SPDX-License-Identifier: MIT
"""Channels between kernel code and processes: the kernel asks and Python answers, and the other way."""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import random
import signal
import struct
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from abi import Child, eventually, insmod, loaded, read_parameter, rmmod, unshare_ipc
from click.testing import CliRunner
from effort import scaled
from hostile import Poller, Scribbler, scribbling, takes_its_time, told
from kernel import KernelLog
from pace import SLACK
from semshare._abi import ffi, lib

import semshare
from semshare import Channel, aio
from semshare.aio import watch
from semshare.cli import ls

OPEN = struct.Struct("=iIIIII")
CALL = struct.Struct("=IIqq960s")
FLOOD = struct.Struct("=IIIIq8I")
STATE = struct.Struct("=10Q")
ASKS, ANSWERS = 1, 2
ECHO, HOLD, RELEASE, FAIL = 1, 2, 3, 4
UNKNOWN = 99
COUNTS = "good", "wrong", "timeouts", "deaths", "cancels", "unknown", "refused", "others"
STATISTICS = (
    "calls",
    "replies",
    "timeouts",
    "cancels",
    "deaths",
    "unmatched",
    "malformed",
    "refused",
    "dropped",
    "outstanding",
)


@pytest.fixture(autouse=True, scope="module")
def test_module():
    insmod("semshare_channel_test")
    yield
    eventually(lambda: _removed("semshare_channel_test"))


def _removed(name):
    with contextlib.suppress(OSError):
        rmmod(name)
    return not loaded(name)


class Kernel:
    """The kernel's side of a channel: it asks as it is told, or answers by itself."""

    def __init__(self, channel, role, depth=0, max_payload=0):
        self.fd = os.open("/dev/semshare-channel-test", os.O_RDWR | os.O_CLOEXEC)
        try:
            area = channel.area if isinstance(channel, Channel) else channel
            self._ioctl("OPEN", OPEN.pack(area.fileno(), role, depth, max_payload, 0o600, 0))
        except BaseException:
            self.close()
            raise

    def _ioctl(self, name, buffer):
        return fcntl.ioctl(self.fd, getattr(lib, f"SEMSHARE_CHANNEL_TEST_IOC_{name}"), buffer)

    def call(self, opcode, payload=b"", timeout=SLACK, by="CALL"):
        """The reply, or minus an errno; by="STOP": of a kernel thread that is told to stop while it waits."""
        words = bytearray(CALL.pack(opcode, len(payload), int(timeout * 1000), 0, payload))
        self._ioctl(by, words)
        _, _, _, result, data = CALL.unpack(words)
        return data[:result] if result >= 0 else result

    def flood(self, count, opcode=ECHO, timeout=SLACK, cancel_every=0, preempt_off=0):
        buffer = bytearray(FLOOD.pack(opcode, count, cancel_every, preempt_off, int(timeout * 1000), *[0] * 8))
        self._ioctl("FLOOD", buffer)
        return dict(zip(COUNTS, FLOOD.unpack(buffer)[5:]))

    def state(self):
        return dict(zip(STATISTICS, STATE.unpack(self._ioctl("STATE", bytes(STATE.size)))))

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def channel(name):
    with Channel.create(name, 64, backend="module") as made:
        yield made


def echo(name, shuffled=False, stop_after=None):
    """A process that answers."""
    with Channel.attach(name) as channel:
        held = []
        for number, command in enumerate(channel.serve(opcodes={ECHO, HOLD})):
            if shuffled:
                held.append(command)
                if len(held) >= 16 or not channel.state().calls > channel.state().replies + len(held):
                    random.shuffle(held)
                    while held:
                        each = held.pop()
                        each.reply(each.payload)
            else:
                command.reply(command.payload)
            if number == stop_after:
                return


@pytest.fixture
def answering(channel):
    child = Child(lambda: echo(channel.name))
    eventually(lambda: channel.state().session == 1)
    yield child
    child.kill()


# ---------------------------------------------------------------------------------------------------- the kernel asks


def test_the_kernel_asks_and_python_answers(channel, answering):
    with Kernel(channel, ASKS) as kernel:
        assert kernel.call(ECHO, b"who is there?") == b"who is there?"
        assert kernel.call(ECHO) == b""
        assert kernel.call(ECHO, bytes(960)) == bytes(960)
        assert kernel.state()["replies"] == 3
        assert channel.state().asks == 0


def test_an_unknown_opcode_is_an_error_and_no_stall(channel, answering):
    with Kernel(channel, ASKS) as kernel:
        assert kernel.call(UNKNOWN) == -errno.EOPNOTSUPP
        assert kernel.call(ECHO, b"on") == b"on"


def test_what_python_says_is_wrong_is_the_errno_that_the_kernel_gets(channel):
    def fail():
        with Channel.attach(channel.name) as mine:
            for command in mine.serve():
                command.fail(errno.EPERM, "no")

    child = Child(fail)
    with Kernel(channel, ASKS) as kernel:
        assert kernel.call(ECHO) == -errno.EPERM
    child.kill()


@pytest.mark.parametrize("preempt_off", [0, 1])
def test_thousands_of_commands_from_the_kernel_outstanding_and_answered_in_any_order(name, preempt_off):
    count = scaled(10_000, 1000)
    with Channel.create(name, 4096, max_payload=64, backend="module") as channel:
        child = Child(lambda: echo(name, shuffled=True))
        try:
            with Kernel(channel, ASKS) as kernel:
                counted = kernel.flood(count, timeout=6 * SLACK, preempt_off=preempt_off)
                assert counted == {**dict.fromkeys(COUNTS, 0), "good": count}
                # A place is given back after its end was told.
                eventually(lambda: kernel.state()["outstanding"] == 0)
        finally:
            child.kill()


def test_deadlines_end_what_nobody_answers_and_the_places_come_back(channel):
    with Kernel(channel, ASKS) as kernel:
        began = time.monotonic()
        assert kernel.call(ECHO, timeout=0.2) == -errno.ETIMEDOUT
        assert time.monotonic() - began >= 0.2
        # More than there are places, and nobody takes them.
        counted = kernel.flood(64 * 3, timeout=0.05)
        assert counted["timeouts"] + counted["refused"] == 64 * 3 and counted["refused"] == 0
        child = Child(lambda: echo(channel.name))
        try:
            assert kernel.call(ECHO, b"now") == b"now"
            eventually(lambda: kernel.state()["outstanding"] == 0)
        finally:
            child.kill()


def test_what_the_kernel_cancels_ends_so_and_its_reply_is_dropped(channel, answering):
    with Kernel(channel, ASKS) as kernel:
        counted = kernel.flood(1000, cancel_every=3)
        assert counted["good"] + counted["cancels"] == 1000 and counted["cancels"] <= 334
        assert kernel.call(ECHO, b"on") == b"on"
        eventually(lambda: kernel.state()["outstanding"] == 0)


def test_who_looks_sees_what_became_of_what_the_kernel_asked(channel):
    def seen():
        told, found = kernel.state(), channel.state()
        return all(told[key] == getattr(found, key) for key in ("outstanding", "timeouts", "cancels", "deaths"))

    def sit():
        with Channel.attach(channel.name) as mine:
            assert list(mine.serve(timeout=6 * SLACK))

    with Kernel(channel, ASKS) as kernel:
        # What nobody takes is withdrawn, and outstanding no more.
        assert kernel.flood(20, timeout=0.05)["timeouts"] == 20
        eventually(lambda: kernel.state()["outstanding"] == 0 and seen())
        assert channel.state().timeouts == 20
        # What was taken is.
        calls = channel.state().calls
        child = Child(sit)
        eventually(lambda: channel.state().session == 1)
        threads = [threading.Thread(target=kernel.call, args=(ECHO, b"", 6 * SLACK)) for _ in range(3)]
        for each in threads:
            each.start()
        eventually(lambda: channel.state().calls == calls + 3 and not untaken(channel))
        assert kernel.call(ECHO, by="STOP") == -errno.EINTR
        assert seen() and (channel.state().outstanding, channel.state().cancels) == (4, 1)
        listed = json.loads(semshare_ls("--json"))
        found = next(each for each in listed["areas"] if each["name"] == channel.name)["channel"]
        assert found["asks"]["kind"] == "kernel"
        assert (found["outstanding"], found["timeouts"], found["cancels"]) == (4, 20, 1)
        row = next(line for line in semshare_ls().splitlines() if f"pid {child.pid}" in line)
        assert "4 of 64" in row and "20 timed out, 1 cancelled" in row and len(row.rstrip()) <= 120
        child.kill()
        for each in threads:
            each.join()
        eventually(lambda: channel.state().outstanding == 0 and seen())
        assert channel.state().deaths == 3


def semshare_ls(*arguments):
    return CliRunner().invoke(ls.command, arguments, catch_exceptions=False).output


def test_a_call_that_a_signal_interrupts_is_cancelled(channel):
    def call():
        with Kernel(channel, ASKS) as kernel:
            assert kernel.call(ECHO, timeout=SLACK) == -errno.EINTR

    child = Child(call)
    eventually(lambda: channel.state().calls == 1)
    child.kill()  # a hang would be found by the next: the role is free only once the call has ended
    eventually(lambda: _asks_and_leaves(channel))


def _asks_and_leaves(channel):
    with contextlib.suppress(OSError), Kernel(channel, ASKS):
        return True
    return False


def test_a_call_of_a_thread_that_is_told_to_stop_is_cancelled(channel):
    with Kernel(channel, ASKS) as kernel:
        assert kernel.call(ECHO, b"nobody answers", by="STOP") == -errno.EINTR
        assert kernel.state()["cancels"] == 1
        # Also while it waits for a place.
        pid = os.fork()
        if pid == 0:
            kernel.flood(64, timeout=3)
            os._exit(0)
        try:
            eventually(lambda: kernel.state()["outstanding"] == 64)
            assert kernel.call(ECHO, by="STOP") == -errno.EINTR
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_commands_that_a_killed_process_had_taken_fail_and_the_next_takes_over(channel):
    def take_and_hold():
        with Channel.attach(channel.name) as mine:
            held = []
            for command in mine.serve():
                held.append(command)

    results = {}
    with Kernel(channel, ASKS) as kernel:
        child = Child(take_and_hold)
        threads = [
            threading.Thread(target=lambda i=i: results.update({i: kernel.call(ECHO, b"%d" % i, SLACK)}))
            for i in range(10)
        ]
        for each in threads:
            each.start()
        eventually(lambda: channel.state().calls == 10)

        # Whoever succeeds it waits for the role already.
        def succeed():
            with Channel.attach(channel.name) as mine:
                for command in mine.serve(standby=None):
                    command.reply(command.payload)

        successor = Child(succeed)
        eventually(lambda: len(untaken(channel)) == 0)
        child.kill()
        for each in threads:
            each.join()
        assert set(results.values()) == {-errno.ECONNRESET}
        assert kernel.state()["deaths"] == channel.state().deaths == 10
        assert kernel.call(ECHO, b"again") == b"again"
        assert kernel.flood(200)["good"] == 200
        successor.kill()


def untaken(channel):
    """The bytes of commands that nobody has taken yet."""
    control = ffi.cast("struct semshare_ring_control *", ffi.from_buffer(channel.area.buffer[4096:8192]))
    return bytes(control.tail - control.head)


def test_a_successor_gets_what_its_predecessor_had_not_taken(channel):
    results = []
    with Kernel(channel, ASKS) as kernel:
        thread = threading.Thread(target=lambda: results.append(kernel.flood(50)))
        thread.start()
        eventually(lambda: channel.state().calls == 50)
        child = Child(lambda: echo(channel.name, stop_after=9))
        child.wait()
        child = Child(lambda: echo(channel.name))
        thread.join()
        child.kill()
    assert results[0]["good"] == 50


def test_processes_that_answer_are_killed_again_and_again(channel):
    rounds = scaled(40, 5)
    with Kernel(channel, ASKS) as kernel:
        results = []
        thread = threading.Thread(target=lambda: results.append(kernel.flood(100 * rounds, timeout=6 * SLACK)))
        thread.start()
        while thread.is_alive():
            child = Child(lambda: echo(channel.name))
            # At a random point of its work, however slow the machine is; or before it has begun.
            goal = channel.state().replies + random.randrange(100)
            eventually(lambda goal=goal: channel.state().replies >= goal or not thread.is_alive())
            child.kill()
        counted = results[0]
        assert counted["good"] + counted["deaths"] + counted["timeouts"] == 100 * rounds, counted
        assert counted["wrong"] == 0 and counted["good"] > 0
        child = Child(lambda: echo(channel.name))
        assert kernel.call(ECHO, b"still") == b"still"
        child.kill()


def put_garbage(channel, queue, kind, number, payload=b"", status=0):
    """A message that no honest party would send."""
    channel._send(queue, kind, number, 0, 0, 0, status, payload)


def test_replies_that_nobody_waits_for_are_counted_and_dropped(channel):
    with Kernel(channel, ASKS) as kernel:
        for number in range(500):
            kinds = [lib.SEMSHARE_CHANNEL_REPLY, lib.SEMSHARE_CHANNEL_COMMAND, 77]
            put_garbage(channel, lib.SEMSHARE_CHANNEL_REPLIES, random.choice(kinds), random.getrandbits(64), b"garbage")
            put_garbage(channel, lib.SEMSHARE_CHANNEL_REPLIES, lib.SEMSHARE_CHANNEL_REPLY, number % 64)
        child = Child(lambda: echo(channel.name))
        try:
            assert kernel.call(ECHO, b"on") == b"on"
            assert kernel.state()["unmatched"] > 0
            assert channel.state().unmatched >= kernel.state()["unmatched"]
            assert kernel.flood(300)["good"] == 300
        finally:
            child.kill()


def test_only_one_asks_and_one_answers(channel, answering):
    with Kernel(channel, ASKS) as kernel:
        with pytest.raises(OSError) as raised:
            Kernel(channel, ASKS)
        assert raised.value.errno == errno.EALREADY
        with pytest.raises(OSError) as raised:
            Kernel(channel, ANSWERS)
        assert raised.value.errno == errno.EALREADY
        with pytest.raises(semshare.RoleTaken, match="kernel code asks already"):
            channel.call(ECHO)
        assert kernel.call(ECHO, b"on") == b"on"
    assert channel.call(ECHO, b"mine now") == b"mine now"


def test_an_end_with_commands_pending_tells_them_all(channel):
    results = []
    kernel = Kernel(channel, ASKS)
    thread = threading.Thread(target=lambda: results.append(kernel.flood(40, timeout=SLACK)))
    thread.start()
    eventually(lambda: channel.state().calls == 40)
    # The file is in use by the ioctl; what ends them is that the channel does.
    with Channel.attach(channel.name) as mine:
        semshare.SemaphoreSet(semid=mine.semid).remove()
    thread.join(SLACK)
    assert not thread.is_alive()
    assert results[0]["others"] == 40
    kernel.close()


# ----------------------------------------------------------------------------------------------- Python asks the kernel


def test_python_asks_and_the_kernel_answers(channel):
    with Kernel(channel, ANSWERS) as kernel:
        assert channel.call(ECHO, b"hello") == b"hello"
        assert channel.call(ECHO, bytes(960)) == bytes(960)
        assert channel.state().answers == 0
        pending = [channel.submit(ECHO, b"%d" % i, cookie=i) for i in range(300)]
        assert [(each.cookie, each.result()) for each in pending] == [(i, b"%d" % i) for i in range(300)]
        eventually(lambda: kernel.state()["outstanding"] <= 1)


def test_the_kernel_refuses_what_it_does_not_know(channel):
    with Kernel(channel, ANSWERS):
        with pytest.raises(semshare.UnknownOpcode):
            channel.call(UNKNOWN)
        with pytest.raises(semshare.Malformed):
            channel.call(FAIL, b"seven..")
        with pytest.raises(semshare.CommandFailed, match="as was asked for") as raised:
            channel.call(FAIL, b"eight...")
        assert raised.value.errno == errno.EIO
        assert channel.call(ECHO, b"on") == b"on"


def test_malformed_commands_do_not_stall_the_kernel(channel):
    with Kernel(channel, ANSWERS) as kernel:
        assert channel.call(ECHO, b"first") == b"first"  # who comes to ask takes away what lies there
        for _ in range(100):
            put_garbage(channel, lib.SEMSHARE_CHANNEL_COMMANDS, random.randrange(2, 99), random.getrandbits(64))
        assert channel.call(ECHO, b"on") == b"on"
        assert kernel.state()["refused"] > 0


def test_the_kernel_answers_out_of_order(channel):
    with Kernel(channel, ANSWERS):
        held = [channel.submit(HOLD, b"%d" % i) for i in range(10)]
        order = []
        for each in held:
            each.add_done_callback(order.append)
        assert channel.call(RELEASE) == b""
        assert [each.result() for each in held] == [b"%d" % i for i in range(10)]
        assert order == held[::-1]


def test_deadlines_and_cancels_of_python_at_the_kernel(channel):
    with Kernel(channel, ANSWERS) as kernel:
        late = channel.submit(HOLD, timeout=0.1)
        with pytest.raises(semshare.Timeout, match="kernel code answers it"):
            late.result()
        gone = channel.submit(HOLD)
        eventually(lambda: not untaken(channel))
        assert gone.cancel() and not gone.cancel()
        with pytest.raises(semshare.Cancelled):
            gone.result()
        assert channel.call(RELEASE) == b""
        channel.call(ECHO)
        assert channel.outstanding() == 0
        eventually(lambda: kernel.state()["outstanding"] <= 1)


def statuses(channel):
    """Of all replies so far, as they stand in their queue, which has not been round yet."""
    buffer = ffi.from_buffer(channel.area.buffer)
    capacity = ffi.cast("struct semshare_channel_control *", buffer).capacity
    queue = buffer + 4096 + 4096 + capacity
    tail, at, found = ffi.cast("struct semshare_ring_control *", queue).tail, 0, []
    while at < tail:
        record = ffi.cast("struct semshare_record *", queue + 4096 + at)
        found.append(ffi.cast("struct semshare_channel_message *", record + 1).status)
        at += lib.semshare_ring_footprint(record.size)
    return found


def test_the_kernel_is_told_which_command_was_given_up(channel):
    with Kernel(channel, ANSWERS):
        held = [channel.submit(HOLD, bytes([number])) for number in range(5)]
        eventually(lambda: not untaken(channel))
        assert held[3].cancel()
        assert channel.call(RELEASE) == b""
        assert [each.result() for each in held if each is not held[3]] == [b"\0", b"\1", b"\2", b"\4"]
        # It answers the last first.
        assert statuses(channel) == [0, -errno.ECANCELED, 0, 0, 0, 0]


def test_the_kernel_leaves_with_commands_unanswered(channel):
    with Kernel(channel, ANSWERS):
        held = [channel.submit(HOLD) for _ in range(20)]
        eventually(lambda: not untaken(channel))
    for each in held:
        with pytest.raises(semshare.PeerDied):
            each.result()
    assert channel.outstanding() == 0


def test_a_process_that_asks_is_killed_and_the_kernel_answers_the_next(channel):
    def ask():
        with Channel.attach(channel.name) as mine:
            while True:
                for _ in range(20):
                    mine.submit(ECHO, b"x" * 100)
                mine.submit(HOLD)
                mine.call(RELEASE)

    with Kernel(channel, ANSWERS):
        for _ in range(scaled(20, 3)):
            child = Child(ask)
            time.sleep(random.uniform(0.05, 0.3))
            child.kill()
        assert channel.call(ECHO, b"on") == b"on"


# ------------------------------------------------------------------------------------------------------------ asyncio


@pytest.fixture
def no_thread_and_no_second_look(monkeypatch):
    """A wake-up that is lost is a test that fails."""

    def refuse(*_):
        raise AssertionError("a thread is used")

    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", refuse)
    monkeypatch.setattr(watch, "RECHECK", 1000.0)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


alone_and_told = pytest.mark.usefixtures("no_thread_and_no_second_look")


@alone_and_told
def test_asyncio_asks_the_kernel_and_no_wakeup_is_lost(channel):
    """By one task each call finds both queues empty; many are more than there are places."""

    async def ask():
        async with aio.Channel(channel) as asking:
            for i in range(scaled(3000, 300)):
                assert await asking.call(ECHO, b"%d" % i, timeout=SLACK) == b"%d" % i
            many = range(scaled(3000, 300))
            replies = await asyncio.gather(*(asking.call(ECHO, b"%d" % i, timeout=6 * SLACK) for i in many))
            assert replies == [b"%d" % i for i in many]
            with pytest.raises(semshare.Timeout):
                await asking.call(HOLD, timeout=0.05)
            with pytest.raises(semshare.UnknownOpcode):
                await asking.call(UNKNOWN)

    with Kernel(channel, ANSWERS):
        asyncio.run(ask())


@alone_and_told
def test_asyncio_cancels_at_random_and_leaks_nothing_in_the_kernel(channel):
    pick = random.Random(5)

    async def one(asking, number):
        payload = b"%d" % number
        assert await asking.call(ECHO, payload, timeout=SLACK) == payload

    async def ask():
        async with aio.Channel(channel) as asking:
            for number in range(scaled(300, 30)):
                tasks = [asyncio.create_task(one(asking, number)) for _ in range(pick.randrange(1, 90))]
                await asyncio.sleep(pick.choice([0, 0, 0.001, 0.01]))
                for task in tasks:
                    if pick.random() < 0.8:
                        task.cancel()
                    if pick.random() < 0.1:
                        await asyncio.sleep(0)
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    assert result is None or isinstance(result, asyncio.CancelledError), result
            await asyncio.gather(*(one(asking, number) for number in range(3 * channel.depth)))
            assert channel.outstanding() == 0

    with Kernel(channel, ANSWERS) as kernel:
        asyncio.run(ask())
        eventually(lambda: kernel.state()["outstanding"] <= 1)


async def answer_and_cancel(name):
    """Iterations are cancelled now and then, and begun again: no command is to be lost by that."""
    pick = random.Random(6)
    async with aio.Channel.attach(name) as answering:
        serving = answering.serve(opcodes={ECHO})
        while True:
            tasks = [asyncio.create_task(serving.__anext__()) for _ in range(pick.randrange(1, 4))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for _ in range(pick.randrange(3)):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(result, asyncio.CancelledError):
                    result.reply(result.payload)


@alone_and_told
def test_asyncio_answers_the_kernel_and_no_wakeup_is_lost(channel):
    child = Child(lambda: asyncio.run(answer_and_cancel(channel.name)))
    try:
        eventually(lambda: channel.state().session == 1)
        with Kernel(channel, ASKS) as kernel:
            for i in range(scaled(3000, 300)):
                assert kernel.call(ECHO, b"%d" % i) == b"%d" % i
            count = scaled(10_000, 1000)
            assert kernel.flood(count, timeout=6 * SLACK) == {**dict.fromkeys(COUNTS, 0), "good": count}
            assert kernel.call(UNKNOWN) == -errno.EOPNOTSUPP
            eventually(lambda: kernel.state()["outstanding"] == 0)
    finally:
        child.kill()


@alone_and_told
def test_asyncio_is_told_that_the_kernel_found_the_channel_broken(channel):
    async def answer():
        async with aio.Channel.attach(channel.name) as answering:
            with pytest.raises(semshare.ChannelBroken):
                await answering.serve().__anext__()

    with KernelLog() as log, Kernel(channel, ASKS) as kernel:
        child = Child(lambda: asyncio.run(answer()))
        eventually(lambda: channel.state().session == 1)
        time.sleep(0.2)
        control = ffi.from_buffer("struct semshare_ring_control *", channel.area.buffer[4096:8192])
        control.tail = 1 << 60
        assert kernel.call(ECHO) == -errno.EPROTO
        child.wait()
        assert any("its channel is broken" in line for line in log.read())


# ----------------------------------------------------------------------------------------------------- hostile users


@takes_its_time
@pytest.mark.parametrize("role", [ASKS, ANSWERS])
def test_a_scribbler_over_the_whole_area_harms_nobody_but_the_channel(names, role):
    """Every word of the area, at random and with values that hurt, while both sides are at work."""
    deadline = time.monotonic() + scribbling()
    rounds = words = 0
    counts = Counter()
    with KernelLog():
        while time.monotonic() < deadline:
            rounds += 1
            name = names()
            made = Channel.create(name, 16, max_payload=200, backend="module")
            with made as channel, Kernel(channel, role) as kernel:
                peer = Child(peer_of, name, role)
                with Scribbler(scribble, name) as scribbler, Poller(name, random.random()) as poller:
                    until = time.monotonic() + 1.0
                    while time.monotonic() < until:
                        if role == ASKS:
                            kernel.flood(10, timeout=0.05)
                        else:
                            time.sleep(0.1)
                        kernel.state()
                    counts.update(poller.stop())
                    words += scribbler.stop()
                peer.kill()
                counts.update({f"kernel {what}": count for what, count in kernel.state().items()})
                channel.unlink()
    print(f"{rounds} rounds, {words} words written, {told(counts)}")
    assert rounds and words
    # And others are well.
    with Channel.create(names(), 16, backend="module") as channel, Kernel(channel, ANSWERS):
        assert channel.call(ECHO, b"untouched") == b"untouched"


def peer_of(name, role):
    with contextlib.suppress(OSError, ValueError), Channel.attach(name) as channel:
        while True:
            with contextlib.suppress(semshare.Timeout, semshare.PeerDied, semshare.CommandFailed):
                if role == ASKS:
                    for command in channel.serve():
                        command.reply(command.payload)
                else:
                    channel.call(ECHO, b"x", timeout=0.2)


def scribble(name):
    area = semshare.Area(name)
    words = area.buffer.cast("B").cast("Q")
    queue = 8192 + Channel.attach(name).area.size // 2
    places = [*range(512), *range(512, 600), *range(queue // 8 - 512, queue // 8)]
    values = [0, 1, 2, 31, 32, 33, 4096, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
    pick = random.Random(os.getpid())
    time.sleep(0.2)

    def write():
        place = pick.choice(places) if pick.random() < 0.3 else pick.randrange(len(words))
        chance = pick.random()
        if chance < 0.4:
            words[place] = pick.choice(values)
        elif chance < 0.7:
            words[place] = (words[place] + pick.choice([-32, 32, 64, -1, 1])) % 2**64
        else:
            words[place] = pick.getrandbits(64)
        if pick.random() < 0.5:
            time.sleep(0.0005)
        return 1

    return write


# ------------------------------------------------------------------------------------------------------- the sample


def judge(name, verdicts):
    with Channel.attach(name) as channel:
        for command in channel.serve(opcodes={lib.SEMSHARE_VERDICT_PROGRAM_START}):
            path = command.payload[48:]
            command.reply(struct.pack("=I", verdicts.get(path, lib.SEMSHARE_VERDICT_ALLOW)))


def test_verdicts_on_program_starts():
    insmod("semshare_verdict", "timeout_ms=10000")
    try:
        child = Child(lambda: judge("verdict", {b"/bin/false": lib.SEMSHARE_VERDICT_DENY}))
        with Channel.attach("verdict") as channel:
            eventually(lambda: channel.state().session)
        before = {each: read_parameter(each, "semshare_verdict") for each in ("allowed", "denied", "defaulted")}
        with KernelLog() as log:
            pids = [Child(lambda: os.execv("/bin/sleep", ["sleep", "0"])) for _ in range(5)]
            denied = Child(lambda: os.execv("/bin/false", ["false"]))
            pid = denied.pid
            for each in pids:
                each.wait()
            eventually(lambda: read_parameter("denied", "semshare_verdict") == before["denied"] + 1)
            eventually(lambda: read_parameter("allowed", "semshare_verdict") >= before["allowed"] + 5)
            assert read_parameter("defaulted", "semshare_verdict") == before["defaulted"]
            eventually(lambda: any(f"pid {pid}: denied" in line for line in log.read()))
        denied.kill()
        child.kill()
        # Nobody judges: the default, after the time limit.
        Path("/sys/module/semshare_verdict/parameters/timeout_ms").write_text("50")
        Child(lambda: os.execv("/bin/sleep", ["sleep", "0"])).wait()
        eventually(lambda: read_parameter("defaulted", "semshare_verdict") > before["defaulted"])
        # And it goes with verdicts outstanding.
        Path("/sys/module/semshare_verdict/parameters/timeout_ms").write_text("100000")
        Child(lambda: os.execv("/bin/sleep", ["sleep", "0"])).wait()
    finally:
        rmmod("semshare_verdict")
    assert not loaded("semshare_verdict")


def test_the_first_lie_is_what_all_are_told(channel):
    """In the log, in the control page, and in the exception."""
    reason = "its cursors or records make no sense"
    with KernelLog() as log, Kernel(channel, ANSWERS):
        assert channel.call(ECHO, b"x") == b"x"
        words = channel.area.buffer[4096:8192].cast("Q")
        words[128 // 8] += 1  # the head of the commands, which the kernel reads
        eventually(lambda: channel.state().broken == reason)
        words.release()
        assert any(reason in line for line in log.read())
    with pytest.raises(semshare.ChannelBroken, match=reason):
        channel.call(ECHO)


def test_in_a_namespace_of_its_own():
    def inside():
        unshare_ipc()
        with Channel.create("there", 8, backend="module") as channel, Kernel(channel, ANSWERS):
            assert channel.call(ECHO, b"here") == b"here"

    Child(inside).wait()


def test_the_kernel_makes_a_channel(name):
    params = ffi.new("struct semshare_channel_params *", (32, 500))
    area = semshare.Area(name, lib.semshare_channel_size(params), backend="module")
    with area, Kernel(area, ANSWERS, 32, 500), Channel.attach(name) as channel:
        assert (channel.depth, channel.max_payload) == (32, 500)
        assert channel.call(ECHO, b"made") == b"made"
