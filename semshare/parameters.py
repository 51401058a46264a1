# SPDX-License-Identifier: MIT
"""Parameters and state: named numbers that user space writes and kernel code reads, and the other way round."""

from __future__ import annotations

import contextlib
import errno
import struct
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Union

from semshare import area_set, names
from semshare._abi import ffi, lib
from semshare._native import ParametersCore, owner
from semshare.area import Area
from semshare.errors import Denied, Error, NotFound, OutOfLimits, Removed, Timeout, UnknownParameter
from semshare.lock import REPAIRED, AreaLock
from semshare.semaphore_set import SemaphoreSet

SIZE: int = lib.SEMSHARE_PARAMETERS_SIZE
GUARD: int = lib.SEMSHARE_PARAMETERS_GUARD
VALUES: int = lib.SEMSHARE_PARAMETERS_VALUES
BANK_SIZE: int = SIZE - VALUES
# An area is there an instant before its directory is. Who finds it so waits so long.
FORMAT_LIMIT = 2.0
POLL = 0.001

INT_LIMITS = (-(1 << 63), (1 << 63) - 1)
FLOAT_LIMITS = (float("-inf"), float("inf"))

Number = Union[int, float]


class Limits(NamedTuple):
    """The least and the greatest value that a parameter may have."""

    minimum: Number
    maximum: Number


@dataclass(frozen=True)
class Parameter:
    """What is declared of a parameter.

    Its type, a 64-bit integer or a double, is that of `initial`: 0 declares an integer, 0.0 a double.
    """

    name: str
    """1 to 31 characters of A-Z, a-z, 0-9 and '_'."""
    initial: Number
    minimum: Number | None = None
    """None: as little as the type can be."""
    maximum: Number | None = None
    group: int = 0
    """1 to 15: the parameters of the same number change together, or not at all. 0: it changes by itself."""

    @property
    def type(self) -> type[int] | type[float]:
        """int or float."""
        return float if isinstance(self.initial, float) else int

    @property
    def limits(self) -> Limits:
        """Its limits, whether given or not."""
        least, most = FLOAT_LIMITS if self.type is float else INT_LIMITS
        return Limits(
            least if self.minimum is None else self.minimum, most if self.maximum is None else self.maximum
        )


class Facts(NamedTuple):
    """What is known of parameters beside their values."""

    declared_by: str
    """ "kernel" or "process"."""
    pid: int
    """That process; 0 if it is none."""
    ended: bool
    """Who declared them said that it does not look at them any more."""
    refused: int
    """How often kernel code, if that declared them, found a value or a group outside of its limits, and went on with
    the last good one."""
    unsettled: int
    """How often it found that a group changed too fast to be read, likewise."""
    refused_here: int
    """The same of this object."""
    unsettled_here: int


