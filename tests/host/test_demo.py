# SPDX-License-Identifier: MIT
"""The main job on the embedded default: it adds up, it shows damage without the lock, it ends, it leaves nothing."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semshare._abi import ffi, lib

from semshare import LockStatistics, Ring
from semshare.demo import program_start, record
from semshare.demo.result import LockFigures
from semshare.demo.tally import Tally

PLAIN_PROGRAM = Path(__file__).resolve().parents[2] / "docs/examples/plain_producer.py"
PRODUCER_KEYS = {"name", "kind", "sent", "received", "lost", "out_of_order", "torn", "rate"}
LIMIT = 120
"""Seconds after which a demo that is to end hangs."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "semshare.cli", *arguments]


def demo(*arguments: str) -> tuple[int, dict]:
    ended = subprocess.run(command("demo", "--json", *arguments), capture_output=True, text=True, timeout=LIMIT)
    assert ended.stderr == ""
    return ended.returncode, json.loads(ended.stdout)


def key_of(name: str) -> int:
    return lib.semshare_key(name.encode(), len(name))


def sets_of(name: str) -> list[str]:
    lines = Path("/proc/sysvipc/sem").read_text().splitlines()[1:]
    return [line for line in lines if int(line.split()[0]) == key_of(name)]


def is_there(name: str) -> bool:
    return os.path.exists(f"/dev/shm/semshare.{name}") or bool(sets_of(name))


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition, limit: float = 30.0) -> bool:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def running(name: str) -> Iterator[subprocess.Popen]:
    """A demo that would run for minutes, at work, in a process group of its own, as a terminal's shell starts it."""
    process = subprocess.Popen(
        command("demo", "--json", "--seconds", "300", "--name", name),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0 if sys.version_info >= (3, 11) else None,
        start_new_session=sys.version_info < (3, 11),
    )
    assert eventually(lambda: len(descendants(process.pid)) == 4 and records_put(name) > 100)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    for path in (f"/dev/shm/semshare.{name}",):
        if os.path.exists(path):
            subprocess.run(command("rm", name), check=True)


def records_put(name: str) -> int:
    try:
        with open(f"/dev/shm/semshare.{name}", "rb") as file:
            page = file.read(lib.SEMSHARE_RING_CONTROL_SIZE)
    except FileNotFoundError:
        return 0
    if len(page) < lib.SEMSHARE_RING_CONTROL_SIZE:
        return 0
    return ffi.from_buffer("struct semshare_ring_control *", page).puts


# ------------------------------------------------------------------------------------------------------- the numbers


def test_with_the_lock_everything_adds_up(name):
    status, result = demo("--records", "400", "--name", name)
    assert (status, result["ok"], result["reasons"]) == (0, True, [])
    assert [producer["kind"] for producer in result["producers"]] == ["python", "python", "plain"]
    for producer in result["producers"]:
        assert set(producer) == PRODUCER_KEYS
        assert producer["sent"] == producer["received"] == 400
        assert producer["lost"] == producer["out_of_order"] == producer["torn"] == 0
        assert producer["rate"] > 0
    assert result["counter"]["expected"] == result["counter"]["counted"] == 4 * 400
    assert result["lock"]["acquisitions"] > 800
    assert 0 <= result["lock"]["contended_share"] <= 1
    assert result["lock"]["wait_p50_ns"] <= result["lock"]["wait_p99_ns"]
    assert result["machine"]["cpus"] >= 1 and result["machine"]["backend"] in ("posix", "module")
    assert not is_there(name)


def test_a_run_by_time_lets_every_party_work(name):
    status, result = demo("--seconds", "0.5", "--name", name)
    assert (status, result["reasons"]) == (0, [])
    assert all(producer["sent"] > 0 for producer in result["producers"])
    assert all(done > 0 for done in result["counter"]["parties"].values())
    assert len(result["counter"]["parties"]) == 4


@pytest.mark.parametrize("payload", [0, 1, 5000, 200_000])
def test_payloads_of_any_length(name, payload):
    status, result = demo("--records", "30", "--payload", str(payload), "--name", name)
    assert (status, result["reasons"]) == (0, [])


