# SPDX-License-Identifier: MIT
"""`semshare exec` where there is no module: what it refuses, and that the preload library lets pass what is not its
business. tests/vm/test_exec.py has what it is for."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from exec_programs import LIMIT, compiled, run

from semshare import AbiMismatch, program, route
from semshare.program import Unroutable

pytestmark = [
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="semshare exec is for x86-64"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler here"),
]
no_device = pytest.mark.skipif(os.path.exists(route.PATH), reason="the module is loaded here")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

LINE = f"semshare: exec: {route.PATH} cannot be had by this process"


@pytest.fixture(scope="module")
def programs():
    return compiled()


def semshare(*words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "semshare.cli", "exec", *words], capture_output=True, text=True, timeout=LIMIT, **more
    )


def assert_refused(ended: subprocess.CompletedProcess, *words: str, status: int = 1) -> None:
    assert (ended.returncode, ended.stdout) == (status, "")
    assert ended.stderr.startswith("semshare: ") and ended.stderr.count("\n") == 1, ended.stderr
    for word in words:
        assert word in ended.stderr


# ---------------------------------------------------------------------------------------------------- what is refused


@no_device
def test_without_the_module_nothing_runs(tmp_path):
    mark = tmp_path / "mark"
    for options in ([], ["--stats"], ["--context", "kthread"]):
        assert_refused(semshare(*options, "--", "touch", str(mark)), route.PATH, "modprobe semshare")
        assert not mark.exists()


def test_another_device_of_that_name_is_refused(monkeypatch):
    monkeypatch.setattr(route, "PATH", "/dev/null")
    with pytest.raises(AbiMismatch, match="what else has that name"):
        route.check()


def test_a_static_program_is_refused(tmp_path):
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return 0; }\n")
    for kind, words in {"-static": ["statically linked, so"], "-static-pie": ["static-pie"]}.items():
        path = tmp_path / f"program{kind}"
        subprocess.run(["gcc", kind, "-o", path, source], check=True)
        assert subprocess.run([path]).returncode == 0
        assert_refused(semshare("--", str(path)), str(path), *words)


def elf(bits: int = 2, data: int = 1, machine: int = 62, kind: int = 2, loader: bytes | None = b"/lib64/ld-musl.so.1"):
    """The beginning of an ELF file."""
    identity = b"\x7fELF" + bytes([bits, data, 1]) + bytes(9)
    if bits == 1:
        return identity + struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, 0, 52, 0, 0, 52, 32, 0, 0, 0, 0)
    header = struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, 0, 0, 64, 56, 1 if loader else 0, 0, 0, 0)
    if loader is None:
        return identity + header
    return identity + header + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader) + 1, 0, 1) + loader + b"\0"


@pytest.mark.parametrize(
    ("contents", "status", "words"),
    [
        (elf(bits=1, machine=3), 1, ["32-bit"]),
        (elf(bits=1, machine=62), 1, ["x32"]),
        (elf(machine=183), 1, ["another machine"]),
        (elf(data=2), 1, ["another machine"]),
        (elf(loader=b"/lib/ld-musl-x86_64.so.1"), 1, ["ld-musl-x86_64.so.1", "GNU C library"]),
        (elf(loader=None), 1, ["statically linked"]),
        (elf(kind=1, loader=None), 126, ["no program"]),
        (elf(kind=4, loader=None), 126, ["no program"]),
        (elf()[:10], 126, ["damaged"]),
        (elf()[:40], 126, ["damaged"]),
        (elf()[:100], 126, ["damaged"]),
    ],
    ids=["i386", "x32", "aarch64", "big-endian", "musl", "static", "object", "core", "cut-10", "cut-40", "cut-100"],
)
def test_a_program_of_another_kind_is_refused(tmp_path, contents, status, words):
    path = tmp_path / "program"
    path.write_bytes(contents)
    path.chmod(0o755)
    assert_refused(semshare("--", str(path)), str(path), *words, status=status)


@pytest.mark.parametrize(("mode", "word"), [(0o4755, "setuid"), (0o2755, "setgid"), (0o6711, "setuid")])
def test_a_program_with_other_rights_is_refused(tmp_path, mode, word):
    path = tmp_path / "program"
    shutil.copy("/bin/true", path)
    path.chmod(mode)
    assert_refused(semshare("--", str(path)), word)


@as_root
def test_a_program_with_capabilities_is_refused(tmp_path):
    path = tmp_path / "program"
    shutil.copy("/bin/true", path)
    # Version 2, effective, CAP_NET_RAW.
    os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    assert_refused(semshare("--", str(path)), "capabilities")


def test_what_is_not_there_or_cannot_run_ends_as_in_a_shell(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")
    assert_refused(semshare("--", "no-such-program-anywhere"), "PATH", status=127)
    assert_refused(semshare("--", str(tmp_path / "nothing")), "No such file", status=127)
    assert_refused(semshare("--", str(tmp_path)), "not a file", status=126)
    assert_refused(semshare("--", str(plain)), "chmod", status=126)
    path = {**os.environ, "PATH": f"/nowhere:{tmp_path}"}
    assert_refused(semshare("--", "plain", env=path), "chmod", status=126)
    assert_refused(semshare("--", ""), "empty", status=127)


# ------------------------------------------------------------------------------------------------- finding the program


def found(*words: str, **environment: str) -> tuple[str, list[str]]:
    variables = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
    it = program.find([os.fsencode(word) for word in words], variables)
    return os.fsdecode(it.path), [os.fsdecode(word) for word in it.arguments]


def script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_a_program_is_looked_for_as_a_shell_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    here = script(tmp_path / "tool", "#!/bin/sh\n")
    there = script(tmp_path / "bin/tool", "#!/bin/sh\n")
    assert found("tool", "-x", PATH=f"/nowhere:{tmp_path}/bin:{tmp_path}") == (there, ["tool", "-x"])
    assert found("tool", PATH=f":{tmp_path}/bin") == ("./tool", ["tool"])
    assert found("./tool", PATH="") == ("./tool", ["./tool"])
    # One that may not be run does not hide one behind it.
    os.chmod(here, 0o644)
    assert found("tool", PATH=f"{tmp_path}:{tmp_path}/bin")[0] == there
    assert found("sh")[0] in ("/bin/sh", "/usr/bin/sh")


def test_a_script_is_judged_by_its_interpreter(tmp_path):
    musl = tmp_path / "musl"
    musl.write_bytes(elf(loader=b"/lib/ld-musl-x86_64.so.1"))
    musl.chmod(0o755)
    good = script(tmp_path / "good", "#! /bin/sh -e\nexit 0\n")
    bad = script(tmp_path / "bad", f"#!{musl}\n")
    assert found(good) == (good, [good])
    for text in (
        f"#!{bad}\n",
        f"#!/usr/bin/env {musl}\n",
        f"#!/usr/bin/env -S A=b -u C {musl} -x\n",
        "#!/usr/bin/env musl",
        "#!/usr/bin/env -S PATH=/nowhere sh",
    ):
        with pytest.raises(Unroutable, match="interpreter"):
            found(script(tmp_path / "script", text), PATH=f"{tmp_path}:/usr/bin")
    for text in (f"#!{good}\n", "#!/usr/bin/env sh\n", "#!/usr/bin/env -S X=1 sh -e\n"):
        found(script(tmp_path / "script", text), PATH="/usr/bin")
    with pytest.raises(Unroutable, match="clears the environment"):
        found(script(tmp_path / "script", "#!/usr/bin/env -S -i sh\n"), PATH="/usr/bin")
    with pytest.raises(Unroutable) as refused:
        found(script(tmp_path / "script", "#!/no/such/interpreter\n"))
    assert refused.value.status == 127
    loop = tmp_path / "loop"
    with pytest.raises(Unroutable, match="too many"):
        found(script(loop, f"#!{loop}\n"))


def test_a_file_that_the_kernel_does_not_run_is_the_shells_to_run(tmp_path):
    path = script(tmp_path / "commands", 'echo "$0-$1"; exit 5\n')
    assert found(path, "a") == (path, [path, "a"])
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "from semshare import route; route.check = lambda: None\nimport sys, semshare.cli\n"
            "semshare.cli.main(['exec', '--', *sys.argv[1:]])",
            path,
            "a",
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (ended.returncode, ended.stdout) == (5, f"{path}-a\n"), ended.stderr


def test_only_spaces_and_tabs_separate_an_interpreter_from_its_argument(tmp_path):
    with pytest.raises(Unroutable) as refused:
        found(script(tmp_path / "script", "#!/bin/sh\r\n"))
    assert refused.value.status == 127 and r"/bin/sh\r" in str(refused.value).replace("\r", r"\r")


def test_the_loader_itself_is_named(tmp_path):
    loader = "/lib64/ld-linux-x86-64.so.2"
    with pytest.raises(Unroutable, match="is the loader"):
        found(loader, "/bin/true")


def test_a_program_with_a_sanitizer_that_must_be_first_is_told_what_to_set(programs):
    """What its library checks at the start is whether anything comes before it."""
    path = str(programs / "program-asan")
    with pytest.raises(Unroutable, match=r"LD_PRELOAD=libasan\.so"):
        found(path)
    assert found(path, LD_PRELOAD="/usr/lib/libasan.so.8") == (path, [path])
    libasan = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    ran = run([path, "timeouts", "asked_for"], variables={"LD_PRELOAD": os.path.realpath(libasan.strip())})
    assert ran.status == 0, ran.errors
    assert ran.counts.not_routed + ran.counts.routed > 0


def test_a_program_with_a_sanitizer_that_looks_for_what_it_stands_before_starts(programs):
    """ThreadSanitizer's library asks dlsym() before its own dl_iterate_phdr() works."""
    ran = run([str(programs / "program-tsan"), "timeouts", "asked_for"])
    assert ran.status == 0, ran.errors
    assert ran.counts.not_routed + ran.counts.routed > 0


