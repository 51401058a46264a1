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
import errno
import time
import weakref
from typing import Union

from semshare import device, names, shm
from semshare.area_info import AreaInfo
from semshare.device import ModuleArea
from semshare.errors import Error, NameExists, NotFound
from semshare.shm import PosixArea

__all__ = ["Area", "AreaInfo", "list_areas"]

BACKENDS = ("module", "posix")
LARGEST = 1 << 46

# For an area that is about to be withdrawn to be so.
WITHDRAWAL_LIMIT = 0.5
POLL = 0.002

Handle = Union[ModuleArea, PosixArea]


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

    Raises:
        NameExists: there is one of that name, in either.
        NotFound: there is none.
        Denied: its mode, or that of /dev/semshare, does not allow it.
        AbiMismatch: the module, or who made the area, is of another version.
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
    ) -> None:
        names.check(name)
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
            handle = _create(name, size, mode, backend)
        else:
            handle = _attach(name, readonly, backend)
        if size is not None and handle.size != size:
            handle.close()
            raise Error(errno.EINVAL, f"area {name!r}: has {handle.size} bytes, not {size}; attach it without a size")
        self._handle = handle
        self._mapping = handle.mapping
        # At the interpreter's end as well: whoever is the last to close an area removes it.
        self._finalizer = weakref.finalize(self, handle.close)

    def __enter__(self) -> Area:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.size} bytes, {self.backend}"
        return f"<semshare.Area {self.name!r}: {state}>"

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

    def fileno(self) -> int:
        """The descriptor, to be handed to a child (pass_fds), to kernel code, or to mmap."""
        self._check_open()
        return self._handle.fd

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


def _create(name: str, size: int, mode: int, backend: str | None) -> Handle:
    if backend is None:
        backend = "module" if device.present() else "posix"
        if backend == "module":
            # A node that udev kept, with no module behind it, is no device. One that may not be opened is an error.
            try:
                device.Device().close()
            except NotFound:
                backend = "posix"
    if backend == "posix":
        return shm.create(name, size, mode, lambda: device.has(name))
    _refuse_if_in_shm(name)
    made = device.create(name, size, mode)
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


def _attach(name: str, readonly: bool, backend: str | None) -> Handle:
    deadline = time.monotonic() + WITHDRAWAL_LIMIT
    while True:
        in_module: ModuleArea | None = None
        if backend == "module" or (backend is None and device.present()):
            try:
                in_module = device.attach(name, readonly)
            except NotFound:
                if backend == "module":
                    raise
        in_shm = shm.attach(name, readonly) if backend != "module" else None
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
