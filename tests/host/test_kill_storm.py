# SPDX-License-Identifier: MIT
"""SIGKILL at random moments, several hundred times: nothing lost, nothing torn, nobody stuck.

A producer that is killed cannot say whether its last put was committed. So each counts, in shared memory, the records
of puts that have returned; those must all arrive, those of the put it was killed in may arrive too, and no more.
"""

from __future__ import annotations

import mmap
import os
import random
import struct
import time
import zlib
from contextlib import suppress

import pytest
from processes import Child

from semshare import Empty, NameExists, NotFound, Ring, device
from semshare.stale import remove_stale

HEADER = struct.Struct("@IIQ")  # checksum, producer, sequence
BATCH = 16
KINDS = 64
"""Bodies that a producer prepares, so that it spends its time in the ring and not in making them."""


def body(producer: int, kind: int) -> bytes:
    return bytes([(producer + kind + i) & 255 for i in range(kind * 7 % 200)])


def record(producer: int, sequence: int, bodies: list[bytes]) -> bytes:
    rest = HEADER.pack(0, producer, sequence)[4:] + bodies[sequence % KINDS]
    return struct.pack("@I", zlib.crc32(rest)) + rest


def read(payload: bytes) -> tuple[int, int]:
    checksum, producer, sequence = HEADER.unpack_from(payload)
    assert checksum == zlib.crc32(payload[4:]), "a torn record"
    assert payload[HEADER.size :] == body(producer, sequence % KINDS)
    return producer, sequence


class Tally:
    """What arrived, by producer."""

    def __init__(self) -> None:
        self.next: dict[int, int] = {}

    def add(self, payload: bytes) -> None:
        producer, sequence = read(payload)
        assert sequence == self.next.get(producer, 0), f"producer {producer}: lost or out of order at {sequence}"
        self.next[producer] = sequence + 1

    @property
    def total(self) -> int:
        return sum(self.next.values())


def produce(name: str, producer: int, returned: memoryview, count: int | None = None) -> None:
    """Put records, alone and in batches; write down how many the puts that have returned have put."""
    bodies = [body(producer, kind) for kind in range(KINDS)]
    with Ring.attach(name) as ring:
        sequence = 0
        while sequence != count:
            if producer % 2:
                ring.put(record(producer, sequence, bodies))
                sequence += 1
            else:
                put = ring.put_many([record(producer, sequence + i, bodies) for i in range(BATCH)])
                assert put == BATCH
                sequence += BATCH
            returned[producer] = sequence


def test_killed_producers_lose_nothing_and_block_nobody(name):
    kills = 220
    returned = memoryview(mmap.mmap(-1, 8192)).cast("Q")
    tally = Tally()
    with Ring.create(name, 8192) as ring:
        running: dict[int, Child] = {}
        started = killed = 0
        while killed < kills or running:
            while len(running) < 3 and started < kills:
                running[started] = Child(produce, name, started, returned)
                started += 1
            end = time.monotonic() + random.uniform(0, 0.015)
            while (left := end - time.monotonic()) > 0:
                for payload in ring.get_many(random.choice([1, 5, 50]), timeout=left):
                    tally.add(payload)
            victim = random.choice(list(running))
            running.pop(victim).kill()
            killed += 1
        while payloads := ring.get_many(100, timeout=0):
            for payload in payloads:
                tally.add(payload)
        state = ring.state()
        deaths = ring.lock.deaths
    for producer in range(started):
        last = 1 if producer % 2 else BATCH
        arrived = tally.next.get(producer, 0)
        assert returned[producer] <= arrived <= returned[producer] + last, f"producer {producer}"
        assert (arrived - returned[producer]) % last == 0 or not producer % 2
    assert not state.broken and state.repairs == deaths
    print(f"{killed} producers killed, {state.repairs} of them inside; {tally.total} records, none lost or torn")


def consume(name: str, pipe: int, most: int) -> None:
    """Take records and hand them on. Those taken and not handed on when it is killed were its own."""
    with Ring.attach(name) as ring:
        while True:
            for payload in ring.get_many(most):
                os.write(pipe, len(payload).to_bytes(4, "little") + payload)


