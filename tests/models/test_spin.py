# SPDX-License-Identifier: MIT
"""The protocols of the rings without a lock, whole, under a memory that reorders: promela/*.pml, by spin.

Every state that can be reached is visited. Then each barrier that a model has from the code, one at a time, is taken
out: now spin must find how that goes wrong. promela/memory.h says what the memory does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from barriers import barriers, mutants, named_barriers, plain

HERE = Path(__file__).parent / "promela"
MODELS = sorted(HERE.glob("*.pml"))
SPIN, GCC = shutil.which("spin"), shutil.which("gcc")

WITHOUT = [
    (r"\bstore_release\(", "store("),
    (r"\b(early_)?load_acquire\(", "load("),
    (r"\bfull_barrier\(\);", "skip;"),
    (r"\b(late_)?try_cmpxchg\(", r"relaxed_\1try_cmpxchg("),
]
SPLIT = (r"\btry_cmpxchg\(", "split_try_cmpxchg(")

#: Barriers of which no model here can show the need, and why.
UNSEEN = {
    # The head that a new consumer moves on behalf of one that was killed says that the other's stores are there. In
    # this memory what one process sees all do; the kernel's model knows machines where that is not so: mpsc-takeover.
    ("semshare_mpsc_begin", "store_release(&ring->words->head)"): 1,
}

CASES = [(path.stem, of, text) for path in MODELS for of, text in mutants(path.read_text(), WITHOUT, SPLIT)]

pytestmark = pytest.mark.skipif(SPIN is None or GCC is None, reason="no spin here: vm/setup models")


def search(folder: Path, text: str, optimise: str = "-O0") -> tuple[int, str]:
    """(How many errors, what the first was) of a model, all of whose states are searched until there is one."""
    shutil.copy(HERE / "memory.h", folder)
    (folder / "model.pml").write_text(text)
    for command in [
        [str(SPIN), "-a", "model.pml"],
        [str(GCC), optimise, "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"],
        ["./pan", "-m100000", "-w22"],
    ]:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stdout + done.stderr
    errors = re.search(r"errors: (\d+)", done.stdout)
    assert errors and "max search depth too small" not in done.stdout, done.stdout
    first = re.search(r"^pan:1: (.*)", done.stdout, re.M)
    return int(errors[1]), first[1] if first else ""


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_no_state_that_can_be_reached_is_wrong(tmp_path, path):
    assert search(tmp_path, plain(path.read_text()), "-O2") == (0, "")


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: f"{CASES[number][0]}-{CASES[number][1][:60]}")
def test_without_any_one_barrier_one_is(tmp_path, number):
    errors, first = search(tmp_path, CASES[number][2])
    assert errors == 1
    assert first.startswith(("assertion violated", "invalid end state"))


def test_the_barriers_are_those_of_the_code():
    named = named_barriers(of for _, of, _ in CASES)
    assert named == barriers() - Counter(UNSEEN), "mend the models: the code has changed"
