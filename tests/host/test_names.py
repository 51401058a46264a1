# SPDX-License-Identifier: MIT
"""Names and keys."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semshare._abi import ffi, lib

from semshare import Area, Lock, Ring, key_of

GOOD = string.ascii_letters + string.digits + "._-"


def fnv1a(text: bytes) -> int:
    """FNV-1a with 32 bits, as its authors write it, without the top bit."""
    value = 0x811C9DC5
    for byte in text:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value & 0x7FFFFFFF or 1


@given(st.text(GOOD, min_size=1, max_size=63))
def test_the_key_of_a_name_is_its_documented_hash(name):
    assert key_of(name) == fnv1a(name.encode())


@pytest.mark.parametrize("name", ["", "a" * 64, "a/b", "a b", "ä", "a\0", "a\n", "../x", "semshare:x"])
@pytest.mark.parametrize("kind", [key_of, Lock, Ring, lambda name: Area(name, 1)])
def test_what_cannot_be_a_name_is_refused(kind, name):
    with pytest.raises(ValueError, match="cannot be a name"):
        kind(name)


@pytest.mark.parametrize("name", [b"bytes", 1, None])
def test_a_name_is_a_string(name):
    with pytest.raises(TypeError):
        key_of(name)


@given(st.binary(max_size=64))
def test_python_and_the_shared_header_agree_on_what_a_name_is(stored):
    stored = stored.ljust(64, b"\0")
    length = lib.semshare_name_length(ffi.new("char[64]", stored))
    text = stored.rstrip(b"\0").decode("latin-1")
    try:
        key_of(text)
        assert length == len(text)
    except ValueError:
        assert length < 0
