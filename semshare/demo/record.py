# SPDX-License-Identifier: MIT
"""The record of the demo: who made it, its number, when, and enough besides to see whether it is whole."""

from __future__ import annotations

import struct
import time
import zlib

from semshare._abi import lib

# struct semshare_demo_record of semshare/demo.h: checksum, producer, sequence, time_ns. A pattern follows.
HEADER = struct.Struct("@IIQQ")
CHECKSUM = struct.Struct("@I")

TYPE: int = lib.SEMSHARE_DEMO_RECORD_TYPE


class Writer:
    """Makes one producer's payloads, `longest` bytes of pattern at most."""

    def __init__(self, producer: int, longest: int) -> None:
        self.producer = producer
        self.longest = longest
        # Any slice that starts in the first 256 bytes and is `longest` long.
        self._pattern = bytes(range(256)) * (longest // 256 + 2)

    def payload(self, sequence: int) -> bytes:
        """The record numbered `sequence`, made now. Its length varies with the number."""
        first = (self.producer + sequence) & 0xFF
        length = (sequence * 37 + self.producer * 11) % (self.longest + 1)
        header = HEADER.pack(0, self.producer, sequence, time.monotonic_ns())
        body = header[CHECKSUM.size :] + self._pattern[first : first + length]
        return CHECKSUM.pack(zlib.crc32(body)) + body


def read(payload: bytes) -> tuple[int, int, bool]:
    """Producer, sequence number, and whether the record is whole: checksum and pattern are what they should be."""
    if len(payload) < HEADER.size:
        return -1, -1, False
    checksum, producer, sequence, _ = HEADER.unpack_from(payload)
    if zlib.crc32(memoryview(payload)[CHECKSUM.size :]) != checksum:
        return producer, sequence, False
    first = (producer + sequence) & 0xFF
    length = len(payload) - HEADER.size
    pattern = _PATTERN if length + 256 <= len(_PATTERN) else bytes(range(256)) * (length // 256 + 2)
    return producer, sequence, payload[HEADER.size :] == pattern[first : first + length]


_PATTERN = bytes(range(256)) * 17
