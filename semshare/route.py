# SPDX-License-Identifier: MIT
"""The way of a program's semaphore calls through the module: the device for them, and the library that takes them
there."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from semshare._abi import ffi, lib
from semshare.device import open_node
from semshare.errors import AbiMismatch, Error

PATH: str = ffi.string(lib.SEMSHARE_ROUTE_DEVICE).decode()

CONTEXT = ffi.string(lib.PRELOAD_CONTEXT_VARIABLE)
STATS = ffi.string(lib.PRELOAD_STATS_VARIABLE)
"""Environment variables by which programs are told, and their children."""

WANTED = {"abi_version": lib.SEMSHARE_ABI_VERSION, "features": lib.SEMSHARE_FEATURE_ROUTE}
"""What the module must speak and have."""

CONTEXTS = ("caller", "kthread")
"""Who carries out the operations: the calling thread, or a kernel thread for each."""

_SEPARATORS = frozenset(b" :$")
"""In LD_PRELOAD the first two separate paths and the third starts a word to be replaced; there is no quoting."""


def check() -> None:
    """See that there is a device that programs' calls can go through.

    Raises:
        NotFound: the module is not loaded. Denied: this user may not open the device. AbiMismatch: the module and this
        package do not understand each other.
    """
    fd = open_node(PATH, os.O_RDWR, "; by default all may: chmod 0666, or look for a udev rule that says otherwise")
    buffer = bytearray(ffi.buffer(ffi.new("struct semshare_version *", WANTED)))
    try:
        fcntl.ioctl(fd, lib.SEMSHARE_IOC_VERSION, buffer, True)
    except OSError as error:
        raise AbiMismatch(errno.EPROTO, f"{PATH}: {_mismatch(buffer, error)}") from error
    finally:
        os.close(fd)


def _mismatch(buffer: bytearray, error: OSError) -> str:
    if error.errno not in (errno.EPROTO, errno.EOPNOTSUPP):
        return f"does not answer as the semshare module does ({error.strerror}); what else has that name?"
    found = ffi.from_buffer("struct semshare_version *", buffer)
    return (
        f"the module speaks ABI version {found.abi_version} with features {found.features:#x}, this package wants "
        f"{WANTED['abi_version']} with {WANTED['features']:#x}; install both from one release and load the module anew"
    )


def library() -> bytes:
    """The path of the preload library.

    Raises:
        Error: there is none in this installation, or the loader would not understand its path.
    """
    folder = Path(__file__).resolve().parent
    for suffix in EXTENSION_SUFFIXES:
        path = bytes(folder / f"_preload{suffix}")
        if os.path.exists(path):
            break
    else:
        raise Error(
            errno.ENOENT, f"{folder}: the preload library is not there; it is built on x86-64 Linux: install anew there"
        )
    if _SEPARATORS & set(path):
        raise Error(
            errno.EINVAL,
            f"{os.fsdecode(path)}: a space, a colon or a dollar sign in a path cannot be said to the loader "
            "(LD_PRELOAD); install the package in a folder without",
        )
    return path


def environment(
    before: Mapping[bytes, bytes], preload: bytes, context: str, stats: bytes | None = None
) -> dict[bytes, bytes]:
    """The environment for a program whose calls are to be routed.

    What is preloaded already stays, before ours: a library that wraps these calls goes on seeing them.
    """
    after = dict(before)
    others = before.get(b"LD_PRELOAD", b"")
    if preload not in others.replace(b":", b" ").split():
        after[b"LD_PRELOAD"] = b":".join(filter(None, [others, preload]))
    after[CONTEXT] = context.encode()
    if stats is not None:
        after[STATS] = stats
    return after


def own_environment() -> dict[bytes, bytes]:
    """The environment with which this process was started: Python changes its own (LC_CTYPE in the C locale)."""
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environb)
    pairs = (each.partition(b"=") for each in block.split(b"\0") if b"=" in each)
    return {name: value for name, _, value in pairs}
