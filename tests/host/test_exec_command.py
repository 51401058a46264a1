# SPDX-License-Identifier: MIT
"""`semshare exec` as a command around a program: nobody may see that it is there. The module is not asked for here.
What goes through it is in tests/vm/test_exec.py."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semshare.call_counters import CallCounters
from semshare.cli.exec import SI_KERNEL, _has_it

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="semshare exec is for x86-64")

LIMIT = 60
COMMAND = [
    sys.executable,
    "-c",
    """
from semshare import route
from semshare.cli import main
route.check = lambda: None
main(prog_name="semshare")
""",
    "exec",
]
"""With a module or without."""


def semshare(*words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=LIMIT, **more)


def started(*words: str, **more) -> subprocess.Popen:
    return subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


@pytest.mark.parametrize("options", [[], ["--stats-json", "/dev/null"]], ids=["becomes", "parent"])
def test_it_ends_as_the_program_does(options):
    assert semshare(*options, "--", "sh", "-c", "exit 7").returncode == 7
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE):
        ended = semshare(*options, "--", "sh", "-c", f"kill -{int(number)} $$")
        assert (ended.returncode, ended.stderr) == (-number, "")
    assert semshare(*options, "sh", "-c", 'echo "$#$1"; cat', "sh", "-x", input="in").stdout == "1-x\nin"


def test_it_becomes_the_program():
    process = started("--", "sh", "-c", "echo $$")
    assert int(process.communicate(timeout=LIMIT)[0]) == process.pid


@pytest.mark.parametrize("options", [[], ["--stats-json", "/dev/null"]], ids=["becomes", "parent"])
def test_signals_masks_and_variables_are_those_it_was_given(options):
    """Python would leave SIGPIPE ignored, and LC_CTYPE set."""

    def block():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    given = {"PATH": os.environ["PATH"], "HOME": "/"}
    code = "grep -E 'Sig(Blk|Ign)' /proc/self/status; env"
    plain = subprocess.run(
        ["bash", "-c", code], env=given, preexec_fn=block, capture_output=True, text=True, timeout=LIMIT
    ).stdout
    routed = semshare(*options, "--", "bash", "-c", code, env=given, preexec_fn=block).stdout
    ours = ("LD_PRELOAD=", "SEMSHARE_EXEC_")
    added = [line for line in routed.splitlines() if line.startswith(ours)]
    assert [line for line in routed.splitlines() if not line.startswith(ours)] == plain.splitlines()
    assert len(added) == 2 + bool(options)


WAITER = """
import signal, sys, time
got = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGALRM, signal.SIGRTMIN + 1):
    signal.signal(number, lambda number, frame: got.append(number))
print("ready", flush=True)
while not got:
    time.sleep(0.05)
time.sleep(0.5)
print(*map(int, got), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN + 1])
def test_a_signal_to_the_command_reaches_the_program_once(number):
    process = started("--stats-json", "/dev/null", "--", sys.executable, "-c", WAITER)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=LIMIT)[0] == f"{int(number)}\n"
    assert process.returncode == 0


def at_a_terminal(*words: str) -> tuple[list[bytes], int]:
    """What a program writes to its terminal when ^C is typed as soon as it is ready, and how it ends."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*COMMAND, *words])
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    while True:
        try:
            seen += os.read(terminal, 1000)
        except OSError:
            break
    os.close(terminal)
    return seen.replace(b"^C", b"").split(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_terminals_signal_reaches_the_program_once():
    seen, status = at_a_terminal("--stats-json", "/dev/null", "--", sys.executable, "-c", WAITER)
    assert (seen, status) == ([b"ready", b"2"], 0)


def test_a_program_that_the_terminal_ends_is_reported():
    seen, status = at_a_terminal("--stats", "--", "sh", "-c", "echo ready; exec sleep 1000")
    assert status == -signal.SIGINT
    assert b"semtimedop" in seen


SHELL = """
import os, signal, sys
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.execv(sys.executable, sys.argv[1:])
_, status = os.waitpid(pid, os.WUNTRACED)
print(os.WIFSTOPPED(status) and os.WSTOPSIG(status), flush=True)
os.killpg(pid, signal.SIGCONT)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
"""As much of one as stops and continues: a session's leader, whose child has a group of its own."""


def test_it_stops_and_goes_on_with_the_program():
    command = [*COMMAND, "--stats-json", "/dev/null", "--", "sh", "-c", "kill -TSTP $$; echo on; exit 3"]
    ended = subprocess.run(
        [sys.executable, "-c", SHELL, *command], start_new_session=True, capture_output=True, text=True, timeout=LIMIT
    )
    assert ended.stdout == f"{int(signal.SIGTSTP)}\non\n3\n", ended.stderr


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGTSTP])
def test_a_program_that_is_stopped_by_its_own_pid_goes_on_by_it(number):
    """Where no shell looks at the command it does not stop, for nobody would let it go on."""
    code = f"kill -{int(number)} $$; echo on; exit 3"
    process = started("--stats-json", "/dev/null", "--", "sh", "-c", f"echo $$; {code}", start_new_session=True)
    pid = int(process.stdout.readline())
    deadline = time.monotonic() + LIMIT
    while number == signal.SIGSTOP and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):  # what no shell looks at is not stopped by TSTP, and ends
        os.kill(pid, signal.SIGCONT)
    # Not communicate(), which does not have what readline() has read ahead.
    assert process.stdout.read() == "on\n"
    assert process.wait(timeout=LIMIT) == 3
    process.stdout.close()
    process.stderr.close()


def test_a_killed_command_takes_the_program_along():
    process = started("--stats-json", "/dev/null", "--", "sh", "-c", "echo $SEMSHARE_EXEC_STATS $$; exec sleep 1000")
    counters, pid = process.stdout.readline().split()
    process.kill()
    process.communicate(timeout=LIMIT)
    deadline = time.monotonic() + LIMIT
    while os.path.exists(f"/proc/{pid}") and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # Its counters it could not remove: the next run does, when they are old enough.
    os.utime(os.path.dirname(counters), (0, 0))
    CallCounters().close()
    assert not os.path.exists(counters)


@pytest.mark.parametrize(
    ("number", "code", "sender", "passed_on"),
    [
        (signal.SIGINT, SI_KERNEL, 0, False),  # the terminal's ^C, to the whole group
        (signal.SIGALRM, SI_KERNEL, 0, True),  # a timer that was set before the start
        (signal.SIGINT, 0, 1, True),  # somebody's kill
        (signal.SIGTERM, 0, 4711, False),  # the program's own
    ],
)
def test_a_signal_is_passed_on_that_the_program_does_not_have(number, code, sender, passed_on):
    told = signal.struct_siginfo((number, code, 0, sender, 0, 0, 0))
    assert _has_it(told, 4711) is not passed_on


def test_a_program_that_is_ended_leaves_nothing_behind():
    process = started("--stats", "--", "sh", "-c", 'echo "$SEMSHARE_EXEC_STATS $$"; exec sleep 1000')
    counters, pid = process.stdout.readline().split()
    assert os.path.exists(counters)
    process.terminate()
    process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGTERM
    assert not os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(os.path.dirname(counters))


def test_where_nothing_counted_the_command_says_so():
    """The loader refuses the library, say: then zeros would not mean that nothing was called."""
    code = COMMAND[2].replace("\nmain", "\nroute.library = lambda: b'/nonexistent.so'\nmain")
    command = [sys.executable, "-c", code, "exec", "--stats", "--", "sh", "-c", "exit 4"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert ended.returncode == 4
    assert "semshare: exec: no process could count" in ended.stderr
