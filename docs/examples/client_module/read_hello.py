#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a ring, and prints the record that the kernel module beside it puts when it is loaded."""

import semshare

with semshare.Ring.create("hello", 1 << 16) as ring:
    print("the ring is there. Now, as root: insmod semshare_hello.ko area=hello", flush=True)
    record = ring.get_record(timeout=600)
    print(f"record {record.sequence}, type {record.type}: {record.payload.decode()}")
