# SPDX-License-Identifier: MIT
"""`semshare exec` as a command around a program: nobody may see that it is there. The module is not asked for here.
What goes through it is in tests/vm/test_exec.py."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest

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
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN + 1):
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


def test_it_stops_and_goes_on_with_the_program():
    process = started("--stats-json", "/dev/null", "--", "sh", "-c", "kill -STOP $$; echo on; exit 3")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=LIMIT)[0] == "on\n"
    assert process.returncode == 3


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