@pytest.mark.parametrize("producers", [0, 5])
def test_any_number_of_producers(name, producers):
    status, result = demo("--records", "50", "--producers", str(producers), "--name", name)
    assert (status, result["reasons"]) == (0, [])
    assert len(result["producers"]) == producers + 1


def test_without_the_lock_records_and_additions_are_lost(name):
    status, result = demo("--unlocked", "--seconds", "1", "--name", name)
    assert (status, result["ok"], result["locked"]) == (0, True, False)
    assert sum(producer["lost"] + producer["torn"] for producer in result["producers"]) > 0
    assert result["counter"]["counted"] < result["counter"]["expected"]
    assert not is_there(name)


def test_an_unlocked_run_without_damage_proves_nothing(name):
    """One producer of records: nobody is there to write over them, so the run must not pass."""
    status, result = demo("--unlocked", "--records", "1", "--producers", "0", "--name", name)
    if status == 0:
        pytest.skip("the consumer alone managed to do damage")
    assert not result["ok"] and any("proves nothing" in reason for reason in result["reasons"])


def test_the_report_for_people(name):
    ended = subprocess.run(
        command("demo", "--records", "50", "--name", name), capture_output=True, text=True, timeout=LIMIT
    )
    assert ended.returncode == 0
    for word in ("python-1", "plain-1", "out of order", "contended", "p99", "counter: expected 200, counted 200"):
        assert word in ended.stdout
    if not os.path.exists("/dev/semshare-demo"):
        assert "make demo" in " ".join(ended.stdout.split())


@pytest.mark.skipif(os.path.exists("/dev/semshare-demo"), reason="this kernel has the demo's threads")
def test_kernel_threads_that_this_kernel_lacks_are_refused(name):
    ended = subprocess.run(command("demo", "--kernel-producers", "2"), capture_output=True, text=True, timeout=LIMIT)
    assert ended.returncode == 1
    assert ended.stderr.startswith("semshare: ") and ended.stderr.count("\n") == 1
    assert "modprobe semshare_demo" in ended.stderr


# ------------------------------------------------------------------------------------------------------ how it ends


def test_ctrl_c_gives_the_report_so_far(running, name):
    os.killpg(running.pid, signal.SIGINT)
    output, errors = running.communicate(timeout=LIMIT)
    result = json.loads(output)
    assert (running.returncode, errors, result["interrupted"]) == (130, "", "SIGINT")
    assert all(producer["sent"] == producer["received"] > 0 for producer in result["producers"])
    assert not any(producer["lost"] or producer["torn"] for producer in result["producers"])
    assert not is_there(name)


def test_a_second_ctrl_c_ends_it_at_once(running, name):
    """Even while somebody does not answer."""
    children = sorted(descendants(running.pid))
    os.kill(children[0], signal.SIGSTOP)
    os.killpg(running.pid, signal.SIGINT)
    time.sleep(0.5)
    assert running.poll() is None
    os.killpg(running.pid, signal.SIGINT)
    output, errors = running.communicate(timeout=LIMIT)
    assert (running.returncode, errors) == (130, "")
    assert "interrupted twice: ended at once" in json.loads(output)["reasons"]
    assert not is_there(name) and not any(map(is_alive, children))


def test_sigterm_to_the_parent_alone_ends_it_too(running, name):
    children = descendants(running.pid)
    running.terminate()
    output, _ = running.communicate(timeout=LIMIT)
    assert running.returncode == 143
    assert json.loads(output)["interrupted"] == "SIGTERM"
    assert not is_there(name) and not any(map(is_alive, children))


@pytest.mark.parametrize("victim", ["python", "plain", "consumer"])
def test_a_killed_child_is_reported_and_not_waited_for(running, name, victim):
    # In the order in which they are started: python-1, python-2, consumer, plain-1.
    index, party = {"python": (0, "python-1"), "plain": (3, "plain-1"), "consumer": (2, "consumer")}[victim]
    children = sorted(descendants(running.pid))
    os.kill(children[index], signal.SIGKILL)
    output, _ = running.communicate(timeout=LIMIT)
    result = json.loads(output)
    assert running.returncode == 1
    assert f"{party} was killed by SIGKILL" in result["reasons"]
    assert not is_there(name) and not any(map(is_alive, children))


