# SPDX-License-Identifier: MIT
"""How long ago something was, for people."""

from __future__ import annotations

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def text(seconds: float) -> str:
    """In the largest unit of which it is two at least: 90 s, 2 min, 47 h, 2 d."""
    for unit, length in _UNITS:
        if seconds >= 2 * length or length == 1:
            return f"{seconds // length:.0f} {unit}"
    raise AssertionError
