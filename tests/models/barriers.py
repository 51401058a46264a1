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

#: What no model has, how often it is there, and why.
NOT_MODELLED = {
    # It only looks at a cursor, to wait a little or not, before the ring is looked at in earnest.
    ("look", "load_acquire(cursor)"): 2,
    # Its order is not needed: it is a cmpxchg so that a hostile party's change of the state is seen.
    ("semshare_mpsc_bury", "try_cmpxchg(&slot->state)"): 1,
}

BARRIER = re.compile(r"\bsemshare_(?:load_acquire|store_release|try_cmpxchg|full_barrier)\([^,()]*[,)]")


def _blank(text: str) -> str:
    """The text with its comments blanked, every character where it was."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.S)


def functions(text: str) -> dict[str, tuple[int, int]]:
    """Where the body of each function begins and ends, in kernel style: a brace of its own at both ends."""
    pattern = r"^[^\s#{};*][^{};#]*?\b(\w+)\((?:[^(){};]|\([^(){};]*\))*\)\n\{\n.*?^\}"
    return {found[1]: found.span() for found in re.finditer(pattern, _blank(text), re.M | re.S)}


#: A line of a model that has a barrier of the code, and of which function, if "atomic" not for the order's sake.
OURS = re.compile(r"^(?P<code>.*;)\s*// (?P<atomic>atomic )?(?P<of>.*)$")


def mutants(text: str, without: list[tuple[str, str]], split: tuple[str, str]) -> list[tuple[str, str]]:
    """(what was taken out, the model without it), for each barrier of a model that is the code's.

    Args:
        without: patterns of barriers, and what is left of each.
        split: the same for a cmpxchg that is to be no longer one.
    """
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        if not (ours := OURS.match(line)):
            continue
        for barrier, instead in [split] if ours["atomic"] else without:
            changed, count = re.subn(barrier, instead, ours["code"])
            if count:
                found.append((ours["of"], plain("\n".join([*lines[:number], changed, *lines[number + 1 :]]))))
                break
        else:
            raise AssertionError(f"no barrier that could be taken out: {line.strip()}")
    return found


def plain(text: str) -> str:
    """A model as its tool reads it: without the comments that are ours."""
    return re.sub(r"[ \t]*// .*$", "", text, flags=re.M) + "\n"


def named_barriers(comments: Iterable[str]) -> Counter[tuple[str, str]]:
    """What a model's comments say that it has: "FUNCTION: BARRIER", or "FUNCTION: BARRIER x2" if it is there twice."""
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
    return found - Counter(NOT_MODELLED)
