# SPDX-License-Identifier: MIT
"""Bad input to locks and their like: each has an error of its own, which names the argument and says what to do."""

from __future__ import annotations

import copy
import errno
import inspect
import logging
import math
import os
import pickle
import threading

import pytest
from limits import with_limits
from lock_factories import KINDS, LOCKS
from processes import Child
from semshare._abi import ffi, lib

import semshare
from semshare import (
    BadKey,
    BadName,
    BadValue,
    Barrier,
    BoundedSemaphore,
    Condition,
    Denied,
    Error,
    Event,
    HolderDead,
    LimitReached,
    Lock,
    LockPool,
    MultiLock,
    NameExists,
    NotFound,
    OwnerDied,
    Removed,
    RLock,
    RWLock,
    Semaphore,
    SemaphoreSet,
    WrongKind,
    WrongSize,
    advice,
    aio,
    key_of,
    named_set,
)

# Each class that has a set of its own, and what else a new one has to be given.
CLASSES = {
    Lock: {},
    RLock: {},
    Semaphore: {},
    BoundedSemaphore: {},
    Event: {},
    RWLock: {},
    LockPool: {"count": 3},
    Condition: {},
    Barrier: {"parties": 2},
}
OWNED = [Lock, RLock, RWLock, LockPool, Condition]

each_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
each_lock = pytest.mark.parametrize("kind", LOCKS, ids=lambda kind: kind.id)
# Permits are held by nobody.
each_held = pytest.mark.parametrize("kind", [k for k in LOCKS if "Semaphore" not in k.id], ids=lambda kind: kind.id)

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")


def make(cls, name, **options):
    return cls(name, **{**CLASSES[cls], **options})


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def made(request, name):
    """One of each class."""
    made = make(request.param, name)
    yield made
    made.unlink()


# ---------------------------------------------------------------------------------------------------- name, key, semid


@each_class
def test_one_of_name_key_and_semid_is_given(cls, name):
    for given in ({}, {"name": name, "key": 5}, {"key": 5, "semid": 5}, {"name": name, "semid": 5}):
        with pytest.raises(ValueError, match="name, key or semid: give one of them"):
            cls(**given, **CLASSES[cls])


@each_class
def test_what_cannot_be_a_name_is_refused(cls):
    for bad in ("", "a b", "a/b", "ä", "a\0b"):
        with pytest.raises(BadName, match="cannot be a name") as caught:
            make(cls, bad)
        assert caught.value.errno == errno.EINVAL and isinstance(caught.value, ValueError)
        assert repr(bad) in str(caught.value)
    for bad in (5, b"bytes"):
        with pytest.raises(TypeError, match="a name is a str"):
            make(cls, bad)


@each_class
def test_a_name_that_is_too_long_is_told_so_and_not_cut(cls):
    for length in (64, 100_000):
        with pytest.raises(BadName, match="1 to 63 characters") as caught:
            make(cls, "a" * length)
        assert caught.value.errno == errno.ENAMETOOLONG
        assert len(str(caught.value)) < 500


@each_class
def test_keys_have_32_bits_and_are_not_0(cls):
    with pytest.raises(BadKey, match="IPC_PRIVATE") as caught:
        cls(key=0, **CLASSES[cls])
    assert caught.value.errno == errno.EINVAL and isinstance(caught.value, ValueError)
    for bad in (1 << 32, -1, -5, 1 << 100):
        with pytest.raises(BadKey, match="32 bits") as caught:
            cls(key=bad, **CLASSES[cls])
        assert caught.value.errno == errno.ERANGE and hex(bad) in str(caught.value)
    for bad in ("5", 5.0, b"k", True):
        with pytest.raises(TypeError, match="key is an int"):
            cls(key=bad, **CLASSES[cls])


