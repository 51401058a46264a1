# SPDX-License-Identifier: MIT
"""What vm/run and vm/test-all share."""

import ctypes
import pathlib
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent


class Kernel(NamedTuple):
    """A line of vm/kernels, which says what its words mean."""

    name: str
    suite: str
    image: str
    headers: str
    memory: str
    patience: int


def kernels():
    """The kernels there are, by name."""
    lines = (line.split() for line in (HERE / "kernels").read_text().splitlines())
    known = [Kernel(*words[:5], int(words[5])) for words in lines if words and not words[0].startswith("#")]
    return {kernel.name: kernel for kernel in known}


def die_with_parent(number):
    """Have the kernel send this process `number` when its parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(1, number)
