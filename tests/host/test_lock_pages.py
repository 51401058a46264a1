# SPDX-License-Identifier: MIT
"""The pages about locks: their programs run and print what stands below them, and what they name is what there is."""

from __future__ import annotations

import ast
import errno
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import semshare
import semshare.aio
from semshare import errors

TOP = Path(__file__).resolve().parents[2]
FOLDER = TOP / "docs" / "reference" / "locks"
if not FOLDER.exists():
    pytest.skip("not in a source tree", allow_module_level=True)
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}
INDEX = PAGES["README"]

CLASSES = {
    "lock": ["Lock"],
    "rlock": ["RLock"],
    "rwlock": ["RWLock", "ReadSide", "WriteSide"],
    "semaphore": ["Semaphore", "BoundedSemaphore"],
    "event": ["Event"],
    "condition": ["Condition"],
    "barrier": ["Barrier"],
    "multi-lock": ["LockPool", "MemberLock", "MultiLock"],
    "semaphore-set": ["SemaphoreSet"],
}
# Those that the index speaks of, for all.
OF_ALL = {"create", "attach", "name", "key", "semid", "closed", "on_owner_died"}

PROGRAMS = [
    pytest.param(program, prints, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, (program, prints) in enumerate(
        re.findall(r"^```python\n(.*?)^```\n```text\n(.*?)^```", text, re.M | re.S)
    )
]


def test_there_is_a_page_for_each_class_and_on_each_a_program():
    assert set(PAGES) - {"README"} == set(CLASSES)
    assert all(f"]({page}.md)" in INDEX for page in CLASSES)
    for page in CLASSES:
        assert "```python" in PAGES[page]
    assert sum(text.count("```python") for text in PAGES.values()) == len(PROGRAMS)


@pytest.mark.parametrize(("program", "prints"), PROGRAMS)
def test_a_program_prints_what_stands_below_it(program, prints):
    if "sysv_ipc" in program:
        pytest.importorskip("sysv_ipc")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    pattern = ".*".join(map(re.escape, prints.split("…")))
    assert re.fullmatch(pattern, done.stdout), done.stdout
    # The logger's, where an owner dies.
    assert all("died inside" in line for line in done.stderr.splitlines())


def parameters(arguments: ast.arguments) -> list[tuple[str, bool, object]]:
    """Name, whether it goes by its name only, and what it is if it is not given."""
    none = inspect.Parameter.empty
    defaults = [none] * (len(arguments.args) - len(arguments.defaults)) + list(
        map(ast.literal_eval, arguments.defaults)
    )
    positional = [(each.arg, False, default) for each, default in zip(arguments.args, defaults)]
    keyword = [
        (each.arg, True, none if default is None else ast.literal_eval(default))
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults)
    ]
    return positional + keyword


@pytest.mark.parametrize("page", CLASSES)
def test_a_signature_is_that_of_the_class(page):
    shown = {}
    for line in re.findall(r"^semshare\.\w+\(.*\)$", PAGES[page], re.M):
        name, _, arguments = line.partition("(")
        shown[name.removeprefix("semshare.")] = parameters(ast.parse(f"def f({arguments}: pass").body[0].args)
    assert shown
    for name, found in shown.items():
        signature = inspect.signature(getattr(semshare, name)).parameters.values()
        assert found == [(each.name, each.kind is each.KEYWORD_ONLY, each.default) for each in signature], name


@pytest.mark.parametrize("page", CLASSES)
def test_a_page_names_all_that_its_classes_have(page):
    prose = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.M | re.S)
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", prose))))
    for name in CLASSES[page]:
        public = {each for each in dir(getattr(semshare, name)) if not each.startswith("_")}
        missing = public - named - OF_ALL
        assert not missing, name


def test_the_pages_name_the_calls_that_kernel_code_has_and_no_other():
    headers = TOP / "kmod_semshare" / "include" / "semshare"
    calls = r"\b(semshare_\w+)\("
    here = set(re.findall(calls, re.sub(r"/\*.*?\*/", "", (headers / "locks.h").read_text(), flags=re.S)))
    elsewhere = set(re.findall(calls, (headers / "kapi.h").read_text()))
    named = {call for text in PAGES.values() for call in re.findall(calls, text)}
    assert {call for call in here if call != "semshare_scoped"} <= named
    assert named <= here | elsewhere


def test_the_errors_that_the_pages_name_are_there():
    for name, base in re.findall(r"^\| `([A-Z]\w+)`(?: \(`(\w+)`\))? \| `E", INDEX, re.M):
        bases = {each.__name__ for each in getattr(errors, name).__mro__}
        assert {"Error", base or "Error"} <= bases, name
    for name, number in re.findall(r"`([A-Z]\w+)` \((E[A-Z0-9]+)[,)]", "".join(PAGES.values())):
        assert hasattr(errors, name) and hasattr(errno, number), f"{name} ({number})"


def test_the_asyncio_forms_that_the_pages_name_are_there():
    named = {name for text in PAGES.values() for name in re.findall(r"semshare\.aio\.(\w+)", text)}
    assert named and named <= set(semshare.aio.__all__)
    ours = {name for names in CLASSES.values() for name in names}
    assert (ours & set(semshare.aio.__all__)) - {"ReadSide", "WriteSide"} <= named
