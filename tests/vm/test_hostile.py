# SPDX-License-Identifier: MIT
"""User space writes what it likes over everything that it can write, while kernel code works on it.

Each turn has a ring of its own: kernel handles put or take records, from any context, a process does the other half,
and scribblers (scribbler.c) write over the ring. Somebody polls it the whole time, and kernel code listens to it. The
kernel log has to stay clean, everybody has to come to an end, whoever finds the ring broken is told why, and nobody
else notices anything.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import kernel
import pytest
from abi import (
    CONTROL,
    MUTEX,
    SETVAL,
    Child,
    Handle,
    errno_of,
    eventually,
    insmod,
    loaded,
    read_parameter,
    rmmod,
    semctl,
)
from compiler import compile_c
from effort import EFFORT
from hostile import Poller, goes_on, scribbling, takes_its_time, told
from kernel import KernelLog
from notify_kernel import FILL, GET
from notify_kernel import Kernel as Listener
from pace import SLACK, SLOW
from semshare._abi import ffi
from test_channel import ANSWERS, ASKS, ECHO, HOLD, Kernel
from test_kernel_ring_variants import ALLOWED, Both
from test_ring_api import HARDIRQ, NMI, PREEMPT_OFF, PROCESS, SOFTIRQ, KernelRing

import semshare
from semshare.ring import VARIANTS

pytestmark = [
    pytest.mark.skipif(os.environ.get("SEMSHARE_KERNEL") == "kcsan", reason="makes the data races it must survive"),
    takes_its_time,
]

HERE = Path(__file__).parent
CAPACITY = 4096
IN_THE_KERNEL = [variant for variant in VARIANTS.values() if variant.name != "robust"]
TURN = 0.4 * (2 if SLOW else 1)
# More than any turn has records.
ENDLESS = 1 << 60
# What a party may be told by a ring that somebody writes over: all but what would mean that it is lost.
EXPECTED = {
    getattr(errno, name): name
    for name in ("EPROTO", "EAGAIN", "ETIMEDOUT", "EMSGSIZE", "EIDRM", "EBUSY", "EPERM", "ENOBUFS", "EINTR", "EALREADY",
                 "ESTALE")
}  # fmt: skip
AREAS = {
    "control": (0, CONTROL),
    "records": (CONTROL, CAPACITY),
    "everything": (0, CONTROL + CAPACITY),
}

# What a scribbler says in the end.
WRITTEN = ("words left wrong", "words put right", "spans moved", "semaphores set", "words written")
# Where the cursors and the states are among it: a ring that is written over there breaks.
BREAKS = ("control", "everything")

# All at once finds what the parts find, and takes longer to get to it.
WHAT = [*AREAS, "semaphores"] if EFFORT >= 0.25 else ["everything"]


@pytest.fixture(scope="module", autouse=True)
def module():
    names = ("semshare_ring_test", "semshare_channel_test", "semshare_notify_test")
    ours = [name for name in names if not loaded(name)]
    for name in ours:
        insmod(name)
    yield
    for name in ours:
        eventually(lambda name=name: errno_of(rmmod, name) != "EBUSY")


@pytest.fixture(scope="module")
def scribbler():
    with tempfile.TemporaryDirectory(prefix="semshare-scribbler-") as folder:
        yield compile_c(Path(folder) / "scribbler", HERE / "scribbler.c", "-O2")


class Scribblers:
    """Processes that write over an area until stop(), which answers how often they did what."""

    def __init__(self, program, handle, size, part, seeds, semid=None, nsems=0):
        words = [str(word) for word in (program, handle.fd, size, *part)]
        more = [str(semid), str(nsems)] if semid is not None else []
        self.running = [
            subprocess.Popen([*words, str(seed), *more], pass_fds=[handle.fd], stdout=subprocess.PIPE, text=True)
            for seed in seeds
        ]
        for each in self.running:
            assert each.stdout.readline() == "ready\n"

    def stop(self) -> Counter[str]:
        done: Counter[str] = Counter()
        for each in self.running:
            each.send_signal(signal.SIGTERM)
        for each in self.running:
            said = each.communicate(timeout=SLACK * 2)[0]
            assert each.returncode == 0
            done.update(dict(zip(WRITTEN, map(int, said.split()))))
        return done


class Neighbour:
    """A ring that nobody writes over, and a page behind it: both have to stay as they are."""

    PATTERN = bytes(range(256)) * 16

    def __init__(self):
        self.ring = semshare.Ring.create("hostile-neighbour", 4096, area_extra=4096, backend="module")
        self.ring.area.buffer[CONTROL + 4096 : CONTROL + 8192] = self.PATTERN
        self.put = 0

    def check(self):
        self.ring.put(self.put.to_bytes(8, "big"))
        assert self.ring.get(timeout=SLACK) == self.put.to_bytes(8, "big")
        self.put += 1
        assert bytes(self.ring.area.buffer[CONTROL + 4096 : CONTROL + 8192]) == self.PATTERN
        assert self.ring.state().broken is None

    def close(self):
        self.ring.close()


@pytest.fixture(scope="module")
def neighbour():
    ring = Neighbour()
    yield ring
    ring.close()


def work(name, side, reserves, seed, seconds):
    """A kernel handle that puts, or takes, from one context after another, until the time is over."""
    # From now on: on a slow kernel it takes longer than that until all have been forked.
    until = time.monotonic() + seconds
    dice = random.Random(seed)
    done: Counter[str] = Counter()
    with Handle().attach(name) as handle:
        ring = None
        while time.monotonic() < until:
            try:
                ring = ring or KernelRing(handle)
                ring.context = dice.choice((PROCESS, PROCESS, PREEMPT_OFF, SOFTIRQ, HARDIRQ, NMI))
                ring.cpu = dice.choice(ALLOWED) if ring.context >= HARDIRQ else 0
                waits = 20 if ring.context == PROCESS else 0
                assert ring.status().used <= CAPACITY
                if side == "put" and reserves and dice.random() < 0.2:
                    ring.reserve(dice.randrange(300))
                    ring.commit(b"x") if dice.randrange(2) else ring.cancel()
                elif side == "put":
                    done["kernel_records"] += ring.put_batch([(1, bytes(dice.randrange(300)))] * 9, timeout_ms=waits)
                else:
                    done["kernel_records"] += len(ring.get_batch(timeout_ms=waits))
            except OSError as error:
                # A ring with a lock is not for contexts that may not sleep.
                if error.errno == errno.EOPNOTSUPP and ring is not None and ring.context != PROCESS:
                    continue
                assert error.errno in EXPECTED, error
                done[EXPECTED[error.errno]] += 1
                if error.errno == errno.EPROTO:
                    time.sleep(0.002)
        if ring is not None:
            ring.close()
    Child.tell(" ".join(f"{what}={count}" for what, count in done.items()) or "nothing=1")


def play(name, side, seconds):
    """The other half: a process that takes, or puts. It may be told anything, but not crash or stay."""
    until = time.monotonic() + seconds
    records = 0
    while time.monotonic() < until:
        try:
            with semshare.Ring.attach(name) as ring:
                while time.monotonic() < until:
                    if side == "put":
                        records += len(ring.get_records(50, timeout=0.02))
                    else:
                        records += ring.put_many([bytes(200)] * 9, timeout=0.02)
        except (semshare.Error, ValueError, OSError):
            time.sleep(0.002)
    Child.tell(f"process_records={records}")


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("side", ["put", "get"])
@pytest.mark.parametrize("variant", IN_THE_KERNEL, ids=[variant.name for variant in IN_THE_KERNEL])
def test_scribblers_hurt_only_their_own_ring(scribbler, neighbour, variant, side, what):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    done: Counter[str] = Counter()
    broken = turns = sticky = 0
    end = time.monotonic() + scribbling()
    breaks = what in BREAKS
    while goes_on(end, turns, broken or not breaks):
        before = read_parameter("rings_broken")
        with ExitStack() as stack:
            ring = stack.enter_context(Both(variant, CAPACITY))
            ring.kernel.close()
            semid = ring.python.semid if what in ("semaphores", "everything") else None
            part = (CONTROL, 8) if what == "semaphores" else AREAS[what]
            with ExitStack() as inner:
                poller = inner.enter_context(Poller(ring.name, dice.random()))
                # The kernel's handles have a role in common, so it takes the same side, and most of the records.
                listens = FILL if side == "put" else GET
                listeners = [inner.enter_context(Listener(listens, ring.handle.fd, ENDLESS))] if turns % 2 else []
                scribblers = Scribblers(
                    scribbler, ring.handle, CONTROL + CAPACITY, part, [dice.getrandbits(32) for _ in range(2)],
                    semid, variant.semaphores,
                )  # fmt: skip
                parties = [Child(work, ring.name, side, variant.name == "mpsc", dice.random(), TURN) for _ in range(2)]
                parties.append(Child(play, ring.name, side, TURN))
                for child in parties:
                    stack.callback(child.kill)
                for child in parties:
                    for pair in child.told().split():
                        done[pair.partition("=")[0].replace("_", " ")] += int(pair.partition("=")[2])
                    child.wait()
                done.update(poller.stop())
                done.update(scribblers.stop())
                for listener in listeners:
                    records, calls = listener.state()[:2]
                    done.update({"listener records": records, "listener calls": calls})
            turns += 1
            was_broken, was_told = _sticky(ring)
            sticky += was_told
            # Once for each ring that is broken in the kernel's eyes, however many of its callers are told so.
            counted = read_parameter("rings_broken") - before
            assert counted == was_broken
            broken += counted
            neighbour.check()
    eventually(lambda: kernel.threads("semshare-", "semshare/") == {})
    print(f"{turns} turns, {broken} rings broken, {sticky} asked why; {told(done)}")
    assert done["words put right"] > 100 * turns
    assert done["polls"] > turns and done["listener calls"]
    # Why it is broken few can ask, as most words of it are wrong: see the last test here.
    assert broken or not breaks


def _sticky(ring) -> tuple[bool, bool]:
    """A ring that the kernel calls broken stays so, whatever its words say by then, and who asks is told why.

    Whether it is broken, and whether why could be told: a scribbler may have written over that.
    """
    try:
        KernelRing(ring.handle).close()
    except OSError as error:
        assert error.errno in (errno.EPROTO, errno.EAGAIN, errno.EIDRM, errno.ENXIO), error
        if error.errno != errno.EPROTO:
            return False, False
    else:
        return False, False
    state = semshare.ring.look(ring.python.area.buffer)
    if state is None or not state.broken:
        return True, False
    if ring.variant.locked:
        # It may have been left taken, and who waits for it is told nothing.
        semctl(ring.python.semid, MUTEX, SETVAL, 1)
    with pytest.raises(semshare.Error) as caught:
        ring.python.put(b"x", timeout=0.1)
        ring.python.get(timeout=0.1)
    # Whoever scribbled over the lock's words as well may have it look like another misfortune.
    return True, state.broken in str(caught.value)


# ----------------------------------------------------------------------------------------------------------- channels


DEPTH, PAYLOAD = 16, 200
NSEMS = 5
STATE_AT = ffi.offsetof("struct semshare_channel_control", "state")


def play_channel(name, role, seconds):
    """The process on the other side of the kernel's."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with semshare.Channel.attach(name) as channel:
                if role == ASKS:
                    for command in channel.serve(timeout=0.02):
                        command.reply(command.payload)
                while role == ANSWERS and time.monotonic() < until:
                    pending = [channel.submit(opcode, b"x" * 50, timeout=0.05) for opcode in (ECHO, HOLD, ECHO, 99)]
                    pending[-1].cancel()
                    for each in pending:
                        with suppress(semshare.CommandFailed, semshare.Timeout, semshare.Cancelled):
                            each.result()
        except (semshare.Error, ValueError, OSError, RuntimeError):
            time.sleep(0.002)


