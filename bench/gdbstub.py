# SPDX-License-Identifier: MIT
"""A debugger's view of the virtual machine, as far as counting instructions needs it.

QEMU speaks GDB's remote serial protocol (GDB manual, appendix E). While the machine is stopped and goes on by single
steps QEMU holds back interrupts and timers, so that a trace is of the code itself.
"""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType

# Numbers of registers, as GDB counts them on x86-64. Each is 8 bytes up to here.
RSP = 7
RIP = 16


class GdbStub:
    """A connection to QEMU's ``-gdb unix:…``. The machine stops when it is made."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._buffer = b""
        # Connecting stopped the machine, and QEMU may say so (T02) before it is asked (T05).
        self._send("?")
        while not self._receive().startswith("T05"):
            pass

    def __enter__(self) -> GdbStub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("QEMU closed the debugger's connection")
        self._buffer += data

    def _receive(self) -> str:
        while True:
            start = self._buffer.find(b"$")
            end = self._buffer.find(b"#", start)
            if start >= 0 and end >= 0 and len(self._buffer) >= end + 3:
                packet = self._buffer[start + 1 : end]
                self._buffer = self._buffer[end + 3 :]
                self._socket.sendall(b"+")
                return packet.decode("ascii")
            self._more()

    def _send(self, packet: str) -> None:
        self._socket.sendall(f"${packet}#{sum(packet.encode()) & 0xFF:02x}".encode())

    def ask(self, packet: str) -> str:
        """Send a packet and return the answer.

        Raises:
            RuntimeError: QEMU refuses it.
        """
        self._send(packet)
        answer = self._receive()
        if answer.startswith("E"):
            raise RuntimeError(f"QEMU's debugger interface answers {answer} to {packet}")
        return answer

    def break_at(self, address: int) -> None:
        self.ask(f"Z0,{address:x},1")

    def forget(self, address: int) -> None:
        self.ask(f"z0,{address:x},1")

    def resume(self) -> None:
        """Let the machine run until a breakpoint."""
        self.ask("c")

    def step(self) -> None:
        """Execute one instruction."""
        self.ask("s")

    def register(self, number: int) -> int:
        # Only all of them at once: for one QEMU wants to have been asked for its description first.
        return int.from_bytes(bytes.fromhex(self.ask("g")[16 * number : 16 * number + 16]), "little")

    def word(self, address: int) -> int:
        """The 64-bit word at a virtual address."""
        return int.from_bytes(bytes.fromhex(self.ask(f"m{address:x},8")), "little")

    def trace(self, limit: int) -> list[int]:
        """At the entry of a function: step through it and return the address of each instruction executed.

        Raises:
            RuntimeError: it has not returned after ``limit`` instructions.
        """
        end = self.word(self.register(RSP))
        addresses: list[int] = []
        while True:
            at = self.register(RIP)
            if at == end:
                return addresses
            if len(addresses) == limit:
                raise RuntimeError(f"the function has not returned after {limit} instructions")
            addresses.append(at)
            self.step()

    def detach(self) -> None:
        """Let the machine run on without a debugger."""
        self.ask("D")
