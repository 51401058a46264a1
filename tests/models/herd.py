# SPDX-License-Identifier: MIT
"""Litmus tests under the kernel's memory model, by herd7, which vm/herd fetches."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from barriers import TOP

#: What is left of a line without its barrier, for barriers.mutants().
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


def run(tests: list[str]) -> list[tuple[str, bool]]:
    """Of each test: whether what it asks for happens Never, Sometimes or Always, and whether plain accesses race."""
    place = Path(subprocess.run([TOP / "vm" / "herd"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.litmus") for number in range(len(tests))]
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
