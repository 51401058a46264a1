# SPDX-License-Identifier: MIT
"""Programs of test cases in C, see c/cases.h: built with AddressSanitizer and UBSan, and run, a case at a time."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

INCLUDE = Path(__file__).resolve().parents[2] / "kmod_semshare" / "include"
#: The compiler of Debian's kernels, whose package brings the sanitizers.
COMPILER = shutil.which("gcc-12") or shutil.which("gcc")

#: What a test of such a program needs, as its pytestmark.
NEEDED = [
    pytest.mark.skipif(not INCLUDE.exists(), reason="not in a source tree"),
    pytest.mark.skipif(COMPILER is None, reason="no gcc here"),
]


def source_of(name: str) -> Path:
    return Path(__file__).with_name("c") / f"{name}.c"


def cases_of(name: str) -> list[str]:
    """The cases of a program, as its source has them."""
    return re.findall(r"^\tTEST\((\w+)\),$", source_of(name).read_text(), re.MULTILINE)


def build(folder: Path, name: str) -> Path:
    program = folder / name
    command = [
        *(str(COMPILER), "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
        *("-I", str(INCLUDE), "-I", str(INCLUDE / "uapi"), "-o", str(program), str(source_of(name))),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def names_told(program: Path) -> list[str]:
    """The cases of a program, as it tells them itself."""
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()


def must_pass(program: Path, case: str) -> None:
    done = subprocess.run([program, case], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
