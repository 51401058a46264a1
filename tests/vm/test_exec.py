# SPDX-License-Identifier: MIT
"""`semshare exec`: programs that know nothing of it get the same answers through the module, and it can tell that they
went there. tests/programs/program.c says what the answers are."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from exec_programs import EFFORT, LIMIT, compiled, run
from pace import SLOW

from semshare import AbiMismatch, route

NOBODY = 65534
NOT_ROUTED_LINE = f"semshare: exec: {route.PATH} cannot be had"
NO_UNDO_LINE = "semshare: exec: EOPNOTSUPP"

each_context = pytest.mark.parametrize("context", route.CONTEXTS)


@pytest.fixture(scope="module")
def programs():
    return compiled()


@pytest.fixture
def for_nobody(programs):
    """For tests that change the user: whether such a one can read what is to be run."""
    for path in (programs / "program", Path(os.fsdecode(route.library()))):
        if any(not folder.stat().st_mode & 0o001 for folder in path.parents):
            pytest.skip(f"{path} is in a folder that is not for everybody")


def semshare(*words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(["semshare", "exec", *words], capture_output=True, text=True, timeout=LIMIT, **more)


# ----------------------------------------------------------------------------------------- what programs can do at all


@pytest.mark.skipif(SLOW, reason="the sanitizer takes minutes there, and nothing of it is the kernel's")
def test_a_program_under_thread_sanitizer_is_routed(programs):
    ran = run([str(programs / "program-tsan"), "all_commands", "blocked"])
    assert ran.status == 0, ran.errors
    assert ran.counts.routed > 0 and ran.counts.not_routed == 0


@each_context
@pytest.mark.parametrize(
    "case",
    [
        "all_commands",
        "unknown_commands",
        "bad_pointers",
        "many_operations",
        "timeouts",
        "signals",
        "signal_handlers",
        "undo",
        "blocked",
        "other_user",
        "other_namespace",
        "closed_descriptor",
        "taken_away_thrice",
        "few_descriptors",
        "other_root",
        "asked_for",
    ],
)
def test_calls_answer_as_system_calls_do(programs, case, context):
    ran = run([str(programs / "program"), case], context)
    assert ran.status == 0, ran.errors
    assert ran.counts.routed > 0 and ran.counts.not_routed == 0
    assert NOT_ROUTED_LINE not in ran.errors
    if case in ("all_commands", "unknown_commands", "bad_pointers", "many_operations"):
        assert all(call.libc and call.syscall for call in ran.counts.calls.values() if call.routed > 2)
    if case == "undo" and context == "kthread":
        assert ran.counts.unsupported == 2
        assert ran.errors.count(NO_UNDO_LINE) == ran.errors.count("\n") == 1


@each_context
def test_other_system_calls_are_let_alone(programs, context):
    ran = run([str(programs / "program"), "other_system_calls"], context)
    assert ran.status == 0, ran.errors
    assert ran.counts.routed == ran.counts.not_routed == 0


@each_context
def test_every_call_of_every_process_is_counted(programs, context):
    """Of threads, of children however they are made, of those that exec and those that call _exit."""
    ran = run([str(programs / "program"), "processes"], context)
    assert ran.status == 0, ran.errors
    assert {name: call.routed for name, call in ran.counts.calls.items()} == {
        "semget": 1,
        "semop": 4 * 100 + 6,
        "semtimedop": 0,
        "semctl": 3,
    }
    assert ran.counts.not_routed == 0
    assert ran.counts.commands == {"GETVAL": 2, "IPC_RMID": 1}
    # Children of vfork() count as their parent.
    assert (ran.counts.processes, ran.counts.images) == (4, 2)


@each_context
def test_a_descriptor_that_comes_and_goes_loses_no_call(programs, context):
    ran = run([str(programs / "program"), "closed_meanwhile"], context)
    assert ran.status == 0, ran.errors
    assert ran.counts.calls["semop"].routed + ran.counts.calls["semop"].not_routed == 600
    assert ran.counts.calls["semop"].routed > 300


def test_a_descriptor_that_is_never_there_is_given_up(programs):
    """After eight tries for a call, and no other one suffers."""
    ran = run([str(programs / "program"), "taken_away_always"])
    assert ran.status == 0, ran.errors
    assert ran.counts.calls["semop"].not_routed == 2 and ran.counts.not_routed == 2
    assert ran.errors.count(NOT_ROUTED_LINE) == 1


@each_context
def test_a_call_that_cannot_be_routed_is_made_and_told(programs, context):
    ran = run([str(programs / "program"), "no_descriptor"], context)
    assert ran.status == 0, ran.errors
    assert ran.errors.count(NOT_ROUTED_LINE) == ran.errors.count("\n") == 1
    assert {name: call.not_routed for name, call in ran.counts.calls.items()} == {
        "semget": 0,
        "semop": 3,
        "semtimedop": 1,
        "semctl": 2,
    }
    ran = run([str(programs / "program"), "no_descriptor_no_stderr"], context)
    assert (ran.status, ran.errors) == (0, "")
    assert ran.counts.not_routed == 6


def test_a_process_without_descriptors_from_the_start_is_told_as_well(programs):
    ran = run([str(programs / "program"), "timeouts"], start="ulimit -n 3")
    # Its loader needs one to load the libraries: with three there is no program.
    assert ran.status == 127
    ran = run([str(programs / "program"), "timeouts"], start="ulimit -n 4")
    assert ran.status == 0 and ran.counts.not_routed == 0, ran.errors


@each_context
def test_libraries_are_reached_however_they_come(programs, context):
    """RTLD_DEEPBIND, a search path of their own, constructors before ours, wrappers of the calls."""
    ran = run([str(programs / "program"), "loaded_libraries", str(programs)], context)
    assert ran.status == 0, ran.errors
    assert [call.routed for call in ran.counts.calls.values()] == [1, 0, 0, 7]
    ran = run([str(programs / "program-early"), "early_library"], context)
    assert ran.status == 0, ran.errors
    assert [call.routed for call in ran.counts.calls.values()] == [1, 1, 0, 3]
    assert ran.counts.calls["semctl"].syscall == 1
    wrapper = {"LD_PRELOAD": f"{programs}/libwrapper.so"}
    ran = run([str(programs / "program"), "wrapping_library"], context, variables=wrapper)
    assert ran.status == 0, ran.errors
    assert [call.routed for call in ran.counts.calls.values()] == [1, 1, 0, 1]


@each_context
def test_a_program_that_has_become_another_user_is_counted(programs, for_nobody, context):
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    ran = run([*user, str(programs / "program"), "all_commands", "closed_descriptor", "signals"], context)
    assert ran.status == 0, ran.errors
    assert ran.counts.images == 2
    assert ran.counts.calls["semctl"].routed > 50 and ran.counts.not_routed == 0


# --------------------------------------------------------------------------------------------------------- in Python

PYTHON = """
import ctypes, os, sysv_ipc
semaphore = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=5)
semaphore.acquire()
up = (ctypes.c_short * 3)(0, 2, 0)
for library in (ctypes.CDLL(None), ctypes.CDLL("libc.so.6"), ctypes.PyDLL("libc.so.6")):
    assert library.semop(semaphore.id, up, 1) == 0
    assert library.syscall(65, semaphore.id, up, 1) == 0
    assert library.semctl(semaphore.id, 0, 12) == library.syscall(66, semaphore.id, 0, 12, 0)
    assert library.syscall(39) == os.getpid()
