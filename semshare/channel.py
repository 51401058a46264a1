# SPDX-License-Identifier: MIT
"""Channels: one side asks by commands, the other answers each by a reply; kernel code may be either."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from semshare import area_set, names
from semshare._abi import ffi, lib
from semshare._native import ChannelCore
from semshare.area import Area
from semshare.errors import (
    Cancelled,
    ChannelBroken,
    CommandFailed,
    Error,
    Full,
    FullTimeout,
    HolderDead,
    Malformed,
    NameExists,
    NotFound,
    PeerDied,
    Removed,
    RoleTaken,
    Timeout,
    UnknownOpcode,
    failure,
)
from semshare.ring import why_broken
from semshare.semaphore_set import SemaphoreSet

CONTROL_SIZE: int = lib.SEMSHARE_CHANNEL_CONTROL_SIZE
LOCK_OFFSET: int = ffi.offsetof("struct semshare_channel_control", "lock")
COMMANDS: int = lib.SEMSHARE_CHANNEL_COMMANDS
REPLIES: int = lib.SEMSHARE_CHANNEL_REPLIES
ANSWERS: int = lib.SEMSHARE_CHANNEL_SEM_ANSWERS
ASKS: int = lib.SEMSHARE_CHANNEL_SEM_ASKS
FOREVER = (1 << 64) - 1

# An area is there an instant before its channel is. Who finds it so waits so long.
FORMAT_LIMIT = 2.0
POLL = 0.001
# Who waits for a reply looks this often whether who answers is alive, and who answers whether it was closed.
SLICE: float = lib.SEMSHARE_RING_RECHECK_MS / 1000
# A reply finds no space only behind replies to somebody who asked before, and is gone. It waits so long.
REPLY_LIMIT = 1.0


class ChannelState(NamedTuple):
    """A look at a channel without its lock: each number is right by itself, not all at one moment."""

    depth: int
    """Commands that can be outstanding at a time."""
    max_payload: int
    calls: int
    """Commands sent so far."""
    replies: int
    malformed: int
    """Messages that made no sense, and were passed over."""
    unmatched: int
    """Replies to nothing that was outstanding, dropped."""
    outstanding: int
    """Commands that are neither replied to nor withdrawn before they were taken, those that timed out among them; of a
    process that asked and was killed, what it left."""
    timeouts: int
    """Commands that ended by their deadline."""
    cancels: int
    """Commands that ended because who asked gave them up."""
    deaths: int
    """Commands that failed because who had taken them was gone."""
    session: int
    """How many came to answer so far."""
    answers: int | None
    """The process that came last to answer; 0: kernel code; None: nobody did."""
    asks: int | None
    """The process that came last to ask, likewise."""
    broken: str | None
    """What broke it for ever; None if it is not."""
    semid: int
    key: int
    name: str


def look(buffer: Any) -> ChannelState | None:
    """What the first page of an area says; None if the area holds no channel of this version.

    Args:
        buffer: the area's memory, or its first page. Reading is enough.
    """
    if len(buffer) < CONTROL_SIZE:
        return None
    # One copy: looking twice at words that others change would be looking at two things.
    control = ffi.new("struct semshare_channel_control *")
    with memoryview(buffer) as view:
        ffi.buffer(control)[:] = bytes(view[:CONTROL_SIZE])
    if control.magic != lib.SEMSHARE_CHANNEL_MAGIC or control.abi_version != lib.SEMSHARE_ABI_VERSION:
        return None

    def party(words: Any) -> int | None:
        return {lib.SEMSHARE_OWNER_USER: words.pid, lib.SEMSHARE_OWNER_KERNEL: 0}.get(words.kind)

    return ChannelState(
        control.depth,
        control.max_payload,
        control.calls,
        control.replies,
        control.malformed,
        control.unmatched,
        control.outstanding,
        control.timeouts,
        control.cancels,
        control.deaths,
        control.session,
        party(control.answers),
        party(control.asks),
        why_broken(control.state),
        control.semid,
        control.key,
        names.text_of(bytes(ffi.buffer(control.name))),
    )


class Pending:
    """A command that was sent, and the reply to come. Of Channel.submit().

    Attributes:
        opcode: what was asked.
        cookie: what its caller gave along.
    """

    __slots__ = (
        "_callbacks",
        "_channel",
        "_deadline",
        "_id",
        "_outcome",
        "_pid",
        "_position",
        "_void",
        "cookie",
        "opcode",
    )

    def __init__(self, channel: Channel, number: int, opcode: int, cookie: int, deadline: float) -> None:
        self.opcode = opcode
        self.cookie = cookie
        self._channel = channel
        self._pid = os.getpid()
        self._id = number
        self._deadline = deadline
        self._position = -1
        self._void = False
        self._outcome: bytes | Exception | None = None
        self._callbacks: list[Callable[[Pending], object]] = []

    def __repr__(self) -> str:
        if self._outcome is None:
            state = "outstanding"
        else:
            state = repr(self._outcome) if isinstance(self._outcome, Exception) else f"{len(self._outcome)} bytes"
        return f"<semshare.Pending opcode {self.opcode}, cookie {self.cookie}: {state}>"

    def done(self) -> bool:
        """Whether there is a reply, or an error in place of it."""
        return self._outcome is not None

    def result(self) -> bytes:
        """The reply's payload, waiting for it until the command's deadline.

        Raises:
            Timeout: there was none by then.
            PeerDied: who had taken the command is gone.
            UnknownOpcode, Malformed, CommandFailed: what the reply says.
            Cancelled: cancel() was called.
            ChannelBroken, Removed: the channel is lost.
            ValueError: it was closed meanwhile.
            RuntimeError: this process is a child of the one that asked.
        """
        self._channel._wait_for(self)
        assert self._outcome is not None
        if isinstance(self._outcome, Exception):
            # A copy of its own for each who asks: a raised exception carries the traceback of that raise.
            raise type(self._outcome)(*self._outcome.args)
        return self._outcome

    def cancel(self) -> bool:
        """Give it up: it ends with Cancelled, and who answers is told, if it has begun. False: it was done already."""
        return self._channel._cancel(self)

    def add_done_callback(self, function: Callable[[Pending], object]) -> None:
        """Call function(self) once it is done, or now if it is: in the thread that finds out. It must not raise."""
        with self._channel._condition:
            if self._outcome is None:
                self._check_process()
                self._callbacks.append(function)
                return
        function(self)

    def _check_process(self) -> None:
        """A forked child has its parent's objects, but neither its role nor its threads."""
        if self._pid != os.getpid():
            raise RuntimeError(
                f"{self._channel._what}: {self!r} is of process {self._pid}; a forked child does not ask by what its "
                "parent sent, but sends commands of its own"
            )


