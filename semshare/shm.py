# SPDX-License-Identifier: MIT
"""Areas in POSIX shared memory, the embedded default: files /dev/shm/semshare.NAME.

Everybody who uses an area holds a shared flock on its file, and the kernel drops that when a process dies. So an
exclusive flock says that nobody is left, and who gets one may remove the area. The creator holds an exclusive one until
the area is complete: who attaches meanwhile waits. A flock belongs to an open file description, which a forked child
shares, so nobody asks for the exclusive one by the description he uses the area with.

After every flock a look whether the file still has the name: it may have been removed while one waited.

An area of memory that somebody has already, a memfd or a SysV segment, is such a file as well, with nothing in it but
the trailer, which says where the memory is. A segment anybody finds who may; a memfd by way of its maker's descriptor,
as long as he has it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from typing import Any, Callable

from semshare import memory, names, segment, semaphore_set
from semshare._abi import ffi, lib
from semshare._native import Mapping, owner
from semshare.area_info import AreaInfo
from semshare.errors import AbiMismatch, Denied, Error, NameExists, NotFound, Timeout, failure
from semshare.memory import ANYWHERE, Memory, Placement

FOLDER = "/dev/shm"
PREFIX: str = ffi.string(lib.SEMSHARE_SHM_PREFIX).decode()
PAGE: int = lib.SEMSHARE_SHM_TRAILER_SIZE
BELL_PREFIX: str = ffi.string(lib.SEMSHARE_SHM_BELL_PREFIX).decode()
BELLS: tuple[str, str] = (
    ffi.string(lib.SEMSHARE_SHM_BELL_DATA).decode(),
    ffi.string(lib.SEMSHARE_SHM_BELL_SPACE).decode(),
)

# For a creator to complete an area: microseconds, but it may be large, or the machine busy.
CREATOR_LIMIT = 10.0
# A file whose creator has not locked it yet is as fresh as that, or its creator died.
BIRTH_LIMIT = 0.1
POLL = 0.001
RETRIES = 6


def path_of(name: str) -> str:
    """The file of an area."""
    return f"{FOLDER}/{PREFIX}{names.check(name)}"


def _what(name: str) -> str:
    return f"area {name!r} ({path_of(name)})"


def _rounded(size: int) -> int:
    return (size + PAGE - 1) // PAGE * PAGE


# ------------------------------------------------------------------------------------------------------- the trailer


def _read_trailer(fd: int) -> Any:
    """The trailer of a complete area; None if the file is none (yet)."""
    size = os.fstat(fd).st_size
    trailer = ffi.new("struct semshare_shm_trailer *")
    if size < PAGE or size % PAGE:
        return None
    data = os.pread(fd, ffi.sizeof("struct semshare_shm_trailer"), size - PAGE)
    if len(data) != ffi.sizeof("struct semshare_shm_trailer"):
        return None
    ffi.buffer(trailer)[:] = data
    if trailer.magic != lib.SEMSHARE_SHM_MAGIC or not trailer.size or _file_size(trailer) != size:
        return None
    return trailer


def _file_size(trailer: Any) -> int:
    return PAGE + (0 if trailer.kind else _rounded(trailer.size))


def _write_trailer(fd: int, trailer: Any, magic: int) -> None:
    """Write all but the magic number, and then that: it says that the rest is there."""
    place = os.fstat(fd).st_size - PAGE
    trailer.magic = magic
    data = bytes(ffi.buffer(trailer))
    os.pwrite(fd, data[4:], place + 4)
    os.pwrite(fd, data[:4], place)


def _map_file(fd: int, size: int, readonly: bool, address: int) -> Mapping:
    """Map a file by a description of its own.

    A mapping keeps the description it was made from, and with it a flock: by views of it a closed area would look used.
    """
    again = os.open(f"/proc/self/fd/{fd}", (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
    try:
        return Mapping.of_file(again, size, readonly, address)
    finally:
        os.close(again)


def _unfinished(fd: int, name: str) -> bool:
    """Whether a file that is no complete area is one that its creator did not finish: empty, or without the magic."""
    size = os.fstat(fd).st_size
    if size == 0 or size % PAGE:
        return size == 0
    trailer = ffi.new("struct semshare_shm_trailer *")
    last_page = os.pread(fd, PAGE, size - PAGE)
    ffi.buffer(trailer)[:] = last_page[: ffi.sizeof("struct semshare_shm_trailer")]
    ours = bytes(ffi.buffer(trailer.name)) == names.padded(name)
    return trailer.magic == 0 and (ours or not any(last_page))


# -------------------------------------------------------------------------------------------------------------- locks


def _flock(fd: int, operation: int, limit: float, name: str) -> None:
    """Lock, waiting at most `limit` seconds for a creator."""
    deadline = time.monotonic() + limit
    while True:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Timeout(
                    errno.ETIMEDOUT,
                    f"{_what(name)}: its creator does not finish it within {limit:.0f} s; is it stopped? "
                    f"fuser {path_of(name)} shows it",
                ) from None
        time.sleep(POLL)


def _alone(path: str, fd: int) -> int | None:
    """A new description of the file `fd`, exclusively locked, if it still is what `path` names and nobody uses it.

    The caller closes it.
    """
    try:
        mine = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.path.samestat(os.fstat(mine), os.fstat(fd)):
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(path, mine):
                return mine
    except BlockingIOError:
        pass
    except BaseException:
        os.close(mine)
        raise
    os.close(mine)
    return None


def _is_named(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


# ----------------------------------------------------------------------------------------------------------- the data


class Data:
    """The mapped data of an area, and what it was mapped from.

    Attributes:
        fd: the memfd's descriptor; None of any other kind.
    """

    def __init__(self, kind: str, size: int, mapping: Mapping, fd: int | None = None) -> None:
        self.kind = kind
        self.size = size
        self.mapping = mapping
        self.fd = fd

    def close(self) -> None:
        """Once."""
        self.mapping.close()
        del self.mapping
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def _open_data(fd: int, name: str, trailer: Any, readonly: bool, placement: Placement = ANYWHERE) -> Data:
    """The data of a complete area whose file is `fd`."""
    what, size = _what(name), int(trailer.size)
    kind = memory.kind_of(trailer.kind)
    address = placement.at(trailer.address)
    if kind == "pages":
        mapping = memory.place(what, size, address, lambda at: _map_file(fd, size, readonly, at))
        data = Data(kind, size, mapping)
    elif kind == "sysv":
        data = Data(kind, size, _attach_segment(what, trailer, readonly, address))
    elif kind == "memfd":
        source = _open_memfd(what, trailer, readonly)
        try:
            mapping = memory.place(what, size, address, lambda at: Mapping.of_file(source, size, readonly, at))
        except BaseException:
            os.close(source)
            raise
        data = Data(kind, size, mapping, source)
    else:
        raise Error(errno.EPROTO, f"{what}: its memory is of a kind that is not known here; install a newer semshare")
    if placement.prefault:
        try:
            data.mapping.prefault()
        except BaseException as error:
            data.close()
            if isinstance(error, OSError):
                raise failure(error.errno or 0, what, "prefault") from error
            raise
    return data


def _attach_segment(what: str, trailer: Any, readonly: bool, address: int) -> Mapping:
    shmid, size = trailer.source, trailer.size

    def gone() -> NotFound:
        return NotFound(
            errno.ENOENT,
            f"{what}: its segment {shmid} was removed; who has it attached may use it on, nobody else can; make a new "
            "area",
        )

    try:
        mapping = memory.place(what, size, address, lambda at: Mapping.of_segment(shmid, readonly, at))
    except Error as error:
        if error.errno in (errno.EINVAL, errno.EIDRM) and segment.state_of(shmid) is None:
            raise gone() from error
        raise
    # Behind shmat(), from when on the id cannot come to mean another segment. One that was removed loses its key, and
    # lives as long as anybody has it.
    state = segment.state_of(shmid)
    key, owner_uid = trailer.source_id
    if state is None or state.key & 0xFFFFFFFF not in (key, 0) or state.owner != owner_uid or state.size < size:
        raise gone()
    return mapping


def _open_memfd(what: str, trailer: Any, readonly: bool) -> int:
    pid = trailer.creator_pid
    gone = NotFound(
        errno.ENOENT,
        f"{what}: it is a memfd of process {pid}, which has closed it or ended: nobody else can get at it by name. "
        "Have it sent by somebody who has it (socket.send_fds), or make such areas with the kernel module",
    )
    try:
        fd = os.open(f"/proc/{pid}/fd/{trailer.source}", (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC)
    except PermissionError as error:
        raise Denied(
            errno.EACCES,
            f"{what}: it is a memfd of process {pid}, and only who may trace that process can get at it by name; have "
            "it sent by somebody who has it (socket.send_fds), or make such areas with the kernel module",
        ) from error
    except OSError as error:
        raise gone from error
    state = os.fstat(fd)
    if (state.st_dev, state.st_ino) != tuple(trailer.source_id):
        os.close(fd)
        raise gone
    try:
        check_seals(what, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_seals(what: str, fd: int) -> None:
    """Raise Denied if a descriptor is not one that stays as large as it is, and may be written."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise Error(error.errno or 0, f"{what}: descriptor {fd} is no memfd; make it with os.memfd_create()") from error
    if not seals & fcntl.F_SEAL_SHRINK or seals & fcntl.F_SEAL_WRITE:
        raise Denied(
            errno.EPERM,
            f"{what}: the memfd needs the seal F_SEAL_SHRINK, and none against writing: "
            "fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)",
        )


