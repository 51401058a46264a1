#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two processes write pictures into a ring where they lie, a third one reads them there: no copy on either side.

    python docs/examples/zero_copy.py [PICTURES]

Needs numpy; neither the kernel module nor root.
"""

from __future__ import annotations

import os
import sys

import numpy

import semshare

SHAPE = (512, 512)
BYTES = 512 * 512 * 4
CAMERAS = 2


def camera(name: str, number: int, pictures: int) -> None:
    with semshare.Ring.attach(name) as ring:
        for which in range(pictures):
            with ring.reserve(BYTES, type=number) as view:
                picture = numpy.frombuffer(view, dtype="f4").reshape(SHAPE)
                picture[:] = which
            # Here it is in the ring. An exception in the with statement, or kill -9, and it never was.


def main(pictures: int) -> None:
    name = f"pictures-{os.getpid()}"
    # Slots for 1 MiB each. `size` is for all of them, and for 64 bytes beside each: here there are four.
    with semshare.Ring.create(name, size=8 << 20, variant="mpsc", max_payload=BYTES) as ring:
        for number in range(CAMERAS):
            if os.fork() == 0:
                camera(name, number, pictures)
                os._exit(0)
        sums = [0.0] * CAMERAS
        for _ in range(CAMERAS * pictures):
            record = ring.view(timeout=30)
            with record as view:
                picture = numpy.frombuffer(view, dtype="f4").reshape(SHAPE)
                sums[record.type] += float(picture.mean())
            # Here its place belongs to the cameras again: `picture` must not be used any more.
        for number, total in enumerate(sums):
            print(f"camera {number}: {pictures} pictures, mean {total / pictures:g}")
        for _ in range(CAMERAS):
            os.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
