# SPDX-License-Identifier: MIT
"""Who may only read a set has no way to have the kernel change it, and who may not see one learns nothing of it.

Every way that the devices offer, for every kind of user and mode, on descriptors of its own and on those of root, and
always beside the system calls: where they refuse, the devices do, with the same errno.
"""

import ctypes
import errno
import json
import mmap
import os
from pathlib import Path

import kernel
import pytest
from abi import (
    ABI_VERSION,
    BIND_OWN,
    CONTROL,
    COUNTER,
    IPC_CREAT,
    IPC_RMID,
    IPC_STAT,
    PAGE,
    READ,
    RECORDS,
    SETVAL,
    UNLOCKED,
    WRITE,
    Child,
    Demo,
    Handle,
    Ring,
    become,
    check,
    errno_of,
    in_child,
    insmod,
    key_of,
    libc,
    parameter,
    rmmod,
    semctl,
    semget,
    set_exists,
)
from kernel import (
    GETALL,
    GETNCNT,
    GETPID,
    GETVAL,
    GETZCNT,
    IPC_NOWAIT,
    ROUTE_CONTEXTS,
    SEM_STAT,
    SEM_STAT_ANY,
    Route,
    Semid64Ds,
    name_of,
)
from namespaces import PR_SET_DUMPABLE, unshare

CAPACITY = 4096
COUNTER_AT = CONTROL + CAPACITY
SIZE = COUNTER_AT + PAGE
OWNER, MEMBER, OTHER = 2001, 2002, 2003
USERS = {
    "owner": (OWNER, OWNER, ()),
    "group": (MEMBER, MEMBER, (OWNER,)),
    "other": (OTHER, OTHER, ()),
}
MODES = [0, 0o400, 0o200, 0o600, 0o640, 0o620, 0o660, 0o604, 0o602, 0o444, 0o222, 0o666, 0o066]
pytestmark = pytest.mark.usefixtures("no_sets_left")
system = kernel.SystemCalls()


def make_set(mode=0o600, nsems=3, value=1, uid=OWNER):
    """A set of OWNER's."""
    semid = semget(0, nsems, IPC_CREAT | 0o600)
    assert system.setall(semid, [value] * nsems) == 0
    ds = Semid64Ds()
    ds.perm.uid = ds.perm.gid = uid
    ds.perm.mode = mode
    assert system.semctl(semid, 0, kernel.IPC_SET, ds) == 0
    return semid


def state(semid):
    """Everything of a set that anybody can change, as root sees it."""
    ds = Semid64Ds()
    if system.semctl(semid, 0, IPC_STAT, ds) < 0:
        return "gone"
    perm = ds.perm
    values = system.getall(semid, ds.nsems)
    pids = [system.semctl(semid, each, GETPID) for each in range(ds.nsems)]
    return values, pids, perm.uid, perm.gid, perm.mode, ds.otime, ds.ctime


def as_user(who, function):
    """What it returns in a process of that user, as JSON brings it over."""

    def body():
        become(*who)
        Child.tell(json.dumps(function()))

    child = Child(body)
    told = child.told_all()
    child.wait()
    return json.loads(told)


def owner_and_mode(uid, mode):
    ds = Semid64Ds()
    ds.perm.uid = ds.perm.gid = uid
    ds.perm.mode = mode
    return ds