def peek(name: str, count: int) -> bytes | None:
    """The first bytes of an area, which is not attached: the last to let go of one removes it. None: not readable."""
    try:
        fd = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        trailer = _read_trailer(fd)
        if trailer is None or trailer.size < count:
            return None
        if not trailer.kind:
            return os.pread(fd, count, 0)
        data = _open_data(fd, name, trailer, True)
        try:
            return bytes(memoryview(data.mapping)[:count])  # type: ignore[arg-type,unused-ignore]
        finally:
            data.close()
    except OSError:
        return None
    finally:
        os.close(fd)


# ------------------------------------------------------------------------------------------------------------ one area


class PosixArea:
    """An open area in POSIX shared memory."""

    backend = "posix"

    def __init__(self, fd: int, name: str, readonly: bool, data: Data) -> None:
        self.fd = fd
        self.name = name
        self.readonly = readonly
        self.size = data.size
        self._data = data

    @property
    def mapping(self) -> Mapping:
        """Its data."""
        return self._data.mapping

    def fileno(self) -> int:
        """A descriptor of the data."""
        if self._data.kind == "sysv":
            raise Error(
                errno.EOPNOTSUPP,
                f"{_what(self.name)}: it is a SysV segment, which has no descriptor; attach it by name",
            )
        return self.fd if self._data.fd is None else self._data.fd

    def writable(self, offset: int, size: int) -> tuple[Mapping, int]:
        """Memory that may be written, and where in it the area's bytes from `offset` on are."""
        return self.mapping, offset

    def _trailer(self) -> Any:
        trailer = _read_trailer(self.fd)
        if trailer is None:
            raise Error(errno.EPROTO, f"{_what(self.name)}: its last page was overwritten; rm {path_of(self.name)}")
        return trailer

    def info(self) -> AreaInfo:
        """What its file and its trailer say."""
        trailer = self._trailer()
        named = _is_named(path_of(self.name), self.fd)
        return _info(self.name, self.fd, trailer, stale=False, unlinked=not named)

    def bind(self, semid: int, own: bool) -> None:
        """Note the set in the trailer."""
        trailer = self._trailer()
        if trailer.semid >= 0:
            raise Error(errno.EBUSY, f"{_what(self.name)}: set {trailer.semid} is bound to it already; make a new area")
        if self.readonly:
            raise failure(errno.EACCES, _what(self.name), f"bind set {semid}")
        state = semaphore_set.SemaphoreSet(semid=semid).stat()
        trailer.bind_flags = lib.SEMSHARE_BIND_OWN if own else 0
        trailer.set_key = state.key & 0xFFFFFFFF
        trailer.set_cuid = state.cuid
        trailer.set_nsems = state.semaphores
        trailer.semid = semid
        _write_trailer(self.fd, trailer, lib.SEMSHARE_SHM_MAGIC)

    def bells(self) -> tuple[int, str | None, str | None]:
        """How to wake who waits at a descriptor: by which of the module's, or which FIFOs, for data and for space."""
        return (-1, *bell_paths(self.name))

    def make_bells(self) -> None:
        """Make the FIFOs. They go with the file."""
        mode = stat.S_IMODE(os.fstat(self.fd).st_mode)
        for path in bell_paths(self.name):
            try:
                # What is there is of an area whose file somebody removed by hand: the name is ours.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                os.mkfifo(path, mode)
                os.chmod(path, mode)  # whatever the umask
            except OSError as error:
                raise failure(error.errno or 0, f"{_what(self.name)}", f"make its FIFO {path}") from error

    def unlink(self) -> None:
        """Remove the name, and the set if the area owns it. Without effect if that was done before."""
        path = path_of(self.name)
        if not _is_named(path, self.fd):
            return
        trailer = self._trailer()
        if os.geteuid() not in (0, os.fstat(self.fd).st_uid):
            raise failure(errno.EPERM, _what(self.name), "unlink")
        # The set first: killed in between, the file is left, and tells what it was. A set alone tells nothing.
        _remove_set(trailer)
        remove_bells(self.name)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise failure(error.errno or 0, _what(self.name), "unlink") from error

    def close(self) -> None:
        """Let go of it. Whoever is the last to do so removes it."""
        if self.fd < 0:
            return
        self._data.close()
        path, fd = path_of(self.name), self.fd
        self.fd = -1
        # By a copy, whose flock is ours as long as it is open, the file can still be told from others.
        try:
            again = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            os.close(fd)
            return
        try:
            same = os.path.samestat(os.fstat(again), os.fstat(fd))
            os.close(fd)
            if same:
                _remove_if_alone(path, again)
        finally:
            os.close(again)


