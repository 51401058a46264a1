#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Asks the kernel module beside it for sums: python3 ask_sums.py [NUMBER…]"""

from __future__ import annotations

import struct
import sys

import semshare

AREA = "sums"
ADD = 1


def pack(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}q", *numbers)


def main(numbers: list[int]) -> None:
    try:
        channel = semshare.Channel.attach(AREA)
    except FileNotFoundError:
        sys.exit(f"there is no channel {AREA!r}. As root: insmod semshare_sums.ko")
    with channel:
        (total,) = struct.unpack("=q", channel.call(ADD, pack(*numbers), timeout=5.0))
        print(" + ".join(map(str, numbers)), "=", total)

        # Many at a time: the kernel answers while we ask.
        pending = [channel.submit(ADD, pack(number, number), timeout=5.0) for number in range(100)]
        print("twice each to 99:", sum(struct.unpack("=q", each.result())[0] for each in pending))

        # What the module's table does not have is refused before its code is called.
        for opcode, payload in ((99, b""), (ADD, b"no"), (ADD, pack(1 << 62, 1 << 62))):
            try:
                channel.call(opcode, payload, timeout=5.0)
            except semshare.Error as error:
                print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [1, 2, 3])
