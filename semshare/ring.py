# SPDX-License-Identifier: MIT
"""The SysV-locked ring: records of many producers to many consumers, kernel threads and plain programs among them."""

from __future__ import annotations

import contextlib
import errno
import time
from typing import Any, NamedTuple

from semshare import area_set, names
from semshare._abi import ffi, lib
from semshare._native import RING_VARIANTS, RingCore
from semshare.area import Area
from semshare.errors import (
    Abandoned,
    Empty,
    EmptyTimeout,
    Error,
    Full,
    FullTimeout,
    HolderDead,
    NameExists,
    NotFound,
    Removed,
    RingBroken,
    RoleTaken,
    Timeout,
    failure,
)
from semshare.lock import RING, AreaLock
from semshare.semaphore_set import SemaphoreSet

CONTROL_SIZE: int = lib.SEMSHARE_RING_CONTROL_SIZE
LOCK_OFFSET: int = ffi.offsetof("struct semshare_ring_control", "lock")
# An area is there an instant before its ring is. Who finds it so waits so long.
FORMAT_LIMIT = 2.0
POLL = 0.001

#: What a put does that finds no space, in the order of the ABI's numbers.
POLICIES = ("wait", "refuse", "overwrite")
#: Why a record was dropped, likewise.
CAUSES = ("refused", "overwritten", "abandoned")


class Variant(NamedTuple):
    """A variant of the ring: how its parties keep out of each other's way."""

    name: str
    number: int
    semaphores: int
    """How many its set has."""
    locked: bool
    """Whether its parties take a lock, the ring's."""
    roles: int
    policies: int
    """A bit for each of POLICIES that it can."""
    producers: int
    """How many there can be at once at most; 0: any number."""
    in_place: bool
    """Whether records can be written and read where they lie: Ring.reserve(), Ring.view()."""
    looks_at_data: bool
    """Whether its state is told by its records, and not by the control page alone."""

    def can(self, policy: str) -> bool:
        """Whether there can be such a ring with this policy."""
        return bool(self.policies >> POLICIES.index(policy) & 1)


#: The variants there are, by name.
VARIANTS = {each[0]: Variant(*each) for each in RING_VARIANTS}


class Record(NamedTuple):
    """A record with what stands beside its payload."""

    payload: bytes
    type: int
    """The number that its producer gave it."""
    position: int
    """Where it stood: bytes since the ring was made. Never the same twice."""
    sequence: int
    """Counts the records that were put. A number that is missing is that of a record that was dropped."""
    time_ns: int
    """When it was put, as time.monotonic_ns() tells it."""


class RingState(NamedTuple):
    """A look at a ring's control page without its lock: each number is right by itself, not all at one moment."""

    capacity: int
    head: int
    """Position of the oldest record."""
    tail: int
    """Position behind the newest."""
    puts: int
    """Records put so far. A producer killed at the wrong instant is not counted: head and tail are the truth."""
    gets: int | None
    """Records taken so far, and bytes of payload put: None where nobody counts them."""
    put_bytes: int | None
    repairs: int
    """Times an owner was found dead inside."""
    broken: str | None
    """What it is that does not make sense in it; None: nothing is known to be wrong."""
    consumers_may_sleep: bool
    """On a semaphore, or at a descriptor; and so the next."""
    producers_may_sleep: bool
    semid: int
    key: int
    name: str
    variant: str
    policy: str
    drops: dict[str, int]
    """Records that were dropped, for each of CAUSES."""

    @property
    def used(self) -> int:
        """Bytes that records and their headers take now."""
        return self.tail - self.head

    @property
    def fill(self) -> float:
        """The share of the capacity that is used, 0 to 1."""
        return self.used / self.capacity if self.capacity else 0.0


def looks_at_data(page: Any) -> bool:
    """Whether look() needs all of an area that begins with that page, and not only the page."""
    control = _control(page)
    return control is not None and any(
        each.looks_at_data for each in VARIANTS.values() if each.number == control.variant
    )


def _control(buffer: Any) -> Any:
    """A copy of the control page of an area; None if the area holds no ring of this version."""
    if len(buffer) < CONTROL_SIZE:
        return None
    control = ffi.new("struct semshare_ring_control *")
    with memoryview(buffer) as view:
        ffi.buffer(control)[:] = bytes(view[:CONTROL_SIZE])
    if control.magic != lib.SEMSHARE_RING_MAGIC or control.abi_version != lib.SEMSHARE_ABI_VERSION:
        return None
    return control


