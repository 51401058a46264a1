# SPDX-License-Identifier: MIT
"""Where areas lie, in arrays, in pages of their own or of somebody else's; without the module."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
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
import sysv_ipc
from processes import Child

from semshare import AddressTaken, Area, Denied, Error, NameExists, NotFound, area, device, shm
from semshare.stale import remove_stale

pytestmark = pytest.mark.skipif(device.present(), reason="the module is loaded: areas are its own; see tests/vm")

PAGE = mmap.PAGESIZE
HERE = 0x1234_5600_0000


def address_for(number: int = 0) -> int:
    """An address at which nobody maps anything by himself."""
    return HERE + number * (1 << 30)


@pytest.fixture
def memfd():
    """Makes memfds that are sealed as wanted."""
    with contextlib.ExitStack() as stack:

        def make(size=2 * PAGE, seals=fcntl.F_SEAL_SHRINK):
            fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            stack.callback(_close, fd)
            os.ftruncate(fd, size)
            if size:
                os.pwrite(fd, b"before", 0)
            if seals:
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            return fd

        yield make


def _close(fd):
    with contextlib.suppress(OSError):
        os.close(fd)


@pytest.fixture
def segment():
    """A SysV segment of sysv_ipc, of three pages."""
    made = sysv_ipc.SharedMemory(None, sysv_ipc.IPC_CREX, size=3 * PAGE)
    made.write(b"before")
    yield made
    with contextlib.suppress(sysv_ipc.Error):
        made.detach()
    with contextlib.suppress(sysv_ipc.Error):
        made.remove()


# ----------------------------------------------------------------------------------------------------------- addresses


def test_an_area_is_mapped_where_it_was_asked_for(name):
    with Area.create(name, 10000, address=address_for()) as made:
        assert made.address == ctypes.addressof(ctypes.c_char.from_buffer(made.buffer)) == address_for()
        assert made.info().address == address_for()
        with Area.attach(name, address=None) as other:
            assert other.address != address_for()
            assert bytes(other.buffer) == bytes(made.buffer)
        with Area.attach(name, address=address_for(1)) as other:
            assert other.address == address_for(1)


def test_pointers_mean_the_same_in_every_process_that_agrees(name):
    other = (
        f"import ctypes, semshare\nwith semshare.Area.attach({name!r}) as area:\n"
        f"    assert area.address == {address_for()}\n"
        "    assert ctypes.c_uint64.from_address(area.buffer.cast('Q')[0]).value == 4711\n"
    )
    with Area.create(name, 4096, address=address_for()) as made:
        words = made.buffer.cast("Q")
        words[0], words[64] = made.address + 64 * 8, 4711
        assert subprocess.run([sys.executable, "-c", other]).returncode == 0


def test_nothing_that_is_mapped_is_replaced(name):
    there = mmap.mmap(-1, 8 * PAGE)
    there[:] = b"precious" * PAGE
    address = ctypes.addressof(ctypes.c_char.from_buffer(there))
    for at in (address, address + 7 * PAGE, address - PAGE):
        with pytest.raises(AddressTaken, match=f"{at:#x}.*already") as caught:
            Area.create(name, 2 * PAGE, address=at)
        assert caught.value.errno == errno.EEXIST
        assert not os.path.exists(shm.path_of(name))
    with Area.create(name, 2 * PAGE), pytest.raises(AddressTaken):
        Area.attach(name, address=address)
    assert there[:] == b"precious" * PAGE
    del there
    gc.collect()


def test_the_error_names_what_is_there(name):
    with Area.create(name, PAGE, address=address_for()), pytest.raises(AddressTaken, match=shm.path_of(name)):
        Area.attach(name)


@pytest.mark.parametrize("address", [1, -PAGE, PAGE + 8, 1 << 60, 0, "there", 1.5, True])
def test_senseless_addresses_are_refused(name, address):
    with pytest.raises(ValueError, match="address"):
        Area.create(name, PAGE, address=address)


def test_an_address_that_no_process_can_have_is_an_error(name):
    with pytest.raises(Error, match="another address"):
        Area.create(name, PAGE, address=(1 << 47) - PAGE)
    assert not os.path.exists(shm.path_of(name))


# -------------------------------------------------------------------------------------------------- prefault and arrays


def resident(address: int) -> int:
    """KiB that a mapping has in this process's page tables."""
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as table:
        entry = table.read().split(f"{address:x}-", 1)[1]
    return int(entry.split("Rss:", 1)[1].split()[0])


