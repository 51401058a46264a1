# SPDX-License-Identifier: MIT
"""The questions of the comparison: each tries something on a lock, with processes, and says what came of it.

A probe is a function of a Peer; its docstring is what is asked. It runs in a process group of its own, with a time
limit, and may leave children, and locks that are held, behind: the group is killed afterwards. What it returns is the
cell of the table: "yes", or what was seen instead.

Nothing is judged by how long it takes. What has not happened within limits.hangs seconds does not happen: that is far
longer than anything here needs.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import gc
import logging
import mmap
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

from .peers import Absent, Handle, Peer, SysvIpc

YES = "yes"
NO = "no"
NOT_ASKED = "not asked"
TOP = Path(__file__).resolve().parent.parent
BATCH_NS = 20_000_000


@dataclass
class Limits:
    """Set before any probe runs: longer on a machine that is slow now."""

    hangs: float = 4.0
    """Seconds."""

    @property
    def lease(self) -> float:
        """For what a lock is lent, where it is only lent: it ends before anything counts as hanging."""
        return self.hangs / 2


limits = Limits()

_prctl = ctypes.CDLL(None).prctl
_PR_SET_PDEATHSIG = 1


class Hangs(Exception):
    """Something did not happen."""


class Raised(Exception):
    """What an actor was asked to do raised; the text is the exception's type."""


def until(condition: Callable[[], object], limit: float | None = None) -> bool:
    """Look again and again until it is true; False: it did not come to that."""
    deadline = time.monotonic() + (limits.hangs if limit is None else limit)
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


# ---------------------------------------------------------------------------------------------------------- processes


class Part:
    """What an actor can do, with the locks that it has opened in its own process."""

    def __init__(self, handles: dict[str, Handle], flag: mmap.mmap) -> None:
        self.handles = handles
        self.flag = flag

    def take(self, timeout: float | None, which: str = "lock") -> bool:
        self.flag[0] = 1
        return self.handles[which].acquire(timeout)

    def attempt(self, which: str = "lock") -> bool:
        return self.handles[which].attempt()

    def give(self, which: str = "lock") -> None:
        self.handles[which].release()

    def look(self, pattern: str) -> dict[str, Any]:
        """The public attributes of such names, and what the methods among them return that want no argument."""
        lock = self.handles["lock"].raw
        found = {}
        for name in dir(lock):
            if name.startswith("_") or not re.search(pattern, name, re.I):
                continue
            with suppress(Exception):
                value = getattr(lock, name)
                value = value() if callable(value) else value
                pickle.dumps(value)
                found[name] = value
        return found


Locks = Callable[[], dict[str, Handle]]