# What there is to do with a set. Each is tried on a set of its own.
READS = {
    "GETVAL": lambda c, s: c.semctl(s, 0, GETVAL),
    "GETPID": lambda c, s: c.semctl(s, 0, GETPID) > 0,
    "GETNCNT": lambda c, s: c.semctl(s, 0, GETNCNT),
    "GETZCNT": lambda c, s: c.semctl(s, 0, GETZCNT),
    "GETALL": lambda c, s: c.getall(s, 3),
    "GETALL to no memory": lambda c, s: c.semctl(s, 0, GETALL, 0),
    "IPC_STAT": lambda c, s: c.semctl(s, 0, IPC_STAT, Semid64Ds()),
    "SEM_STAT": lambda c, s: c.semctl(s % 32768, 0, SEM_STAT, Semid64Ds()) == s,
    "SEM_STAT_ANY": lambda c, s: c.semctl(s % 32768, 0, SEM_STAT_ANY, Semid64Ds()) == s,
    "Z": lambda c, s: c.semop(s, [(0, 0, IPC_NOWAIT)]),
    "Z of one that there is not": lambda c, s: c.semop(s, [(9, 0, IPC_NOWAIT)]),
    "GETVAL of one that there is not": lambda c, s: c.semctl(s, 9, GETVAL),
}
CHANGES = {
    "P": lambda c, s: c.semop(s, [(0, -1, IPC_NOWAIT)]),
    "V": lambda c, s: c.semop(s, [(0, 1, IPC_NOWAIT)]),
    "Z and V": lambda c, s: c.semop(s, [(0, 0, IPC_NOWAIT), (1, 1, IPC_NOWAIT)]),
    "V of 100": lambda c, s: c.semop(s, [(each % 3, 1, 0) for each in range(100)]),
    "V of one that there is not": lambda c, s: c.semop(s, [(9, 1, IPC_NOWAIT)]),
    "P that waits": lambda c, s: c.semtimedop(s, [(0, -9)], 0, 1000000),
    "SETVAL": lambda c, s: c.semctl(s, 0, SETVAL, 7),
    "SETVAL too high": lambda c, s: c.semctl(s, 0, SETVAL, 99999),
    "SETALL": lambda c, s: c.setall(s, [7, 8, 9]),
    "SETALL from no memory": lambda c, s: c.semctl(s, 0, kernel.SETALL, 0),
    "IPC_SET": lambda c, s: c.semctl(s, 0, kernel.IPC_SET, owner_and_mode(OTHER, 0o666)),
    "IPC_SET from no memory": lambda c, s: c.semctl(s, 0, kernel.IPC_SET, 0),
    "IPC_RMID": lambda c, s: c.semctl(s, 0, IPC_RMID),
}
WAYS = {**READS, **CHANGES}


# The routed calls


@pytest.mark.parametrize("opened", ["by the user", "by root"])
@pytest.mark.parametrize("user", USERS)
def test_a_routed_call_needs_the_right_that_the_system_call_needs(user, opened):
    """Every way, every mode: the same errno, and the same done to the set, as by system call."""
    routes = {name: Route(context) for name, context in ROUTE_CONTEXTS.items()}
    callers = {"system call": system, **routes}
    sets = {
        caller: [[make_set(mode) for _ in WAYS] for mode in MODES]
        for caller in callers  # a set for each thing tried
    }
    before = state(sets["system call"][0][0])

    def attempt():
        if opened == "by the user":
            for name, context in ROUTE_CONTEXTS.items():
                callers[name] = Route(context)
        return {
            name: [
                [name_of(way(caller, semid)) for way, semid in zip(WAYS.values(), sets[name][row])]
                for row in range(len(MODES))
            ]
            for name, caller in callers.items()
        }

    answers = as_user(USERS[user], attempt)
    refused = 0
    for row, mode in enumerate(MODES):
        for column, what in enumerate(WAYS):
            said = {name: answers[name][row][column] for name in callers}
            done = {name: without_ids(state(sets[name][row][column])) for name in callers}
            assert len(set(said.values())) == 1, (oct(mode), what, said)
            assert len({repr(each) for each in done.values()}) == 1, (oct(mode), what, done)
            if said["system call"] in ("-EACCES", "-EPERM"):
                refused += 1
                assert all(same_values(state(sets[name][row][column]), before) for name in callers), (mode, what)
    assert refused > 50
    for route in routes.values():
        route.close()


def without_ids(what):
    """A state without what differs between processes and moments: pids and times, but for having any."""
    if what == "gone":
        return what
    values, pids, uid, gid, mode, otime, _ = what
    return values, [pid != os.getpid() for pid in pids], uid, gid, mode, otime != 0


def same_values(one, other):
    return one != "gone" and (one[0], one[1], one[5]) == (other[0], other[1], other[5])