def _remove_if_alone(path: str, fd: int) -> bool:
    """Remove an area if nobody uses it. `fd` is a description without a lock."""
    for attempt in range(RETRIES):
        if (mine := _alone(path, fd)) is not None:
            break
        if _locks_on(os.fstat(fd), "READ"):
            return False
        # No user that can be seen: somebody looked just now, by an exclusive lock as we do, whether it is stale.
        time.sleep(POLL * 2**attempt)
    else:
        return False
    try:
        if os.geteuid() not in (0, os.fstat(mine).st_uid):
            return False  # /dev/shm has the sticky bit: its owner will, or semshare rm --stale
        trailer = _read_trailer(mine)
        # The set first: killed in between, the file is left, and tells what it was. A set alone tells nothing.
        if trailer is not None:
            _remove_set(trailer)
        remove_bells(os.path.basename(path)[len(PREFIX) :])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return True
    except PermissionError:
        return False  # root, but not of this folder's user namespace
    finally:
        os.close(mine)


def bell_paths(name: str) -> tuple[str, str]:
    """The FIFOs beside a ring: who waits for records listens to the first, who waits for space to the second."""
    data, space = (f"{FOLDER}/{BELL_PREFIX}{names.check(name)}{end}" for end in BELLS)
    return data, space


def remove_bells(name: str) -> None:
    """Remove them, having rung once more for those who listen: there is nothing more to come."""
    for path in bell_paths(name):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            with contextlib.suppress(OSError):
                if stat.S_ISFIFO(os.fstat(fd).st_mode):
                    os.write(fd, b"\0")
            os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def stray_bells() -> Iterator[str]:
    """FIFOs whose area is not there any more: somebody removed its file by hand."""
    with contextlib.suppress(OSError):
        for entry in sorted(os.listdir(FOLDER)):
            for end in BELLS:
                if entry.startswith(BELL_PREFIX) and entry.endswith(end):
                    name = entry[len(BELL_PREFIX) : -len(end)]
                    with contextlib.suppress(ValueError):
                        if not os.path.lexists(path_of(name)):
                            yield name


