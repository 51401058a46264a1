# SPDX-License-Identifier: MIT
"""The locks that are compared: how each is made, opened, taken and given, in its own package's words.

What a probe asks of a peer beyond that, and the peer's class here does not have, is looked for among the package's
public names (search()): a "no" in the table is the outcome of that, not of this file's silence.
"""

from __future__ import annotations

import _multiprocessing
import importlib
import importlib.metadata
import importlib.util
import multiprocessing.synchronize
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple


class Place(NamedTuple):
    """Where the locks of one probe are: what any process needs to know to find them."""

    name: str
    folder: Path
    """Empty, and only this probe's."""
    server: Path
    """The socket of the Redis server."""
    lease: float
    """Seconds that a lock is lent for, where it is only lent."""


class Absent(Exception):
    """The peer has no such thing."""


@dataclass
class Handle:
    """A lock, in words that are the same for all."""

    raw: Any
    acquire: Callable[[float | None], bool]
    """Seconds; None: for ever. Whether it was taken."""
    attempt: Callable[[], bool]
    """Take it if it is free: whether that was done."""
    release: Callable[[], object]


class Peer:
    """One column of the table."""

    title: ClassVar[str]
    module: ClassVar[str]
    package: ClassVar[str | None] = None
    """As pip calls it; None: part of Python."""
    inherited: ClassVar[bool] = False
    """A forked child uses the object of its parent, and does not open the lock itself."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.path = str(place.folder / "lock")

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be asked here; None if it can."""
        return None if importlib.util.find_spec(cls.module) else f"{cls.package} is not installed"

    @classmethod
    def version(cls) -> str:
        """Of the package."""
        return importlib.metadata.version(cls.package) if cls.package else sys.version.split()[0]

    def create(self) -> Any:
        """Make a lock, free."""
        return self.attach()

    def attach(self) -> Any:
        """Open the one that create() has made, as a process would that knows nothing but its name."""
        raise NotImplementedError

    def create_for(self, context: Any) -> Any:
        """A lock that can go to processes of a multiprocessing context."""
        return self.create()

    def acquire(self, raw: Any, timeout: float | None) -> bool:
        """Take it: whether that was done in so many seconds; None: wait for ever."""
        raise NotImplementedError

    def attempt(self, raw: Any) -> bool:
        """Take it if it is free, in the words for that: whether it was."""
        return self.acquire(raw, 0)

    def release(self, raw: Any) -> object:
        """Give it back."""
        return raw.release()

    def clean(self) -> None:
        """Remove what the probes may have left outside the folder."""

    def server_left(self) -> dict[str, int]:
        """What a server still has of the lock: how many of what."""
        return {}

    def handle(self, raw: Any) -> Handle:
        """The lock in words that are the same for all."""
        return Handle(
            raw, lambda timeout: self.acquire(raw, timeout), lambda: self.attempt(raw), lambda: self.release(raw)
        )

    # ------------------------------------------------------------------------------------------ beyond a plain lock

    def reentrant(self) -> Handle:
        """A lock that its owner may take again. Opened, or made, as are those below."""
        raise self.search(r"RLock|[Rr]eentrant|[Rr]ecursive")

    def readers_writers(self) -> tuple[Handle, Handle]:
        """A read-write lock: its side for readers, and that for writers."""
        raise self.search(r"(Read|Shared|RW).*Lock|read_lock")

    def several(self, count: int) -> tuple[Handle, list[Handle]]:
        """So many locks: all at once, and each."""
        raise self.search(r"Multi.*Lock|Lock(Pool|Set|Stack|s$)|semop")

    def aio(self) -> Any:
        """The lock for ``async with``."""
        raise self.search(r"^aio|[Aa]sync.*[Ll]ock")

    def search(self, pattern: str) -> Exception:
        """What to raise where the class of a peer has no method of its own: Absent, if that is so."""
        names = [name for name in dir(importlib.import_module(self.module)) if re.search(pattern, name)]
        names = [name for name in names if not name.startswith("_")]
        return LookupError(f"bench.peers does not know of {', '.join(names)}") if names else Absent()


