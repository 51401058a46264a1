# SPDX-License-Identifier: MIT
"""The other architecture: what is built for arm64 builds, has the layout it has on x86-64, and its algorithms run.

What `semshare exec` loads into programs is not built for it: its stubs are x86-64 assembly (setup.py).

Cross-built; run by QEMU's user mode, which on this host does not reorder: of memory order this says nothing.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import core_programs
import pytest
from compiler import COMPILER, FLAGS, INCLUDE, compile_c
from variant_page import add_variant

TOP = Path(__file__).resolve().parents[2]
CROSS = "aarch64-linux-gnu-"
GCC, QEMU = shutil.which(f"{CROSS}gcc"), shutil.which("qemu-aarch64")
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


def build(compiler: str | None, program: Path, source: Path) -> Path:
    return compile_c(program, source, "-O2", "-static", "-pthread", compiler=compiler)


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
    here = must(build(COMPILER, tmp_path / "here", source))
    there = must(QEMU, build(GCC, tmp_path / "there", source))
    assert len(here.splitlines()) == len(lines) > 100
    assert here == there


def test_the_algorithms_pass_their_tests(tmp_path):
    program = build(GCC, tmp_path / "core", TOP / "tests" / "host" / "c" / "core.c")
    cases = must(QEMU, program).split()
    assert cases
    for case in cases:
        must(QEMU, program, case)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    return {
        name: core_programs.build(folder, name, "-O2", "-static", compiler=GCC)
        for name in sorted({core_programs.program_of(name) for name in core_programs.RUNS})
    }


@pytest.mark.parametrize("name", core_programs.RUNS)
def test_the_algorithms_run_between_threads(programs, name):
    told = must(QEMU, programs[core_programs.program_of(name)], *core_programs.arguments_of(name))
    core_programs.check_output(name, told)


def build_extension(library: Path, sources: list[Path], *flags: object) -> None:
    # With this machine's Python.h: the types in it are as long on either.
    python = ["-I", sysconfig.get_path("include"), "-I", sysconfig.get_path("platinclude")]
    must(GCC, "-O2", *flags, "-D_GNU_SOURCE", *python, "-fPIC", "-shared", "-pthread", "-o", library, *sources)
    header = library.read_bytes()[:20]
    assert (header[:4], header[18]) == (b"\x7fELF", 183)


def test_the_package_s_extension_builds(tmp_path):
    flags = [each for each in FLAGS if each != "-Wextra"]
    build_extension(tmp_path / "_native.so", sorted((TOP / "semshare" / "native").glob("*.c")), *flags)


def test_what_cffi_makes_builds(tmp_path):
    """It names each structure, member and function that Python uses: what is not there for arm64 does not compile."""
    spec = importlib.util.spec_from_file_location("abi_build", TOP / "semshare" / "_abi_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    source = tmp_path / "_abi.c"
    module.builder.emit_c_code(str(source))
    # Its code is another's: no warnings are asked for.
    include = [f"-I{path}" for path in (INCLUDE / "uapi", INCLUDE, TOP / "semshare" / "preload")]
    build_extension(tmp_path / "_abi.so", [source], "-std=gnu11", *include)


@pytest.mark.parametrize("more", ["", "and a variant more"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_module_builds(tmp_path, kernel, more):
    headers = must(TOP / "vm" / "arm64", kernel).strip()
    source = tmp_path / "kmod_semshare"
    # As it is installed: without what is for the tests in the virtual machine.
    shutil.copytree(
        TOP / "kmod_semshare", source, ignore=shutil.ignore_patterns("tests", "*.o", "*.ko", "*.mod*", ".*")
    )
    if more:
        shutil.copytree(TOP / "docs" / "examples", tmp_path / "docs" / "examples")
        add_variant(tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    make = ["make", "-C", headers, "ARCH=arm64", f"CROSS_COMPILE={CROSS}", f"M={source}", "-j2", "modules"]
    told = must(*make, "CONFIG_DEBUG_INFO_BTF_MODULES=", env=environment)
    assert "warning:" not in told
    built = {path.stem: path.read_bytes()[18] for path in source.glob("*.ko")}
    installed = re.findall(r'^BUILT_MODULE_NAME\[\d+\]="(\w+)"', (source / "dkms.conf").read_text(), re.M)
    assert "semshare" in installed and built == dict.fromkeys(installed, 183)
