# SPDX-License-Identifier: MIT
"""The module's device: its ioctls and its areas, as kmod_semshare/include/uapi/semshare/abi.h has them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from semshare import memory, names
from semshare._abi import ffi, lib
from semshare._native import Mapping
from semshare.area_info import AreaInfo
from semshare.errors import AbiMismatch, Denied, Error, NameExists, NotFound, failure
from semshare.memory import ANYWHERE, Memory, Placement

PATH: str = ffi.string(lib.SEMSHARE_DEVICE).decode()


class Version(NamedTuple):
    """What the module says of itself."""

    abi_version: int
    features: int
    module: str


class KernelFunction(NamedTuple):
    """A kernel function that the module looked for."""

    name: str
    found: bool
    needed_for: str
    """Which operations answer EOPNOTSUPP without it."""


def open_node(path: str, flags: int, denied: str) -> int:
    """Open a device node of the module.

    Args:
        denied: what to do for a user who may not.

    Raises:
        NotFound: there is no such node, or no module behind it.
        Denied: there is one, but it may not be opened.
    """
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        code = error.errno or 0
        if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            raise NotFound(
                errno.ENOENT, f"{path}: the kernel module semshare is not loaded; modprobe semshare"
            ) from error
        if code in (errno.EACCES, errno.EPERM):
            raise Denied(code, f"{path}: this user may not open it{denied}") from error
        raise failure(code, path, "open") from error


def present() -> bool:
    """Whether there is a device: the module is loaded, or udev keeps a node for it."""
    return os.path.exists(PATH)


class Device:
    """An open handle of the device, its ABI version checked.

    Raises:
        NotFound: there is no device, or no module behind it.
        Denied: there is one, but it may not be opened.
        AbiMismatch: module and package do not understand each other.
    """

    def __init__(self, *, readonly: bool = False) -> None:
        self.fd = open_node(
            PATH,
            os.O_RDONLY if readonly else os.O_RDWR,
            "; have yourself added to its group, or its mode widened. Without "
            "it the module's names cannot be seen, so there is no falling back to POSIX shared memory; "
            'who wants just that asks for it: backend="posix"',
        )
        try:
            self.version = self._version()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the handle."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _call(self, request: int, structure: Any) -> Any:
        """Do an ioctl on a cdata structure, which is updated."""
        buffer = bytearray(ffi.buffer(structure))
        fcntl.ioctl(self.fd, request, buffer, True)
        ffi.buffer(structure)[:] = buffer
        return structure

    def _version(self) -> Version:
        version = ffi.new("struct semshare_version *")
        try:
            # The module says no as well if what it has is not what this package was built for.
            version.abi_version, version.features = lib.SEMSHARE_ABI_VERSION, lib.SEMSHARE_FEATURE_AREA
            try:
                self._call(lib.SEMSHARE_IOC_VERSION, version)
            except OSError as error:
                if error.errno not in (errno.EPROTO, errno.EOPNOTSUPP):
                    raise
                version.abi_version = version.features = 0
                self._call(lib.SEMSHARE_IOC_VERSION, version)
        except OSError as error:
            raise AbiMismatch(
                errno.EPROTO,
                f"{PATH}: does not answer as the semshare module does ({error.strerror}); what else has that name?",
            ) from error
        found = Version(version.abi_version, version.features, ffi.string(version.module).decode(errors="replace"))
        if found.abi_version != lib.SEMSHARE_ABI_VERSION:
            raise AbiMismatch(
                errno.EPROTO,
                f"{PATH}: module {found.module} speaks ABI version {found.abi_version}, this package "
                f"{lib.SEMSHARE_ABI_VERSION}; install both from the same release and load the module anew",
            )
        if not found.features & lib.SEMSHARE_FEATURE_AREA:
            raise AbiMismatch(
                errno.EPROTO, f"{PATH}: module {found.module} has no areas on this kernel; semshare doctor says why"
            )
        return found

    def functions(self) -> list[KernelFunction]:
        """The kernel functions that the module looked for when it was loaded."""
        found: list[KernelFunction] = []
        while True:
            function = ffi.new("struct semshare_function *", {"index": len(found)})
            try:
                self._call(lib.SEMSHARE_IOC_FUNCTION, function)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return found
                raise failure(error.errno or 0, PATH, "list kernel functions") from error
            found.append(
                KernelFunction(
                    ffi.string(function.name).decode(errors="replace"),
                    bool(function.found),
                    ffi.string(function.needed_for).decode(errors="replace"),
                )
            )

    def areas(self) -> Iterator[AreaInfo]:
        """The module's areas in this IPC namespace."""
        info = ffi.new("struct semshare_area_info *")
        while True:
            try:
                self._call(lib.SEMSHARE_IOC_LIST, info)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                raise failure(error.errno or 0, PATH, "list areas") from error
            yield info_of(info)

    def unlink(self, name: str) -> None:
        """Remove a name."""
        try:
            self._call(lib.SEMSHARE_IOC_UNLINK, ffi.new("struct semshare_area_name *", {"name": names.padded(name)}))
        except OSError as error:
            raise failure(error.errno or 0, f"area {name!r} (module)", "unlink") from error


