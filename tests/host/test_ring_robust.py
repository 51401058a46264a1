# SPDX-License-Identifier: MIT
"""What only robust has: a mutex that tells of its owner's death, and no set."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
from processes import Child, Gate, wait_until

from semshare import Ring, Timeout, names
from semshare.semaphore_set import all_sets


def test_it_needs_no_set(name):
    with Ring.create(name, 4096, variant="robust") as ring:
        with pytest.raises(ValueError, match="no lock to give out"):
            _ = ring.lock
        assert ring.semid == -1
        assert ring.area.info().semid is None
        with Ring.attach(name) as other:
            other.put(b"x")
        assert ring.get() == b"x"
        assert all(state.key & 0xFFFFFFFF != names.key_of(name) for _, state in all_sets())


def busy(name: str) -> None:
    """Inside nearly all the time."""
    with Ring.attach(name) as mine:
        while True:
            mine.put_many([bytes([7]) * 200_000] * 4)
            mine.get_many(4)


def test_who_is_killed_inside_is_found_out(name):
    """Some are killed while they have the mutex: the next owner is told, and puts the ring right."""
    chance = random.Random(8)
    with Ring.create(name, 1 << 20, variant="robust") as ring:
        kills = 0
        while ring.state().repairs < 3:
            puts = ring.state().puts
            child = Child(busy, name)
            wait_until(lambda puts=puts: ring.state().puts > puts + 4)
            time.sleep(chance.random() * 0.002)
            child.kill()
            for payload in ring.get_many(100, blocking=False):
                assert payload == bytes([7]) * 200_000, "a torn record"
            ring.put(b"mine")
            assert ring.get() == b"mine"
            kills += 1
            assert kills < 300, "nobody was killed inside"
        assert not ring.state().broken


def test_an_owner_that_is_stopped_is_not_waited_for_for_ever(name):
    stopped = 0
    with Ring.create(name, 1 << 20, variant="robust") as ring:
        child = Child(busy, name)
        wait_until(lambda: ring.state().puts > 0)
        began = time.monotonic()
        while not stopped and time.monotonic() < began + 30:
            child.signal(signal.SIGSTOP)
            try:
                ring.get_many(1, blocking=False)
            except Timeout:
                stopped += 1
            child.signal(signal.SIGCONT)
            time.sleep(0.001)
        assert stopped, "it never held the mutex when it was stopped"
        child.kill()
        ring.put(b"last")


def test_sleepers_are_woken_though_others_of_them_were_killed(name):
    with Ring.create(name, 4096, variant="robust") as ring:
        for _ in range(20):
            asleep = Gate()

            def get(asleep: Gate = asleep) -> None:
                with Ring.attach(name) as mine:
                    asleep.open()
                    mine.get()

            children = [Child(get) for _ in range(3)]
            for _ in children:
                asleep.pass_through()
            time.sleep(0.005)
            children[0].kill()
            for _ in children[1:]:
                ring.put(b"x")
            # The wake-up of one who was killed may cost the others a look after 100 ms.
            assert [child.wait() for child in children[1:]] == [0, 0]
            ring.get_many(10, blocking=False)
            asleep.close()


def test_threads_and_forks_share_it(name):
    with Ring.create(name, 4096, variant="robust") as ring:
        threads = [threading.Thread(target=lambda: [ring.put(b"x") for _ in range(200)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        child = Child(lambda: [ring.put(b"x") for _ in range(200)])
        for _ in range(800):
            assert ring.get(timeout=30) == b"x"
        for thread in threads:
            thread.join()
        assert child.wait() == 0
        assert os.getpid() and ring.state().used == 0


def test_it_is_no_experiment_without_a_lock(name):
    with Ring.create(name, 4096, variant="robust"), pytest.raises(ValueError, match="no lock to do without"):
        Ring.attach(name, locked=False)