@pytest.mark.parametrize("context", ROUTE_CONTEXTS)
def test_the_right_is_that_of_the_moment_of_the_call(context):
    """Opened without rights and used with them, and the other way round."""
    semid = make_set(0o600)

    def body():
        os.setgroups([])
        os.seteuid(OTHER)
        route = Route(ROUTE_CONTEXTS[context])
        for _ in range(2):
            assert name_of(route.semctl(semid, 0, SETVAL, 5)) == "-EACCES"
            assert name_of(route.semop(semid, [(0, 1)])) == "-EACCES"
            os.seteuid(0)
            assert route.semctl(semid, 0, SETVAL, 5) == 0
            assert route.semop(semid, [(0, 1)]) == 0
            os.seteuid(OWNER)
            os.seteuid(0)
            os.seteuid(OTHER)
        route.close()

    in_child(body)
    assert system.getall(semid, 3) == [6, 1, 1]


@pytest.mark.parametrize("context", ROUTE_CONTEXTS)
def test_semget_asks_for_what_the_flags_say(context):
    """An existing key, opened with each right: the answer of the system call."""
    keys = {mode: 0x6000 + mode for mode in MODES}
    for mode, key in keys.items():
        semid = semget(key, 3, IPC_CREAT | 0o600)
        assert system.semctl(semid, 0, kernel.IPC_SET, owner_and_mode(OWNER, mode)) == 0
    route = Route(ROUTE_CONTEXTS[context])

    def attempt():
        return [
            [name_of(min(caller.semget(key, 0, flags), 0)) for key in keys.values() for flags in FLAGS]
            for caller in (system, route)
        ]

    for who in USERS.values():
        by_system_call, routed = as_user(who, attempt)
        assert routed == by_system_call
        assert "-EACCES" in routed and "0" in routed
    route.close()


FLAGS = [0, 0o400, 0o200, 0o600, 0o444, 0o222, 0o666, IPC_CREAT | 0o666, IPC_CREAT | kernel.IPC_EXCL]


# What is not seen


def everything_of(callers, semid):
    """What every way of every device answers about an id."""
    answers = [[name_of(way(caller, semid)) for way in WAYS.values()] for caller in callers]
    with Handle().create("asks", PAGE) as handle:
        answers.append([errno_of(handle.bind, semid, flags) for flags in (0, BIND_OWN)])
        assert handle.info()["semid"] == -1
    return answers


@pytest.mark.skipif(not Path("/proc/sys/kernel/sem_next_id").exists(), reason="no set can be given a certain id")
@pytest.mark.parametrize("uid", [0, OWNER])
def test_a_set_of_another_namespace_is_like_one_that_never_was(uid, open_to_all):
    """Its own owner, and root, get the answers from another namespace that an id gets which nobody has."""
    semid = semget(0, 3, IPC_CREAT | 0o666)
    nobodys = semid + 5 * 32768 + 3
    before = state(semid)
    assert before != "gone" and state(nobodys) == "gone"
    routes = [Route(context) for context in ROUTE_CONTEXTS.values()]

    def body():
        unshare()
        become(uid)
        assert everything_of([system, *routes], semid) == everything_of([system, *routes], nobodys)
        answers = everything_of(routes, semid)
        assert answers[0] == answers[1]
        assert set(answers[0]) == {"-EINVAL", "False", "-EFAULT", "-ERANGE"}

    in_child(body)
    assert state(semid) == before
    for route in routes:
        route.close()


def test_an_area_of_another_namespace_is_like_one_that_never_was():
    """The name of an area that is there, in another namespace, and one that is nowhere."""
    with Handle().create("there", PAGE, 0o666):

        def body():
            unshare()
            answers = []
            for name in "there", "nowhere":
                with Handle() as handle:
                    answers.append(
                        (
                            errno_of(handle.attach, name, READ),
                            errno_of(handle.attach, name),
                            errno_of(handle.unlink, name),
                            handle.list(),
                            errno_of(handle.create, name, PAGE),
                            handle.info()["handles"],
                        )
                    )
            assert answers[0] == answers[1] == ("ENOENT", "ENOENT", "ENOENT", [], None, 1)

        in_child(body)


# Areas: binding, and what follows from it


