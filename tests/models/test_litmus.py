# SPDX-License-Identifier: MIT
"""The protocols of the rings without a lock under the kernel's own memory model: litmus/*.litmus, by herd7.

What each asks for in `exists` must never happen, and no plain access may race. Then each barrier that a litmus test has
from the code, one at a time, is taken out: now one of the two must happen. A barrier is the code's where a comment says
from which function; other lines stand for what the kernel does, and stay.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from barriers import TOP, barriers, mutants, named_barriers, plain

HERE = Path(__file__).parent
TESTS = sorted((HERE / "litmus").glob("*.litmus"))

#: What is left of a line without its barrier.
WITHOUT = [
    (r"smp_store_release\((\w+), (\w+)\);", r"WRITE_ONCE(*\1, \2);"),
    (r"smp_load_acquire\((\w+)\);", r"READ_ONCE(*\1);"),
    (r"smp_mb\(\);", r""),
    (r"\bcmpxchg\(", r"cmpxchg_relaxed("),
]
SPLIT = (
    r"(\w+) = cmpxchg_relaxed\((\w+), (\w+), ([^()]+)\);",
    r"\1 = READ_ONCE(*\2); if (\1 == \3) { WRITE_ONCE(*\2, \4); }",
)

CASES = [(path.stem, of, text) for path in TESTS for of, text in mutants(path.read_text(), WITHOUT, SPLIT)]


@pytest.fixture(scope="session")
def herd(tmp_path_factory):
    """Runs litmus tests in one go: for each the word of herd7 on what it asks for, and whether there was a race."""
    place = Path(subprocess.run([TOP / "vm" / "herd"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    folder = tmp_path_factory.mktemp("litmus")

    def run(tests: list[str]) -> list[tuple[str, bool]]:
        paths = [folder / f"{number}.litmus" for number in range(len(tests))]
        for path, text in zip(paths, tests):
            path.write_text(re.sub(r"^C .*", f"C test{path.stem}", text))
        command = [place / "herd7", "-conf", "linux-kernel.cfg", *paths]
        done = subprocess.run(command, capture_output=True, text=True, cwd=place / "memory-model")
        assert done.returncode == 0 and not done.stderr, done.stderr
        told = {}
        for each in re.split(r"^Test ", done.stdout, flags=re.M)[1:]:
            number = re.match(r"test(\d+) ", each)
            word = re.search(r"^Observation \S+ (\w+)", each, re.M)
            assert number and word, each
            told[int(number[1])] = (word[1], "Flag data-race" in each)
        return [told[number] for number in range(len(tests))]

    return run


@pytest.fixture(scope="session")
def verdicts(herd):
    """Of every mutant, all by one run."""
    return herd([text for _, _, text in CASES])


def test_what_must_never_happen_never_happens(herd):
    told = herd([plain(path.read_text()) for path in TESTS])
    assert {path.stem: each for path, each in zip(TESTS, told)} == {path.stem: ("Never", False) for path in TESTS}


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number][0]}-{CASES[number][1][:60]}")
def test_without_any_one_barrier_it_happens(verdicts, number):
    word, race = verdicts[number]
    assert word == "Sometimes" or race


def test_the_barriers_are_those_of_the_code():
    assert named_barriers(of for _, of, _ in CASES) == barriers(), "mend the litmus tests: the code has changed"
