# SPDX-License-Identifier: MIT
"""Compiling the C of the tests, against the headers that module and package share: one compiler, one line of flags."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

INCLUDE = Path(__file__).resolve().parent.parent / "kmod_semshare" / "include"

#: The compiler of Debian's kernels, whose package brings the sanitizers.
COMPILER = shutil.which("gcc-12") or shutil.which("gcc")

FLAGS = ["-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", "-I", str(INCLUDE), "-I", str(INCLUDE / "uapi")]

#: What a test of such a program needs, as its pytestmark.
NEEDED = [
    pytest.mark.skipif(not INCLUDE.exists(), reason="not in a source tree"),
    pytest.mark.skipif(COMPILER is None, reason="no gcc here"),
]


def compile_c(program: Path, sources: Path | Iterable[Path], *flags: str, compiler: str | None = COMPILER) -> Path:
    """Compile a program, or a library.

    Args:
        flags: come before the others, so that a folder named here is searched first.
    """
    sources = [sources] if isinstance(sources, Path) else sources
    command = [str(compiler), *flags, *FLAGS, "-o", str(program), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program
