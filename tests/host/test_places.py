# SPDX-License-Identifier: MIT
"""The algorithms of conditions and barriers (semshare/core), under AddressSanitizer and UBSan: see c/places.c."""

from __future__ import annotations

import re

import c_cases
import pytest
from compiler import INCLUDE, NEEDED

CASES = c_cases.cases_of("places")

pytestmark = NEEDED


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return c_cases.build(tmp_path_factory.mktemp("places"), "places")


def test_every_case_is_known_here(program):
    assert c_cases.names_told(program) == CASES


@pytest.mark.parametrize("case", CASES)
def test_places(program, case):
    c_cases.must_pass(program, case)


def test_every_function_of_the_headers_is_called():
    source = c_cases.source_of("places").read_text()
    headers = [INCLUDE / "semshare" / "core" / f"{name}.h" for name in ("places", "condition", "barrier")]
    text = "".join(header.read_text() for header in headers)
    functions = re.findall(r"^static inline [^;={]*?\b(semshare_\w+)\(", text, re.MULTILINE)
    assert len(functions) > 20
    # By the cases, or by another function of the headers.
    assert [name for name in functions if f"{name}(" not in source and text.count(f"{name}(") < 2] == []
