# SPDX-License-Identifier: MIT
"""Event: it has happened, or not yet, for all processes."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time

import pytest
from effort import scaled
from processes import LIMIT, Child, Gate, wait_until

from semshare import Event


@pytest.fixture
def event(name):
    event = Event(name)
    yield event
    event.unlink()


def test_a_new_event_has_not_happened(event):
    assert not event.is_set() and repr(event).endswith(": not set>")
    assert event.wait(0) is False and event.wait(0.01) is False
    event.clear()
    assert not event.is_set()


def test_what_has_happened_stays_so_until_it_is_cleared(event, name):
    for _ in range(3):
        event.set()
        assert event.is_set() and Event(name).is_set() and repr(event).endswith(": set>")
        assert event.wait() is True and event.wait(0) is True
    for _ in range(2):
        event.clear()
        event.clear()
        assert not event.is_set() and event.wait(0) is False
        event.set()
        assert event.is_set()


def test_it_outlives_who_set_it(event):
    assert Child(event.set).wait() == 0
    assert event.is_set()
    assert Child(event.clear).wait() == 0
    assert not event.is_set()


def test_all_who_wait_go_on_even_if_it_is_cleared_at_once(event, name):
    children = [Child(lambda: Event(name).wait(LIMIT) or os._exit(1)) for _ in range(3)]
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(event.wait(LIMIT))) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: event.waiters() == 6, "six waiters")
    event.set()
    event.clear()
    assert [child.wait() for child in children] == [0, 0, 0]
    for thread in threads:
        thread.join()
    assert seen == [True] * 3
    assert not event.is_set() and event.waiters() == 0


def test_what_is_over_again_while_a_signal_is_handled_has_happened(event, name):
    handled, over = Gate(), Gate()

    def wait():
        signal.signal(signal.SIGALRM, lambda *_: (handled.open(), over.pass_through()))
        sys.exit(not Event(name).wait(LIMIT))

    child = Child(wait)
    wait_until(lambda: event.waiters() == 1, "a waiter")
    child.signal(signal.SIGALRM)
    handled.pass_through()
    assert event.waiters() == 0
    event.set()
    event.clear()
    over.open()
    assert child.wait() == 0
    for gate in (handled, over):
        gate.close()


def test_a_wait_that_begins_when_it_is_over_waits(event):
    event.set()
    event.clear()
    assert event.wait(0) is False and event.wait(0.05) is False


def test_nobody_misses_it_who_is_interrupted_all_the_time(event, name):
    """Who waits is awake, for a handler, most of the time, and it is set and cleared once, in whichever moment."""

    def wait():
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        sys.exit(not Event(name).wait(LIMIT))

    for _ in range(scaled(100)):
        child = Child(wait)
        wait_until(lambda: event.waiters() == 1, "a waiter")
        time.sleep(random.random() / 1000)
        event.set()
        event.clear()
        assert child.wait() == 0


def test_a_wait_is_interrupted_by_ctrl_c_and_not_by_other_signals(event, name):
    def wait():
        interruptions = []
        signal.signal(signal.SIGALRM, lambda *_: interruptions.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            Event(name).wait()
        except KeyboardInterrupt:
            sys.exit(42 if len(interruptions) > 3 else 1)

    child = Child(wait)
    wait_until(lambda: event.waiters() == 1, "a waiter")
    # Long enough for a few interruptions, however slow the machine is.
    alarms = threading.Event()
    alarms.wait(0.1)
    child.signal(signal.SIGINT)
    assert child.wait() == 42
    assert event.waiters() == 0


def test_closing_sends_waiting_threads_home(event, name):
    other = Event(name)
    errors = []

    def wait():
        with pytest.raises(ValueError, match="closed") as caught:
            other.wait()
        errors.append(caught)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: event.waiters() == 1, "a waiter")
    other.close()
    thread.join()
    assert errors and event.waiters() == 0


def test_statistics_count_waits(event):
    event.set()
    assert event.wait() and event.wait(0)
    assert event.statistics().acquisitions == 2
