# SPDX-License-Identifier: MIT
"""The C programs of the tests of `semshare exec`, compiled once, and running them with the preload library."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from effort import EFFORT

from semshare import route
from semshare.call_counters import CallCounters, Counts

TOP = Path(__file__).resolve().parent.parent
SOURCES = Path(__file__).resolve().parent / "programs"
LIMIT = 240 / EFFORT
"""Seconds after which a program hangs. Some of these ask a lot of an emulated machine."""

FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]
# A library that ends in a jump to dlopen() would not be the one that called it.
LIBRARY = ["-fPIC", "-shared", "-fno-optimize-sibling-calls", str(SOURCES / "library.c")]
PROGRAM = ["-pthread", str(SOURCES / "program.c")]
# By what they are called; {} is the folder they come to lie in.
BUILDS = {
    "libearly.so": ["-DEARLY", *LIBRARY, "-Wl,-soname,libearly.so"],
    "libwrapper.so": ["-DWRAPPER", *LIBRARY],
    "deep/libdeep.so": LIBRARY,
    "libsecond.so": LIBRARY,
    "libplugin.so": [*LIBRARY, "-Wl,-rpath,$ORIGIN/deep,--enable-new-dtags"],
    "program": PROGRAM,
    "program-asan": [*PROGRAM, "-fsanitize=address"],
    "program-tsan": [*PROGRAM, "-fsanitize=thread"],
    "program-early": [*PROGRAM, "-Wl,--no-as-needed", "{}/libearly.so", "-Wl,-rpath,$ORIGIN"],
}


def _compile(folder: Path) -> None:
    (folder / "deep").mkdir(parents=True)
    for name, arguments in BUILDS.items():
        words = [each.replace("{}", str(folder)) for each in arguments]
        subprocess.run(["gcc", *FLAGS, "-o", str(folder / name), *words], check=True)


def compiled() -> Path:
    """The folder with the programs. They are kept in build/, where the machine finds what its host has compiled."""
    contents = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.c"))) + repr(BUILDS).encode()
    kept = TOP / "build" / f"programs-{hashlib.sha256(contents).hexdigest()[:16]}"
    if kept.exists():
        return kept
    try:
        kept.parent.mkdir(exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix="programs-new-", dir=kept.parent))
    except OSError:  # the machine sees the checkout read-only
        new = kept = Path(tempfile.mkdtemp(prefix="programs-"))
    _compile(new / "made")
    os.chmod(new, 0o755)
    if new == kept:
        return new / "made"
    try:
        os.rename(new / "made", kept)
    except OSError:  # another test run was faster
        assert kept.exists()
    shutil.rmtree(new)
    return kept


class Ran(NamedTuple):
    """How a program ended that ran with the preload library."""

    status: int
    output: str
    errors: str
    counts: Counts


def run(
    words: list[str], context: str = "caller", *, variables: dict[str, str] | None = None, start: str = "", **more
) -> Ran:
    """Run a program as `semshare exec` runs it, device or no device, and count its calls.

    Args:
        start: shell commands that come before it, in the same process.
    """
    before = {**os.environb, **{os.fsencode(name): os.fsencode(value) for name, value in (variables or {}).items()}}
    with CallCounters() as counters:
        environment = route.environment(before, route.library(), context, counters.path)
        # The loader's variable reaches the program, not the shell before it.
        preload = os.fsdecode(environment.pop(b"LD_PRELOAD"))
        script = f'{start}\nexport LD_PRELOAD="$0"\nexec "$@"' if start else 'export LD_PRELOAD="$0"\nexec "$@"'
        ended = subprocess.run(
            ["/bin/sh", "-c", script, preload, *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            **more,
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr, counters.read())