@pytest.mark.parametrize("readonly", [False, True])
def test_prefault_maps_all_of_it_at_once(name, readonly):
    size = 64 * PAGE
    with Area.create(name, size):
        with Area.attach(name, readonly=readonly) as lazy:
            assert resident(lazy.address) == 0
        with Area.attach(name, readonly=readonly, prefault=True) as eager:
            assert resident(eager.address) == size // 1024


@pytest.mark.parametrize("size", [100, (2 << 20) + 1, 5 << 20])
def test_an_area_in_huge_pages_is_like_any_other(name, size):
    with Area.create(name, size, huge=True) as made, Area.attach(name) as other:
        assert bytes(made.buffer[:100]) == bytes(100) and made.size == size
        made.buffer[size - 1] = 3
        assert other.buffer[size - 1] == 3
        assert os.stat(shm.path_of(name)).st_blocks * 512 >= size, "all of it is reserved"
    with pytest.raises(ValueError, match="huge"):
        Area.create(name, 1, huge=True, kind="contiguous")


def test_arrays_are_the_memory_itself(name):
    numpy = pytest.importorskip("numpy")
    with Area.create(name, 8000) as made, Area.attach(name) as other:
        one, two = made.array("f8"), other.array(numpy.float64, (10, 100))
        assert one.shape == (1000,)
        one[:] = numpy.arange(1000)
        assert two[3, 7] == 307 and other.array("f8", 1, 999 * 8)[0] == 999
        assert one.ctypes.data == made.address and not one.flags.owndata
        record = numpy.dtype([("id", "u4"), ("value", "f4")])
        made.array(record, 3, 80)["id"] = (1, 2, 3)
        assert other.buffer[96:100].cast("I")[0] == 3
        assert made.array("u1", 0, 8000).size == 0
    # The areas are closed, the memory is not gone.
    two[3, 7] = -1
    assert one[307] == -1
    del one, two
    gc.collect()
    assert not os.path.exists(shm.path_of(name))


