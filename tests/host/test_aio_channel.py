# SPDX-License-Identifier: MIT
"""Channels in asyncio: without a thread, and what must not get lost on the way.

As in test_aio.py nobody looks again by himself, so that a wake-up that gets lost is a test that fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import signal
import threading
import time

import pytest
from effort import EFFORT
from processes import Child, Gate, wait_until
from semshare._abi import ffi

import semshare
from semshare import Channel, aio
from semshare.aio import watch
from semshare.channel import ANSWERS, COMMANDS, REPLIES

LIMIT = 20.0
"""Seconds after which a wake-up counts as lost."""
NEVER = 1000.0
ECHO, SIT, DIE = 1, 2, 3


@pytest.fixture(autouse=True)
def nobody_looks_again(monkeypatch):
    monkeypatch.setattr(watch, "RECHECK", NEVER)


@pytest.fixture(autouse=True)
def no_thread(monkeypatch):
    """Neither the loop's executor nor a thread of our own."""

    def refuse(*_: object) -> None:
        raise AssertionError("a thread is used")

    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", refuse)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture
def channel(name):
    with Channel.create(name, 16) as made, semshare.Area.attach(name) as area:
        yield made
        area.unlink()


def in_loop(test):
    """Run a test's coroutine, with a limit."""

    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(asyncio.wait_for(test(**fixtures), 6 * LIMIT))

    return run


def answer(name: str, gate: Gate | None = None) -> None:
    """A process that answers in asyncio."""

    async def serve() -> None:
        async with aio.Channel.attach(name) as channel:
            kept = []
            serving = channel.serve()
            channel.channel._become(ANSWERS, 0.0)
            if gate is not None:
                gate.open()
            async for command in serving:
                if command.opcode == SIT:
                    kept.append(command)
                elif command.opcode == DIE:
                    os.kill(os.getpid(), signal.SIGKILL)
                else:
                    command.reply(command.payload)

    asyncio.run(serve())


@pytest.fixture
def answering(channel):
    child = Child(answer, channel.name)
    wait_until(lambda: channel.state().session)
    yield child
    child.kill()


class Queue:
    """Words of the control page of one of a channel's queues.

    No cdata object stays over them: cffi crashes when one is part of a cycle that is collected, as a task's frame is.
    """

    def __init__(self, channel: Channel, number: int) -> None:
        self._buffer = channel.area.buffer
        self._start = 4096 + number * (channel.area.size - 4096) // 2

    def _place(self, name: str) -> tuple[slice, str]:
        kind = ffi.typeof("struct semshare_ring_control")
        field = dict(kind.fields)[name]
        start = self._start + field.offset
        return slice(start, start + ffi.sizeof(field.type)), {4: "I", 8: "Q"}[ffi.sizeof(field.type)]

    def __getitem__(self, name: str) -> int:
        place, format_ = self._place(name)
        with self._buffer[place].cast(format_) as word:
            return word[0]

    def __setitem__(self, name: str, value: int) -> None:
        place, format_ = self._place(name)
        with self._buffer[place].cast(format_) as word:
            word[0] = value


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def sent(channel: Channel, number: int) -> None:
    while channel.state().calls != number:
        await asyncio.sleep(0)


# --------------------------------------------------------------------------------------------------------- both sides


@in_loop
async def test_a_call_returns_the_reply(channel, answering):
    async with aio.Channel(channel) as asking:
        assert await asking.call(ECHO, b"hello") == b"hello"
        assert await asking.call(ECHO, timeout=None) == b""
        assert await asyncio.gather(*(asking.call(ECHO, b"%d" % i) for i in range(500))) == [
            b"%d" % i for i in range(500)
        ]
        assert channel.outstanding() == 0


