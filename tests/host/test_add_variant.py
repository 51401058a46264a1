# SPDX-License-Identifier: MIT
"""docs/how-to/add-a-ring-variant.md: the variant of docs/examples/ring_variant, added as the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from variant_page import PAGE, add_variant

TOP = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="not in a source tree"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler here"),
]

#: Of the promises those that need no storm of processes.
PROMISES = "each_place or full_and_empty or dropped or several_processes or wake_up or lie or first_has_the_role"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A checkout in which the variant was added by the commands of the page."""
    tree = tmp_path_factory.mktemp("tree")
    # Without pyproject.toml: that asks for a newer setuptools than a machine may have, for what pip does with it.
    for each in ("kmod_semshare", "semshare", "docs", "tests", "setup.py"):
        source, ignore = TOP / each, shutil.ignore_patterns("*.so", "__pycache__", "_abi.c*", "*.o", "*.ko")
        shutil.copytree(source, tree / each, ignore=ignore) if source.is_dir() else shutil.copy(source, tree / each)
    add_variant(tree)
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(build, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tree


def test_one_file_and_its_registration_are_all(tree):
    changed = [
        path.relative_to(tree)
        for path in (tree / "kmod_semshare").rglob("*.h")
        if not (same := TOP / path.relative_to(tree)).exists() or same.read_bytes() != path.read_bytes()
    ]
    core = Path("kmod_semshare/include/semshare/core")
    assert sorted(changed) == [core / "slots.h", core / "variants.h"]


def test_every_operation_of_a_variant_is_described():
    header = (TOP / "kmod_semshare" / "include" / "semshare" / "core" / "port.h").read_text()
    structure = re.search(r"^struct semshare_ring_variant \{\n(.*?)^\};", header, re.M | re.S)
    assert structure is not None
    members = set(re.findall(r"(?:\(\*|\s\**)(\w+)(?:\)\(|;)", re.sub(r"\)\(.*?\);", ")(", structure[1], flags=re.S)))
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.M)
    assert {"take", "number", "wake"} < members
    assert members == {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_python_of_the_page_runs(tree):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    code = f"import os, semshare\n{code}\nassert ring.get() == b'a record'\nring.close()"
    code = code.replace('"mine"', 'f"mine-{os.getpid()}"')
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tree)}, cwd="/", check=True)


def test_it_keeps_the_promises(tree):
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/host/test_ring_variants.py"]
    command += ["-k", f"slots and ({PROMISES})"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 7, done.stdout