def test_a_killed_parent_takes_its_children_along_and_rm_stale_the_rest(running, name):
    children = descendants(running.pid)
    running.kill()
    running.communicate(timeout=LIMIT)
    assert eventually(lambda: not any(map(is_alive, children)))
    assert is_there(name)
    dry = subprocess.run(command("rm", "--stale", name, "--dry-run"), capture_output=True, text=True, timeout=LIMIT)
    assert dry.returncode == 0 and name in dry.stdout and is_there(name)
    wet = subprocess.run(command("rm", "--stale", "--yes", name), capture_output=True, text=True, timeout=LIMIT)
    assert wet.returncode == 0 and name in wet.stdout
    assert not is_there(name)


# ------------------------------------------------------------------------------------------------ the plain program


def test_the_plain_program_imports_only_what_it_says():
    tree = ast.parse(PLAIN_PROGRAM.read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported <= {"sysv_ipc", "mmap", "struct", "__future__"}


def test_the_plain_program_beside_a_ring_given_by_path(name):
    if os.path.exists("/dev/semshare"):
        pytest.skip("areas lie in the module's memory here, which has no path")
    with Ring.create(name, 1 << 16) as ring:
        lines = f"/dev/shm/semshare.{name}\n3\n100\n1\n0\nrecords 20\n"
        ended = subprocess.run(
            [sys.executable, str(PLAIN_PROGRAM)], input=lines, capture_output=True, text=True, timeout=LIMIT
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ready\nrecords 20\n", "")
        for sequence in range(20):
            assert record.read(ring.get_nowait()) == (3, sequence, True)
        ring.unlink()


# ------------------------------------------------------------------------------------------------- the parts of it


def test_records_are_laid_out_as_the_header_says():
    assert record.HEADER.size == ffi.sizeof("struct semshare_demo_record")
    payload = record.Writer(5, 40).payload(7)
    seen = ffi.from_buffer("struct semshare_demo_record *", payload, require_writable=False)
    assert (seen.producer, seen.sequence) == (5, 7)
    assert program_start.HEADER.size == ffi.offsetof("struct semshare_exec_record", "path")


@given(st.integers(0, 63), st.integers(0, 2**40), st.integers(0, 600), st.data())
def test_a_changed_byte_makes_a_record_torn(producer, sequence, longest, data):
    payload = record.Writer(producer, longest).payload(sequence)
    assert record.read(payload) == (producer, sequence, True)
    at = data.draw(st.integers(0, len(payload) - 1))
    bad = bytearray(payload)
    bad[at] ^= data.draw(st.integers(1, 255))
    assert not record.read(bytes(bad))[2]


@given(st.lists(st.integers(0, 30), max_size=60))
def test_the_tally_counts_as_a_simple_model_does(arrivals):
    tally = Tally()
    for sequence in arrivals:
        tally.add(sequence)
    late = sum(sequence <= max(arrivals[:at], default=-1) for at, sequence in enumerate(arrivals))
    assert tally.received == len(set(arrivals))
    assert tally.out_of_order == late
    assert tally.lost(31) == 31 - len(set(arrivals))


def test_acquisitions_without_a_wait_count_as_no_wait():
    """A process notes its waits only, a kernel thread all its acquisitions: both are put together."""
    waits = [0] * lib.SEMSHARE_HISTOGRAM_BUCKETS
    waits[lib.semshare_histogram_bucket(1000)] = 2
    process = LockStatistics(acquisitions=10, contended=2, wait_ns=waits)
    figures = LockFigures.of([process, process])
    assert (figures.acquisitions, figures.contended, figures.contended_share) == (20, 4, 0.2)
    assert figures.wait_p50_ns == 0
    assert 1000 <= figures.wait_p99_ns <= 1250
    assert sum(process.wait_ns) == 2
    assert LockFigures.of([]).wait_p50_ns is None
