# SPDX-License-Identifier: MIT
"""The host's tests of what every variant promises, and of records written and read in place, in areas of the module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pace import SLOW

from semshare import Ring, device

HOST = Path(__file__).resolve().parents[1] / "host"
# Without those that try something many times, or tell a time, and the variant of which the module knows nothing: they
# say no more here. An area is the same to all variants, so where each step is checked three of them are enough.
TOO_LONG = "robust or spsc or lanes or " if SLOW else "robust or "
LEFT_OUT = {
    "test_ring_variants.py": f"{TOO_LONG}(wraps and sysv) or each_size or many_records or keep_their_order or "
    "sleeps_through or killed or threads",
    "test_ring_views.py": f"{TOO_LONG}storm or any_order or mebibyte or woken or example",
}


@pytest.mark.parametrize("suite", LEFT_OUT)
def test_what_the_host_tests_say_holds_in_areas_of_the_module(suite):
    with Ring.create(f"backend-{os.getpid()}", size=4096, variant="mpsc") as ring:
        assert device.present() and ring.area.backend == "module"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HOST / suite)]
    done = subprocess.run([*command, "-k", f"not ({LEFT_OUT[suite]})"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and " failed" not in done.stdout