@pytest.mark.parametrize("opened", ["by the user", "by root"])
def test_binding_needs_the_right_to_alter_and_owning_that_to_remove(open_to_all, opened):
    """For each mode and user; where it is refused the set stays as it is, also when the area goes."""
    sets = {user: [[make_set(mode) for mode in MODES] for _ in range(2)] for user in USERS}
    before = {user: [[state(semid) for semid in row] for row in sets[user]] for user in USERS}
    for user, (uid, gid, groups) in USERS.items():
        given = [Handle() for _ in range(2 * len(MODES))]

        def attempt(user=user, given=given):
            answers = []
            for flags in (0, BIND_OWN):
                for number, semid in enumerate(sets[user][flags]):
                    handle = Handle() if opened == "by the user" else given[flags * len(MODES) + number]
                    handle.create(f"bind-{flags}-{number}", PAGE)
                    answers.append(errno_of(handle.bind, semid, flags))
                    handle.close()
            return answers

        answers = as_user((uid, gid, groups), attempt)
        for handle in given:
            handle.close()
        shift = {"owner": 6, "group": 3, "other": 0}[user]
        alters = [bool(mode >> shift & 0o2) for mode in MODES]
        assert answers[: len(MODES)] == [None if each else "EACCES" for each in alters]
        removes = user == "owner"
        assert answers[len(MODES) :] == [(None if removes else "EPERM") if each else "EACCES" for each in alters]
        for flags in (0, BIND_OWN):
            for number, semid in enumerate(sets[user][flags]):
                bound = alters[number] and removes and flags
                assert state(semid) == ("gone" if bound else before[user][flags][number])


OPENS = {"O_RDONLY": os.O_RDONLY, "O_WRONLY": os.O_WRONLY, "O_RDWR": os.O_RDWR}


@pytest.mark.parametrize("flags", OPENS)
def test_the_way_a_device_was_opened_limits_what_it_is_good_for(flags):
    """Each ioctl of /dev/semshare, on a descriptor opened each way."""
    semid = make_set()
    reads, writes = flags != "O_WRONLY", flags != "O_RDONLY"
    both = flags == "O_RDWR"
    with Handle().create("limits", PAGE, 0o666):
        with Handle(OPENS[flags]) as handle:
            assert handle.version()[0] == ABI_VERSION and "limits" in handle.names()
            assert errno_of(handle.create, "limits2", PAGE) == (None if both else "EACCES")
        with Handle(OPENS[flags]) as handle:
            assert errno_of(handle.attach, "limits", READ) == (None if reads else "EACCES")
            assert errno_of(handle.bind, semid) == ("EACCES" if reads else "EBADFD")
        with Handle(OPENS[flags]) as handle:
            assert errno_of(handle.attach, "limits", READ | WRITE) == (None if both else "EACCES")
            assert errno_of(handle.info) == (None if both else "EBADFD")
        with Handle(OPENS[flags]) as handle:
            handle.unlink("limits")  # as a file is removed: by the right to the name
    assert writes or not both
    route = Route(flags=OPENS[flags])
    assert route.semctl(semid, 0, SETVAL, 3) == 0  # the caller's right counts, not the descriptor's
    route.close()
    assert set_exists(semid)


def test_a_descriptor_of_root_gives_its_user_no_right_of_root(open_to_all):
    """CREATE, ATTACH, UNLINK, LIST and the limits ask the caller."""
    with Handle().create("roots", PAGE, 0o600) as roots, Handle() as one, Handle() as two, Handle() as three:

        def attempt():
            assert errno_of(one.attach, "roots", READ) == "EACCES"
            assert errno_of(one.unlink, "roots") == "EPERM"
            assert "roots" not in one.names()
            assert errno_of(one.create, "large", 3 * PAGE) == "ENOSPC"
            one.create("users", PAGE, 0o600)
            assert one.info()["uid"] == OTHER and one.info()["gid"] == OTHER
            assert errno_of(two.create, "more", 2 * PAGE) == "ENOSPC"
            two.attach("users")
            three.unlink("users")
            # It got this one with its rights, and keeps what a descriptor can do, but the area is not its own.
            semid = semget(0, 3, IPC_CREAT | 0o600)
            answer = errno_of(roots.bind, semid)
            semctl(semid, 0, IPC_RMID)
            return answer

        with parameter("max_user_bytes", 2 * PAGE):
            assert as_user(USERS["other"], attempt) == "EPERM"
        assert roots.info()["semid"] == -1


