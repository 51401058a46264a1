# SPDX-License-Identifier: MIT
"""Named areas through /dev/semshare: every ioctl good and bad, rights, maps, lifetimes and limits."""

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest
from abi import (
    ABI_VERSION,
    BIND_OWN,
    FUNCTION,
    GETVAL,
    IOC_ATTACH,
    IOC_BIND,
    IOC_CREATE,
    IOC_FUNCTION,
    IOC_INFO,
    IOC_LIST,
    IOC_UNLINK,
    IOC_VERSION,
    IPC_RMID,
    NOBODY,
    PAGE,
    READ,
    UNLINKED,
    WRITE,
    Child,
    Demo,
    Handle,
    become,
    check,
    errno_of,
    eventually,
    in_child,
    insmod,
    key_of,
    libc,
    loaded,
    parameter,
    rmmod,
    semctl,
    semget,
    semop,
    set_exists,
    unshare_ipc,
)
from pace import SLACK

RW = mmap.PROT_READ | mmap.PROT_WRITE


@pytest.fixture(autouse=True)
def nothing_left():
    """No test leaves an area behind."""
    with Handle() as handle:
        before = handle.names()
    yield
    with Handle() as handle:
        assert handle.names() == before
        assert all(not area["flags"] & UNLINKED for area in handle.list())


@pytest.fixture
def open_to_all():
    """The device may be opened by anybody, as a distribution's udev rule might have it."""
    mode = stat.S_IMODE(os.stat("/dev/semshare").st_mode)
    os.chmod("/dev/semshare", 0o666)
    yield
    os.chmod("/dev/semshare", mode)


@pytest.fixture
def private_set():
    semid = semget(0, 3, 0o600)
    yield semid
    if set_exists(semid):
        semctl(semid, 0, IPC_RMID)


# The device


def test_device_is_for_root_and_its_group():
    assert stat.S_IMODE(os.stat("/dev/semshare").st_mode) == 0o660


def test_version_and_features():
    with Handle() as handle:
        abi, features, module = handle.version()
    assert abi == ABI_VERSION
    assert features & 3 == 3
    assert module.rstrip(b"\0")


def test_functions_are_listed_to_the_end():
    with Handle() as handle:
        found = {}
        for index in range(100):
            try:
                raw = handle.ioctl(IOC_FUNCTION, FUNCTION.pack(index, 0, b"", b""))
            except OSError as error:
                assert error.errno == errno.ENOENT
                break
            _, has, name, needed_for = FUNCTION.unpack(raw)
            found[name.rstrip(b"\0").decode()] = has
            assert needed_for.rstrip(b"\0")
    assert found["__do_semtimedop"] == 1


@pytest.mark.parametrize("command", [0, 0xE540, IOC_VERSION + 0x30, IOC_CREATE + (1 << 16)])
def test_unknown_ioctl_is_enotty(command):
    with Handle() as handle:
        assert errno_of(handle.ioctl, command, bytes(256)) == "ENOTTY"


@pytest.mark.parametrize(
    "command", [IOC_VERSION, IOC_FUNCTION, IOC_CREATE, IOC_ATTACH, IOC_UNLINK, IOC_INFO, IOC_LIST, IOC_BIND]
)
def test_bad_address_is_efault(command):
    with Handle().create("faulty", PAGE) as handle, Handle() as fresh:
        for address in (0, 8, 2**47):
            for one in (handle, fresh):
                if (one is fresh) and command == IOC_INFO:
                    continue  # EBADFD, before anything is copied
                with pytest.raises(OSError) as raised:
                    check(libc.ioctl(one.fd, ctypes.c_ulong(command), ctypes.c_ulong(address)))
                assert raised.value.errno == errno.EFAULT


# Create and attach


@pytest.mark.parametrize(
    "name",
    [b"", b"a/b", b"a b", b"\xc3\xa4", b"x" * 64, b"ab\0c", b"ab" + bytes(61) + b"c", b"-\n"],
    ids=["empty", "slash", "space", "utf8", "unterminated", "behind", "last-byte", "newline"],
)
def test_bad_name_is_einval(name):
    with Handle() as handle:
        assert errno_of(handle.create, name, PAGE) == "EINVAL"
        assert errno_of(handle.attach, name) == "EINVAL"
        assert errno_of(handle.unlink, name) == "EINVAL"