class Parameters(ParametersCore, Mapping[str, Number]):
    """Named 64-bit integers and doubles, each within limits, in an area that several processes, and kernel code, share.

    Who declares them, a process by create() or a kernel module, publishes names, types and limits. All who may write
    the area set them, by one store without a lock; who declared them reads without a lock:

        with semshare.Parameters.attach("motor") as motor:
            motor["rate"] = 2.5
            motor.update(low=10, high=20)       # of one group: both change, or none
            print(motor["rate"], motor.state["turns"])

    A reader never has a value that is outside of its limits, whatever was written to the memory: it goes on with the
    last good one, and counts. The same holds for a group as a whole, of which a reader has all values of one moment. A
    process that is killed while it changes a group has changed nothing.

    State is the other way round: written by who declared it, read-only to all others. With the module that is enforced;
    in POSIX shared memory, where a file has one mode for all of it, it is an agreement, as are the limits' own pages.

    It is a mapping of names to values, but nothing can be added or deleted. Made by create() and attach().
    """

    name: str
    timeout: float

    def __init__(self, area: Area, declarer: bool, timeout: float) -> None:
        self.name = area.name
        self.timeout = timeout
        self._area = area
        self._lock: AreaLock | None = None
        if self._attach(declarer):
            raise Error(
                errno.EPROTO,
                f"{self._what}: made by another version, or somebody wrote over their names and limits; remove them: "
                f"semshare rm {self.name}",
            )
        self._entries_by_name = {
            name: Parameter(name, initial, minimum, maximum, group)
            for name, _, group, minimum, maximum, initial in self._entries()
        }
        self._count = len(self)
        self._finalizer = weakref.finalize(self, area.close)

    @classmethod
    def create(
        cls,
        name: str,
        parameters: Iterable[Parameter] = (),
        state: Mapping[str, Number] | None = None,
        *,
        mode: int = 0o600,
        backend: str | None = None,
        timeout: float = 10.0,
    ) -> Parameters:
        """Declare parameters and state.

        Args:
            name: of their area.
            parameters: what others set, up to 60 together with the state.
            state: what this process exports, with the initial value of each, which gives its type as well.
            mode: permission bits: who may read sees all, who may write sets parameters.
            backend: as of Area.
            timeout: seconds that a change of a group waits at most for others who change one.

        Raises:
            ValueError: what is declared makes no sense.
            NameExists: there is an area of that name, or, if there are groups, a set of its key.
        """
        names.check(name)
        entries = _entries(name, list(parameters), dict(state or {}))
        count = len(entries) - len(state or {})
        area = Area(name, SIZE, create=True, mode=mode, backend=backend, guard=GUARD)
        try:
            if any(entry.group for entry in entries):
                semaphores = area_set.make(area, lib.SEMSHARE_PARAMETERS_NSEMS, mode, f"parameters {name!r}")
                semaphores.operate([(0, 1)])
            error = lib.semshare_parameters_format(
                ffi.from_buffer(area.buffer, require_writable=True),
                entries,
                count,
                len(entries) - count,
                lib.SEMSHARE_OWNER_USER,
                owner()[1],
                names.padded(name),
            )
            if error:
                raise ValueError(_nonsense(name))
            return cls(area, True, timeout)
        except BaseException:
            with contextlib.suppress(Error):
                area.unlink()
            area.close()
            raise

    @classmethod
    def attach(
        cls, name: str, *, readonly: bool = False, backend: str | None = None, timeout: float = 10.0
    ) -> Parameters:
        """Attach parameters that somebody declared.

        Args:
            readonly: without the right to set them, for who has none.
            timeout: as of create().

        Raises:
            NotFound: there is no area of that name, or it holds no parameters.
            Denied: its mode does not allow it.
        """
        area = Area(name, create=False, readonly=readonly, backend=backend)
        try:
            return cls(area, False, timeout)
        except BaseException:
            area.close()
            raise

    def _attach(self, declarer: bool) -> int:
        """Open the memory, waiting for who declares them just now. Returns 0, or EPROTO."""
        area, handle = self._area, self._area._handle
        deadline = time.monotonic() + FORMAT_LIMIT
        while area.size == SIZE:
            memory, offset = (None, 0) if area.readonly else handle.writable(VALUES, BANK_SIZE)
            code = self._open(area._mapping, memory, offset, declarer)
            if code != errno.EAGAIN:
                return code
            if time.monotonic() > deadline:
                break
            time.sleep(POLL)
        raise NotFound(
            errno.ENOENT,
            f"area {self.name!r} holds no parameters, or who declared them was killed meanwhile; look at the name: "
            "semshare ls shows what there is",
        )

    def __enter__(self) -> Parameters:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._entries_by_name)[: self._count])

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    # A mapping that changes has no hash, and is equal to itself alone.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        if self.closed:
            return f"<semshare.Parameters {self.name!r}: closed>"
        values = ", ".join(f"{name}={value!r}" for name, value in self.snapshot().items())
        return f"<semshare.Parameters {self.name!r}, {self._area.backend}: {values}>"

    @property
    def _what(self) -> str:
        return f"parameters {self.name!r}"

    @property
    def readonly(self) -> bool:
        """Whether they cannot be set by way of this object."""
        return self._area.readonly

    # ------------------------------------------------------------------------------------------------ what is known

    @property
    def state(self) -> State:
        """What who declared them exports: a mapping of names to values."""
        return State(self)

    def limits(self, name: str) -> Limits:
        """The limits of a parameter."""
        return self.declared(name).limits

    def declared(self, name: str) -> Parameter:
        """What was declared of a parameter.

        Raises:
            UnknownParameter: there is none of that name.
        """
        if name not in self:
            self._fail("state" if name in self._entries_by_name else "unknown", name, None)
        return self._entries_by_name[name]

    def facts(self) -> Facts:
        """Who declared them, and how often values had to be refused."""
        return _facts_of(self)

    # ------------------------------------------------------------------------------------------------------- groups

    def update(self, values: Mapping[str, Number] | None = None, /, **more: Number) -> None:
        """Set one parameter, or several of the same group: readers see all of them change, or none.

        Members of the group that are not given stay as they are.

        Raises:
            ValueError: they are not of one group.
            OutOfLimits, UnknownParameter, TypeError, Denied: as of setting one. Nothing was changed then.
            Timeout: somebody else is changing a group all the time, for `timeout` seconds.
        """
        self._apply({**values, **more} if values else more)

    @contextlib.contextmanager
    def group(self) -> Iterator[dict[str, Number]]:
        """Collect values of a group, and set them together at the end; none of them if an exception leaves the block.

        with motor.group() as new:
            new["low"] = 10
            new["high"] = 20
        """
        values: dict[str, Number] = {}
        yield values
        self.update(values)

    def _writers(self) -> AreaLock:
        """The lock of those who change groups. It is opened when it is needed: who only reads has no right to it."""
        if self._lock is None:
            semid = self._area.info().semid
            try:
                found = SemaphoreSet(semid=semid) if semid is not None else None
            except Removed:
                found = None
            if found is None:
                raise Removed(
                    errno.EIDRM, f"{self._what}: who declared them ended them: their set is gone; attach them anew"
                )
            if found.key & 0xFFFFFFFF != names.key_of(self.name) or found.count != lib.SEMSHARE_PARAMETERS_NSEMS:
                raise Error(
                    errno.EPROTO, f"{self._what}: set {semid} is not theirs; remove them: semshare rm {self.name}"
                )
            memory, offset = self._area._handle.writable(VALUES, BANK_SIZE)
            # What a dead owner left needs no repair: its group was not published, and the next writes all of it anew.
            key = names.key_of(self.name)
            self._lock = AreaLock("parameters", self.name, key, found.semid, memory, offset, REPAIRED)
        return self._lock

    # ---------------------------------------------------------------------------------------------------------- end

    def unlink(self) -> None:
        """Remove the name; the memory goes with its last user."""
        self._area.unlink()

    def close(self) -> None:
        """Let go of them."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._close()
        self._finalizer()

    # ------------------------------------------------------------------------------------ called by the native part

    def _fail(self, reason: str, name: Any, value: Any) -> NoReturn:
        if reason == "closed":
            raise ValueError(f"{self._what} are closed; attach them anew")
        if reason == "type":
            kind = "a float" if self._entries_by_name[name].type is float else "an int"
            raise TypeError(f"{self._what}: {name} is {kind}, not {type(value).__name__}: {value!r}")
        if reason == "limits":
            limits = self._entries_by_name[name].limits
            raise OutOfLimits(
                errno.ERANGE,
                f"{self._what}: {name} = {value!r}: it is {limits.minimum} to {limits.maximum}; give a value within",
            )
        if reason == "groups":
            raise ValueError(
                f"{self._what}: {', '.join(name)} are not of one group, so they cannot change together; set them one "
                "by one, or declare them with the same group"
            )
        if reason == "timeout":
            who = str(owner) if (owner := value.owner()) else "somebody"
            raise Timeout(
                errno.ETIMEDOUT,
                f"{self._what}: {who} changes a group for longer than {self.timeout} s; is it stopped? semshare ls "
                "shows it",
            )
        if reason == "readonly":
            raise Denied(
                errno.EACCES, f"{self._what}: they cannot be set: they were attached to read; attach them to write"
            )
        if reason == "readonly state":
            raise Denied(errno.EACCES, f"{self._what}: {name} is state: only who declared it, by create(), sets it")
        if reason == "state":
            raise UnknownParameter(
                errno.ENOENT, f"{self._what}: {name} is state, no parameter; read it: .state[{name!r}]"
            )
        if reason == "parameter":
            raise UnknownParameter(errno.ENOENT, f"{self._what}: {name} is a parameter, no state; read it: [{name!r}]")
        known = ", ".join(self._entries_by_name)
        raise UnknownParameter(errno.ENOENT, f"{self._what}: there is no {name!r}; there are {known}")


class State(Mapping[str, Number]):
    """What who declared parameters exports beside them. Read-only to everybody else."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def __getitem__(self, name: str) -> Number:
        return self._parameters._get_state(name)

    def __setitem__(self, name: str, value: Number) -> None:
        self._parameters._set_state(name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._parameters._entries_by_name)[self._parameters._count :])

    def __len__(self) -> int:
        return len(self._parameters._entries_by_name) - self._parameters._count

    def __repr__(self) -> str:
        return f"<state of {self._parameters._what}: {', '.join(f'{name}={self[name]!r}' for name in self)}>"