def test_a_set_without_a_key_can_be_a_lock_and_no_reentrant_one():
    made = SemaphoreSet(0, count=1, create=True)
    try:
        made.set_value(0, 1)
        with Lock(semid=made.semid) as lock:
            assert lock.owner() is None
        with pytest.raises(WrongKind, match=r"IPC_PRIVATE.*by name"):
            RLock(semid=made.semid)
    finally:
        made.remove()


@each_class
def test_all_keys_of_32_bits_work(cls, name):
    for key in (key_of(name) | 1 << 31, 0xFFFFFFFF - (key_of(name) & 0xFFFF)):
        made = cls(key=key, exclusive=True, **CLASSES[cls])
        try:
            assert cls.attach(key=key).semid == made.semid
            assert cls.attach(semid=made.semid).key == key
        finally:
            made.unlink()


@each_class
def test_a_semid_is_a_number_of_a_set_that_exists(cls):
    for bad in (-1, 1 << 31):
        with pytest.raises(BadValue, match="semid") as caught:
            cls(semid=bad, **CLASSES[cls])
        assert caught.value.errno == errno.ERANGE
    with pytest.raises(TypeError, match="semid is an int"):
        cls(semid="5", **CLASSES[cls])
    with pytest.raises(TypeError, match="semid is an int"):
        cls(semid=False, **CLASSES[cls])
    with pytest.raises(NotFound, match="2147483647"):
        cls(semid=0x7FFFFFFF, **CLASSES[cls])


@each_class
def test_a_mode_has_permission_bits_only(cls, name):
    for bad in (-1, 0o1000, 0o1777):
        with pytest.raises(BadValue, match="mode") as caught:
            make(cls, name, mode=bad)
        assert caught.value.errno == errno.ERANGE
    with pytest.raises(TypeError, match="mode is an int"):
        make(cls, name, mode="rw")
    with make_and_remove(cls, name, mode=0o740) as made:
        assert SemaphoreSet(semid=made.semid).stat().mode & 0o777 == 0o640


class make_and_remove:
    def __init__(self, cls, name, **options):
        self.made = make(cls, name, **options)

    def __enter__(self):
        return self.made

    def __exit__(self, *_):
        self.made.unlink()


# ------------------------------------------------------------------------------------------------- is there one already


@each_class
def test_create_is_for_what_does_not_exist_and_attach_for_what_does(cls, name):
    with pytest.raises(NotFound, match=name) as missing:
        cls.attach(name)
    assert missing.value.errno == errno.ENOENT and isinstance(missing.value, FileNotFoundError)
    with pytest.raises(NotFound, match="there is none"):
        cls(key=key_of(name), create=False, **CLASSES[cls])
    made = cls.create(name, **CLASSES[cls])
    try:
        for create in (cls.create, lambda *args, **options: cls(*args, exclusive=True, **options)):
            with pytest.raises(NameExists, match=f"semshare rm {name}") as there:
                create(name, **CLASSES[cls])
            assert there.value.errno == errno.EEXIST and isinstance(there.value, FileExistsError)
        assert cls.attach(name).semid == cls.attach(key=made.key).semid == make(cls, name).semid == made.semid
        assert cls.attach(key=made.key).name == cls.attach(semid=made.semid).name == name
    finally:
        made.unlink()
    with pytest.raises(NotFound):
        cls.attach(name)


@pytest.mark.parametrize(("cls", "size"), [(LockPool, "count"), (Barrier, "parties"), (aio.Barrier, "parties")])
def test_who_makes_one_without_a_size_is_told_which_to_give(cls, size, name):
    for make in (cls, cls.create):
        with pytest.raises(NotFound, match=f"{name}.*give {size}="):
            make(name)
    with pytest.raises(NotFound, match="let somebody create it first") as caught:
        cls.attach(name)
    assert f"{size}=" not in str(caught.value)
    made = cls(name, **{size: 2})
    with pytest.raises(NameExists):
        cls.create(name)
    assert cls(name).semid == made.semid
    made.unlink()


