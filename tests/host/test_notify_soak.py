# SPDX-License-Identifier: MIT
"""No wake-up is lost in a ring in POSIX shared memory that runs empty and fills up again, and few come in vain.

Nobody looks again by itself here. With SEMSHARE_EFFORT=30 it runs empty more than a million times in all.
"""

from __future__ import annotations

import pytest
from effort import EFFORT
from soak import NEVER, AtDescriptor, InCall, putting, soak

from semshare import Ring
from semshare.ring import VARIANTS

WANTED = max(500, round(3100 * EFFORT))
LIMIT = 20.0


@pytest.mark.parametrize("way", ["fifo", "call"])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_no_wakeup_is_lost_in_a_soak(name, variant, way):
    if (variant, way) == ("paged", "call"):
        pytest.skip("who waits in a call looks every millisecond, told or not: devices wake nobody")
    producers = 1 if VARIANTS[variant].producers == 1 else 2
    with Ring.create(name, 8192, variant=variant, max_payload=192 if variant == "paged" else 0) as ring:
        ring._recheck(NEVER)
        taking = AtDescriptor(ring.fileno(), LIMIT) if way == "fifo" else InCall(LIMIT)
        soak(ring, taking, WANTED, producers, lambda each: putting(name, range(producers), each))
