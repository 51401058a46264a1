# SPDX-License-Identifier: MIT
"""Named shared memory, of the kernel module or in POSIX shared memory.

A name is never split between the two. Whoever makes an area in POSIX shared memory claims the file first, then looks
whether the module has the name, and only then publishes the file. Whoever makes one in the module looks for a file
before and after: a file that is complete by then was published before, and the module's area is withdrawn; one that is
not complete waits for its maker, who will see the module's area and give up. Who attaches looks in both, and takes the
file where he finds both, because then the module's area is about to be withdrawn.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import math
import os
import time
import weakref
from typing import TYPE_CHECKING, Any, Union

from semshare import device, names, segment, shm
from semshare._abi import lib
from semshare._native import Mapping
from semshare.area_info import AreaInfo
from semshare.device import ModuleArea
from semshare.errors import Error, NameExists, NotFound
from semshare.memory import AGREED, ANYWHERE, KINDS, Address, Memory, Placement, check_address
from semshare.shm import PosixArea

if TYPE_CHECKING:
    import numpy

__all__ = ["Area", "AreaInfo", "AreaEvent", "list_areas"]

BACKENDS = ("module", "posix")
LARGEST = 1 << 46
# Whose source somebody has to name: from_memfd() and from_sysv().
IMPORTED = ("memfd", "sysv")

# For an area that is about to be withdrawn to be so.
WITHDRAWAL_LIMIT = 0.5
POLL = 0.002

Handle = Union[ModuleArea, PosixArea]


class AreaEvent(enum.IntFlag):
    """What one is told of, and tells others: a hint, to look."""

    DATA = lib.SEMSHARE_EVENT_DATA
    SPACE = lib.SEMSHARE_EVENT_SPACE
    BROKEN = lib.SEMSHARE_EVENT_BROKEN


class Area:
    """A piece of memory that processes, and with the module kernel code, share under a name.

    It is made zeroed, and lives until its last user lets go of it: close() and the end of a process do that, also if it
    is killed. (What users of POSIX shared memory leave behind when the last of them is killed, `semshare rm --stale`
    removes.) A forked child has the area open as well.

    Args:
        name: 1 to 63 characters of A-Z, a-z, 0-9, '.', '_' and '-'.
        size: bytes, to make an area. An area of another size is not attached.
        create: True: make it; fail if there is one. False: attach it; fail if there is none. None: make it if a size is
            given, else attach it.
        mode: permission bits of a new area, as of a file; 0o600 is its owner alone.
        readonly: attach it without the right to write.
        backend: "module", "posix", or None: the module if it is loaded, else POSIX shared memory; and in both when
            attaching.
        guard: of a new area of kind "pages": so many bytes at its start, a multiple of 4096, are written by way of this
            object alone. The buffer of others is read-only then. The module enforces that; in POSIX shared memory it is
            without effect.
        kind: of a new area: "pages", any memory; "contiguous", one run of physical memory, some megabytes at most; or
            "reserved", of the range that the module was given. The latter two are the module's, and root's to make.
        huge: of a new area of 2 MiB or more: have it in huge pages, as far as the kernel gives them.
        dma32: of a new area of kind "contiguous": below 4 GiB, for devices that reach no further.
        address: where to map it in this process: a multiple of the page size; None: anywhere; "agreed": where the area
            says, anywhere if it says nothing. A new area remembers the address that it is given here, for all who
            attach it, so that pointers in it mean the same to all. Nothing that is mapped is ever replaced.
        prefault: have all of it mapped now, so that no first touch of a page takes its time later.

    Raises:
        NameExists: there is one of that name, in either.
        NotFound: there is none.
        Denied: its mode, or that of /dev/semshare, does not allow it.
        AbiMismatch: the module, or who made the area, is of another version.
        AddressTaken: something is mapped there in this process.
        Error: ENOSPC or ENOMEM, there is no room; EINVAL, the module's limit on sizes.
    """

    def __init__(
        self,
        name: str,
        size: int | None = None,
        *,
        create: bool | None = None,
        mode: int = 0o600,
        readonly: bool = False,
        backend: str | None = None,
        guard: int = 0,
        kind: str = "pages",
        huge: bool = False,
        dma32: bool = False,
        address: Address = AGREED,
        prefault: bool = False,
    ) -> None:
        names.check(name)
        check_address(name, address)
        if backend is not None and backend not in BACKENDS:
            raise ValueError(f"backend {backend!r}: there are {' and '.join(BACKENDS)}, and None for either")
        if create is None:
            create = size is not None
        if size is not None and not 1 <= size <= LARGEST:
            raise ValueError(f"area {name!r}: a size of {size} bytes; give 1 or more, and no more than memory holds")
        if create:
            if size is None:
                raise ValueError(f"area {name!r}: a new area needs a size")
            if readonly:
                raise ValueError(f"area {name!r}: a new area can be written by who makes it; attach it again to read")
            if not 0 <= mode <= 0o666 or mode & 0o111:
                raise ValueError(f"area {name!r}: mode {mode:#o}; give read and write bits: 0 to 0o666")
            if guard % 4096 or not 0 <= guard <= size:
                raise ValueError(f"area {name!r}: a guard of {guard} bytes; give a multiple of 4096, up to its size")
            if kind not in KINDS or kind in IMPORTED:
                there_are = ", ".join(each for each in KINDS if each not in IMPORTED)
                raise ValueError(
                    f"area {name!r}: kind {kind!r}; there are {there_are}, and Area.from_memfd() and Area.from_sysv()"
                )
            if ((huge or guard) and kind != "pages") or (dma32 and kind != "contiguous"):
                raise ValueError(f'area {name!r}: huge and guard are for kind "pages", dma32 for kind "contiguous"')
            agreed = address if isinstance(address, int) else 0
            new = Memory(kind, huge=huge, dma32=dma32, address=agreed, guard=guard)
            handle = _create(name, size, mode, backend, new, Placement(address, prefault))
        else:
            handle = _attach(name, readonly, backend, Placement(address, prefault))
        if size is not None and handle.size != size:
            handle.close()
            raise Error(errno.EINVAL, f"area {name!r}: has {handle.size} bytes, not {size}; attach it without a size")
        self._adopt(handle)

    def _adopt(self, handle: Handle) -> None:
        self._handle = handle
        # At the interpreter's end as well: whoever is the last to close an area removes it.
        self._finalizer = weakref.finalize(self, handle.close)

    @classmethod
    def create(
        cls,
        name: str,
        size: int,
        *,
        mode: int = 0o600,
        backend: str | None = None,
        kind: str = "pages",
        huge: bool = False,
        dma32: bool = False,
        address: Address = None,
        prefault: bool = False,
    ) -> Area:
        """Make an area: Area(create=True)."""
        return cls(
            name,
            size,
            create=True,
            mode=mode,
            backend=backend,
            kind=kind,
            huge=huge,
            dma32=dma32,
            address=address,
            prefault=prefault,
        )

    @classmethod
    def attach(
        cls,
        name: str,
        *,
        readonly: bool = False,
        backend: str | None = None,
        address: Address = AGREED,
        prefault: bool = False,
    ) -> Area:
        """Attach an area that exists: Area(create=False)."""
        return cls(name, create=False, readonly=readonly, backend=backend, address=address, prefault=prefault)

    @classmethod
    def from_memfd(
        cls,
        name: str,
        fd: int,
        *,
        size: int | None = None,
        mode: int = 0o600,
        backend: str | None = None,
        address: Address = None,
        prefault: bool = False,
    ) -> Area:
        """Make an area of a memfd: with what is in it, and for kernel code as well if the module is loaded.

        The memfd must be sealed against shrinking and not against writing:
        `fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)`. The caller may close it then.

        The module pins its pages, and they count against RLIMIT_MEMLOCK, until the area goes. Without the module others
        attach the area by way of this process, which they must be allowed to trace, and as long as it has it open.

        Args:
            fd: its descriptor, open for reading and writing.
            size: bytes, from its start; all of it if not told.

        Raises:
            Denied: it is not sealed so, or not open so.
            Error: EINVAL, it is no memfd, or shorter; ENOMEM, over RLIMIT_MEMLOCK.
            NameExists, AddressTaken: as of Area.
        """
        if size is None:
            size = os.fstat(fd).st_size
        return cls._of(name, size, mode, backend, "memfd", fd, Placement(address, prefault))

    @classmethod
    def from_sysv(
        cls,
        name: str,
        shmid: int | None = None,
        *,
        key: int | None = None,
        size: int | None = None,
        mode: int = 0o600,
        backend: str | None = None,
        address: Address = None,
        prefault: bool = False,
    ) -> Area:
        """Make an area of a SysV shared memory segment, with what is in it; of sysv_ipc.SharedMemory, give its `id`.

        The module pins its pages, and they count against RLIMIT_MEMLOCK, until the area goes; the segment may be
        removed before. Without the module others attach the segment itself: its own mode decides who may, and once it
        is removed nobody can any more. The area never removes the segment.

        Args:
            shmid: its id; or else
            key: its key.
            size: bytes, from its start; all of it if not told.

        Raises:
            NotFound: there is none.
            Denied: its mode does not let this user write it.
            Error: EINVAL, it is shorter; ENOMEM, over RLIMIT_MEMLOCK.
            NameExists, AddressTaken: as of Area.
        """
        if (shmid is None) == (key is None):
            raise ValueError(f"area {name!r}: give the segment's shmid, or its key")
        state = segment.find(shmid, key)
        if state is None:
            what = f"key {key:#x}" if key is not None else f"id {shmid}"
            raise NotFound(errno.ENOENT, f"area {name!r}: no SysV segment with {what} that may be read; see ipcs -m")
        placement = Placement(address, prefault)
        return cls._of(name, state.size if size is None else size, mode, backend, "sysv", state.shmid, placement)

    @classmethod
    def _of(
        cls, name: str, size: int, mode: int, backend: str | None, kind: str, source: int, placement: Placement
    ) -> Area:
        names.check(name)
        check_address(name, placement.address)
        if backend is not None and backend not in BACKENDS:
            raise ValueError(f"backend {backend!r}: there are {' and '.join(BACKENDS)}, and None for either")
        if not 1 <= size <= LARGEST:
            raise ValueError(f"area {name!r}: a size of {size} bytes; give 1 or more, and write something there first")
        if not 0 <= mode <= 0o666 or mode & 0o111:
            raise ValueError(f"area {name!r}: mode {mode:#o}; give read and write bits: 0 to 0o666")
        agreed = placement.address if isinstance(placement.address, int) else 0
        area = cls.__new__(cls)
        area._adopt(_create(name, size, mode, backend, Memory(kind, source, address=agreed), placement))
        return area

    def __enter__(self) -> Area:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.size} bytes, {self.backend}"
        return f"<semshare.Area {self.name!r}: {state}>"

    @property
    def _mapping(self) -> Mapping:
        """Not kept here: with the handle's and those of all views goes the memory."""
        return self._handle.mapping

    @property
    def name(self) -> str:
        """Its name."""
        return self._handle.name

    @property
    def size(self) -> int:
        """Bytes, as asked for when it was made."""
        return self._handle.size

    @property
    def backend(self) -> str:
        """ "module" or "posix"."""
        return self._handle.backend

    @property
    def readonly(self) -> bool:
        """Whether it may not be written by way of this object."""
        return self._handle.readonly

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return not self._finalizer.alive

    @property
    def buffer(self) -> memoryview:
        """A new view of the memory. It stays valid after close(), until it is released."""
        self._check_open()
        return memoryview(self._mapping)  # type: ignore[arg-type,unused-ignore]  # __buffer__ is known from 3.12 on

    @property
    def address(self) -> int:
        """Where it is mapped in this process."""
        self._check_open()
        return self._mapping.address

    def array(
        self, dtype: Any, shape: int | tuple[int, ...] | None = None, offset: int = 0
    ) -> numpy.ndarray[Any, Any]:
        """A numpy array in the area's memory: no copy, and what is stored in it everybody sees.

        It stays valid after close(), as long as it is used: the memory goes with the last array or view of it.

        Args:
            dtype: of an element, as numpy takes it: "f8", numpy.int32, or a structured type. None that holds Python
                objects.
            shape: of the array; None: one dimension, of as many elements as there is room for.
            offset: bytes from the area's start, a multiple of the elements' alignment.

        Returns:
            An array; it cannot be written if the area was attached so.

        Raises:
            ValueError: it does not fit, or such elements cannot lie there.
            ImportError: there is no numpy; this package does not need it otherwise.
        """
        try:
            import numpy
        except ImportError as error:
            raise ImportError(
                f"area {self.name!r}: array() needs numpy, which is not installed: pip install numpy"
            ) from error
        self._check_open()
        element = numpy.dtype(dtype)
        if element.hasobject:
            raise ValueError(
                f"area {self.name!r}: {element} holds Python objects, which mean nothing to other processes"
            )
        if not 0 <= offset <= self.size or offset % element.alignment:
            raise ValueError(
                f"area {self.name!r}: offset {offset}; give a multiple of {element.alignment}, the alignment of "
                f"{element}, up to the area's {self.size} bytes"
            )
        room = (self.size - offset) // element.itemsize if element.itemsize else 0
        if shape is None:
            shape = room
        count = math.prod((shape,) if isinstance(shape, int) else shape)
        if not 0 <= count <= room:
            raise ValueError(
                f"area {self.name!r}: an array of shape {shape} is {count * element.itemsize} bytes; from offset "
                f"{offset} on there are {self.size - offset}"
            )
        made: numpy.ndarray[Any, Any] = numpy.ndarray(shape, element, buffer=self.buffer, offset=offset)
        return made

    def fileno(self) -> int:
        """The descriptor, to be handed to a child (pass_fds), to kernel code, or to mmap.

        Raises:
            Error: EOPNOTSUPP, a SysV segment without the module has none.
        """
        self._check_open()
        return self._handle.fileno()

    def info(self) -> AreaInfo:
        """What is known of it now."""
        self._check_open()
        return self._handle.info()

    def bind(self, semid: int, *, own: bool = True) -> None:
        """Bind a semaphore set to the area, once: the set that guards it.

        Args:
            own: the set is removed with the area.
        """
        self._check_open()
        self._handle.bind(semid, own)

    def notify(self, events: AreaEvent = AreaEvent.DATA) -> None:
        """Wake those who wait for one of these events at a descriptor of the area, and kernel code that listens.

        A ring does that by itself, where somebody waits. This is for what else an area holds.

        Raises:
            Error: EOPNOTSUPP, the area is in POSIX shared memory, where nobody can wait for it.
        """
        self._of_module("notify").notify(events)

    def add_eventfd(self, descriptor: int, events: AreaEvent = AreaEvent.DATA, *, from_user: bool = False) -> None:
        """Hand an eventfd to the module, until the area is closed, or remove_eventfd().

        Args:
            descriptor: the eventfd. It may be closed here while others use it.
            events: of which it is told; or with `from_user`, what a signal of it means.
            from_user: False: the module signals it. True: the module listens to it, and a signal does what notify()
                does, but for other eventfds.

        Raises:
            Error: EEXIST, it has it already; ENOSPC, there are too many; EOPNOTSUPP, there is no module here.
        """
        self._of_module("add_eventfd").register(descriptor, events, from_user)

    def remove_eventfd(self, descriptor: int, *, from_user: bool = False) -> None:
        """Take it back.

        Raises:
            NotFound: the module has it not, by way of this object.
        """
        self._of_module("remove_eventfd").register(descriptor, 0, from_user)

    def _of_module(self, doing: str) -> ModuleArea:
        self._check_open()
        if not isinstance(self._handle, ModuleArea):
            raise Error(
                errno.EOPNOTSUPP,
                f"area {self.name!r}: {doing}: it is in POSIX shared memory; a ring there wakes who waits for its "
                "fileno(), all else needs the kernel module",
            )
        return self._handle

    def unlink(self) -> None:
        """Remove the name: others cannot attach the area any more. Without effect if that was done before.

        A set that the area owns goes with its last user; in POSIX shared memory, where nobody is left to remove it
        then, at once: who waits for it gets Removed.

        Raises:
            Denied: only its owner or root may.
        """
        self._check_open()
        self._handle.unlink()

    def close(self) -> None:
        """Let go of the area. Views of it stay valid until they are released."""
        self._finalizer()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"area {self.name!r} is closed; attach it anew")


