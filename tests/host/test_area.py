# SPDX-License-Identifier: MIT
"""Area in POSIX shared memory: names, rights, lifetimes, and what killed processes leave behind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import mmap
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from processes import Child, Gate, wait_until
from semshare._abi import ffi, lib

from semshare import AbiMismatch, Area, Denied, Error, NameExists, NotFound, SemaphoreSet, device, key_of, shm
from semshare.stale import remove_stale

pytestmark = pytest.mark.skipif(device.present(), reason="the module is loaded: areas are its own; see tests/vm")


def path(name: str) -> str:
    return f"/dev/shm/semshare.{name}"


def test_two_attach_the_same_memory(name):
    with Area(name, 10000) as area, Area(name) as other:
        assert (area.size, other.size, area.backend, area.name) == (10000, 10000, "posix", name)
        assert len(area.buffer) == 10000 and bytes(area.buffer) == bytes(10000)
        area.buffer[9999] = 7
        assert other.buffer[9999] == 7
        other.buffer.cast("I")[0] = 0x01020304
        assert bytes(area.buffer[:4]) == (0x01020304).to_bytes(4, sys.byteorder)
        with mmap.mmap(other.fileno(), 4096) as plain:
            assert plain[:4] == bytes(area.buffer[:4])
    assert not os.path.exists(path(name))


def test_info_tells_what_is_known(name):
    with Area(name, 5000, mode=0o640) as area:
        info = area.info()
        assert (info.name, info.size, info.mode, info.uid, info.backend) == (name, 5000, 0o640, os.getuid(), "posix")
        assert (info.key, info.creator_pid, info.semid, info.stale) == (key_of(name), os.getpid(), None, False)
        assert [item for item in shm.list_areas() if item.name == name] == [info]
        assert name in repr(area) and "5000" in repr(area)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"size": 0}, "size"),
        ({"size": -1}, "size"),
        ({"size": 1 << 60}, "size"),
        ({"create": True}, "needs a size"),
        ({"size": 1, "mode": 0o777}, "mode"),
        ({"size": 1, "mode": -1}, "mode"),
        ({"size": 1, "readonly": True}, "read"),
        ({"size": 1, "backend": "other"}, "backend"),
    ],
)
def test_senseless_arguments_are_refused(name, arguments, text):
    with pytest.raises(ValueError, match=text):
        Area(name, **arguments)


def test_a_name_is_taken_once(name):
    with pytest.raises(NotFound, match=name) as missing:
        Area(name)
    assert isinstance(missing.value, FileNotFoundError) and missing.value.errno == errno.ENOENT
    with Area(name, 1):
        with pytest.raises(NameExists, match=f"semshare rm {name}") as taken:
            Area(name, 1)
        assert isinstance(taken.value, FileExistsError) and taken.value.errno == errno.EEXIST
        with pytest.raises(Error) as other_size:
            Area(name, 2, create=False)
        assert other_size.value.errno == errno.EINVAL
        Area(name, 1, create=False).close()


def test_more_than_there_is_room_for_is_an_error_and_no_sigbus(name):
    room = os.statvfs("/dev/shm")
    if room.f_blocks * room.f_frsize > 1 << 44:
        pytest.skip("no limit on /dev/shm")
    with pytest.raises(Error, match="remount") as caught:
        Area(name, room.f_blocks * room.f_frsize + (1 << 20))
    assert caught.value.errno in (errno.ENOSPC, errno.ENOMEM)


def test_a_readonly_area_cannot_be_written(name):
    with Area(name, 4096) as area, Area(name, readonly=True) as reader:
        area.buffer[0] = 5
        assert reader.buffer[0] == 5 and reader.buffer.readonly and reader.readonly
        with pytest.raises(TypeError):
            reader.buffer[0] = 1
        with pytest.raises(PermissionError):
            mmap.mmap(reader.fileno(), 4096)
        with pytest.raises(Denied):
            reader.bind(0)


def test_modes_are_enforced(name, names):
    if os.getuid():
        pytest.skip("needs root to become somebody else")
    second = names()

    def somebody_else():
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(Denied, match="mode") as caught:
            Area(name)
        assert isinstance(caught.value, PermissionError)
        with pytest.raises(Denied):
            Area(second)
        with Area(second, readonly=True) as reader:
            assert reader.buffer[0] == 9
            with pytest.raises(Denied):
                reader.unlink()

    with Area(name, 1), Area(second, 1, mode=0o644) as area:
        area.buffer[0] = 9
        assert Child(somebody_else).wait() == 0
        assert os.path.exists(path(second))


# ----------------------------------------------------------------------------------------------------------- lifetimes


def test_the_last_to_close_removes_it(name):
    area = Area(name, 1)
    other = Area(name)
    area.close()
    assert os.path.exists(path(name))
    other.close()
    assert not os.path.exists(path(name))
    other.close()
    for use in (area.fileno, area.info, area.unlink, lambda: area.buffer):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_views_outlive_their_area(name):
    area = Area(name, 4096)
    view = area.buffer
    words = view.cast("Q")
    area.close()
    assert not os.path.exists(path(name))
    words[3] = 77
    assert view[24] == 77
    del view, words
    gc.collect()


def test_a_forgotten_area_is_closed(name):
    Area(name, 1)
    gc.collect()
    assert not os.path.exists(path(name))


def test_an_area_is_closed_when_python_ends(name):
    code = f"import semshare; area = semshare.Area({name!r}, 100); import builtins; builtins.keep = area"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert not os.path.exists(path(name))


def test_unlink_hides_the_name_and_keeps_the_memory(name):
    with Area(name, 1) as area, Area(name) as other:
        area.unlink()
        area.unlink()
        with pytest.raises(NotFound):
            Area(name)
        area.buffer[0] = 3
        assert other.buffer[0] == 3 and other.info().unlinked
        with Area(name, 2) as second:
            assert second.size == 2
            other.close()
            assert os.path.exists(path(name)), "another area of that name is not to be removed"


def test_a_forked_child_uses_it_on_and_may_close_it(name):
    with Area(name, 1) as area:

        def child():
            area.buffer[0] += 1
            area.close()

        assert Child(child).wait() == 0
        assert area.buffer[0] == 1
        assert os.path.exists(path(name))
    assert not os.path.exists(path(name))


def test_a_child_outlives_its_parents_close(name):
    gate = Gate()
    area = Area(name, 1)

    def child():
        gate.pass_through()
        area.buffer[0] = 1
        area.close()

    child_process = Child(child)
    area.close()
    assert os.path.exists(path(name)), "the child still uses it"
    gate.open()
    assert child_process.wait() == 0
    assert not os.path.exists(path(name))
    gate.close()


def test_a_set_goes_with_its_area(name):
    semaphores = SemaphoreSet(0, count=1, create=True)
    with Area(name, 1) as area:
        area.bind(semaphores.semid)
        assert area.info().semid == semaphores.semid and area.info().owns_set
        with pytest.raises(Error) as again:
            area.bind(semaphores.semid)
        assert again.value.errno == errno.EBUSY
        Area(name).close()
        assert semaphores.value() == 0
    with pytest.raises(Error):
        semaphores.value()


def test_a_set_that_is_not_owned_stays(name):
    semaphores = SemaphoreSet(0, count=1, create=True)
    with Area(name, 1) as area:
        area.bind(semaphores.semid, own=False)
        area.unlink()
    assert semaphores.value() == 0
    semaphores.remove()


# --------------------------------------------------------------------------------------------------- creators that die


def test_a_file_that_its_creator_did_not_finish_is_made_anew(name):
    for size, written in ((0, b""), (8192, b""), (8192, bytes(64) + name.encode())):
        with open(path(name), "wb") as file:
            file.truncate(size)
            if written:
                file.seek(size - 4096)
                file.write(written)
        with pytest.raises(NotFound):
            Area(name)
        with Area(name, 100) as area:
            assert area.size == 100


def test_attaching_waits_for_a_creator_at_work(name):
    fd = os.open(path(name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    started = Gate()

    def attach():
        os.close(fd)
        started.open()
        try:
            Area(name)
        except NotFound:
            sys.exit(3)

    child = Child(attach)
    started.pass_through()
    time.sleep(0.3)
    assert not child.poll(), "it has to wait: the creator lives"
    os.unlink(path(name))
    os.close(fd)
    assert child.wait() == 3
    started.close()


def test_a_strange_file_is_neither_used_nor_removed(name):
    with open(path(name), "wb") as file:
        file.write(b"somebody's data" * 1000)
    with pytest.raises(Error, match="no area"):
        Area(name)
    with pytest.raises(NameExists):
        Area(name, 1)
    assert name not in [item.name for item in remove_stale([name])]
    os.unlink(path(name))


def test_another_version_is_refused(name):
    with Area(name, 1) as area:
        os.pwrite(area.fileno(), (99).to_bytes(4, sys.byteorder), 4096 + 4)
        with pytest.raises(AbiMismatch, match="99"):
            Area(name)


def test_many_creators_at_once_and_one_wins(name):
    start, stop = Gate(), Gate()

    def create():
        start.pass_through()
        try:
            area = Area(name, 4096)
        except NameExists:
            sys.exit(2)
        stop.pass_through()
        area.close()

    for _ in range(5):
        children = [Child(create) for _ in range(20)]
        start.open(20)
        wait_until(lambda children=children: sum(child.poll() for child in children) == 19, "19 losers")
        stop.open()
        assert sorted(child.wait() for child in children) == [0] + [2] * 19
    start.close(), stop.close()


def test_creators_and_users_killed_at_any_moment_leave_a_name_that_can_be_used(name):
    def use():
        while True:
            try:
                with Area(name, 4096) as area:
                    area.buffer[0] = 1
            except NameExists:
                with contextlib.suppress(NotFound):
                    Area(name, create=False).close()

    kills = 100
    stale = 0
    for _ in range(kills):
        children = [Child(use) for _ in range(2)]
        time.sleep(random.uniform(0, 0.01))
        for child in children:
            child.kill()
        stale += name in [item.name for item in remove_stale([name])]
        with Area(name, 100) as area:
            assert area.size == 100
    print(f"{2 * kills} creators and users killed, {stale} areas left behind and removed")


# --------------------------------------------------------------------------------------------------------- left behind


def killed_with(name: str) -> SemaphoreSet:
    """An area with a set, whose only user was killed."""
    gate = Gate()

    def use():
        area = Area(name, 100)
        semaphores = SemaphoreSet(key_of(name), count=1, create=True)
        area.bind(semaphores.semid)
        gate.open()
        signal.pause()

    child = Child(use)
    gate.pass_through()
    child.kill()
    gate.close()
    return SemaphoreSet(key_of(name))


def test_what_killed_users_left_is_found_and_removed_with_its_set(name):
    semaphores = killed_with(name)
    assert [info.stale for info in shm.list_areas() if info.name == name] == [True]
    with pytest.raises(NameExists, match="semshare rm --stale"):
        Area(name, 1)
    assert name in [item.name for item in remove_stale([name], dry_run=True)]
    assert os.path.exists(path(name))
    removed = {item.name: item for item in remove_stale([name])}
    assert removed[name].kind == "area" and str(semaphores.semid) in removed[name].detail
    assert not os.path.exists(path(name))
    with pytest.raises(Error):
        semaphores.value()


def test_what_killed_users_left_may_be_used_on(name):
    killed_with(name)
    with Area(name) as area:
        assert not area.info().stale
        assert name not in [item.name for item in remove_stale([name])]
    assert not os.path.exists(path(name))


def test_an_area_in_use_is_never_stale(name):
    with Area(name, 1):
        for _ in range(3):
            assert name not in [info.name for info in shm.stale_areas()]
            assert name not in [item.name for item in remove_stale([name])]


def test_removing_what_is_stale_races_with_who_attaches(name):
    """Either it is attached, then it stays, or it is removed, then it is gone."""

    def remove():
        while True:
            remove_stale([name])

    remover = Child(remove)
    try:
        attached = 0
        for _ in range(30):
            killed_with_area(name)
            try:
                area = Area(name)
            except NotFound:
                continue
            attached += 1
            for _ in range(20):
                assert not area.info().unlinked
            area.close()
    finally:
        remover.kill()
    remove_stale([name])


def killed_with_area(name: str) -> None:
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


def test_stale_locks_are_found_and_others_are_not(names):
    from semshare import Lock

    stale, used, held = names(), names(), names()

    def make():
        for name in (stale, used, held):
            Lock(name)

    assert Child(make).wait() == 0
    mine = Lock(used)
    plain = SemaphoreSet(key_of(held))
    plain.operate([(0, -1)])
    removed = [item.name for item in remove_stale([stale, used, held]) if item.kind == "lock"]
    assert stale in removed and used not in removed and held not in removed
    assert lib.semget(key_of(stale), 0, 0) < 0 and ffi.errno == errno.ENOENT
    with mine:
        pass
    mine.unlink()
    plain.operate([(0, 1)])
    Lock(held).unlink()


def test_looking_at_areas_keeps_nobody_from_removing_his(name):
    """Who lists asks by the same lock as who closes: still the last to close removes the area."""

    def look():
        while True:
            shm.list_areas()

    lookers = [Child(look) for _ in range(2)]
    try:
        for _ in range(300):
            with Area(name, 1):
                pass
            assert not os.path.exists(path(name))
    finally:
        for looker in lookers:
            looker.kill()
