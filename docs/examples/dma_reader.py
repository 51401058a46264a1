#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Read pages that a device writes by DMA, without any call by which it would say so.

    dma_reader.py [/dev/semshare-edu | /dev/semshare-paged] [PAGES]

The device is QEMU's `edu` (module semshare_edu), or a timer in its place (module semshare_paged). Prints a line for
each page, and at the end what was lost.
"""

from __future__ import annotations

import fcntl
import os
import sys

from semshare._abi import ffi, lib

import semshare


def main(device: str = "/dev/semshare-edu", pages: int = 5) -> None:
    name = f"dma-{os.getpid()}"
    period_ns = 0 if device == "/dev/semshare-edu" else 1_000_000
    fd = os.open(device, os.O_RDWR)
    with semshare.Ring.create(name, 1 << 16, variant="paged", policy="overwrite", max_payload=1984) as ring:
        start = ffi.new("struct semshare_paged_start *", (ring.area.fileno(), 100, pages, period_ns, 0, 0))
        fcntl.ioctl(fd, lib.SEMSHARE_PAGED_IOC_START, bytes(ffi.buffer(start)))
        taken = 0
        while taken + sum(ring.state().drops.values()) < pages:
            page = ring.get_record(timeout=60)
            assert page.payload == bytes((page.position + i) & 255 for i in range(100)), "a torn page"
            print(f"page {page.position}: {len(page.payload)} bytes, {page.payload[:8].hex(' ')} …")
            taken += 1
        lost = ", ".join(f"{count} {cause}" for cause, count in ring.state().drops.items())
        print(f"{taken} pages; {lost}")
        os.close(fd)


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
