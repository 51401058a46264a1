# SPDX-License-Identifier: MIT
"""How the benchmark puts instructions down to functions, and functions to what they are for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
if not (TOP / "bench").exists():
    pytest.skip("not in a source tree", allow_module_level=True)
sys.path.insert(0, str(TOP))
from bench import instructions  # noqa: E402
from bench.instructions import SYSCALL, THREAD, BenchError, Counted, Symbols, section_of  # noqa: E402

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81000100 T __do_semtimedop
ffffffff81000100 D not_code
ffffffff81000180 t perform_atomic_semop
ffffffffc0001000 t semshare_bench_semop_pair.constprop.0\t[semshare_bench]
ffffffffc0002000 T semshare_semop\t[semshare]
""".splitlines()
PROGRAM = ["0000000000401000 T main", "0000000000401770 T semop_pair"]


def test_an_address_belongs_to_the_function_before_it():
    symbols = Symbols(KALLSYMS, PROGRAM)
    assert symbols.name(0xFFFFFFFF81000100) == symbols.name(0xFFFFFFFF8100017F) == "__do_semtimedop"
    assert symbols.name(0xFFFFFFFF81000180) == "perform_atomic_semop"
    assert symbols.name(0xFFFFFFFFC0002010) == "semshare_semop[semshare]"
    assert symbols.name(0x401771) == "semop_pair[program]"


def test_a_function_is_found_whatever_the_compiler_appended():
    symbols = Symbols(KALLSYMS, PROGRAM)
    assert symbols.address("semop_pair") == 0x401770
    assert symbols.address("semshare_bench_semop_pair") == 0xFFFFFFFFC0001000
    with pytest.raises(BenchError, match="no function semshare"):
        symbols.address("semshare")


@pytest.mark.parametrize(
    ("function", "section"),
    [
        ("semop_pair[program]", "the caller, its C library"),
        ("semshare_bench_ring_pair[semshare_bench]", "the caller, its C library"),
        ("entry_SYSCALL_64_after_hwframe", "system call entry and exit"),
        ("__x64_sys_semtimedop", "system call entry and exit"),
        ("do_semtimedop", "operations from user memory"),
        ("semshare_semop[semshare]", "the module"),
        ("__do_semtimedop", "__do_semtimedop"),
        ("__radix_tree_lookup", "finding the set"),
        ("security_sem_semop", "the right to it"),
        ("lookup_undo", "undo list"),
        ("wake_up_q", "values and wake-ups"),
        ("_raw_spin_lock", "locks and RCU"),
        ("__rcu_read_unlock", "locks and RCU"),
        ("__x86_return_thunk", "the rest"),
    ],
)
def test_a_function_is_for_something(function, section):
    assert section_of(function) == section


def test_sections_add_up_to_what_was_counted():
    counted = Counted("a boot", "a kernel", {SYSCALL: 100.0, THREAD: 61.0})
    counted.functions[THREAD] = {"__do_semtimedop": 40, "semshare_semop[semshare]": 15}
    sections = counted.sections(THREAD)
    assert sections["the module"] == 15 and sections[instructions.LOOP] == 6
    assert sum(sections.values()) == 61
    assert counted.ratio(THREAD) == 0.61 and not counted.met
