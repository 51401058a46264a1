# SPDX-License-Identifier: MIT
"""The code that the models are models of: its functions, and the barriers in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
INCLUDE = TOP / "kmod_semshare" / "include"
CORE = INCLUDE / "semshare" / "core"

#: Where barriers are that a model must have.
FILES = [CORE / "spsc.h", CORE / "mpsc.h", CORE / "variants.h", TOP / "semshare" / "native" / "ring.c"]

#: Acquires that only look at a cursor, to wait a little or not, before the ring is looked at in earnest.
HINTS = {("look", "load_acquire(cursor)"): 2}

BARRIER = re.compile(r"\bsemshare_(?:load_acquire|store_release|try_cmpxchg|full_barrier)\([^,()]*[,)]")


def _blank(text: str) -> str:
    """The text with its comments blanked, every character where it was."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.S)


def functions(text: str) -> dict[str, tuple[int, int]]:
    """Where the body of each function begins and ends, in kernel style: a brace of its own at both ends."""
    pattern = r"^[^\s#{};*][^{};#]*?\b(\w+)\((?:[^(){};]|\([^(){};]*\))*\)\n\{\n.*?^\}"
    return {found[1]: found.span() for found in re.finditer(pattern, _blank(text), re.M | re.S)}


def named_barriers(comments: Iterable[str]) -> Counter[tuple[str, str]]:
    """What a model's comments say that it has: "FUNCTION: BARRIER" or, of one that is there twice, "FUNCTION: BARRIER x2"."""
    found: Counter[tuple[str, str]] = Counter()
    for each in (each for comment in comments for each in comment.split("; ")):
        function, barrier, times = re.fullmatch(r"(\w+): (\w+\([^)]*\))(?: x(\d))?", each).groups()
        found[function, barrier] = max(found[function, barrier], int(times or 1))
    return found


def barriers() -> Counter[tuple[str, str]]:
    """How often each barrier, by its first argument, is in each function of FILES."""
    found: Counter[tuple[str, str]] = Counter()
    for path in FILES:
        text = path.read_text()
        for name, (begin, end) in functions(text).items():
            for each in BARRIER.findall(_blank(text)[begin:end]):
                found[name, each.removeprefix("semshare_")[:-1] + ")"] += 1
    return found - Counter(HINTS)