@pytest.mark.parametrize("what", ["control", "queues", "everything"] if EFFORT >= 0.25 else ["everything"])
@pytest.mark.parametrize("role", [ASKS, ANSWERS], ids=["asks", "answers"])
def test_scribblers_hurt_only_their_own_channel(scribbler, neighbour, names, role, what):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    done: Counter[str] = Counter()
    end = time.monotonic() + scribbling()
    breaks = what in BREAKS
    turns = sticky = 0
    with KernelLog() as log:
        while goes_on(end, turns, not breaks or sticky):
            with ExitStack() as stack:
                name = names()
                made = semshare.Channel.create(name, DEPTH, max_payload=PAYLOAD, backend="module")
                channel = stack.enter_context(made)
                side = stack.enter_context(Kernel(channel, role))
                handle = stack.enter_context(Handle().attach(name))
                poller = stack.enter_context(Poller(name, dice.random()))
                size = channel.area.size
                part = {"control": (0, CONTROL), "queues": (CONTROL, size - CONTROL), "everything": (0, size)}[what]
                scribblers = Scribblers(
                    scribbler, handle, size, part, [dice.getrandbits(32) for _ in range(2)],
                    channel.semid if what == "everything" else None, NSEMS,
                )  # fmt: skip
                peer = Child(play_channel, name, role, TURN)
                stack.callback(peer.kill)
                until = time.monotonic() + TURN
                while time.monotonic() < until:
                    if role == ASKS:
                        done.update(side.flood(20, timeout=0.02, cancel_every=7))
                    else:
                        time.sleep(0.005)
                    side.state()
                peer.wait()
                done.update(poller.stop())
                done.update(scribblers.stop())
                done.update({f"kernel {key}": count for key, count in side.state().items()})
                turns += 1
                sticky += _channel_is_broken(channel, side, role)
                channel.unlink()
            neighbour.check()
        reasons = Counter(
            line.partition("its channel is broken, ")[2] for line in log.read() if "its channel is broken, " in line
        )
    eventually(lambda: kernel.threads("semshare_ask", "semshare_hear", "semshare_reply", "semshare_serve") == {})
    print(f"{turns} turns, {sticky} broken; {told(done)}; {dict(reasons)}")
    assert done["words put right"] > 100 * turns
    assert done["polls"] > turns
    # What the kernel's client saw of it, and nothing told twice: a reply of another command is none. On a slow kernel a
    # channel may be broken each time before anything got through.
    assert SLOW or (done["kernel calls"] if role == ASKS else done["kernel replies"] + done["kernel refused"])
    assert sticky or not breaks
    assert reasons or not sticky


