# SPDX-License-Identifier: MIT
"""Programs of test cases in C, see c/cases.h: built with AddressSanitizer and UBSan, and run, a case at a time."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from compiler import compile_c

#: Whatever goes wrong ends the program.
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def source_of(name: str) -> Path:
    return Path(__file__).with_name("c") / f"{name}.c"


def cases_of(name: str) -> list[str]:
    """The cases of a program, as its source has them."""
    return re.findall(r"^\tTEST\((\w+)\),$", source_of(name).read_text(), re.MULTILINE)


def build(folder: Path, name: str) -> Path:
    return compile_c(folder / name, source_of(name), "-O1", *SANITIZERS)


def names_told(program: Path) -> list[str]:
    """The cases of a program, as it tells them itself."""
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()


def must_pass(program: Path, case: str) -> None:
    done = subprocess.run([program, case], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
