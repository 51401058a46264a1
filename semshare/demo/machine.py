# SPDX-License-Identifier: MIT
"""Where numbers were measured."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any


def describe(backend: str) -> dict[str, Any]:
    """The machine, and the versions of what took part."""
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("semshare", "sysv_ipc")},
        "backend": backend,
        "vm": hypervisor(),
    }


def hypervisor() -> str | None:
    """Which virtual machine this is, None if it does not look like one."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    if " hypervisor" not in flags:
        return None
    try:
        return Path("/sys/class/dmi/id/sys_vendor").read_text().strip() or "unknown"
    except OSError:
        return "unknown"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