def test_killed_consumers_take_nothing_with_them_but_what_they_had_taken(name):
    kills = 120
    returned = memoryview(mmap.mmap(-1, 4096)).cast("Q")
    source, pipe = os.pipe()
    os.set_blocking(source, False)
    received: dict[int, set[int]] = {1: set(), 2: set()}
    rest = b""

    def drain() -> None:
        nonlocal rest
        try:
            while chunk := os.read(source, 1 << 16):
                rest += chunk
        except BlockingIOError:
            pass
        while len(rest) >= 4 and len(rest) >= 4 + int.from_bytes(rest[:4], "little"):
            end = 4 + int.from_bytes(rest[:4], "little")
            producer, sequence = read(rest[4:end])
            assert sequence not in received[producer], "a record delivered twice"
            received[producer].add(sequence)
            rest = rest[end:]

    with Ring.create(name, 8192) as ring:
        producers = [Child(produce, name, producer, returned) for producer in received]
        allowed = 0
        running: list[tuple[Child, int]] = []
        for _ in range(kills):
            while len(running) < 2:
                most = random.choice([1, 4])
                running.append((Child(consume, name, pipe, most), most))
            end = time.monotonic() + random.uniform(0, 0.015)
            while time.monotonic() < end:
                drain()
            victim, most = running.pop(random.randrange(2))
            victim.kill()
            allowed += most
        for victim, most in running:
            victim.kill()
            allowed += most
        for producer in producers:
            producer.kill()
        drain()
        while payloads := ring.get_many(100, timeout=0):
            for payload in payloads:
                producer, sequence = read(payload)
                assert sequence not in received[producer], "a record delivered twice"
                received[producer].add(sequence)
        state = ring.state()
    lost = sum(len(set(range(returned[producer])) - received[producer]) for producer in received)
    assert lost <= allowed, f"{lost} records lost; {allowed} could have been in the hands of those killed"
    assert all(max(found) < returned[producer] + BATCH for producer, found in received.items() if found)
    assert not state.broken
    total = sum(map(len, received.values()))
    print(
        f"{kills + 2} consumers killed, {state.repairs} inside; {total} records, {lost} died with who had taken them"
    )
    os.close(source), os.close(pipe)


def test_everybody_killed_at_once_leaves_a_ring_that_goes_on(name):
    """Producers, consumers and holders of the ring's lock die together; each time the survivor finds it in order."""
    returned = memoryview(mmap.mmap(-1, 4096)).cast("Q")
    rounds = 25

    def hold() -> None:
        with Ring.attach(name) as mine:
            while True:
                with mine.lock:
                    pass

    def take() -> None:
        with Ring.attach(name) as mine:
            while True:
                mine.get()

    with Ring.create(name, 4096) as ring:
        for _ in range(rounds):
            children = [Child(produce, name, number, returned) for number in (1, 2)] + [Child(take), Child(hold)]
            time.sleep(random.uniform(0.005, 0.03))
            for child in children:
                child.kill()
            while payloads := ring.get_many(100, timeout=0):
                for payload in payloads:
                    read(payload)
            ring.put(b"alive")
            assert ring.get() == b"alive"
            try:
                ring.get_nowait()
                raise AssertionError("a record out of nothing")
            except Empty:
                pass
        state = ring.state()
    assert not state.broken
    print(f"{rounds * 4} processes killed, {state.repairs} inside")


@pytest.mark.skipif(device.present(), reason="what the module removes by itself is not left behind")
def test_makers_killed_at_any_moment_leave_a_name_that_can_be_used(name):
    """Area, set, binding, first semop, format: killed between any two, the next maker has at most to clear away."""
    kills = 80

    def make() -> None:
        while True:
            with suppress(NameExists, NotFound), Ring(name, 4096) as ring:
                ring.put_nowait(b"x")

    stale = 0
    for _ in range(kills):
        children = [Child(make) for _ in range(2)]
        time.sleep(random.uniform(0, 0.02))
        for child in children:
            child.kill()
        stale += name in [item.name for item in remove_stale([name])]
        with Ring.create(name, 8192) as ring:
            ring.put(b"made")
            assert ring.get(timeout=60) == b"made"
    print(f"{2 * kills} makers killed, {stale} rings left behind and removed")
