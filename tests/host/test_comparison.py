# SPDX-License-Identifier: MIT
"""The page that compares locks says what asking them says now."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from effort import EFFORT

TOP = Path(__file__).resolve().parents[2]
if not (TOP / "bench").exists():
    pytest.skip("not in a source tree", allow_module_level=True)
sys.path.insert(0, str(TOP))
from bench.compare import COST, PAGE, page, read_table, table  # noqa: E402
from bench.peers import PEERS, Multiprocessing, Ours, Peer  # noqa: E402
from bench.probes import NOT_ASKED, PROBES, YES  # noqa: E402

#: Those that come with the package and with Python; the rest take a minute.
QUICK = (Ours, Multiprocessing)
#: What the page says of ours beside "yes".
OURS = {"after `kill -9` of everybody": "1 set, 1 segment; it can be taken"}
#: Seconds. What hangs is given 4 s to do so, and more where Python is slow to start.
LIMIT = 600
pytestmark = pytest.mark.timeout(LIMIT + 60)
ROWS = [title for title, _ in PROBES]


def run(*words: object) -> dict[str, dict[str, str]]:
    """In a process of its own: what it asks forks, and comes to the end of the program more than once."""
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=TOP, env=environment, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen():
    """What is seen now."""
    asked = [kind for kind in PEERS if not kind.missing() and (EFFORT >= 0.5 or kind in QUICK)]
    rows = [word for row in ROWS for word in ("--row", row)]
    only = [word for kind in asked for word in ("--only", kind.module)]
    return run("-m", "bench.compare", "--json", *only, *rows)


@pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.module)
def test_the_page_says_what_is_seen(seen: dict, kind: type[Peer]):
    if why := kind.missing():
        pytest.skip(f"not asked: {why}")
    if not any(kind.title in cells for cells in seen["cells"].values()):
        pytest.skip("not asked: with SEMSHARE_EFFORT from 0.5 on")
    text = PAGE.read_text()
    if kind not in QUICK and f"{kind.package} {kind.version()}" not in " ".join(text.split()):
        pytest.skip(f"the page is of another version than {kind.version()}")
    now = {row: cells[kind.title] for row, cells in seen["cells"].items() if cells[kind.title] != NOT_ASKED}
    written = {row: cells[kind.title] for row, cells in read_table(text).items() if row in now}
    assert now == written


def test_a_page_that_says_anything_else_is_noticed(seen: dict):
    written = read_table(PAGE.read_text())
    assert list(written) == [*ROWS, COST]
    assert not any(cell.startswith("?") for cells in written.values() for cell in cells.values())


def test_ours_does_all_of_it():
    written = {row: cells[Ours.title] for row, cells in read_table(PAGE.read_text()).items() if row != COST}
    assert written == {**dict.fromkeys(ROWS, YES), **OURS}


def test_what_the_page_says_can_be_read_again():
    cells = {"one": {"semshare.Lock": "yes", "multiprocessing.Lock": "no: `it` hangs"}}
    kinds = [Ours, Multiprocessing]
    assert read_table(table(cells, kinds)) == cells
    assert read_table(page(cells, kinds)) == cells


def test_no_question_is_answered_with_yes_by_what_is_no_lock():
    said = run(TOP / "tests" / "host" / "no_locks.py")
    assert set(said) == set(ROWS)
    yes = {row: [title for title, cell in cells.items() if cell == YES] for row, cells in said.items()}
    assert {row: titles for row, titles in yes.items() if titles} == {}
    assert not any(cell.startswith("?") for cells in said.values() for cell in cells.values())