# Kernel threads on behalf of a user


@pytest.fixture
def shared_ring():
    """A ring for all in root's area; who may do what with its set is for the test to say."""
    with Handle().create("shared", SIZE, 0o666) as handle:
        ring = Ring(handle, CAPACITY)
        yield handle, ring
        ring.close()


@pytest.mark.parametrize("opened", ["by the user", "by root"])
def test_the_demos_threads_do_nothing_to_a_set_that_their_starter_may_only_read(shared_ring, open_to_all, opened):
    """Started by every kind of user on a set of every mode, with a descriptor that may write the area."""
    handle, ring = shared_ring
    demo = Demo()
    for mode in MODES:
        system.semctl(ring.semid, 0, kernel.IPC_SET, owner_and_mode(OWNER, mode))
        for user, who in USERS.items():
            may = bool(mode >> {"owner": 6, "group": 3, "other": 0}[user] & 0o2)
            before = state(ring.semid)

            def attempt():
                own = demo
                area = handle
                if opened == "by the user":
                    own, area = Demo(), Handle().attach("shared")
                answers = []
                for kind in COUNTER, RECORDS:
                    answers.append(errno_of(own.start, area.fd, kind, count=1, offset=COUNTER_AT))
                    if answers[-1] is None:
                        own.wait(1)
                # Without the lock it writes what the user could write itself, and leaves the set alone.
                seen = state_of_values(ring.semid)
                own.start(area.fd, COUNTER, flags=UNLOCKED, count=1, offset=COUNTER_AT)
                answers.append(own.wait(1)[0]["error"])
                own.stop()
                assert state_of_values(ring.semid) == seen
                return answers

            answers = as_user(who, attempt)
            assert answers == [None if may else "EACCES"] * 2 + [0], (oct(mode), user)
            assert may or state(ring.semid) == before
            if may:
                assert state(ring.semid)[0] == before[0]
                ring.get()
    demo.close()


def state_of_values(semid):
    """What a user can see whatever its rights."""
    lines = [line.split() for line in Path("/proc/sysvipc/sem").read_text().splitlines()[1:]]
    return next(line for line in lines if int(line[1]) == semid)


@pytest.mark.parametrize("kind", [COUNTER, RECORDS])
def test_a_handle_for_reading_starts_no_kernel_threads(shared_ring, open_to_all, kind):
    _, ring = shared_ring
    system.semctl(ring.semid, 0, kernel.IPC_SET, owner_and_mode(OWNER, 0o666))
    before = state(ring.semid)
    readers = [Handle(os.O_RDONLY), Handle()]

    def attempt():
        answers = []
        for reader in readers:
            reader.attach("shared", READ)
            with Demo() as demo:
                answers.append(errno_of(demo.start, reader.fd, kind, count=1, offset=COUNTER_AT))
                answers.append(errno_of(demo.start, reader.fd, kind, flags=UNLOCKED, count=1, offset=COUNTER_AT))
        return answers

    assert as_user(USERS["other"], attempt) == ["EACCES"] * 4
    for reader in readers:
        reader.close()
    assert state(ring.semid) == before


