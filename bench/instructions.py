# SPDX-License-Identifier: MIT
"""An uncontended lock and unlock in instructions, by system call and from a kernel thread, and where they go.

In the virtual machine, on one emulated processor whose clock counts instructions: the figures are exact, the same in
each run, and say nothing about time. Batches of pairs are counted by the time stamp counter (the median is that of a
batch that no timer interrupted); then one pair of each kind is stepped through by QEMU's debugger interface, and each
instruction is put down to the function whose it is. Both must give the same number.
"""

from __future__ import annotations

import bisect
import collections
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .gdbstub import RIP, GdbStub

TOP = Path(__file__).resolve().parents[1]
INCLUDE = TOP / "kmod_semshare" / "include" / "uapi"

#: Of `semop` without SEM_UNDO, the cheapest pair that a process can have.
WANTED = 0.6

BATCHES = 15
PAIRS = 100
#: Pairs that pass before the one that is traced: the set and the caches are then as in the middle of a batch.
SKIPPED = 20
#: Instructions: several times what any pair takes.
TRACE_LIMIT = 20_000
BOOT_TIMEOUT = 300.0  # seconds


class Kind(NamedTuple):
    """A way to lock and unlock: what it is called, and the function of bench/pairs.c or tests/bench.c that does it."""

    name: str
    function: str


SYSCALL = Kind("process: semop", "semop_pair")
SYSCALL_UNDO = Kind("process: semop, SEM_UNDO", "semop_undo_pair")
THREAD = Kind("kernel thread: semshare_semop", "semshare_bench_semop_pair")
THREAD_RING = Kind("kernel thread: semshare_ring_lock", "semshare_bench_ring_pair")
#: In the order in which `pairs count` prints them.
KINDS = (SYSCALL, SYSCALL_UNDO, THREAD, THREAD_RING)

#: (boot, kernel arguments). The first is the cheaper for system calls, and the one whose traces are shown.
BOOTS = (("mitigations=off", ""), ("default mitigations", "mitigations=auto"))

#: What a function's instructions are spent on; the first pattern that matches says.
SECTIONS = (
    ("the caller, its C library", r".*_pair([.\[].*)?|.*\[program\]"),
    ("system call entry and exit", r".*SYS(CALL|RET).*|.*sysret.*|.*_sys_.*|x64_sys_call|do_syscall_64|syscall_.*|"
     r"(enter_from|exit_to)_user_mode.*|fpregs_.*|amd_clear_divider|.*_safe_stack|.*_unsafe_stack|entry_.*"),
    ("operations from user memory", r"do_semtimedop|_?copy_(from_)?user.*|.*check_(stack_)?object.*|rep_movs.*|"
     r"__check_.*|check_stack_object"),
    ("the module", r".*\[semshare\]"),
    ("__do_semtimedop", r"__do_semtimedop"),
    ("finding the set", r"ipc_obtain_object.*|idr_find|.*radix_tree.*"),
    ("the right to it", r"ipcperms|security_.*|bpf_lsm_.*|selinux_.*|avc_.*|ipc_has_perm|apparmor_.*|ns_capable.*"),
    ("undo list", r".*undo.*|__list_(add|del).*"),
    ("values and wake-ups", r"perform_atomic_semop.*|do_smart_.*|wake_.*|update_queue|ktime_get_real_seconds"),
    ("locks and RCU", r"_raw_.*|__?rcu_.*|.*_spin_.*"),
    ("the rest", r".*"),
)  # fmt: skip
LOOP = "the loop around it"


class BenchError(Exception):
    """The machine could not be had, or what it gave makes no sense."""


@dataclass
class Counted:
    """One boot: for each kind the instructions of a pair, and of those where each went, by function."""

    boot: str
    kernel: str
    pairs: dict[Kind, float]
    functions: dict[Kind, dict[str, int]] = field(default_factory=dict)

    def ratio(self, ours: Kind, rival: Kind = SYSCALL) -> float:
        return self.pairs[ours] / self.pairs[rival]

    @property
    def met(self) -> bool:
        return self.ratio(THREAD) <= WANTED

    def sections(self, kind: Kind) -> dict[str, float]:
        """Instructions by section; their sum is ``pairs[kind]``."""
        sums: dict[str, float] = dict.fromkeys([name for name, _ in SECTIONS], 0)
        for function, count in self.functions[kind].items():
            sums[section_of(function)] += count
        sums[LOOP] = self.pairs[kind] - sum(sums.values())
        return sums

    def as_dict(self) -> dict[str, Any]:
        return {
            "boot": self.boot,
            "kernel": self.kernel,
            "wanted": f"≤ {WANTED}",
            "met": self.met,
            "kinds": [
                {
                    "kind": kind.name,
                    "instructions": self.pairs[kind],
                    "ratio": self.ratio(kind),
                    "sections": self.sections(kind),
                    "functions": self.functions[kind],
                }
                for kind in KINDS
            ],
        }


def section_of(function: str) -> str:
    return next(name for name, pattern in SECTIONS if re.fullmatch(pattern, function.partition(" ")[0]))


