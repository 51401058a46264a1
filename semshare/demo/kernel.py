# SPDX-License-Identifier: MIT
"""Kernel threads as parties of the demo: the module semshare_demo and its device."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass

from semshare import LockStatistics, names
from semshare._abi import ffi, lib
from semshare.errors import failure

DEVICE: str = ffi.string(lib.SEMSHARE_DEMO_DEVICE).decode()


@dataclass(frozen=True)
class ThreadStatus:
    """How one kernel thread fares."""

    running: bool
    error: int
    done: int
    lock: LockStatistics
    """Its histogram has an entry for each acquisition, also those that had not to wait."""


class KernelThreads:
    """Threads of the module semshare_demo. They end at stop(), and with the process that holds this."""

    def __init__(self, area_fd: int) -> None:
        self._area_fd = area_fd
        self._fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        self.threads = 0

    def declare(self, name: str, longest: int, *, mode: int = 0o600) -> None:
        """Have the module declare parameters: what put_records() puts from then on can be changed while it runs.

        They are `rate`, records a second of each thread, and `payload`, up to `longest` bytes behind a record's header;
        and the state `produced`, `bytes` and `threads`. See semshare.Parameters.attach(name).
        """
        declare = ffi.new(
            "struct semshare_demo_declare *", {"name": names.padded(name), "payload_max": longest, "mode": mode}
        )
        try:
            fcntl.ioctl(self._fd, lib.SEMSHARE_DEMO_IOC_DECLARE, bytes(ffi.buffer(declare)))
        except OSError as error:
            raise failure(error.errno or 0, f"parameters {name!r} ({DEVICE})", "declare") from error

    def put_records(self, threads: int, first_producer: int, longest: int, count: int, *, unlocked: bool) -> None:
        """Start threads that put `count` records each, or until stop()."""
        self._start(lib.SEMSHARE_DEMO_RECORDS, threads, first_producer, longest, count, 0, unlocked)

    def add_to_counter(self, threads: int, offset: int, count: int, *, unlocked: bool) -> None:
        """Start threads that add 1 to the number at `offset` of the area `count` times each, or until stop()."""
        self._start(lib.SEMSHARE_DEMO_COUNTER, threads, 0, 0, count, offset, unlocked)

    def _start(
        self, mode: int, threads: int, first_producer: int, longest: int, count: int, offset: int, unlocked: bool
    ) -> None:
        start = ffi.new(
            "struct semshare_demo_start *",
            {
                "area_fd": self._area_fd,
                "mode": mode,
                "threads": threads,
                "first_producer": first_producer,
                "flags": lib.SEMSHARE_DEMO_UNLOCKED if unlocked else 0,
                "payload_max": longest,
                "count": count,
                "counter_offset": offset,
            },
        )
        try:
            fcntl.ioctl(self._fd, lib.SEMSHARE_DEMO_IOC_START, bytes(ffi.buffer(start)))
        except OSError as error:
            raise OSError(error.errno, f"{DEVICE}: cannot start {threads} kernel threads: {error.strerror}") from error
        self.threads = threads

    def stop(self) -> None:
        """Stop the threads, and wait until they have ended. Their status stays."""
        fcntl.ioctl(self._fd, lib.SEMSHARE_DEMO_IOC_STOP)

    def status(self) -> list[ThreadStatus]:
        """Of each thread of the last run."""
        found = []
        for index in range(self.threads):
            status = ffi.new("struct semshare_demo_status *", {"index": index})
            buffer = bytearray(ffi.buffer(status))
            try:
                fcntl.ioctl(self._fd, lib.SEMSHARE_DEMO_IOC_STATUS, buffer, True)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    break
                raise
            ffi.buffer(status)[:] = buffer
            found.append(
                ThreadStatus(
                    running=bool(status.running),
                    error=status.error,
                    done=status.done,
                    lock=LockStatistics(status.acquisitions, status.contended, list(status.wait_ns)),
                )
            )
        return found

    def close(self) -> None:
        """Stop what still runs and give the device back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
