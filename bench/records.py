# SPDX-License-Identifier: MIT
"""A record from kernel code to Python, in instructions: by a ring, in batches, and by read(), one for each call.

In the virtual machine, on one emulated processor whose clock counts instructions. Both sides are counted together: the
kernel that makes the record and puts it, and the process that has it as bytes. The rival is a character device that is
as cheap as one can be: read() makes the record and copies it, there is no queue that somebody would have to fill.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import instructions
from .instructions import BOOTS, TOP, BenchError
from .measure import Comparison

#: Of the instructions of read() per record.
WANTED = 0.25
BATCH = 64
ROUNDS = 200
VARIANTS = ("spsc", "mpsc")


def count(kernel: str, boot: str, append: str) -> list[Comparison]:
    """Boot once and count.

    Raises:
        BenchError: see there.
    """
    with tempfile.TemporaryDirectory(prefix="semshare-bench-") as name:
        folder = Path(name)
        script = (
            'insmod "$SEMSHARE_KMOD_DIR/semshare_bench.ko" && '
            f'python {TOP / "bench" / "records_guest.py"} {BATCH} {ROUNDS} >"$SEMSHARE_RUN_DIR/records"'
        )
        with instructions.machine(kernel, folder, append, script) as process:
            if process.wait(instructions.BOOT_TIMEOUT):
                raise BenchError(f"vm/run ended with {process.returncode}")
        counted = json.loads((folder / "records").read_text())
    rival = f"a character device, read() per record ({boot})"
    return [
        Comparison(
            f"kernel → Python, {variant}, 64 bytes, get_many of {BATCH}",
            rival,
            "instructions",
            at_most=WANTED,
            ours=counted[variant],
            rival=counted["read"],
        )
        for variant in VARIANTS
    ]


def records(kernel: str) -> Iterator[Comparison]:
    """A row for each variant and boot.

    Raises:
        BenchError: it cannot be done here; the text says why.
    """
    instructions.prepare(kernel)
    for boot, append in BOOTS:
        yield from count(kernel, boot, append)
