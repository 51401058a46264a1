#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Moves money from one account to the other and back, beside the kernel thread of the module that is next to it."""

from __future__ import annotations

import os
import signal
import struct
import time

import semshare

ACCOUNTS = struct.Struct("=qqqQ")  # sum, from, to, repairs
SUM = 1_000_000


def balance(area: semshare.Area) -> tuple[int, int, int, int]:
    return ACCOUNTS.unpack_from(area.buffer)


def transfer(area: semshare.Area, amount: int, *, killed: bool = False) -> None:
    """To be called with the lock. Two stores: who is killed between them leaves half a transfer."""
    total, first, second, repairs = balance(area)
    ACCOUNTS.pack_into(area.buffer, 0, total, first - amount, second, repairs)
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    ACCOUNTS.pack_into(area.buffer, 0, total, first - amount, second + amount, repairs)


def main() -> None:
    with semshare.Area.create("accounts", ACCOUNTS.size, backend="module") as area:
        lock = semshare.Lock("accounts")
        ACCOUNTS.pack_into(area.buffer, 0, SUM, SUM, 0, 0)
        print("the area is there. Now, as root: insmod semshare_transfer.ko name=accounts", flush=True)
        while not balance(area)[2]:
            time.sleep(0.01)
        for _ in range(1000):
            with lock:
                transfer(area, 5)
        with lock:
            total, first, second, _ = balance(area)
        print("it moves money, too, and", "nothing is lost" if first + second == total else "some is lost")

        if os.fork() == 0:
            with semshare.Lock("accounts"):
                transfer(area, 500, killed=True)
        os.wait()
        # The kernel thread is the next who has the lock, is told that its owner died, and sees to it.
        while not balance(area)[3]:
            time.sleep(0.01)
        with lock:
            total, first, second, _ = balance(area)
        print("after a process was killed over it,", "nothing is lost" if first + second == total else "some is lost")
        lock.unlink()


if __name__ == "__main__":
    main()