@pytest.mark.parametrize("name", ["a", "x" * 63, "A-z_0.9", ".", "..", "-"])
def test_good_name(name):
    with Handle().create(name, 1) as handle:
        info = handle.info()
        assert info["name"] == name
        assert info["key"] == key_of(name)
        with Handle() as second:
            assert second.attach(name).info()["id"] == info["id"]


def test_names_that_begin_alike_are_different():
    with Handle().create("x" * 62, 1) as short, Handle().create("x" * 63, 1) as long:
        assert short.info()["id"] != long.info()["id"]


@pytest.mark.parametrize("size", [0, (256 << 20) + 1, 2**40, 2**63, 2**64 - 1])
def test_bad_size_is_einval(size):
    with Handle() as handle:
        assert errno_of(handle.create, "size", size) == "EINVAL"


@pytest.mark.parametrize("mode", [0o1600, 0o700, 0o10000, 2**31])
def test_bad_mode_is_einval(mode):
    with Handle() as handle:
        assert errno_of(handle.create, "mode", PAGE, mode) == "EINVAL"


def test_flags_must_be_zero():
    with Handle() as handle:
        assert errno_of(handle.create, "flags", PAGE, flags=1) == "EINVAL"
        with Handle().create("flags", PAGE):
            assert errno_of(handle.attach, "flags", flags=1) == "EINVAL"


@pytest.mark.parametrize("access", [0, WRITE, 4, READ | 8])
def test_bad_access_is_einval(access):
    with Handle().create("access", PAGE), Handle() as handle:
        assert errno_of(handle.attach, "access", access) == "EINVAL"


def test_handle_takes_one_area_only():
    with Handle().create("one", PAGE) as handle:
        assert errno_of(handle.create, "two", PAGE) == "EBUSY"
        assert errno_of(handle.attach, "one") == "EBUSY"


def test_name_is_taken_once():
    with Handle().create("taken", PAGE), Handle() as second:
        assert errno_of(second.create, "taken", PAGE) == "EEXIST"
        assert errno_of(second.attach, "free") == "ENOENT"
        assert errno_of(second.unlink, "free") == "ENOENT"


def test_handle_without_an_area_is_ebadfd(private_set):
    with Handle() as handle:
        assert errno_of(handle.info) == "EBADFD"
        assert errno_of(handle.bind, private_set) == "EBADFD"
        assert errno_of(handle.raw_map, PAGE) == "EBADFD"


def test_way_of_opening_limits_the_access():
    with Handle(os.O_RDONLY) as reader:
        assert errno_of(reader.create, "way", PAGE) == "EACCES"
        with Handle().create("way", PAGE):
            assert errno_of(reader.attach, "way") == "EACCES"
            assert reader.attach("way", READ).info()["access"] == READ
    with Handle(os.O_WRONLY) as writer:
        assert errno_of(writer.create, "way", PAGE) == "EACCES"


def test_memory_is_zero_and_shared():
    size = 5 * PAGE + 17
    with Handle().create("memory", size) as first, Handle() as second:
        one, two = first.map(size), second.attach("memory").map(size)
        assert one[:] == bytes(size)
        one[0:5], one[-5:] = b"hello", b"world"
        assert (two[0:5], two[-5:]) == (b"hello", b"world")
        two.close()
        one.close()


def test_info():
    before = time.time_ns()
    with Handle().create("info", 12345, 0o640) as handle:
        info = handle.info()
        assert info["size"] == 12345 and info["mode"] == 0o640
        assert (info["uid"], info["gid"]) == (0, 0)
        assert info["access"] == READ | WRITE
        assert (info["handles"], info["maps"], info["kernel_users"]) == (1, 0, 0)
        assert info["creator_pid"] == os.getpid()
        assert info["semid"] == -1 and info["bind_flags"] == 0 and info["flags"] == 0
        assert before - 10**9 <= info["created_ns"] <= time.time_ns() + 10**9
        with Handle() as second:
            memory = second.attach("info").map(PAGE)
            assert (handle.info()["handles"], handle.info()["maps"]) == (2, 1)
            memory.close()
        assert (handle.info()["handles"], handle.info()["maps"]) == (1, 0)