class Ours(Peer):
    title = "semshare.Lock"
    module = package = "semshare"

    def attach(self) -> Any:
        import semshare

        return semshare.Lock(self.place.name)

    def acquire(self, raw: Any, timeout: float | None) -> bool:
        return bool(raw.acquire(timeout=-1 if timeout is None else timeout))

    def attempt(self, raw: Any) -> bool:
        return bool(raw.acquire(blocking=False))

    def clean(self) -> None:
        import semshare

        for suffix, kind in (("", "Lock"), ("-r", "RLock"), ("-rw", "RWLock"), ("-p", "LockPool")):
            with suppress(AttributeError, semshare.NotFound):
                getattr(semshare, kind).attach(f"{self.place.name}{suffix}").unlink()

    def reentrant(self) -> Handle:
        import semshare

        return self.handle(semshare.RLock(f"{self.place.name}-r"))

    def readers_writers(self) -> tuple[Handle, Handle]:
        import semshare

        lock = semshare.RWLock(f"{self.place.name}-rw")
        return self.handle(lock.read()), self.handle(lock.write())

    def several(self, count: int) -> tuple[Handle, list[Handle]]:
        import semshare

        pool = semshare.LockPool(f"{self.place.name}-p", count)
        return self.handle(pool.multi(*range(count))), [self.handle(lock) for lock in pool]

    def aio(self) -> Any:
        import semshare.aio

        return semshare.aio.Lock(self.place.name)


class SysvIpc(Peer):
    """With SEM_UNDO, which is to be asked for: without it all of this is for the worse."""

    title = "sysv_ipc.Semaphore, undo"
    module = package = "sysv_ipc"

    @property
    def _key(self) -> int:
        from semshare import key_of

        return key_of(self.place.name)

    def create(self) -> Any:
        import sysv_ipc

        return self._with_undo(sysv_ipc.Semaphore(self._key, sysv_ipc.IPC_CREX, initial_value=1))

    def attach(self) -> Any:
        import sysv_ipc

        return self._with_undo(sysv_ipc.Semaphore(self._key))

    @staticmethod
    def _with_undo(semaphore: Any) -> Any:
        semaphore.undo = True
        return semaphore

    def acquire(self, raw: Any, timeout: float | None) -> bool:
        import sysv_ipc

        try:
            raw.acquire(timeout)
        except sysv_ipc.BusyError:
            return False
        return True

    def attempt(self, raw: Any) -> bool:
        raw.block = False
        try:
            return self.acquire(raw, None)
        finally:
            raw.block = True

    def clean(self) -> None:
        import sysv_ipc

        with suppress(sysv_ipc.ExistentialError):
            sysv_ipc.Semaphore(self._key).remove()


class Multiprocessing(Peer):
    title = "multiprocessing.Lock"
    module = "multiprocessing"
    inherited = True

    def create(self) -> Any:
        return self.create_for(multiprocessing.get_context("fork"))

    def create_for(self, context: Any) -> Any:
        lock = context.Lock()
        Path(f"{self.path}.name").write_text(lock._semlock.name or "")
        return lock

    def attach(self) -> Any:
        # There is no public way. Underneath it is a POSIX semaphore: by its name, if it has one, as unpickling does.
        lock: Any = multiprocessing.synchronize.Lock.__new__(multiprocessing.synchronize.Lock)
        lock.__setstate__((0, 1, 1, Path(f"{self.path}.name").read_text()))
        return lock

    def clean(self) -> None:
        # Of what is for spawned processes the name stays until the resource tracker ends, which the probe's end kills.
        with suppress(OSError):
            _multiprocessing.sem_unlink(Path(f"{self.path}.name").read_text())

    def acquire(self, raw: Any, timeout: float | None) -> bool:
        return bool(raw.acquire(True, timeout))

    def attempt(self, raw: Any) -> bool:
        return bool(raw.acquire(False))

    def reentrant(self) -> Handle:
        return self.handle(multiprocessing.get_context("fork").RLock())


class PosixIpc(Peer):
    title = "posix_ipc.Semaphore"
    module = package = "posix_ipc"

    def create(self) -> Any:
        import posix_ipc

        return posix_ipc.Semaphore(f"/{self.place.name}", posix_ipc.O_CREX, initial_value=1)

    def attach(self) -> Any:
        import posix_ipc

        return posix_ipc.Semaphore(f"/{self.place.name}")

    def acquire(self, raw: Any, timeout: float | None) -> bool:
        import posix_ipc

        try:
            raw.acquire(timeout)
        except posix_ipc.BusyError:
            return False
        return True

    def clean(self) -> None:
        import posix_ipc

        with suppress(posix_ipc.ExistentialError):
            posix_ipc.unlink_semaphore(f"/{self.place.name}")