def info_of(info: Any) -> AreaInfo:
    """A struct semshare_area_info as Python sees it."""
    return AreaInfo(
        backend="module",
        name=names.text_of(bytes(ffi.buffer(info.name))),
        size=info.size,
        mode=info.mode,
        uid=info.uid,
        gid=info.gid,
        key=info.key,
        created=info.created_ns / 1e9,
        creator_pid=info.creator_pid,
        semid=info.semid if info.semid >= 0 else None,
        owns_set=bool(info.bind_flags & lib.SEMSHARE_BIND_OWN),
        handles=info.handles,
        maps=info.maps,
        kernel_users=info.kernel_users,
        unlinked=bool(info.flags & lib.SEMSHARE_AREA_UNLINKED),
        guarded=bool(info.flags & lib.SEMSHARE_AREA_GUARDED),
        kind=memory.kind_of(info.kind),
        address=info.address,
        huge_pages=info.huge_pages,
    )


class ModuleArea:
    """A handle of an area of the module.

    Args:
        maker: it is the one that made the area.
    """

    backend = "module"

    def __init__(
        self, device: Device, name: str, readonly: bool, placement: Placement, maker: bool = False
    ) -> None:
        self._device = device
        self.name = name
        self.readonly = readonly
        info = self.info()
        self.size = info.size
        self._guarded = info.guarded and not maker
        self.mapping = memory.place(
            self._what,
            self.size,
            placement.at(info.address),
            lambda address: Mapping.of_file(device.fd, self.size, readonly or self._guarded, address),
        )
        if placement.prefault:
            try:
                self.mapping.prefault()
            except BaseException as error:
                self.mapping.close()
                if isinstance(error, OSError):
                    raise failure(error.errno or 0, self._what, "prefault") from error
                raise

    def writable(self, offset: int, size: int) -> tuple[Mapping, int]:
        """Memory that may be written, and where in it the area's bytes from `offset` on are.

        It stays mapped until the last view of it goes, as `mapping` does.
        """
        if not self._guarded:
            return self.mapping, offset
        try:
            return Mapping.of_file(self._device.fd, size, False, 0, offset), 0
        except OSError as error:
            raise failure(error.errno or 0, self._what, "map") from error

    def fileno(self) -> int:
        """Its descriptor."""
        return self._device.fd

    @property
    def _what(self) -> str:
        return f"area {self.name!r} (module)"

    def info(self) -> AreaInfo:
        """The kernel's view of it."""
        try:
            return info_of(self._device._call(lib.SEMSHARE_IOC_INFO, ffi.new("struct semshare_area_info *")))
        except OSError as error:
            raise failure(error.errno or 0, self._what, "info") from error

    def bind(self, semid: int, own: bool) -> None:
        """Bind a set to the area."""
        request = {"semid": semid, "flags": lib.SEMSHARE_BIND_OWN if own else 0}
        try:
            self._device._call(lib.SEMSHARE_IOC_BIND, ffi.new("struct semshare_area_bind *", request))
        except OSError as error:
            raise failure(error.errno or 0, self._what, f"bind set {semid}") from error

    def bells(self) -> tuple[int, str | None, str | None]:
        """How to wake who waits at a descriptor: by an ioctl on this one."""
        return self._device.fd, None, None

    def make_bells(self) -> None:
        """There is nothing to make."""

    def notify(self, events: int) -> None:
        """Wake those who wait for one of these SEMSHARE_EVENT_*."""
        self._request(lib.SEMSHARE_IOC_NOTIFY, "notify_request", {"events": events})

    def register(self, eventfd: int, events: int, direction: int) -> None:
        """Have an eventfd signalled, or listened to; no more if there are no events."""
        request = {"fd": eventfd, "events": events, "direction": direction}
        self._request(lib.SEMSHARE_IOC_EVENTFD, "eventfd", request)

    def _request(self, number: int, structure: str, fields: dict[str, int]) -> None:
        try:
            self._device._call(number, ffi.new(f"struct semshare_{structure} *", fields))
        except OSError as error:
            raise failure(error.errno or 0, self._what, structure) from error

    def unlink(self) -> None:
        """Remove the name; the memory, and a set that the area owns, go with the last reference."""
        if self.info().unlinked:
            return
        with Device() as device:
            device.unlink(self.name)

    def close(self) -> None:
        """Let go of it."""
        if self._device.fd >= 0:
            self.mapping.close()
            del self.mapping
        self._device.close()


