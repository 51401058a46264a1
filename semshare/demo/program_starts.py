# SPDX-License-Identifier: MIT
"""The end of the demo: a few commands are started, and the kernel tells of them."""

from __future__ import annotations

import os
import subprocess
import time

from semshare import Error, Ring
from semshare.demo import program_start
from semshare.demo.program_start import ProgramStart

COMMANDS = (("true",), ("uname", "-r"), ("sh", "-c", "exit 0"))

LIMIT = 5.0
"""Seconds for the kernel's worker to put the records into the ring."""

BATCH = 64


def observe() -> tuple[list[ProgramStart] | None, list[str]]:
    """Start COMMANDS and read what the module semshare_exec publishes of them.

    Returns:
        Their records, or None where the module is not loaded; and what went wrong.
    """
    try:
        ring = Ring.attach(program_start.AREA, backend="module")
    except FileNotFoundError:
        return None, []
    except (Error, OSError) as error:
        return None, [f"program starts: {error}"]
    with ring:
        try:
            return _observe(ring)
        except Error as error:
            return [], [f"program starts: {error}"]


def _observe(ring: Ring) -> tuple[list[ProgramStart], list[str]]:
    while _read(ring, 0):  # what was started before
        pass
    began = time.time()
    wanted = {}
    for command in COMMANDS:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wanted[process.pid] = command
        process.wait(LIMIT)
    seen: dict[int, ProgramStart] = {}
    deadline = time.monotonic() + LIMIT
    while len(seen) < len(wanted) and (left := deadline - time.monotonic()) > 0:
        for start in _read(ring, left):
            for pid, command in wanted.items():
                # In a container the kernel's pids are not ours: then the program's name has to do.
                same = start.pid == pid or (start.time >= began - 0.1 and os.path.basename(start.path) == command[0])
                if same and pid not in seen:
                    seen[pid] = start
                    break
    failures = []
    if missing := [" ".join(command) for pid, command in wanted.items() if pid not in seen]:
        failures.append(
            f"program starts: did not see {', '.join(missing)}; does another reader take the records of area "
            f"{program_start.AREA}?"
        )
    return [seen[pid] for pid in wanted if pid in seen], failures


def _read(ring: Ring, timeout: float) -> list[ProgramStart]:
    return [program_start.read(payload) for payload in ring.get_many(BATCH, timeout=timeout)]
