# SPDX-License-Identifier: MIT
"""SIGKILL at random moments, with kernel threads at work in the same ring: nothing is lost, torn or stuck."""

from __future__ import annotations

import os
import random
import signal
import struct
import time
from collections import defaultdict

import pytest
from effort import scaled

from semshare import Ring
from semshare.demo import record
from semshare.demo.kernel import KernelThreads

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/semshare-demo"), reason="semshare_demo is not loaded")

LONGEST = 200
KERNEL_THREADS = 2
FIRST_PROCESS = 100
BATCH = 8
KILLS = scaled(200, least=40)
REPORT = struct.Struct("@II")


def fork(function, *arguments) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
        finally:
            os._exit(1)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def produce(ring: Ring, producer: int) -> None:
    """Put records until killed, now one by one and now several at once."""
    writer = record.Writer(producer, LONGEST)
    sequence = 0
    while True:
        if sequence % 3:
            ring.put(writer.payload(sequence))
            sequence += 1
        else:
            ring.put_many([writer.payload(number) for number in range(sequence, sequence + BATCH)])
            sequence += BATCH


def consume(ring: Ring, report: int) -> None:
    """Take records until killed, and say which on a pipe, whose writes are whole."""
    while True:
        said = b""
        for payload in ring.get_many(BATCH):
            producer, sequence, whole = record.read(payload)
            said += REPORT.pack(producer, sequence if whole else 0xFFFFFFFF)
        os.write(report, said)


def test_producers_killed_beside_kernel_threads_lose_nothing(name):
    """Each producer's records arrive as 0, 1, 2, … to where it was killed, and the kernel's to where it stopped."""
    with Ring.create(name, 1 << 15) as ring:
        threads = KernelThreads(ring.area.fileno())
        expected: dict[int, int] = defaultdict(int)
        producers = {}
        try:
            threads.put_records(KERNEL_THREADS, 0, LONGEST, 0, unlocked=False)
            number = FIRST_PROCESS
            chooser = random.Random(1)
            kills = 0
            next_kill = 0.0
            while kills < KILLS:
                while len(producers) < 3:
                    producers[number] = fork(produce, ring, number)
                    number += 1
                for payload in ring.get_many(64, timeout=20):
                    producer, sequence, whole = record.read(payload)
                    assert whole, f"torn: a record of {len(payload)} bytes of producer {producer}"
                    assert sequence == expected[producer], f"producer {producer}"
                    expected[producer] += 1
                if time.monotonic() > next_kill:
                    kill(producers.pop(chooser.choice(list(producers))))
                    kills += 1
                    next_kill = time.monotonic() + chooser.random() * 0.03
        finally:
            for pid in producers.values():
                kill(pid)
            threads.stop()
        status = threads.status()
        threads.close()
        while ring.used:
            for payload in ring.get_many(64, timeout=20):
                producer, sequence, whole = record.read(payload)
                assert whole
                assert sequence == expected[producer], f"producer {producer}"
                expected[producer] += 1
        assert [thread.error for thread in status] == [0] * KERNEL_THREADS
        assert [thread.done for thread in status] == [expected[thread] for thread in range(KERNEL_THREADS)]
        assert not ring.state().broken
        print(
            f"{kills} kills, {number - FIRST_PROCESS} processes, {sum(expected.values())} records, "
            f"{ring.state().repairs} repairs"
        )


def test_consumers_killed_lose_only_what_they_had_taken(name):
    """A consumer killed has taken one batch more than it said, or is about to say, at most; the rest comes again."""
    with Ring.create(name, 1 << 15) as ring:
        threads = KernelThreads(ring.area.fileno())
        reports, report = os.pipe()
        os.set_blocking(reports, False)
        seen: dict[int, set[int]] = defaultdict(set)
        said = 0

        def listen() -> None:
            nonlocal said
            while True:
                try:
                    text = os.read(reports, 1 << 16)
                except BlockingIOError:
                    return
                # Reports are shorter than PIPE_BUF, so a pipe never holds half of one.
                for producer, sequence in REPORT.iter_unpack(text):
                    assert sequence != 0xFFFFFFFF, f"torn: a record of producer {producer}"
                    seen[producer].add(sequence)
                    said += 1

        consumers: list[int] = []
        try:
            threads.put_records(KERNEL_THREADS, 0, LONGEST, 0, unlocked=False)
            chooser = random.Random(2)
            for _ in range(KILLS):
                while len(consumers) < 2:
                    consumers.append(fork(consume, ring, report))
                time.sleep(chooser.random() * 0.03)
                listen()
                kill(consumers.pop(chooser.randrange(len(consumers))))
        finally:
            threads.stop()
            for pid in consumers:
                kill(pid)
        listen()
        status = threads.status()
        threads.close()
        while ring.used:
            for payload in ring.get_many(64, timeout=20):
                producer, sequence, whole = record.read(payload)
                assert whole
                seen[producer].add(sequence)
        done = [thread.done for thread in status]
        missing = sum(done) - sum(len(seen[thread]) for thread in range(KERNEL_THREADS))
        assert [thread.error for thread in status] == [0] * KERNEL_THREADS
        assert all(max(seen[thread], default=-1) < done[thread] for thread in range(KERNEL_THREADS))
        # The last two were killed as well.
        assert 0 <= missing <= (KILLS + 2) * BATCH
        assert said > KILLS
        assert not ring.state().broken
        os.close(reports)
        os.close(report)
        print(f"{KILLS + 2} kills, {sum(done)} records, {missing} taken by the killed, {ring.state().repairs} repairs")