def look(buffer: Any, size: int | None = None) -> RingState | None:
    """What the control page of an area says; None if the area holds no ring of this version.

    Args:
        buffer: the area's memory, as of Area.buffer. Reading is enough.
        size: bytes of the area, where the buffer is its first page or a little more; see looks_at_data().
    """
    # One copy: looking twice at words that others change would be looking at two things.
    control = _control(buffer)
    if control is None:
        return None
    number = control.variant
    variant = next((each for each in VARIANTS.values() if each.number == number), None)
    if size is None or variant is None or variant.looks_at_data:
        size = len(buffer)
    # What the variant keeps elsewhere. Where that makes no sense, the page as it is tells the rest.
    lib.semshare_ring_look(control, ffi.from_buffer(buffer), size)
    nobody_counts = (1 << 64) - 1
    return RingState(
        control.capacity,
        control.head,
        control.tail,
        control.puts,
        control.gets if control.gets != nobody_counts else None,
        control.put_bytes if control.put_bytes != nobody_counts else None,
        control.repairs,
        why_broken(control.state),
        bool(control.need_data or control.bell_data),
        bool(control.need_space or control.bell_space),
        control.semid,
        control.key,
        names.text_of(bytes(ffi.buffer(control.name))),
        variant.name if variant is not None else str(number),
        POLICIES[control.policy] if control.policy < len(POLICIES) else str(control.policy),
        dict(zip(CAUSES, control.drops)),
    )


def why_broken(state: int) -> str | None:
    """What the word says that tells that a ring, or a channel, is broken; None if it is not."""
    if state == lib.SEMSHARE_RING_OK:
        return None
    return str(ffi.string(lib.semshare_ring_state_text(state)).decode())