# ------------------------------------------------------------------------------------------------------- declarations


def _nonsense(name: str) -> str:
    return (
        f"parameters {name!r}: names are different from each other, 1 to 31 characters of A-Z, a-z, 0-9 and '_'; there "
        f"are 1 to {lib.SEMSHARE_PARAMETERS_MAX} of them, groups are 0 to {lib.SEMSHARE_PARAMETERS_GROUPS - 1}"
    )


def _bits(value: Number, kind: type[int] | type[float]) -> int:
    if kind is float:
        (bits,) = struct.unpack("=Q", struct.pack("=d", value))
        return int(bits)
    return int(value) & (1 << 64) - 1


def _entries(name: str, parameters: list[Parameter], state: dict[str, Number]) -> Any:
    """The directory's entries."""
    entries = ffi.new("struct semshare_parameter[]", len(parameters) + len(state))
    for entry, each in zip(entries, parameters):
        minimum, maximum = each.limits
        _fill(entry, name, each, (minimum, maximum))
        if not minimum <= each.initial <= maximum:
            raise ValueError(
                f"parameters {name!r}: {each.name}: its initial value {each.initial!r} is not within its limits, "
                f"{minimum} to {maximum}"
            )
        entry.group = each.group
        entry.minimum, entry.maximum = _bits(minimum, each.type), _bits(maximum, each.type)
    for entry, (key, value) in zip(entries[len(parameters) : len(entries)], state.items()):
        _fill(entry, name, Parameter(key, value), ())
    return entries