def create(name: str, size: int, mode: int, new: Memory | None = None, placement: Placement = ANYWHERE) -> ModuleArea:
    """Make an area of the module.

    Raises:
        NotFound: no module. NameExists: the name is taken. Error: EINVAL, the size; ENOSPC, ENOMEM.
    """
    new = new or Memory()
    device = Device()
    try:
        request = {
            "name": names.padded(name),
            "size": size,
            "address": new.address,
            "mode": mode,
            "kind": memory.KINDS[new.kind],
            "flags": new.flags,
            "source": new.source,
            "guard": new.guard,
        }
        device._call(lib.SEMSHARE_IOC_MAKE, ffi.new("struct semshare_area_make *", request))
        return ModuleArea(device, name, False, placement, maker=True)
    except BaseException as error:
        device.close()
        if not isinstance(error, OSError) or isinstance(error, Error):
            raise
        raise _create_failure(error.errno or 0, name, size, mode, new) from error


def _create_failure(code: int, name: str, size: int, mode: int, new: Memory) -> Error:
    what, doing = f"area {name!r} (module)", f"create {size} bytes"
    if code == errno.ENOSPC:
        return Error(
            code,
            f"{what}: {doing}: over a limit of the module's on all areas together, "
            "max_user_bytes for one user's or max_total_bytes for everybody's; remove some (semshare ls, semshare "
            "rm), or have root raise it: /sys/module/semshare/parameters/max_user_bytes, max_total_bytes",
        )
    if code == errno.EEXIST:
        return NameExists(
            code,
            f"{what}: there is one; attach it, use another name, or remove it: semshare rm {name}",
        )
    if advice := _KIND_ADVICE.get((new.kind, code)):
        refused = code in (errno.EPERM, errno.EACCES)
        return (Denied if refused else Error)(code, f"{what}: {doing} of {new.kind}: {advice}")
    if code == errno.EINVAL:
        return Error(
            code,
            f"{what}: {doing} with mode {mode:o}: refused; the module's parameter "
            "max_area_bytes limits the size (cat /sys/module/semshare/parameters/max_area_bytes), the mode is 0 to "
            "0666",
        )
    return failure(code, what, doing)


_MEMLOCK = (
    "over RLIMIT_MEMLOCK (ulimit -l), which counts all that this user has pinned, or memory is short; raise the limit "
    "in /etc/security/limits.conf, or import less"
)
_RAWIO = "only root may (CAP_SYS_RAWIO), or a kernel module on your behalf; others have the kinds pages, memfd and sysv"

_KIND_ADVICE = {
    ("memfd", errno.ENOMEM): _MEMLOCK,
    ("memfd", errno.EPERM): "the memfd needs the seal F_SEAL_SHRINK, and none against writing: "
    "fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)",
    ("memfd", errno.EACCES): "the descriptor is not open for reading and writing",
    ("memfd", errno.EINVAL): "the descriptor is no memfd, or it has less bytes, or the module's parameter "
    "max_area_bytes allows less (cat /sys/module/semshare/parameters/max_area_bytes)",
    ("sysv", errno.ENOMEM): _MEMLOCK,
    ("sysv", errno.EACCES): "the segment's mode does not let this user write it: ask its owner",
    ("sysv", errno.EXDEV): "this process changed its IPC namespace on the way",
    ("sysv", errno.EINVAL): "there is no such segment (ipcs -m), or it has less bytes, or the module's parameter "
    "max_area_bytes allows less (cat /sys/module/semshare/parameters/max_area_bytes)",
    ("contiguous", errno.EPERM): _RAWIO,
    ("reserved", errno.EPERM): _RAWIO,
    ("contiguous", errno.ENOMEM): "there is no free run of physical memory that long; some megabytes are the most "
    "there ever are, and more of them soon after boot",
    ("reserved", errno.ENODEV): "the module was given no range; boot with memmap=16M$0x7000000, say, and load it with "
    "reserved=16M$0x7000000",
    ("reserved", errno.ENOMEM): "the range of the module's parameter reserved has no room for it; semshare ls shows "
    "who has it",
}


def attach(name: str, readonly: bool, placement: Placement = ANYWHERE) -> ModuleArea | None:
    """Attach an area of the module; None if it has none of that name.

    Raises:
        NotFound: no module. Denied: the area's mode does not allow it.
    """
    try:
        device = Device(readonly=readonly)
    except Denied:
        if not readonly:
            raise
        device = Device()
    try:
        access = lib.SEMSHARE_ACCESS_READ | (0 if readonly else lib.SEMSHARE_ACCESS_WRITE)
        request = {"name": names.padded(name), "access": access, "flags": 0}
        device._call(lib.SEMSHARE_IOC_ATTACH, ffi.new("struct semshare_area_attach *", request))
        return ModuleArea(device, name, readonly, placement)
    except BaseException as error:
        device.close()
        if not isinstance(error, OSError) or isinstance(error, Error):
            raise
        raise failure(error.errno or 0, f"area {name!r} (module)", "attach") from error


def has(name: str) -> bool:
    """Whether the module has an area of that name. Without the module it has none."""
    try:
        with Device() as device:
            return any(info.name == name and not info.unlinked for info in device.areas())
    except NotFound:
        return False
