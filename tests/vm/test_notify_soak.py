# SPDX-License-Identifier: MIT
"""No wake-up of a ring of the module's is lost, and few come in vain, with producers on both sides.

Two of the kernel, one of them in interrupts where that can be, and two processes put a few records and pause; the
consumer looks, and sleeps where it finds nothing: by poll(), at an eventfd, or in a call. Nobody looks again by itself.
With SEMSHARE_EFFORT=60 the rings run empty more than a million times in all.
"""

import pytest
from abi import insmod, loaded, rmmod
from effort import scaled
from notify_kernel import producers, producers_of
from pace import SLACK
from soak import NEVER, AtDescriptor, InCall, soak

from semshare import Ring

LIMIT = 2 * SLACK
WAYS = {
    "poll": lambda ring: AtDescriptor(ring.area.fileno(), LIMIT),
    "eventfd": lambda ring: AtDescriptor(ring.fileno(), LIMIT),
    "call": lambda ring: InCall(LIMIT),
}


@pytest.fixture(scope="module", autouse=True)
def module():
    if not loaded("semshare_notify_test"):
        insmod("semshare_notify_test")
    yield
    rmmod("semshare_notify_test")


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("variant", ["sysv", "mpsc", "lanes"])
def test_no_wakeup_is_lost_in_a_soak(name, variant, way):
    with Ring.create(name, 8192, variant=variant, backend="module") as ring:
        ring._recheck(NEVER)
        wanted = scaled(2000, least=200)
        soak(ring, WAYS[way](ring), wanted, producers_of(ring), lambda each: producers(ring, each))
