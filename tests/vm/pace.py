# SPDX-License-Identifier: MIT
"""How late something may be that has to come soon, in seconds: in an emulated machine, beside others on the same CPUs,
with a kernel that checks each of its steps. What never comes is told by it all the same.

What is promised to take less than a second may take longer there as well, though not each time: soonest() tries again.
"""

import os
import time

SLOW = os.environ.get("SEMSHARE_KERNEL") in ("debug", "kcsan")
SLACK = 40 if SLOW else 10
PROMISED = 1.0
# A P of a ring comes in slices of a second: a stop has to end it, and not wait for the end of its slice.
PART_OF_A_SLICE = 0.5
TRIES = 1 if SLOW else 5


def timed(function):
    """How long it took."""
    began = time.monotonic()
    function()
    return time.monotonic() - began


def soonest(attempt, within=PROMISED):
    """Make the attempt, which answers how long its end took, until one kept the promise.

    On a kernel that checks each of its steps no more than SLACK is asked for.
    """
    took = []
    for _ in range(TRIES):
        took.append(attempt())
        assert took[-1] < SLACK, took
        if took[-1] < within:
            break
    print("ended after", *(f"{seconds:.3f}" for seconds in took), "s")
    assert SLOW or took[-1] < within, took
