# SPDX-License-Identifier: MIT
"""The documents promise nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from semshare.cli.group import COMMANDS

TOP = Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
PAGES = sorted(path.relative_to(TOP) for path in [TOP / "README.md", *DOCS.rglob("*.md")])


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Those of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page.read_text()), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_to_a_file_and_a_heading_in_it(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks((TOP / page).read_text())):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        leads_to = (TOP / page).parent / path if path else TOP / page
        if not leads_to.exists() or (anchor and anchor not in anchors(leads_to)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_module_that_is_named_is_there(page):
    named = set(re.findall(r"\b(semshare_\w+)\.ko", (TOP / page).read_text()))
    built = {path.stem for path in DOCS.glob("examples/*/*.c")}
    built |= set(re.findall(r"^(semshare_\w+)-y :=", (TOP / "kmod_semshare" / "Kbuild").read_text(), re.M))
    assert named <= built


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


def test_the_index_names_every_page_and_example():
    index = (DOCS / "README.md").read_text()
    folders = ("how-to/*", "concepts/*", "reference/*", "reference/*/*", "examples/*", "examples/*/*.py")
    pages = {path.relative_to(DOCS) for each in folders for path in DOCS.glob(each) if path.name != "__pycache__"}
    assert pages
    missing = [str(path) for path in sorted(pages) if f"({path})" not in index]
    assert not missing, "docs/README.md does not name them"


def test_the_page_on_the_command_line_has_every_command():
    page = (DOCS / "reference" / "cli.md").read_text()
    headings = re.findall(r"^## (.*)$", without_blocks(page), re.M)
    described = {word for heading in headings for word in heading.replace(" and ", " ").split()}
    assert described == set(COMMANDS)
    assert [command for command in COMMANDS if f"$ semshare {command}" not in page] == []
