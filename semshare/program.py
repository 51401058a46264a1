# SPDX-License-Identifier: MIT
"""Programs as the kernel and the loader see them: found on PATH, followed through #! lines, and whether a preload
library reaches them."""

from __future__ import annotations

import errno
import os
import shlex
import stat
import struct
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit statuses by which a shell says so."""

DEFAULT_PATH = b"/bin:/usr/bin"
"""Where execvp() looks if there is no PATH."""

SHELL = b"/bin/sh"
"""What execvp() gives a file to that the kernel does not know how to run."""

LINE_SIZE = 256
"""Bytes of a file that the kernel reads to see what it is; a #! line ends there at the latest."""

MAX_INTERPRETERS = 5
"""#! lines that the kernel follows before it says ELOOP. `env` and what it runs count here as well."""

LOADER = b"ld-linux-x86-64.so.2"
"""The GNU C library's for x86-64: what the preload library is made for."""

ELFCLASS32, ELFCLASS64 = 1, 2
ELFDATA2LSB = 1
ET_EXEC, ET_DYN = 2, 3
EM_386, EM_X86_64 = 3, 62
PT_INTERP = 3

# The members after e_ident.
_FILE_HEADER = struct.Struct("<HHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


class Unroutable(Exception):
    """A program cannot be run, or no preload library reaches it.

    Attributes:
        status: the exit status that tells so.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Program(NamedTuple):
    """What is to be executed."""

    path: bytes
    arguments: list[bytes]
    """The first is the program's name."""


def find(words: list[bytes], environment: Mapping[bytes, bytes]) -> Program:
    """The program that a shell would run for these words, if a preload library reaches it.

    Raises:
        Unroutable: there is none, or it does not.
    """
    path = _on_path(words[0], environment)
    if _check(path, environment, 0):
        return Program(path, words)
    # Neither #! nor ELF: execvp() has the shell run it.
    _check(SHELL, environment, 1)
    return Program(SHELL, [SHELL, path, *words[1:]])


def _on_path(name: bytes, environment: Mapping[bytes, bytes]) -> bytes:
    """Look for a program as execvp() does: a name with a slash is a path; of others the first that may be run."""
    if not name:
        raise Unroutable("the program's name is empty", NOT_FOUND)
    if b"/" in name:
        _executable(name)
        return name
    denied = None
    for folder in environment.get(b"PATH", DEFAULT_PATH).split(b":"):
        path = os.path.join(folder, name) if folder else name
        try:
            _executable(path)
        except Unroutable as error:
            denied = denied or (error if error.status == NOT_EXECUTABLE else None)
        else:
            # A path without a slash is one in the current folder, and no name any more.
            return path if b"/" in path else b"./" + path
    raise denied or Unroutable(f"{_text(name)}: there is no such program on PATH", NOT_FOUND)


def _executable(path: bytes) -> os.stat_result:
    try:
        status = os.stat(path)
    except OSError as error:
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise Unroutable(f"{_text(path)}: {error.strerror}", NOT_FOUND if absent else NOT_EXECUTABLE) from error
    if not stat.S_ISREG(status.st_mode):
        raise Unroutable(f"{_text(path)}: is not a file that can be run", NOT_EXECUTABLE)
    if not os.access(path, os.X_OK, effective_ids=True):
        raise Unroutable(f"{_text(path)}: this user may not run it: chmod +x, or another user", NOT_EXECUTABLE)
    return status


def _check(path: bytes, environment: Mapping[bytes, bytes], depth: int) -> bool:
    """Follow interpreters down to a program that is no script, and have it checked.

    Returns:
        False if it is nothing that the kernel runs.
    """
    if depth > MAX_INTERPRETERS:
        raise Unroutable(f"{_text(path)}: too many interpreters, one within the other", NOT_EXECUTABLE)
    status = _executable(path)
    try:
        with open(path, "rb") as file:
            start = file.read(LINE_SIZE)
            if start.startswith(b"\x7fELF"):
                _check_rights(path, status)
                _check_elf(path, file)
                return True
    except PermissionError as error:
        raise Unroutable(
            f"{_text(path)}: may be run but not read, so nobody can tell whether it can be routed", NOT_EXECUTABLE
        ) from error
    except OSError as error:
        raise Unroutable(f"{_text(path)}: {error.strerror}", NOT_EXECUTABLE) from error
    if not start.startswith(b"#!"):
        return False
    words = start[2:].split(b"\n", 1)[0].strip(b" \t\0").split(None, 1)
    if not words:
        return False
    interpreter, argument = words[0], words[1].strip(b" \t") if len(words) > 1 else b""
    try:
        if not _check(interpreter, environment, depth + 1):
            raise Unroutable(f"{_text(interpreter)}: is no program that the kernel can run", NOT_EXECUTABLE)
        if os.path.basename(interpreter) == b"env":
            _check_env(argument, environment, depth + 1)
    except Unroutable as error:
        raise Unroutable(f"{_text(path)}: its interpreter {error}", error.status) from error
    return True


def _check_env(argument: bytes, environment: Mapping[bytes, bytes], depth: int) -> None:
    """Check what `#!/usr/bin/env ARGUMENT` runs. What env itself will complain about is left to env."""
    words = [argument]
    for prefix in (b"-S", b"--split-string=", b"-vS"):
        if argument.startswith(prefix):
            try:
                words = [os.fsencode(word) for word in shlex.split(os.fsdecode(argument[len(prefix) :]))]
            except ValueError:
                return
    environment = dict(environment)
    while words and (words[0].startswith(b"-") or b"=" in words[0]):
        word = words.pop(0)
        if word in (b"-", b"-i", b"--ignore-environment"):
            raise Unroutable("env clears the environment (-i), by which the preload library is passed on")
        if word in (b"-u", b"-C") and words:
            words.pop(0)
        elif not word.startswith(b"-"):
            name, _, value = word.partition(b"=")
            environment[name] = value
    if not words or not words[0]:
        return
    _check(_on_path(words[0], environment), environment, depth)


def _check_rights(path: bytes, status: os.stat_result) -> None:
    """Refuse programs that run with more rights than their caller has: the loader preloads nothing into them."""
    advice = "no preload library gets into a program with other rights than its caller's; run a copy without them"
    if status.st_mode & stat.S_ISUID:
        raise Unroutable(f"{_text(path)}: is setuid: {advice}")
    # Without the group's x the bit means something else.
    if status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP:
        raise Unroutable(f"{_text(path)}: is setgid: {advice}")
    try:
        os.getxattr(path, "security.capability")
    except OSError:
        return
    raise Unroutable(f"{_text(path)}: has file capabilities: {advice}")


def _check_elf(path: bytes, file: BinaryIO) -> None:
    """Refuse what is not for x86-64, 64 bit, with the GNU C library's loader.

    Raises:
        Unroutable: says which.
    """
    what = _text(path)
    advice = "semshare exec reaches dynamically linked 64-bit programs for x86-64"
    file.seek(0)
    identity = file.read(16)
    if len(identity) < 16:
        raise Unroutable(f"{what}: is a damaged ELF file", NOT_EXECUTABLE)
    (machine,) = struct.unpack("<H", file.read(4)[2:].ljust(2, b"\0"))
    if identity[4] == ELFCLASS32:
        kind = "is an x32 program" if machine == EM_X86_64 else "is a 32-bit program"
        raise Unroutable(f"{what}: {kind}: {advice}")
    if identity[4] != ELFCLASS64 or identity[5] != ELFDATA2LSB or machine != EM_X86_64:
        raise Unroutable(f"{what}: is for another machine: {advice}")

    file.seek(16)
    header = file.read(_FILE_HEADER.size)
    if len(header) < _FILE_HEADER.size:
        raise Unroutable(f"{what}: is a damaged ELF file", NOT_EXECUTABLE)
    kind, _, _, _, table, _, _, _, size, number, _, _, _ = _FILE_HEADER.unpack(header)
    if kind not in (ET_EXEC, ET_DYN) or (number and size != _PROGRAM_HEADER.size):
        raise Unroutable(f"{what}: is an ELF file but no program", NOT_EXECUTABLE)
    file.seek(table)
    headers = file.read(number * size)
    if len(headers) < number * size:
        raise Unroutable(f"{what}: is a damaged ELF file", NOT_EXECUTABLE)
    for type_, _, offset, _, _, length, _, _ in _PROGRAM_HEADER.iter_unpack(headers):
        if type_ == PT_INTERP:
            file.seek(offset)
            loader = file.read(min(length, 4096)).rstrip(b"\0")
            if os.path.basename(loader) != LOADER:
                raise Unroutable(
                    f"{what}: its loader is {_text(loader)}, not that of the GNU C library ({LOADER.decode()}), which "
                    "the preload library is made for; run a build for that library"
                )
            return
    raise Unroutable(
        f"{what}: is statically linked{' (static-pie)' if kind == ET_DYN else ''}, so no preload library gets into it; "
        "link it dynamically"
    )


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")
