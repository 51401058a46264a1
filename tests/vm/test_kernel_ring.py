# SPDX-License-Identifier: MIT
"""The ring between kernel threads and processes: the demo's threads, program starts, and everything hostile."""

import contextlib
import errno
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import kernel
import pytest
from abi import (
    ABI_VERSION,
    AT_DEATHS,
    AT_EPOCH,
    AT_GETS,
    AT_HEAD,
    AT_NEED_SPACE,
    AT_OWNER_KIND,
    AT_PUTS,
    AT_REPAIRS,
    AT_STATE,
    AT_TAIL,
    BAD_CURSORS,
    CONTROL,
    COUNTER,
    DATA,
    DEMO_RECORD,
    GETNCNT,
    GETPID,
    GETVAL,
    IPC_CREAT,
    IPC_EXCL,
    IPC_NOWAIT,
    IPC_RMID,
    MUTEX,
    PAGE,
    RECORD,
    RECORDS,
    SETVAL,
    SPACE,
    TWO_OWNERS,
    UNLOCKED,
    Broken,
    Child,
    Demo,
    Handle,
    Ring,
    Tally,
    errno_of,
    eventually,
    insmod,
    key_of,
    loaded,
    read_parameter,
    rmmod,
    semctl,
    semget,
    semop,
    set_exists,
)
from hostile import Scribbler, scribbling, takes_its_time
from pace import PART_OF_A_SLICE, SLACK, soonest, timed

CAPACITY = 65536

# Two owners inside at once are a data race, which is what this kernel reports; the ring then has to survive it.
two_owners = pytest.mark.skipif(
    os.environ.get("SEMSHARE_KERNEL") == "kcsan", reason="makes the data races it must survive"
)


@pytest.fixture
def ring():
    """A ring in an area of its own, with a page behind it for a counter."""
    with Handle().create("ring", CONTROL + CAPACITY + PAGE) as handle:
        ring = Ring(handle, CAPACITY)
        yield ring
        semid = ring.semid
        ring.close()
    with Handle() as handle:
        assert "ring" not in handle.names()
    assert not set_exists(semid)


@pytest.fixture
def demo():
    with Demo() as demo:
        yield demo


def consume(ring, count, timeout=60):
    tally = Tally()
    deadline = time.monotonic() + timeout
    while tally.records < count:
        assert time.monotonic() < deadline, tally.next
        tally.add(ring.get())
    return tally


# Records