ARGUMENTS = [
    (Semaphore, 3, lambda made: made.value),
    (BoundedSemaphore, 3, lambda made: made.limit),
    (LockPool, 3, len),
    (Barrier, 3, lambda made: made.parties),
    (aio.Semaphore, 3, lambda made: made.value),
    (aio.BoundedSemaphore, 3, lambda made: made.limit),
    (aio.Barrier, 3, lambda made: made.parties),
]


@pytest.mark.parametrize(("cls", "argument", "look"), ARGUMENTS)
def test_create_and_attach_take_what_the_class_takes_behind_the_name(cls, argument, look, name):
    made = cls.create(name, argument)
    attached = cls.attach(name, argument)
    assert look(made) == look(attached) == argument and made.semid == attached.semid
    made.unlink()
    made = cls.create(None, argument, key=key_of(name))
    assert look(made) == argument and cls.attach(None, argument, key=key_of(name)).semid == made.semid
    made.unlink()


def test_create_and_attach_take_the_lock_of_a_condition(name, names):
    lock = Lock(names())
    made = Condition.create(name, lock)
    assert made.lock is lock and Condition.attach(name, lock).semid == made.semid
    made.unlink(), lock.unlink()


def test_create_takes_no_more_than_the_class(name):
    with pytest.raises(TypeError, match="positional"):
        Lock.create(name, 3)


@each_class
def test_exclusive_is_for_a_new_one(cls, name):
    for given in ({"name": name, "create": False}, {"semid": 5}):
        with pytest.raises(ValueError, match="exclusive"):
            cls(exclusive=True, **given, **CLASSES[cls])


def test_who_opens_it_as_another_kind_is_told_what_it_is(made, name):
    for cls in CLASSES:
        if cls is type(made):
            continue
        for given in ({"name": name}, {"key": made.key}, {"semid": made.semid}):
            with pytest.raises(WrongKind, match=f"is {named_set.with_article(made._noun)};") as caught:
                cls(**given, **CLASSES[cls])
            assert caught.value.errno == errno.EMEDIUMTYPE
            assert "open it as that" in str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_set_of_another_program_has_to_have_the_right_size(name, count):
    """It has no companion that says what it is."""
    theirs = SemaphoreSet(key_of(name), count=count, create=True)
    theirs.operate([(0, 1)])
    try:
        for cls, sizes in {Event: [1], RWLock: [3]}.items():
            if count not in sizes:
                with pytest.raises(WrongSize, match=f"{count} semaphores") as caught:
                    cls(name)
                assert caught.value.errno == errno.EINVAL
        for cls in (LockPool, BoundedSemaphore):
            with pytest.raises(WrongKind, match="another program"):
                make(cls, name)
        assert lib.shmget(key_of(name), 0, 0) < 0, "nothing was put beside it"
        with Lock(name):
            pass
        assert theirs.values() == [1] + [0] * (count - 1)
    finally:
        Lock(name).unlink()


def test_sizes_that_are_given_have_to_be_those_of_what_exists(names):
    pool, bounded = names(), names()
    with make_and_remove(LockPool, pool, count=5), make_and_remove(BoundedSemaphore, bounded, value=5):
        for open_it in (lambda: LockPool(pool, 4), lambda: BoundedSemaphore(bounded, 4)):
            with pytest.raises(WrongSize, match=r"has 5 .*not 4") as caught:
                open_it()
            assert caught.value.errno == errno.EINVAL
        assert len(LockPool(pool)) == 5 and BoundedSemaphore(bounded).limit == 5


def test_a_pool_without_a_number_is_not_made(name):
    with pytest.raises(NotFound):
        LockPool(name)


# -------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("cls", "argument", "bad"),
    [
        (Semaphore, "value", -1),
        (Semaphore, "value", 32768),
        (Semaphore, "value", 1 << 70),
        (BoundedSemaphore, "value", 0),
        (BoundedSemaphore, "value", 32768),
        (LockPool, "count", 0),
        (LockPool, "count", 65536),
    ],
)
def test_numbers_that_a_set_cannot_have(cls, argument, bad, name):
    with pytest.raises(BadValue, match=f"{argument} {bad}") as caught:
        cls(name, **{argument: bad})
    assert caught.value.errno == errno.ERANGE and isinstance(caught.value, ValueError)
    with pytest.raises(TypeError, match=f"{argument} is an int"):
        cls(name, **{argument: "3"})