class Symbols:
    """From an address to the function it lies in."""

    def __init__(self, kallsyms: Iterable[str], program: Iterable[str]) -> None:
        found = []
        for line in kallsyms:
            address, kind, name, *module = line.split()
            if kind in "tTwW":
                found.append((int(address, 16), name + "".join(module)))
        for line in program:
            address, kind, name = line.split()
            if kind in "tTwWi":
                found.append((int(address, 16), f"{name}[program]"))
        found.sort()
        self._addresses = [address for address, _ in found]
        self._names = [name for _, name in found]

    def name(self, address: int) -> str:
        return self._names[bisect.bisect_right(self._addresses, address) - 1]

    def address(self, function: str) -> int:
        """Where a function starts. The compiler may have put a suffix behind its name."""
        for address, name in zip(self._addresses, self._names):
            if re.split(r"[.\[]", name)[0] == function:
                return address
        raise BenchError(f"the machine has no function {function}")


def run(*command: str | Path) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise BenchError(f"{error.filename} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise BenchError(f"{Path(error.cmd[0]).name} ended with {error.returncode}: {error.stderr.strip()}") from None


def prepare(kernel: str) -> None:
    """Have QEMU, the kernel and its modules.

    Raises:
        BenchError: this is no source tree, or a machine that cannot have them.
    """
    if not (TOP / "vm" / "run").exists():
        raise BenchError("vm/run is not there: not in a source tree")
    for script, *words in (("setup",), ("kmod", kernel)):
        # It says on standard error what it does, and what is wrong.
        if subprocess.run([TOP / "vm" / script, *words], stdout=subprocess.DEVNULL).returncode:
            raise BenchError(f"vm/{script} failed")


@contextmanager
def machine(kernel: str, folder: Path, append: str, script: str) -> Iterator[subprocess.Popen[str]]:
    """The virtual machine, running ``script``, until the end of the block."""
    process = subprocess.Popen(
        [
            TOP / "vm" / "run",
            *("--kernel", kernel, "--icount", "--run-dir", folder, "--append", append, "--sh", script),
            *("--qemu", f"-gdb unix:{folder / 'gdb'},server=on,wait=off"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate()


def await_file(path: Path, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + BOOT_TIMEOUT
    while not path.exists():
        if process.poll() is not None:
            raise BenchError(f"vm/run ended with {process.returncode}")
        if time.monotonic() > limit:
            raise BenchError(f"the machine was not ready after {BOOT_TIMEOUT:.0f} s")
        time.sleep(0.1)


def trace(gdb: GdbStub, symbols: Symbols, kind: Kind) -> dict[str, int]:
    """The instructions of one pair, by function. The machine runs such pairs, and goes on afterwards."""
    entry = symbols.address(kind.function)
    for _ in range(SKIPPED):
        gdb.break_at(entry)
        gdb.resume()
        if gdb.register(RIP) != entry:
            raise BenchError(f"the machine stopped elsewhere than at {kind.function}")
        gdb.forget(entry)
        gdb.step()
    gdb.break_at(entry)
    gdb.resume()
    gdb.forget(entry)
    return dict(collections.Counter(map(symbols.name, gdb.trace(TRACE_LIMIT))).most_common())


def count(kernel: str, boot: str, append: str) -> Counted:
    """Boot once, count and trace.

    Raises:
        BenchError: see there.
    """
    with tempfile.TemporaryDirectory(prefix="semshare-bench-") as name:
        folder = Path(name)
        program = folder / "pairs"
        # Static and at a fixed address: without the calls through a table that a library costs.
        run("gcc", "-O2", "-static", "-no-pie", "-I", INCLUDE, "-o", program, TOP / "bench" / "pairs.c")
        script = (
            'cd "$SEMSHARE_RUN_DIR" && insmod "$SEMSHARE_KMOD_DIR/semshare_bench.ko" && '
            f"./pairs count {BATCHES} {PAIRS} >counts && uname -r >kernel && cat /proc/kallsyms >kallsyms && "
            ">ready && ./pairs until done"
        )
        with machine(kernel, folder, append, script) as process:
            await_file(folder / "ready", process)
            lines = (folder / "counts").read_text().splitlines()
            batches = list(zip(*([int(word) / PAIRS for word in line.split()] for line in lines)))
            counted = Counted(boot, (folder / "kernel").read_text().strip(), {})
            for kind, figures in zip(KINDS, batches):
                counted.pairs[kind] = statistics.median(figures)
            with open(folder / "kallsyms") as kallsyms:
                symbols = Symbols(kallsyms, run("nm", "--defined-only", program).splitlines())
            with GdbStub(folder / "gdb") as gdb:
                for kind in KINDS:
                    counted.functions[kind] = trace(gdb, symbols, kind)
                (folder / "done").touch()
                gdb.detach()
            if process.wait(BOOT_TIMEOUT):
                raise BenchError(f"vm/run ended with {process.returncode}")
    for kind in KINDS:
        # A call, a jump or two, and the loop's own: otherwise one of the two ways to count is wrong.
        if not 0 <= counted.sections(kind)[LOOP] <= 30:
            traced = sum(counted.functions[kind].values())
            raise BenchError(f"{kind.name}: counted {counted.pairs[kind]}, but traced {traced}")
    return counted


def instructions(kernel: str) -> Iterator[Counted]:
    """Each of `BOOTS`.

    Raises:
        BenchError: it cannot be done here; the text says why.
    """
    prepare(kernel)
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        raise BenchError("gcc or nm is not installed")
    for boot, append in BOOTS:
        yield count(kernel, boot, append)


def functions_of(counted: Counted) -> Mapping[str, list[int]]:
    """For each function its instructions in each of `KINDS`, most first."""
    names = {name for kind in KINDS for name in counted.functions[kind]}
    rows = {name: [counted.functions[kind].get(name, 0) for kind in KINDS] for name in names}
    return dict(sorted(rows.items(), key=lambda row: (-max(row[1]), row[0])))
