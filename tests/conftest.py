# SPDX-License-Identifier: MIT
"""What all tests share: names of their own, and the check that nothing of that name is left behind."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import pytest

_numbers = itertools.count()

# Whoever is started with & by a shell without job control ignores ^C, and so do all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _leftovers(name: str) -> list[str]:
    """What the machine still has of a name: areas, sets, segments."""
    from semshare import device, key_of, shm

    found = [path for path in [shm.path_of(name), *shm.bell_paths(name)] if os.path.lexists(path)]
    if device.present() and device.has(name):
        found.append(f"area {name} of the module")
    for kind in ("sem", "shm"):
        for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]:
            key, number = line.split()[:2]
            if int(key) == key_of(name):
                found.append(f"{kind} {number}")
    return found


class Names:
    """Makes names that no other test, and no other run on this machine, has."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self) -> str:
        self.made.append(f"test-{os.getpid()}-{next(_numbers)}")
        return self.made[-1]

    def leftovers(self) -> list[str]:
        return [found for name in self.made for found in _leftovers(name)]


@pytest.fixture
def names():
    """Makes names; fails the test if it leaves anything of them behind."""
    made = Names()
    yield made
    left = made.leftovers()
    assert not left, f"left behind: {left}"


@pytest.fixture
def name(names):
    """One such name."""
    return names()
