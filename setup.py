# SPDX-License-Identifier: MIT
"""The two extensions. All else stands in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

INCLUDE = ["kmod_semshare/include/uapi", "kmod_semshare/include"]
HEADERS = [str(path) for folder in ("kmod_semshare/include", "semshare/native") for path in Path(folder).rglob("*.h")]

setup(
    cffi_modules=["semshare/_abi_build.py:builder"],
    ext_modules=[
        Extension(
            "semshare._native",
            sources=sorted(str(path) for path in Path("semshare/native").glob("*.c")),
            include_dirs=INCLUDE,
            depends=HEADERS,
            extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-D_GNU_SOURCE"],
        ),
    ],
)
