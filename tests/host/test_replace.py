# SPDX-License-Identifier: MIT
"""The programs whose locks are replaced, before and after: they print the same, and the page shows what changes."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import examples
import pytest

TOP = Path(__file__).resolve().parents[2]
FOLDER = examples.EXAMPLES / "replace"
PAGE = TOP / "docs" / "how-to" / "replace-a-lock.md"
if not FOLDER.exists():
    pytest.skip("not in a source tree", allow_module_level=True)
sys.path.insert(0, str(TOP))
from bench.peers import Redis  # noqa: E402

PAIRS = ["multiprocessing", "posix_ipc", "filelock", "redis"]


def difference(pair: str) -> str:
    """The lines that a reader has to change."""
    before, after = ((FOLDER / f"{pair}_{when}.py").read_text().splitlines() for when in ("before", "after"))
    # Behind those that name the files, and the places.
    lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    return "".join("\n" if line.startswith("@@") else f"{line}\n" for line in lines).strip("\n")


@pytest.mark.parametrize("pair", PAIRS)
def test_the_page_shows_what_changes(pair):
    blocks = re.findall(r"^```diff\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert f"{difference(pair)}\n" in blocks


def test_every_program_is_one_of_a_pair():
    programs = {path.stem for path in FOLDER.glob("*.py")} - {"after_a_kill"}
    assert programs == {f"{pair}_{when}" for pair in PAIRS for when in ("before", "after")}


@pytest.mark.parametrize("pair", PAIRS)
def test_both_of_a_pair_print_the_same(pair):
    """What they print is said in tests/examples.py."""
    prints = {each.program: each.prints for each in examples.HOST}
    after = prints[f"replace/{pair}_after.py"]
    assert prints.get(f"replace/{pair}_before.py", after) == after


def test_redis_before(tmp_path):
    """replace/redis_before.py: it wants a server."""
    if why := Redis.missing():
        pytest.skip(why)
    server = Redis.serve(tmp_path / "redis")
    try:
        environment = {**os.environ, "REDIS_URL": f"unix://{tmp_path}/redis"}
        command = [sys.executable, FOLDER / "redis_before.py"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    finally:
        server.kill()
        server.wait()
    assert (done.returncode, done.stderr) == (0, "")
    examples.must_print(next(each for each in examples.HOST if each.program == "replace/redis_after.py"), done.stdout)
