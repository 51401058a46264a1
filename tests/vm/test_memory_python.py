# SPDX-License-Identifier: MIT
"""Areas of other memory as Python has them with the module, and as a device sees them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import abi
import kernel
import pytest
import sysv_ipc
from click.testing import CliRunner

from semshare import AddressTaken, Area, Denied, Error, NotFound
from semshare.cli import ls

PAGE = mmap.PAGESIZE
MIB = 1 << 20
HERE = 0x1234_5600_0000
RESERVED = "4M$0x20000000"  # as vm/run tells the kernel
PARAMETERS = Path("/sys/module/semshare_memory/parameters")


@pytest.fixture
def memfd():
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4 * PAGE)
    os.pwrite(fd, b"before", 0)
    yield fd
    with contextlib.suppress(OSError):
        os.close(fd)


def seal(fd, seals=fcntl.F_SEAL_SHRINK):
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


@contextlib.contextmanager
def device_memory(parameters):
    """The sample module, with an area for its device."""
    assert kernel.load("semshare_memory", parameters) == 0
    try:
        yield int((PARAMETERS / "segments").read_text()), int((PARAMETERS / "address").read_text())
    finally:
        assert kernel.unload("semshare_memory") == 0


def frames(address, count):
    """The physical addresses of pages of this process."""
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        words = struct.unpack(f"{count}Q", os.pread(file.fileno(), 8 * count, address // PAGE * 8))
    return [(word & (1 << 55) - 1) * PAGE for word in words]


# Imported


def test_a_memfd_becomes_an_area_of_the_module(memfd):
    with pytest.raises(Denied, match="F_SEAL_SHRINK"):
        Area.from_memfd("imported", memfd)
    with Area.from_memfd("imported", seal(memfd), prefault=True) as made:
        os.close(memfd)
        info = made.info()
        assert (made.backend, made.size, info.kind, info.maps) == ("module", 4 * PAGE, "memfd", 1)
        with Area.attach("imported") as other, Area.attach("imported", readonly=True) as reader:
            other.buffer[0] = ord("B")
            assert bytes(reader.buffer[:6]) == bytes(made.buffer[:6]) == b"Before"
            array = reader.array("u1")
        assert bytes(array[:6]) == b"Before"
        del array
    with pytest.raises(NotFound):
        Area.attach("imported")


def test_a_segment_of_sysv_ipc_becomes_an_area_of_the_module():
    segment = sysv_ipc.SharedMemory(None, sysv_ipc.IPC_CREX, size=2 * PAGE)
    segment.write(b"before")
    with Area.from_sysv("imported", segment.id) as made, Area.attach("imported") as other:
        other.buffer[PAGE] = 7
        assert segment.read(1, PAGE) == b"\x07" and made.info().kind == "sysv"
        segment.remove()
        segment.detach()
        with Area.attach("imported") as later:
            assert bytes(later.buffer[:6]) == b"before"


def test_what_is_refused_says_what_to_do(memfd):
    seal(memfd)
    with pytest.raises(Error, match="less bytes"):
        Area.from_memfd("imported", memfd, size=5 * PAGE)
    with open("/proc/self/comm", "rb") as plain, pytest.raises(Error, match="no memfd"):
        Area.from_memfd("imported", plain.fileno(), size=PAGE)
    with pytest.raises(NotFound, match="ipcs -m"):
        Area.from_sysv("imported", key=0x7123)
    with pytest.raises(Error, match="reserved="):
        Area.create("reserved", PAGE, kind="reserved")

    def limited():
        abi.become(abi.NOBODY)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (PAGE, PAGE))
        with pytest.raises(Error, match="RLIMIT_MEMLOCK"):
            Area.from_memfd("imported", memfd)
        with pytest.raises(Denied, match="CAP_SYS_RAWIO"):
            Area.create("imported", PAGE, kind="contiguous")

    with abi.open_to_all("/dev/semshare"):
        abi.in_child(limited)


def test_a_kernel_without_a_function_has_all_but_that_kind(memfd):
    seal(memfd)
    segment = sysv_ipc.SharedMemory(None, sysv_ipc.IPC_CREX, size=PAGE)
    try:
        with kernel.everything_unloaded():
            assert kernel.load("semshare", "hide=memfd_fcntl,do_shmat") == 0
            with abi.Handle() as handle:
                assert abi.errno_of(handle.make, "none", PAGE, abi.MEMFD, memfd) in ("ENOTSUP", "EOPNOTSUPP")
                assert abi.errno_of(handle.make, "none", PAGE, abi.SYSV, segment.id) in ("ENOTSUP", "EOPNOTSUPP")
                handle.make("plain", PAGE, abi.PAGES)
    finally:
        segment.detach()
        segment.remove()


# Addresses and huge pages


def test_an_agreed_address_is_the_same_everywhere_and_replaces_nothing():
    other = f"import semshare\nassert semshare.Area.attach('here').address == {HERE}\n"
    with Area.create("here", 3 * MIB, address=HERE, huge=True) as made:
        assert made.address == made.info().address == HERE
        assert subprocess.run([sys.executable, "-c", other], check=False).returncode == 0
        with pytest.raises(AddressTaken, match="/dev/semshare"):
            Area.attach("here")
        with Area.attach("here", address=None) as second:
            made.buffer[2 * MIB] = 5
            assert second.address != HERE and second.buffer[2 * MIB] == 5
    assert made.closed


def ls_areas():
    """What `semshare ls` says of areas: lines of its table, and objects of its JSON, by name."""
    table, objects = (
        CliRunner().invoke(ls.command, words, catch_exceptions=False).output for words in ([], ["--json"])
    )
    rows = {line.split()[0]: line for line in table.splitlines() if line.strip()}
    return rows, {area["name"]: area for area in json.loads(objects)["areas"]}


def test_ls_shows_what_memory_an_area_has(memfd):
    with Area.create("huge", 4 * MIB, huge=True) as made, Area.from_memfd("imported", seal(memfd), address=HERE):
        lines, _ = ls_areas()
        assert "memfd" in lines["imported"] and f"{HERE:#x}" in lines["imported"]
        many = made.info().huge_pages
        assert many == 0 or f"pages, {many} huge" in lines["huge"]


def test_ls_shows_memory_in_one_piece():
    # Of a process, and of a driver that no process has opened: what uses it is kernel code alone.
    with Area.create("frames", 4 * PAGE, kind="contiguous"):
        with device_memory("area=device bytes=262144 kind=contiguous"):
            rows, areas = ls_areas()
        assert rows["frames"].split()[:6] == ["frames", "module", "contiguous", "16,384", "0600", "root"]
        assert rows["device"].split()[2:4] == ["contiguous", "262,144"] and "kernel" in rows["device"]
        assert (areas["frames"]["kind"], areas["frames"]["handles"]) == ("contiguous", 1)
        found = areas["device"]
        assert (found["kind"], found["size"], found["handles"]) == ("contiguous", 262144, 0) and found["kernel_users"]
    assert not {"frames", "device"} & ls_areas()[0].keys()


# Devices


def test_a_device_finds_the_pages_that_processes_map():
    parameters = "area=frames bytes=262144 kind=contiguous"
    with device_memory(parameters) as (segments, address), Area.attach("frames", prefault=True) as area:
        assert segments == 1 and area.info().kind == "contiguous" and area.info().kernel_users == 2
        assert frames(area.address, 64) == [address + PAGE * number for number in range(64)]
        area.buffer[5] = 1
    with pytest.raises(NotFound):
        Area.attach("frames")


def test_a_device_gets_at_memory_that_a_process_gave(memfd):
    with Area.from_memfd("given", seal(memfd)) as area, mmap.mmap(memfd, 4 * PAGE) as plain:
        with device_memory("area=given") as (segments, address):
            assert 1 <= segments <= 4
            assert plain[:6] == b"before"  # touched, so that it has a page frame here
            assert frames(abi.ctypes.addressof(abi.ctypes.c_char.from_buffer(plain)), 1) == [address]
            assert area.info().kernel_users == 2
            area.unlink()
        assert area.info().kernel_users == 0


def test_the_sample_refuses_what_makes_no_sense():
    for parameters in ("area=none", "area=none bytes=4096 kind=memfd", "area=none bytes=1073741824"):
        assert kernel.load("semshare_memory", parameters) < 0
    assert not PARAMETERS.exists()


def test_reserved_memory():
    start, total = 0x20000000, 4 * MIB
    with kernel.everything_unloaded():
        for wrong in ("16M", "$0x20000000", "4M$", "4M$0x20000001", "4M$0x1000000", "4M$0x20000000x", "1M$0"):
            assert kernel.load("semshare", f"reserved={wrong}") < 0, wrong
        assert kernel.load("semshare", f"reserved={RESERVED}") == 0
        assert any("20000000-203fffff : semshare" in line for line in Path("/proc/iomem").read_text().splitlines())
        with Area.create("one", 3 * MIB, kind="reserved", prefault=True) as one:
            assert bytes(one.buffer[:PAGE]) == bytes(PAGE) and one.info().kind == "reserved"
            rows, areas = ls_areas()
            assert rows["one"].split()[2:4] == ["reserved", f"{3 * MIB:,}"] and areas["one"]["kind"] == "reserved"
            one.buffer[0], one.buffer[3 * MIB - 1] = 1, 2
            with pytest.raises(Error, match="no room"):
                Area.create("two", 2 * MIB, kind="reserved")
            with Area.create("two", MIB, kind="reserved") as two, Area.attach("one") as again:
                two.buffer[0] = 9
                assert (again.buffer[0], again.buffer[3 * MIB - 1]) == (1, 2)
            assert kernel.load("semshare_memory", "area=one") == 0
            assert int((PARAMETERS / "segments").read_text()) == 1
            assert int((PARAMETERS / "address").read_text()) == start
            assert kernel.unload("semshare_memory") == 0
        # What was in it is not told to the next.
        with Area.create("all", total, kind="reserved") as everything:
            assert not any(everything.buffer[:: PAGE // 2]) and everything.buffer[3 * MIB - 1] == 0
        assert kernel.unload("semshare") == 0
    assert "semshare" not in Path("/proc/iomem").read_text()