def _remove_set(trailer: Any) -> None:
    """Remove the set that an area owns, if it is still the one that was bound."""
    if trailer.semid < 0 or not trailer.bind_flags & lib.SEMSHARE_BIND_OWN:
        return
    try:
        bound = semaphore_set.SemaphoreSet(semid=trailer.semid)
        state = bound.stat()
        if (state.key & 0xFFFFFFFF, state.cuid, state.semaphores) == (
            trailer.set_key,
            trailer.set_cuid,
            trailer.set_nsems,
        ):
            bound.remove()
    except Error:
        pass  # it is gone, or not ours to remove


def _info(name: str, fd: int, trailer: Any, *, stale: bool, unlinked: bool = False) -> AreaInfo:
    state = os.fstat(fd)
    return AreaInfo(
        backend="posix",
        name=name,
        size=trailer.size,
        mode=stat.S_IMODE(state.st_mode),
        uid=state.st_uid,
        gid=state.st_gid,
        key=trailer.key,
        created=state.st_mtime,
        creator_pid=trailer.creator_pid,
        semid=trailer.semid if trailer.semid >= 0 else None,
        owns_set=bool(trailer.bind_flags & lib.SEMSHARE_BIND_OWN),
        handles=_locks_on(state),
        unlinked=unlinked,
        kind=memory.kind_of(trailer.kind),
        address=trailer.address,
        stale=stale,
    )