@pytest.mark.parametrize("value", [0, 1, 32767])
def test_a_semaphore_counts_from_0_to_32767(names, value):
    name, bounded = names(), names()
    with make_and_remove(Semaphore, name, value=value) as made:
        assert made.value == value and made.locked() == (value == 0)
    if value:
        with make_and_remove(BoundedSemaphore, bounded, value=value) as made:
            assert (made.value, made.limit) == (value, value)
            assert made.acquire(timeout=0) and made.value == value - 1
            made.release()


def test_more_permits_than_there_may_be_are_refused(names):
    with (
        make_and_remove(Semaphore, names(), value=32767) as semaphore,
        make_and_remove(BoundedSemaphore, names(), value=2) as bounded,
    ):
        for each, most in ((semaphore, 32767), (bounded, 2)):
            with pytest.raises(BadValue, match=f"more than.*{most}") as caught:
                each.release()
            assert caught.value.errno == errno.ERANGE and isinstance(caught.value, ValueError)
            assert each.acquire() and each.acquire()
            with pytest.raises(BadValue):
                each.release(3)
            assert each.value == most - 2
            each.release(2)
            assert each.value == most
            for bad in (0, -1):
                with pytest.raises(ValueError, match="1 or more"):
                    each.release(bad)
            with pytest.raises(BadValue):
                each.release(32768)
            with pytest.raises(TypeError):
                each.release("1")
            assert each.value == most


def test_numbers_of_a_pool(name):
    with make_and_remove(LockPool, name, count=3) as pool:
        assert [lock.number for lock in pool] == [0, 1, 2] and pool[-1] is pool[2]
        assert [lock.number for lock in pool[1:]] == [1, 2]
        for bad in (3, -4, 1 << 40):
            with pytest.raises(IndexError, match="it has 3"):
                pool[bad]
            with pytest.raises(IndexError, match="it has 3"):
                pool.multi(0, bad)
        with pytest.raises(TypeError, match="number"):
            pool["1"]
        for bad in ([], [1, 1], [0, -3]):
            with pytest.raises(ValueError, match="each once"):
                MultiLock(pool, bad)
        with pytest.raises(TypeError, match="LockPool"):
            MultiLock(pool[0], [0])


def test_more_locks_at_once_than_one_call_can_take(name):
    most = semshare.semaphore_set.limits().operations_per_call
    with make_and_remove(LockPool, name, count=most + 1) as pool:
        with pytest.raises(BadValue, match=f"{most + 1} locks.*at most {most}.*SEMOPM") as caught:
            MultiLock(pool, range(most + 1))
        assert caught.value.errno == errno.E2BIG
        with MultiLock(pool, range(most)):
            assert pool.taken() == most
        assert pool.taken() == 0


@pytest.mark.parametrize("cls", OWNED, ids=lambda cls: cls.__name__)
def test_what_is_done_when_an_owner_died(cls, name):
    with pytest.raises(ValueError, match='"warn", "raise", or a function'):
        make(cls, name, on_owner_died="ignore")
    for bad in (None, 5):
        with pytest.raises(TypeError, match="on_owner_died"):
            make(cls, name, on_owner_died=bad)
    assert lib.semget(key_of(name), 0, 0) < 0, "nothing was made"


# ------------------------------------------------------------------------------------------------- acquire and its like


@each_lock
def test_a_timeout_in_the_place_of_blocking_is_refused(kind, name):
    """acquire(0.3) is what other locks take for a timeout: it would wait for ever."""
    lock = kind(name)
    try:
        with pytest.raises(TypeError, match=r"timeout=0\.3"):
            lock.acquire(0.3)
    finally:
        kind.remove(name)