@in_loop
async def test_one_object_asks_and_answers(channel):
    async with aio.Channel(channel) as both:

        async def one(command):
            await asyncio.sleep(random.uniform(0, 0.01))
            command.reply(command.payload)

        async def serve():
            tasks = []
            async for command in both.serve(timeout=LIMIT):
                tasks.append(asyncio.create_task(one(command)))
                if len(tasks) == 100:
                    break
            await asyncio.gather(*tasks)

        serving = asyncio.create_task(serve())
        replies = await asyncio.gather(*(both.call(ECHO, b"%d" % i) for i in range(100)))
        await serving
        assert replies == [b"%d" % i for i in range(100)]


@in_loop
async def test_serving_ends_when_its_time_is_over(channel):
    async with aio.Channel(channel) as answering:
        assert [command async for command in answering.serve(timeout=0.01)] == []
        assert [command async for command in answering.serve(timeout=0)] == []
        # One that was there already, and unknown opcodes.
        pending = [channel.submit(opcode) for opcode in (99, ECHO)]
        async for command in answering.serve(opcodes={ECHO}, timeout=0.01):
            command.reply(b"ok")
        with pytest.raises(semshare.UnknownOpcode):
            pending[0].result()
        assert pending[1].result() == b"ok"


@in_loop
async def test_other_tasks_run_beside_one_that_is_always_busy(channel, answering):
    async with aio.Channel(channel) as asking:
        count = 0

        async def tick() -> None:
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(tick())
        for _ in range(200):
            await asking.call(ECHO)
        other.cancel()
        assert count > 200


def test_one_loop_only(channel):
    answering = aio.Channel(channel)

    async def serve() -> None:
        async for _ in answering.serve(timeout=0.01):
            pass

    asyncio.run(serve())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(serve())


# ------------------------------------------------------------------------------------------------ deadlines, and ends


@in_loop
async def test_deadlines_come_although_nothing_rings(channel, answering):
    async with aio.Channel(channel) as asking:
        slow = asyncio.create_task(asking.call(SIT, timeout=0.3))
        with pytest.raises(semshare.Timeout, match="answers it"):
            await asking.call(SIT, timeout=0.02)
        for _ in range(5):
            assert await asking.call(ECHO, b"on") == b"on"
        with pytest.raises(semshare.Timeout):
            await slow
        assert channel.outstanding() == 2


@in_loop
async def test_who_waits_for_a_place_has_a_deadline_too(channel):
    async with aio.Channel(channel) as asking:
        tasks = [asyncio.create_task(asking.call(SIT, timeout=None)) for _ in range(channel.depth)]
        await turns(2)
        behind = [asyncio.create_task(asking.call(SIT, timeout=0.1)) for _ in range(3)]
        with pytest.raises(semshare.FullTimeout, match="nobody answers"):
            await asking.call(SIT, timeout=0.02)
        for task in behind:
            with pytest.raises(semshare.FullTimeout):
                await task
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@in_loop
async def test_the_death_of_who_answers_ends_the_wait(channel, monkeypatch):
    monkeypatch.setattr(watch, "RECHECK", 0.02)
    async with aio.Channel(channel) as asking:
        for _ in range(3):
            child = Child(answer, channel.name)
            with pytest.raises(semshare.PeerDied):
                await asking.call(DIE)
            child.wait()
        assert channel.outstanding() == 0


@in_loop
async def test_the_end_of_the_set_ends_the_wait(channel, monkeypatch):
    monkeypatch.setattr(watch, "RECHECK", 0.02)
    async with aio.Channel(channel) as both:
        serving = asyncio.create_task(both.serve().__anext__())
        await turns(2)
        # So many that some wait for a place.
        calls = [asyncio.create_task(both.call(SIT, timeout=None)) for _ in range(channel.depth + 5)]
        await turns(1)
        semshare.SemaphoreSet(semid=channel.semid).remove()
        for task in [serving, *calls]:
            with pytest.raises(semshare.Removed):
                await asyncio.wait_for(task, LIMIT)


