# SPDX-License-Identifier: MIT
"""The commands ls, rm, unlock, doctor and watch, as a shell calls them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from semshare._abi import lib

from semshare import Full, Lock, Ring
from semshare.ring import VARIANTS

LIMIT = 60
PRODUCER, CONSUMER = 1, 2  # of Variant.roles
COMMANDS = ("demo", "exec", "watch", "ls", "inspect", "top", "get", "set", "rm", "unlock", "doctor")


def semshare(*arguments: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "semshare.cli", *arguments], capture_output=True, text=True, timeout=LIMIT, **more
    )


def assert_one_line(ended: subprocess.CompletedProcess, *words: str) -> None:
    """An error as all of them are: exit status 1, one line on standard error that has these words, nothing else."""
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("semshare: ") and ended.stderr.count("\n") == 1
    for word in words:
        assert word in ended.stderr


@pytest.fixture
def ring(name):
    with Ring.create(name, 1 << 16) as made:
        yield made
        made.unlink()


@pytest.fixture
def lock(name):
    made = Lock(name)
    yield made
    made.unlink()


# A process that takes semaphore 0 without SEM_UNDO and ends, or waits for its input to end.
TAKER = """
import sys, sysv_ipc
semaphore = sysv_ipc.Semaphore(int(sys.argv[1]))
semaphore.acquire()
print("taken", flush=True)
sys.stdin.read()
"""


def taker(key: int) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", TAKER, str(key)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "taken\n"
    return process


# ------------------------------------------------------------------------------------------------------ all of them


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["watch", "exec"]])
def test_every_command_explains_itself(command):
    ended = semshare(*command, "--help")
    assert ended.returncode == 0 and "Usage:" in ended.stdout


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["demo", "--seconds", "x"], ["demo", "--seconds", "1", "--records", "1"], ["rm"]]
)
def test_wrong_usage_ends_with_2(arguments):
    ended = semshare(*arguments)
    assert ended.returncode == 2 and ended.stdout == "" and "Traceback" not in ended.stderr


def test_the_script_is_installed():
    script = Path(sys.executable).with_name("semshare")
    if not script.exists():
        pytest.skip("this Python runs the sources without an installation")
    assert subprocess.run([script, "--version"], capture_output=True, timeout=LIMIT).returncode == 0


# --------------------------------------------------------------------------------------------------------------- ls


def test_ls_shows_an_area_with_its_ring_and_its_set(ring, name):
    ring.put_many([b"one", b"two"])
    listed = json.loads(semshare("ls", "--json").stdout)
    (area,) = [area for area in listed["areas"] if area["name"] == name]
    assert area["backend"] in ("posix", "module")
    assert area["ring"]["puts"] == 2 and area["ring"]["state"] == "ok"
    (found,) = [each for each in listed["sets"] if each["semid"] == area["semid"]]
    assert found["values"][0] == 1 and len(found["values"]) == 3
    assert found["name"] == name and found["deaths"] == 0
    assert name in semshare("ls").stdout


def test_ls_shows_what_a_ring_is_and_what_it_dropped(name):
    with Ring.create(name, 4096, policy="refuse") as ring:
        try:
            with pytest.raises(Full):
                while True:
                    ring.put(b"x" * 900)
            listed = json.loads(semshare("ls", "--json").stdout)
            (area,) = [area for area in listed["areas"] if area["name"] == name]
            assert area["holds"] == "ring"
            assert area["ring"]["variant"] == "sysv" and area["ring"]["policy"] == "refuse"
            assert area["ring"]["drops"] == {"refused": 1, "overwritten": 0, "abandoned": 0}
            line = next(line for line in semshare("ls").stdout.splitlines() if "1 refused" in line)
            assert line.split()[:3] == [name, "sysv", "refuse"]
        finally:
            ring.unlink()


@pytest.mark.parametrize("variant", VARIANTS)
def test_ls_shows_of_each_variant_what_is_in_it_and_who_has_a_role(name, variant):
    """Though it reads no more of an area than it must."""
    with Ring.create(name, 1 << 16, variant=variant) as ring:
        ring.put_many([b"x" * 100] * 5)
        ring.get()
        listed = json.loads(semshare("ls", "--json").stdout)
        (area,) = [area for area in listed["areas"] if area["name"] == name]
        assert area["ring"]["puts"] == 5
        assert area["ring"]["used"] == ring.state().used > 0
        me = {"pid": os.getpid(), "kind": "process", "alive": True}
        wanted = [
            {"role": role, **me}
            for role, bit in (("producer", PRODUCER), ("consumer", CONSUMER))
            if VARIANTS[variant].roles & bit
        ]
        roles = [each["roles"] for each in listed["sets"] if each["semid"] == area["semid"]]
        assert roles == ([wanted] if variant != "robust" else [])
        if wanted:
            line = next(line for line in semshare("ls").stdout.splitlines() if f" {name} " in line and " 0x" in line)
            assert f"process {os.getpid()} ({' and '.join(each['role'] for each in wanted)})" in line
        ring.unlink()


def test_ls_says_how_to_be_rid_of_what_is_stale(name):
    pid = os.fork()
    if pid == 0:
        with Ring.create(name, 4096):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    told = semshare("ls").stdout
    assert next(line for line in told.splitlines() if line.startswith(name)).split()[-1] == "stale"
    assert "semshare rm --stale" in told
    assert semshare("rm", "--stale", "--yes", name).returncode == 0


def test_ls_shows_who_holds_a_lock(lock, name):
    with lock:
        listed = json.loads(semshare("ls", "--json").stdout)
    (found,) = [each for each in listed["sets"] if each["name"] == name]
    assert found["values"] == [0]
    assert found["owner"] == {"pid": os.getpid(), "kind": "process", "alive": True}


def test_ls_shows_waiters(lock, name):
    with lock:
        waiter = subprocess.Popen([sys.executable, "-c", f"import semshare; semshare.Lock({name!r}).acquire()"])
        deadline = time.monotonic() + LIMIT
        while True:
            listed = json.loads(semshare("ls", "--json").stdout)
            (found,) = [each for each in listed["sets"] if each["name"] == name]
            if found["waiters"] == [1]:
                break
            assert time.monotonic() < deadline
    assert waiter.wait(LIMIT) == 0


# --------------------------------------------------------------------------------------------------------------- rm


def test_rm_removes_by_name(name):
    ring = Ring.create(name, 1 << 16)
    dry = semshare("rm", "--dry-run", name)
    assert dry.returncode == 0 and name in dry.stdout and "would" in dry.stdout
    ended = semshare("rm", name)
    assert ended.returncode == 0 and name in ended.stdout
    assert_one_line(semshare("rm", name), name)
    ring.close()


def test_rm_removes_a_lock(name):
    Lock(name)
    assert semshare("rm", name).returncode == 0
    assert_one_line(semshare("rm", name), name)


def test_rm_leaves_what_is_not_ours(name):
    path = Path(f"/dev/shm/semshare.{name}")
    path.write_bytes(b"somebody's own" * 1000)
    try:
        assert_one_line(semshare("rm", name), name)
        assert path.exists()
        semshare("rm", "--stale", "--yes", name)
        assert path.exists()
    finally:
        path.unlink()


def test_rm_stale_leaves_what_is_in_use(ring, lock, name):
    ended = semshare("rm", "--stale", "--yes", name)
    assert ended.returncode == 0 and name not in ended.stdout
    ring.put(b"still there")
    with lock:
        pass


def test_rm_refuses_a_name_that_is_none():
    assert_one_line(semshare("rm", "a/b"), "a/b")


# ----------------------------------------------------------------------------------------------------------- unlock


def test_unlock_frees_a_lock_whose_holder_died_without_undo(lock, name):
    process = taker(lock.key)
    process.kill()
    process.communicate()
    assert lock.locked()
    ended = semshare("unlock", name)
    assert ended.returncode == 0 and str(process.pid) in ended.stdout
    assert lock.acquire(blocking=False)
    lock.release()


def test_unlock_by_semid(lock):
    process = taker(lock.key)
    process.kill()
    process.communicate()
    assert semshare("unlock", "--semid", str(lock.semid)).returncode == 0
    assert not lock.locked()


def test_unlock_refuses_while_the_holder_lives(lock, name):
    process = taker(lock.key)
    try:
        assert_one_line(semshare("unlock", name), str(process.pid))
        assert lock.locked()
        assert semshare("unlock", "--force", name).returncode == 0
        assert not lock.locked()
    finally:
        process.kill()
        process.communicate()


def test_unlock_refuses_a_lock_that_is_free(lock, name):
    assert_one_line(semshare("unlock", name), name, "not taken")
    assert_one_line(semshare("unlock", "--force", name), name, "not taken")


def test_unlock_wants_one_lock(name):
    assert semshare("unlock").returncode == 2
    assert semshare("unlock", name, "--semid", "1").returncode == 2
    assert_one_line(semshare("unlock", name), name)


# ----------------------------------------------------------------------------------------------------------- doctor


def test_doctor_finds_this_machine_well():
    ended = semshare("doctor", "--json")
    found = json.loads(ended.stdout)
    assert ended.returncode == 0 and found["ok"]
    for finding in found["findings"]:
        assert finding["verdict"] in ("yes", "no", "note")
        assert finding["verdict"] != "no" or finding["advice"]
    assert semshare("doctor").returncode == 0


@pytest.mark.parametrize("path, verdict", [("/dev/null", "no"), ("/dev/none-of-that-name", "note")])
def test_doctor_looks_at_the_route_of_programs(path, verdict):
    """Whether or not this user may open the module's device: the route is another, and for all."""
    script = (
        "from semshare import route; route.PATH = {!r}\nimport semshare.cli; semshare.cli.main(['doctor', '--json'])"
    )
    ended = subprocess.run([sys.executable, "-c", script.format(path)], capture_output=True, text=True, timeout=LIMIT)
    found = json.loads(ended.stdout)
    (finding,) = [each for each in found["findings"] if path in each["found"]]
    assert finding["verdict"] == verdict and finding["advice"] and not finding["needed"]
    assert ended.returncode == 0 and found["ok"]