class Ring(RingCore):
    """A ring of records in an area, guarded by a SysV set of the same name.

    Records have any length up to max_payload, a quarter of the ring, and keep their order. What was put is there until
    it is taken, whoever is killed in between: a producer killed inside has either put all of its record or nothing, and
    the records that a consumer was killed over are delivered again. The next owner of the lock finds that out, puts the
    ring right, and counts it.

    It may be used by several threads, and by forked children.

    Args:
        name: of its area and its set.
        size: bytes for records and their headers; a power of two, 4096 to 1 GiB. Counts for a new ring only.
        create: True: make it; fail if there is one. False: attach it; fail if there is none. None: attach it if there
            is one, else make it.
        mode: permission bits of a new ring's area and set.
        max_payload: of a new ring of variant "mpsc", whose records have places of one size: a multiple of 64, up to a
            quarter of the ring; 0: 192. Of others it is a quarter of the ring.
        area_extra: bytes of a new ring's area behind the ring, for whatever its users like.
        variant: of a new ring. "sysv": any number of producers and consumers, kernel threads and plain programs among
            them, around a lock; "spsc": one producer and one consumer, without a lock: the first who puts, and the
            first who gets, until it closes its ring, or ends; "mpsc": any number of producers and one such consumer,
            without a lock. A producer that is stopped over a record for a second, or killed, is passed over.
        policy: of a new ring: what a put does that finds no space. "wait": it waits, as long as it may; "refuse": the
            record is dropped, and Full raised; "overwrite": the oldest records are dropped. What is dropped is counted
            in state().drops, and leaves a gap in the sequence of the records.
        backend: as of Area.
        locked: False: an experiment, in which no call takes the lock. Records are then lost and torn, as soon as two
            processes use the ring at once; each call looks for a record, or space, every 100 microseconds. What makes
            no sense is given up and counted in `resyncs`.

    Raises:
        NameExists: there is an area of that name, or a set of its key.
        NotFound: there is none, or its area holds no ring.
        Denied: this user may not.
        ValueError: the size is none.
    """

    def __init__(
        self,
        name: str,
        size: int = 1 << 20,
        *,
        create: bool | None = None,
        mode: int = 0o600,
        variant: str = "sysv",
        policy: str = "wait",
        max_payload: int = 0,
        area_extra: int = 0,
        backend: str | None = None,
        locked: bool = True,
    ) -> None:
        self.name = names.check(name)
        self.locked = locked
        if create is not False:
            if not isinstance(size, int) or not lib.semshare_ring_capacity_valid(max(0, min(size, (1 << 64) - 1))):
                raise ValueError(
                    f"ring {name!r}: {size} bytes; a ring has a power of two, {lib.SEMSHARE_RING_MIN_CAPACITY} to "
                    f"{lib.SEMSHARE_RING_MAX_CAPACITY}"
                )
            if area_extra < 0:
                raise ValueError(f"ring {name!r}: {area_extra} bytes behind it; give 0 or more")
            if variant not in VARIANTS:
                raise ValueError(f"ring {name!r}: no variant {variant!r}; there are {', '.join(VARIANTS)}")
            if policy not in POLICIES:
                raise ValueError(f"ring {name!r}: no policy {policy!r}; there are {', '.join(POLICIES)}")
            self._check_payload(size, variant, max_payload)
            if not VARIANTS[variant].can(policy):
                can = ", ".join(filter(VARIANTS[variant].can, POLICIES))
                raise ValueError(f"ring {name!r}: a ring of variant {variant!r} cannot {policy}; it can {can}")
        # The module's pages have no futex that processes share: who waits for a mutex there is ended by the C library.
        make_backend = "posix" if variant == "robust" and backend is None else backend
        while True:
            if create is not True:
                try:
                    self.area = Area(name, create=False, backend=backend)
                    break
                except NotFound:
                    if create is False:
                        raise
            try:
                self.area = Area(name, CONTROL_SIZE + size + area_extra, create=True, mode=mode, backend=make_backend)
            except NameExists:
                if create is True:
                    raise
            else:
                self._make(size, VARIANTS[variant], POLICIES.index(policy), max_payload, mode)
                break
        try:
            self._attach()
        except BaseException:
            self.area.close()
            raise

    @classmethod
    def create(
        cls,
        name: str,
        size: int = 1 << 20,
        *,
        mode: int = 0o600,
        variant: str = "sysv",
        policy: str = "wait",
        max_payload: int = 0,
        area_extra: int = 0,
        backend: str | None = None,
        locked: bool = True,
    ) -> Ring:
        """Make a ring: Ring(create=True)."""
        return cls(
            name,
            size,
            create=True,
            mode=mode,
            variant=variant,
            policy=policy,
            max_payload=max_payload,
            area_extra=area_extra,
            backend=backend,
            locked=locked,
        )

    @classmethod
    def attach(cls, name: str, *, backend: str | None = None, locked: bool = True) -> Ring:
        """Attach a ring that exists: Ring(create=False)."""
        return cls(name, create=False, backend=backend, locked=locked)

    def __enter__(self) -> Ring:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return f"<semshare.Ring {self.name!r}: closed>"
        state = self.state()
        condition = "broken" if state.broken else f"{state.used} of {state.capacity} bytes used"
        return f"<semshare.Ring {self.name!r}, semid {self.semid}, {self.area.backend}: {condition}>"

    @property
    def _what(self) -> str:
        return f"ring {self.name!r} (semid {self.semid})"

    # ------------------------------------------------------------------------------------------------------- making

    def _check_payload(self, capacity: int, variant: str, max_payload: int) -> None:
        policy = next(number for number, each in enumerate(POLICIES) if VARIANTS[variant].can(each))
        params = (capacity, VARIANTS[variant].number, policy, max(0, max_payload) & 0xFFFFFFFF, 0)
        if max_payload < 0 or not lib.semshare_ring_params_payload(ffi.new("struct semshare_ring_params *", params)):
            raise ValueError(
                f"ring {self.name!r}: max_payload {max_payload}; for {capacity} bytes a ring of variant 'mpsc' takes a "
                f"multiple of 64 up to {capacity // 4}, 'paged' 64 less than a power of two from 128 to "
                f"{capacity // 4}, 'lanes' up to {capacity // 4 - 32}; others have no choice, give 0"
            )

    def _make(self, capacity: int, variant: Variant, policy: int, max_payload: int, mode: int) -> None:
        """Make the set and the ring in a fresh area.

        The area's name is ours already, so nobody else makes this ring. Each step leaves what the next who makes it can
        clear away: the set belongs to the area as soon as it is bound, and one that was never operated on to nobody.
        """
        try:
            semid = -1
            if variant.semaphores:
                semaphores = area_set.make(self.area, variant.semaphores, mode, f"ring {self.name!r}")
                free = [lib.SEMSHARE_SEM_MUTEX, *range(lib.SEMSHARE_SEM_PRODUCER, variant.semaphores)]
                semaphores.operate([(number, 1) for number in free])
                semid = semaphores.semid
            self.area._handle.make_bells()
            error = lib.semshare_ring_format(
                ffi.cast("struct semshare_ring_control *", ffi.from_buffer(self.area.buffer, require_writable=True)),
                ffi.new("struct semshare_ring_params *", (capacity, variant.number, policy, max_payload, 0)),
                semid,
                names.key_of(self.name),
                names.padded(self.name),
            )
            assert error == 0, "the capacity was checked before"
        except BaseException:
            with contextlib.suppress(Error):
                self.area.unlink()
            self.area.close()
            raise

    # ----------------------------------------------------------------------------------------------------- attaching

    def _attach(self) -> None:
        deadline = time.monotonic() + FORMAT_LIMIT
        while True:
            state = look(self.area.buffer)
            if state is not None:
                self._verify(state)
                self._lock: AreaLock | None = None
                if VARIANTS[state.variant].semaphores:
                    self._lock = AreaLock(
                        "ring", self.name, state.key, state.semid, self.area._mapping, LOCK_OFFSET, RING
                    )
                self.semid = state.semid
                if not self.locked and not VARIANTS[state.variant].locked:
                    raise ValueError(f"ring {self.name!r}: one of variant {state.variant!r} has no lock to do without")
                code = self._open(self._lock, self.area._mapping, self.locked)
                if code == 0:
                    self._bells(*self.area._handle.bells())
                    return
                if self._lock is not None:
                    self._lock.close()
                if code != errno.EAGAIN:
                    raise Error(
                        errno.EPROTO,
                        f"ring {self.name!r}: its control page makes no sense; make a new one: {self._remove()}",
                    )
            elif len(self.area.buffer) < CONTROL_SIZE + lib.SEMSHARE_RING_MIN_CAPACITY:
                raise self._no_ring()
            if time.monotonic() > deadline:
                raise self._no_ring()
            time.sleep(POLL)

    def _no_ring(self) -> NotFound:
        return NotFound(
            errno.ENOENT,
            f"area {self.name!r} holds no ring of this version, or its maker was killed; make the ring under another "
            f"name, or remove the area: semshare rm {self.name}",
        )

    def _verify(self, state: RingState) -> None:
        """Everybody may write the control page, so the set that it names is looked at before it is trusted."""
        bound = self.area.info().semid
        suspicious = (
            state.name != self.name
            or state.variant not in VARIANTS
            or state.key != names.key_of(self.name)
            or (bound is not None and bound != state.semid)
        )
        if not suspicious and not VARIANTS[state.variant].semaphores:
            suspicious = state.semid != -1
        elif not suspicious:
            try:
                there = SemaphoreSet(semid=state.semid).stat()
            except Removed as error:
                raise Removed(
                    errno.EIDRM, f"ring {self.name!r}: its set {state.semid} was removed; make a new ring"
                ) from error
            suspicious = (there.key & 0xFFFFFFFF, there.semaphores) != (state.key, VARIANTS[state.variant].semaphores)
        if suspicious:
            raise Error(
                errno.EPROTO,
                f"ring {self.name!r}: its control page names set {state.semid}, which is not its own; somebody "
                f"wrote over it. Make a new ring, and remove this one: semshare rm {self.name}",
            )

    # --------------------------------------------------------------------------------------------- records and looks

    def get_record(self, blocking: bool = True, timeout: float | None = -1) -> Record:
        """get(), with what stands beside the record's payload."""
        return Record(*self._get_record(blocking, timeout))

    def get_records(self, most: int, blocking: bool = True, timeout: float | None = -1) -> list[Record]:
        """get_many(), with what stands beside the records' payloads."""
        return [Record(*record) for record in self._get_records(most, blocking, timeout)]

    def state(self) -> RingState:
        """A look at the ring without its lock."""
        state = look(self.area.buffer)
        if state is None:
            raise RingBroken(
                errno.EPROTO, f"{self._what}: somebody wrote over its control page; make a new ring: {self._remove()}"
            )
        return state

    def _check_set(self) -> None:
        """Raise Removed if the ring's set was removed: who waits at a descriptor is not told by the kernel."""
        if self._lock is None:
            return
        try:
            SemaphoreSet(semid=self.semid).value(0)
        except Removed:
            self._fail(errno.EIDRM, "wait")

    @property
    def lock(self) -> AreaLock:
        """The lock of its set, for what else the area holds.

        Raises:
            ValueError: it has no set.
        """
        if self._lock is None:
            raise ValueError(f"{self._what}: it has no set, and no lock to give out; use a semshare.Lock beside it")
        return self._lock

    @property
    def used(self) -> int:
        """Bytes that records and their headers take now, at most `capacity`."""
        return self.state().used

    # ------------------------------------------------------------------------------------------ waiting at a descriptor

    def fileno(self) -> int:
        """A descriptor for poll, select and event loops: it is readable when there may be a record.

        Once readable it stays so until a get that does not wait finds nothing: take records with get_nowait() until
        Empty, or with get_many(…, blocking=False) until there are none, and then wait for the descriptor. It is a hint:
        another consumer may have been quicker. Look again at least every 100 ms: a producer that is killed at the wrong
        instant takes a wake-up along. Not to be read from, written to, or closed: the ring does that.

        The first call opens it; calls that do not wait are slower from then on, when they find nothing. A forked child
        has one of its own.

        Raises:
            NotFound: the ring was removed.
            Error: EOPNOTSUPP, this ring is used without its lock.
        """
        return self._listen(False)

    def space_fileno(self) -> int:
        """The same for a producer: readable when there may be space, until a put that does not wait finds none."""
        return self._listen(True)

    def _why(self) -> str:
        state = look(self.area.buffer)
        if state is None:
            return "somebody wrote over its control page"
        return state.broken or "its words made no sense, or its mutex was given away"

    def _remove(self) -> str:
        return f"semshare rm {self.name}, then create it anew"

    # ----------------------------------------------------------------------------------------------------------- end

    def unlink(self) -> None:
        """Remove the ring's name; its set goes with its last user, or, in POSIX shared memory, at once."""
        self.area.unlink()

    def close(self) -> None:
        """Let go of the ring. Threads that wait in it get a ValueError.

        Raises:
            RuntimeError: its lock is held by way of this object.
        """
        if not self.closed:
            if self._lock is not None:
                self._lock.close()
            self._close()
        self.area.close()

    # ------------------------------------------------------------------------------------- called by the native part

    def _fail(self, code: int, doing: str) -> None:
        if code == errno.EAGAIN:
            if doing == "put":
                raise Full(code, f"{self._what}: no space; take records, wait for space, or make a larger ring")
            raise Empty(code, f"{self._what}: no record; wait for one")
        if code == errno.EALREADY:
            what = "producer" if doing == "put" else "consumer"
            raise RoleTaken(
                code,
                f"{self._what}: there is a {what} already, or as many as there can be; one has to end, or to close it",
            )
        if code == errno.ESTALE:
            raise Abandoned(
                code,
                f"{self._what}: {doing}: a consumer waited for this record for longer than "
                f"{lib.SEMSHARE_RING_ABANDON_MS} ms and went on; it was not put. Prepare it first, then reserve",
            )
        if code == errno.EOPNOTSUPP:
            can = ", ".join(each.name for each in VARIANTS.values() if each.in_place)
            raise Error(
                code,
                f"{self._what}: {doing}: its records are copied, by who holds its lock or because they may be "
                f"overwritten; use put() and get(), or make a ring of another variant ({can}) that does not overwrite",
            )
        if code == errno.ENOBUFS:
            raise Full(code, f"{self._what}: no space; the record was dropped, as is this ring's policy, and counted")
        if code == errno.ETIMEDOUT:
            if doing == "put":
                raise FullTimeout(code, f"{self._what}: no space within the time; does anybody take records?")
            raise EmptyTimeout(code, f"{self._what}: no record within the time; does anybody put records?")
        if code == errno.EBUSY:
            owner = self._lock.owner() if self._lock is not None else None
            who = f"by {owner or 'somebody'}"
            raise Timeout(
                errno.ETIMEDOUT,
                f"{self._what}: {doing}: its lock is held {who} all the time; is it stopped? semshare ls shows it",
            )
        if code in (errno.EINVAL, errno.EIDRM):
            raise Removed(errno.EIDRM, f"{self._what}: {doing}: its set was removed; make a new ring")
        if code == errno.EPROTO:
            raise RingBroken(
                code,
                f"{self._what}: {doing}: the ring is broken: {self._why()}. It stays so: {self._remove()}",
            )
        raise failure(code, self._what, doing)

    def _holder_dead(self, pid: int) -> None:
        raise HolderDead(
            f"{self._what}: process {pid} took its lock without SEM_UNDO and is dead; free it: "
            f"semshare unlock --semid {self.semid}",
            pid,
            self.semid,
        )
