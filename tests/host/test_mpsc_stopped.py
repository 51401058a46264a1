# SPDX-License-Identifier: MIT
"""What a party of the ring of slots leaves behind that is stopped, or killed, at one certain step: see c/stopped.c."""

from __future__ import annotations

import c_cases
import pytest
from compiler import NEEDED

pytestmark = NEEDED


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return c_cases.build(tmp_path_factory.mktemp("stopped"), "stopped")


@pytest.mark.parametrize("case", c_cases.cases_of("stopped"))
def test_the_ring_goes_on(program, case):
    c_cases.must_pass(program, case)
