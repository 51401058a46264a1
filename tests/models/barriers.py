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

#: Where barriers are that a model must have: everywhere, but for samples and tests, and where they are defined.
FILES = [
    path
    for pattern in ("kmod_semshare/include/semshare/core/*.h", "kmod_semshare/*.c", "semshare/native/*.c")
    for path in sorted(TOP.glob(pattern))
    if path.name != "platform.h"
]

#: What no model has, how often it is there, and why.
NOT_MODELLED = {
    # They only look, at a cursor or an epoch: to wait a little or not before the real look, or to show what they see.
    ("semshare_ring_sysv_other", "load_acquire(word)"): 1,
    ("semshare_ring_spsc_other", "load_acquire(word)"): 1,
    ("semshare_ring_mpsc_other", "load_acquire(word)"): 1,
    ("semshare_lanes_other", "load_acquire(&semshare_lanes_words(&port->view, port->lane)->head)"): 1,
    ("semshare_lanes_other", "load_acquire(&semshare_lanes_words(&port->view, i)->tail)"): 1,
    ("semshare_paged_other", "load_acquire(&paged->words->head)"): 1,
    ("semshare_paged_other", "load_acquire(semshare_paged_last(paged, paged->cursor))"): 1,
    ("is_empty", "load_acquire(&control->tail)"): 1,
    # So does who polls: what it says is a hint, and who comes for a record loads all of this again.
    ("semshare_mpsc_is_worth_a_look", "load_acquire(&ring->words->tail)"): 1,
    ("semshare_mpsc_is_worth_a_look", "load_acquire(&semshare_mpsc_slot(ring, at)->state)"): 1,
    ("semshare_paged_is_there", "load_acquire(last)"): 1,
    ("semshare_paged_is_behind", "load_acquire(semshare_paged_last(paged, before))"): 1,
    ("semshare_paged_ready", "load_acquire(&paged->words->head)"): 1,
    ("look", "load_acquire(&mutex->state->epoch)"): 1,
    ("mutex_words", "load_acquire(&state->epoch)"): 1,
    # Its order is not needed: the full barrier before it has it. It is a cmpxchg so that one of several does it.
    ("semshare_ring_tell_broken", "try_cmpxchg(&control->state)"): 1,
    ("semshare_channel_tell_broken", "try_cmpxchg(&control->state)"): 1,
    # Nor here: it is a cmpxchg so that a hostile party's change of the state is seen.
    ("semshare_mpsc_bury", "try_cmpxchg(&slot->state)"): 1,
    # A commit that publishes nothing, and a counter. tests/host/c/mpsc.c has them under ThreadSanitizer.
    ("semshare_mpsc_cancel", "try_cmpxchg(&reservation->slot->state)"): 1,
    ("semshare_mpsc_cancel", "try_cmpxchg(cancelled)"): 1,
    # A mutex of the C library's orders what is inside, and the futex its wake-ups: it is so that one takes each.
    ("semshare_robust_sleep", "try_cmpxchg(word)"): 1,
    # The kernel's lock of the semaphore orders owners. These are for one who is killed, who leaves what comes first in
    # the program, and for who looks without the lock: tests/host/test_kill_at_every_instruction.py.
    ("semshare_sysv_publish", "store_release(&control->tail)"): 1,
    ("semshare_sysv_overwrite", "store_release(&view->control->head)"): 1,
    ("semshare_lock_enter", "store_release(&state->owner_start)"): 1,
    ("semshare_lock_leave", "store_release(&state->epoch)"): 1,
    ("semshare_lock_doubt", "store_release(&state->suspect)"): 1,
    # A writer who died was ordered before all who read by the kernel's lock of the set. It is a cmpxchg so that one of
    # the readers counts the death.
    ("semshare_lock_enter_shared", "load_acquire(&state->epoch)"): 1,
    ("semshare_lock_enter_shared", "try_cmpxchg(&state->epoch)"): 1,
    # So does it order those who have the lock by one handle: what was taken comes before its holder is written.
    ("semshare_mutex_give", "smp_store_release(&mutex->holder)"): 1,
    ("multi_give", "smp_store_release(&multi->holder)"): 1,
    # Places are written by the owner of the lock. These, too, are for one who is killed, and for who looks without it:
    # waiters are killed at any time in tests/host/test_condition.py and test_barrier.py.
    ("semshare_place_enter", "store_release(&waiter->state)"): 1,
    ("semshare_place_clear", "store_release(&port->places->waiters[place].state)"): 1,
    ("semshare_condition_mark", "store_release(&places->waiters[place].state)"): 1,
    ("semshare_condition_woken", "load_acquire(&places->waiters[place].state)"): 1,
    ("semshare_barrier_waiting", "load_acquire(&port->places->generation)"): 1,
    # One word, which the first decides.
    ("semshare_condition_guard", "try_cmpxchg(&places->guard)"): 1,
}

BARRIER = re.compile(
    r"\b(?:semshare_(?:load_acquire|store_release|try_cmpxchg|full_barrier)"
    r"|smp_(?:[rw]?mb|mb__\w+|store_mb|store_release|load_acquire|cond_load_acquire))\("
)


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
        function, barrier, times = re.fullmatch(r"(\w+): (\w+\(.*\))(?: x(\d))?", each).groups()
        found[function, barrier] = max(found[function, barrier], int(times or 1))
    return found


def _first_argument(text: str, begin: int) -> str:
    """The first argument of a call whose parenthesis has been opened just before."""
    depth = 0
    for end in range(begin, len(text)):
        if not depth and text[end] in ",)":
            return " ".join(text[begin:end].split())
        depth += {"(": 1, ")": -1}.get(text[end], 0)
    raise AssertionError(f"a call that does not end: {text[begin : begin + 80]}")


def barriers() -> Counter[tuple[str, str]]:
    """How often each barrier, by its first argument, is in each function of FILES."""
    found: Counter[tuple[str, str]] = Counter()
    for path in FILES:
        text = _blank(path.read_text())
        spans = functions(text)
        for each in BARRIER.finditer(text):
            name = next((name for name, (begin, end) in spans.items() if begin < each.start() < end), None)
            assert name, f"a barrier in no function: {path.name}: {each[0]}"
            found[name, f"{each[0].removeprefix('semshare_')}{_first_argument(text, each.end())})"] += 1
    stale = Counter(NOT_MODELLED) - found
    assert not stale, f"mend NOT_MODELLED, the code no longer has these: {dict(stale)}"
    return found - Counter(NOT_MODELLED)
