# SPDX-License-Identifier: MIT
"""The main job in the machine: kernel threads, Python processes and a plain program around one lock and one buffer."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from contextlib import ExitStack

import abi
import kernel
import pytest
from abi import insmod, loaded

from semshare import Ring
from semshare.area import list_areas
from semshare.semaphore_set import all_sets

LIMIT = 240
SOON = 10.0  # seconds in which what a killed process leaves behind is gone


@pytest.fixture(autouse=True, scope="module")
def modules():
    """Those that take part, also where an earlier test has unloaded them."""
    for name in ("semshare_demo", "semshare_exec"):
        if not loaded(name):
            insmod(name)


def demo(*arguments: str) -> tuple[int, dict]:
    ended = subprocess.run(["semshare", "demo", "--json", *arguments], capture_output=True, text=True, timeout=LIMIT)
    assert ended.stderr == ""
    return ended.returncode, json.loads(ended.stdout)


def areas() -> set[str]:
    return {area.name for area in list_areas()}


def sets() -> list[int]:
    return [semid for semid, _ in all_sets()]


@pytest.fixture(autouse=True)
def nothing_is_left(modules):
    before = areas(), sets()
    yield
    assert kernel.eventually(lambda: (areas(), sets()) == before, SOON), (areas(), sets(), before)
    assert not kernel.threads("semshare_demo/")


def test_six_parties_add_up():
    status, result = demo("--seconds", "2")
    assert (status, result["reasons"]) == (0, [])
    kinds = [producer["kind"] for producer in result["producers"]]
    assert kinds == ["kernel", "kernel", "python", "python", "plain"]
    assert all(producer["sent"] == producer["received"] > 0 for producer in result["producers"])
    counter = result["counter"]
    assert counter["expected"] == counter["counted"] > 0
    assert len(counter["parties"]) == 6 and all(counter["parties"].values())
    assert result["machine"]["backend"] == "module"
    assert result["lock"]["parties"] == 5


def test_a_number_of_records():
    status, result = demo("--records", "300", "--kernel-producers", "3", "--producers", "1", "--no-watch")
    assert (status, result["reasons"]) == (0, [])
    assert [producer["sent"] for producer in result["producers"]] == [300] * 5
    assert result["counter"]["counted"] == 6 * 300


def test_without_the_lock_it_does_not_add_up():
    status, result = demo("--unlocked", "--seconds", "1", "--no-watch")
    assert (status, result["ok"]) == (0, True)
    assert sum(producer["lost"] + producer["torn"] for producer in result["producers"]) > 0
    assert result["counter"]["counted"] < result["counter"]["expected"]


def test_posix_shared_memory_works_beside_the_module():
    status, result = demo("--backend", "posix", "--records", "100", "--no-watch")
    assert (status, result["reasons"]) == (0, [])
    assert result["machine"]["backend"] == "posix"
    assert not any(producer["kind"] == "kernel" for producer in result["producers"])


def test_the_demo_ends_with_program_starts():
    status, result = demo("--records", "50")
    assert (status, result["reasons"]) == (0, [])
    assert [os.path.basename(start["path"]) for start in result["exec"]] == ["true", "uname", "sh"]


def test_ctrl_c_gives_the_report_so_far():
    process = started()
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT)
    result = json.loads(output)
    assert (process.returncode, result["interrupted"]) == (130, "SIGINT")
    assert all(producer["sent"] == producer["received"] for producer in result["producers"])


def test_a_killed_parent_leaves_nothing():
    """The module removes area, set and threads with their last reference."""
    process = started()
    process.kill()
    process.communicate(timeout=LIMIT)
    assert kernel.eventually(lambda: not kernel.threads("semshare_demo/"), SOON)


def started() -> subprocess.Popen:
    process = subprocess.Popen(
        ["semshare", "demo", "--json", "--seconds", "600", "--name", "vm-demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert kernel.eventually(lambda: len(kernel.threads("semshare_demo/")) == 2, 120)
    return process


def test_there_are_only_so_many_kernel_threads():
    """No limit of a process's counts them. One that is done is counted until it is stopped."""
    most, at_once = 1024, 64
    with Ring.create("many", 1 << 18, backend="module") as ring, ExitStack() as stack:
        demos = [stack.enter_context(abi.Demo()) for _ in range(most // at_once + 1)]
        last = demos.pop()
        for demo in demos:
            demo.start(ring.area.fileno(), abi.RECORDS, at_once, count=1)
        with pytest.raises(OSError) as refused:
            last.start(ring.area.fileno(), abi.RECORDS, at_once, count=1)
        assert refused.value.errno == errno.ENOSPC
        demos[0].stop()
        last.start(ring.area.fileno(), abi.RECORDS, at_once, count=1)
