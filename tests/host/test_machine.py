# SPDX-License-Identifier: MIT
"""The virtual machine's driver: what it passes through, and what it must never call a success."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]

needs_machine = pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None or bool(os.environ.get("SEMSHARE_VM")),
    reason="no QEMU here: make setup installs it",
)


def boot(*arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    """Run ``vm/run`` without the modules: what is judged here is the machine."""
    return subprocess.run(
        [TOP / "vm/run", "--no-load", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


def qemu_processes(parent: int) -> list[int]:
    """Those QEMU processes that belong to the process ``parent``'s run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"qemu-system" in command[0] and any(f"-{parent}-".encode() in word for word in command):
                found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def judge():
    spec = importlib.util.spec_from_file_location("judge", TOP / "vm/judge.py")
    assert spec is not None and spec.loader is not None
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    return judge


@pytest.fixture(scope="module")
def splats(judge):
    return judge.Splats()


@pytest.mark.parametrize(
    "line",
    [
        "[    7.1] BUG: kernel NULL pointer dereference, address: 0000000000000010",
        "[    7.1] WARNING: CPU: 1 PID: 77 at kernel/fork.c:12 copy_process+0x1/0x2",
        "[    7.1] WARNING: possible circular locking dependency detected",
        "[    7.1] Oops: 0002 [#1] PREEMPT SMP NOPTI",
        "[    7.1] general protection fault, probably for non-canonical address",
        "[    7.1] BUG: KASAN: slab-use-after-free in semshare_area_put",
        "[    7.1] BUG: sleeping function called from invalid context at mm/slab.h:1",
        "[    7.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "[    7.1] rcu: INFO: rcu_preempt self-detected stall on CPU",
        "[    7.1] INFO: task semshare_demo/0:99 blocked for more than 120 seconds.",
        "[    7.1] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [python:12]",
        "[    7.1] UBSAN: array-index-out-of-bounds in ring.c:12:3",
        "[    7.1]     not ok 3 a_record_is_published_or_it_never_existed",
        "[    7.1] not ok 1 semshare_ring",
        "[    7.1] Kernel panic - not syncing: sysrq triggered crash",
        "[    7.1] refcount_t: underflow; use-after-free.",
        "[    7.1] kmemleak: Kernel memory leak detector disabled",
        "[    7.1] ODEBUG: Out of memory. ODEBUG disabled",
        "[    7.1] turning off the locking correctness validator.",
        "semshare: kmemleak has turned itself off: nobody looked for leaks",
        "semshare: kcsan is off: nobody looked for races",
    ],
)
def test_a_complaint_of_the_kernel_is_recognised(splats, line):
    assert splats.first(f"[    1.0] Linux version 6.1\n{line}\n[    9.0] end") == line