class Filelock(Peer):
    title = "filelock.FileLock"
    module = package = "filelock"

    def attach(self) -> Any:
        import filelock

        return filelock.FileLock(self.path)

    def acquire(self, raw: Any, timeout: float | None) -> bool:
        import filelock

        try:
            raw.acquire(timeout=-1 if timeout is None else timeout)
        except filelock.Timeout:
            return False
        return True

    def attempt(self, raw: Any) -> bool:
        import filelock

        try:
            raw.acquire(blocking=False)
        except filelock.Timeout:
            return False
        return True

    def reentrant(self) -> Handle:
        return self.handle(self.attach())

    def readers_writers(self) -> tuple[Handle, Handle]:
        import filelock

        lock = filelock.ReadWriteLock(f"{self.path}.rw")

        def half(acquire: Callable[..., object]) -> Handle:
            def take(timeout: float | None) -> bool:
                try:
                    acquire(timeout=-1 if timeout is None else timeout)
                except filelock.Timeout:
                    return False
                return True

            return Handle(lock, take, lambda: take(0), lock.release)

        return half(lock.acquire_read), half(lock.acquire_write)

    def aio(self) -> Any:
        import filelock

        return filelock.AsyncFileLock(self.path)


class Fasteners(Peer):
    title = "fasteners.InterProcessLock"
    module = package = "fasteners"

    def attach(self) -> Any:
        import fasteners

        return fasteners.InterProcessLock(self.path)

    def acquire(self, raw: Any, timeout: float | None) -> bool:
        return bool(raw.acquire(timeout=timeout))

    def attempt(self, raw: Any) -> bool:
        return bool(raw.acquire(blocking=False))

    def readers_writers(self) -> tuple[Handle, Handle]:
        import fasteners

        lock = fasteners.InterProcessReaderWriterLock(f"{self.path}.rw")

        def half(acquire: Callable[..., bool], release: Callable[[], object]) -> Handle:
            return Handle(lock, lambda timeout: acquire(timeout=timeout), lambda: acquire(blocking=False), release)

        return (
            half(lock.acquire_read_lock, lock.release_read_lock),
            half(lock.acquire_write_lock, lock.release_write_lock),
        )


class Portalocker(Peer):
    title = "portalocker.Lock"
    module = package = "portalocker"
    #: Its own default is 5 s, and there is no "for ever".
    EVER = 1e9

    def attach(self) -> Any:
        import portalocker

        return portalocker.Lock(self.path, timeout=self.EVER)

    def acquire(self, raw: Any, timeout: float | None) -> bool:
        import portalocker

        try:
            raw.acquire(timeout=timeout)
        except portalocker.LockException:
            return False
        return True

    def attempt(self, raw: Any) -> bool:
        import portalocker

        try:
            raw.acquire(fail_when_locked=True)
        except portalocker.LockException:
            return False
        return True

    def reentrant(self) -> Handle:
        import portalocker

        return self.handle(portalocker.RLock(f"{self.path}.r", timeout=self.EVER))

    def readers_writers(self) -> tuple[Handle, Handle]:
        import portalocker

        path = f"{self.path}.rw"
        shared = portalocker.LockFlags.SHARED | portalocker.LockFlags.NON_BLOCKING
        return (
            self.handle(portalocker.Lock(path, timeout=self.EVER, flags=shared)),
            self.handle(portalocker.Lock(path, timeout=self.EVER)),
        )


class Redis(Peer):
    """Lent for a time, as its documentation advises: without one, a lock whose owner was killed is lost for ever."""

    title = "redis.lock.Lock"
    module = package = "redis"
    #: The server under another name, for which Debian's redis-tools need no service of that name.
    SERVERS = ("redis-server", "redis-check-rdb")

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or (None if cls.server() else "no redis-server is installed")

    @classmethod
    def server(cls) -> str | None:
        return next(filter(None, map(shutil.which, cls.SERVERS)), None)

    @classmethod
    def serve(cls, socket: Path) -> subprocess.Popen[bytes]:
        """A server of our own, which keeps nothing."""
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", socket.parent],
            executable=cls.server(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                raise RuntimeError("redis-server did not start")
            time.sleep(0.01)
        return server

    @property
    def _client(self) -> Any:
        import redis

        return redis.Redis(unix_socket_path=str(self.place.server))

    def attach(self) -> Any:
        return self._client.lock(self.place.name, timeout=self.place.lease)

    def server_left(self) -> dict[str, int]:
        return {"key": self._client.exists(self.place.name)}

    def acquire(self, raw: Any, timeout: float | None) -> bool:
        return bool(raw.acquire(blocking_timeout=timeout))

    def attempt(self, raw: Any) -> bool:
        return bool(raw.acquire(blocking=False))

    def aio(self) -> Any:
        import redis.asyncio

        client = redis.asyncio.Redis(unix_socket_path=str(self.place.server))
        return client.lock(self.place.name, timeout=self.place.lease)


PEERS: list[type[Peer]] = [
    Ours,
    SysvIpc,
    Multiprocessing,
    PosixIpc,
    Filelock,
    Fasteners,
    Portalocker,
    Redis,
]