@in_loop
async def test_close_ends_the_wait(name):
    both = aio.Channel.create(name, 4)
    calls = [asyncio.create_task(both.call(SIT, timeout=None)) for _ in range(7)]
    await turns(3)
    serving = [asyncio.create_task(both.serve().__anext__()) for _ in range(5)]
    await turns(3)
    taken = [task.result() for task in serving if task.done()]
    assert len(taken) == 4
    with Channel.attach(name) as other:
        both.close()
        other.unlink()
    for task in [*calls, *(task for task in serving if not task.done())]:
        with pytest.raises(ValueError, match="closed"):
            await asyncio.wait_for(task, LIMIT)
    with pytest.raises(ValueError, match="closed"):
        await both.call(ECHO)


@in_loop
async def test_who_is_told_that_the_channel_is_broken(channel):
    """The one who finds it out rings for the others, who wait."""
    async with aio.Channel(channel) as answering:
        serving = asyncio.create_task(answering.serve().__anext__())
        await asyncio.sleep(0.01)

        def scribble() -> None:
            with Channel.attach(channel.name) as other:
                Queue(other, COMMANDS)["tail"] = 1 << 60
                with contextlib.suppress(semshare.ChannelBroken):
                    other.call(ECHO)

        assert Child(scribble).wait() == 0
        with pytest.raises(semshare.ChannelBroken):
            await asyncio.wait_for(serving, LIMIT)


@in_loop
async def test_who_is_woken_by_nobody_looks_again(channel, monkeypatch):
    """One who is killed when it has taken the word and not rung yet."""
    monkeypatch.setattr(watch, "RECHECK", 0.05)
    async with aio.Channel(channel) as both:
        serving = asyncio.create_task(both.serve().__anext__())
        await asyncio.sleep(0.01)
        calling = asyncio.create_task(both.call(ECHO))
        await turns(1)
        command = await asyncio.wait_for(serving, LIMIT)
        await turns(3)
        assert Queue(channel, REPLIES)["bell_data"] == 1
        Queue(channel, REPLIES)["bell_data"] = 0
        command.reply(b"x")
        assert await asyncio.wait_for(calling, LIMIT) == b"x"


# ------------------------------------------------------------------------------------------------- taking over the role


@in_loop
async def test_standing_by(channel, answering):
    async with aio.Channel(channel) as asking:
        with pytest.raises(semshare.RoleTaken):
            await asking.serve().__anext__()
        with pytest.raises(semshare.RoleTaken):
            await asking.serve(standby=0.01).__anext__()
        next_one = asyncio.create_task(asking.serve(standby=None).__anext__())
        assert await asking.call(ECHO, b"first") == b"first"
        answering.kill()
        calling = asyncio.create_task(asking.call(ECHO, b"second"))
        (await asyncio.wait_for(next_one, LIMIT)).reply(b"next")
        assert await calling == b"next"


@in_loop
async def test_what_was_heard_by_who_resigned_is_for_the_next(channel):
    """A byte of the FIFO that both listen to, read by the one that does not answer any more."""
    commands = Queue(channel, COMMANDS)
    async with aio.Channel.attach(channel.name) as first, aio.Channel(channel) as asking:
        waiting = asyncio.create_task(first.serve().__anext__())
        await asyncio.sleep(0.01)
        # Not by the loop's object, which would stop to listen: it is to find out by what it hears.
        first.channel.resign()
        commands["bell_data"] = 0
        child = Child(answer, channel.name)
        while not commands["bell_data"]:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        child.signal(signal.SIGSTOP)
        calling = asyncio.create_task(asking.call(ECHO, b"x", timeout=LIMIT))
        with pytest.raises(RuntimeError, match="does not answer"):
            await asyncio.wait_for(waiting, LIMIT)
        child.signal(signal.SIGCONT)
        assert await calling == b"x"
        child.kill()


@in_loop
async def test_resigning_ends_the_wait(channel):
    async with aio.Channel(channel) as answering:
        serving = asyncio.create_task(answering.serve().__anext__())
        await turns(3)
        answering.resign()
        with pytest.raises(RuntimeError, match="does not answer"):
            await asyncio.wait_for(serving, LIMIT)
        with pytest.raises(StopAsyncIteration):
            await answering.serve(timeout=0.01).__anext__()


