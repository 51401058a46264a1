# SPDX-License-Identifier: MIT
"""What the rings without a lock are measured against: pyzmq, faster-fifo, and memcpy."""

from __future__ import annotations

import mmap
import tempfile
import time
from typing import Any

import faster_fifo
import zmq

from .measure import run_parties


def use_zmq(barrier: Any, role: str, address: str, count: int, message: bytes) -> float:
    """One party; returns the seconds from the common start to its end."""
    with zmq.Context() as context, context.socket(zmq.PUSH if role == "producer" else zmq.PULL) as socket:
        # As many on the way as a ring of the benchmarks holds, rather than pyzmq's 1000.
        socket.set_hwm(10_000)
        if role == "producer":
            socket.connect(address)
        else:
            socket.bind(address)
        barrier.wait()
        start = time.perf_counter()
        if role == "producer":
            send = socket.send
            for _ in range(count):
                send(message)
        else:
            receive = socket.recv
            for _ in range(count):
                receive()
        return time.perf_counter() - start


def zmq_rate(producers: int, total: int, message: bytes) -> float:
    """Messages a second through PUSH and PULL over ipc."""
    with tempfile.TemporaryDirectory(prefix="semshare-bench-") as folder:
        address = f"ipc://{folder}/socket"
        each = total // producers
        arguments: list[tuple[Any, ...]] = [("producer", address, each, message)] * producers
        arguments.append(("consumer", address, each * producers, message))
        return each * producers / run_parties(use_zmq, arguments)[-1]


def use_fifo(barrier: Any, role: str, queue: faster_fifo.Queue, count: int, batch: int, message: bytes) -> float:
    """One party; returns the seconds from the common start to its end."""
    barrier.wait()
    start = time.perf_counter()
    if role == "producer":
        messages = [message] * batch
        for _ in range(count // batch):
            queue.put_many(messages, timeout=60)
    else:
        while count > 0:
            count -= len(queue.get_many(max_messages_to_get=batch, timeout=60))
    return time.perf_counter() - start


def fifo_rate(producers: int, total: int, batch: int, message: bytes, size: int) -> float:
    """Messages a second through faster-fifo, without pickling: its queue is of bytes, as a ring is."""
    queue = faster_fifo.Queue(max_size_bytes=size, loads=bytes, dumps=bytes)
    try:
        each = total // producers // batch * batch
        arguments: list[tuple[Any, ...]] = [("producer", queue, each, batch, message)] * producers
        arguments.append(("consumer", queue, each * producers, batch, message))
        return each * producers / run_parties(use_fifo, arguments)[-1]
    finally:
        queue.close()


def memcpy_rate(size: int, total: int, room: int) -> float:
    """Bytes a second that one process copies, each time to the next place of as much memory as a ring has."""
    source = bytes(range(256)) * (size // 256)
    with mmap.mmap(-1, room) as memory, memoryview(memory) as target:
        for at in range(0, room, size):
            target[at : at + size] = source
        start = time.perf_counter()
        for number in range(total):
            at = number * size % room
            target[at : at + size] = source
        return total * size / (time.perf_counter() - start)