# ---------------------------------------------------------------------------------------------------- the environment


def test_what_is_preloaded_already_stays_and_comes_first():
    ours = b"/somewhere/_preload.so"

    def preloaded(before: bytes | None) -> bytes:
        environment = {} if before is None else {b"LD_PRELOAD": before}
        return route.environment(environment, ours, "caller")[b"LD_PRELOAD"]

    assert preloaded(None) == preloaded(b"") == ours
    assert preloaded(b"/a.so b.so") == b"/a.so b.so:" + ours
    assert preloaded(b"/a.so:" + ours) == b"/a.so:" + ours


def test_a_path_that_cannot_be_preloaded_is_refused(tmp_path, monkeypatch):
    library = os.fsdecode(route.library())
    for folder in ("a b", "a:b", "a$b"):
        package = tmp_path / folder
        package.mkdir()
        shutil.copy(library, package)
        monkeypatch.setattr(route, "__file__", str(package / "route.py"))
        with pytest.raises(OSError, match="LD_PRELOAD"):
            route.library()
    monkeypatch.setattr(route, "__file__", str(tmp_path / "route.py"))
    with pytest.raises(OSError, match="not there"):
        route.library()


def test_the_environment_is_the_one_that_was_given():
    """Not what Python makes of it: in the C locale it adds LC_CTYPE."""
    given = {"PATH": os.environ["PATH"], "LC_ALL": "", "LANG": "", "ODD": "a=b"}
    code = "import sys; from semshare import route; sys.stdout.buffer.write(b' '.join(sorted(route.own_environment())))"
    ended = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, timeout=LIMIT, check=True)
    assert ended.stdout == b"LANG LC_ALL ODD PATH"


