# SPDX-License-Identifier: MIT
"""Each algorithm under ThreadSanitizer, whole and with one barrier taken out, and under AddressSanitizer and UBSan.

The programs are in tests/host/c: rings.c, which drives every variant of the ring by its operations, mpsc.c, in which
producers are given up, bell.c and channel.c; parameters.c has a test beside those of the parameters. What they are run
with is in tests/core_programs.py.

ThreadSanitizer follows who has synchronised with whom through acquire and release, and reports a plain access (of the
bytes of a record, or of what was done before it was put) that nothing orders after another thread's. It knows no
fences: in its build a full barrier changes a word that all of them change, which orders at least as much. Nor does it
see that one atomic word is read older than another: the litmus tests and the models beside this file have what those
are for.

Where the oldest record is overwritten without a lock its bytes are copied while they are written, on purpose. They are
atomic words in the build for that (SEMSHARE_RACING_COPIES), so what is seen there are the programs' own checks: that
nothing torn is taken, and nothing that was not counted is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from barriers import CORE, functions
from compiler import NEEDED
from core_programs import RACING, RUNS, SOURCES, arguments_of, build, check_output, program_of

#: ThreadSanitizer wants its shadow where kernels that randomise much may put a library.
FIXED = [setarch, "-R"] if (setarch := shutil.which("setarch")) else []

pytestmark = NEEDED

# What stands in the place of a cmpxchg: one without order, and one that is two accesses, between which others come.
RELAXED = "__atomic_compare_exchange_n((p), (o), (n), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)"
SPLIT = "(semshare_load(p) == *(o) ? (sched_yield(), semshare_store((p), (n)), 1) : 0)"

# What the compiler copies by itself ThreadSanitizer does not see: no built-in functions.
THREAD = ["-O1", "-fsanitize=thread", "-fno-builtin"]
ADDRESS = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
MUTANT = ["-include", "sched.h", f"-Drelaxed_try_cmpxchg(p,o,n)={RELAXED}", f"-Dsplit_try_cmpxchg(p,o,n)={SPLIT}"]

RACE, CHECK = "WARNING: ThreadSanitizer: data race", r"^[^\n]*\.c:\d+: "

# A barrier, and what stands there in its place.
ACQUIRE = ("semshare_load_acquire(", "semshare_load(")
RELEASE = ("semshare_store_release(", "semshare_store(")
ORDER = ("semshare_try_cmpxchg(", "relaxed_try_cmpxchg(")
ATOMIC = ("semshare_try_cmpxchg(", "split_try_cmpxchg(")
FENCE = ("semshare_full_barrier()", "(void)0")
PLAIN = ("semshare_store(", "semshare_plain_store(")


def of(barrier: tuple[str, str], what: str) -> tuple[str, str]:
    """One of several in the function."""
    return barrier[0] + what, barrier[1] + what


#: Run, file, function, barrier in it, who tells that it is missing: edges by which a record's bytes are handed over.
BREAKS = [
    # Their barrier is the lock.
    ("sysv-wait", "rings.c", "enter", ("pthread_mutex_lock(&mutex);", ""), f"{RACE}|{CHECK}"),
    ("robust-wait", "robust.h", "semshare_robust_enter", ("pthread_mutex_trylock(mutex)", "0"), f"{RACE}|{CHECK}"),
    ("spsc-wait", "spsc.h", "semshare_spsc_publish", RELEASE, RACE),
    ("spsc-wait", "spsc.h", "semshare_spsc_look", ACQUIRE, RACE),
    ("spsc-wait", "spsc.h", "semshare_spsc_consume", RELEASE, RACE),
    ("spsc-wait", "spsc.h", "semshare_spsc_reserve", ACQUIRE, RACE),
    ("spsc-overwrite", "spsc.h", "semshare_spsc_publish", RELEASE, RACE),
    ("spsc-overwrite", "spsc.h", "semshare_spsc_look", ACQUIRE, RACE),
    ("spsc-overwrite", "spsc.h", "semshare_spsc_overwrite", ATOMIC, CHECK),
    ("spsc-overwrite", "spsc.h", "semshare_spsc_take", ATOMIC, CHECK),
    ("mpsc-wait", "mpsc.h", "semshare_mpsc_commit", ORDER, RACE),
    ("mpsc-wait", "mpsc.h", "semshare_mpsc_peek", ACQUIRE, RACE),
    ("mpsc-wait", "mpsc.h", "semshare_mpsc_consume", RELEASE, RACE),
    ("mpsc-wait", "mpsc.h", "semshare_mpsc_reserve", of(ACQUIRE, "&words->head"), RACE),
    # A late producer's release is not among them: what it does next orders it, in mpsc.c, as well.
    ("lanes-wait", "spsc.h", "semshare_spsc_publish", RELEASE, RACE),
    ("lanes-wait", "spsc.h", "semshare_spsc_consume", RELEASE, RACE),
    ("lanes-wait", "lanes.h", "semshare_lanes_look_again", ACQUIRE, RACE),
    ("paged-wait", "paged.h", "semshare_paged_close_page", RELEASE, RACE),
    ("paged-wait", "paged.h", "semshare_paged_peek", ACQUIRE, RACE),
    ("paged-wait", "paged.h", "semshare_paged_open_page", FENCE, RACE),
    ("paged-wait", "paged.h", "semshare_paged_read", FENCE, RACE),
    # No barrier, but a word that is loaded while it is stored: it must be stored as a whole.
    ("paged-wait", "paged.h", "semshare_paged_open_page", of(PLAIN, "&page->record"), RACE),
    # Nor this, but what they are for: the look at the first word behind the copy.
    (
        "paged-overwrite",
        "paged.h",
        "semshare_paged_read",
        ("semshare_load(&page->first) != semshare_paged_fence(paged->cursor)", "0"),
        CHECK,
    ),
    # One ring, at the most, for each time that somebody has said he waits.
    ("bell", "bell.h", "semshare_bell_take", ATOMIC, CHECK),
    ("channel", "channel.h", "semshare_channel_begin_answers", RELEASE, RACE),
    ("channel", "channel.h", "semshare_channel_look", of(ACQUIRE, "&view->control->session"), RACE),
    ("channel", "channel.h", "semshare_channel_look", of(ACQUIRE, "&view->queue"), RACE),
    ("channel", "sysv.h", "semshare_sysv_consume", RELEASE, RACE),
]


def racing(name: str) -> list[str]:
    return ["-DSEMSHARE_RACING_COPIES"] if name in RACING else []


def run(program: Path, name: str) -> subprocess.CompletedProcess[str]:
    # A lock that was not taken is given back all the same: not that is to be reported, but what comes of it.
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66 report_mutex_bugs=0"}
    command = [*FIXED, program, *arguments_of(name)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)


def must_pass(program: Path, name: str) -> None:
    done = run(program, name)
    assert done.returncode == 0, done.stdout + done.stderr
    check_output(name, done.stdout)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Builds a program once, by its name and flags."""
    programs: dict[tuple[str, ...], Path] = {}

    def build_once(program: str, *flags: str) -> Path:
        key = (program, *flags)
        if key not in programs:
            programs[key] = build(tmp_path_factory.mktemp(program), program, *flags)
        return programs[key]

    return build_once