def test_doctor_says_no_where_semaphores_are_used_up():
    """In an IPC namespace of its own that allows no set."""
    script = "echo '32000 1024000000 500 0' >/proc/sys/kernel/sem && exec \"$0\" -m semshare.cli doctor --json"
    ended = subprocess.run(
        ["unshare", "-i", "sh", "-c", script, sys.executable], capture_output=True, text=True, timeout=LIMIT
    )
    if not ended.stdout:
        pytest.skip(f"no IPC namespace can be made here: {ended.stderr}")
    found = json.loads(ended.stdout)
    assert ended.returncode == 1 and not found["ok"]
    assert any("semaphore" in f["what"] and f["verdict"] == "no" and f["advice"] for f in found["findings"])


# ------------------------------------------------------------------------------------------------------------ watch


@pytest.mark.skipif(os.path.exists("/dev/semshare"), reason="the module may publish program starts here")
def test_watch_says_what_is_missing():
    assert_one_line(semshare("watch", "exec"), "semshare_exec", "modprobe")


def test_watch_prints_what_is_in_the_ring_and_what_was_missed():
    """The ring that the kernel's module makes, filled by hand."""
    from semshare.demo import program_start

    def start(number: int, missed: int) -> bytes:
        path = f"/bin/number-{number}".encode()
        header = program_start.HEADER.pack(time.monotonic_ns(), missed, number, 1, 0, len(path), b"number")
        return header + path

    try:
        ring = Ring.create(program_start.AREA, 1 << 16)
    except FileExistsError:
        pytest.skip("program starts are published here")
    with ring, contextlib.ExitStack() as stack:
        stack.callback(ring.unlink)
        ring.put_many([start(1, 0), start(2, 0), start(3, 5)])
        ended = semshare("watch", "exec", "--count", "3")
        assert ended.returncode == 0 and ended.stderr == ""
        lines = ended.stdout.splitlines()
        assert ["/bin/number-1" in lines[0], "/bin/number-2" in lines[1], "/bin/number-3" in lines[3]] == [True] * 3
        assert "5" in lines[2] and "missed" in lines[2]

        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "semshare.cli", "watch", "exec", "--json"], stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(process.kill)
        ring.put(start(4, 5))
        assert json.loads(process.stdout.readline())["path"] == "/bin/number-4"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 0


def test_the_key_of_a_name_is_the_headers(name, lock):
    assert lock.key == lib.semshare_key(name.encode(), len(name))
