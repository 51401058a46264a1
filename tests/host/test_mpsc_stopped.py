# SPDX-License-Identifier: MIT
"""What a party of the ring of slots leaves behind that is stopped, or killed, at one certain step: see c/stopped.c."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

INCLUDE = Path(__file__).resolve().parents[2] / "kmod_semshare" / "include"
SOURCE = Path(__file__).with_name("c") / "stopped.c"
COMPILER = shutil.which("gcc-12") or shutil.which("gcc")
CASES = re.findall(r"^\tTEST\((\w+)\),$", SOURCE.read_text(), re.MULTILINE)

pytestmark = [
    pytest.mark.skipif(not INCLUDE.exists(), reason="not in a source tree"),
    pytest.mark.skipif(COMPILER is None, reason="no gcc here"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    program = tmp_path_factory.mktemp("stopped") / "stopped"
    command = [
        *(str(COMPILER), "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
        *("-I", str(INCLUDE), "-I", str(INCLUDE / "uapi"), "-o", str(program), str(SOURCE)),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize("case", CASES)
def test_the_ring_goes_on(program, case):
    done = subprocess.run([program, case], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
