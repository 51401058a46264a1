# SPDX-License-Identifier: MIT
"""The protocols of the rings without a lock under the kernel's own memory model: litmus/*.litmus, by herd7.

What each asks for in `exists` must never happen, and no plain access may race. Then each barrier that a litmus test has
from the code, one at a time, is taken out: now one of the two must happen. A barrier is the code's where a comment says
from which function; other lines stand for what the kernel does, and stay.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from barriers import barriers, mutants, named_barriers, plain
from herd import SPLIT, WITHOUT, run

TESTS = sorted((Path(__file__).parent / "litmus").glob("*.litmus"))
CASES = [(path.stem, of, text) for path in TESTS for of, text in mutants(path.read_text(), WITHOUT, SPLIT)]


@pytest.fixture(scope="session")
def verdicts():
    """Of every mutant, all by one run."""
    return run([text for _, _, text in CASES])


def test_what_must_never_happen_never_happens():
    told = run([plain(path.read_text()) for path in TESTS])
    assert {path.stem: each for path, each in zip(TESTS, told)} == {path.stem: ("Never", False) for path in TESTS}


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number][0]}-{CASES[number][1][:60]}")
def test_without_any_one_barrier_it_happens(verdicts, number):
    word, race = verdicts[number]
    assert word == "Sometimes" or race


def test_the_barriers_are_those_of_the_code():
    assert named_barriers(of for _, of, _ in CASES) == barriers(), "mend the litmus tests: the code has changed"
