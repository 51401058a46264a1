# SPDX-License-Identifier: MIT
"""Names, and the SysV keys that belong to them."""

from __future__ import annotations

import errno
import re

from semshare._abi import lib
from semshare.errors import BadName

_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}", re.ASCII)


def check(name: str) -> str:
    """Return `name` if it can be one of an area, a ring or a lock.

    Raises:
        BadName: it cannot.
        TypeError: it is no string.
    """
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, not {type(name).__name__}")
    if _NAME.fullmatch(name) is None:
        most: int = lib.SEMSHARE_NAME_MAX
        shown = repr(name) if len(name) <= 2 * most else f"{name[:most]!r}... ({len(name)} characters)"
        raise BadName(
            errno.ENAMETOOLONG if len(name) > most else errno.EINVAL,
            f"{shown} cannot be a name: choose one of 1 to {most} characters of A-Z, a-z, 0-9, '.', '_' and '-'",
        )
    return name


def key_of(name: str) -> int:
    """The SysV key of a name, 1 to 0x7fffffff: a hash (FNV-1a), so two names may have the same."""
    encoded = check(name).encode("ascii")
    return int(lib.semshare_key(encoded, len(encoded)))


def padded(name: str) -> bytes:
    """A name as it stands in structures: zero-padded to 64 bytes."""
    return check(name).encode("ascii").ljust(lib.SEMSHARE_NAME_SIZE, b"\0")


def text_of(stored: bytes) -> str:
    """A name that another program stored: whatever stands there, up to the first zero, as something printable."""
    return stored.split(b"\0", 1)[0].decode("ascii", errors="backslashreplace")
