# SPDX-License-Identifier: MIT
"""The programs of docs/examples run as they are and print what they should: those that need no module."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import examples
import pytest
from examples import ELSEWHERE, EXAMPLES, HOST, MACHINE, Example, must_print

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="not in a source tree")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semshare"


def test_every_program_and_every_module_is_run_by_a_test():
    run = {each.program for each in [*HOST, *MACHINE]} | set(ELSEWHERE)
    assert examples.programs() == run
    assert examples.modules() <= examples.loaded_modules()


@pytest.mark.parametrize("program", ELSEWHERE)
def test_what_is_run_elsewhere_is_run_there(program):
    assert program in (examples.TOP / ELSEWHERE[program]).read_text()


@pytest.mark.parametrize("example", HOST, ids=lambda each: each.program)
def test_it_runs_without_a_module(example: Example):
    for module in example.needs:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"no {module} here")
    command = [sys.executable, str(EXAMPLES / example.program), *example.arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    must_print(example, done.stdout)


@pytest.mark.skipif(not (CACHE / "herd").exists(), reason="no herd7 here: make setup-models")
def test_a_litmus_test_and_what_is_left_of_it_without_each_barrier():
    command = [sys.executable, str(EXAMPLES / "litmus.py"), "wake-up"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    assert told[0] == "wake-up, as it is: Never"
    assert len(told) > 1 and all(": Sometimes" in line for line in told[1:])