@each_lock
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"blocking": False, "timeout": 0}, ValueError),
        ({"blocking": False, "timeout": 1}, ValueError),
        ({"timeout": -2}, ValueError),
        ({"timeout": -0.5}, ValueError),
        ({"timeout": math.nan}, ValueError),
        ({"timeout": 1e300}, OverflowError),
        ({"timeout": "1"}, TypeError),
        ({"wait": 1}, TypeError),
    ],
)
def test_acquire_refuses_what_that_of_threading_does(kind, name, arguments, error):
    lock = kind(name)
    try:
        before = lock.locked()
        with pytest.raises(error):
            lock.acquire(**arguments)
        assert lock.locked() == before
        if not math.isnan(float(arguments.get("timeout", 0))):
            with pytest.raises(error):
                threading.Lock().acquire(**arguments)
    finally:
        kind.remove(name)


def test_an_event_refuses_what_that_of_threading_does(name):
    with make_and_remove(Event, name) as event:
        for bad, error in (("1", TypeError), (1e300, OverflowError)):
            with pytest.raises(error):
                event.wait(bad)
            with pytest.raises(error):
                threading.Event().wait(bad)
        assert event.wait(-5) is False and event.wait(0) is False


@each_held
def test_who_has_not_acquired_it_does_not_release_it(kind, name):
    lock = kind(name)
    try:
        with pytest.raises(RuntimeError, match=f"{name}.*not acquired by this object"):
            lock.release()
        assert not lock.locked()
    finally:
        kind.remove(name)


# ------------------------------------------------------------------------------------------------------ removed, closed


def uses_of(kind, made, lock):
    """All that can be done with it and needs its set."""
    if kind.id == "Barrier":
        return [made.wait, lambda: made.wait(1), made.abort, made.reset]
    if kind.id == "Event":
        return [made.is_set, made.set, made.clear, made.wait, lambda: made.wait(1), lambda: made.wait(0), made.waiters]
    uses = [lock.acquire, lambda: lock.acquire(timeout=1), lambda: lock.acquire(False), lock.acquire_nowait]
    # How many wait for a condition its words say, not its set.
    return [*uses, lock.__enter__, lock.locked] + ([made.waiters] if kind.id != "Condition" else [])


@each_kind
def test_what_was_removed_in_between_is_told_so(kind, name):
    made = kind.make(name)
    lock = kind.lock(made) if kind.lock else made
    uses = uses_of(kind, made, lock)
    SemaphoreSet(semid=made.semid).remove()
    for use in uses:
        with pytest.raises(Removed, match=f"{name}.*removed.*anew") as caught:
            use()
        assert caught.value.errno == errno.EIDRM
    for shown in (made, lock):
        assert repr(shown).endswith(": removed>")
    with pytest.raises(NotFound):
        type(made).attach(name)
    made.unlink()  # what is beside the set


@each_kind
def test_what_is_closed_cannot_be_used(kind, name):
    made = kind.make(name)
    lock = kind.lock(made) if kind.lock else made
    uses = uses_of(kind, made, lock)
    made.close()
    if hasattr(lock, "close"):
        lock.close()
    try:
        for use in uses:
            with pytest.raises(ValueError, match=f"{name}.*closed"):
                use()
        assert made.closed and repr(made).endswith(": closed>") and repr(lock).endswith(": closed>")
        with pytest.raises(ValueError, match="closed"):
            pickle.dumps(made)
        made.close()
    finally:
        kind.remove(name)


@each_held
def test_what_is_held_cannot_be_closed(kind, name):
    made = kind.make(name)
    lock = kind.lock(made)
    try:
        closing = lock if kind.id == "MultiLock" else made
        with lock, pytest.raises(RuntimeError, match="release it first"):
            closing.close()
        with lock:
            pass
    finally:
        kind.remove(name)


# ---------------------------------------------------------------------------------------------------------- permission