class Command:
    """A command to answer, once, by reply() or fail(), in any thread and any order. Of Channel.serve().

    One that is forgotten, with no variable that refers to it, is answered with an error (EIO).

    Attributes:
        opcode: what is asked.
        payload: with what.
        cookie: opaque, of who asks.
    """

    __slots__ = (
        "__weakref__",
        "_cancelled",
        "_channel",
        "_deadline_ns",
        "_id",
        "_open",
        "_term",
        "cookie",
        "opcode",
        "payload",
    )

    def __init__(
        self, channel: Channel, number: int, cookie: int, deadline_ns: int, opcode: int, payload: bytes, term: object
    ) -> None:
        self.opcode = opcode
        self.payload = payload
        self.cookie = cookie
        self._channel = channel
        self._id = number
        self._deadline_ns = deadline_ns
        self._term = term
        self._open = True
        self._cancelled = False

    def __repr__(self) -> str:
        state = "to be answered" if self._open else "answered"
        return f"<semshare.Command opcode {self.opcode}, {len(self.payload)} bytes: {state}>"

    def __del__(self) -> None:
        if getattr(self, "_open", False) and self._term is self._channel._term:
            # Not by fail(): what cannot be sent now nobody can send later.
            with contextlib.suppress(Exception):
                self._claim()
                self._send(-errno.EIO, b"it was taken, and forgotten")

    @property
    def left(self) -> float:
        """Seconds until its deadline: inf if it has none, 0 if it is over."""
        if self._deadline_ns == FOREVER:
            return float("inf")
        return max(0.0, (self._deadline_ns - time.monotonic_ns()) / 1e9)

    @property
    def cancelled(self) -> bool:
        """Whether who asked is known to have given it up; a reply is of use to nobody then, but must be given."""
        self._channel._look_for_cancels()
        return self._cancelled

    def reply(self, payload: bytes = b"") -> None:
        """Answer it.

        Raises:
            ValueError: the payload is longer than the channel's max_payload; it can still be answered.
            RuntimeError: it was answered already, or this process does not answer the channel any more.
            Full: replies that nobody reads are in the way; this one is dropped.
            Timeout, HolderDead: of the channel's lock; as after any interruption, it can still be answered.
            ChannelBroken, Removed: the channel is lost.
        """
        self._answer(0, payload)

    def fail(self, code: int = errno.EIO, message: str = "") -> None:
        """Answer it with an error: CommandFailed for who asked, or the class that belongs to that errno.

        Args:
            code: an errno, 1 to 4095.
            message: cut at the channel's max_payload.

        Raises:
            as reply().
        """
        if not 1 <= code <= 4095:
            raise ValueError(f"{self!r}: errno {code}; give 1 to 4095")
        self._answer(-code, message.encode()[: self._channel.max_payload])

    def _answer(self, status: int, payload: bytes) -> None:
        channel = self._channel
        if len(payload) > channel.max_payload:
            most = channel.max_payload
            raise ValueError(f"{channel._what}: a reply of {len(payload)} bytes; it takes {most} at most")
        self._claim()
        try:
            self._send(status, payload)
        except (Full, ChannelBroken, Removed):
            raise
        except BaseException:
            # Nothing was sent, and who asks waits. A reply too many, if it was after all, is dropped by who asks.
            with channel._condition:
                if self._term is channel._term:
                    self._open = True
                    channel._taken[self._id] = self
            raise

    def _claim(self) -> None:
        """Be the one who answers it."""
        channel = self._channel
        with channel._condition:
            if not self._open or self._term is not channel._term:
                why = "it was answered" if not self._open else "this process does not answer the channel any more"
                raise RuntimeError(f"{channel._what}: {self!r} cannot be answered: {why}")
            self._open = False
            channel._taken.pop(self._id, None)

    def _send(self, status: int, payload: bytes) -> None:
        self._channel._send_reply(self._id, self.cookie, self.opcode, status, payload)


