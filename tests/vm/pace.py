# SPDX-License-Identifier: MIT
"""How late something may be that has to come soon, in seconds: in an emulated machine, beside others on the same CPUs,
with a kernel that checks each of its steps. What never comes is told by it all the same.
"""

import os

SLACK = 40 if os.environ.get("SEMSHARE_KERNEL") in ("debug", "kcsan") else 10
