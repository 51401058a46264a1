# SPDX-License-Identifier: MIT
"""CPython's own tests of its locks, on ours: those of the interpreter that runs this (Lib/test/lock_tests.py)."""

from __future__ import annotations

import functools
import threading
import types
from typing import Any, Callable

import pytest

import semshare

# Debian has it in a package of its own, libpython3-testsuite; and some builds leave it out.
lock_tests = pytest.importorskip("test.lock_tests", reason="this Python came without its own tests")

PRIVATE = "of methods that are private to CPython's threading"
REPR = "ours shows the name, the key and the id instead of the address"
OWNED = "ours belongs to the thread that took it, as the set's other users have to know who that is"
ITSELF = "who waits for itself is told so by RuntimeError, instead of waiting until the time is over"

#: Those that do not apply, and why. All others do, with those that are new in a later Python.
LEFT_OUT = {
    "LockTests": {
        "test_repr": REPR,
        "test_locked_repr": REPR,
        "test_reacquire": f"another thread releases it: {OWNED}",
        "test_different_thread": f"another thread releases it: {OWNED}",
        "test_state_after_timeout": ITSELF,
        "test_at_fork_reinit": PRIVATE,
    },
    "RLockTests": {
        "test_repr": REPR,
        "test_locked_repr": REPR,
        "test_recursion_count": PRIVATE,
        "test__is_owned": PRIVATE,
    },
    "EventTests": {"test_repr": REPR, "test_at_fork_reinit": PRIVATE},
    "SemaphoreTests": {"test_repr": REPR},
    "BoundedSemaphoreTests": {"test_repr": REPR},
    "BarrierTests": {"test_repr": REPR},
}


def ours(tests: str) -> Any:
    """CPython's class of tests without those that do not apply. pytest is to see it nowhere else."""
    return type(tests, (getattr(lock_tests, tests),), dict.fromkeys(LEFT_OUT.get(tests, ())))


class Named:
    """Gives the objects of a test their names, and removes what they stand for when it has ended.

    It keeps the objects only if it is told so: some tests look whether they go.
    """

    @pytest.fixture(autouse=True)
    def _named(self, names):
        self._names = names
        self._made: list[Callable[[], Any]] = []
        yield
        for find in self._made:
            find().unlink()

    def new(self, kind: Any, *arguments: Any, keep: bool = False, **options: Any) -> Any:
        name = self._names()
        made = kind(name, *arguments, exclusive=True, **options)
        self._made.append((lambda: made) if keep else functools.partial(kind.attach, name))
        return made


class TestLock(Named, ours("LockTests")):
    def locktype(self):
        return self.new(semshare.Lock)


class TestRLock(Named, ours("RLockTests")):
    def locktype(self):
        return self.new(semshare.RLock)


class TestEvent(Named, ours("EventTests")):
    def eventtype(self):
        return self.new(semshare.Event)


class TestSemaphore(Named, ours("SemaphoreTests")):
    def semtype(self, *arguments, **options):
        return self.new(semshare.Semaphore, *arguments, **options)


class TestBoundedSemaphore(Named, ours("BoundedSemaphoreTests")):
    def semtype(self, *arguments, **options):
        return self.new(semshare.BoundedSemaphore, *arguments, **options)


class TestCondition(Named, ours("ConditionTests")):
    def condtype(self, *arguments):
        return self.new(semshare.Condition, *arguments, keep=True)

    @pytest.fixture(autouse=True)
    def _locks(self, monkeypatch, _named):
        """The lock that one is given is one of ours as well."""
        replaced = {**vars(threading), "Lock": lambda: self.new(semshare.Lock)}
        monkeypatch.setattr(lock_tests, "threading", types.SimpleNamespace(**replaced))


class TestBarrier(Named, ours("BarrierTests")):
    def barriertype(self, parties, *arguments, **options):
        return self.new(semshare.Barrier, parties, *arguments, **options)


def test_each_class_that_cpython_tests_is_tested_here():
    theirs = {name for name in vars(lock_tests) if name.endswith("Tests") and not name.startswith("Base")}
    here = {
        kind.__mro__[2].__name__ for kind in globals().values() if isinstance(kind, type) and Named in kind.__bases__
    }
    assert here == theirs


def test_what_is_left_out_is_no_test_here_but_one_of_cpython():
    for tests, reasons in LEFT_OUT.items():
        for name, reason in reasons.items():
            assert reason and getattr(ours(tests), name) is None
    # Not every version has all of them: 3.9 lacks most of those that look at a repr.
    known = [name for tests in LEFT_OUT for name in LEFT_OUT[tests] if hasattr(getattr(lock_tests, tests), name)]
    assert len(known) >= 8
