# SPDX-License-Identifier: MIT
"""Asks what are no locks what the comparison asks locks: one that everybody has at once, and one that nobody gets.

Prints what was seen, as JSON. Run with the folder of bench in PYTHONPATH.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext

from bench import compare, peers, probes

HANGS = 0.5


class Everybodys(peers.Peer):
    """Taken by all who want it."""

    title = "everybody's"
    module = "bench"

    def attach(self):
        return nullcontext()

    def acquire(self, raw, timeout):
        return True

    def release(self, raw):
        pass

    def reentrant(self):
        return self.handle(self.attach())

    def readers_writers(self):
        return self.reentrant(), self.reentrant()

    def several(self, count):
        return self.reentrant(), [self.reentrant() for _ in range(count)]

    def aio(self):
        return nullcontext()


class Nobodys(Everybodys):
    """Not to be had."""

    title = "nobody's"

    def acquire(self, raw, timeout):
        while True:
            time.sleep(1)


def main() -> None:
    probes.limits.hangs = HANGS
    compare.patience = lambda: HANGS
    rows = [title for title, _ in probes.PROBES]
    json.dump(compare.compare([Everybodys, Nobodys], rows, lambda line: print(line, file=sys.stderr)), sys.stdout)


if __name__ == "__main__":
    main()