class Actor:
    """A process that does with its locks what it is told: a word of tell() and ask() is a method of its Part."""

    def __init__(self, locks: Locks, part: Callable[[dict[str, Handle], mmap.mmap], Part] = Part) -> None:
        self._pipe, theirs = connection.Pipe()
        self.flag = mmap.mmap(-1, 1)
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            try:
                _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() == parent:
                    self._pipe.close()
                    play(theirs, lambda: part(locks(), self.flag))
            finally:
                # Never back into the probe: there is one of that already.
                os._exit(0)
        theirs.close()
        self.answer()

    def tell(self, word: str, *arguments: Any) -> None:
        """Have it do something; answer() is what came of it."""
        self.flag[0] = 0
        self._pipe.send((word, arguments))

    def answered(self, limit: float | None = None) -> bool:
        """Wait for the answer: whether it is there."""
        return self._pipe.poll(limits.hangs if limit is None else limit)

    def answer(self) -> Any:
        """Raises Hangs, Raised."""
        if not self.answered():
            raise Hangs
        try:
            raised, value = self._pipe.recv()
        except EOFError:
            raise Raised("it ended") from None
        if raised:
            raise Raised(value)
        return value

    def ask(self, word: str, *arguments: Any) -> Any:
        """tell(), and the answer."""
        self.tell(word, *arguments)
        return self.answer()

    def take(self, timeout: float | None = None, which: str = "lock") -> bool:
        """Take a lock; None: by the call that waits for ever."""
        return bool(self.ask("take", timeout, which))

    def attempt(self, which: str = "lock") -> bool:
        """Take it if it is free."""
        return bool(self.ask("attempt", which))

    def give(self, which: str = "lock") -> None:
        """Give it back."""
        self.ask("give", which)

    def turn(self) -> bool:
        """Take it if it is free, and give it back."""
        if free := self.attempt():
            self.give()
        return free

    def wait_for(self, which: str = "lock") -> None:
        """Have it take a lock that another has, and come back when it is at it: asleep, or between two looks."""
        self.tell("take", None, which)
        until(lambda: self.flag[0])
        asleep = 0
        while asleep < 3 and not self.answered(0):
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            asleep = asleep + 1 if state == "S" else 0
            time.sleep(0.01)

    def kill(self) -> None:
        """As kill -9 does, and wait for its end."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def play(pipe: Any, make: Callable[[], Part]) -> None:
    """An actor's life."""
    part: Part | None = None
    while True:
        try:
            value: Any = None
            if part is None:
                part = make()
            else:
                word, arguments = pipe.recv()
                try:
                    value = getattr(part, word)(*arguments)
                except Exception:
                    # An exception by which a C function tells of a signal; here at the latest its handler runs.
                    time.sleep(0)
                    raise
            answer = (False, value)
        except EOFError:
            return
        except BaseException as error:
            if os.environ.get("PROBE_TRACEBACKS"):
                traceback.print_exc()
            answer = (True, type(error).__name__)
        with suppress(BrokenPipeError):
            pipe.send(answer)
        if part is None:
            return


def shared(peer: Peer, **make: Callable[[], Handle]) -> Locks:
    """Make locks; what an actor is to have then: each its own object for each, if the peer can do that."""
    made = {name: function() for name, function in make.items()}
    return lambda: made if peer.inherited else {name: function() for name, function in make.items()}


def a_lock(peer: Peer) -> Locks:
    """As shared(), with one."""
    made = {"lock": peer.handle(peer.create())}
    return lambda: made if peer.inherited else {"lock": peer.handle(peer.attach())}


def sets_of(pid: int) -> list[tuple[int, int]]:
    """The key and the id of each SysV set of which that process was the last to change a semaphore."""
    from semshare._abi import lib

    found = []
    for line in Path("/proc/sysvipc/sem").read_text().splitlines()[1:]:
        key, semid, _, count = map(int, line.split()[:4])
        if any(lib.semctl(semid, number, lib.GETPID) == pid for number in range(count)):
            found.append((key, semid))
    return found


def segments_of(pid: int) -> list[int]:
    """The id of each SysV segment that it made."""
    lines = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return [int(words[1]) for words in lines if int(words[4]) == pid]


# ------------------------------------------------------------------------------------------------------- owners' ends


def freed_when_killed(peer: Peer) -> str:
    """The holder is killed (`kill -9`) while another waits: that one gets it, at once."""
    locks = a_lock(peer)
    holder, waiter = Actor(locks), Actor(locks)
    holder.take()
    waiter.wait_for()
    if waiter.answered(0):
        return "no: does not wait"
    holder.kill()
    if waiter.answered(limits.lease / 2):
        return YES if waiter.answer() else NO
    return "when its lease is over" if waiter.answered() else "no: hangs"


