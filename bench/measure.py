# SPDX-License-Identifier: MIT
"""How every number here is taken: rivals in turn, in one run, and the ratio of each pair.

A shared machine drifts: its speed a minute from now says nothing about its speed now. So the two rivals of a
comparison run one right after the other, the order alternating from round to round, and the ratio is formed
within the round. What is reported is the median of the rounds' ratios, with the smallest and the largest.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

ROUNDS = 7

#: Parties are forked: what they share is opened by each of them, or inherited as a multiprocessing object.
context = multiprocessing.get_context("fork")


@dataclass
class Comparison:
    """One row of the report.

    ``ours`` and ``rival`` are the rounds' figures, in ``unit``; ``wanted`` bounds the ratio ours/rival.
    """

    what: str
    against: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    ours: list[float] = field(default_factory=list)
    rival: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.rival)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def wanted(self) -> str:
        return f"≤ {self.at_most}" if self.at_most is not None else f"≥ {self.at_least}"

    @property
    def met(self) -> bool:
        if self.at_most is not None:
            return self.ratio <= self.at_most
        assert self.at_least is not None
        return self.ratio >= self.at_least

    def as_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "against": self.against,
            "unit": self.unit,
            "ratio": self.ratio,
            "ratios": self.ratios,
            "wanted": self.wanted,
            "met": self.met,
            "ours": statistics.median(self.ours),
            "rival": statistics.median(self.rival),
            "notes": self.notes,
        }


def in_turn(ours: Callable[[], float], rival: Callable[[], float], rounds: int) -> tuple[list[float], list[float]]:
    """Run both ``rounds`` times after one round that is not counted; return their figures."""
    figures: tuple[list[float], list[float]] = ([], [])
    for round_ in range(rounds + 1):
        pair = {}
        order: Sequence[int] = (0, 1) if round_ % 2 else (1, 0)
        for which in order:
            pair[which] = (ours, rival)[which]()
        if round_:
            figures[0].append(pair[0])
            figures[1].append(pair[1])
    return figures


def run_parties(party: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], limit: float = 60.0) -> list[Any]:
    """Fork one process for each tuple of arguments, start all at once, and return what each returned.

    Raises:
        RuntimeError: a party failed, or was not done after ``limit`` seconds (all are killed then).
    """
    barrier = context.Barrier(len(arguments))
    pipes = []
    processes = []

    def body(pipe: Any, values: tuple[Any, ...]) -> None:
        pipe.send(party(barrier, *values))

    try:
        for values in arguments:
            receive, send = context.Pipe(duplex=False)
            process = context.Process(target=body, args=(send, values), daemon=True)
            process.start()
            send.close()
            pipes.append(receive)
            processes.append(process)
        results = []
        for pipe in pipes:
            if not pipe.poll(limit):
                raise RuntimeError(f"{party.__name__} was not done after {limit:.0f} s")
            try:
                results.append(pipe.recv())
            except EOFError:
                raise RuntimeError(f"{party.__name__} failed; its traceback stands above") from None
        for process in processes:
            process.join()
        return results
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()
