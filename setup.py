# SPDX-License-Identifier: MIT
"""The extensions, and the preload library. All else stands in pyproject.toml."""

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

INCLUDE = ["kmod_semshare/include/uapi", "kmod_semshare/include"]
FOLDERS = ("kmod_semshare/include", "semshare/native", "semshare/preload")
HEADERS = [str(path) for folder in FOLDERS for path in Path(folder).rglob("*.h")]
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"]

# No Python module, but a shared library built like one: what `semshare exec` loads into programs. It is to work before
# the C library does, so the compiler must not put calls of it there. Its stubs are written in x86-64 assembly.
PRELOAD = Extension(
    "semshare._preload",
    sources=sorted(str(path) for path in Path("semshare/preload").glob("*.c")),
    include_dirs=INCLUDE,
    depends=HEADERS,
    extra_compile_args=[*FLAGS, "-ffreestanding", "-fno-tree-loop-distribute-patterns", "-fno-lto"],
    extra_link_args=["-Wl,-z,defs", "-Wl,-z,now", "-Wl,-z,relro", "-Wl,-Bsymbolic", "-fno-lto"],
)


class BuildExtensions(build_ext):
    """As ever, but the preload library does not take Python's own search path for libraries into other programs."""

    def build_extension(self, ext):
        linker = self.compiler.linker_so
        if ext is PRELOAD:
            self.compiler.linker_so = [word for word in linker if not word.startswith(("-Wl,-rpath", "-L"))]
        super().build_extension(ext)
        self.compiler.linker_so = linker


setup(
    cmdclass={"build_ext": BuildExtensions},
    cffi_modules=["semshare/_abi_build.py:builder"],
    ext_modules=[
        Extension(
            "semshare._native",
            sources=sorted(str(path) for path in Path("semshare/native").glob("*.c")),
            include_dirs=INCLUDE,
            depends=HEADERS,
            extra_compile_args=[*FLAGS, "-D_GNU_SOURCE"],
        ),
        *([PRELOAD] if platform.machine() == "x86_64" else []),
    ],
)
