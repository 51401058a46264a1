# SPDX-License-Identifier: MIT
"""What killed processes left: what is found, with its age and why, what is removed, and who is asked."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys

import pytest
from companions import Companion, left_behind
from processes import Child, Gate, wait_until
from semshare._abi import ffi, lib

from semshare import Area, Lock, SemaphoreSet, device, key_of, shm, stale
from semshare.semaphore_set import exists

# The module's areas go with their last user, and so are never stale.
posix_areas = pytest.mark.skipif(device.present(), reason="the module is loaded: areas are its own")

LIMIT = 60
LOCK = lib.SEMSHARE_SET_LOCK

# Of each kind: the values of a set in which nobody is, and those of one in which somebody is.
KINDS = {
    "lock": (lib.SEMSHARE_SET_LOCK, [1], [0]),
    "reentrant lock": (lib.SEMSHARE_SET_RLOCK, [1], [0]),
    "lock pool": (lib.SEMSHARE_SET_POOL, [1, 1, 1], [1, 1, 0]),
    "read/write lock": (lib.SEMSHARE_SET_RWLOCK, [0, 0, 0], [0, 2, 0]),
    "condition": (lib.SEMSHARE_SET_CONDITION, [1, 0, 0], [0, 0, 0]),
    "barrier": (lib.SEMSHARE_SET_BARRIER, [1, 0, 0], [0, 0, 0]),
    "semaphore": (lib.SEMSHARE_SET_SEMAPHORE, [3], None),
    "bounded semaphore": (lib.SEMSHARE_SET_BOUNDED, [32767], None),
    "event": (lib.SEMSHARE_SET_EVENT, [1], None),
}


def rm(*arguments: str, **more) -> subprocess.CompletedProcess:
    more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(
        [sys.executable, "-m", "semshare.cli", "rm", *arguments], capture_output=True, text=True, timeout=LIMIT, **more
    )


def segment_of(name: str) -> int:
    return lib.shmget(key_of(name), 0, 0)


def forget(name: str) -> None:
    """Remove what there is of a set and its companion."""
    with contextlib.suppress(OSError):
        SemaphoreSet(key_of(name)).remove()
    if (shmid := segment_of(name)) >= 0:
        lib.shmctl(shmid, lib.IPC_RMID, ffi.NULL)


def stale_area(name: str) -> None:
    """An area whose only user was killed."""
    gate = Gate()

    def use():
        area = Area(name, 100)
        gate.open()
        signal.pause()
        area.close()

    child = Child(use)
    gate.pass_through()
    child.kill()
    gate.close()


# ------------------------------------------------------------------------------------------------------- what is found


@pytest.mark.parametrize("noun", KINDS)
def test_a_set_that_nobody_uses_is_found_but_not_certain(name, noun):
    kind, free, _ = KINDS[noun]
    semid = left_behind(name, kind, free)
    (found,) = stale.find([name])
    assert (found.kind, found.name, found.certain) == (noun, name, False)
    assert str(semid) in found.detail and str(segment_of(name)) in found.detail
    assert "has ended" in found.why and 0 <= found.age < 3600
    forget(name)


@pytest.mark.parametrize("noun", KINDS)
def test_without_its_name_such_a_set_stays(name, noun):
    kind, free, _ = KINDS[noun]
    semid = left_behind(name, kind, free)
    assert name not in [each.name for each in stale.remove_stale(dry_run=True)]
    assert exists(semid)
    assert [each.name for each in stale.remove_stale([name])] == [name]
    assert not exists(semid) and segment_of(name) < 0


@pytest.mark.parametrize("noun", [noun for noun, (_, _, taken) in KINDS.items() if taken])
def test_one_in_which_somebody_is_is_not_found(name, noun):
    """A plain program, which attaches no companion."""
    kind, _, taken = KINDS[noun]
    left_behind(name, kind, taken)
    assert stale.find([name]) == [] == stale.remove_stale([name])
    forget(name)


@pytest.mark.parametrize("noun, wait", [("event", (0, 0)), ("semaphore", (0, -4)), ("condition", (2, -1))])
def test_one_for_which_somebody_waits_is_not_found(name, noun, wait):
    kind, free, _ = KINDS[noun]
    semaphores = SemaphoreSet(semid=left_behind(name, kind, free))
    waiter = Child(semaphores.operate, [wait])
    number = wait[0]
    wait_until(lambda: semaphores.waiters(number) + semaphores.zero_waiters(number) == 1, "the wait")
    assert stale.find([name]) == []
    waiter.kill()
    assert [each.name for each in stale.remove_stale([name])] == [name]


def test_one_that_somebody_has_open_is_not_found(name):
    left_behind(name, LOCK, [1])
    lock = Lock(name)
    assert stale.find([name]) == []
    lock.unlink()


def test_one_whose_creator_lives_is_not_found(name):
    made = Companion(name, LOCK, [1])
    made.detach()
    assert stale.find([name]) == []
    made.remove()


def test_what_was_found_and_is_used_again_stays(name):
    semid = left_behind(name, LOCK, [1])
    (found,) = stale.find([name])
    lock = Lock(name)
    assert not found.remove() and exists(semid)
    lock.close()
    SemaphoreSet(semid=semid).operate([(0, -1)])
    assert not found.remove() and exists(semid)
    forget(name)


def test_a_companion_without_its_set_is_certain(name):
    SemaphoreSet(semid=left_behind(name, LOCK, [1])).remove()
    (found,) = stale.find([name])
    assert found.certain and "was removed" in found.why
    assert found.remove() and segment_of(name) < 0


def test_a_companion_of_a_set_that_was_made_anew_is_certain_and_the_set_stays(name):
    SemaphoreSet(semid=left_behind(name, LOCK, [1])).remove()
    anew = SemaphoreSet(key_of(name), count=1, create=True)
    assert [each.certain for each in stale.remove_stale([name])] == [True]
    assert anew.stat().semaphores == 1
    anew.remove()


def test_a_companion_whose_set_has_an_id_that_is_anothers_now_is_certain_and_the_other_stays(name):
    other = SemaphoreSet(lib.IPC_PRIVATE, count=1)
    made = Companion(name, LOCK, [1])
    made.semaphores.remove()
    made.words.semid = other.semid
    made.detach()
    assert [each.certain for each in stale.remove_stale([name])] == [True]
    assert segment_of(name) < 0 and exists(other.semid)
    other.remove()


@pytest.mark.parametrize("noun", ["lock", "lock pool"])
def test_a_set_whose_creator_was_killed_making_it_is_certain(name, noun):
    kind, free, _ = KINDS[noun]
    semid = left_behind(name, kind, free, finished=False)
    (found,) = stale.find([name])
    assert found.certain and "killed making it" in found.why
    assert found.remove() and not exists(semid) and segment_of(name) < 0


@posix_areas
def test_an_area_without_a_user_is_certain(name):
    stale_area(name)
    (found,) = stale.find([name])
    assert (found.kind, found.certain) == ("area", True)
    assert shm.path_of(name) in found.detail and "killed" in found.why and 0 <= found.age < 3600
    with Area(name, create=False):
        assert not found.remove()


# ------------------------------------------------------------------------------------------------------- who is asked


@posix_areas
def test_nothing_is_removed_where_nobody_can_be_asked(name):
    stale_area(name)
    ended = rm("--stale", name)
    assert ended.returncode == 1 and "--yes" in ended.stderr and ended.stderr.count("\n") == 1
    assert name in ended.stdout and "killed" in ended.stdout
    assert os.path.exists(shm.path_of(name))
    assert rm("--stale", "--yes", name).returncode == 0
    assert not os.path.exists(shm.path_of(name))


@posix_areas
def test_a_dry_run_asks_nobody(name):
    stale_area(name)
    ended = rm("--stale", "--dry-run", name)
    assert ended.returncode == 0 and f"would remove area {name}" in ended.stdout
    assert os.path.exists(shm.path_of(name))
    shm.remove_if_stale(name)


def test_nobody_is_asked_if_nothing_is_stale(name):
    lock = Lock(name)
    ended = rm("--stale", name)
    assert ended.returncode == 0 and ended.stdout == "nothing is stale\n" and ended.stderr == ""
    lock.unlink()


def test_what_does_not_exist_is_not_passed_over_in_silence(names):
    there, absent = names(), names()
    for more in (["--yes"], ["--dry-run"], []):
        ended = rm("--stale", absent, *more)
        assert ended.returncode == 1 and ended.stdout == ""
        assert f"{absent}: there is no area, ring or lock of that name" in ended.stderr
    left_behind(there, LOCK, [1])
    ended = rm("--stale", absent, there, "--yes")
    assert ended.returncode == 1 and absent in ended.stderr and f"removed lock {there}" in ended.stdout
    ended = rm("--stale", "no/name", "--yes")
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1


@posix_areas
@pytest.mark.parametrize("answer, status", [("n", 1), ("", 1), ("y", 0)])
def test_who_sits_at_a_terminal_is_asked(name, answer, status):
    stale_area(name)
    ours, its = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    ended = rm("--stale", name, stdin=its)
    os.close(ours)
    os.close(its)
    assert ended.returncode == status and f"remove area {name}?" in ended.stdout + ended.stderr
    assert os.path.exists(shm.path_of(name)) == (status == 1)
    assert ("nothing was removed" in ended.stderr) == (status == 1)
    shm.remove_if_stale(name)


def test_a_lock_that_may_be_unused_is_listed_and_stays(name):
    semid = left_behind(name, LOCK, [1])
    ended = rm("--stale", "--dry-run")
    line = next(line for line in ended.stdout.splitlines() if f" {name}, " in line)
    assert line.startswith("lock ") and " s: " in line and "nobody has it open" in line
    assert f"would remove lock {name}" not in ended.stdout
    assert ended.stdout.index("perhaps unused") < ended.stdout.index(line)
    ended = rm("--stale", "--yes", name)
    assert ended.returncode == 0 and f"removed lock {name} (segment" in ended.stdout
    assert not exists(semid)


def test_yes_alone_is_wrong_usage(name):
    assert rm("--yes", name).returncode == 2


# ------------------------------------------------------------------------------------------------ by name, and by key


@pytest.mark.parametrize("noun", KINDS)
def test_rm_removes_each_kind_by_name(name, noun):
    kind, free, _ = KINDS[noun]
    made = Companion(name, kind, free)
    made.detach()
    ended = rm(name)
    assert ended.returncode == 0 and f"removed {noun} {name}" in ended.stdout
    assert not exists(made.semid) and segment_of(name) < 0


def test_rm_removes_by_key(name):
    Lock(key=key_of(name))
    assert rm("--key", "0").returncode == 2 and rm("--key", "name").returncode == 2
    assert rm("--key", hex(key_of(name)), name).returncode == 2
    assert rm("--key", hex(key_of(name))).returncode == 0
    ended = rm("--key", hex(key_of(name)))
    assert ended.returncode == 1 and hex(key_of(name)) in ended.stderr
