# SPDX-License-Identifier: MIT
"""The documents promise nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
PAGES = sorted(path.relative_to(TOP) for path in [TOP / "README.md", *DOCS.rglob("*.md")])


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_to_a_file(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", without_blocks((TOP / page).read_text()))
    broken = [each for each in targets if "://" not in each and not (TOP / page).parent.joinpath(each).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_of_the_project_that_is_named_is_there(page):
    folders = "|".join(
        path.name for path in TOP.iterdir() if path.is_dir() and not path.name.startswith((".", "build"))
    )
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", (TOP / page).read_text())
    assert not [name for name in named if not (TOP / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_verb_of_make_that_is_named_is_there(page):
    verbs = set(re.findall(r"^([a-z0-9-]+):", (TOP / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|\$ )make ([a-z][a-z0-9-]+)", (TOP / page).read_text()))
    assert named <= verbs


def test_the_index_names_every_how_to_and_example():
    index = (DOCS / "README.md").read_text()
    found = [*DOCS.glob("how-to/*"), *DOCS.glob("examples/*")]
    pages = {path.relative_to(DOCS) for path in found if path.name != "__pycache__"}
    assert pages
    missing = [str(path) for path in sorted(pages) if f"({path})" not in index]
    assert not missing, "docs/README.md does not name them"
