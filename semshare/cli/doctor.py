# SPDX-License-Identifier: MIT
"""`semshare doctor`: can this machine run it, and what to do about each no."""

from __future__ import annotations

import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from semshare import Error, NotFound, _abi, _native, advice, device, route, semaphore_set, stale
from semshare._abi import ffi, lib
from semshare.area import list_areas
from semshare.cli import deadlocks
from semshare.cli.group import wide_console
from semshare.demo import kernel, program_start

YES, NO, NOTE = "yes", "no", "note"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    verdict: str
    """YES, NO, or NOTE: it works, but you may want to know."""
    found: str
    advice: str = ""
    needed: bool = True
    """Whether the embedded default cannot run without it."""


@click.command("doctor", short_help="Can this machine run semshare, and what to do if not.")
@click.option("--deadlocks", "only_deadlocks", is_flag=True, help="Look for deadlocks, and for nothing else.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(only_deadlocks: bool, as_json: bool) -> None:
    """Say whether this machine can run semshare, and what to do about each "no".

    The exit status is 1 if the embedded default cannot run: a SysV set and POSIX shared memory, no kernel module.

    With --deadlocks: draw who waits for whom in a circle, in this IPC namespace, and say who waits of whom nothing can
    be known. The exit status is 1 if there is a deadlock, or perhaps one.
    """
    if only_deadlocks:
        if deadlocks.report(as_json):
            raise SystemExit(1)
        return
    findings = list(examine())
    broken = [finding for finding in findings if finding.needed and finding.verdict == NO]
    if as_json:
        click.echo(json.dumps({"ok": not broken, "findings": [asdict(finding) for finding in findings]}))
    else:
        _show(findings)
    if broken:
        raise SystemExit(1)


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    styles = {YES: "green", NO: "red", NOTE: "yellow"}
    for finding in findings:
        table.add_row(
            Text(finding.verdict, style=styles[finding.verdict]),
            finding.what,
            Text(finding.found),
            Text(finding.advice),
        )
    wide_console().print(table)


def examine() -> Iterator[Finding]:
    """All findings, from the ground up."""
    yield from _system()
    yield from _semaphores()
    yield from _shared_memory()
    yield from _python()
    yield from _module()
    yield from _route()
    yield from _housekeeping()


# ------------------------------------------------------------------------------------------------------- the system


def _system() -> Iterator[Finding]:
    linux = platform.system() == "Linux"
    yield Finding(
        "Linux",
        YES if linux else NO,
        f"{platform.system()} {platform.release()} {platform.machine()}",
        "" if linux else "semshare is about Linux's semaphores; use a Linux machine",
    )
    cpus = len(os.sched_getaffinity(0))
    yield Finding(
        "CPUs",
        YES if cpus > 1 else NOTE,
        str(cpus),
        "" if cpus > 1 else "locks do not spin on one CPU; contention costs a context switch each",
        needed=False,
    )


# ------------------------------------------------------------------------------------------------- SysV semaphores


def _semaphores() -> Iterator[Finding]:
    what = "SysV semaphores"
    semid = lib.semget(lib.IPC_PRIVATE, lib.SEMSHARE_RING_NSEMS, lib.IPC_CREAT | 0o600)
    if semid < 0:
        code = ffi.errno
        yield Finding(what, NO, f"semget: {os.strerror(code)}", _semget_advice(code))
    else:
        operations = ffi.new("struct sembuf[]", [(0, 1, lib.SEM_UNDO), (1, 0, lib.IPC_NOWAIT), (1, 1, 0)])
        timeout = ffi.new("struct timespec *", (1, 0))
        failed = lib.semtimedop(semid, operations, len(operations), timeout) < 0
        code = ffi.errno
        lib.semctl(semid, 0, lib.IPC_RMID)
        if failed:
            yield Finding(what, NO, f"semtimedop: {os.strerror(code)}", _semtimedop_advice(code))
        else:
            yield Finding(what, YES, "a set was made, used with SEM_UNDO and removed")
    yield from _semaphore_limits()


def _semget_advice(code: int) -> str:
    if code == errno.ENOSPC:
        return "no set is left: ipcs -s lists them, semshare rm --stale removes ours; sysctl kernel.sem limits them"
    if code in (errno.ENOSYS, errno.EPERM, errno.EACCES):
        return "a kernel without CONFIG_SYSVIPC, or a sandbox (seccomp) that forbids it: use another kernel or profile"
    return "see man 2 semget for this error"


def _semtimedop_advice(code: int) -> str:
    if code == errno.E2BIG:
        return "three operations in one call are needed: sysctl kernel.sem, its third number (SEMOPM)"
    return "see man 2 semtimedop for this error; gVisor and old emulators lack parts of it"


def _semaphore_limits() -> Iterator[Finding]:
    try:
        most, used = semaphore_set.limits(), semaphore_set.usage()
    except Error as error:
        yield Finding("semaphore limits", NOTE, *_parts(error), needed=False)
        return
    advice = []
    if _is_scarce(used.used_sets, most.sets):
        advice.append(
            "sysctl kernel.sem raises its fourth number (SEMMNI); a LockPool has thousands of locks in one set"
        )
    if _is_scarce(used.used_semaphores, most.semaphores):
        advice.append("sysctl kernel.sem raises its second number (SEMMNS)")
    yield Finding(
        "semaphore limits",
        NOTE if advice else YES,
        f"{used.used_sets:,} of {most.sets:,} sets used, {used.used_semaphores:,} of {most.semaphores:,} semaphores; "
        f"{most.semaphores_per_set:,} in one set, {most.operations_per_call:,} operations in one call",
        "; ".join(["ipcs -s lists the sets, semshare rm --stale removes ours that nobody uses", *advice])
        if advice
        else "",
        needed=False,
    )


def _is_scarce(used: int, most: int) -> bool:
    return used >= most * 0.9


# --------------------------------------------------------------------------------------------------- shared memory


def _shared_memory() -> Iterator[Finding]:
    shmid = lib.shmget(lib.IPC_PRIVATE, lib.SEMSHARE_LOCK_SEGMENT_SIZE, lib.IPC_CREAT | 0o600)
    code = ffi.errno
    if shmid >= 0:
        lib.shmctl(shmid, lib.IPC_RMID, ffi.NULL)
    yield Finding(
        "SysV shared memory",
        YES if shmid >= 0 else NO,
        "a segment was made and removed" if shmid >= 0 else f"shmget: {os.strerror(code)}",
        "" if shmid >= 0 else "locks remember their owner there: ipcs -m, and sysctl kernel.shmmni, kernel.shmall",
    )
    yield from _segment_limits()
    folder = Path("/dev/shm")
    probe = folder / f"semshare-doctor-{os.getpid()}-{time.monotonic_ns()}"
    try:
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        probe.unlink()
        space = os.statvfs(folder)
    except OSError as error:
        yield Finding(
            "POSIX shared memory",
            NO,
            f"{folder}: {error.strerror}",
            f"mount a tmpfs there that you may write: mount -t tmpfs -o mode=1777 tmpfs {folder}",
        )
        return
    free = space.f_bavail * space.f_frsize
    little = free < 16 << 20
    yield Finding(
        "POSIX shared memory",
        NOTE if little else YES,
        f"{folder}, {free >> 20} MiB free",
        f"mount -o remount,size=256M {folder}; in a container: --shm-size" if little else "",
    )


def _segment_limits() -> Iterator[Finding]:
    what = "segment limits"
    try:
        used = len(Path("/proc/sysvipc/shm").read_text().splitlines()) - 1
        most = int(Path("/proc/sys/kernel/shmmni").read_text())
    except (OSError, ValueError) as error:
        yield Finding(what, NOTE, str(error), "mount /proc to see them", needed=False)
        return
    scarce = _is_scarce(used, most)
    yield Finding(
        what,
        NOTE if scarce else YES,
        f"{used:,} of {most:,} segments used",
        "ipcs -m lists them, semshare rm --stale removes ours that nobody uses; sysctl kernel.shmmni raises the limit"
        if scarce
        else "",
        needed=False,
    )


# ---------------------------------------------------------------------------------------------------------- Python


def _python() -> Iterator[Finding]:
    yield Finding(
        "this package",
        YES,
        f"semshare {metadata.version('semshare')}, ABI {lib.SEMSHARE_ABI_VERSION}, Python {platform.python_version()}, "
        f"{Path(_native.__file__ or '').name}, {Path(_abi.__file__ or '').name}",
    )
    try:
        import sysv_ipc
    except ImportError as error:
        yield Finding("sysv_ipc", NO, str(error), "the demo's plain program needs it: pip install sysv_ipc")
        return
    timeouts = bool(sysv_ipc.SEMAPHORE_TIMEOUT_SUPPORTED)
    yield Finding(
        "sysv_ipc",
        YES if timeouts else NOTE,
        f"{sysv_ipc.VERSION}, {'with' if timeouts else 'without'} timeouts",
        ""
        if timeouts
        else "its acquire(timeout=…) waits for ever; semshare's own does not. To have them: "
        'CC="cc -D_GNU_SOURCE" pip install --force-reinstall --no-binary sysv_ipc sysv_ipc',
        needed=False,
    )


# ------------------------------------------------------------------------------------------------------ the module


def _module() -> Iterator[Finding]:
    what = "kernel module"
    try:
        opened = device.Device()
    except NotFound:
        yield Finding(
            what,
            NOTE,
            f"not loaded: there is no {device.PATH}",
            "without it no kernel thread takes part; all else works. make demo, in a checkout, boots a virtual machine "
            "that has it; installed: modprobe semshare",
            needed=False,
        )
        return
    except Error as error:
        # It is there and may not be used: then areas cannot be made at all, by default.
        yield Finding(what, NO, *_parts(error))
        return
    with opened:
        version = opened.version
        missing = lib.SEMSHARE_FEATURES & ~version.features
        yield Finding(
            what,
            NOTE if missing else YES,
            f"{device.PATH}, version {version.module}, ABI {version.abi_version}, features {version.features:#x}",
            f"features {missing:#x} of this package are not there: see the kernel functions below" if missing else "",
            needed=False,
        )
        for function in opened.functions():
            yield Finding(
                f"kernel function {function.name}",
                YES if function.found else NO,
                "found" if function.found else f"not found; {function.needed_for} answer EOPNOTSUPP",
                "" if function.found else "use a kernel that has it: 6.1 to 7.2 do, with CONFIG_KPROBES",
                needed=False,
            )
    there = os.path.exists(kernel.DEVICE)
    yield Finding(
        "kernel threads for the demo",
        YES if there else NOTE,
        kernel.DEVICE if there else f"there is no {kernel.DEVICE}",
        "" if there else "modprobe semshare_demo",
        needed=False,
    )
    try:
        there = any(area.name == program_start.AREA for area in list_areas())
    except Error:
        there = False
    yield Finding(
        "program starts",
        YES if there else NOTE,
        "semshare watch exec shows them" if there else f"there is no area {program_start.AREA}",
        "" if there else "modprobe semshare_exec",
        needed=False,
    )


def _route() -> Iterator[Finding]:
    """Who may not open the module's device may well have his programs' calls routed."""
    verdict, found, advice = YES, f"semshare exec can use {route.PATH}", ""
    try:
        route.check()
    except Error as error:
        verdict = NOTE if isinstance(error, NotFound) else NO
        found, advice = _parts(error)
    yield Finding("routing of programs", verdict, found, advice, needed=False)


def _parts(error: Error) -> tuple[str, str]:
    """What happened, and what to do, of an error of this package."""
    happened, _, advice = (error.strerror or str(error)).partition("; ")
    return happened, advice


# ---------------------------------------------------------------------------------------------------- housekeeping


def _housekeeping() -> Iterator[Finding]:
    found = [each for each in stale.find() if each.certain]
    yield Finding(
        "stale objects",
        NOTE if found else YES,
        ", ".join(f"{each.kind} {each.name}" for each in found) or "none",
        "left by processes that were killed: semshare rm --stale" if found else "",
        needed=False,
    )
    if not os.path.isdir("/run/systemd/system"):
        return  # no systemd, nobody who removes
    removes = advice.logind_removes()
    concerned = removes and os.getuid() >= 1000
    yield Finding(
        "RemoveIPC of systemd-logind",
        NOTE if concerned else YES,
        "on" if removes else "off",
        "sets and shared memory of a user who is no system user vanish when his last session ends: "
        "loginctl enable-linger, or RemoveIPC=no in /etc/systemd/logind.conf"
        if concerned
        else "",
        needed=False,
    )
