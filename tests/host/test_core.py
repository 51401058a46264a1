# SPDX-License-Identifier: MIT
"""What the module and the package share (semshare/core), under AddressSanitizer and UBSan: see c/core.c."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
INCLUDE = TOP / "kmod_semshare" / "include"
SOURCE = Path(__file__).with_name("c") / "core.c"
#: The compiler of Debian's kernels, whose package brings the sanitizers.
COMPILER = shutil.which("gcc-12") or shutil.which("gcc")
CASES = re.findall(r"^\tTEST\((\w+)\),$", SOURCE.read_text(), re.MULTILINE)

pytestmark = [
    pytest.mark.skipif(not INCLUDE.exists(), reason="not in a source tree"),
    pytest.mark.skipif(COMPILER is None, reason="no gcc here"),
]


def build(folder: Path, *options: str) -> Path:
    program = folder / "core"
    command = [
        *(str(COMPILER), "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
        *("-I", str(INCLUDE), "-I", str(INCLUDE / "uapi"), *options, "-o", str(program), str(SOURCE)),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("core"))


def test_every_case_is_known_here(program):
    told = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    assert told == CASES


@pytest.mark.parametrize("case", CASES)
def test_core(program, case):
    done = subprocess.run([program, case], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_function_of_the_headers_is_called():
    source = SOURCE.read_text()
    for header in ("key", "histogram", "lock", "ring", "sysv"):
        text = (INCLUDE / "semshare" / "core" / f"{header}.h").read_text()
        functions = re.findall(r"^static inline [^;={]*?\b(semshare_\w+)\(", text, re.MULTILINE)
        assert functions
        # By the tests, or by another function of the header.
        assert [name for name in functions if f"{name}(" not in source and text.count(f"{name}(") < 2] == []