def as_nobody(function):
    """A child that is another user does it."""

    def child():
        os.setgid(65534)
        os.setuid(65534)
        function()

    assert Child(child).wait() == 0


@needs_root
def test_another_user_is_told_who_may(made, name):
    def try_it():
        for given in ({"name": name}, {"key": made.key}, {"semid": made.semid}):
            with pytest.raises(Denied, match="mode does not allow") as caught:
                type(made)(**given, **CLASSES[type(made)])
            assert caught.value.errno == errno.EACCES and isinstance(caught.value, PermissionError)
        with pytest.raises(Denied, match=name):
            type(made).attach(name)

    as_nobody(try_it)


@needs_root
def test_who_may_only_read_the_set_is_told_so_at_once(made, name):
    """And not at the first acquire()."""
    SemaphoreSet(semid=made.semid).set_permissions(mode=0o644)

    def try_it():
        with pytest.raises(Denied, match=name):
            type(made).attach(name)

    as_nobody(try_it)


@needs_root
@each_class
def test_a_wider_mode_lets_other_users_in_but_not_remove_it(cls, name):
    def use_it():
        mine = cls.attach(name)
        with pytest.raises(Denied, match="owner") as caught:
            mine.unlink()
        assert caught.value.errno == errno.EPERM

    with make_and_remove(cls, name, mode=0o666):
        as_nobody(use_it)


@needs_root
@pytest.mark.parametrize("cls", [LockPool, BoundedSemaphore], ids=lambda cls: cls.__name__)
def test_what_needs_its_segment_says_so_if_this_user_may_not_have_it(cls, name):
    with make_and_remove(cls, name, mode=0o666) as made:
        change_segment_mode(made._segment.shmid, 0o600)

        def try_it():
            with pytest.raises(Error, match=name) as caught:
                cls.attach(name)
            assert "segment" in str(caught.value) or isinstance(caught.value, Denied)

        as_nobody(try_it)


@needs_root
def test_a_lock_works_without_its_segment(name):
    with make_and_remove(Lock, name, mode=0o666) as made:
        change_segment_mode(made._segment.shmid, 0o600)

        def use_it():
            with Lock.attach(name) as mine:
                assert mine.owner() is None

        as_nobody(use_it)


def change_segment_mode(shmid, mode):
    state = ffi.new("struct shmid_ds *")
    assert lib.shmctl(shmid, lib.IPC_STAT, state) == 0
    lib.semshare_ipc_set_mode(ffi.addressof(state, "shm_perm"), mode)
    assert lib.shmctl(shmid, lib.IPC_SET, state) == 0


# -------------------------------------------------------------------------------------------------------------- limits


@each_class
def test_as_many_sets_as_there_may_be(cls):
    def fill():
        Lock("one"), Lock("two")
        with pytest.raises(LimitReached, match=r"three.*there are 2 sets, and 2 there may be \(SEMMNI\)") as caught:
            make(cls, "three")
        assert caught.value.errno == errno.ENOSPC
        text = str(caught.value)
        assert "semshare rm --stale" in text and "sysctl kernel.sem='250 32000 32 4'" in text
        assert lib.shmget(key_of("three"), 0, 0) < 0, "nothing was left"
        Lock("two").unlink()
        make(cls, "three")

    with_limits("250 32000 32 2", fill)


def test_as_many_semaphores_as_there_may_be():
    def fill():
        LockPool("one", 200)
        with pytest.raises(LimitReached, match=r"200 semaphores.*300 there may be \(SEMMNS\)") as caught:
            LockPool("two", 150)
        assert caught.value.errno == errno.ENOSPC and "sysctl kernel.sem='250 600 32 10'" in str(caught.value)
        LockPool("two", 100)

    with_limits("250 300 32 10", fill)


def test_a_pool_larger_than_a_set_may_be():
    def fill():
        with pytest.raises(LimitReached, match=r"at most 250 semaphores \(SEMMSL\).*300") as caught:
            LockPool("one", 300)
        assert "make several smaller ones" in str(caught.value)
        assert len(list(LockPool("one", 250))) == 250

    with_limits("250 32000 32 10", fill)