def _locks_on(state: os.stat_result, kind: str = "") -> int | None:
    """Flocks on a file that are held, "READ" or "WRITE" or any, as far as /proc/locks shows them.

    It shows those of processes in this pid namespace. None if it cannot be read.
    """
    wanted = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as table:
            # 1: FLOCK  ADVISORY  READ 4711 00:19:123 0 EOF, and "->" behind the number of one who waits
            held = [line.split() for line in table if "->" not in line]
    except OSError:
        return None
    return sum(wanted in words and "FLOCK" in words and kind in (*words, "") for words in held)


# -------------------------------------------------------------------------------------------------- create and attach


def create(
    name: str,
    size: int,
    mode: int,
    taken_elsewhere: Callable[[], bool],
    new: Memory | None = None,
    placement: Placement = ANYWHERE,
) -> PosixArea:
    """Make an area.

    Args:
        taken_elsewhere: asked once the name is ours here and before anybody can see the area: whether the module has
            one of that name.

    Raises:
        NameExists: the name is taken.
        Error: ENOSPC, there is no room in /dev/shm.
    """
    new = new or Memory()
    if new.kind in ("contiguous", "reserved"):
        raise Error(
            errno.EOPNOTSUPP,
            f"{_what(name)}: {new.kind} memory is the kernel module's only; load it: modprobe semshare",
        )
    path = path_of(name)
    deadline = time.monotonic() + CREATOR_LIMIT
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            if time.monotonic() > deadline or not _clear_unfinished(path, name):
                raise _taken(name) from None
            continue
        except OSError as error:
            raise failure(error.errno or 0, _what(name), "create") from error
        complete = False
        try:
            _flock(fd, fcntl.LOCK_EX, CREATOR_LIMIT, name)
            if not _is_named(path, fd):
                continue  # somebody took us for dead
            data = _complete(fd, name, size, mode, taken_elsewhere, new, placement)
            if _is_named(path, fd):
                complete = True
                return PosixArea(fd, name, False, data)
            data.close()
        finally:
            if not complete:
                if _is_named(path, fd):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
                os.close(fd)