# --------------------------------------------------------------------------------------------------------- cancelling


@in_loop
async def test_an_iteration_that_is_cancelled_loses_no_command(channel):
    chance = random.Random(3)
    async with aio.Channel(channel) as answering:
        serving = answering.serve()
        for number in range(int(1000 * EFFORT) + 100):
            tasks = [asyncio.create_task(serving.__anext__()) for _ in range(3)]
            await turns(chance.randrange(3))
            pending = [channel.submit(ECHO, b"%d %d" % (number, i)) for i in range(chance.randrange(1, 4))]
            await turns(chance.randrange(4))
            for task in tasks:
                task.cancel()
            taken = await asyncio.gather(*tasks, return_exceptions=True)
            commands = [each for each in taken if isinstance(each, semshare.Command)]
            assert all(isinstance(each, asyncio.CancelledError) for each in taken if each not in commands)
            while len(commands) < len(pending):
                commands.append(await asyncio.wait_for(serving.__anext__(), LIMIT))
            for command in commands:
                command.reply(command.payload)
            del taken, tasks
            assert [each.result() for each in pending] == [b"%d %d" % (number, i) for i in range(len(pending))]
        assert channel.outstanding() == 0


@in_loop
async def test_a_wakeup_goes_on_to_the_next_when_its_task_is_cancelled(channel):
    async with aio.Channel(channel) as answering:
        for _ in range(50):
            first = asyncio.create_task(answering.serve().__anext__())
            second = asyncio.create_task(answering.serve().__anext__())
            await turns(1)
            pending = channel.submit(ECHO)
            while len(answering._answering._waiters) != 1:
                await turns(1)
            first.cancel()  # woken, and not run yet
            command = await asyncio.wait_for(second, LIMIT)
            command.reply(b"x")
            assert pending.result() == b"x"
            await asyncio.gather(first, return_exceptions=True)


@in_loop
async def test_calls_that_are_cancelled_leak_nothing(channel, answering):
    chance = random.Random(4)
    async with aio.Channel(channel) as asking:
        wrong = []

        async def ask(number: int) -> None:
            payload = b"%d" % number
            if await asking.call(ECHO, payload, timeout=LIMIT) != payload:
                wrong.append(number)

        running: list[asyncio.Task[None]] = []
        for number in range(int(3000 * EFFORT) + 300):
            running.append(asyncio.create_task(ask(number)))
            await turns(chance.randrange(3))
            if chance.random() < 0.1:
                await asyncio.sleep(0.001)
            while len(running) > chance.randrange(60):
                task = running.pop(chance.randrange(len(running)))
                if chance.random() < 0.8:
                    task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        # As many as ever can be outstanding.
        for _ in range(3):
            await asyncio.gather(*(ask(number) for number in range(2 * channel.depth)))
        assert not wrong
        assert channel.outstanding() == 0
        assert channel.state().unmatched == 0


@in_loop
async def test_calls_that_are_cancelled_and_taken_by_nobody_leave_their_places(channel):
    async with aio.Channel(channel) as asking:
        for _ in range(10):
            tasks = [asyncio.create_task(asking.call(SIT, timeout=None)) for _ in range(3 * channel.depth)]
            await turns(2)
            assert channel.outstanding() == channel.depth
            for task in random.sample(tasks, len(tasks)):
                task.cancel()
                await turns(random.randrange(3))
            await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(channel.depth):
            channel.submit(SIT, blocking=False)


@in_loop
async def test_who_has_taken_a_command_sees_that_its_task_was_cancelled(channel):
    async with aio.Channel(channel) as both:
        serving = both.serve()
        calling = asyncio.create_task(both.call(SIT))
        command = await serving.__anext__()
        assert not command.cancelled
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        assert command.cancelled
        command.reply(b"")
        assert not channel.submit(SIT).done()
        (await serving.__anext__()).reply(b"")


