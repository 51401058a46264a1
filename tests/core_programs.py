# SPDX-License-Identifier: MIT
"""The programs in host/c that run the algorithms of semshare/core between threads, and what they are run with."""

from __future__ import annotations

from pathlib import Path

from compiler import COMPILER, compile_c

SOURCES = Path(__file__).parent / "host" / "c"

#: Program and arguments; words that the output must have with a number that is not 0: what the run is there for.
RUNS = {
    # VARIANT POLICY PRODUCERS RECORDS CAPACITY PAYLOAD BATCH WAIT SEED
    "sysv-wait": ("rings sysv wait 2 8000 4096 0 8 yield 1", ""),
    "sysv-refuse": ("rings sysv refuse 2 20000 4096 0 8 yield 2", "refused"),
    "sysv-overwrite": ("rings sysv overwrite 2 8000 4096 0 8 yield 3", "overwritten"),
    "sysv-bell": ("rings sysv wait 3 3000 4096 0 4 bell 4", "data-rings space-rings"),
    "robust-wait": ("rings robust wait 2 8000 4096 0 8 yield 1", ""),
    "robust-refuse": ("rings robust refuse 2 20000 4096 0 8 yield 2", "refused"),
    "robust-overwrite": ("rings robust overwrite 2 8000 4096 0 8 yield 3", "overwritten"),
    "spsc-wait": ("rings spsc wait 1 20000 4096 0 8 yield 1", ""),
    "spsc-wide": ("rings spsc wait 1 10000 65536 0 64 yield 2", ""),
    "spsc-refuse": ("rings spsc refuse 1 40000 4096 0 8 yield 3", "refused"),
    "spsc-overwrite": ("rings spsc overwrite 1 20000 4096 0 8 yield 4", "taken overwritten"),
    "spsc-bell": ("rings spsc wait 1 5000 4096 0 4 bell 5", "data-rings space-rings"),
    "mpsc-wait": ("rings mpsc wait 3 8000 4096 192 4 yield 1", "cancelled"),
    "mpsc-refuse": ("rings mpsc refuse 3 20000 4096 192 4 yield 2", "refused"),
    "mpsc-bell": ("rings mpsc wait 3 5000 4096 192 4 bell 3", "data-rings space-rings"),
    # PRODUCERS RECORDS SLOTS STALLS SEED
    "mpsc-full": ("mpsc 3 8000 4 0 1", "refused"),
    "mpsc-given-up": ("mpsc 3 3000 4 8 2", "lost dead abandoned"),
    "mpsc-slow": ("mpsc 2 8000 64 50 3", "abandoned"),
    "lanes-wait": ("rings lanes wait 3 8000 4096 100 4 yield 1", ""),
    "lanes-refuse": ("rings lanes refuse 3 20000 4096 100 4 yield 2", "refused"),
    "lanes-bell": ("rings lanes wait 3 4000 4096 100 4 bell 3", "data-rings space-rings"),
    "paged-wait": ("rings paged wait 1 20000 4096 64 8 yield 1", ""),
    "paged-refuse": ("rings paged refuse 1 40000 4096 64 8 yield 2", "refused"),
    "paged-overwrite": ("rings paged overwrite 1 10000 16384 4032 8 yield 3", "taken overwritten"),
    "paged-bell": ("rings paged wait 1 5000 4096 64 4 bell 4", "data-rings space-rings"),
    # RINGERS ROUNDS
    "bell": ("bell 3 20000", "rings"),
    # COMMANDS DEPTH SEED
    "channel": ("channel 10000 4 1", "answered withdrawn lost sessions-seen"),
}

#: Of the lock-free variants that overwrite, where bytes are copied that may be written meanwhile.
RACING = {"spsc-overwrite", "paged-overwrite"}


def build(folder: Path, name: str, *flags: str, compiler: str | None = COMPILER, sources: Path = SOURCES) -> Path:
    """Compile one of the programs, or a copy of it. Headers in a folder that a flag names come before the project's."""
    flags = (*flags, "-pthread", "-I", str(SOURCES))
    return compile_c(folder / name, sources / f"{name}.c", *flags, compiler=compiler)


def program_of(name: str) -> str:
    return RUNS[name][0].split()[0]


def arguments_of(name: str) -> list[str]:
    return RUNS[name][0].split()[1:]


def check_output(name: str, told: str) -> None:
    """What a program says that it counted."""
    words = told.split()
    counts = dict(zip(words[::2], map(int, words[1::2])))
    assert [word for word in RUNS[name][1].split() if not counts[word]] == [], f"the run met none of these: {told}"
