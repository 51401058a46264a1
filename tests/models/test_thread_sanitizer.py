# SPDX-License-Identifier: MIT
"""The rings without a lock under ThreadSanitizer: tests/host/c/spsc.c and mpsc.c, whole and with one barrier taken out.

ThreadSanitizer follows who has synchronised with whom through acquire and release, and reports a plain access (of the
bytes of a record) that nothing orders after another thread's. It does not see fences, nor that one atomic word is read
older than another: the litmus tests and the models beside this file have what those are for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from barriers import CORE, INCLUDE, functions

SOURCES = Path(__file__).parents[1] / "host" / "c"
COMPILER = shutil.which("gcc-12") or shutil.which("gcc")
#: ThreadSanitizer wants its shadow where kernels that randomise much may put a library.
FIXED = [setarch, "-R"] if (setarch := shutil.which("setarch")) else []

pytestmark = [
    pytest.mark.skipif(not INCLUDE.exists(), reason="not in a source tree"),
    pytest.mark.skipif(COMPILER is None, reason="no gcc here"),
]

#: Arguments, and words that the output must contain with a number that is not 0: what the run is there for.
RUNS = {
    "spsc": [
        (("20000", "4096", "8", "1"), ("dropped",)),
        (("20000", "65536", "64", "2"), ()),
    ],
    "mpsc": [
        (("3", "8000", "4", "0", "1"), ("refused",)),
        (("3", "3000", "4", "8", "2"), ("lost", "dead", "abandoned")),
        (("2", "8000", "64", "50", "3"), ("abandoned",)),
    ],
}

RELAXED = "__atomic_compare_exchange_n((p), (o), (n), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)"
#: Function, barrier in it, what stands there in its place: every edge by which a record's bytes are handed over.
BREAKS = {
    "spsc": [
        ("semshare_spsc_publish", "semshare_store_release(", "semshare_store("),
        ("semshare_spsc_peek", "semshare_load_acquire(", "semshare_load("),
        ("semshare_spsc_consume", "semshare_store_release(", "semshare_store("),
        ("semshare_spsc_reserve", "semshare_load_acquire(", "semshare_load("),
    ],
    "mpsc": [
        ("semshare_mpsc_commit", "semshare_try_cmpxchg(", "relaxed_try_cmpxchg("),
        ("semshare_mpsc_peek", "semshare_load_acquire(", "semshare_load("),
        ("semshare_mpsc_consume", "semshare_store_release(", "semshare_store("),
        ("semshare_mpsc_reserve", "semshare_load_acquire(&words->head", "semshare_load(&words->head"),
        # A late producer's release is not among them: what it does next orders it, in this program, as well.
    ],
}


def build(folder: Path, algorithm: str, first: Path | None = None) -> Path:
    program = folder / algorithm
    command = [
        *(str(COMPILER), "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-fsanitize=thread"),
        # What the compiler copies by itself ThreadSanitizer does not see.
        "-fno-builtin",
        *(["-I", str(first)] if first else []),
        *("-I", str(INCLUDE), "-I", str(INCLUDE / "uapi"), f"-Drelaxed_try_cmpxchg(p,o,n)={RELAXED}"),
        *("-o", str(program), str(SOURCES / f"{algorithm}.c")),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def run(program: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66"}
    return subprocess.run([*FIXED, program, *arguments], capture_output=True, text=True, env=environment, timeout=200)


@pytest.fixture(scope="module", params=RUNS)
def algorithm(request, tmp_path_factory):
    return request.param, build(tmp_path_factory.mktemp(request.param), request.param)


def test_nothing_is_lost_torn_or_raced_for(algorithm):
    name, program = algorithm
    for arguments, wanted in RUNS[name]:
        done = run(program, arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        words = done.stdout.split()
        counts = dict(zip(words[::2], map(int, words[1::2])))
        assert [word for word in wanted if not counts[word]] == [], f"the run met none of these: {done.stdout}"


@pytest.mark.parametrize(
    ("name", "function", "barrier", "instead"),
    [(name, *each) for name, breaks in BREAKS.items() for each in breaks],
    ids=lambda each: each.rstrip("("),
)
def test_a_barrier_that_is_missing_is_reported(tmp_path, name, function, barrier, instead):
    text = (CORE / f"{name}.h").read_text()
    start, end = functions(text)[function]
    assert text.count(barrier, start, end) == 1
    copy = tmp_path / "semshare" / "core"
    copy.mkdir(parents=True)
    (copy / f"{name}.h").write_text(text[:start] + text[start:end].replace(barrier, instead) + text[end:])
    program = build(tmp_path, name, first=tmp_path)
    for arguments, _ in RUNS[name]:
        done = run(program, arguments)
        if done.returncode:
            break
    assert done.returncode == 66, done.stdout + done.stderr
    assert "WARNING: ThreadSanitizer: data race" in done.stderr
