#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two processes, one numpy array, and pointers that mean the same to both.

    $ python docs/examples/shared_array.py

With the module loaded the same lines give memory that kernel code sees as well. Needs numpy.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import numpy

import semshare

NAME = f"array-{os.getpid()}"
ADDRESS = 0x1000_0000_0000  # far from where anything is put by itself

OTHER = """
import ctypes, sys, semshare
with semshare.Area.attach(sys.argv[1]) as area:             # at the agreed address, or an error
    header = area.array("u8", 2)
    count, pointer = int(header[0]), int(header[1])
    numbers = (ctypes.c_double * count).from_address(pointer)  # a pointer that another process wrote
    print(f"the other process: {count} numbers at {pointer:#x}, their sum is {sum(numbers):g}")
    area.array("f8", count, 4096)[:] *= 2                      # in place, no copy
    del header, numbers
"""


def main() -> None:
    with semshare.Area.create(NAME, 1 << 20, address=ADDRESS, prefault=True) as area:
        numbers = area.array("f8", 1000, offset=4096)
        numbers[:] = numpy.arange(1000)
        area.array("u8", 2)[:] = (len(numbers), area.address + 4096)
        subprocess.run([sys.executable, "-c", OTHER, NAME], check=True)
        print(f"here: the sum is now {numbers.sum():g}")
    print(f"the area is closed, and its memory is still here: {numbers[999]:g}")

    # Memory that exists already: a memfd that nobody can truncate any more.
    fd = os.memfd_create("frames", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4096)
    os.pwrite(fd, b"from before", 0)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with semshare.Area.from_memfd(NAME, fd) as area, semshare.Area.attach(NAME, readonly=True) as reader:
        os.close(fd)
        print(f"{area.info().kind}: {bytes(reader.buffer[:11]).decode()}")


if __name__ == "__main__":
    main()
