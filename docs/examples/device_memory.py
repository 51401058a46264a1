#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Memory for a device, that a kernel module made or took over, as a numpy array in a process.

    # insmod semshare_memory.ko area=frames bytes=1048576 kind=contiguous
    # python3 device_memory.py frames

Without the module's `bytes=` it takes an area that is there: one of a memfd that this program makes with

    # python3 device_memory.py frames memfd

Needs numpy, and root, to whom such an area belongs.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

import semshare

SAMPLE = Path("/sys/module/semshare_memory/parameters")


def of_a_memfd(name: str) -> semshare.Area:
    fd = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 20)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    try:
        return semshare.Area.from_memfd(name, fd)
    finally:
        os.close(fd)


def main(name: str, memfd: bool) -> None:
    with of_a_memfd(name) if memfd else semshare.Area.attach(name) as area:
        if memfd:
            print(f"the area is there. Now, as root: insmod semshare_memory.ko area={name}", flush=True)
            while not SAMPLE.exists() or not int((SAMPLE / "segments").read_text()):
                time.sleep(0.1)
        frame = area.array("u2", (512, 1024))
        frame[:] = 7
        frame[0, 0] = 1
        info = area.info()
        print(f"{info.kind}: {info.size} bytes, their sum as 16-bit numbers is {int(frame.sum())}")
        segments = int((SAMPLE / "segments").read_text())
        print("the device sees it in", "one piece" if segments == 1 else "pieces")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "frames", sys.argv[2:] == ["memfd"])