@in_loop
async def test_a_place_goes_on_to_the_next_when_its_task_is_cancelled(channel):
    async with aio.Channel(channel) as both:
        serving = both.serve()
        calls = [asyncio.create_task(both.call(ECHO, timeout=None)) for _ in range(channel.depth + 2)]
        await turns(2)
        (await serving.__anext__()).reply(b"0")
        waiting = both._asking._places
        assert len(waiting) == 2
        while len(waiting) == 2:
            await turns(1)
        assert calls[-2].cancel()  # woken, and not run yet
        await asyncio.wait_for(sent(channel, channel.depth + 1), LIMIT)
        for number in range(channel.depth):
            command = await asyncio.wait_for(serving.__anext__(), LIMIT)
            command.reply(b"%d" % (number + 1))
        assert await asyncio.wait_for(calls[-1], LIMIT) == b"%d" % channel.depth
        await asyncio.gather(*calls, return_exceptions=True)


# --------------------------------------------------------------------------------------------------- no wake-up is lost


@in_loop
async def test_no_wakeup_is_lost_one_at_a_time(channel, answering):
    """Each call finds both queues empty."""
    async with aio.Channel(channel) as asking:
        for number in range(int(20_000 * EFFORT) + 1000):
            payload = b"%d" % number
            assert await asking.call(ECHO, payload, timeout=LIMIT) == payload


@in_loop
async def test_no_wakeup_is_lost_by_many_tasks(channel, answering):
    """More than there are places, with pauses in which the queues run empty."""
    async with aio.Channel(channel) as asking:

        async def ask(seed: int) -> None:
            chance = random.Random(seed)
            for number in range(int(1000 * EFFORT) + 100):
                payload = b"%d %d" % (seed, number)
                assert await asking.call(ECHO, payload, timeout=LIMIT) == payload
                if chance.random() < 0.2:
                    await asyncio.sleep(chance.uniform(0, 0.002))

        await asyncio.gather(*(ask(seed) for seed in range(channel.depth + 8)))
        assert channel.outstanding() == 0


def test_no_wakeup_is_lost_where_threads_ask_too(channel, answering):
    """Whoever reads replies reads those of the others, and another has to go on reading."""
    each = int(1000 * EFFORT) + 200
    wrong = []

    def ask(seed: int) -> None:
        chance = random.Random(seed)
        for number in range(each):
            payload = b"%d %d" % (seed, number)
            if channel.call(ECHO, payload, timeout=LIMIT) != payload:
                wrong.append(payload)
            if chance.random() < 0.3:
                time.sleep(chance.uniform(0, 0.003))

    async def ask_in_loop() -> None:
        asking = aio.Channel(channel)

        async def one(seed: int) -> None:
            for number in range(each):
                payload = b"%d %d" % (seed, number)
                if await asking.call(ECHO, payload, timeout=LIMIT) != payload:
                    wrong.append(payload)

        await asyncio.gather(*(one(seed) for seed in range(3)))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in (7, 8)]
    for thread in threads:
        thread.start()
    asyncio.run(ask_in_loop())
    for thread in threads:
        thread.join()
    assert not wrong


@in_loop
async def test_a_thread_that_stops_reading_tells_the_loop(channel, answering):
    """The loop has heard of a reply, and left it to a thread that reads; which has read those before it."""
    async with aio.Channel(channel) as asking:
        channel._reading = True
        # At a deadline it would look once more.
        calling = asyncio.create_task(asking.call(ECHO, b"x", timeout=None))
        await turns(1)
        replies = Queue(channel, REPLIES)
        while replies["head"] == replies["tail"]:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert not calling.done()

        def stop() -> None:
            with channel._condition:
                channel._reading = False
                channel._changed()

        thread = threading.Thread(target=stop)
        thread.start()
        thread.join()
        assert await asyncio.wait_for(calling, LIMIT) == b"x"