def _complete(
    fd: int,
    name: str,
    size: int,
    mode: int,
    taken_elsewhere: Callable[[], bool],
    new: Memory,
    placement: Placement,
) -> Data:
    """Fill the file, map it and publish it."""
    _, pid, _, start = owner()
    trailer = ffi.new("struct semshare_shm_trailer *")
    trailer.abi_version = lib.SEMSHARE_ABI_VERSION
    trailer.key = names.key_of(name)
    trailer.size = size
    trailer.creator_start = start
    trailer.creator_pid = pid
    trailer.creator_uid = os.getuid()
    trailer.semid = -1
    trailer.kind = memory.KINDS[new.kind]
    trailer.address = new.address
    ffi.buffer(trailer.name)[:] = names.padded(name)
    source = _take_source(name, size, new, trailer)
    try:
        _reserve(fd, name, trailer, huge=new.huge)
        if taken_elsewhere():
            raise NameExists(
                errno.EEXIST,
                f"area {name!r}: the kernel module has one of that name; attach it, choose another name, or remove it: "
                f"semshare rm {name}",
            )
        data = _open_data(fd, name, trailer, False, placement)
    finally:
        if source is not None:
            os.close(source)
    try:
        if data.fd is not None:
            trailer.source = data.fd
        os.fchmod(fd, mode)
        _write_trailer(fd, trailer, lib.SEMSHARE_SHM_MAGIC)
        # An exclusive lock does not turn into a shared one: it is given back and another taken. Who takes it in between
        # finds a complete area that nobody uses, and may remove it: the caller looks.
        _flock(fd, fcntl.LOCK_SH, CREATOR_LIMIT, name)
    except BaseException:
        data.close()
        raise
    return data


def _take_source(name: str, size: int, new: Memory, trailer: Any) -> int | None:
    """Note in the trailer where the memory is, if somebody has it already. A descriptor to be closed, or None."""
    what = _what(name)
    if new.kind == "sysv":
        state = segment.state_of(new.source)
        if state is None:
            raise NotFound(errno.ENOENT, f"{what}: there is no segment {new.source}, or none that may be read; ipcs -m")
        if size > state.size:
            raise Error(errno.EINVAL, f"{what}: {size} bytes of segment {new.source}, which has {state.size}; ask less")
        trailer.source = new.source
        trailer.source_id = (state.key & 0xFFFFFFFF, state.owner)
    elif new.kind == "memfd":
        check_seals(what, new.source)
        found = os.fstat(new.source)
        if size > found.st_size:
            raise Error(errno.EINVAL, f"{what}: {size} bytes of a memfd that has {found.st_size}; ask less")
        trailer.source = os.dup(new.source)
        trailer.source_id = (found.st_dev, found.st_ino)
        return int(trailer.source)
    return None


def _reserve(fd: int, name: str, trailer: Any, *, huge: bool) -> None:
    """Have all of the file's memory now: a full /dev/shm is an error here, and not a SIGBUS at some later store."""
    total = _file_size(trailer)
    try:
        if huge and not trailer.kind:
            # Huge pages are for mappings that ask for them, and fallocate() has none: what the mapping got stays.
            os.ftruncate(fd, total)
            with contextlib.suppress(OSError):
                _map_file(fd, total, False, 0).prefault(True)
        os.posix_fallocate(fd, 0, total)
    except OSError as error:
        raise Error(
            error.errno or 0,
            f"{_what(name)}: {trailer.size} bytes: {error.strerror}; free some (semshare rm --stale), or enlarge it: "
            f"mount -o remount,size=… {FOLDER}",
        ) from error


def _taken(name: str) -> NameExists:
    stale = any(area.name == name for area in stale_areas())
    if stale:
        advice = "nobody uses it any more, its last user was killed; remove it: semshare rm --stale"
    else:
        advice = f"attach it, choose another name, or remove it: semshare rm {name}"
    return NameExists(errno.EEXIST, f"{_what(name)}: there is one; {advice}")