def test_racing_creates_on_one_handle_give_it_one_area():
    for turn in range(20):
        with Handle() as handle:
            results = []
            barrier = threading.Barrier(4)

            def race(number, handle=handle, barrier=barrier, results=results, turn=turn):
                barrier.wait()
                results.append(errno_of(handle.create, f"race{turn}.{number}", 16 * PAGE))

            threads = [threading.Thread(target=race, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(map(str, results)) == ["EBUSY", "EBUSY", "EBUSY", "None"]
            assert len([n for n in handle.names() if n.startswith("race")]) == 1


def test_racing_creates_of_one_name_give_one_area():
    for _ in range(20):
        handles = [Handle() for _ in range(4)]
        results = []
        barrier = threading.Barrier(4)

        def race(handle, barrier=barrier, results=results):
            barrier.wait()
            results.append(errno_of(handle.create, "race", 16 * PAGE))

        threads = [threading.Thread(target=race, args=(handle,)) for handle in handles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, results)) == ["EEXIST", "EEXIST", "EEXIST", "None"]
        for handle in handles:
            handle.close()


# Maps


def test_bad_maps():
    with Handle().create("maps", 3 * PAGE + 1) as handle:
        for length, offset in ((5 * PAGE, 0), (PAGE, 4 * PAGE), (2 * PAGE, 3 * PAGE), (PAGE, 2**40)):
            assert errno_of(handle.raw_map, length, offset=offset) == "EINVAL"
        assert errno_of(handle.raw_map, PAGE, flags=mmap.MAP_PRIVATE) == "EINVAL"
        assert errno_of(handle.raw_map, PAGE, RW | mmap.PROT_EXEC) == "EACCES"
        address = handle.raw_map(PAGE, offset=3 * PAGE)
        assert errno_of(lambda: check(libc.mprotect(address, PAGE, mmap.PROT_READ | mmap.PROT_EXEC))) == "EACCES"
        # Growing in place or elsewhere: VM_DONTEXPAND.
        assert errno_of(lambda: check(libc.mremap(address, PAGE, 2 * PAGE, 1))) == "EFAULT"
        libc.munmap(address, PAGE)


@pytest.mark.parametrize("how", ["attached for reading", "opened for reading"])
def test_read_only_handle_maps_read_only(how):
    flags = os.O_RDONLY if how == "opened for reading" else os.O_RDWR
    with Handle().create("reader", PAGE) as owner, Handle(flags) as reader:
        memory = owner.map()
        memory[:4] = b"seen"
        reader.attach("reader", READ)
        assert errno_of(reader.raw_map, PAGE, RW) == "EACCES"
        assert errno_of(reader.raw_map, PAGE, mmap.PROT_READ, mmap.MAP_PRIVATE) == "EINVAL"
        address = reader.raw_map(PAGE, mmap.PROT_READ)
        assert ctypes.string_at(address, 4) == b"seen"
        assert errno_of(lambda: check(libc.mprotect(address, PAGE, RW))) == "EACCES"
        # Nor by the debugger's way, which may write to private maps.
        fd = os.open("/proc/self/mem", os.O_RDWR)
        assert errno_of(os.pwrite, fd, b"evil", address) == "EIO"
        os.close(fd)
        assert memory[:4] == b"seen"
        libc.munmap(address, PAGE)
        memory.close()


def test_map_is_not_dumped_and_counted_through_splits():
    with Handle().create("split", 4 * PAGE) as handle:
        address = handle.raw_map(4 * PAGE)
        smaps = (
            Path("/proc/self/smaps").read_text().split(f"{address:x}-", 1)[1].split("VmFlags:", 1)[1].splitlines()[0]
        )
        assert {"dd", "de", "sh", "mw"} <= set(smaps.split())
        assert "me" not in smaps.split()
        assert handle.info()["maps"] == 1
        libc.munmap(address + PAGE, PAGE)
        assert handle.info()["maps"] == 2
        libc.munmap(address, PAGE)
        libc.munmap(address + 2 * PAGE, 2 * PAGE)
        assert handle.info()["maps"] == 0


def test_map_outlives_its_handle():
    with Handle() as watcher:
        handle = Handle().create("outlive", PAGE)
        address = handle.raw_map(PAGE)
        handle.close()
        assert "outlive" in watcher.names()
        ctypes.memmove(address, b"alive", 5)
        assert ctypes.string_at(address, 5) == b"alive"
        libc.munmap(address, PAGE)
        assert "outlive" not in watcher.names()


def test_fork_keeps_the_map():
    with Handle() as watcher:
        handle = Handle().create("fork", PAGE)
        address = handle.raw_map(PAGE)
        ctypes.memmove(address, b"from the parent", 15)
        go = os.pipe()

        def child():
            os.close(go[1])
            handle.close()
            os.read(go[0], 1)  # until the parent has let go of everything
            assert ctypes.string_at(address, 15) == b"from the parent"
            assert "fork" in watcher.names()

        one = Child(child)
        assert [area["maps"] for area in watcher.list() if area["name"] == "fork"] == [2]
        handle.close()
        libc.munmap(address, PAGE)
        os.write(go[1], b"x")
        one.wait()
        assert "fork" not in watcher.names()
        for fd in go:
            os.close(fd)


def test_largest_area():
    size = 256 << 20
    with Handle().create("largest", size) as handle:
        memory = handle.map()
        memory[-1:] = b"x"
        assert memory[size // 2] == 0 and memory[-1] == ord("x")
        memory.close()


def test_map_of_a_process_that_locks_its_memory():
    def locker():
        check(libc.mlockall(3))
        with Handle().create("locked", 16 * PAGE) as handle:
            memory = handle.map()
            memory[:] = b"x" * len(memory)
            memory.close()

    in_child(locker)


# Rights


def test_mode_decides_who_may_attach(open_to_all):
    cases = [  # mode, uid, gid, groups, may read, may write
        (0o600, NOBODY, NOBODY, (), False, False),
        (0o604, NOBODY, NOBODY, (), True, False),
        (0o606, NOBODY, NOBODY, (), True, True),
        (0o640, NOBODY, 0, (), True, False),
        (0o620, NOBODY, 0, (), False, False),
        (0o660, NOBODY, NOBODY, (0,), True, True),
        (0o606, NOBODY, 0, (), False, False),  # the group's bits count, not the others'
    ]
    for number, (mode, uid, gid, groups, read, write) in enumerate(cases):
        name = f"mode{number}"
        with Handle().create(name, PAGE, mode):

            def attempt(name=name, uid=uid, gid=gid, groups=groups, read=read, write=write):
                become(uid, gid, groups)
                with Handle() as reader, Handle() as writer:
                    assert errno_of(reader.attach, name, READ) == (None if read else "EACCES")
                    assert errno_of(writer.attach, name) == (None if write else "EACCES")
                    assert (name in reader.names()) == read
                    assert errno_of(reader.unlink, name) == "EPERM"

            in_child(attempt)


def test_owner_without_rights_may_list_and_unlink_but_not_attach(open_to_all):
    def owner():
        become(NOBODY)
        with Handle().create("owner", PAGE, 0o066) as handle, Handle() as second:
            assert handle.info()["uid"] == NOBODY and handle.info()["gid"] == NOBODY
            assert errno_of(second.attach, "owner", READ) == "EACCES"
            assert "owner" in second.names()
            second.unlink("owner")

    in_child(owner)


def test_root_may_all(open_to_all):
    done = os.pipe()

    def owner():
        become(NOBODY)
        with Handle().create("rootmay", PAGE, 0):
            Child.tell()
            os.read(done[0], 1)

    one = Child(owner)
    one.told()
    with Handle() as handle:
        assert handle.attach("rootmay").info()["uid"] == NOBODY
        handle.unlink("rootmay")
        assert handle.info()["flags"] == UNLINKED
    os.write(done[1], b"x")
    one.wait()
    for fd in done:
        os.close(fd)


# Names and lives


def test_unlink_hides_the_name_and_keeps_the_memory():
    with Handle().create("hidden", PAGE) as first, Handle() as second:
        memory = first.map()
        memory[:3] = b"old"
        second.unlink("hidden")
        assert errno_of(second.unlink, "hidden") == "ENOENT"
        assert errno_of(second.attach, "hidden") == "ENOENT"
        assert first.info()["flags"] == UNLINKED
        assert memory[:3] == b"old"
        second.create("hidden", PAGE)
        assert second.info()["id"] > first.info()["id"]
        fresh = second.map()
        assert fresh[:3] == bytes(3)
        listed = [(area["id"], area["flags"]) for area in first.list() if area["name"] == "hidden"]
        assert listed == [(first.info()["id"], UNLINKED), (second.info()["id"], 0)]
        memory.close()
        fresh.close()


def test_killed_process_leaves_nothing():
    with Handle() as watcher:
        for turn in range(10):

            def victim(turn=turn):
                handle = Handle().create(f"victim{turn}", 64 * PAGE)
                handle.map()
                semid = semget(0, 3, 0o600)
                handle.bind(semid, BIND_OWN)
                Child.tell(str(semid))
                signal.pause()

            one = Child(victim)
            semid = int(one.told())
            assert f"victim{turn}" in watcher.names()
            one.kill()
            eventually(lambda turn=turn: f"victim{turn}" not in watcher.names())
            assert not set_exists(semid)


def test_process_killed_while_creating_leaves_nothing():
    with Handle() as watcher:
        for delay in range(10):

            def victim():
                while True:
                    with Handle().create("killed", 64 << 20):
                        pass

            one = Child(victim)
            time.sleep(0.03 + delay * 0.01)
            one.kill()
            eventually(lambda: "killed" not in watcher.names())
        # Nor does it stay on the accounts: the whole limit can be had.
        with parameter("max_total_bytes", 65 << 20):
            Handle().create("killed", 64 << 20).close()


def test_names_are_those_of_the_ipc_namespace(private_set):
    with Handle().create("ns", PAGE) as outer:
        outer_memory = outer.map()

        def inside():
            old = Handle()
            unshare_ipc()
            with Handle() as handle:
                assert handle.names() == []
                assert errno_of(handle.attach, "ns") == "ENOENT"
                handle.create("ns", PAGE)
                assert handle.names() == ["ns"]
                memory = handle.map()
                memory[:2] = b"in"
                memory.close()
            # A handle stays in the namespace in which it was opened.
            assert "ns" in old.names()
            old.attach("ns")
            assert errno_of(old.bind, private_set) == "EXDEV"
            old.close()

        in_child(inside)
        assert outer_memory[:2] == bytes(2)
        outer_memory.close()


def test_area_goes_with_the_last_process_of_its_namespace():
    with parameter("max_total_bytes", 16 << 20):
        for _ in range(5):

            def victim():
                unshare_ipc()
                handle = Handle().create("gone", 12 << 20)
                handle.map()
                handle.bind(semget(key_of("gone"), 3, 0o1600), BIND_OWN)
                Child.tell()
                signal.pause()

            one = Child(victim)
            one.told()
            with Handle() as other:
                assert errno_of(other.create, "next", 12 << 20) == "ENOSPC"
            one.kill()

            def there_is_room():
                with Handle() as other:
                    return errno_of(other.create, "next", 12 << 20) is None

            eventually(there_is_room)


def test_list_goes_on_after_any_id():
    handles = [Handle().create(f"list{n}", PAGE) for n in range(5)]
    ids = [handle.info()["id"] for handle in handles]
    assert ids == sorted(set(ids))
    handles.pop(2).close()
    assert [a["id"] for a in handles[0].list() if a["name"].startswith("list")] == ids[:2] + ids[3:]
    buffer = bytearray(INFO_SIZE)
    buffer[:8] = b"\xff" * 8
    assert errno_of(fcntl.ioctl, handles[0].fd, IOC_LIST, buffer) == "ENOENT"
    for handle in handles:
        handle.close()


INFO_SIZE = (IOC_LIST >> 16) & 0x3FFF


# Limits


def test_limit_of_one_area():
    with parameter("max_area_bytes", 3 * PAGE), Handle() as handle:
        assert errno_of(handle.create, "large", 3 * PAGE + 1) == "EINVAL"
        handle.create("large", 3 * PAGE)


def test_limit_of_all_areas_counts_whole_pages_and_gives_them_back():
    with Handle() as handle:
        others = sum(-(-area["size"] // PAGE) * PAGE for area in handle.list())
    with parameter("max_total_bytes", others + 4 * PAGE):
        with Handle().create("total1", 2 * PAGE + 1), Handle() as second:
            assert errno_of(second.create, "total2", PAGE + 1) == "ENOSPC"
            second.create("total2", PAGE)
        Handle().create("total3", 4 * PAGE).close()


def test_limit_of_one_user(open_to_all):
    with parameter("max_user_bytes", 4 * PAGE):

        def user(uid):
            become(uid)
            with Handle().create(f"user{uid}", 3 * PAGE), Handle() as second:
                assert errno_of(second.create, "more", 2 * PAGE) == "ENOSPC"
                # Unlinked memory is memory.
                second.unlink(f"user{uid}")
                assert errno_of(second.create, "more", 2 * PAGE) == "ENOSPC"
                second.create("more", PAGE)
            Handle().create("again", 4 * PAGE).close()

        in_child(user, NOBODY)
        in_child(user, 1000)
        # Root has CAP_SYS_RESOURCE.
        Handle().create("root", 64 * PAGE).close()


class Cgroup:
    def __init__(self, name):
        self.path = Path("/sys/fs/cgroup") / name
        self.path.mkdir()

    def join(self):
        (self.path / "cgroup.procs").write_text("0")

    def current(self):
        return int((self.path / "memory.current").read_text())

    def remove(self):
        self.path.rmdir()


@pytest.fixture
def cgroup():
    group = Cgroup("semshare-test")
    yield group
    eventually(lambda: not (group.path / "cgroup.procs").read_text())
    group.remove()


def test_memory_is_on_the_creators_cgroup_bill(cgroup):
    def creator():
        cgroup.join()
        before = cgroup.current()
        with Handle().create("bill", 64 << 20):
            during = cgroup.current()
        after = cgroup.current()
        Child.tell(f"{before} {during} {after}")

    one = Child(creator)
    before, during, after = map(int, one.told().split())
    one.wait()
    assert during - before >= 64 << 20
    assert after - before < 8 << 20


def test_cgroup_limit_is_enomem_and_kills_nobody(cgroup):
    (cgroup.path / "memory.max").write_text(str(48 << 20))

    def creator():
        cgroup.join()
        with Handle() as handle:
            assert errno_of(handle.create, "enomem", 128 << 20) == "ENOMEM"
            handle.create("enomem", 1 << 20)

    in_child(creator)
    events = dict(line.split() for line in (cgroup.path / "memory.events").read_text().splitlines())
    assert events["oom_kill"] == "0"


# The bound set


def test_bind(private_set):
    with Handle().create("bind", PAGE) as handle:
        assert errno_of(handle.bind, -1) == "EINVAL"
        assert errno_of(handle.bind, private_set, 2) == "EINVAL"
        assert errno_of(handle.bind, 0x7FFFFFFF) in ("EINVAL", "EIDRM")
        handle.bind(private_set)
        assert handle.info()["semid"] == private_set and handle.info()["bind_flags"] == 0
        assert errno_of(handle.bind, private_set) == "EBUSY"
    assert set_exists(private_set)


def test_bind_needs_a_handle_that_may_write(private_set):
    with Handle().create("bindro", PAGE), Handle() as reader:
        assert errno_of(reader.attach("bindro", READ).bind, private_set) == "EACCES"


def test_owned_set_goes_with_the_last_reference(private_set):
    handle = Handle().create("own", PAGE)
    handle.bind(private_set, BIND_OWN)
    address = handle.raw_map(PAGE)
    handle.unlink("own")
    handle.close()
    assert set_exists(private_set)
    libc.munmap(address, PAGE)
    assert not set_exists(private_set)


def test_set_that_took_the_id_of_an_owned_one_stays():
    """The id comes round: what then has it is a stranger's."""
    first = semget(0, 3, 0o600)
    handle = Handle().create("stranger", PAGE)
    handle.bind(first, BIND_OWN)
    semctl(first, 0, IPC_RMID)
    # The id is had again by asking for it, where the kernel can restore processes; else by the index alone.
    wanted = Path("/proc/sys/kernel/sem_next_id")
    if not wanted.exists():
        handle.close()
        pytest.skip("this kernel has no sem_next_id")
    wanted.write_text(str(first))
    second = semget(0x1234, 3, 0o1600)
    try:
        assert second == first
        handle.close()
        assert set_exists(second)
    finally:
        semctl(second, 0, IPC_RMID)


def test_binding_asks_for_the_rights_of_the_caller(open_to_all):
    ours = semget(0, 3, 0o600)
    shared = semget(0, 3, 0o666)
    readable = semget(0, 3, 0o644)

    def user():
        become(NOBODY)
        with Handle().create("rights", PAGE) as handle:
            assert errno_of(handle.bind, ours) == "EACCES"
            assert errno_of(handle.bind, readable) == "EACCES"
            assert errno_of(handle.bind, shared, BIND_OWN) == "EPERM"
            handle.bind(shared)

    try:
        in_child(user)
        assert semctl(shared, 0, GETVAL) == 0
    finally:
        for semid in (ours, shared, readable):
            semctl(semid, 0, IPC_RMID)


# What other parts ask of a handle


def test_kernel_client_takes_only_handles_that_may():
    with Demo() as demo, Handle().create("client", 3 * PAGE) as handle, Handle() as empty, Handle() as reader:
        reader.attach("client", READ)
        null = os.open("/dev/null", os.O_RDWR)
        assert errno_of(demo.start, -1) == "EBADF"
        assert errno_of(demo.start, null) == "EINVAL"
        assert errno_of(demo.start, empty.fd) == "EBADFD"
        assert errno_of(demo.start, reader.fd) == "EACCES"
        assert errno_of(demo.start, handle.fd) == "ENXIO"  # no set bound to it
        os.close(null)
        assert handle.info()["kernel_users"] == 0


def test_semaphore_operations_on_a_bound_set_are_the_users_own(private_set):
    with Handle().create("plain", PAGE) as handle:
        handle.bind(private_set)
        semop(private_set, (0, 1, 0))
        assert semctl(private_set, 0, GETVAL) == 1


# Unloading


def test_unload_is_refused_while_a_file_or_a_map_is_open():
    clients = [name for name in ("semshare_exec", "semshare_demo", "semshare_test") if loaded(name)]
    handle = None
    try:
        for name in clients:
            rmmod(name)
        handle = Handle().create("busy", PAGE)
        assert errno_of(rmmod, "semshare") == "EAGAIN"
        address = handle.raw_map(PAGE)
        handle.close()
        assert errno_of(rmmod, "semshare") == "EAGAIN"
        ctypes.memmove(address, b"x", 1)
        libc.munmap(address, PAGE)
        began = time.monotonic()
        rmmod("semshare")
        assert time.monotonic() - began < SLACK
        assert not Path("/dev/semshare").exists()
    finally:
        if handle:
            handle.close()
        if not loaded("semshare"):
            insmod("semshare")
        for name in reversed(clients):
            insmod(name)
    with Handle() as again:
        assert again.names() in ([], ["exec"])