def test_arrays_of_a_readonly_area_cannot_be_written(name):
    pytest.importorskip("numpy")
    with Area.create(name, 64), Area.attach(name, readonly=True) as reader:
        array = reader.array("u1")
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("f8", 9), "72 bytes"),
        (("f8", (3, 3)), "72 bytes"),
        (("f8", 8, 8), "from offset 8"),
        (("f8", 1, 4), "alignment"),
        (("f8", 1, -8), "offset"),
        (("f8", 1, 72), "offset"),
        (("u1", -1), "shape"),
        (("O", 1), "objects"),
        (("u1", (1 << 40, 1 << 40)), "bytes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name, arguments, text):
    pytest.importorskip("numpy")
    with Area.create(name, 64) as made, pytest.raises(ValueError, match=text):
        made.array(*arguments)


def test_without_numpy_only_arrays_are_missing(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with Area.create(name, 64) as made:
        with pytest.raises(ImportError, match="pip install numpy"):
            made.array("u1")
        assert made.buffer[0] == 0


def test_a_view_outlives_its_area_and_other_areas_of_its_name(name):
    for number in range(20):
        made = Area.create(name, PAGE)
        view = made.buffer
        view[0] = number
        made.close()
        with Area.create(name, PAGE) as second:
            assert second.buffer[0] == 0 and view[0] == number
    del view


# ----------------------------------------------------------------------------------------------------- imported: memfd


def test_an_area_of_a_memfd_is_that_memory(name, memfd):
    fd = memfd()
    plain = mmap.mmap(fd, 2 * PAGE)
    with Area.from_memfd(name, fd) as made:
        os.close(fd)
        assert made.size == 2 * PAGE and bytes(made.buffer[:6]) == b"before"
        info = made.info()
        assert (info.kind, info.backend, info.size) == ("memfd", "posix", 2 * PAGE)
        with Area.attach(name) as other, Area.attach(name, readonly=True) as reader:
            other.buffer[PAGE] = 7
            assert plain[PAGE] == made.buffer[PAGE] == reader.buffer[PAGE] == 7
            assert reader.buffer.readonly
            with mmap.mmap(other.fileno(), PAGE) as again:
                assert again[:6] == b"before"
    assert not os.path.exists(shm.path_of(name))
    assert plain[:6] == b"before"


def test_other_processes_attach_it_as_long_as_its_maker_has_it(name, memfd):
    made = Area.from_memfd(name, memfd())

    def other():
        with Area.attach(name) as found:
            found.buffer[0] = ord("B")

    assert Child(other).wait() == 0
    assert bytes(made.buffer[:6]) == b"Before"
    kept = Area.attach(name)
    made.close()
    with pytest.raises(NotFound, match="closed it or ended"):
        Area.attach(name)
    assert bytes(kept.buffer[:6]) == b"Before"
    kept.close()
    assert not os.path.exists(shm.path_of(name))


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE])
def test_a_memfd_that_is_not_sealed_right_is_refused(name, memfd, seals):
    with pytest.raises(Denied, match="F_SEAL_SHRINK"):
        Area.from_memfd(name, memfd(seals=seals))
    assert not os.path.exists(shm.path_of(name))


def test_what_is_no_memfd_or_too_short_is_refused(name, memfd, tmp_path):
    with open(tmp_path / "file", "w+b") as file:
        file.truncate(PAGE)
        with pytest.raises(Error, match="memfd"):
            Area.from_memfd(name, file.fileno())
    with pytest.raises(Error, match="has 8192"):
        Area.from_memfd(name, memfd(), size=3 * PAGE)
    with pytest.raises(ValueError, match="size"):
        Area.from_memfd(name, memfd(0))
    assert not os.path.exists(shm.path_of(name))


def test_a_memfd_cannot_be_truncated_under_its_users_and_a_file_can(name, memfd):
    """The one thing that areas in /dev/shm are not safe from: whoever may write the file may truncate it."""

    def truncate_and_look(made):
        faulthandler.disable()
        view = made.buffer
        try:
            os.ftruncate(made.fileno(), 0)
        except OSError as error:
            assert error.errno == errno.EPERM
            os._exit(view[0])
        os._exit(view[0])

    fd = memfd()
    os.pwrite(fd, b"\x21", 0)
    with Area.from_memfd(name, fd) as made:
        assert Child(lambda: truncate_and_look(made)).wait() == 0x21
    made = Area.create(name, PAGE)
    child = Child(lambda: truncate_and_look(made))
    assert child.wait() == -signal.SIGBUS
    os.unlink(shm.path_of(name))
    made.close()


# ------------------------------------------------------------------------------------------------------ imported: SysV


def test_an_area_of_a_segment_is_that_memory(name, segment):
    for arguments in ({"shmid": segment.id}, {"key": segment.key}):
        with Area.from_sysv(name, **arguments) as made, Area.attach(name) as other:
            assert made.size == 3 * PAGE and bytes(made.buffer[:6]) == b"before"
            other.buffer[PAGE] = 7
            assert segment.read(1, PAGE) == b"\x07"
            assert made.info().kind == "sysv"
            with pytest.raises(Error, match="no descriptor"):
                made.fileno()
            with Area.attach(name, readonly=True) as reader:
                assert reader.buffer[PAGE] == 7 and reader.buffer.readonly
        assert not os.path.exists(shm.path_of(name))
    assert segment.read(6) == b"before", "the area never removes the segment"


