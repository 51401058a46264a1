#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints who makes processes, as the kernel module beside it tells: python3 count_forks.py [COUNT]"""

from __future__ import annotations

import os
import struct
import sys

import semshare

FORK = struct.Struct("=I16s")


def main(count: int) -> None:
    # Nobody waits in a kprobe: what finds no space is refused, and counted.
    with semshare.Ring.create("forks", 1 << 16, variant="mpsc", policy="refuse", max_payload=64) as ring:
        print("the ring is there. Now, as root: insmod semshare_forks.ko area=forks", flush=True)
        seen = 0
        while seen < count:
            # In case nobody else does.
            if os.fork() == 0:
                os._exit(0)
            os.wait()
            for record in ring.get_records(count - seen, timeout=0.1):
                pid, name = FORK.unpack(record.payload)
                who = "this program" if pid == os.getpid() else name.rstrip(b"\0").decode(errors="replace")
                print(f"{record.sequence}: {who} made a process")
                seen += 1
        print(f"{ring.state().drops['refused']} had no space")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
