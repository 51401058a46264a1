# SPDX-License-Identifier: MIT
"""The ABI headers: they compile alone, in C and in C++, and cffi sees in them what the compiler does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from semshare._abi import ffi, lib

TOP = Path(__file__).resolve().parents[2]
INCLUDE = TOP / "kmod_semshare" / "include"
UAPI = sorted((INCLUDE / "uapi" / "semshare").glob("*.h"))
STRUCTURES = sorted(name for name in ffi.list_types()[1] if name.startswith("semshare_"))

pytestmark = pytest.mark.skipif(not UAPI, reason="not in a source tree")


def compiles(source: str, *command: str) -> None:
    done = subprocess.run(
        [
            *command,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
            "-I",
            str(INCLUDE / "uapi"),
            "-I",
            str(INCLUDE),
            "-",
        ],
        input=source,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("header", UAPI, ids=lambda path: path.name)
@pytest.mark.parametrize(
    "compiler", [("gcc", "-xc", "-std=c99", "-pedantic"), ("g++", "-xc++", "-std=c++11", "-pedantic")], ids=["C", "C++"]
)
def test_a_header_of_the_abi_compiles_alone(header, compiler):
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no {compiler[0]} here")
    compiles(f"#include <semshare/{header.name}>\n", *compiler)


@pytest.mark.parametrize("header", sorted((INCLUDE / "semshare" / "core").glob("*.h")), ids=lambda path: path.name)
def test_a_core_header_compiles_alone(header):
    compiles(f"#include <semshare/core/{header.name}>\n", "gcc", "-xc", "-std=gnu11")


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """Sizes, offsets and constants as the compiler has them."""
    text = "\n".join(re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL) for path in UAPI)
    constants = re.findall(r"^#define (SEMSHARE_\w+)[ \t]+(?!\")\S", text, flags=re.MULTILINE)
    constants += re.findall(r"^\s*(SEMSHARE_\w+)\s*=", text, flags=re.MULTILINE)
    constants = [name for name in constants if not name.endswith("_H")]
    lines = ["#include <stddef.h>", "#include <stdio.h>"]
    lines += [f"#include <semshare/{path.name}>" for path in UAPI]
    lines += ["int main(void) {", 'printf("{");']
    for name in STRUCTURES:
        lines.append(f'printf("\\"{name}\\": [%zu, {{", sizeof(struct {name}));')
        fields = [field for field, _ in ffi.typeof(f"struct {name}").fields]
        for place, field in enumerate(fields):
            comma = ", " if place else ""
            lines.append(
                f'printf("{comma}\\"{field}\\": [%zu, %zu]", offsetof(struct {name}, {field}), '
                f"sizeof(((struct {name} *)0)->{field}));"
            )
        lines.append('printf("}], ");')
    for place, name in enumerate(constants):
        lines.append(f'printf("{", " if place else ""}\\"{name}\\": %llu", (unsigned long long)({name}));')
    lines += ['printf("}");', "return 0; }"]
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.c").write_text("\n".join(lines))
    build = ["gcc", "-I", str(INCLUDE / "uapi"), "-o", str(folder / "probe"), str(folder / "probe.c")]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(subprocess.run([folder / "probe"], capture_output=True, check=True).stdout)
    return {name: found[name] for name in STRUCTURES}, {name: found[name] for name in constants}


def test_structures_are_where_the_compiler_puts_them(probe):
    structures, _ = probe
    assert len(structures) >= 10
    for name, (size, fields) in structures.items():
        kind = ffi.typeof(f"struct {name}")
        assert ffi.sizeof(kind) == size, name
        assert {field: [item.offset, ffi.sizeof(item.type)] for field, item in kind.fields} == fields, name
        assert sum(length for _, length in fields.values()) == size, f"struct {name} has a hole: pad it in words"


def test_constants_are_those_of_the_headers(probe):
    _, constants = probe
    assert len(constants) >= 40
    assert {name: getattr(lib, name) & (1 << 64) - 1 for name in constants} == constants


def test_places_that_plain_programs_count_on_stay():
    """docs/examples/plain_producer.py has these as numbers, and so may programs that we do not know."""
    control = dict(ffi.typeof("struct semshare_ring_control").fields)
    wanted = {"magic": 0, "capacity": 16, "semid": 32, "key": 36, "lock": 64, "head": 128, "tail": 136, "state": 152}
    wanted["sequence"] = 256
    assert {name: control[name].offset for name in wanted} == wanted
    assert ffi.sizeof("struct semshare_ring_control") == lib.SEMSHARE_RING_CONTROL_SIZE == 4096
    assert ffi.sizeof("struct semshare_record") == lib.SEMSHARE_RING_ALIGN == 32
    assert ffi.sizeof("struct semshare_lock_state") == 64
    assert ffi.offsetof("struct semshare_lock_segment", "state") == 128


def test_two_ioctls_never_have_the_same_number():
    numbers = [getattr(lib, name) for name in dir(lib) if re.match(r"SEMSHARE_(\w+_)?IOC_(?!TYPE)", name)]
    assert len(numbers) >= 8
    assert len(set(numbers)) == len(numbers)