assert semaphore.value == 5 - 1 + 3 * 4
import semshare
raw = semshare.SemaphoreSet(semid=semaphore.id)
raw.operate([(0, -16, semshare.IPC_NOWAIT)])
semaphore.remove()
"""


@each_context
def test_python_is_routed_by_all_its_ways(context):
    ran = run([sys.executable, "-c", PYTHON], context)
    assert ran.status == 0, ran.errors
    assert ran.counts.not_routed == 0
    semop = ran.counts.calls["semop"]
    timed = ran.counts.calls["semtimedop"]
    assert (semop.libc + timed.libc, semop.syscall) == (1 + 3 + 1, 3)
    assert ran.counts.commands["GETVAL"] >= 7


def test_the_package_itself_runs_through_it(name):
    code = f"""
import semshare
with semshare.Ring.create({name!r}, 1 << 16) as ring:
    ring.put_many([b"one", b"two"])
    assert [bytes(each) for each in ring.get_many(10)] == [b"one", b"two"]
    ring.unlink()
"""
    ran = run([sys.executable, "-c", code])
    assert ran.status == 0, ran.errors
    assert ran.counts.routed > 0 and ran.counts.not_routed == 0


# ------------------------------------------------------------------------------------- sysv_ipc's own tests

SUITE = """
import sys, unittest
import sysv_ipc, tests.test_semaphores
assert sysv_ipc.SEMAPHORE_TIMEOUT_SUPPORTED and sysv_ipc.VERSION == "1.2.0"
tests.test_semaphores.N_RELEASES = int(sys.argv.pop())
names = ["tests.test_semaphores", "tests.test_module.TestModuleFunctions.test_remove_semaphore"]
unittest.main(None, argv=["unittest", "-v", *names])
"""
RELEASES = {"caller": round(32_766 * EFFORT), "kthread": round(500 * EFFORT)}
"""One test of it makes so many V: of itself as many as fit. Each of the second's starts a thread."""

KTHREAD_DIFFERS = "test_attribute_last_pid"
"""The test of what a kernel thread cannot do: be the process that made the last operation."""