def _fill(entry: Any, name: str, declared: Parameter, limits: tuple[Number, ...]) -> None:
    encoded = declared.name.encode("ascii", errors="replace")
    if not encoded or len(encoded) >= lib.SEMSHARE_PARAMETER_NAME_SIZE or not 0 <= declared.group < 1 << 32:
        raise ValueError(_nonsense(name))
    for number in (declared.initial, *limits):
        if declared.type is int and not (isinstance(number, int) and INT_LIMITS[0] <= number <= INT_LIMITS[1]):
            raise ValueError(
                f"parameters {name!r}: {declared.name}: {number!r} is no 64-bit integer, as its initial value "
                f"{declared.initial!r} says it is; for a double give an initial value with a point"
            )
    ffi.buffer(entry.name)[: len(encoded)] = encoded
    entry.type = lib.SEMSHARE_PARAMETER_DOUBLE if declared.type is float else lib.SEMSHARE_PARAMETER_INT
    entry.initial = _bits(declared.initial, declared.type)


# ---------------------------------------------------------------------------------------------------------- a look


class ParametersLook(NamedTuple):
    """A look at parameters, from a copy of their area's bytes."""

    values: dict[str, Number]
    state: dict[str, Number]
    facts: Facts
    groups: int
    """How many there are."""


def look(copy: bytes) -> ParametersLook | None:
    """What a copy of an area says; None if it holds no parameters of this version."""
    core = ParametersCore()
    if len(copy) < SIZE or core._open(copy, None, 0, False):
        return None
    entries = core._entries()
    count = len(core)
    groups = {group for _, _, group, *_ in entries[:count]} - {0}
    state = {name: core._get_state(name) for name, *_ in entries[count:]}
    return ParametersLook(core.snapshot(), state, _facts_of(core), len(groups))


def _facts_of(core: ParametersCore) -> Facts:
    _, ended, kind, pid, *counts = core._facts()
    return Facts("kernel" if kind == lib.SEMSHARE_OWNER_KERNEL else "process", pid, ended, *counts)
