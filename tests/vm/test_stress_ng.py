# SPDX-License-Identifier: MIT
"""stress-ng's stressor of SysV semaphores, which checks what it gets, run on the module's entry points."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from compiler import compile_c
from effort import EFFORT

SECONDS = max(5, round(60 * EFFORT / 2))  # for each context: a minute in all
HERE = pathlib.Path(__file__).resolve().parent
CALLS = ("semget", "semtimedop", "semctl")


@pytest.fixture(scope="module")
def without_undo(tmp_path_factory):
    """A library that takes SEM_UNDO from the stressor's operations, which a kernel thread refuses."""
    library = tmp_path_factory.mktemp("stress") / "without_undo.so"
    return compile_c(library, HERE / "without_undo.c", "-O1", "-shared", "-fPIC")


def run(context, report, **environment):
    stressor = ["stress-ng", "--sem-sysv", "2", "--sem-sysv-procs", "4", "--timeout", f"{SECONDS}s", "--verify"]
    command = ["semshare", "exec", "--context", context, "--stats-json", report, "--", *stressor, "--metrics-brief"]
    ended = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return ended.returncode, ended.stdout, json.loads(report.read_text())


def bogo_operations(output):
    return int(re.search(r"\bsem-sysv +(\d+)", output)[1])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("context", ["caller", "kthread"])
def test_the_stressor_finds_nothing_wrong(context, tmp_path, without_undo, capsys):
    assert shutil.which("stress-ng"), "vm/setup installs it"
    environment = {"LD_PRELOAD": str(without_undo)} if context == "kthread" else {}
    status, output, counted = run(context, tmp_path / "stats.json", **environment)
    assert status == 0, output
    assert "fail" not in output and "successful run completed" in output, output
    assert bogo_operations(output) > 0
    for call in CALLS:
        assert counted["calls"][call]["routed"] > 0, counted
        assert counted["calls"][call]["not_routed"] == 0, counted
    with capsys.disabled():
        told = ", ".join(f"{call} {counted['calls'][call]['routed']:,}" for call in CALLS)
        print(f"\nstress-ng, {SECONDS} s by {context}: {told} routed calls", end=" ")


def test_the_stressor_sees_undo_refused_in_a_kernel_thread(tmp_path):
    """As it is, all it does is with SEM_UNDO: it finds that out and says so, and nothing hangs or is undone."""
    _, _, counted = run("kthread", tmp_path / "stats.json")
    assert counted["unsupported"] > 0