# ------------------------------------------------------------------------------------------------ the preload library


CASES = [
    "all_commands",
    "unknown_commands",
    "bad_pointers",
    "many_operations",
    "signals",
    "signal_handlers",
    "undo",
    "processes",
    "closed_descriptor",
    "other_system_calls",
    "asked_for",
]


def test_the_programs_of_these_tests_are_right(programs):
    """What they expect is what the system calls answer."""
    subprocess.run([programs / "program", *CASES, "timeouts"], check=True, timeout=LIMIT)
    subprocess.run([programs / "program", "loaded_libraries", programs], check=True, timeout=LIMIT)
    subprocess.run([programs / "program-early", "early_library"], check=True, timeout=LIMIT)


@no_device
@pytest.mark.parametrize("case", CASES)
def test_without_a_device_calls_do_what_they_do(programs, case):
    ran = run([str(programs / "program"), case])
    assert ran.status == 0, ran.errors
    assert ran.counts.routed == 0
    if case != "other_system_calls":
        assert ran.counts.not_routed > 0
        assert ran.errors.startswith(LINE), ran.errors


@no_device
def test_the_line_comes_once_for_each_program_start(programs):
    ran = run(["sh", "-c", f"{programs}/program timeouts timeouts; {programs}/program timeouts; true"])
    assert ran.errors.count(LINE) == ran.errors.count("\n") == 2
    assert ran.counts.images == 3


@no_device
def test_no_line_of_ours_comes_into_a_file_of_the_programs(programs):
    ran = run([str(programs / "program"), "no_descriptor_no_stderr"])
    assert (ran.status, ran.errors) == (0, "")
    assert ran.counts.not_routed > 0