def test_more_operations_than_a_call_may_have():
    def fill():
        pool = LockPool("one", 100)
        with pool.multi(*range(8)):
            pass
        with pytest.raises(BadValue, match="at most 8 operations") as caught:
            pool.multi(*range(9))
        assert caught.value.errno == errno.E2BIG

    with_limits("250 32000 8 10", fill)


class Told(logging.Handler):
    """What is logged, in a with block."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> Told:
        logging.getLogger("semshare").addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("semshare").removeHandler(self)


def test_no_more_segments():
    """A lock does without, and who needs one says what is short."""

    def fill():
        with Told() as told, Lock("one") as lock:
            assert lock.owner() is None
        assert len(told.lines) == 1 and "be told that its owner died" in told.lines[0] and "'one'" in told.lines[0]
        with pytest.raises(LimitReached, match=r"kernel\.shmmni = 0"):
            RLock("three")
        with pytest.raises(NotFound):
            RLock.attach("three")
        with pytest.raises(LimitReached, match=r"kernel\.shmmni = 0") as caught:
            LockPool("two", 3)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(NotFound):
            LockPool.attach("two")
        assert len(semshare.semaphore_set.all_sets()) == 1, "the half-made set was removed"

    with_limits("250 32000 32 10", fill, shmmni=0)


# ---------------------------------------------------------------------------------------------- sets that others remove


@pytest.fixture
def systemd(monkeypatch, tmp_path):
    """A machine that runs systemd, and this user a person who does not linger."""
    monkeypatch.setattr(advice, "SYSTEMD", tmp_path)
    monkeypatch.setattr(advice, "LINGERING", tmp_path / "linger")
    monkeypatch.setattr(advice, "logind_removes", lambda: True)
    monkeypatch.setattr(advice.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(advice.pwd, "getpwuid", lambda uid: type("Entry", (), {"pw_name": f"user{uid}"}))
    return tmp_path


def removed_message(name) -> str:
    lock = Lock(name)
    lock.unlink()
    with pytest.raises(Removed) as caught:
        lock.acquire()
    return str(caught.value)


def test_a_person_is_told_that_logind_removes_sets(systemd, name):
    message = removed_message(name)
    assert "systemd-logind" in message and "RemoveIPC" in message and "enable-linger user1000" in message


def test_who_lingers_is_not(systemd, name):
    (systemd / "linger").mkdir()
    (systemd / "linger" / "user1000").touch()
    assert "RemoveIPC" not in removed_message(name)


def test_nor_is_who_has_told_logind_not_to(systemd, name, monkeypatch):
    monkeypatch.setattr(advice, "logind_removes", lambda: False)
    assert "RemoveIPC" not in removed_message(name)


def test_nor_is_a_service_or_who_has_no_systemd(systemd, name, monkeypatch):
    monkeypatch.setattr(advice, "SYSTEMD", systemd / "none")
    assert "RemoveIPC" not in removed_message(name)
    monkeypatch.setattr(advice, "SYSTEMD", systemd)
    monkeypatch.setattr(advice.os, "geteuid", lambda: 999)
    assert "RemoveIPC" not in removed_message(name)


# -------------------------------------------------------------------------------------------------------------- errors


def all_errors():
    found = [Error]
    for each in found:
        found += each.__subclasses__()
    return sorted(set(found), key=lambda each: each.__name__)


@pytest.mark.parametrize("cls", all_errors(), ids=lambda cls: cls.__name__)
def test_errors_go_from_process_to_process(cls):
    """As concurrent.futures passes them."""
    if cls in (OwnerDied, HolderDead):
        error = cls("a message", *range(5, 5 + len(inspect.signature(cls).parameters) - 1))
    else:
        error = cls(errno.EPROTO, "a message")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is cls and str(again) == str(error) and again.errno == error.errno
        assert vars(again) == vars(error)