class Told(Part):
    """Says by what it learns that an owner died."""

    def take_and_look(self) -> list[str]:
        words = r"die|dead|death|abandon|inconsistent|suspect"
        told: list[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger().addHandler(handler)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                self.take(None)
            except Exception as error:
                told.append(f"{type(error).__name__}: {error}")
        told += [str(warning.message) for warning in warned]
        told = [text for text in told if re.search(words, text, re.I)]
        return told + [name for name, value in self.look(words).items() if value]


def next_owner_is_told(peer: Peer) -> str:
    """The next who takes it learns that the owner before died inside: by an exception, a warning, the log, or an
    attribute that says so."""
    locks = a_lock(peer)
    holder, successor = Actor(locks), Actor(locks, Told)
    holder.take()
    holder.kill()
    return YES if successor.ask("take_and_look") else NO


class Threaded(Part):
    """Has threads."""

    def take_in_a_thread_that_ends(self) -> None:
        thread = threading.Thread(target=self.take, args=(None,))
        thread.start()
        thread.join()


def thread_that_ends(peer: Peer) -> str:
    """A thread ends while it holds it, and its process goes on: the next gets it, and is told."""
    locks = a_lock(peer)
    holder, successor = Actor(locks, Threaded), Actor(locks, Told)
    holder.ask("take_in_a_thread_that_ends")
    return YES if successor.ask("take_and_look") else "no: is not told"


def stopped_holder_keeps_it(peer: Peer) -> str:
    """A holder that is stopped for a while (`kill -STOP`) is still the only one inside."""
    locks = a_lock(peer)
    holder, other = Actor(locks), Actor(locks)
    holder.take()
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(limits.lease * 1.25)
    return "no: another is inside too" if other.attempt() else YES


class Maker(Part):
    """Makes the lock, and is the only one that has it."""

    def mapped(self) -> set[int]:
        """The inodes of the files that it has mapped. (Their names may be others than when they were.)"""
        lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        return {int(words[4]) for words in lines}


def left_behind(peer: Peer) -> str:
    """All who have it are killed, one while it holds it: what is left in the system, and can somebody new take it?"""
    maker = Actor(lambda: {"lock": peer.handle(peer.create())}, Maker)
    maker.take()
    mapped = maker.ask("mapped")
    maker.kill()
    files = [path for path in Path("/dev/shm").iterdir() if path.stat().st_ino in mapped]
    # What ends so is of bench.peers.
    files += [path for path in peer.place.folder.iterdir() if path.suffix != ".name"]
    counts = {
        "set": len(sets_of(maker.pid)),
        "segment": len(segments_of(maker.pid)),
        "file": len(files),
        **peer.server_left(),
    }
    left = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    try:
        successor = Actor(lambda: {"lock": peer.handle(peer.attach())})
        successor.tell("take", None)
        usable = "it can be taken" if successor.answered() and successor.answer() else "nobody can take it"
    except Raised:
        usable = "nobody can open it"
    return f"{left}; {usable}" if left else "nothing"


# ------------------------------------------------------------------------------------------------------- who can take


#: A program that knows nothing but where the lock is.
UNRELATED = """
import pickle, sys
peer = pickle.loads(bytes.fromhex(sys.argv[1]))
handle = peer.handle(peer.attach())
print("opened", flush=True)
sys.stdin.readline()
print(handle.attempt(), flush=True)
sys.stdin.readline()
print(handle.acquire(None), flush=True)
"""


def attached_by_name(peer: Peer) -> str:
    """A program that somebody else has started, and that knows the name, takes the same lock."""
    locks = a_lock(peer)
    holder = Actor(locks)
    program = subprocess.Popen(
        [sys.executable, "-c", UNRELATED, pickle.dumps(peer).hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=TOP,
    )
    assert program.stdin is not None and program.stdout is not None and program.stderr is not None
    if not program.stdout.readline():
        return f"no: {program.stderr.read().splitlines()[-1].partition(':')[0].rpartition('.')[2]}"

    def go_on() -> str:
        program.stdin.write("\n")
        program.stdin.flush()
        return program.stdout.readline()

    # Not before the program has started, which takes its time: a lease would end.
    holder.take()
    if go_on() != "False\n":
        return "no: takes another"
    holder.give()
    return YES if go_on() == "True\n" else NO


class Plain(Part):
    """A program that has sysv_ipc, and nothing else."""

    def open(self, peer: Peer, key: int) -> None:
        import sysv_ipc

        semaphore = sysv_ipc.Semaphore(key)
        semaphore.undo = True
        self.handles = {"lock": SysvIpc(peer.place).handle(semaphore)}


def sysv_ipc_takes_it(peer: Peer) -> str:
    """A program that has `sysv_ipc` and a key, and nothing else, takes the same lock: each waits for the other."""
    locks = a_lock(peer)
    holder, plain = Actor(locks), Actor(dict, Plain)
    holder.take()
    for key, _ in sets_of(holder.pid):
        if not key:
            continue
        plain.ask("open", peer, key)
        if plain.turn():
            continue
        plain.wait_for()
        holder.give()
        plain.answer()
        if holder.attempt():
            return "no: both are inside"
        holder.wait_for()
        plain.give()
        return YES if holder.answer() else NO
    return NO


class KernelThread:
    """The module's kernel threads for operations on sets, which a device of its gives to programs."""

    PATH = "/dev/semshare-route"
    #: struct semshare_route_semtimedop, in uapi/semshare/route.h. Its context 1 is a kernel thread.
    CALL = struct.Struct("iIQQII")
    SEMTIMEDOP = 0x40000000 | CALL.size << 16 | 0xE5 << 8 | 0x51
    IPC_NOWAIT = 0o4000

    def __init__(self) -> None:
        self.fd = os.open(self.PATH, os.O_RDWR)

    def operate(self, semid: int, delta: int) -> bool:
        """One operation on semaphore 0; False: it would have to wait."""
        operation = ctypes.create_string_buffer(struct.pack("=Hhh", 0, delta, self.IPC_NOWAIT))
        try:
            fcntl.ioctl(self.fd, self.SEMTIMEDOP, self.CALL.pack(semid, 1, ctypes.addressof(operation), 0, 1, 0))
        except BlockingIOError:
            return False
        return True


def kernel_takes_it(peer: Peer) -> str:
    """A kernel thread takes the same lock, by the module: each waits for the other. Asked in the virtual machine."""
    if not os.path.exists(KernelThread.PATH):
        return NOT_ASKED
    kernel = KernelThread()
    holder = Actor(a_lock(peer))
    holder.take()
    for _, semid in sets_of(holder.pid):
        if kernel.operate(semid, -1):
            kernel.operate(semid, 1)
            continue
        holder.give()
        if not kernel.operate(semid, -1):
            return NO
        holder.wait_for()
        if holder.answered(0):
            return "no: both are inside"
        kernel.operate(semid, 1)
        return YES if holder.answer() else NO
    return NO


class Given:
    """What a spawned process is given, and does."""

    def __init__(self, peer: Peer, raw: Any, pipe: Any) -> None:
        self.peer, self.raw, self.pipe = peer, raw, pipe

    def __call__(self) -> None:
        handle = self.peer.handle(self.raw)
        self.pipe.send(handle.attempt())
        self.pipe.recv()
        self.pipe.send(handle.acquire(None))


def goes_to_spawned_processes(peer: Peer) -> str:
    """The object is an argument of a `multiprocessing` process that is spawned, and is the same lock there."""
    context = get_context("spawn")
    raw = peer.create_for(context)
    here = peer.handle(raw)
    here.acquire(None)
    pipe, theirs = connection.Pipe()
    process = context.Process(target=Given(peer, raw, theirs))
    try:
        process.start()
    except Exception as error:
        return f"no: {type(error).__name__}"
    theirs.close()
    try:
        if pipe.recv():
            return "no: it is another there"
        here.release()
        pipe.send(None)
        return YES if pipe.recv() else NO
    except EOFError:
        return "no: it does not arrive"


# -------------------------------------------------------------------------------------------------------------- waits


def timeout(peer: Peer) -> str:
    """A wait with a timeout ends, without the lock."""
    locks = a_lock(peer)
    holder, other = Actor(locks), Actor(locks)
    holder.take()
    return NO if other.take(0.1) else YES


def timeout_of_zero(peer: Peer) -> str:
    """By a timeout of 0 it says at once that another has it."""
    locks = a_lock(peer)
    holder, other = Actor(locks), Actor(locks)
    holder.take()
    return NO if other.take(0) else YES


class Interrupted(Part):
    """Gets signals while it waits, and counts them."""

    def count(self, *_: object) -> None:
        self.flag[0] = min(255, self.flag[0] + 1)

    def take(self, timeout: float | None, which: str = "lock") -> bool:
        signal.signal(signal.SIGALRM, self.count)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        try:
            return super().take(timeout, which)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def handlers_run(peer: Peer) -> str:
    """Signals come during a wait: their Python handlers run, the wait goes on, and gets the lock."""
    locks = a_lock(peer)
    holder, waiter = Actor(locks), Actor(locks, Interrupted)
    holder.take()
    waiter.tell("take", None)
    if not until(lambda: waiter.flag[0] > 5 or waiter.answered(0)):
        return "no: the handlers wait"
    if waiter.answered(0):
        return "no: does not wait" if waiter.answer() else "no: gives up"
    holder.give()
    return YES if waiter.answer() else "no: gives up"


def ctrl_c(peer: Peer) -> str:
    """Ctrl-C ends a wait, by KeyboardInterrupt, and leaves the lock to others."""
    locks = a_lock(peer)
    holder, waiter, other = Actor(locks), Actor(locks), Actor(locks)
    holder.take()
    waiter.wait_for()
    os.kill(waiter.pid, signal.SIGINT)
    try:
        return NO if waiter.answer() else "no: only gives up"
    except Raised as raised:
        if str(raised) != "KeyboardInterrupt":
            return f"no: {raised}"
    holder.give()
    return YES if other.take() else NO


# ----------------------------------------------------------------------------------------------------------- mistakes


class Twice(Part):
    """Takes what it has."""

    def take_again(self, which: str) -> str:
        self.take(None)
        try:
            return "again" if self.take(None, which) else "not"
        except RuntimeError:
            return YES


def taken_twice(peer: Peer, which: str, locks: Locks) -> str:
    """What comes of it."""
    owner, other = Actor(locks, Twice), Actor(locks)
    owner.tell("take_again", which)
    if not owner.answered():
        return "no: hangs"
    answer = owner.answer()
    if answer != "again":
        return YES if answer == YES else "no: gives up"
    owner.give(which)
    return "no: passes, and one release frees it" if other.attempt() else "no: passes, counted"


def self_deadlock(peer: Peer) -> str:
    """A thread that takes it a second time gets a RuntimeError, at once."""
    return taken_twice(peer, "lock", a_lock(peer))


def self_deadlock_by_another_object(peer: Peer) -> str:
    """The same, by way of a second object for the same lock."""
    locks = a_lock(peer)
    try:
        peer.attach()
    except OSError:
        return "no second object"
    return taken_twice(peer, "other", lambda: {**locks(), "other": peer.handle(peer.attach())})


class Parent(Part):
    """Forks while it holds it."""

    def fork(self, doing: str) -> bool:
        """A child that does it with its parent's object: whether it was inside."""
        pid = os.fork()
        if pid:
            _, status = os.waitpid(pid, 0)
            return doing == "take" and status != 0
        taken = False
        with suppress(BaseException):
            if doing == "take":
                taken = self.attempt()
            elif doing == "give":
                self.give()
            else:
                self.handles.clear()
                gc.collect()
                # As programs end, with all that Python does there.
                ctypes.pythonapi.Py_Exit(0)
        os._exit(taken)


def fork_while_held(peer: Peer) -> str:
    """The holder forks: its child, with the same object, is not inside, and frees the lock neither by a release nor by
    its end."""
    locks = a_lock(peer)
    other, third = Actor(locks), Actor(locks)
    seen = []
    for doing, fault in (("end", "its end frees it"), ("take", "it is inside"), ("give", "its release frees it")):
        holder = Actor(locks, Parent)
        holder.take()
        inside = holder.ask("fork", doing)
        if not inside and not (doing != "take" and other.attempt()):
            holder.give()
            continue
        seen.append(fault)
        for actor in (holder,) if inside else (holder, other):
            with suppress(Raised):
                actor.give()
        # What two can have now, or nobody, cannot be asked further.
        if not other.attempt() or third.attempt():
            break
        other.give()
    return f"no: {', '.join(seen)}" if seen else YES


# ------------------------------------------------------------------------------------------------------------ asyncio


class Loop(Part):
    """Waits in an event loop: by the package's own form, or if it has none in a thread, as people do then."""

    def __init__(self, peer: Peer, handles: dict[str, Handle], flag: mmap.mmap) -> None:
        super().__init__(handles, flag)
        self.loop = asyncio.new_event_loop()
        self.peer = peer
        self.lock: Any = None
        with suppress(Absent):
            self.loop.run_until_complete(self.open())
        # One thread: a lock may belong to the thread that took it.
        self.thread = ThreadPoolExecutor(1)

    async def open(self) -> None:
        # With the loop running: some bind themselves to it.
        self.lock = self.peer.aio()

    async def enter(self) -> None:
        if self.lock is not None:
            await self.lock.__aenter__()
        else:
            await self.loop.run_in_executor(self.thread, self.handles["lock"].acquire, None)

    def own(self) -> bool:
        """Whether it is the package's own form."""
        return self.lock is not None

    def wait_and_tick(self) -> bool:
        """Whether the loop had turns while a task waited."""

        async def ticking() -> bool:
            task = self.loop.create_task(self.enter())
            for _ in range(20):
                await asyncio.sleep(0.01)
            waited = not task.done()
            self.flag[0] = 1
            await task
            return waited

        return self.loop.run_until_complete(ticking())

    def wait_and_cancel(self) -> bool:
        """Whether a task that waited could be cancelled."""

        async def cancelling() -> bool:
            task = self.loop.create_task(self.enter())
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.wait([task], timeout=limits.hangs / 2)
            return task.cancelled()

        return self.loop.run_until_complete(cancelling())


def asyncio_waits(peer: Peer) -> str:
    """One task waits for it, and the others of its event loop go on: `async with`."""
    locks = a_lock(peer)
    holder, waiter = Actor(locks), Actor(locks, partial(Loop, peer))
    holder.take()
    waiter.tell("wait_and_tick")
    if not until(lambda: waiter.flag[0] or waiter.answered(0)):
        return "no: the loop stands still"
    holder.give()
    if not waiter.answer():
        return "no: it does not wait"
    return YES if waiter.ask("own") else "by a thread only"


def asyncio_cancelled(peer: Peer) -> str:
    """A task that waits for it is cancelled: the lock is free for others afterwards."""
    locks = a_lock(peer)
    holder, waiter, other = Actor(locks), Actor(locks, partial(Loop, peer)), Actor(locks)
    holder.take()
    if not waiter.ask("wait_and_cancel"):
        return "no: cannot be cancelled"
    holder.give()
    # It may be taken, and given back at once; it must not stay taken.
    stays_free = not until(lambda: not other.turn(), limits.hangs / 4)
    return YES if stays_free or until(other.turn) else "no: it is taken all the same"


# ------------------------------------------------------------------------------------------------------------ looking


def owner_known(peer: Peer) -> str:
    """Another process asks who holds it: some attribute says the holder's pid, and no longer when it is free."""
    locks = a_lock(peer)
    holder, other = Actor(locks), Actor(locks)

    def named() -> bool:
        said = other.ask("look", r"owner|holder|pid")
        return any(holder.pid in (value, getattr(value, "pid", None)) for value in said.values())

    holder.take()
    if not named():
        return NO
    holder.give()
    return "the last one, be it free or not" if named() else YES


def waiters_counted(peer: Peer) -> str:
    """Another process asks how many wait for it."""
    locks = a_lock(peer)
    holder, other, *waiters = (Actor(locks) for _ in range(4))
    holder.take()
    before = other.ask("look", "wait")
    for waiter in waiters:
        waiter.wait_for()

    def counted() -> bool:
        now = other.ask("look", "wait")
        return any(value == len(waiters) and before.get(name) == 0 for name, value in now.items())

    return YES if until(counted, limits.hangs / 4) else NO


# ------------------------------------------------------------------------------------------------- more than one lock


def several(peer: Peer) -> str:
    """Of three locks all at once: who waits for them holds none meanwhile."""

    def locks() -> dict[str, Handle]:
        together, each = peer.several(3)
        return {"all": together, **{str(number): lock for number, lock in enumerate(each)}}

    one, two = Actor(locks), Actor(locks)
    two.take(which="1")
    one.wait_for("all")
    if one.answered(0):
        return NO
    if not (two.attempt("0") and two.attempt("2")):
        return "no: holds some while it waits"
    for which in ("0", "2", "1"):
        two.give(which)
    return YES if one.answer() and not two.attempt("0") and not two.attempt("2") else NO


def read_write(peer: Peer, ask: Callable[[Actor, Actor, Actor], str]) -> str:
    """With three processes that have a read-write lock."""
    locks = shared(peer, read=lambda: peer.readers_writers()[0], write=lambda: peer.readers_writers()[1])
    return ask(*(Actor(locks) for _ in range(3)))


def readers_together(peer: Peer) -> str:
    """Two processes read at once, and who writes is alone."""

    def ask(one: Actor, two: Actor, writer: Actor) -> str:
        one.take(which="read")
        if not two.attempt("read"):
            return "no: one reader at a time"
        if writer.attempt("write"):
            return "no: writes while others read"
        one.give("read")
        two.give("read")
        return YES if writer.attempt("write") and not one.attempt("read") else NO

    return read_write(peer, ask)


def writers_first(peer: Peer) -> str:
    """While a writer waits nobody new reads, so that readers cannot keep it out for ever."""

    def ask(one: Actor, two: Actor, writer: Actor) -> str:
        one.take(which="read")
        writer.wait_for("write")
        return NO if two.attempt("read") else YES

    return read_write(peer, ask)


def reentrant(peer: Peer) -> str:
    """One that its owner may take again, and gives back as often."""
    locks = shared(peer, lock=peer.reentrant)
    owner, other = Actor(locks), Actor(locks)
    owner.take()
    owner.take()
    owner.give()
    if other.attempt():
        return "no: one release frees it"
    owner.give()
    return YES if other.attempt() else NO


# --------------------------------------------------------------------------------------------------------------- cost


def nanoseconds(peer: Peer) -> str:
    """Nanoseconds of one `with lock: pass` that nobody else wants."""
    lock = peer.create()
    count = 1
    while True:
        start = time.perf_counter_ns()
        for _ in repeat(None, count):
            with lock:
                pass
        spent = time.perf_counter_ns() - start
        if spent > BATCH_NS:
            return str(spent / count)
        count *= 2


PROBES: list[tuple[str, Callable[[Peer], str]]] = [
    ("freed when its holder is killed", freed_when_killed),
    ("the next owner is told", next_owner_is_told),
    ("… and when a thread ended with it", thread_that_ends),
    ("a stopped holder keeps it", stopped_holder_keeps_it),
    ("after `kill -9` of everybody", left_behind),
    ("opened by name", attached_by_name),
    ("taken by a plain `sysv_ipc` program", sysv_ipc_takes_it),
    ("taken by kernel code", kernel_takes_it),
    ("passed to spawned processes", goes_to_spawned_processes),
    ("timeout", timeout),
    ("timeout of 0 does not wait", timeout_of_zero),
    ("signal handlers run, the wait goes on", handlers_run),
    ("Ctrl-C ends a wait", ctrl_c),
    ("self-deadlock raises", self_deadlock),
    ("… also with two objects", self_deadlock_by_another_object),
    ("a forked child neither has nor frees it", fork_while_held),
    ("asyncio", asyncio_waits),
    ("a cancelled task leaves it free", asyncio_cancelled),
    ("its owner can be asked", owner_known),
    ("its waiters can be counted", waiters_counted),
    ("several at once, or none", several),
    ("read-write lock", readers_together),
    ("… in which a writer goes first", writers_first),
    ("reentrant lock", reentrant),
]
