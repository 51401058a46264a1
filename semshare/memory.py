# SPDX-License-Identifier: MIT
"""What the memory of an area is, and where it is mapped."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, Union

from semshare._abi import lib
from semshare._native import Mapping
from semshare.errors import AddressTaken, Error, failure

KINDS: dict[str, int] = {
    "pages": lib.SEMSHARE_AREA_PAGES,
    "memfd": lib.SEMSHARE_AREA_MEMFD,
    "sysv": lib.SEMSHARE_AREA_SYSV,
    "contiguous": lib.SEMSHARE_AREA_CONTIGUOUS,
    "reserved": lib.SEMSHARE_AREA_RESERVED,
}

AGREED = "agreed"

Address = Union[int, str, None]


@dataclass(frozen=True)
class Memory:
    """The memory of a new area."""

    kind: str = "pages"
    source: int = 0
    """Of "memfd" a descriptor, of "sysv" the segment's id."""
    huge: bool = False
    dma32: bool = False
    address: int = 0
    """What those who attach it find as the agreed address."""
    guard: int = 0
    """So many bytes at the start are written by the maker's handle alone."""

    @property
    def flags(self) -> int:
        """SEMSHARE_MAKE_*."""
        return (lib.SEMSHARE_MAKE_HUGE if self.huge else 0) | (lib.SEMSHARE_MAKE_DMA32 if self.dma32 else 0)


@dataclass(frozen=True)
class Placement:
    """How one process maps an area."""

    address: Address = None
    prefault: bool = False

    def at(self, agreed: int) -> int:
        """The address to map at, 0: anywhere. `agreed` is what the area says."""
        if self.address == AGREED:
            return agreed
        return self.address if isinstance(self.address, int) else 0


ANYWHERE = Placement()


def kind_of(number: int) -> str:
    """The name of an enum semshare_area_kind."""
    return next((name for name, each in KINDS.items() if each == number), f"kind {number}")


def check_address(name: str, address: Address) -> None:
    """Raise ValueError if that cannot be an address to map at."""
    if address is None or address == AGREED:
        return
    if not isinstance(address, int) or isinstance(address, bool):
        raise ValueError(f"area {name!r}: address {address!r}; give a number, {AGREED!r}, or None for anywhere")
    if address <= 0 or address % mmap.PAGESIZE or address >= 1 << 47:
        raise ValueError(f"area {name!r}: address {address:#x}; give a multiple of {mmap.PAGESIZE} below 1 << 47")


def place(what: str, size: int, address: int, mapper: Callable[[int], Mapping]) -> Mapping:
    """Map an area at an address, 0 for anywhere, or say what is there already.

    Args:
        what: the area, for messages.
        mapper: maps it at an address.
    """
    try:
        return mapper(address)
    except OSError as error:
        code = error.errno or 0
        if not address:
            raise failure(code, what, "map") from error
        there = next(_mapped_in(address, address + size), None)
        # shmat() says EINVAL of an address that is taken.
        if there is not None and code in (errno.EEXIST, errno.EINVAL):
            raise AddressTaken(
                errno.EEXIST,
                f"{what}: map at {address:#x}: this process has something there already: {there}; map it elsewhere "
                "(address=None), if nobody uses pointers in it, or agree on another address (cat /proc/self/maps)",
            ) from error
        if code in (errno.EPERM, errno.ENOMEM, errno.EINVAL):
            raise Error(
                code,
                f"{what}: map {size} bytes at {address:#x}: this process cannot have memory there "
                f"({error.strerror}); agree on another address, such as 0x100000000000",
            ) from error
        raise failure(code, what, f"map at {address:#x}") from error


def _mapped_in(first: int, end: int) -> Iterator[str]:
    """What this process has mapped between two addresses, as /proc/self/maps says it."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="backslashreplace") as table:
            for line in table:
                span, _, rest = line.rstrip().partition(" ")
                start, _, stop = span.partition("-")
                if int(start, 16) < end and int(stop, 16) > first:
                    name = rest.split(maxsplit=4)[4:] or ["memory without a name"]
                    yield f"{span} {name[0]}"
    except OSError:
        return
