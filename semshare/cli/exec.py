# SPDX-License-Identifier: MIT
"""`semshare exec`: a program whose calls on semaphores go through the module."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from typing import NoReturn, TextIO

import click
from rich.console import Console
from rich.table import Table

from semshare import program, route
from semshare.call_counters import CallCounters, Counts
from semshare.cli.group import WIDTH, Failure
from semshare.program import Program, Unroutable

# Changed by Python for itself at its start; a program wants them as they are elsewhere.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)

# Never passed on: they tell of this process, cannot be waited for, or say how a child fares.
_OWN = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGABRT),
}

SI_KERNEL = 0x80
_TERMINAL = {
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP, signal.SIGCONT),
    signal.SIGWINCH,
}
"""What the kernel sends (si_code SI_KERNEL) for a terminal, to a whole process group: the program has it already."""

_JOB_CONTROL = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}

PR_SET_PDEATHSIG = 1


@click.command(
    "exec",
    short_help="Run a program with its semaphore calls routed through the module.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--stats", is_flag=True, help="Print how many calls of each kind went through, on standard error.")
@click.option(
    "--stats-json",
    "json_path",
    type=click.Path(allow_dash=True),
    metavar="FILE",
    help="Write that into FILE, as JSON; - is standard output.",
)
@click.option(
    "--context",
    type=click.Choice(route.CONTEXTS),
    default="caller",
    help="Who carries out the operations: the caller itself (default), or a kernel thread for each call; it has the "
    "caller's rights and no SEM_UNDO.",
)
@click.argument("words", metavar="PROGRAM [ARGS]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(stats: bool, json_path: str | None, context: str, words: tuple[str, ...]) -> None:
    """Run PROGRAM with its semget, semop, semtimedop and semctl calls routed through the kernel module.

    All else of it is as without: its exit status is this command's, and so is the signal that ends it. Write -- before
    PROGRAM.

    Refused are programs that no preload library reaches: static, 32-bit and setuid ones. Its children are routed too,
    unless they clear their environment or are such programs.
    """
    before = route.own_environment()
    try:
        found = program.find([os.fsencode(word) for word in words], before)
    except Unroutable as error:
        _end(str(error), error.status)
    library = route.library()
    route.check()
    if not stats and json_path is None:
        _execute(found, route.environment(before, library, context))
    json_file = _open(json_path) if json_path is not None else None
    with CallCounters() as counters:
        status = _run(found, route.environment(before, library, context, counters.path))
        counts = counters.read()
    if stats:
        # Whether somebody reads it or not: how the program ended is still to be told.
        with contextlib.suppress(OSError):
            _show(counts, context)
    if json_file is not None:
        print(json.dumps({"context": context, **counts.as_dict()}), file=json_file, flush=True)
    if not counts.images:
        click.echo(
            "semshare: exec: no process could count, so nothing is known: the loader refused the preload library, or "
            "a sandbox the file with the counters",
            err=True,
        )
    _end_like(status)


def _open(path: str) -> TextIO:
    """The file for the report, opened now rather than after an hour's run.

    What is written into it meanwhile stays: it may be /dev/stdout, and PROGRAM's as well.
    """
    if path == "-":
        return sys.stdout
    try:
        return open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_APPEND, 0o666))
    except OSError as error:
        _end(f"--stats-json {path}: {error.strerror}", 1)


def _execute(found: Program, environment: dict[bytes, bytes]) -> NoReturn:
    """Become the program."""
    for number in _RESTORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        found.execute(environment)
    except OSError as error:
        status = program.NOT_FOUND if isinstance(error, FileNotFoundError) else program.NOT_EXECUTABLE
        _end(f"{os.fsdecode(found.path)}: {error.strerror}", status)


def _end(message: str, status: int) -> NoReturn:
    """Fail as all commands do, but with the exit status that a shell has for it."""
    Failure(f"exec: {message}").show()
    raise SystemExit(status)


def _run(found: Program, environment: dict[bytes, bytes]) -> int:
    """Run the program as a child, and be to others as if one were it. Returns how it ended, as waitpid() says it."""
    watched = signal.valid_signals() - _OWN
    prctl = ctypes.CDLL(None).prctl
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, watched | {signal.SIGCHLD})
    # Who ignores it learns nothing of his children.
    child_signal = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ours = os.getpid()
    pid = os.fork()
    if pid == 0:
        code: object = 1
        try:
            # Who kills the command means the program.
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == ours:
                signal.signal(signal.SIGCHLD, child_signal)
                if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
                    signal.signal(signal.SIGINT, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                _execute(found, environment)
        except SystemExit as end:
            code = end.code
        finally:
            os._exit(code if isinstance(code, int) else 1)
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if ended and not os.WIFSTOPPED(status):
            # Signals stay blocked: the ^C that ended it may be pending here, and there is something left to print.
            return status
        if ended:
            _stop_too(pid, os.WSTOPSIG(status))
            continue
        told = signal.sigwaitinfo(watched | {signal.SIGCHLD})
        if told.si_signo != signal.SIGCHLD and not _has_it(told, pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, told.si_signo)


def _has_it(told: signal.struct_siginfo, pid: int) -> bool:
    """Whether the program has had that signal already, or sent it."""
    return told.si_pid == pid or (told.si_code == SI_KERNEL and told.si_signo in _TERMINAL)


def _stop_too(pid: int, number: int) -> None:
    """Stop as the program was, for the shell to see, and go on with it.

    Only where a shell is expected to see: one that stops a program by SIGSTOP knows its pid, and will go on by it. The
    kernel passes these signals over where there is no shell.
    """
    if number not in _JOB_CONTROL:
        return
    before = signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    signal.signal(number, before)
    os.kill(pid, signal.SIGCONT)


def _end_like(status: int) -> NoReturn:
    """End as the program did: with its status, or by the same signal, without a core of our own."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # 1 is what a core_pattern with a pipe understands as none.
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (0 if hard == 0 else 1, hard))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    raise SystemExit(os.waitstatus_to_exitcode(status))


def _show(counts: Counts, context: str) -> None:
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=True, highlight=False, width=max(console.width, WIDTH))
    table = Table(box=None, pad_edge=False)
    table.add_column("call")
    for column in ("routed", "by libc", "by syscall()", "failed", "not routed"):
        table.add_column(column, justify="right")
    for name, call in counts.calls.items():
        row = (call.routed, call.libc, call.syscall, call.failed, call.not_routed)
        table.add_row(name, *(f"{number:,}" for number in row))
    console.print(
        f"semshare exec: context {context}; {counts.images:,} program starts, {counts.processes:,} processes with calls"
    )
    console.print(table)
    if counts.commands:
        console.print("semctl: " + ", ".join(f"{name} {number:,}" for name, number in sorted(counts.commands.items())))
    if counts.unsupported:
        why = "a function that this kernel lacks: semshare doctor"
        why = f"SEM_UNDO in a kernel thread, or {why}" if context == "kthread" else why
        console.print(f"refused with EOPNOTSUPP ({why}): {counts.unsupported:,}")
