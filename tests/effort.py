# SPDX-License-Identifier: MIT
"""How long the tests go on that could go on for ever: SEMSHARE_EFFORT, 1 unless told."""

import os

EFFORT = float(os.environ.get("SEMSHARE_EFFORT", "1"))


def scaled(number, least=1):
    """That many, times the effort."""
    return max(least, round(number * EFFORT))
