# SPDX-License-Identifier: MIT
"""Pages between fences, written as a device would, word by word: what the consumer makes of each state of them."""

from __future__ import annotations

import random
import struct

import pytest

from semshare import Empty, Ring

MAGIC = 0x45474150
PAGE, PAGES = 1024, 8
HEAD = struct.Struct("@QQIIQQQ")


@pytest.fixture
def ring(name):
    with Ring.create(name, PAGE * PAGES, variant="paged", policy="overwrite", max_payload=PAGE - 64) as ring:
        yield ring


def fence(number: int) -> int:
    return MAGIC << 32 | number & 0xFFFFFFFF


def write(
    ring: Ring, number: int, *, first: bool = True, body: bool = True, last: bool = True, size: int = 100
) -> None:
    """What the device does, as far as it gets."""
    at = 4096 + number % PAGES * PAGE
    payload = bytes((number + i) & 255 for i in range(size))
    with memoryview(ring.area.buffer) as memory:
        if first:
            memory[at : at + 8] = struct.pack("@Q", fence(number))
        if body:
            memory[at + 8 : at + 48] = HEAD.pack(0, 0, size, 9, number, number, 1)[8:]
            memory[at + 48 : at + 48 + min(size, PAGE - 64)] = payload[: PAGE - 64]
        if last:
            memory[at + PAGE - 8 : at + PAGE] = struct.pack("@Q", fence(number))


def take(ring: Ring) -> list[int]:
    numbers = []
    for found in ring.get_records(100, blocking=False):
        assert found.payload == bytes((found.position + i) & 255 for i in range(100))
        numbers.append(found.position)
    return numbers


def drops(ring: Ring) -> tuple[int, int]:
    found = ring.state().drops
    return found["overwritten"], found["abandoned"]


def test_pages_are_found_by_their_fences_alone(ring):
    assert take(ring) == []
    for number in range(3):
        write(ring, number)
    assert (ring.state().used, ring.state().puts) == (3 * PAGE, 3)
    assert take(ring) == [0, 1, 2]
    for number in range(3, 20):
        write(ring, number)
        assert take(ring) == [number]
    assert drops(ring) == (0, 0)


def test_a_page_is_not_there_before_its_last_word(ring):
    for parts in ({"body": False, "last": False}, {"last": False}):
        write(ring, 0, **parts)
        with pytest.raises(Empty):
            ring.get(blocking=False)
    write(ring, 0)
    assert take(ring) == [0]


def test_a_page_that_was_left_unfinished_is_passed_over(ring):
    write(ring, 0)
    write(ring, 1, last=False)
    assert take(ring) == [0]
    write(ring, 2)
    assert take(ring) == [2]
    assert drops(ring) == (0, 1)
    # Not begun at all, and not finished in the second round.
    for number in (3, 5, 6, 7, 8, 9):
        write(ring, number)
    assert take(ring) == [3, 5, 6, 7, 8, 9]
    write(ring, 10, last=False)
    write(ring, 11)
    assert take(ring) == [11]
    assert drops(ring) == (0, 3)


def test_who_was_overtaken_goes_on_with_the_oldest_that_is_left(ring):
    for number in range(30):
        write(ring, number)
    assert ring.state().used == PAGE * PAGES
    assert take(ring) == list(range(22, 30))
    assert drops(ring) == (22, 0)
    # Being written just now: gone, and the rest is whole.
    for number in range(30, 38):
        write(ring, number)
    write(ring, 38, last=False)
    assert take(ring) == list(range(31, 38))
    assert drops(ring) == (23, 0)


def test_what_is_no_record_is_passed_over(ring):
    write(ring, 0, size=PAGE)
    write(ring, 1)
    assert take(ring) == [1]
    assert drops(ring) == (0, 1)
    assert not ring.state().broken


def test_a_number_may_grow_beyond_its_half_of_the_fence(ring):
    first = (1 << 32) - 4
    with memoryview(ring.area.buffer) as memory:
        memory[512:520] = struct.pack("@Q", first)
    for number in range(first, first + 8):
        write(ring, number)
    assert take(ring) == list(range(first, first + 8))
    write(ring, first + 12)
    assert take(ring) == [first + 12]
    assert drops(ring) == (0, 4)


def test_a_producer_finds_its_place_by_the_fences(ring, name):
    for number in range(13):
        ring.put(b"%d" % number)
    with Ring.attach(name) as other:
        ring.close()
        other.put(b"13")
        assert [int(payload) for payload in other.get_many(100)] == list(range(6, 14))


def test_who_comes_to_read_takes_no_page_that_is_being_written_for_a_lie(ring, name):
    for number in range(10):
        write(ring, number)
    assert len(take(ring)) == PAGES
    # As one who looks at the pages one by one may find them, where the producer is always in the one that is looked at.
    for number in range(10, 10 + PAGES):
        write(ring, number, last=False)
    with Ring.attach(name) as other:
        ring.close()
        assert take(other) == []
        write(other, 10 + PAGES)
        assert take(other) == [10 + PAGES]


def test_pages_with_anything_in_them_never_harm_the_reader(ring):
    """Fences and heads at random: what comes out is a record, or nothing, and time goes on."""
    chance = random.Random(6)
    for _ in range(3000):
        number = chance.randrange(1 << chance.choice([3, 4, 34]))
        write(ring, number, first=chance.random() < 0.7, body=chance.random() < 0.7, last=chance.random() < 0.7)
        for found in ring.get_records(4, blocking=False):
            assert len(found.payload) <= PAGE - 64
    assert not ring.state().broken