def _clear_unfinished(path: str, name: str) -> bool:
    """Remove a file whose creator died before the area was complete. False: it is something else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            return False
        # Between its first two system calls a creator holds no lock.
        while time.time() - state.st_ctime < BIRTH_LIMIT and state.st_size == 0:
            time.sleep(POLL)
            state = os.fstat(fd)
        if (mine := _alone(path, fd)) is None:
            # A living creator, or users. The first is worth waiting for: it may fail.
            if _read_trailer(fd) is None and _is_named(path, fd):
                time.sleep(POLL)
                return True
            return not _is_named(path, fd)
        try:
            if _read_trailer(mine) is not None or not _unfinished(mine, name):
                return False
            os.unlink(path)
            return True
        except OSError:
            return False
        finally:
            os.close(mine)
    finally:
        os.close(fd)


def attach(name: str, readonly: bool, placement: Placement = ANYWHERE) -> PosixArea | None:
    """Attach an area; None if there is none of that name.

    Raises:
        Denied: its mode does not allow it. AbiMismatch: made by another version. Error: the file is no area.
    """
    path = path_of(name)
    deadline = time.monotonic() + BIRTH_LIMIT
    while True:
        try:
            fd = os.open(path, (os.O_RDONLY if readonly else os.O_RDWR) | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise failure(error.errno or 0, _what(name), "attach") from error
        keep = False
        try:
            _flock(fd, fcntl.LOCK_SH, CREATOR_LIMIT, name)
            if not _is_named(path, fd):
                continue  # removed while we waited: look again
            trailer = _read_trailer(fd)
            if trailer is None:
                if not _unfinished(fd, name):
                    raise Error(errno.EPROTO, f"{_what(name)}: this file is no area; use another name")
                if time.monotonic() > deadline:
                    return None  # its creator died, create() clears that away
            else:
                _check(trailer, name)
                area = PosixArea(fd, name, readonly, _open_data(fd, name, trailer, readonly, placement))
                keep = True
                return area
        finally:
            if not keep:
                os.close(fd)
        time.sleep(POLL)


def _check(trailer: Any, name: str) -> None:
    if trailer.abi_version != lib.SEMSHARE_ABI_VERSION:
        raise AbiMismatch(
            errno.EPROTO,
            f"{_what(name)}: made by semshare with ABI version {trailer.abi_version}, this is "
            f"{lib.SEMSHARE_ABI_VERSION}; install the same version for all who use it",
        )
    if bytes(ffi.buffer(trailer.name)) != names.padded(name):
        raise Error(errno.EPROTO, f"{_what(name)}: its file was renamed; rename it back, or remove it")


# ----------------------------------------------------------------------------------------------------------- listing


def _files() -> Iterator[str]:
    """The names of all files that can be areas."""
    try:
        entries = sorted(os.listdir(FOLDER))
    except OSError:
        return
    for entry in entries:
        name = entry[len(PREFIX) :]
        if entry.startswith(PREFIX):
            with contextlib.suppress(ValueError):
                yield names.check(name)


def list_areas() -> list[AreaInfo]:
    """All areas in POSIX shared memory that this user may read."""
    return [info for info, _ in _all()]


def stale_areas() -> list[AreaInfo]:
    """Those that nobody uses, and nobody will remove: their last users were killed."""
    return [info for info, _ in _all() if info.stale]


def _all() -> Iterator[tuple[AreaInfo, int]]:
    """Each area, and a description of its file that is closed when the next is asked for."""
    for name in _files():
        path = path_of(name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            # Asked by a lock of our own, but not where users are seen: those who close it ask the same way.
            mine = None if _locks_on(os.fstat(fd)) else _alone(path, fd)
            if mine is not None:
                os.close(mine)
            trailer = _read_trailer(fd)
            if trailer is None:
                if mine is None or not _unfinished(fd, name):
                    continue
                trailer = ffi.new("struct semshare_shm_trailer *", {"semid": -1, "key": names.key_of(name)})
            yield _info(name, fd, trailer, stale=mine is not None), fd
        finally:
            os.close(fd)


def remove_if_stale(name: str) -> bool:
    """Remove an area that nobody uses, with the set that it owns. False: somebody uses it, or this user may not."""
    path = path_of(name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return _remove_if_alone(path, fd)
    finally:
        os.close(fd)


def find(name: str) -> AreaInfo:
    """The area of that name in POSIX shared memory.

    Raises:
        NotFound: there is none.
    """
    for info in list_areas():
        if info.name == name:
            return info
    raise NotFound(errno.ENOENT, f"{_what(name)}: there is none; semshare ls shows what there is")