@pytest.mark.parametrize("payload", [0, 1, 200, CAPACITY // 4 - RECORD.size - 24])
def test_kernel_records_arrive_whole_and_in_order(ring, demo, payload):
    threads, count = 3, 30 if payload > 1000 else 300
    demo.start(ring.handle.fd, RECORDS, threads, first=5, payload=payload, count=count)
    tally = consume(ring, threads * count)
    assert tally.next == {5: count, 6: count, 7: count}
    for status in demo.wait(threads):
        assert status["error"] == 0 and status["done"] == count
        assert status["acquisitions"] >= count
        assert sum(status["wait_ns"]) == status["contended"] <= status["acquisitions"]
    assert ring.get(timeout=0) == []
    assert ring.get64(AT_PUTS) == ring.get64(AT_GETS) == threads * count
    assert ring.get64(AT_DEATHS) == 0
    assert semctl(ring.semid, MUTEX, GETVAL) == 1


def test_payload_lengths_vary(ring, demo):
    demo.start(ring.handle.fd, RECORDS, 1, payload=100, count=200)
    lengths = set()
    while len(lengths) < 50:
        records = ring.get()
        assert records
        lengths |= {len(payload) - 24 for _, payload in records}
    assert max(lengths) <= 100


def test_two_processes_share_the_records_of_the_kernel(ring, demo):
    threads, count = 2, 400

    def consumer():
        seen = []
        while True:
            for kind, payload in ring.get(limit=16):
                if kind == 7:
                    ring.put(7, b"")  # the end is for the other one too
                    Child.tell(" ".join(seen))
                    return
                _, producer, sequence, _ = DEMO_RECORD.unpack_from(payload)
                seen.append(f"{producer}:{sequence}")

    children = [Child(consumer) for _ in range(2)]
    demo.start(ring.handle.fd, RECORDS, threads, payload=50, count=count)
    demo.wait(threads)
    ring.put(7, b"")
    seen = [one for child in children for one in child.told_all().split()]
    for child in children:
        child.wait()
    assert sorted(seen) == sorted(f"{p}:{s}" for p in range(threads) for s in range(count))


def test_run_until_stop_leaves_a_report(ring, demo):
    demo.start(ring.handle.fd, RECORDS, 2, payload=64)
    tally = consume(ring, 200)
    assert errno_of(demo.start, ring.handle.fd) == "EBUSY"
    assert demo.status(0)["running"] == 1
    demo.stop()
    demo.stop()
    tally.add(ring.get(limit=10000, timeout=0))
    for index in range(2):
        status = demo.status(index)
        assert status["running"] == 0 and status["error"] == 0
        # On a busy machine one of them may not have had a turn.
        assert status["done"] == tally.next.get(index, 0)
    assert errno_of(demo.status, 2) == "ENOENT"
    assert ring.handle.info()["kernel_users"] == 0
    assert kernel.threads("semshare_demo/") == {}
    # The next run on the same file starts anew.
    demo.start(ring.handle.fd, RECORDS, 1, count=3)
    assert demo.wait(1)[0]["done"] == 3


def test_bad_starts(ring, demo):
    area = ring.handle.fd
    assert errno_of(demo.status) == "ENOENT"
    assert errno_of(demo.start, area, mode=0) == "EINVAL"
    assert errno_of(demo.start, area, mode=3) == "EINVAL"
    assert errno_of(demo.start, area, threads=0) == "EINVAL"
    assert errno_of(demo.start, area, threads=65) == "EINVAL"
    assert errno_of(demo.start, area, flags=2) == "EINVAL"
    assert errno_of(demo.start, area, payload=CAPACITY // 4 - RECORD.size - 24 + 1) == "EMSGSIZE"
    assert errno_of(demo.start, area, payload=2**32 - 1) == "EMSGSIZE"
    behind = CONTROL + CAPACITY
    for offset in (0, 8, CONTROL, behind - 8, behind + 1, behind + PAGE - 4, behind + PAGE, 2**64 - 8, 2**63):
        assert errno_of(demo.start, area, mode=COUNTER, offset=offset) == "EINVAL"
    demo.start(area, mode=COUNTER, offset=behind + PAGE - 8, count=1)
    assert demo.wait(1)[0]["done"] == 1
    assert ring.get64(behind + PAGE - 8) == 1


def test_ring_needs_the_right_magic_and_a_geometry_that_fits(ring, demo):
    for at, bad in (
        (0, 1),
        (4, ABI_VERSION - 1),
        (8, 1),
        (12, 99),
        (28, 8192),
        (40, 4),
        (16, 5000),
        (16, 2 * CAPACITY),
        (16, 0),
        (20, 1),
    ):
        before = ring.get32(at)
        ring.set32(at, bad)
        assert errno_of(demo.start, ring.handle.fd) == "EPROTO", (at, bad)
        ring.set32(at, before)
    magic = ring.get32(0)
    ring.set32(0, 0)
    assert errno_of(demo.start, ring.handle.fd) == "EAGAIN"
    ring.set32(0, magic)
    demo.start(ring.handle.fd, count=1)
    consume(ring, 1)
    demo.wait(1)
    # From the first use on the kernel has the geometry for itself.
    ring.memory[0:64] = b"\xff" * 64
    demo.start(ring.handle.fd, count=5)
    assert demo.wait(1)[0]["error"] == 0


def test_ring_needs_a_bound_set_of_its_size(demo):
    with Handle().create("noset", CONTROL + CAPACITY) as handle:
        assert errno_of(demo.start, handle.fd) == "ENXIO"
        handle.bind(semget(0, 2, 0o600), 1)
        assert errno_of(demo.start, handle.fd) == "EPROTO"


# The counter


def test_counter_under_the_lock_misses_nothing(ring, demo):
    threads, count, at = 3, 2000, CONTROL + CAPACITY + 64
    demo.start(ring.handle.fd, COUNTER, threads, count=count, offset=at)
    mine = 0
    while mine < 500:
        ring.take()
        ring.set64(at, ring.get64(at) + 1)
        ring.give()
        mine += 1
    demo.wait(threads)
    assert ring.get64(at) == threads * count + mine
    assert ring.get64(AT_REPAIRS) == 0


def test_counter_without_the_lock_misses_some(ring, demo):
    """If it does not, the experiment proves nothing."""
    at = CONTROL + CAPACITY
    for _ in range(60):
        ring.set64(at, 0)
        demo.start(ring.handle.fd, COUNTER, 2, flags=UNLOCKED, offset=at)
        time.sleep(0.5)
        demo.stop()
        if ring.get64(at) < sum(demo.status(n)["done"] for n in range(2)):
            return
    pytest.fail("no update was lost")


def test_records_without_the_lock_hurt_but_break_nothing(ring, demo):
    demo.start(ring.handle.fd, RECORDS, 4, flags=UNLOCKED, payload=100)
    end = time.monotonic() + 2
    seen = 0
    while time.monotonic() < end:
        head, tail = ring.get64(AT_HEAD), ring.get64(AT_TAIL)
        try:
            seen += len(ring.take_records())
        except AssertionError:
            ring.set64(AT_HEAD, ring.get64(AT_TAIL))
        assert head % RECORD.size == tail % RECORD.size == 0
    demo.stop()
    assert seen > 0
    assert all(demo.status(n)["error"] == 0 for n in range(4))
    assert ring.get32(AT_STATE) == 0
    # The lock is as good as new, and so is a ring that starts from where it is.
    ring.set64(AT_HEAD, ring.get64(AT_TAIL))
    demo.start(ring.handle.fd, RECORDS, 1, count=5)
    consume(ring, 5)


# Death


def test_killed_owner_is_found_repaired_and_counted(ring, demo):
    repaired = read_parameter("rings_repaired")
    for turn in range(5):

        def victim():
            ring.take()
            Child.tell()
            signal.pause()

        child = Child(victim)
        child.told()
        demo.start(ring.handle.fd, RECORDS, 2, payload=30, count=10)
        time.sleep(0.1)
        assert demo.status(0)["running"] and demo.status(0)["done"] == 0
        child.kill()
        consume(ring, 20)
        assert all(status["error"] == 0 for status in demo.wait(2))
        assert ring.get64(AT_DEATHS) == ring.get64(AT_REPAIRS) == turn + 1
    assert read_parameter("rings_repaired") == repaired + 5
    assert ring.get32(AT_STATE) == 0


def test_kill_storm(ring, demo):
    """Consumers and producers killed at random moments: no record of the kernel is lost, torn or out of order."""
    demo.start(ring.handle.fd, RECORDS, 2, payload=300)
    generator = random.Random(4711)
    tally = Tally()

    def victim():
        while True:
            ring.take()
            # Looks, writes where nothing is published, and never commits: any instruction is a good one to die at.
            head, tail = ring.get64(AT_HEAD), ring.get64(AT_TAIL)
            if ring.capacity - (tail - head) >= 64:
                at = tail & ring.capacity - 1
                ring.memory[CONTROL + at : CONTROL + at + 16] = b"\xff" * 16
            ring.give(generator.choice((None, DATA, SPACE)))

    for _ in range(100):
        child = Child(victim)
        until = time.monotonic() + generator.uniform(0.005, 0.06)
        while time.monotonic() < until:
            tally.add(ring.get(timeout=0.2))
        child.kill()
        before = tally.records
        deadline = time.monotonic() + SLACK
        while tally.records == before:
            assert time.monotonic() < deadline, "stuck"
            tally.add(ring.get(timeout=0.2))
    demo.stop()
    tally.add(ring.get(limit=100000, timeout=0))
    assert {n: demo.status(n)["done"] for n in range(2)} == tally.next
    assert all(demo.status(n)["error"] == 0 for n in range(2))
    assert ring.get32(AT_STATE) == 0


def test_killed_consumer_delivers_its_records_again(ring, demo):
    demo.start(ring.handle.fd, RECORDS, 1, payload=30, count=20)
    demo.wait(1)

    def victim():
        ring.take()
        head = ring.get64(AT_HEAD)
        records = ring.take_records()
        ring.set64(AT_HEAD, head)  # copied, and not yet committed
        assert len(records) == 20
        Child.tell()
        signal.pause()

    child = Child(victim)
    child.told()
    child.kill()
    consume(ring, 20)


# Stopping


def stop_soon(stop):
    """Where what came before cannot be had again, or only after long: soonest() is for the others."""
    took = timed(stop)
    assert took < SLACK, took


def fill(ring, demo, threads):
    """Start threads and wait until all sleep because the ring is full."""
    demo.start(ring.handle.fd, RECORDS, threads, payload=1000)
    eventually(lambda: semctl(ring.semid, SPACE, GETNCNT) == threads and ring.get32(AT_NEED_SPACE))


@pytest.mark.parametrize("how", ["stop", "close"])
def test_threads_asleep_on_a_full_ring_stop_at_once(ring, how):
    def attempt():
        with Demo() as demo:
            fill(ring, demo, 8)
            took = timed(demo.stop if how == "stop" else demo.close)
            assert kernel.threads("semshare_demo/") == {}
            assert semctl(ring.semid, MUTEX, GETVAL) == 1
            assert semctl(ring.semid, SPACE, GETNCNT) == 0
            assert ring.handle.info()["kernel_users"] == 0
        return took

    soonest(attempt)


@pytest.mark.parametrize("how", ["stop", "close"])
def test_threads_asleep_on_a_mutex_that_is_held_for_ever_stop_at_once(ring, how):
    ring.take()

    def attempt():
        with Demo() as demo:
            demo.start(ring.handle.fd, RECORDS, 8)
            eventually(lambda: semctl(ring.semid, MUTEX, GETNCNT) == 8)
            time.sleep(1.1)  # just into the second slice
            assert demo.status(0)["running"] == 1
            took = timed(demo.stop if how == "stop" else demo.close)
            assert kernel.threads("semshare_demo/") == {}
        return took

    soonest(attempt, PART_OF_A_SLICE)
    ring.give()


def test_killing_the_process_that_started_the_threads_stops_them(ring):

    def owner():
        fill(ring, Demo(), 4)
        Child.tell()
        signal.pause()

    child = Child(owner)
    child.told()
    assert len(kernel.threads("semshare_demo/")) == 4
    child.kill()
    eventually(lambda: kernel.threads("semshare_demo/") == {})
    eventually(lambda: ring.handle.info()["kernel_users"] == 0)


def test_removed_set_ends_the_threads_with_eidrm(demo):
    for state in ("space", "mutex"):
        with Handle().create("removed", CONTROL + CAPACITY) as handle:
            ring = Ring(handle, CAPACITY)
            if state == "space":
                fill(ring, demo, 4)
            else:
                ring.take()
                demo.start(handle.fd, RECORDS, 4)
                eventually(lambda ring=ring: semctl(ring.semid, MUTEX, GETNCNT) == 4)
            semctl(ring.semid, 0, IPC_RMID)
            began = time.monotonic()
            statuses = demo.wait(4, timeout=SLACK)
            assert time.monotonic() - began < SLACK
            assert [status["error"] for status in statuses] == [errno.EIDRM] * 4
            assert errno_of(demo.start, handle.fd) == "EIDRM"
            demo.stop()  # the end of the run lets the area go
            ring.close()


def test_unload_of_the_demo_is_refused_while_open_and_quick_when_closed(ring):
    def attempt():
        with Demo() as demo:
            fill(ring, demo, 4)
            assert errno_of(rmmod, "semshare_demo") == "EAGAIN"
            try:
                return timed(lambda: (demo.close(), rmmod("semshare_demo")))
            finally:
                if not loaded("semshare_demo"):
                    insmod("semshare_demo")

    soonest(attempt)


# Hostile users


@two_owners
def test_reset_mutex_breaks_the_ring_for_good(ring, demo):
    broken = read_parameter("rings_broken")
    demo.start(ring.handle.fd, RECORDS, 4, payload=500)
    end = time.monotonic() + 2 * SLACK
    while read_parameter("rings_broken") == broken:
        semctl(ring.semid, MUTEX, SETVAL, 5)
        with contextlib.suppress(Broken, AssertionError):
            ring.get(timeout=0.01)
        assert time.monotonic() < end
    statuses = demo.wait(4, timeout=SLACK)
    assert {status["error"] for status in statuses} == {errno.EPROTO}
    assert ring.get32(AT_STATE) in (TWO_OWNERS, BAD_CURSORS)
    # For good, whatever the user writes there.
    ring.set32(AT_STATE, 0)
    semctl(ring.semid, MUTEX, SETVAL, 1)
    ring.set32(AT_EPOCH, 0)
    assert errno_of(demo.start, ring.handle.fd) == "EPROTO"
    assert read_parameter("rings_broken") == broken + 1


def test_state_word_of_a_user_is_taken_at_its_word(ring, demo):
    ring.set32(AT_STATE, 1)
    demo.start(ring.handle.fd, RECORDS, 1)
    assert demo.wait(1)[0]["error"] == errno.EPROTO


@pytest.mark.parametrize(
    "head, tail",
    [(0, 1), (16, 32), (0, CAPACITY + 32), (32, 0), (2**64 - 32, 2**63), (CAPACITY * 2, CAPACITY)],
)
def test_cursors_that_lie_break_the_ring(ring, demo, head, tail):
    ring.set64(AT_HEAD, head)
    ring.set64(AT_TAIL, tail)
    demo.start(ring.handle.fd, RECORDS, 1)
    assert demo.wait(1)[0]["error"] == errno.EPROTO
    assert ring.get32(AT_STATE) == BAD_CURSORS
    assert semctl(ring.semid, MUTEX, GETVAL) == 1


def test_cursors_near_the_end_of_their_range_are_as_good_as_any(ring, demo):
    start = 2**64 - 4096
    ring.set64(AT_HEAD, start)
    ring.set64(AT_TAIL, start)
    demo.start(ring.handle.fd, RECORDS, 1, payload=200, count=100)
    assert demo.wait(1)[0]["done"] == 100
    assert 0 < ring.get64(AT_TAIL) < 2**32


def test_hints_out_of_bounds_keep_nobody_busy(ring, demo):
    """A hint of 32767 is 32767 looks at the cursors, paced, not a spinning kernel thread."""
    fill(ring, demo, 2)
    for _ in range(10):
        semctl(ring.semid, SPACE, SETVAL, 32767)
        semctl(ring.semid, DATA, SETVAL, 32767)
        time.sleep(0.1)
    tally = consume(ring, 300)
    stop_soon(demo.stop)
    tally.add(ring.get(limit=10000, timeout=0))
    assert {n: demo.status(n)["done"] for n in range(2)} == tally.next


def test_mutex_at_its_maximum_is_a_broken_ring(ring, demo):
    fill(ring, demo, 1)
    # While the thread sleeps on SPACE nobody is inside: its next V goes over SEMVMX only if its P did not go through.
    semctl(ring.semid, MUTEX, SETVAL, 32767)
    time.sleep(0.3)
    assert demo.status(0)["running"] == 1
    stop_soon(demo.stop)


@two_owners
@takes_its_time
@pytest.mark.parametrize("what", ["control", "records", "semaphores", "everything"])
def test_scribbling_user_hurts_only_itself(demo, what):
    """Random words over all a user can write, while kernel threads put: no splat, and they stop at once."""
    turns = words = 0
    end = time.monotonic() + scribbling(cases=4)
    generator = random.Random(what)
    while time.monotonic() < end or turns < 3:
        with Handle().create("scribble", CONTROL + 4096 + PAGE) as handle:
            ring = Ring(handle, 4096)

            def scribble(ring, seed):
                dice = random.Random(seed)
                length = len(ring.memory) // 4
                interesting = (0, 1, 15, 16, 4095, 4096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)

                def write():
                    low, high = {"control": (0, 64), "records": (1024, length)}.get(what, (0, length))
                    if what != "semaphores":
                        for _ in range(50):
                            value = dice.choice((*interesting, dice.getrandbits(32)))
                            at = (
                                dice.randrange(16, 50)
                                if what == "everything" and dice.random() < 0.5
                                else dice.randrange(low, high)
                            )
                            ring.set32(at * 4, value)
                    if what in ("semaphores", "everything"):
                        for number in range(3):
                            semctl(ring.semid, number, SETVAL, dice.choice((0, 1, 1, 2, 32767)))
                    time.sleep(dice.choice((0, 0, 0.001)))
                    return 50 if what != "semaphores" else 0

                return write

            first, second = (Scribbler(scribble, ring, generator.random()) for _ in range(2))
            with first, second:
                try:
                    demo.start(handle.fd, RECORDS, 4, payload=500)
                except OSError as error:
                    assert error.errno in (errno.EPROTO, errno.EAGAIN, errno.EMSGSIZE, errno.EOPNOTSUPP)
                else:
                    time.sleep(0.25)
                    stop_soon(demo.stop)
                    # It may have been opened as one that refuses: who puts into that is told when there is no space.
                    assert all(demo.status(n)["error"] in (0, errno.EPROTO, errno.ENOBUFS) for n in range(4))
                words += first.stop() + second.stop()
            ring.close()
            turns += 1
    print(f"{turns} turns, {words} words written")
    assert kernel.threads("semshare_demo/") == {}


# Tracepoints


def test_tracepoints_tell_what_no_system_call_shows(ring, demo):
    events = Path("/sys/kernel/tracing/events/semshare")
    assert {each.name for each in events.iterdir() if each.is_dir()} == {
        "lock_wait",
        "lock_taken",
        "lock_released",
        "ring_put",
        "ring_get",
        "ring_repair",
        "ring_broken",
    }
    trace = Path("/sys/kernel/tracing/trace")
    trace.write_text("")
    (events / "enable").write_text("1")
    try:
        ring.set32(AT_EPOCH, 7)  # as if the last owner had died inside
        demo.start(ring.handle.fd, RECORDS, 1, payload=40, count=3)
        demo.wait(1)
        ring.take()
        demo.start(ring.handle.fd, RECORDS, 1, first=9, count=1)
        eventually(lambda: semctl(ring.semid, MUTEX, GETNCNT) == 1)
        ring.give()
        demo.wait(1)
        ring.set64(AT_TAIL, 5)
        demo.start(ring.handle.fd, RECORDS, 1, count=1)
        demo.wait(1)
    finally:
        (events / "enable").write_text("0")
    text = trace.read_text()
    trace.write_text("")
    for pattern in (
        "lock_wait: area=ring",
        "lock_taken: area=ring wait_ns=",
        "owner_died=1",
        "lock_released: area=ring held_ns=",
        "ring_put: area=ring records=1",
        "ring_repair: area=ring err=0",
        "ring_broken: area=ring why=4 ",
    ):
        assert pattern in text, pattern
    assert "semshare_demo/9" in text or "semshare_demo" in text


# Program starts

EXEC = struct.Struct("QQIIII16s")


@pytest.fixture
def exec_module():
    """semshare_exec, loaded anew, and as it was afterwards."""
    was_loaded = loaded("semshare_exec")
    if was_loaded:
        rmmod("semshare_exec")
    yield
    if loaded("semshare_exec"):
        rmmod("semshare_exec")
    if was_loaded:
        insmod("semshare_exec")


def parse(records):
    for kind, payload in records:
        assert kind == 2
        time_ns, missed, pid, parent, uid, size, comm = EXEC.unpack_from(payload)
        assert len(payload) == EXEC.size + size
        yield {
            "time_ns": time_ns,
            "missed": missed,
            "pid": pid,
            "parent": parent,
            "uid": uid,
            "comm": comm.split(b"\0")[0].decode(),
            "path": payload[EXEC.size :].decode(),
        }


def drain(ring, until, timeout=SLACK):
    starts = []
    deadline = time.monotonic() + timeout
    while not until(starts):
        assert time.monotonic() < deadline, starts
        starts += parse(ring.get(timeout=0.2))
    return starts


def test_program_starts_are_seen(exec_module):
    insmod("semshare_exec")
    with Handle().attach("exec") as handle:
        ring = Ring(handle)
        info = handle.info()
        assert info["semid"] == ring.semid and info["bind_flags"] == 1 and info["kernel_users"] >= 1
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        child = subprocess.Popen(["/bin/true"])
        child.wait()
        wrong = subprocess.run(["/bin/sh", "-c", "exec /nonexistent"], stderr=subprocess.DEVNULL)
        assert wrong.returncode == 127
        done = subprocess.Popen(["/usr/bin/env", "true"], user=65534, group=65534)
        done.wait()
        starts = drain(
            ring, lambda starts: any(start["pid"] == done.pid and start["comm"] == "true" for start in starts)
        )
        first = next(start for start in starts if start["pid"] == child.pid)
        assert first["path"] == "/bin/true" and first["comm"] == "true"
        assert first["parent"] == os.getpid() and first["uid"] == 0
        assert before <= first["time_ns"] <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        last = [start for start in starts if start["pid"] == done.pid]
        assert [start["comm"] for start in last] == ["env", "true"] and {start["uid"] for start in last} == {65534}
        assert not any("nonexistent" in start["path"] for start in starts)
        assert [start["time_ns"] for start in starts] == sorted(start["time_ns"] for start in starts)
        ring.close()


def test_long_paths_are_cut(exec_module, tmp_path):
    insmod("semshare_exec")
    folder = tmp_path
    while len(str(folder)) < 300:
        folder /= "d" * 60
    folder.mkdir(parents=True)
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with Handle().attach("exec") as handle:
        ring = Ring(handle)
        child = subprocess.Popen([str(program)])
        child.wait()
        starts = drain(ring, lambda starts: any(start["pid"] == child.pid for start in starts))
        assert next(s for s in starts if s["pid"] == child.pid)["path"] in (str(program)[:232], "/bin/sh")
        ring.close()


def test_starts_that_do_not_fit_are_counted(exec_module, tmp_path):
    insmod("semshare_exec", "ring_bytes=4096")
    program = tmp_path / ("p" * (200 - len(str(tmp_path)))) / "true"  # 14 records of that length fill the ring
    program.parent.mkdir()
    shutil.copy("/bin/true", program)
    with Handle().attach("exec") as handle:
        ring = Ring(handle)
        for _ in range(30):
            subprocess.run([program], check=True)
        eventually(lambda: read_parameter("missed", "semshare_exec") > 0)
        records = list(parse(ring.get(limit=1000)))
        assert 0 < len(records) < 30

        # The module goes on as soon as there is space, and the next record tells what was missed.
        def seen():
            child = subprocess.Popen([program])
            child.wait()
            return [s for s in parse(ring.get(limit=1000, timeout=1)) if s["pid"] == child.pid]

        eventually(lambda: any(s["missed"] > 0 for s in seen()))
        ring.close()


def test_stale_set_is_a_clear_error_at_load(exec_module):
    semid = semget(key_of("exec"), 1, IPC_CREAT | IPC_EXCL | 0o600)
    try:
        assert errno_of(insmod, "semshare_exec") == "EBUSY"
        log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
        assert f"ipcrm -S 0x{key_of('exec'):08x}" in log
        assert set_exists(semid)
        with Handle() as handle:
            assert "exec" not in handle.names()
    finally:
        semctl(semid, 0, IPC_RMID)


def test_taken_name_is_a_clear_error_at_load(exec_module):
    with Handle().create("exec", PAGE):
        assert errno_of(insmod, "semshare_exec") == "EBUSY"


@pytest.mark.parametrize("parameters", ["ring_bytes=5000", "ring_bytes=0", "mode=512"])
def test_bad_parameters_of_exec(exec_module, parameters):
    assert errno_of(insmod, "semshare_exec", parameters) == "EINVAL"
    with Handle() as handle:
        assert "exec" not in handle.names()


def test_removed_set_leaves_exec_counting(exec_module):
    insmod("semshare_exec")
    with Handle().attach("exec") as handle:
        semctl(handle.info()["semid"], 0, IPC_RMID)
    before = read_parameter("missed", "semshare_exec")
    for _ in range(5):
        subprocess.run(["/bin/true"], check=True)
    eventually(lambda: read_parameter("missed", "semshare_exec") >= before + 5)
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    assert "without its set" in log


def test_kernel_leaves_a_strangers_set_alone_that_took_the_id(exec_module):
    """The id comes round while the worker does nothing: what then has it is not the ring's."""
    wanted = Path("/proc/sys/kernel/sem_next_id")
    if not wanted.exists():
        pytest.skip("this kernel has no sem_next_id")
    insmod("semshare_exec")
    with Handle().attach("exec") as handle:
        semid = handle.info()["semid"]
    time.sleep(0.3)
    semctl(semid, 0, IPC_RMID)
    wanted.write_text(str(semid))
    stranger = semget(0x4711, 3, IPC_CREAT | 0o600)
    try:
        assert stranger == semid
        for number in range(3):
            semctl(stranger, number, SETVAL, 1)
        # SETVAL leaves the pid of who last operated: any operation of the kernel would leave another.
        subprocess.run(["/bin/true"], check=True)
        eventually(lambda: read_parameter("missed", "semshare_exec") > 0)
        assert [semctl(stranger, n, GETVAL) for n in range(3)] == [1, 1, 1]
        assert [semctl(stranger, n, GETPID) for n in range(3)] == [os.getpid()] * 3
        rmmod("semshare_exec")
        assert set_exists(stranger)
    finally:
        semctl(stranger, 0, IPC_RMID)


@pytest.mark.parametrize("reader", ["none", "asleep", "holding the mutex"])
def test_unload_of_exec_takes_a_moment_and_frees_all(exec_module, reader):
    insmod("semshare_exec")
    child = None
    if reader != "none":

        def read():
            with Handle().attach("exec") as handle:
                ring = Ring(handle)
                if reader == "asleep":
                    while True:
                        ring.get()
                ring.take()
                signal.pause()

        child = Child(read)
        time.sleep(0.5)
        if reader == "holding the mutex":
            subprocess.Popen(["/bin/true"]).wait()  # the worker waits for the mutex, for a while
    semid = semget(key_of("exec"), 0, 0)
    stop_soon(lambda: rmmod("semshare_exec"))
    assert not set_exists(semid)
    insmod("semshare_exec")  # under a reader that still holds the old area
    if child:
        child.kill()
    with Handle() as handle:
        eventually(lambda: len([a for a in handle.list() if a["name"] == "exec"]) == 1)


def test_nothing_waits_on_a_mutex_taken_without_undo(ring, demo):
    """The owner died and gave nothing back: kernel threads wait, and can be stopped."""

    def victim():
        ring.take(undo=False)
        Child.tell()
        signal.pause()

    child = Child(victim)
    child.told()
    child.kill()
    demo.start(ring.handle.fd, RECORDS, 2)
    time.sleep(0.2)
    assert demo.status(0)["running"] == 1 and ring.get32(AT_OWNER_KIND) == 1
    stop_soon(demo.stop)
    semop(ring.semid, (MUTEX, 1, 0))  # the command that frees it
    demo.start(ring.handle.fd, RECORDS, 1, count=1)
    consume(ring, 1)
    assert ring.get64(AT_DEATHS) == 1
    assert errno_of(semop, ring.semid, (MUTEX, 0, IPC_NOWAIT)) == "EAGAIN"
