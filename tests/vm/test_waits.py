# SPDX-License-Identifier: MIT
"""Kernel threads in each of the waits they can be in: asleep there, not busy, and stopped within a second.

Measured by the kernel's own account of each thread: its processor time, and how often it went to sleep.
"""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import kernel
import pytest
from abi import (
    CONTROL,
    COUNTER,
    GETNCNT,
    IPC_CREAT,
    IPC_NOWAIT,
    IPC_RMID,
    MUTEX,
    PAGE,
    RECORDS,
    SPACE,
    UNLOCKED,
    Child,
    Demo,
    Handle,
    Ring,
    eventually,
    insmod,
    rmmod,
    semctl,
    semget,
    semop,
)
from kernel import Route, threads
from pace import PART_OF_A_SLICE, SLOW, soonest, timed

CAPACITY = 4096
COUNTER_AT = CONTROL + CAPACITY
SIZE = COUNTER_AT + PAGE
BUSYBOX = "/run/semshare/busybox"
# Of one processor, and looks a second: what wakes up ten times a second does not get near either.
BUSY = 0.5 if SLOW else 0.2
LOOKS = 40
WATCHED = 1.0
TICKS = os.sysconf("SC_CLK_TCK")


def processor_time(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def sleeps(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("voluntary_ctxt_switches")).split()[1])


def assert_asleep(pids, looks=LOOKS, busy=BUSY):
    """None of them is busy."""
    assert pids
    before = [(processor_time(pid), sleeps(pid)) for pid in pids]
    began = time.monotonic()
    time.sleep(WATCHED)
    after = [(processor_time(pid), sleeps(pid)) for pid in pids]
    took = time.monotonic() - began
    used = [(now[0] - then[0]) / took for then, now in zip(before, after)]
    looked = [(now[1] - then[1]) / took for then, now in zip(before, after)]
    print(f"processor {max(used):.1%}, {max(looked):.0f} looks a second, of {len(pids)} threads the most")
    assert max(used) < busy, used
    assert max(looked) < looks, looked


def stopped_after(stop, *names):
    return timed(lambda: (stop(), eventually(lambda: threads(*names) == {})))


@contextlib.contextmanager
def ring_and_demo():
    with Handle().create("waits", SIZE) as handle, Demo() as demo:
        ring = Ring(handle, CAPACITY)
        yield ring, demo
        ring.close()


def asleep_on(ring, semaphore, count):
    eventually(lambda: semctl(ring.semid, semaphore, GETNCNT) == count)


def stopped_holder(ring, demo=None):
    """A process that is stopped with the mutex taken."""

    def body():
        if demo:
            demo.close()  # or the last close would be its own
        ring.take()
        Child.tell()
        os.kill(os.getpid(), signal.SIGSTOP)

    holder = Child(body)
    holder.told()
    return holder


# How the demo's threads come to wait. Each gives the semaphore they sleep on.


def on_a_full_ring(ring, demo, mode, clean_up):
    demo.start(ring.handle.fd, RECORDS, threads=4, payload=200)
    return SPACE


def on_a_lock_held_by_a_stopped_process(ring, demo, mode, clean_up):
    holder = stopped_holder(ring, demo)
    clean_up.callback(holder.kill)
    demo.start(ring.handle.fd, mode, threads=4, offset=COUNTER_AT)
    return MUTEX


def on_a_lock_of_the_dead(ring, demo, mode, clean_up):
    Child(lambda: ring.take(undo=False)).wait()
    demo.start(ring.handle.fd, mode, threads=4, offset=COUNTER_AT)
    return MUTEX


def on_a_lock_taken_in_the_midst_of_their_work(ring, demo, mode, clean_up):
    demo.start(ring.handle.fd, COUNTER, threads=4, offset=COUNTER_AT)
    time.sleep(0.2)
    holder = stopped_holder(ring, demo)
    clean_up.callback(holder.kill)
    return MUTEX


def in_an_unlinked_area(ring, demo, mode, clean_up):
    demo.start(ring.handle.fd, RECORDS, threads=4, payload=200)
    asleep_on(ring, SPACE, 4)
    ring.handle.unlink("waits")
    return SPACE


def woken_without_a_reason(ring, demo, mode, clean_up):
    """Somebody raised the hint as far as it goes: 32767 times there is space, and there is none."""
    demo.start(ring.handle.fd, RECORDS, threads=4, payload=200)
    asleep_on(ring, SPACE, 4)
    for _ in range(5):
        semop(ring.semid, (SPACE, 6000, IPC_NOWAIT))
    return None


WAITS = [
    (on_a_full_ring, RECORDS),
    (on_a_lock_held_by_a_stopped_process, RECORDS),
    (on_a_lock_held_by_a_stopped_process, COUNTER),
    (on_a_lock_of_the_dead, RECORDS),
    (on_a_lock_of_the_dead, COUNTER),
    (on_a_lock_taken_in_the_midst_of_their_work, COUNTER),
    (in_an_unlinked_area, RECORDS),
    (woken_without_a_reason, RECORDS),
]


@pytest.mark.parametrize("how", ["stop", "close"])
@pytest.mark.parametrize("wait, mode", WAITS, ids=lambda each: getattr(each, "__name__", each))
def test_the_demos_threads(wait, mode, how):
    def attempt():
        with ring_and_demo() as (ring, demo), contextlib.ExitStack() as clean_up:
            semaphore = wait(ring, demo, mode, clean_up)
            if semaphore is not None:
                asleep_on(ring, semaphore, 4)
                assert_asleep(threads("semshare_demo/"))
                asleep_on(ring, semaphore, 4)
            else:
                # 64 looks, which cost something, then a tick of sleep, until the hints are used up: paced, though not
                # idle.
                assert_asleep(threads("semshare_demo/"), looks=2000, busy=0.9)
            took = stopped_after(demo.stop if how == "stop" else demo.close, "semshare_demo/")
            if semaphore is not None:
                assert semctl(ring.semid, semaphore, GETNCNT) == 0
            assert ring.handle.info()["kernel_users"] == 0
        return took

    soonest(attempt, PART_OF_A_SLICE)