def _channel_is_broken(channel, side, role) -> int:
    """One that the kernel calls broken stays so, whatever its words say by then."""
    if role == ANSWERS:
        state = semshare.channel.look(channel.area.buffer)
        return int(state is not None and state.broken is not None)
    if side.call(ECHO, timeout=0.05) != -errno.EPROTO:
        return 0
    channel.area.buffer[STATE_AT : STATE_AT + 4] = bytes(4)
    assert side.call(ECHO, timeout=0.05) == -errno.EPROTO
    return 1


# ------------------------------------------------------------------------------------------------------ what is told


def test_the_first_lie_is_what_all_are_told(neighbour):
    """In the log, in the control page, and in the exception, from then on."""
    with KernelLog() as log, Both(VARIANTS["sysv"], CAPACITY) as ring:
        ring.set_word(136, 5)  # tail
        with pytest.raises(OSError, match="Protocol error"):
            ring.kernel.put(b"x")
        reason = "its cursors or records make no sense"
        assert any(reason in line for line in log.read())
        assert ring.python.state().broken == reason
        with pytest.raises(semshare.RingBroken, match=reason):
            ring.python.get(timeout=1)
        with ring.attach() as late, pytest.raises(semshare.RingBroken, match=reason):
            late.put(b"x")
        ring.set_word(136, 0)
        with pytest.raises(OSError, match="Protocol error"):
            ring.kernel.put(b"x")
    neighbour.check()
