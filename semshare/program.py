# SPDX-License-Identifier: MIT
"""Programs as the kernel and the loader see them: found on PATH, followed through #! lines, and whether a preload
library reaches them."""

from __future__ import annotations

import errno
import os
import shlex
import stat
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple, NoReturn

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
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB = 1, 5

# The members after e_ident.
_FILE_HEADER = struct.Struct("<HHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")

MAX_NAME, MAX_DYNAMIC = 4096, 1 << 16
"""Bytes that are read of a name, and of a table, in a file that may say anything."""


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

    def execute(self, environment: Mapping[bytes, bytes]) -> NoReturn:
        """Become it, as by execvp(): the shell gets what the kernel does not know how to run.

        Raises:
            OSError: as execve().
        """
        try:
            os.execve(self.path, self.arguments, environment)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
        os.execve(SHELL, [SHELL, self.path, *self.arguments[1:]], environment)


def find(words: list[bytes], environment: Mapping[bytes, bytes]) -> Program:
    """The program that a shell would run for these words, if a preload library reaches it.

    Raises:
        Unroutable: there is none, or it does not.
    """
    path = _on_path(words[0], environment)
    if not _check(path, environment, 0):
        # Neither #! nor ELF. Unless somebody told the kernel what it is (binfmt_misc), the shell will have it.
        _check(SHELL, environment, 1)
    return Program(path, words)


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
                _check_elf(path, file, environment)
                return True
    except PermissionError as error:
        raise Unroutable(
            f"{_text(path)}: may be run but not read, so nobody can tell whether it can be routed", NOT_EXECUTABLE
        ) from error
    except OSError as error:
        raise Unroutable(f"{_text(path)}: {error.strerror}", NOT_EXECUTABLE) from error
    if not start.startswith(b"#!"):
        return False
    line = start[2:].split(b"\n", 1)[0].strip(b" \t\0").replace(b"\t", b" ")
    interpreter, _, argument = line.partition(b" ")
    argument = argument.strip(b" ")
    if not interpreter:
        return False
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


def _check_elf(path: bytes, file: BinaryIO, environment: Mapping[bytes, bytes]) -> None:
    """Refuse what is not for x86-64, 64 bit, with the GNU C library's loader.

    Raises:
        Unroutable: says which.
    """
    what = _text(path)
    damaged = Unroutable(f"{what}: is a damaged ELF file", NOT_EXECUTABLE)
    advice = "semshare exec reaches dynamically linked 64-bit programs for x86-64"
    file.seek(0)
    start = file.read(16 + _FILE_HEADER.size)
    if len(start) < 20:
        raise damaged
    bits, order = start[4:6]
    (machine,) = struct.unpack_from("<H", start, 18)
    if bits == ELFCLASS32:
        kind = "is an x32 program" if machine == EM_X86_64 else "is a 32-bit program"
        raise Unroutable(f"{what}: {kind}: {advice}")
    if bits != ELFCLASS64 or order != ELFDATA2LSB or machine != EM_X86_64:
        raise Unroutable(f"{what}: is for another machine: {advice}")
    if len(start) < 16 + _FILE_HEADER.size:
        raise damaged
    kind, _, _, _, table, _, _, _, size, number, _, _, _ = _FILE_HEADER.unpack_from(start, 16)
    if kind not in (ET_EXEC, ET_DYN) or (number and size != _PROGRAM_HEADER.size):
        raise Unroutable(f"{what}: is an ELF file but no program", NOT_EXECUTABLE)
    headers = _read(file, table, number * size)
    if len(headers) < number * size:
        raise damaged
    parts = [_Part(*each) for each in _PROGRAM_HEADER.iter_unpack(headers)]
    interpreters = [part for part in parts if part.type == PT_INTERP]
    if not interpreters:
        if os.path.basename(os.path.realpath(path)) == LOADER:
            raise Unroutable(f"{what}: is the loader, which is no program; name the one that it is to load")
        raise Unroutable(
            f"{what}: is statically linked{' (static-pie)' if kind == ET_DYN else ''}, so no preload library gets into "
            "it; link it dynamically"
        )
    loader = _read(file, interpreters[0].offset, min(interpreters[0].file_size, MAX_NAME)).rstrip(b"\0")
    if os.path.basename(loader) != LOADER:
        raise Unroutable(
            f"{what}: its loader is {_text(loader)}, not that of the GNU C library ({LOADER.decode()}), which the "
            "preload library is made for; run a build for that library"
        )
    for library in _needed(file, parts):
        if library.startswith(b"libasan.so") and b"libasan.so" not in environment.get(b"LD_PRELOAD", b""):
            name = _text(library)
            raise Unroutable(
                f"{what}: was built with AddressSanitizer, whose library must come before all others: set "
                f"LD_PRELOAD={name} (gcc -print-file-name={name} says where it is); ours will come behind it"
            )


class _Part(NamedTuple):
    """A program header."""

    type: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    alignment: int


def _needed(file: BinaryIO, parts: list[_Part]) -> Iterator[bytes]:
    """The libraries that a program names (DT_NEEDED); none if it is damaged, which the loader will find out."""
    entries: list[tuple[int, int]] = []
    for part in parts:
        if part.type == PT_DYNAMIC:
            raw = _read(file, part.offset, min(part.file_size, MAX_DYNAMIC))
            entries = list(_DYNAMIC.iter_unpack(raw[: len(raw) // _DYNAMIC.size * _DYNAMIC.size]))
    strings = next((value for tag, value in entries if tag == DT_STRTAB), 0)
    for part in parts:
        if part.type == PT_LOAD and part.address <= strings < part.address + part.file_size:
            start = part.offset + strings - part.address
            for tag, value in entries:
                if tag == DT_NEEDED:
                    yield _read(file, start + value, MAX_NAME).split(b"\0", 1)[0]


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    """What is there, no more than the file has; nothing at a place that no file has."""
    if offset >= 1 << 62:
        return b""
    file.seek(offset)
    return file.read(size)


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")
