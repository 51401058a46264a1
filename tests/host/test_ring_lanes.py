# SPDX-License-Identifier: MIT
"""What only lanes have: a place for each producer, and the order in which they are merged."""

from __future__ import annotations

import random

import pytest
from processes import Child, Gate

from semshare import Full, Ring, RoleTaken


def lane_of(record) -> int:
    return record.position >> 56


def test_records_that_are_there_come_by_their_time(name):
    chance = random.Random(4)
    with Ring.create(name, 1 << 16, variant="lanes") as ring:
        producers = [Ring.attach(name) for _ in range(8)]
        for _ in range(50):
            count = chance.randrange(1, 60)
            for number in range(count):
                chance.choice(producers).put(b"%d" % number)
            found = ring.get_records(1000)
            assert [int(each.payload) for each in found] == list(range(count))
            assert [each.time_ns for each in found] == sorted(each.time_ns for each in found)
        # A batch has one time; what one lane has comes in its order, whatever the batches of the consumer.
        for producer in producers:
            producer.put_many([b"%d" % number for number in range(9)])
        found = [each for _ in range(24) for each in ring.get_records(3)]
        for lane in range(8):
            assert [int(each.payload) for each in found if lane_of(each) == lane] == list(range(9))
        assert [each.time_ns for each in found] == sorted(each.time_ns for each in found)
        for producer in producers:
            producer.close()


def test_what_came_since_a_batch_that_left_some_comes_by_its_time_too(name):
    with Ring.create(name, 1 << 14, variant="lanes") as ring, Ring.attach(name) as one, Ring.attach(name) as other:
        one.put_many([b"0", b"1"])
        assert ring.get() == b"0"
        # The lane is not empty; and yet it is looked at again.
        one.put(b"2")
        other.put(b"3")
        one.put(b"4")
        assert ring.get_many(9) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(("max_payload", "lanes"), [(0, 8), (32, 14), (96, 8), (97, 4), (480, 2), (992, 1)])
def test_there_are_as_many_lanes_as_fit_and_a_producer_for_each(name, max_payload, lanes):
    with Ring.create(name, 4096, variant="lanes", max_payload=max_payload) as ring:
        assert ring.max_payload >= max_payload
        producers = [Ring.attach(name) for _ in range(lanes + 1)]
        for producer in producers[:-1]:
            producer.put(b"x" * ring.max_payload)
        with pytest.raises(RoleTaken, match="as many as there can be"):
            producers[-1].put(b"y")
        assert {lane_of(each) for each in ring.get_records(100)} == set(range(lanes))
        # Where one ends there is a place, and its numbers go on.
        producers[lanes // 2].put(b"the last one's")
        producers[lanes // 2].close()
        producers[-1].put(b"the next one's")
        found = ring.get_records(100)
        assert [each.payload for each in found] == [b"the last one's", b"the next one's"]
        assert [(lane_of(each), each.sequence) for each in found] == [(lanes // 2, 1), (lanes // 2, 2)]
        for producer in producers:
            producer.close()


def test_lanes_are_full_each_by_itself(name):
    with Ring.create(name, 4096, variant="lanes", policy="refuse") as ring, Ring.attach(name) as other:
        with pytest.raises(Full):
            while True:
                ring.put(b"x" * 90)
        other.put(b"there is space")
        drops = ring.state().drops
        assert drops == {"refused": 1, "overwritten": 0, "abandoned": 0}
        assert b"there is space" in ring.get_many(100)


def test_a_full_lane_is_told_of_space_though_others_sleep_as_well(name):
    """One hint is for all who wait: each of them for space of its own."""
    opened = Gate()

    def produce() -> None:
        with Ring.attach(name) as mine:
            for number in range(400):
                mine.put(b"%d" % number * 20, timeout=30)
            opened.open()

    with Ring.create(name, 4096, variant="lanes") as ring:
        children = [Child(produce) for _ in range(6)]
        following: dict[int, int] = {}
        while sum(following.values()) < 6 * 400:
            for each in ring.get_records(3, timeout=30):
                assert each.sequence == following.get(lane_of(each), 0)
                following[lane_of(each)] = each.sequence + 1
        assert [child.wait() for child in children] == [0] * 6
    opened.close()