def test_a_reader_of_program_starts_changes_nothing(open_to_all):
    """The module's ring with mode 0444: who reads it can neither write it nor move its semaphores."""
    rmmod("semshare_exec")
    try:
        insmod("semshare_exec", f"mode={0o444}")
        with Handle() as handle:
            semid = next(area["semid"] for area in handle.list() if area["name"] == "exec")
            key = key_of("exec")

        def attempt():
            with Handle() as reader, Handle() as writer:
                reader.attach("exec", READ)
                memory = reader.map(PAGE, prot=mmap.PROT_READ)
                assert memory[:4] != bytes(4)
                memory.close()
                with Demo() as demo:
                    answers = [
                        errno_of(writer.attach, "exec"),
                        errno_of(reader.map, PAGE),
                        errno_of(reader.unlink, "exec"),
                        errno_of(reader.bind, semid),
                        errno_of(demo.start, reader.fd, RECORDS, count=1),
                    ]
            for context in Route.CALLER, Route.KTHREAD:
                route = Route(context)
                assert route.semget(key, 0, 0o444) == semid and route.semctl(semid, 0, GETVAL) == 1
                answers += [name_of(way(route, semid)) for what, way in CHANGES.items() if "memory" not in what]
                route.close()
            return answers

        before = state(semid)[:1]
        answers = as_user(USERS["other"], attempt)
        assert answers[:5] == ["EACCES", "EACCES", "EPERM", "EACCES", "EACCES"]
        assert set(answers[5:]) <= {"-EACCES", "-EPERM", "-EFBIG", "-ERANGE"}
        assert state(semid)[:1] == before
    finally:
        rmmod("semshare_exec")
        insmod("semshare_exec")


# Memory that may only be read


def test_no_way_leads_into_a_map_for_reading(open_to_all):
    """Not by mprotect, not by /proc/self/mem, not by another process, and not by an answer that the module writes."""
    with Handle().create("reading", 2 * PAGE, 0o644) as handle:
        memory = handle.map()
        memory[:8] = b"untouched"[:8]
        semid = make_set(0o666)

        def attempt():
            with Handle() as reader:
                reader.attach("reading", READ)
                at = reader.raw_map(2 * PAGE, prot=mmap.PROT_READ)
                assert ctypes.string_at(at, 8) == b"untouche"
                assert libc.mprotect(at, PAGE, mmap.PROT_READ | mmap.PROT_WRITE) == -1
                assert libc.mprotect(at, PAGE, mmap.PROT_READ | mmap.PROT_EXEC) == -1
                refused = []
                check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))  # or its /proc is root's
                fd = os.open("/proc/self/mem", os.O_RDWR)
                refused.append(errno_of(os.pwrite, fd, b"scribble", at))
                os.close(fd)
                fd = os.open("/dev/zero", os.O_RDONLY)
                refused.append(errno_of(os.preadv, fd, [(ctypes.c_char * 8).from_address(at)], 0))
                os.close(fd)
                local = (ctypes.c_char * 8)(*b"scribble")
                iovec = [(ctypes.c_size_t * 2)(where, 8) for where in (ctypes.addressof(local), at)]
                libc.process_vm_writev.argtypes = [
                    ctypes.c_int,
                    ctypes.c_void_p,
                    ctypes.c_ulong,
                    ctypes.c_void_p,
                    ctypes.c_ulong,
                    ctypes.c_ulong,
                ]
                wrote = libc.process_vm_writev(os.getpid(), iovec[0], 1, iovec[1], 1, 0)
                refused.append(errno.errorcode[ctypes.get_errno()] if wrote == -1 else "written")
                for context in Route.CALLER, Route.KTHREAD:
                    route = Route(context)
                    for command in GETALL, IPC_STAT, kernel.IPC_INFO, kernel.SEM_INFO:
                        refused.append(name_of(route.semctl(semid, 0, command, at)))
                    # As a place to read from it is as good as any.
                    assert route.setall(semid, [1, 1, 1]) == 0
                    route.close()
                # Grown, it would show what lies behind it.
                moved = libc.mremap(at, PAGE, 8 * PAGE, 1)
                refused.append("grown" if moved != ctypes.c_void_p(-1).value else "")
                return refused

        refused = as_user(USERS["other"], attempt)
        assert refused == ["EIO", "EFAULT", "EFAULT"] + ["-EFAULT"] * 8 + [""]
        assert memory[:8] == b"untouche" and memory[8:] == bytes(2 * PAGE - 8)
        memory.close()


def test_a_map_of_another_user_shows_no_memory_that_was_used_before():
    """What an area held is gone when its pages come back in another."""
    for turn in range(3):
        with Handle().create("before", 256 * PAGE) as handle:
            memory = handle.map()
            memory[:] = bytes([0x5A + turn]) * len(memory)
            memory.close()
        with Handle().create("after", 256 * PAGE) as handle:
            memory = handle.map()
            assert not any(memory[:])
            memory.close()