@pytest.mark.parametrize(
    "line",
    [
        "[    0.0] Linux version 6.1.0-51-amd64 (debian-kernel@lists.debian.org)",
        "[    1.0] semshare: loaded, ABI 1",
        "[    1.0] semshare: loading out-of-tree module taints kernel.",
        "[    1.0] semshare: module verification failed: signature and/or required key missing - tainting kernel",
        "[    7.1]     ok 3 a_record_is_published_or_it_never_existed",
        "[    7.1] kmemleak: Cannot allocate a scan area, scanning the full object",
        "semshare: kcsan: on to the end",
        "[    7.1] WARNING: CPU: 1 PID: 93 at event_define_fields+0x2df/0x4c0",
        "[    7.1] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    ],
)
def test_an_ordinary_line_is_not_taken_for_a_complaint(splats, line):
    assert splats.first(line) is None


def test_what_was_looked_for_is_told_by_who_looked(judge):
    assert judge.looked_for("[    1.0] Linux version 6.1\n") == {"splat"}
    assert judge.looked_for("semshare: kmemleak: the run began at jiffies: 4294896835\n") == {"splat", "leak"}
    assert judge.looked_for("[    1.0] kcsan: strict mode\nsemshare: kcsan: on to the end\n") == {"splat", "race"}
    assert judge.looked_for("semshare: kcsan is off: nobody looked for races\n") == {"splat"}


def race(function: str) -> str:
    """A report as KCSAN writes it, of a race between ``function`` and one of the kernel's own."""
    return f"""\
[    7.1] ==================================================================
[    7.1] BUG: KCSAN: data-race in do_here / do_there

[    7.1] write to 0xffff888007f3a3c4 of 4 bytes by task 77 on cpu 1:
[    7.1]  do_here+0x5c/0x80
[    7.1]  {function}
[    7.1]  __x64_sys_ioctl+0xc4/0x100

[    7.1] read to 0xffff888007f3a3c4 of 4 bytes by task 78 on cpu 0:
[    7.1]  do_there+0x21/0x90

[    7.1] value changed: 0x00000001 -> 0x00000002

[    7.1] Reported by Kernel Concurrency Sanitizer on:
[    7.1] CPU: 0 PID: 78 Comm: semshare_demo/0 Tainted: G           O       6.1.192-semshare-kcsan #1
[    7.1] ==================================================================
"""


def test_a_data_race_counts_only_with_a_function_of_ours_near_the_access(splats):
    theirs, ours = race("vfs_ioctl+0x1/0x2"), race("semshare_area_ioctl+0x1/0x2 [semshare]")
    assert splats.first(theirs) is None
    assert "KCSAN: data-race" in splats.first(ours)
    assert "KCSAN: data-race" in splats.first(theirs + ours)
    line, below = "[    7.1]  do_there+0x21/0x90\n", "[    7.1]  semshare_area_ioctl+0x1/0x2 [semshare]\n"
    for between, counts in ((2, True), (3, False)):
        deep = theirs.replace(line, line + "[    7.1]  helper+0x1/0x2\n" * between + below)
        assert (splats.first(deep) is not None) == counts
    assert splats.first(theirs + "[    7.2] semshare: loaded [semshare]") is None
    assert "WARNING: " in splats.first(theirs + "[    7.2] WARNING: CPU: 1 PID: 2 at here:3")


@pytest.mark.parametrize(
    ("pair", "counts"),
    [
        ("ktime_get_real_seconds / timekeeping_advance", False),
        ("__do_semtimedop / semctl_stat", False),
        ("exit_signals / kthread_unpark", False),
        ("__debug_object_init / debug_object_activate", False),
        ("kthread_stop / do_exit", False),
        ("semshare_lock_take / semctl_stat", True),
        ("__do_semtimedop / semshare_lock_take", True),
    ],
)
def test_the_kernels_own_races_below_a_call_of_ours_are_borne_with_by_name(splats, pair, counts):
    report = race("sem_operate+0x1/0x2 [semshare]").replace("do_here / do_there", pair)
    assert (splats.first(report) is not None) == counts


def leak(task: str, jiffies: int, function: str) -> str:
    """A record as kmemleak writes it."""
    return f"""\
unreferenced object 0xffff88800c0ffee0 (size 64):
  comm "{task}", pid 77, jiffies {jiffies}
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace:
    [<000000008e0d4b2a>] kmalloc_trace+0x2a/0xa0
    [<0000000061f3c8d5>] {function}
"""


@pytest.mark.parametrize(
    ("record", "counts"),
    [
        (leak("python", 4294903000, "do_sys_openat2+0x1/0x2"), True),
        (leak("python", 4294901999, "do_sys_openat2+0x1/0x2"), False),
        (leak("kworker/1:2", 4294903000, "cgroup_mkdir+0x1/0x2"), False),
        (leak("kworker/1:2", 4294903000, "semshare_area_work+0x1/0x2 [semshare]"), True),
        (leak("kworker/1:2", 4294903000, "0xffffffffa0012345"), True),
        (leak("swapper/0", 4294892300, "kernel_init+0x1/0x2"), False),
    ],
    ids=["by the run", "before the run", "by the kernel", "by a module", "by a module since removed", "at boot"],
)
def test_a_leak_counts_when_the_run_or_a_module_allocated_it(splats, record, counts):
    log = "[    9.0] end\nsemshare: kmemleak: the run began at jiffies: 4294902000\n"
    assert (splats.first(log + record) is not None) == counts
    assert splats.first(log + record + leak("bash", 4294904000, "do_exec+0x1/0x2")) is not None


@needs_machine
def test_output_and_status_pass_through_and_nothing_else_reaches_stdout():
    done = boot("--sh", "echo to-stdout; echo to-stderr >&2; id -u; exit 42")
    assert done.stdout == "to-stdout\n0\n"
    assert "to-stderr\n" in done.stderr
    assert done.returncode == 42


@needs_machine
def test_a_warning_of_the_kernel_fails_a_command_that_succeeds():
    done = boot("--sh", "echo '<4>WARNING: CPU: 0 PID: 1 at here:1 there+0x1/0x2' >/dev/kmsg; echo fine")
    assert done.stdout == "fine\n"
    assert done.returncode == 125
    assert "WARNING: CPU: 0 PID: 1 at here:1" in done.stderr


@needs_machine
def test_a_panic_fails_at_once_and_shows_the_end_of_the_log():
    begin = time.monotonic()
    done = boot("--sh", "echo c >/proc/sysrq-trigger; sleep 300")
    assert done.returncode == 125
    assert "sysrq triggered crash" in done.stderr
    assert time.monotonic() - begin < 250


@needs_machine
def test_a_command_that_does_not_end_is_stopped():
    done = boot("--timeout", "5", "--sh", "echo begun; sleep 1000")
    assert done.stdout == "begun\n"
    assert done.returncode == 124
    assert "did not end within 5 s" in done.stderr


@needs_machine
def test_the_driver_killed_leaves_no_machine_behind():
    driver = subprocess.Popen(
        [TOP / "vm/run", "--no-load", "--sh", "echo up; sleep 1000"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "up\n"
        assert qemu_processes(driver.pid)
    finally:
        driver.kill()
        driver.wait()
    deadline = time.monotonic() + 20
    while qemu_processes(driver.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not qemu_processes(driver.pid)


@needs_machine
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0, 0.02, 1])
def test_the_driver_interrupted_ends_soon_and_leaves_no_machine_behind(number, after):
    driver = subprocess.Popen([TOP / "vm/run", "--no-load", "--sh", "sleep 1000"], stderr=subprocess.PIPE, text=True)
    try:
        assert driver.stderr is not None
        assert any("booting" in line for line in driver.stderr)
        time.sleep(after)
        driver.send_signal(number)
        assert driver.wait(5) == 128 + number
        assert not qemu_processes(driver.pid)
    finally:
        driver.kill()
        driver.wait()


def test_an_unknown_kernel_is_refused_with_the_known_ones():
    done = boot("--kernel", "2.4", "--sh", "true")
    assert done.returncode == 125
    assert "unknown KERNEL=2.4" in done.stderr
    assert "6.1," in done.stderr


@pytest.fixture
def a_run(monkeypatch, tmp_path):
    """One of vm/test-all's, that has not run: a folder and a log for it."""
    monkeypatch.syspath_prepend(TOP / "vm")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # as it does, and for the other tests no longer
    loader = importlib.machinery.SourceFileLoader("test_all", str(TOP / "vm/test-all"))
    spec = importlib.util.spec_from_loader("test_all", loader)
    assert spec is not None
    test_all = importlib.util.module_from_spec(spec)
    loader.exec_module(test_all)
    monkeypatch.setattr(test_all, "OUT", tmp_path)
    run = test_all.Run("6.1")
    (run.dir / "machine").mkdir(parents=True)
    run.log.write_text("the beginning\n" + "and so on\n" * 50 + "the end\n")
    return run


def test_of_a_run_that_fails_is_told_which_tests_did_and_what_the_kernel_says(a_run):
    suite = a_run.dir / "tests/vm/test_this.py"
    suite.parent.mkdir(parents=True)
    suite.write_text("""\
import pytest

@pytest.fixture
def broken():
    yield
    raise OSError("no end")

def test_fine():
    pass

@pytest.mark.parametrize("number", range(20))
def test_numbers(number):
    assert number < 2, "no\\nless" + "x" * 500

def test_end(broken):
    pass
""")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", ".", "--junitxml", "junit.xml"]

    def reasons(chosen: str) -> list[str]:
        done = subprocess.run([*command, "-k", chosen, "tests"], cwd=a_run.dir, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return a_run.reasons()

    assert reasons("fine or end") == [
        'tests/vm/test_this.py::test_end: failed on teardown with "OSError: no end"',
    ]
    many = reasons("numbers")
    assert many[0].startswith("tests/vm/test_this.py::test_numbers[2]: AssertionError: no")
    assert len(many) == 12 and many[-1] == "and 7 more" and max(map(len, many)) <= 200
    (a_run.dir / "machine/console").write_text("[    7.1] BUG: KASAN: slab-use-after-free in here\n")
    assert reasons("fine") == ["[    7.1] BUG: KASAN: slab-use-after-free in here"]


JUNIT = "<testsuites><testsuite tests='9' errors='0' failures='{failed}' skipped='0'>{cases}</testsuite></testsuites>"
FAILED = "<testcase classname='tests.vm.test_this' name='test_{n}'><failure message='late by {n}'/></testcase>"


@pytest.mark.parametrize(
    "failed, answers, complains, tried, wanted",
    [
        (1, [0, 0], False, 2, "ok, 1 unsteady"),
        (2, [0] * 4, False, 4, "ok, 2 unsteady"),
        (1, [0, 1], False, 2, "FAILED (1)"),
        (2, [0, 0, 2], False, 3, "FAILED (1)"),
        (3, [], False, 0, "FAILED (1)"),
        (1, [], True, 0, "FAILED (1)"),
    ],
)
def test_only_a_few_failed_tests_of_which_the_kernel_says_nothing_are_tried_again(
    a_run, monkeypatch, failed, answers, complains, tried, wanted
):
    cases = "".join(FAILED.format(n=n) for n in range(failed))
    (a_run.dir / "junit.xml").write_text(JUNIT.format(failed=failed, cases=cases))
    if complains:
        (a_run.dir / "machine/console").write_text("[    7.1] BUG: KASAN: slab-use-after-free in here\n")
    again = []

    def one_test(_log, what, place):
        again.append((what, place))
        return answers[len(again) - 1]

    monkeypatch.setattr(a_run, "_test", one_test)
    a_run.status = 1
    a_run.retry()
    assert len(again) == len({place for _, place in again}) == tried and a_run.word() == wanted
    unsteady = [f"tests/vm/test_this.py::test_{n}: late by {n}" for n in range(failed)]
    assert a_run.status or a_run.unsteady == unsteady


def test_of_a_run_that_fails_and_leaves_no_results_the_end_of_the_log_is_told(a_run):
    assert a_run.reasons() == ["and so on"] * 11 + ["the end"]


def test_setup_refuses_a_word_that_it_does_not_know():
    done = subprocess.run([TOP / "vm/setup", "6.1"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "knows no '6.1'" in done.stderr
    assert "machine" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_build_of_the_modules_that_is_killed_takes_what_fetches_the_kernel_along(tmp_path, number):
    for folder in ("vm", "kmod_semshare"):
        (tmp_path / folder).mkdir()
    for name in ("vm/common.sh", "vm/kmod", "kmod_semshare/Kbuild"):
        shutil.copy(TOP / name, tmp_path / name)
    fetch = tmp_path / "vm/fetch"
    fetch.write_text("#!/bin/sh\necho up >&2\nexec sleep 60\n")
    fetch.chmod(0o755)
    builder = subprocess.Popen([tmp_path / "vm/kmod", "6.1"], stderr=subprocess.PIPE, text=True)
    assert builder.stderr is not None
    assert builder.stderr.readline() == "up\n"
    builder.send_signal(number)
    # The end of the file: nobody has it open any more.
    assert builder.communicate(timeout=20)[1] == ""


def can_mount() -> bool:
    unshare = ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"]
    return os.geteuid() == 0 and subprocess.run(unshare, capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="not root, or not allowed to mount here")


@pytest.fixture
def chroot(tmp_path: Path) -> Path:
    """As small as can be: the machine's busybox, which is static."""
    busybox = subprocess.run([TOP / "vm/fetch", "6.1"], capture_output=True, text=True, check=True).stdout.strip()
    root = tmp_path / "chroot"
    for folder in ("bin", "dev", "mnt", "proc"):
        (root / folder).mkdir(parents=True)
    shutil.copy(Path(busybox, "busybox"), root / "bin/busybox")
    for name in ("cat", "sh", "sleep", "touch"):
        (root / "bin" / name).symlink_to("busybox")
    return root


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@needs_mounts
def test_a_chroot_shows_what_is_shared_and_keeps_nothing_of_what_is_written(chroot, tmp_path):
    shared = tmp_path / "shared folder"
    shared.mkdir()
    before = tree(chroot)
    script = 'touch kept /bin/not-kept; cat /proc/self/comm; echo "$1"; echo word >&2; exit 42'
    done = subprocess.run(
        [TOP / "vm/inside", chroot, shared, "--", "sh", "-c", script, "sh", "a  b"],
        cwd=shared,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (42, "cat\na  b\n", "word\n")
    assert tree(shared) == ["kept"]
    assert tree(chroot) == before
    assert str(chroot) not in Path("/proc/self/mounts").read_text()


@needs_mounts
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_chroot_whose_caller_is_killed_is_left_by_all_and_unmounted(chroot, tmp_path, number):
    # A caller in between, as vm/kmod is one: it is this one that gets killed.
    script = f"'{TOP}/vm/inside' '{chroot}' '{tmp_path}' -- sh -c 'sleep 1000 & echo up; sleep 1000'; echo after"
    caller = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "up\n"
    caller.send_signal(number)
    # The end of the file: nobody has it open any more.
    assert caller.stdout.read() == ""
    caller.wait()
    assert str(chroot) not in Path("/proc/self/mounts").read_text()
    assert sorted(each.name for each in chroot.iterdir()) == ["bin", "dev", "mnt", "proc"]