def test_a_segment_keeps_the_memory_when_it_is_removed(name, segment):
    made = Area.from_sysv(name, segment.id)
    segment.remove()
    segment.detach()
    with Area.attach(name) as other:  # Linux lets one attach it by its id as long as somebody has it
        made.close()
        assert bytes(other.buffer[:6]) == b"before"
    assert not os.path.exists(shm.path_of(name))


def test_an_area_whose_segment_is_gone_says_so(name, segment):
    made = Area.from_sysv(name, segment.id)
    kept = os.open(shm.path_of(name), os.O_RDONLY)
    fcntl.flock(kept, fcntl.LOCK_SH)  # as somebody who lives on
    made.close()
    segment.remove()
    segment.detach()
    with pytest.raises(NotFound, match="was removed"):
        Area.attach(name)
    assert [item.kind for item in shm.list_areas() if item.name == name] == ["sysv"]
    os.close(kept)
    assert [item.name for item in remove_stale([name])] == [name]


def test_another_segment_of_the_same_id_is_not_taken_for_it(name, segment):
    made = Area.from_sysv(name, segment.id)
    trailer = shm._read_trailer(made._handle.fd)
    trailer.source_id[1] += 1
    shm._write_trailer(made._handle.fd, trailer, trailer.magic)
    with pytest.raises(NotFound, match="removed"):
        Area.attach(name)
    made.close()


def test_segments_that_are_not_there_are_said_so(name, segment):
    with pytest.raises(NotFound, match="ipcs -m"):
        Area.from_sysv(name, 0x7FFF0000)
    with pytest.raises(ValueError, match="shmid"):
        Area.from_sysv(name)
    with pytest.raises(Error, match="has 12288"):
        Area.from_sysv(name, segment.id, size=3 * PAGE + 1)
    with Area.from_sysv(name, segment.id), pytest.raises(NameExists):
        Area.from_sysv(name, segment.id)


def test_imported_memory_lies_where_it_was_agreed(name, segment, memfd):
    with Area.from_sysv(name, segment.id, address=address_for()) as made:
        assert made.address == address_for()
        with pytest.raises(AddressTaken):
            Area.attach(name)
        with Area.attach(name, address=None) as other:
            assert bytes(other.buffer[:6]) == b"before"
    with Area.from_memfd(name, memfd(), address=address_for(), prefault=True) as made:
        assert made.address == made.info().address == address_for()


def test_ls_looks_into_imported_areas_and_leaves_them(name, segment):
    with Area.from_sysv(name, segment.id, size=PAGE) as made:
        assert shm.peek(name, 6) == b"before"
        assert shm.peek(name, 2 * PAGE) is None
        assert [info.kind for info in area.list_areas() if info.name == name] == ["sysv"]
        assert not made.closed and os.path.exists(shm.path_of(name))


def test_kinds_of_the_module_alone_say_so(name):
    for kind in ("contiguous", "reserved"):
        with pytest.raises(Error, match="modprobe semshare") as caught:
            Area.create(name, PAGE, kind=kind)
        assert caught.value.errno == errno.EOPNOTSUPP
    with pytest.raises(ValueError, match="from_memfd"):
        Area.create(name, PAGE, kind="memfd")


def test_users_killed_at_any_moment_leave_names_that_can_be_used(name, segment, memfd):
    fd = memfd()

    def use():
        random.seed(os.getpid())
        while True:
            with contextlib.suppress(NameExists, NotFound):
                if random.random() < 0.5:
                    Area.from_sysv(name, segment.id).close()
                else:
                    Area.from_memfd(name, fd).close()
            with contextlib.suppress(NotFound):
                Area.attach(name).close()

    for _ in range(30):
        children = [Child(use) for _ in range(2)]
        time.sleep(random.uniform(0, 0.02))
        for child in children:
            child.kill()
        remove_stale([name])
        with Area.from_sysv(name, segment.id) as made:
            assert bytes(made.buffer[:6]) == b"before"