@pytest.mark.parametrize("name", RUNS)
def test_nothing_is_lost_torn_or_raced_for(built, name):
    must_pass(built(program_of(name), *THREAD, *racing(name)), name)


@pytest.mark.parametrize("name", RUNS)
def test_no_access_is_out_of_place(built, name):
    must_pass(built(program_of(name), *ADDRESS), name)


def test_every_variant_runs_with_each_of_its_policies():
    variants = re.findall(r"^\t&semshare_ring_(\w+),$", (CORE / "variants.h").read_text(), re.M)
    can = {}
    for name in variants:
        text = "".join((CORE / f"{each}.h").read_text() for each in {name, "variants"} if (CORE / f"{each}.h").exists())
        table = re.search(rf"semshare_ring_variant semshare_ring_{name} = \{{.*?^\}};", text, re.M | re.S)[0]
        can[name] = {each.lower() for each in re.findall(r"1u << SEMSHARE_RING_(\w+)", table)}
    does: dict[str, set[str]] = {}
    for variant, policy in (arguments_of(name)[:2] for name in RUNS if program_of(name) == "rings"):
        does.setdefault(variant, set()).add(policy)
    assert len(can) > 5 and does == can


@pytest.mark.parametrize(
    ("name", "file", "function", "barrier", "told"), BREAKS, ids=["-".join([*each[:3], each[3][0]]) for each in BREAKS]
)
def test_a_barrier_that_is_missing_is_reported(tmp_path, name, file, function, barrier, told):
    program = program_of(name)
    text = (CORE / file if file.endswith(".h") else SOURCES / file).read_text()
    start, end = functions(text)[function]
    assert text.count(barrier[0], start, end) == 1
    copy = tmp_path / ("semshare/core" if file.endswith(".h") else "c")
    copy.mkdir(parents=True)
    (copy / file).write_text(text[:start] + text[start:end].replace(*barrier) + text[end:])
    sources = copy if file.endswith(".c") else SOURCES
    changed = build(tmp_path, program, *THREAD, *MUTANT, *racing(name), "-I", str(tmp_path), sources=sources)
    # What is told may depend on who comes first.
    for _ in range(5):
        done = run(changed, name)
        if done.returncode:
            break
    assert done.returncode in (1, 66), done.stdout + done.stderr
    assert re.search(told, done.stderr, re.M), done.stderr