def test_the_demos_threads_without_a_lock():
    """Nobody gives them a hint: they look at each tick."""

    def attempt():
        with ring_and_demo() as (ring, demo):
            demo.start(ring.handle.fd, RECORDS, threads=2, payload=200, flags=UNLOCKED)
            eventually(lambda: ring.get64(136) - ring.get64(128) > CAPACITY - 300)
            assert_asleep(threads("semshare_demo/"), looks=1500)
            return stopped_after(demo.stop, "semshare_demo/")

    soonest(attempt)


def test_the_demos_threads_whose_set_is_removed_end_and_wait_for_nobody():
    """They are gone before anybody stops them, and STOP has nothing to wait for."""

    def attempt():
        with ring_and_demo() as (ring, demo):
            demo.start(ring.handle.fd, RECORDS, threads=4, payload=200)
            asleep_on(ring, SPACE, 4)
            semctl(ring.semid, 0, IPC_RMID)
            eventually(lambda: threads("semshare_demo/") == {})
            return stopped_after(demo.stop, "semshare_demo/")

    soonest(attempt)


@pytest.mark.parametrize("end", ["signal", "kill", "removal"])
def test_threads_of_routed_calls(end):
    """Asleep in a P with and without a timeout, and in one of 300 operations."""
    soonest(lambda: end_routed_calls(end))


def end_routed_calls(end):
    semid = semget(0, 2, IPC_CREAT | 0o600)

    def body():
        signal.signal(signal.SIGUSR1, lambda *_: None)
        route = Route(Route.KTHREAD)
        calls = [
            lambda: route.semop(semid, [(0, -1)]),
            lambda: route.semtimedop(semid, [(0, -1)], 1000),
            lambda: route.semop(semid, [(0, -1)] * 300),
        ]
        answers = []
        callers = [threading.Thread(target=lambda call=call: answers.append(call())) for call in calls]
        for each in callers:
            each.start()
        Child.tell()
        if end == "signal":
            eventually(lambda: semctl(semid, 0, GETNCNT) == 3)
            eventually(lambda: Path("/run/semshare-go").exists())
            for each in callers:
                signal.pthread_kill(each.ident, signal.SIGUSR1)
        for each in callers:
            each.join()
        Child.tell(repr(sorted(answers)))

    go = Path("/run/semshare-go")
    go.unlink(missing_ok=True)
    child = Child(body)
    child.told()
    eventually(lambda: semctl(semid, 0, GETNCNT) == 3)
    mine = list(threads("semshare/"))
    assert len(mine) == 3
    assert_asleep(mine)
    removed = False
    if end == "signal":
        took = stopped_after(lambda: (go.touch(), eventually(lambda: semctl(semid, 0, GETNCNT) == 0)), "semshare/")
        assert child.told() == "[-4, -4, -4]"
        child.wait()
    elif end == "kill":
        took = stopped_after(lambda: (child.kill(), eventually(lambda: semctl(semid, 0, GETNCNT) == 0)), "semshare/")
    else:
        removed = True
        took = stopped_after(lambda: semctl(semid, 0, IPC_RMID), "semshare/")
        assert child.told() == "[-43, -43, -43]"
        child.wait()
    go.unlink(missing_ok=True)
    if not removed:
        semctl(semid, 0, IPC_RMID)
    return took


@pytest.mark.parametrize("how", ["wake", "close"])
def test_threads_that_sleep_in_a_semaphore(how):
    assert kernel.load("semshare_test") == 0
    semid = semget(0, 1, IPC_CREAT | 0o600)

    def attempt():
        device = kernel.Device()
        device.sleep(semid, threads=16)
        eventually(lambda: semctl(semid, 0, GETNCNT) == 16)
        assert_asleep(threads("semshare-sleep"), looks=2)
        took = stopped_after(device.wake if how == "wake" else device.close, "semshare-sleep")
        if how == "wake":
            device.close()
        return took

    try:
        soonest(attempt)
    finally:
        semctl(semid, 0, IPC_RMID)
        assert kernel.unload("semshare_test") == 0


@pytest.mark.parametrize("wait", ["on its queue", "on a full ring", "on a lock held by a stopped process"])
def test_the_thread_that_passes_on_program_starts(wait):

    def attempt():
        insmod("semshare_exec", "ring_bytes=4096")
        with contextlib.ExitStack() as clean_up:
            with Handle().attach("exec") as handle:
                ring = Ring(handle)
                if wait == "on a full ring":
                    start_programs(60)
                if wait == "on a lock held by a stopped process":
                    clean_up.callback(stopped_holder(ring).kill)
                    start_programs(5)
                time.sleep(1)  # what it still had to do
                assert_asleep(threads("semshare_exec"))
                ring.close()
            return stopped_after(lambda: rmmod("semshare_exec"), "semshare_exec")

    rmmod("semshare_exec")
    try:
        soonest(attempt)
    finally:
        if Path("/sys/module/semshare_exec").exists():
            rmmod("semshare_exec")
        insmod("semshare_exec")


def start_programs(count):
    for _ in range(count):
        os.waitpid(os.posix_spawn(BUSYBOX, ["true"], {}), 0)