@no_device
def test_a_standard_error_that_nobody_reads_does_not_kill(programs):
    """No SIGPIPE, no waiting for a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    environment = route.environment(os.environb, route.library(), "caller")
    ended = subprocess.run([programs / "program", "timeouts"], env=environment, stderr=writer, timeout=LIMIT)
    assert ended.returncode == 0
    reader, full = os.pipe()
    os.set_blocking(full, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(full, b"x" * 4096)
    os.set_blocking(full, True)
    ended = subprocess.run([programs / "program", "timeouts"], env=environment, stderr=full, timeout=LIMIT)
    assert ended.returncode == 0
    for fd in (reader, writer, full):
        os.close(fd)


@no_device
def test_libraries_however_they_are_loaded_come_to_us(programs):
    ran = run([str(programs / "program"), "loaded_libraries", str(programs)])
    assert ran.status == 0, ran.errors
    # Set, looked at in five ways, removed. One that goes past would not be counted.
    assert {name: number.not_routed for name, number in ran.counts.calls.items()} == {
        "semget": 1,
        "semop": 0,
        "semtimedop": 0,
        "semctl": 7,
    }


@no_device
def test_a_constructor_that_runs_before_ours_is_served(programs):
    ran = run([str(programs / "program-early"), "early_library"])
    assert ran.status == 0, ran.errors
    assert [call.not_routed for call in ran.counts.calls.values()] == [1, 1, 0, 3]


@no_device
def test_a_library_that_wraps_a_call_goes_on_seeing_it(programs):
    ran = run([str(programs / "program"), "wrapping_library"], variables={"LD_PRELOAD": f"{programs}/libwrapper.so"})
    assert ran.status == 0, ran.errors
    assert ran.counts.calls["semop"].not_routed == 1


@no_device
def test_python_comes_to_us_by_all_its_ways():
    code = """
import ctypes, sysv_ipc
semaphore = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=2)
semaphore.acquire()
for library in (ctypes.CDLL(None), ctypes.CDLL("libc.so.6"), ctypes.CDLL("libc.so.6", mode=ctypes.RTLD_GLOBAL)):
    assert library.semctl(semaphore.id, 0, 12) == 1
    assert library.syscall(66, semaphore.id, 0, 12, 0) == 1
    assert library.syscall(39) == __import__("os").getpid()
semaphore.remove()
"""
    ran = run([sys.executable, "-c", code])
    assert ran.status == 0, ran.errors
    assert ran.counts.calls["semctl"].not_routed == 2 + 6


@no_device
def test_a_killed_run_leaves_its_counters_to_the_next_one(tmp_path):
    """And one that still runs keeps them."""
    from semshare.call_counters import CallCounters

    with CallCounters() as running:
        folder = os.path.dirname(os.fsdecode(running.path))
        dead = folder + "-dead"
        shutil.copytree(folder, dead)
        for path in (folder, dead):
            os.utime(path, (0, 0))
        with CallCounters():
            assert os.path.exists(folder)
            assert not os.path.exists(dead)
    assert not os.path.exists(folder)


def test_a_strangers_folder_is_not_looked_into(tmp_path, monkeypatch):
    """/dev/shm is everybody's: an entry of that name may lead anywhere."""
    from semshare import call_counters

    shared, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    shared.mkdir()
    elsewhere.mkdir()
    os.mkfifo(elsewhere / "fifo")
    (elsewhere / "file").touch()
    (shared / f"{call_counters.FOLDER_PREFIX}link").symlink_to(elsewhere)
    mine = shared / f"{call_counters.FOLDER_PREFIX}mine"
    mine.mkdir()
    os.mkfifo(mine / "fifo")
    for path in (elsewhere, mine):
        os.utime(path, (0, 0))
    monkeypatch.setattr(call_counters, "_parent", lambda: str(shared))
    opened = []
    monkeypatch.setattr(
        os, "open", lambda path, *more, open=os.open, **named: opened.append(path) or open(path, *more, **named)
    )
    call_counters._remove_stale()
    assert "fifo" not in opened and "file" not in opened
    assert sorted(os.listdir(elsewhere)) == ["fifo", "file"] and not mine.exists()


def test_counters_find_another_place_where_memory_is_full(monkeypatch):
    from semshare import call_counters

    allocated = []

    def allocate(fd, offset, length, allocate=os.posix_fallocate):
        allocated.append(os.readlink(f"/proc/self/fd/{fd}"))
        if len(allocated) == 1:
            raise OSError(errno.ENOSPC, "full")
        allocate(fd, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with call_counters.CallCounters() as counters:
        assert counters.read().routed == 0
        assert os.path.dirname(os.path.dirname(os.fsdecode(counters.path))) == tempfile.gettempdir()
    first, second = allocated
    assert not os.path.exists(os.path.dirname(first)) and not os.path.exists(os.path.dirname(second))


def test_the_library_needs_little():
    """What the C library must have done before it can be used is not much, and no other library comes with it."""
    path = os.fsdecode(route.library())
    needed = subprocess.run(["readelf", "-dW", path], capture_output=True, text=True, check=True).stdout
    assert {line.split("[")[1].rstrip("]") for line in needed.splitlines() if "(NEEDED)" in line} <= {
        "libc.so.6",
        "ld-linux-x86-64.so.2",
    }
    assert "RUNPATH" not in needed and "RPATH" not in needed
    symbols = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout.split("\n")
    wanted = {line.split()[-1].split("@")[0] for line in symbols if " U " in line}
    assert wanted <= {"__errno_location", "environ", "__environ", "_r_debug", "dl_iterate_phdr"}
    ctypes.CDLL(path)
