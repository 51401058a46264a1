#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Steers the kernel thread of the module beside it: python3 steer_blink.py [INSTANCE]"""

from __future__ import annotations

import sys
import time

import semshare


def main(instance: str) -> None:
    try:
        blink = semshare.Parameters.attach(f"blink.{instance}")
    except FileNotFoundError:
        sys.exit(f"there are no parameters blink.{instance}. As root: insmod semshare_blink.ko instance={instance}")
    with blink:
        print("on_ms may be", blink.limits("on_ms"))
        blink.update(on_ms=2, off_ms=3)  # of one group: the thread sees both or none
        blink["gain"] = 0.5  # one store
        before = blink.state["blinks"]
        while blink.state["blinks"] < before + 10:
            time.sleep(0.01)
        print("it blinked ten times more; brightness is", "0 or 50" if blink.state["brightness"] in (0, 50) else "odd")
        try:
            blink["gain"] = 3.0
        except semshare.OutOfLimits as error:
            print(error)
        try:
            blink.state["blinks"] = 0
        except semshare.Denied as error:
            print(error)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "0")
