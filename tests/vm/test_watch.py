# SPDX-License-Identifier: MIT
"""`semshare watch exec`: the kernel tells of every program start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
from abi import insmod, loaded

LIMIT = 120


@pytest.fixture(autouse=True, scope="module")
def publisher():
    """The module semshare_exec, also where an earlier test has unloaded it."""
    if not loaded("semshare_exec"):
        insmod("semshare_exec")


def watching(*arguments: str) -> subprocess.Popen:
    """A watch in the background. What starts while it does waits for it in the ring."""
    return subprocess.Popen(
        ["semshare", "watch", "exec", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_commands_are_seen_as_they_start():
    process = watching("--json")
    env = subprocess.Popen(["env", "-u", "NOTHING", "true"])
    env.wait()
    seen = []
    for line in process.stdout:
        seen.append(json.loads(line))
        if seen[-1].get("path", "").endswith("/true"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (0, "")
    assert set(seen[-1]) == {"time", "pid", "parent", "uid", "name", "path", "missed"}
    # env becomes true: one process, two program starts.
    mine = [start for start in seen if start["pid"] == env.pid]
    assert [start["name"] for start in mine] == ["env", "true"]
    assert {start["parent"] for start in mine} == {os.getpid()}
    assert {start["uid"] for start in mine} == {os.getuid()}
    assert all(abs(start["time"] - time.time()) < LIMIT for start in mine)


def test_it_ends_after_so_many():
    process = watching("--count", "2")
    for _ in range(3):
        subprocess.run(["true"], check=True)
    output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors, len(output.splitlines())) == (0, "", 2)


def test_it_ends_after_so_many_seconds():
    process = watching("--seconds", "1")
    _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (0, "")


def test_a_reader_that_goes_away_ends_it_quietly():
    ended = subprocess.run(
        "semshare watch exec | head -n 1 & sleep 3; for i in 1 2 3 4 5; do true; uname >/dev/null; sleep 1; done; wait",
        shell=True,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert ended.stderr == "" and len(ended.stdout.splitlines()) == 1