def verdicts(text: str) -> dict[str, str]:
    """What unittest says of each test."""
    pattern = r"^(test_\w+) \([\w.]+\)(?:.|\n)*? \.\.\. (ok|FAIL|ERROR|skipped.*)$"
    return dict(re.findall(pattern, text, re.MULTILINE))


@each_context
def test_the_suite_of_sysv_ipc_says_the_same(context):
    folder = os.environ.get("SEMSHARE_SYSV_IPC")
    if not folder:
        pytest.skip("make test fetches the source release of sysv_ipc")
    variables = {"PYTHONPATH": f"{folder}/lib:{folder}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", SUITE, str(RELEASES[context])]
    ended = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=LIMIT)
    plain = verdicts(ended.stderr)
    assert len(plain) == 43 and set(plain.values()) == {"ok"}, ended.stderr
    ran = run(command, context, variables=variables)
    if context == "kthread":
        assert plain[KTHREAD_DIFFERS] == "ok"
        plain[KTHREAD_DIFFERS] = "FAIL"
    assert verdicts(ran.errors) == plain, ran.errors
    assert ran.counts.not_routed == 0
    assert all(call.routed for call in ran.counts.calls.values())
    assert ran.counts.calls["semop"].routed > RELEASES[context]


# ------------------------------------------------------------------------------------------------------- the command


def test_what_the_command_is_told_and_says(programs, tmp_path):
    file = tmp_path / "stats.json"
    ended = semshare("--stats", "--stats-json", str(file), "--", str(programs / "program"), "many_operations")
    assert (ended.returncode, ended.stdout) == (0, "")
    told = json.loads(file.read_text())
    assert told["context"] == "caller" and told["not_routed"] == 0 and told["images"] == 1
    assert told["calls"]["semop"] == {"routed": 12, "libc": 6, "syscall": 6, "failed": 8, "not_routed": 0}
    assert told["commands"] == {"GETVAL": 4, "IPC_RMID": 2}
    words = ended.stderr.split("\n")
    assert words[0] == "semshare exec: context caller; 1 program starts, 1 processes with calls"
    assert words[3].split() == ["semop", "12", "6", "6", "8", "0"]
    assert "GETVAL 4, IPC_RMID 2" in ended.stderr


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_the_report_comes_after_what_the_program_has_written(name, tmp_path):
    log = tmp_path / "log"
    with open(log, "w") as output:
        command = ["semshare", "exec", "--stats-json", name, "--", "sh", "-c", "echo first; ipcs; echo last"]
        assert subprocess.run(command, stdout=output, timeout=LIMIT).returncode == 0
    lines = log.read_text().splitlines()
    assert (lines[0], lines[-2]) == ("first", "last")
    assert json.loads(lines[-1])["images"] == 2


def test_a_report_that_cannot_be_written_is_told_before_anything_runs(tmp_path):
    ended = semshare("--stats-json", str(tmp_path / "nowhere/report"), "--", "echo", "ran")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1 and ended.stderr.endswith("No such file or directory\n"), ended.stderr


@pytest.mark.parametrize("options", [[], ["--stats"]], ids=["becomes", "parent"])
def test_it_ends_as_the_program_does(options):
    """More of this, without the module, in tests/host/test_exec_command.py."""
    assert semshare(*options, "--", "sh", "-c", "exit 7").returncode == 7
    assert semshare(*options, "--", "sh", "-c", "kill -9 $$").returncode == -signal.SIGKILL


def test_anybody_may_route(for_nobody, programs):
    # Python itself may lie where only its owner may read: imported first.
    code = f"""
import os
import semshare.cli.exec, semshare.cli, rich.table
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
semshare.cli.main(["exec", "--stats", "--", {str(programs / "program")!r}, "all_commands", "closed_descriptor"])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^semctl +[1-9]\d+ +\d+ +\d+ +\d+ +0$", ended.stderr, re.MULTILINE), ended.stderr


def test_undo_in_a_kernel_thread_is_told_once_a_run(programs):
    twice = f"{programs}/program undo; {programs}/program undo"
    ended = semshare("--context", "kthread", "--stats", "--", "sh", "-c", twice)
    assert ended.returncode == 0
    assert ended.stderr.count(NO_UNDO_LINE) == 1
    assert re.search(r"refused with EOPNOTSUPP \(SEM_UNDO in a kernel thread.*\): 4$", ended.stderr, re.MULTILINE)


def test_a_module_that_does_not_fit_is_refused(monkeypatch):
    route.check()
    monkeypatch.setitem(route.WANTED, "abi_version", 99)
    with pytest.raises(AbiMismatch, match="ABI version 2 "):
        route.check()
    monkeypatch.setitem(route.WANTED, "abi_version", 2)
    monkeypatch.setitem(route.WANTED, "features", 1 << 31)
    with pytest.raises(AbiMismatch, match="0x80000000"):
        route.check()
