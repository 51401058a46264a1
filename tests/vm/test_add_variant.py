# SPDX-License-Identifier: MIT
"""docs/how-to/add-a-ring-variant.md: modules with the variant of docs/examples/ring_variant keep the kernel's promises.

vm/variant builds them on the host, and the package beside them, from a copy to which the page's commands added it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import kernel
import pytest
from effort import EFFORT
from pace import SLOW

TREE = Path(__file__).resolve().parents[2] / "build" / "variant"
KERNEL = os.environ.get("SEMSHARE_KERNEL", "")
MODULES = TREE / "build" / f"kmod-{KERNEL}"

#: They would have to be told that its places are counted, and as long as the longest record.
TOLD = "64_kib or wraps_at_every_place"


@pytest.fixture
def loaded(monkeypatch):
    """That module in place of ours, and ours again afterwards."""
    if not (MODULES / "stamp").exists():
        pytest.skip(f"it was not built: vm/variant {KERNEL}")
    with kernel.everything_unloaded():
        with monkeypatch.context() as patch:
            patch.setattr(kernel, "KMOD_DIR", MODULES)
            assert kernel.load("semshare") == 0
        yield


@pytest.mark.skipif(SLOW and EFFORT < 0.25, reason="in short runs other kernels are enough")
@pytest.mark.timeout(2400 if SLOW else 600)
def test_it_keeps_the_promises_in_the_kernel(loaded):
    suite = "tests/vm/test_kernel_ring_variants.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", suite, "-k", f"slots and not ({TOLD})"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(TREE),
        "SEMSHARE_KMOD_DIR": str(MODULES),
        "SEMSHARE_PART": "1/1",
        # What it takes to find what is rare, the variants of the tree itself are given.
        "SEMSHARE_EFFORT": str(EFFORT / 5),
    }
    done = subprocess.run(command, cwd=TREE, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 30, done.stdout