@in_loop
async def test_a_thread_that_stops_taking_commands_tells_the_loop(channel):
    """As a worker does that looks whether its command was cancelled, while the loop was told of the next."""
    begun, go_on = threading.Event(), threading.Event()
    receive = channel._receive

    def slow(queue: int, most: int, timeout: float) -> object:
        messages = receive(queue, most, timeout)
        if threading.current_thread() is worker:
            begun.set()
            assert go_on.wait(LIMIT)
        return messages

    async with aio.Channel(channel) as answering:
        first = channel.submit(ECHO)
        serving = answering.serve()
        command = await serving.__anext__()
        waiting = asyncio.create_task(serving.__anext__())
        await turns(2)
        channel._receive = slow
        pending = channel.submit(ECHO)
        worker = threading.Thread(target=lambda: command.cancelled)
        worker.start()
        try:
            assert begun.wait(LIMIT)
            # The loop hears, and looks.
            await asyncio.sleep(0.01)
            assert not waiting.done()
        finally:
            go_on.set()
            worker.join()
            del channel._receive
        (await asyncio.wait_for(waiting, LIMIT)).reply(b"second")
        command.reply(b"first")
        assert (first.result(), pending.result()) == (b"first", b"second")


@in_loop
async def test_no_wakeup_is_lost_where_workers_look_for_cancels(channel):
    over = threading.Event()
    calls = int(1000 * EFFORT) + 200

    def ask() -> None:
        with Channel.attach(channel.name) as asking:
            for number in range(calls):
                assert asking.call(ECHO, b"%d" % number, timeout=LIMIT) == b"%d" % number

    def look() -> None:
        while not over.is_set():
            assert not held.cancelled

    async with aio.Channel(channel) as answering:
        with Channel.attach(channel.name) as first:
            first.submit(ECHO)
            serving = answering.serve()
            held = await serving.__anext__()
        child = Child(ask)
        workers = [threading.Thread(target=look) for _ in range(2)]
        for worker in workers:
            worker.start()
        try:
            for _ in range(calls):
                command = await asyncio.wait_for(serving.__anext__(), LIMIT)
                command.reply(command.payload)
        finally:
            over.set()
            for worker in workers:
                worker.join()
        assert child.wait() == 0


@in_loop
async def test_a_forked_child_that_closes_its_channel_leaves_its_parent_listening(channel):
    async with aio.Channel(channel) as answering:
        waiting = asyncio.create_task(answering.serve().__anext__())
        await turns(2)
        assert Child(channel.close).wait() == 0
        with Channel.attach(channel.name) as asking:
            pending = asking.submit(ECHO)
            (await asyncio.wait_for(waiting, LIMIT)).reply(b"x")
            assert pending.result() == b"x"


@in_loop
async def test_the_loop_goes_on_while_a_thread_stands_by(channel, answering):
    commands = []
    async with aio.Channel(channel) as standing:
        thread = threading.Thread(target=lambda: commands.append(next(channel.serve(standby=None))))
        thread.start()
        await asyncio.sleep(0.05)
        with pytest.raises(semshare.RoleTaken):
            await asyncio.wait_for(standing.serve(standby=0.05).__anext__(), LIMIT)
        answering.kill()
        pending = channel.submit(ECHO)
        while not commands:
            await asyncio.sleep(0.001)
        thread.join()
        commands.pop().reply(b"x")
        assert pending.result() == b"x"


@in_loop
async def test_who_is_awake_is_not_woken(channel, answering):
    """The bell is rung once for a wait, whatever comes meanwhile."""
    async with aio.Channel(channel) as asking:
        heard = []
        rung = asking._asking.rung
        asking._asking.rung = lambda: heard.append(None) or rung()
        calls = 200 * channel.depth
        await asyncio.gather(*(asking.call(ECHO) for _ in range(calls)))
        assert 0 < len(heard) < calls / 2
