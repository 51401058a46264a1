# SPDX-License-Identifier: MIT
"""Arguments that several classes take, checked: each error names the argument and says what it may be."""

from __future__ import annotations

import errno
import operator
from typing import Any

from semshare.errors import BadKey, BadValue


def whole(what: str, value: Any) -> int:
    """`value` as an int. True and False are none: they are an argument that stands in another's place.

    Raises:
        TypeError: it is no whole number; `what` is the argument's name.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} is an int, not {type(value).__name__}: {value!r}") from None


def key(value: Any) -> int:
    """A set's key, 1 to 0xffffffff.

    Raises:
        BadKey: it is 0, which is IPC_PRIVATE, or does not fit into 32 bits.
    """
    number = whole("key", value)
    if number == 0:
        raise BadKey(
            errno.EINVAL, "key 0 is IPC_PRIVATE, which names nothing that others could open; give 1 to 0xffffffff"
        )
    if not 0 < number < 1 << 32:
        raise BadKey(
            errno.ERANGE,
            f"key {number:#x}: a key has 32 bits and no sign; give 1 to 0xffffffff, or a name (semshare.key_of makes "
            "a key of one)",
        )
    return number


def semid(value: Any) -> int:
    """A set's id, 0 to 0x7fffffff."""
    return between("semid", value, 0, 0x7FFFFFFF, "ipcs -s and semshare ls show those that there are")


def mode(value: Any, kept: int = 0o666) -> int:
    """Permission bits of a set, as of a file. Execution means nothing to a set, and those bits are left out."""
    number = whole("mode", value)
    if not 0 <= number <= 0o777:
        raise BadValue(errno.ERANGE, f"mode {number:#o}: permission bits are 0 to 0o777; give 0o600 or 0o660, say")
    return number & kept


def between(what: str, value: Any, low: int, high: int, advice: str = "give one of these") -> int:
    """A number within limits, both included.

    Raises:
        BadValue: it is not.
    """
    number = whole(what, value)
    if not low <= number <= high:
        raise BadValue(errno.ERANGE, f"{what} {number}: it is {low} to {high}; {advice}")
    return number


def seconds(what: str, value: Any, least: float = 0) -> float:
    """A time to wait at most, 0 or more.

    Args:
        least: -math.inf takes a time before now for 0, as threading's classes do that wait for something.

    Raises:
        TypeError: it is no number; `what` is the argument's name.
        ValueError: it is less than 0, or not a number (NaN).
    """
    number = any_seconds(what, value)
    if not number >= least:
        raise ValueError(f"{what} {number}: give 0 seconds or more, or None to wait without limit")
    return max(number, 0.0)


def any_seconds(what: str, value: Any) -> float:
    """A number of seconds, whatever it is.

    Raises:
        TypeError: it is no number; `what` is the argument's name.
    """
    try:
        if isinstance(value, (str, bytes, bytearray)):
            raise TypeError
        return float(value)
    except TypeError:
        raise TypeError(f"{what} is a number of seconds, not {type(value).__name__}: {value!r}") from None
