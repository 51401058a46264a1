# SPDX-License-Identifier: MIT
"""The other architecture: what is built for arm64 builds, has the layout it has on x86-64, and its algorithms run.

Cross-built; run by QEMU's user mode, which on this host does not reorder: of memory order this says nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
INCLUDE = TOP / "kmod_semshare" / "include"
CROSS = "aarch64-linux-gnu-"
GCC, QEMU = shutil.which(f"{CROSS}gcc"), shutil.which("qemu-aarch64")
HOST_GCC = shutil.which("gcc-12") or shutil.which("gcc")
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-I", str(INCLUDE), "-I", str(INCLUDE / "uapi")]
#: The kernels of Debian 12, and of its backports.
KERNELS = ["6.1", "6.12"]

pytestmark = [
    pytest.mark.skipif(not INCLUDE.exists(), reason="not in a source tree"),
    pytest.mark.skipif(GCC is None or QEMU is None, reason="no cross compiler, or no qemu-aarch64: vm/setup arm64"),
]


def must(*command: object, **options: object) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def build(compiler: object, program: Path, source: Path, *more: str) -> Path:
    must(compiler, *FLAGS, *more, "-static", "-pthread", "-o", program, source)
    return program


def structures() -> dict[str, list[str]]:
    """The fields of each structure of the ABI."""
    found = {}
    for path in sorted((INCLUDE / "uapi" / "semshare").glob("*.h")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.M | re.S):
            found[name] = re.findall(r"(\w+)(?:\[[^]]*\])*;", body)
    return found


def test_every_structure_of_the_abi_has_the_same_layout(tmp_path):
    lines = []
    for name, fields in structures().items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        lines += [
            f'printf("{name}.{each} %zu %zu\\n", offsetof(struct {name}, {each}),'
            f" sizeof(((struct {name} *)0)->{each}));"
            for each in fields
        ]
    headers = sorted((INCLUDE / "uapi" / "semshare").glob("*.h"))
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n"
        + "".join(f"#include <semshare/{path.name}>\n" for path in headers)
        + "int main(void)\n{\n"
        + "\n".join(lines)
        + "\nreturn 0;\n}\n"
    )
    here = must(build(HOST_GCC, tmp_path / "here", source))
    there = must(QEMU, build(GCC, tmp_path / "there", source))
    assert len(here.splitlines()) == len(lines) > 100
    assert here == there


def test_the_algorithms_pass_their_tests(tmp_path):
    program = build(GCC, tmp_path / "core", TOP / "tests" / "host" / "c" / "core.c")
    cases = must(QEMU, program).split()
    assert cases
    for case in cases:
        must(QEMU, program, case)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("spsc", ("20000", "4096", "8", "1")),
        ("mpsc", ("3", "3000", "8", "0", "1")),
        ("mpsc", ("2", "1000", "4", "8", "2")),
    ],
)
def test_the_rings_without_a_lock_run(tmp_path, name, arguments):
    must(QEMU, build(GCC, tmp_path / name, TOP / "tests" / "host" / "c" / f"{name}.c"), *arguments)


def test_the_package_s_extension_builds(tmp_path):
    # With this machine's Python.h: the types in it are as long on either.
    python = ["-I", sysconfig.get_path("include"), "-I", sysconfig.get_path("platinclude")]
    sources = sorted((TOP / "semshare" / "native").glob("*.c"))
    library = tmp_path / "_native.so"
    flags = [each for each in FLAGS if each != "-Wextra"]
    must(GCC, *flags, "-D_GNU_SOURCE", *python, "-fPIC", "-shared", "-pthread", "-o", library, *sources)
    header = library.read_bytes()[:20]
    assert (header[:4], header[18]) == (b"\x7fELF", 183)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_module_builds(tmp_path, kernel):
    headers = must(TOP / "vm" / "arm64", kernel).strip()
    source = tmp_path / "kmod"
    # As it is installed: without what is for the tests in the virtual machine.
    shutil.copytree(
        TOP / "kmod_semshare", source, ignore=shutil.ignore_patterns("tests", "*.o", "*.ko", "*.mod*", ".*")
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    make = ["make", "-C", headers, "ARCH=arm64", f"CROSS_COMPILE={CROSS}", f"M={source}", "-j2", "modules"]
    told = must(*make, "CONFIG_DEBUG_INFO_BTF_MODULES=", env=environment)
    assert "warning:" not in told
    built = {path.stem: path.read_bytes()[18] for path in source.glob("*.ko")}
    assert built == {"semshare": 183, "semshare_demo": 183, "semshare_exec": 183}
