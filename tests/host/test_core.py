# SPDX-License-Identifier: MIT
"""What the module and the package share (semshare/core), under AddressSanitizer and UBSan: see c/core.c."""

from __future__ import annotations

import re

import c_cases
import pytest
from compiler import INCLUDE, NEEDED

CASES = c_cases.cases_of("core")

pytestmark = NEEDED


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return c_cases.build(tmp_path_factory.mktemp("core"), "core")


def test_every_case_is_known_here(program):
    assert c_cases.names_told(program) == CASES


@pytest.mark.parametrize("case", CASES)
def test_core(program, case):
    c_cases.must_pass(program, case)


def test_every_function_of_the_headers_is_called():
    source = c_cases.source_of("core").read_text()
    for header in ("key", "histogram", "lock", "ring", "sysv"):
        text = (INCLUDE / "semshare" / "core" / f"{header}.h").read_text()
        functions = re.findall(r"^static inline [^;={]*?\b(semshare_\w+)\(", text, re.MULTILINE)
        assert functions
        # By the tests, or by another function of the header.
        assert [name for name in functions if f"{name}(" not in source and text.count(f"{name}(") < 2] == []