class Channel(ChannelCore):
    """A queue of commands and a queue of replies in an area, guarded by a SysV set of the same name.

    One process, or kernel code, asks at a time, in any number of threads: the first who sends a command, until it
    closes its channel, or ends. One answers likewise, from its first serve() on. If that is killed, what it had taken
    fails with PeerDied, what it had not is for the next.

    Args:
        name: of its area and its set.
        depth: of a new channel: commands that can be outstanding at a time, 4 to 16384. The space of a command's reply
            is set aside before the command is accepted.
        max_payload: of a new channel: bytes of the longest command, or reply, 1 to 65536.
        create: True: make it; fail if there is one. False: attach it; fail if there is none. None: attach it if there
            is one, else make it.
        mode: permission bits of a new channel's area and set.
        backend: as of Area.

    Raises:
        NameExists: there is an area of that name, or a set of its key.
        NotFound: there is none, or its area holds no channel.
        Denied: this user may not.
        ValueError: depth or max_payload cannot be.
    """

    # One lock in the process, `_condition`, guards all that _forget() sets, and what changes of Pending and Command. It
    # may be held while the channel's mutex in shared memory is taken, which others hold for moments only, and never
    # while the other side is waited for, a callback runs, or a reply waits for space.
    #
    # Of each queue one thread at a time takes messages: it sets `_reading` or `_taking`, lets go of the lock, and files
    # what it got when it has it again. So messages are filed in the order of the queue, and one that is not there any
    # more is here, or with that thread. Other threads wait at the condition, or do without.
    #
    # A forked child begins anew with all of that.

    def __init__(
        self,
        name: str,
        depth: int = 256,
        *,
        max_payload: int = 1024,
        create: bool | None = None,
        mode: int = 0o600,
        backend: str | None = None,
    ) -> None:
        self.name = names.check(name)
        params = ffi.new("struct semshare_channel_params *")
        if create is not False:
            with contextlib.suppress(OverflowError):
                params.depth, params.max_payload = depth, max_payload
            if not lib.semshare_channel_size(params):
                raise ValueError(
                    f"channel {name!r}: depth {depth}, max_payload {max_payload}; a channel has "
                    f"{lib.SEMSHARE_CHANNEL_MIN_DEPTH} to {lib.SEMSHARE_CHANNEL_MAX_DEPTH} places of 1 to "
                    f"{lib.SEMSHARE_CHANNEL_MAX_PAYLOAD} bytes, 1 GiB in all"
                )
        while True:
            if create is not True:
                try:
                    self.area = Area(name, create=False, backend=backend)
                    break
                except NotFound:
                    if create is False:
                        raise
            try:
                size = lib.semshare_channel_size(params)
                self.area = Area(name, size, create=True, mode=mode, backend=backend)
            except NameExists:
                if create is True:
                    raise
            else:
                self._make(params, mode)
                break
        try:
            self._attach()
        except BaseException:
            self.area.close()
            raise
        self._forget()
        _channels.add(self)

    @classmethod
    def create(
        cls,
        name: str,
        depth: int = 256,
        *,
        max_payload: int = 1024,
        mode: int = 0o600,
        backend: str | None = None,
    ) -> Channel:
        """Make a channel: Channel(create=True)."""
        return cls(name, depth, max_payload=max_payload, create=True, mode=mode, backend=backend)

    @classmethod
    def attach(cls, name: str, *, backend: str | None = None) -> Channel:
        """Attach a channel that exists: Channel(create=False)."""
        return cls(name, create=False, backend=backend)

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return f"<semshare.Channel {self.name!r}: closed>"
        state = self.state()
        condition = "broken" if state.broken else f"{state.calls} commands, {state.replies} replies"
        return f"<semshare.Channel {self.name!r}, semid {self.semid}, {self.area.backend}: {condition}>"

    @property
    def _what(self) -> str:
        return f"channel {self.name!r} (semid {self.semid})"

    # ------------------------------------------------------------------------------------------------------- making

    def _make(self, params: Any, mode: int) -> None:
        """Make the set and the channel in a fresh area, whose name is ours already: as a ring is made."""
        try:
            semaphores = area_set.make(self.area, lib.SEMSHARE_CHANNEL_NSEMS, mode, f"channel {self.name!r}")
            semaphores.operate([(number, 1) for number in (lib.SEMSHARE_CHANNEL_SEM_MUTEX, ANSWERS, ASKS)])
            self.area._handle.make_bells()
            error = lib.semshare_channel_format(
                ffi.from_buffer(self.area.buffer, require_writable=True),
                params,
                semaphores.semid,
                semaphores.key,
                names.padded(self.name),
            )
            assert error == 0, "the parameters were checked before"
        except BaseException:
            with contextlib.suppress(Error):
                self.area.unlink()
            self.area.close()
            raise

    def _attach(self) -> None:
        deadline = time.monotonic() + FORMAT_LIMIT
        while True:
            state = look(self.area.buffer)
            if state is not None:
                self._verify(state)
                self.semid = state.semid
                code = self._open(state.semid, self.area._mapping)
                if code == 0:
                    self._bells(*self.area._handle.bells())
                    return
                if code != errno.EAGAIN:
                    raise self._nonsense("its control page makes no sense")
            # Something else has a magic number of its own there; a channel that is being made has none yet.
            if time.monotonic() > deadline or self.area.size < CONTROL_SIZE or any(self.area.buffer[:4]):
                raise NotFound(
                    errno.ENOENT,
                    f"area {self.name!r} holds no channel of this version, or its maker was killed; make the channel "
                    f"under another name, or remove the area: semshare rm {self.name}",
                )
            time.sleep(POLL)

    def _verify(self, state: ChannelState) -> None:
        """Everybody may write the control page, so the set that it names is looked at before it is trusted."""
        bound = self.area.info().semid
        suspicious = (
            state.name != self.name
            or state.key != names.key_of(self.name)
            or (bound is not None and bound != state.semid)
        )
        if not suspicious:
            try:
                there = SemaphoreSet(semid=state.semid).stat()
            except Removed as error:
                raise Removed(
                    errno.EIDRM, f"channel {self.name!r}: its set {state.semid} was removed; make a new channel"
                ) from error
            suspicious = (there.key & 0xFFFFFFFF, there.semaphores) != (state.key, lib.SEMSHARE_CHANNEL_NSEMS)
        if suspicious:
            raise self._nonsense(f"its control page names set {state.semid}, which is not its own")

    def _nonsense(self, why: str) -> Error:
        return Error(
            errno.EPROTO,
            f"channel {self.name!r}: {why}; somebody wrote over it. Make a new one, and remove this one: "
            f"semshare rm {self.name}",
        )

    # ------------------------------------------------------------------------------------------- who this process is

    def _forget(self) -> None:
        """Begin as a process that neither asks nor answers: a new one, or the child of a fork."""
        # Called when who waits for a reply in an event loop is to look: semshare/aio/channel.py.
        self._changed_hook: Callable[[], None] | None = None
        # And who waits for a command there.
        self._taken_hook: Callable[[], None] | None = None
        # Guards all that follows, and wakes who waits for a reply, or for a command that another thread may take.
        self._condition = threading.Condition(threading.RLock())
        self._roles: set[int] = set()
        # Asking. One thread at a time reads replies, for all of them.
        self._reading = False
        self._entries: list[Pending | None] = [None] * self.depth
        self._free = deque(range(self.depth))
        self._withdrawn = 0
        self._ended: list[type[Exception]] = []
        # Ids of another who asked before are not to be those of ours.
        self._generations = itertools.count(random.SystemRandom().getrandbits(31))
        self._scanned = 0.0
        self._session = 0
        # Answering. A new object each time that this process comes to answer.
        self._term: object | None = None
        # One thread at a time takes commands, for all of them. Another looked meanwhile, and did not wait.
        self._taking = False
        self._missed = False
        # What was taken and is to be answered; what of it serve() has not given out yet, each with its kind.
        self._taken: weakref.WeakValueDictionary[int, Command] = weakref.WeakValueDictionary()
        self._early: deque[tuple[int, Command]] = deque()

    def _become(self, role: int, timeout: float) -> None:
        """Have a role, waiting so long for another process to give it back."""
        until = time.monotonic() + timeout
        while True:
            with self._condition:
                # Of threads that come at once one tries, and the others find that it has succeeded.
                if role in self._roles:
                    return
                if self._take(role, 0.0):
                    self._begin(role)
                    return
            left = until - time.monotonic()
            if left <= 0:
                raise self._role_taken(role)
            # Not for long: another thread that stands by may get it.
            if self._take(role, min(left, SLICE)):
                self._begin(role)
                return

    def _begin(self, role: int) -> None:
        """Note that the role is ours. It is given back if close() has come before, which would not find it."""
        try:
            with self._condition:
                session = self._look()[1]
                if role == ASKS:
                    self._session = session
                else:
                    self._term = object()
                self._roles.add(role)
        except BaseException:
            self._give(role)
            raise

    def _role_taken(self, role: int) -> RoleTaken:
        doing = "answers" if role == ANSWERS else "asks"
        state = self.state()
        pid = state.answers if role == ANSWERS else state.asks
        who = {None: "somebody", 0: "kernel code"}.get(pid, f"process {pid}")
        return RoleTaken(
            errno.EALREADY,
            f"{self._what}: {who} {doing} already; try again when it has ended, or closed its channel",
        )

    # ------------------------------------------------------------------------------------------------------- asking

    def call(self, opcode: int, payload: bytes = b"", *, timeout: float | None = 10.0, cookie: int = 0) -> bytes:
        """Ask, and wait for the reply.

        Args:
            opcode: what, a number of 32 bits.
            payload: with what, at most max_payload bytes.
            timeout: seconds; the command's deadline. None: none. Who answers sees it as well.
            cookie: a number of 64 bits that who answers sees, and gives back.

        Returns:
            The reply's payload.

        Raises:
            Timeout: there was no reply by then. As a FullTimeout: the command was not even accepted.
            RoleTaken: somebody else asks.
            and as Pending.result().
        """
        pending = self.submit(opcode, payload, timeout=timeout, cookie=cookie)
        try:
            return pending.result()
        except BaseException:
            # Where that was not its end, as after Ctrl-C, nobody else is there to give it one.
            pending.cancel()
            raise

    def submit(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        timeout: float | None = 10.0,
        cookie: int = 0,
        blocking: bool = True,
    ) -> Pending:
        """Ask, and wait no longer than for a place in the queue.

        Args:
            blocking: False: if as many commands are outstanding as can be, raise Full.
            and as call().

        Raises:
            Full: no place. After the timeout it is a Timeout as well.
            ValueError: the payload is too long, or a number too large.
            RoleTaken: somebody else asks.
        """
        if len(payload) > self.max_payload:
            raise ValueError(f"{self._what}: a command of {len(payload)} bytes; it takes {self.max_payload} at most")
        if not 0 <= opcode < 1 << 32 or not 0 <= cookie < 1 << 64:
            raise ValueError(f"{self._what}: opcode {opcode}, cookie {cookie}: numbers of 32, and of 64 bits")
        deadline = float("inf") if timeout is None else time.monotonic() + max(timeout, 0.0)
        deadline_ns = FOREVER if timeout is None else min(FOREVER - 1, int(deadline * 1e9))
        while True:
            with self._condition:
                self._become(ASKS, 0.0)
                if not self._free:
                    self._reclaim()
                if self._free:
                    return self._submit(opcode, payload, cookie, deadline, deadline_ns)
            # Places come free by replies.
            left = deadline - time.monotonic()
            if blocking and left > 0:
                self._step(min(left, SLICE))
                continue
            self._step(0.0)
            with self._condition:
                if self._free:
                    continue
            text = f"{self._what}: {self.depth} commands are outstanding, as many as can be; {self._who_answers()}"
            raise FullTimeout(errno.ETIMEDOUT, text) if blocking else Full(errno.EAGAIN, text)

    def _submit(self, opcode: int, payload: bytes, cookie: int, deadline: float, deadline_ns: int) -> Pending:
        index = self._free.popleft()
        generation = next(self._generations)
        pending = Pending(self, (generation & 0xFFFFFFFF) << 32 | index, opcode, cookie, deadline)
        sent = False
        try:
            # The condition is held: a reply is not looked up before the position is known.
            pending._position = self._send(
                COMMANDS, lib.SEMSHARE_CHANNEL_COMMAND, pending._id, cookie, deadline_ns, opcode, 0, payload
            )
            sent = pending._position >= 0
        finally:
            if not sent:
                self._free.append(index)
        if not sent:
            # Cannot be, among honest parties: what is outstanding is counted.
            raise Full(errno.EAGAIN, f"{self._what}: somebody filled its queue of commands; make a new one")
        self._entries[index] = pending
        self._tell_lookers()
        return pending

    def _wait_for(self, pending: Pending) -> None:
        while pending._outcome is None:
            pending._check_process()
            left = pending._deadline - time.monotonic()
            if left <= 0:
                # A last look, without waiting: the reply may be there.
                self._step(0.0, pending)
                self._end(pending)
                return
            self._step(min(left, SLICE), pending)

    def _end(self, pending: Pending) -> None:
        """Its time is over."""
        done: list[Pending] = []
        with self._condition:
            self._expire(pending, done)
            self._tell_lookers()
            self._changed()
        self._call_back(done)

    def _step(self, timeout: float, pending: Pending | None = None) -> bool:
        """Read replies for a while, or let another thread do it. Until `pending` is done, if it is given.

        Returns:
            Whether there were any to read.
        """
        with self._condition:
            if pending is not None and pending._outcome is not None:
                return False
            if self._reading:
                self._condition.wait(timeout)
                return False
            self._reading = True
        try:
            return self._read(timeout)
        finally:
            with self._condition:
                self._reading = False
                self._changed()

    def _changed(self) -> None:
        """Have those look who wait for replies. The condition is held."""
        self._condition.notify_all()
        if self._changed_hook is not None:
            self._changed_hook()

    def _check_set(self) -> None:
        """Raise Removed if the channel's set was removed: who waits at a descriptor is not told by the kernel."""
        self._look()

    def _read(self, timeout: float) -> bool:
        """Read replies, waiting for the first, and give them to whom they belong. One thread at a time: _step()."""
        if ASKS not in self._roles and not self.closed:
            raise RuntimeError(f"{self._what}: this process does not ask; a forked child sends commands of its own")
        done: list[Pending] = []
        try:
            serving, session, start, head = self._look()
            messages = self._receive(REPLIES, 64, timeout)
        except (Error, ValueError) as error:
            self._lose(error)
            raise
        with self._condition:
            unmatched = sum(not self._match(message, done) for message in messages)
            # Only once there are no more replies of those who may be gone: see semshare/core/channel.h.
            if not messages and (session != self._session or not serving):
                limit = start if session != self._session else head
                self._session = session
                self._bury(limit, done)
            now = time.monotonic()
            if now - self._scanned > SLICE / 2:
                # Those that somebody waits for see to their deadlines themselves.
                self._scanned = now
                for pending in self._entries:
                    if pending is not None and pending._deadline <= now:
                        self._expire(pending, done)
            if done:
                self._condition.notify_all()
            self._tell_lookers()
        self._call_back(done)
        if unmatched:
            # For who looks at the counter only. What is wrong with the channel the next look tells.
            with contextlib.suppress(Error, ValueError):
                self._count(unmatched)
        return bool(messages)

    def _match(self, message: tuple[int, int, int, int, int, int, bytes], done: list[Pending]) -> bool:
        kind, number, _, _, _, status, payload = message
        index = number & 0xFFFFFFFF
        pending = self._entries[index] if index < self.depth else None
        if kind != lib.SEMSHARE_CHANNEL_REPLY or pending is None or pending._id != number:
            return False
        self._release(index)
        if pending._outcome is None:
            self._settle(pending, self._error_of(status, payload) if status else payload)
            done.append(pending)
        return True

    def _settle(self, pending: Pending, outcome: bytes | Exception) -> None:
        pending._outcome = outcome
        if isinstance(outcome, Exception):
            self._ended.append(type(outcome))

    def _tell_lookers(self) -> None:
        """Say in the control page what is outstanding, and what has ended how since this was last said."""
        if ASKS in self._roles:
            timeouts, cancels, deaths = map(self._ended.count, (Timeout, Cancelled, PeerDied))
            self._ended.clear()
            self._tell(self.depth - len(self._free) - self._withdrawn, timeouts, cancels, deaths)

    def _error_of(self, status: int, payload: bytes) -> Error:
        code = -status if -4096 < status < 0 else errno.EPROTO
        text = payload.decode(errors="backslashreplace") or os.strerror(code)
        kinds: dict[int, type[Error]] = {
            errno.EOPNOTSUPP: UnknownOpcode,
            errno.EBADMSG: Malformed,
            errno.ETIMEDOUT: Timeout,
            errno.ECONNRESET: PeerDied,
            errno.ECANCELED: Cancelled,
        }
        return kinds.get(code, CommandFailed)(code, f"{self._what}: the reply: {text}")

    def _release(self, index: int) -> None:
        pending = self._entries[index]
        if pending is not None:
            self._entries[index] = None
            self._free.append(index)
            self._withdrawn -= pending._void

    def _bury(self, limit: int, done: list[Pending]) -> None:
        """Fail what stood before `limit`, and was not answered: who had taken it is gone."""
        for index, pending in enumerate(self._entries):
            if pending is None or pending._position >= limit:
                continue
            self._release(index)
            if pending._outcome is None:
                text = (
                    f"{self._what}: who had taken the command (opcode {pending.opcode}) is gone, and did not answer; "
                    "whether it was carried out is not known. Ask again, if that does no harm"
                )
                self._settle(pending, PeerDied(errno.ECONNRESET, text))
                done.append(pending)

    def _expire(self, pending: Pending, done: list[Pending]) -> None:
        if pending._outcome is not None:
            return
        text = f"{self._what}: no reply to the command (opcode {pending.opcode}) within its time; {self._who_answers()}"
        self._settle(pending, Timeout(errno.ETIMEDOUT, text))
        with contextlib.suppress(Error, ValueError):
            self._withdraw(pending)
        done.append(pending)

    def _withdraw(self, pending: Pending) -> bool:
        """Take a command back that nobody took; its place comes free when its record has been passed over."""
        if not pending._void and self._retract(pending._position, pending._id):
            pending._void = True
            self._withdrawn += 1
        return pending._void

    def _reclaim(self) -> None:
        """The places of commands that nobody waits for, and nobody took."""
        for pending in self._entries:
            if pending is not None and pending._outcome is not None:
                self._withdraw(pending)
        self._purge()
        head = self._look()[3]
        for index, pending in enumerate(self._entries):
            if pending is not None and pending._void and pending._position < head:
                self._release(index)
        self._tell_lookers()

    def _cancel(self, pending: Pending) -> bool:
        with self._condition:
            if pending._outcome is not None:
                return False
            pending._check_process()
            text = f"{self._what}: the command (opcode {pending.opcode}) was cancelled by its caller"
            self._settle(pending, Cancelled(errno.ECANCELED, text))
            # A notice that cannot be given is of no consequence: nobody waits for the reply.
            with contextlib.suppress(Error, ValueError):
                if not self._withdraw(pending):
                    cancel = lib.SEMSHARE_CHANNEL_CANCEL
                    self._send(COMMANDS, cancel, pending._id, pending.cookie, 0, pending.opcode, 0, b"")
            self._tell_lookers()
            self._changed()
        self._call_back([pending])
        return True

    def _lose(self, error: Error | ValueError) -> None:
        """All that is outstanding ends with the channel."""
        if isinstance(error, (Timeout, HolderDead)):
            return  # of its lock, which is not the end of it
        with self._condition:
            done = [pending for pending in self._entries if pending is not None and pending._outcome is None]
            for pending in done:
                pending._outcome = error
            self._condition.notify_all()
        self._call_back(done)

    def _call_back(self, done: list[Pending]) -> None:
        for pending in done:
            with self._condition:
                callbacks, pending._callbacks = pending._callbacks, []
            for function in callbacks:
                function(pending)

    def _who_answers(self) -> str:
        with contextlib.suppress(Error, ValueError):
            if not self._look()[0]:
                return "nobody answers it: start who does"
            pid = self.state().answers
            return f"{'kernel code' if pid == 0 else f'process {pid}'} answers it: is it busy, or stopped?"
        return "does anybody answer it?"

    # ----------------------------------------------------------------------------------------------------- answering

    def serve(
        self, *, opcodes: Collection[int] | None = None, timeout: float | None = None, standby: float | None = 0.0
    ) -> Iterator[Command]:
        """The commands, as they come, each to be answered once, at once or later.

        One whose deadline is over is answered with an error and not seen; so is one whose opcode is not known.

        Args:
            opcodes: those that are known; None: whatever comes is given out.
            timeout: seconds to wait for a command, after which the iteration ends. None: no limit.
            standby: seconds to wait for another process that answers to end, or to close its channel; None: no limit.

        Raises:
            RoleTaken: somebody else answers.
            ChannelBroken, Removed: the channel is lost.
            ValueError: it was closed meanwhile.
        """
        known = None if opcodes is None else frozenset(opcodes)
        self._become(ANSWERS, float("inf") if standby is None else standby)
        while True:
            deadline = float("inf") if timeout is None else time.monotonic() + timeout
            command = None
            while command is None:
                left = deadline - time.monotonic()
                command = self._next(known, max(0.0, min(left, SLICE)))
                if command is None and left <= 0:
                    return
            yield command
            # Who forgets it has to be found out before the next is waited for.
            del command

    def _next(self, known: frozenset[int] | None, timeout: float) -> Command | None:
        """One command, if one comes in time."""
        deadline = time.monotonic() + timeout
        while True:
            with self._condition:
                if ANSWERS not in self._roles and not self.closed:
                    raise RuntimeError(f"{self._what}: this process does not answer it; begin a new serve()")
                kind, command = self._early.popleft() if self._early else (0, None)
            if command is None:
                left = deadline - time.monotonic()
                if not self._take_in(1, max(0.0, left)) and left <= 0:
                    return None
            elif kind != lib.SEMSHARE_CHANNEL_COMMAND:
                command.fail(errno.EBADMSG, "it is no command")
            elif command._cancelled:
                command.fail(errno.ECANCELED, "it was cancelled")
            elif known is not None and command.opcode not in known:
                command.fail(errno.EOPNOTSUPP, f"opcode {command.opcode} is not known")
            elif not command.left:
                command.fail(errno.ETIMEDOUT, "its deadline was over when it was taken")
            else:
                return command

    def _take_in(self, most: int, timeout: float) -> bool:
        """Take messages out of the queue of commands, or let another thread do it.

        Returns:
            Whether there were any.
        """
        with self._condition:
            term = self._term
            if term is None and not self.closed:
                return False
            if self._taking:
                if timeout > 0:
                    self._condition.wait(timeout)
                else:
                    self._missed = True
                return False
            self._taking = True
        messages: list[tuple[int, int, int, int, int, int, bytes]] = []
        left: list[tuple[int, int, int]] = []
        try:
            messages = self._receive(COMMANDS, most, timeout)
        finally:
            with self._condition:
                self._taking = False
                if term is self._term:
                    self._file(messages)
                else:
                    left = [(each[1], each[2], each[4]) for each in messages]
                self._condition.notify_all()
                if self._missed and self._taken_hook is not None:
                    self._taken_hook()
                self._missed = False
        self._leave(left)
        return bool(messages)

    def _file(self, messages: list[tuple[int, int, int, int, int, int, bytes]]) -> None:
        """Keep commands for the next turn of serve(), and note who is cancelled. The condition is held."""
        for kind, number, cookie, deadline_ns, opcode, _, payload in messages:
            if kind == lib.SEMSHARE_CHANNEL_CANCEL:
                cancelled = self._taken.get(number)
                if cancelled is not None:
                    cancelled._cancelled = True
                continue
            command = Command(self, number, cookie, deadline_ns, opcode, payload, self._term)
            if kind == lib.SEMSHARE_CHANNEL_COMMAND:
                self._taken[number] = command
            self._early.append((kind, command))

    def _look_for_cancels(self) -> None:
        """Notices stand in the queue of commands; what else is there is kept for the next turn of serve()."""
        while self._term is not None and len(self._early) < self.depth and self._take_in(16, 0.0):
            pass

    def _send_reply(self, number: int, cookie: int, opcode: int, status: int, payload: bytes) -> None:
        deadline = time.monotonic() + REPLY_LIMIT
        reply = lib.SEMSHARE_CHANNEL_REPLY
        while self._send(REPLIES, reply, number, cookie, 0, opcode, status, payload[: self.max_payload]) < 0:
            if time.monotonic() > deadline:
                raise Full(errno.EAGAIN, f"{self._what}: replies that nobody reads fill its queue; this one is dropped")
            time.sleep(POLL)

    def resign(self) -> None:
        """Do not answer any more: what was taken, and is not answered, fails with PeerDied; others may answer."""
        with self._condition:
            if ANSWERS not in self._roles:
                return
            self._roles.discard(ANSWERS)
            self._term = None
            left = [(each._id, each.cookie, each.opcode) for each in self._taken.values() if each._open]
            self._taken.clear()
            self._early.clear()
        try:
            self._leave(left)
        finally:
            self._give(ANSWERS)

    def _leave(self, left: list[tuple[int, int, int]]) -> None:
        """Tell who asked that these are not answered any more."""
        # Where that fails, those who ask find out by the role, which is free then.
        with contextlib.suppress(Error, ValueError):
            for number, cookie, opcode in left:
                self._send_reply(number, cookie, opcode, -errno.ECONNRESET, b"who had taken it answers no more")

    # --------------------------------------------------------------------------------------------- looks, and the end

    def state(self) -> ChannelState:
        """A look at the channel without its lock."""
        state = look(self.area.buffer)
        if state is None:
            raise ChannelBroken(
                errno.EPROTO,
                f"{self._what}: somebody wrote over its control page; make a new one: {self._remove()}",
            )
        return state

    def outstanding(self) -> int:
        """Commands of this process that take a place: not replied to yet, those that timed out among them."""
        return self.depth - len(self._free)

    def _why(self) -> str:
        state = look(self.area.buffer)
        if state is None:
            return "somebody wrote over its control page"
        return state.broken or "its words made no sense, or its mutex was given away"

    def _remove(self) -> str:
        return f"semshare rm {self.name}, then create it anew"

    def unlink(self) -> None:
        """Remove the channel's name; its set goes with its last user, or, in POSIX shared memory, at once."""
        self.area.unlink()

    def close(self) -> None:
        """Let go of the channel: its roles are free for others, and what is outstanding ends."""
        if not self.closed:
            self.resign()
            with self._condition:
                if ASKS in self._roles:
                    self._tell(0, 0, 0, 0)
            self._close()
            # Nobody asks, or comes to ask or to answer, from here on.
            self._lose(ValueError(f"{self._what} was closed by its caller"))
            with self._condition:
                roles, self._roles, self._term = self._roles, set(), None
            for role in roles:
                self._give(role)
        self.area.close()

    # ----------------------------------------------------------------------------------- called by the native part

    def _fail(self, code: int, doing: str, holder: int) -> None:
        if code == errno.EBUSY:
            raise Timeout(
                errno.ETIMEDOUT,
                f"{self._what}: {doing}: somebody holds its lock all the time; is it stopped? semshare ls shows it",
            )
        if code == errno.EOWNERDEAD:
            raise HolderDead(
                f"{self._what}: process {holder} took its lock without SEM_UNDO and is dead; free it: "
                f"semshare unlock --semid {self.semid}",
                holder,
                self.semid,
            )
        if code in (errno.EINVAL, errno.EIDRM):
            raise Removed(errno.EIDRM, f"{self._what}: {doing}: its set was removed; make a new channel")
        if code == errno.EPROTO:
            raise ChannelBroken(
                code,
                f"{self._what}: {doing}: the channel is broken: {self._why()}. It stays so: {self._remove()}",
            )
        raise failure(code, self._what, doing)


_channels: weakref.WeakSet[Channel] = weakref.WeakSet()


def _forget_parent() -> None:
    """At once, and not when a channel is first used: its lock may be held by a thread that the child does not have."""
    for channel in list(_channels):
        channel._forget()


os.register_at_fork(after_in_child=_forget_parent)
