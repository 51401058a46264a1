# SPDX-License-Identifier: MIT
"""One program start, as the module semshare_exec publishes it."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import Any

from semshare._abi import ffi, lib

AREA: str = ffi.string(lib.SEMSHARE_EXEC_AREA).decode()

# struct semshare_exec_record of semshare/exec.h up to `path`: time_ns, missed, pid, parent, uid, path_size, comm. Of
# the path only path_size bytes are in the record.
HEADER = struct.Struct("@QQIIII16s")


@dataclass(frozen=True)
class ProgramStart:
    """Who started what, and when."""

    time: float
    """Seconds since 1970."""
    pid: int
    parent: int
    uid: int
    name: str
    path: str
    missed: int
    """Program starts so far that the module could not hand over."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "time": self.time,
            "pid": self.pid,
            "parent": self.parent,
            "uid": self.uid,
            "name": self.name,
            "path": self.path,
            "missed": self.missed,
        }


def read(payload: bytes) -> ProgramStart:
    """Read one record.

    Raises:
        ValueError: these bytes are no such record.
    """
    if len(payload) < HEADER.size:
        raise ValueError(f"a record of area {AREA} has at least {HEADER.size} bytes, this one {len(payload)}")
    time_ns, missed, pid, parent, uid, path_size, name = HEADER.unpack_from(payload)
    if len(payload) < HEADER.size + path_size:
        raise ValueError(f"a record of area {AREA} says its path has {path_size} bytes, more than there are")
    path = payload[HEADER.size : HEADER.size + path_size]
    # The kernel notes the monotonic clock, which nobody sets; people want the date.
    since_1970 = time.time() - (time.monotonic_ns() - time_ns) / 1e9
    return ProgramStart(
        time=since_1970,
        pid=pid,
        parent=parent,
        uid=uid,
        name=name.split(b"\0", 1)[0].decode(errors="backslashreplace"),
        path=path.decode(errors="backslashreplace"),
        missed=missed,
    )