# -------------------------------------------------------------------------------------------------- create and attach


def _create(
    name: str, size: int, mode: int, backend: str | None, new: Memory, placement: Placement
) -> Handle:
    if backend is None:
        backend = "module" if device.present() else "posix"
        if backend == "module":
            # A node that udev kept, with no module behind it, is no device. One that may not be opened is an error.
            try:
                device.Device().close()
            except NotFound:
                backend = "posix"
    if backend == "posix":
        return shm.create(name, size, mode, lambda: device.has(name), new, placement)
    _refuse_if_in_shm(name)
    made = device.create(name, size, mode, new, placement)
    try:
        _refuse_if_in_shm(name)
    except BaseException:
        with contextlib.suppress(Error):
            made.unlink()
        made.close()
        raise
    return made


def _refuse_if_in_shm(name: str) -> None:
    """Raise NameExists if there is a complete file of that name, waiting for one that is being made."""
    found = shm.attach(name, True)
    if found is not None:
        found.close()
        raise NameExists(
            errno.EEXIST,
            f"area {name!r}: there is one in POSIX shared memory ({shm.path_of(name)}); attach it, use another "
            f"name, or remove it: semshare rm {name}",
        )


def _attach(name: str, readonly: bool, backend: str | None, placement: Placement) -> Handle:
    deadline = time.monotonic() + WITHDRAWAL_LIMIT
    while True:
        in_module: ModuleArea | None = None
        if backend == "module" or (backend is None and device.present()):
            try:
                in_module = device.attach(name, readonly, placement)
            except NotFound:
                if backend == "module":
                    raise
        try:
            # Beside one of the module only to see that it is there.
            beside = placement if in_module is None else ANYWHERE
            in_shm = shm.attach(name, readonly, beside) if backend != "module" else None
        except BaseException:
            if in_module is not None:
                in_module.close()
            raise
        if in_module is None or in_shm is None:
            break
        in_module.close()
        in_shm.close()
        if time.monotonic() > deadline:
            raise Error(
                errno.EEXIST,
                f"area {name!r}: there is one in the kernel module and another in POSIX shared memory; say which by "
                f'backend="module" or backend="posix", or remove the wrong one: semshare rm {name}',
            )
        time.sleep(POLL)
    found = in_module or in_shm
    if found is None:
        where = {"module": "in the kernel module", "posix": f"at {shm.path_of(name)}"}.get(
            backend or "", "in the kernel module or in POSIX shared memory"
        )
        raise NotFound(errno.ENOENT, f"area {name!r}: there is none {where}; make it first; semshare ls shows names")
    return found


def list_areas() -> list[AreaInfo]:
    """All areas of the module in this IPC namespace, and all in POSIX shared memory that this user may read.

    Raises:
        Denied: there is a module, but it may not be asked.
    """
    found: list[AreaInfo] = []
    with contextlib.suppress(NotFound), device.Device() as opened:
        found += opened.areas()
    return found + shm.list_areas()
