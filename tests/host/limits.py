# SPDX-License-Identifier: MIT
"""Limits of SysV IPC that are reached."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Callable

import pytest
from processes import Child

CLONE_NEWIPC = 0x08000000
_libc = ctypes.CDLL(None, use_errno=True)


def with_limits(sem: str, function: Callable[[], object], **others: int) -> None:
    """A child in an IPC namespace of its own, where kernel.sem and others are as told, does it."""

    def child():
        if _libc.unshare(CLONE_NEWIPC):
            os._exit(77)
        try:
            for path, value in {"sem": sem, **others}.items():
                Path(f"/proc/sys/kernel/{path}").write_text(str(value))
        except OSError:
            os._exit(77)
        function()

    status = Child(child).wait()
    if status == 77:
        pytest.skip("limits cannot be changed here: it needs root, a namespace of one's own and /proc/sys to write")
    assert status == 0
