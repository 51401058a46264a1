# SPDX-License-Identifier: MIT
"""The programs of docs/examples, and the kernel modules beside them: what is run where, and what it must print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).resolve().parent.parent
EXAMPLES = TOP / "docs" / "examples"


class Example(NamedTuple):
    """A program, and the module that it talks to.

    A program that says "insmod NAME.ko WORDS" is one whose module takes what the program has made: it is loaded then,
    with these words. Else the module is loaded first.
    """

    program: str
    prints: str
    """All of its output, as a regular expression."""
    arguments: tuple[str, ...] = ()
    module: str | None = None
    parameters: str = ""
    needs: tuple[str, ...] = ()
    """Python modules that it imports, beside the package."""


def lines(*each: str) -> str:
    return "".join(f"{line}\n" for line in each)


INSMOD = re.compile(r"insmod (?P<module>semshare_\w+)\.ko(?: (?P<parameters>.+))?")
THERE = r"the (?:ring|area) is there\. Now, as root: insmod \S+\.ko .*"

HOST = [
    Example(
        "ask_and_answer.py",
        lines(
            r"1 \+ 2 = 3",
            "the sum of all is 999000",
            r"CommandFailed: .*b'one' is not two numbers.*",
            "UnknownOpcode: .*77.*",
            "PeerDied: .*",
            r"3 \+ 4 = 7",
        ),
    ),
    Example(
        "parameters.py",
        lines(
            r"Limits\(minimum=1\.0, maximum=1000\.0\)",
            ".*rate.*10000.*",
            "after 100 turns it is between 10 and 20: True",
        ),
    ),
    Example(
        "shared_array.py",
        lines(
            "the other process: 1000 numbers at 0x100000001000, their sum is 499500",
            "here: the sum is now 999000",
            "the area is closed, and its memory is still here: 1998",
            "memfd: from before",
        ),
        needs=("numpy",),
    ),
    *(
        Example(f"replace/{package}_{when}.py", prints, needs=(package,) if when == "before" else ())
        for package, prints in (
            ("multiprocessing", lines("200 lines, in order: True")),
            ("posix_ipc", lines("3 × 100 = 300")),
            ("filelock", lines("computed", "3 programs have 42")),
        )
        for when in ("before", "after")
    ),
    Example("replace/redis_after.py", lines("30 tickets, sold: 30")),
    Example("replace/after_a_kill.py", lines(r"process \d+ left 'kil'", "first", "last")),
    Example(
        "async_locks.py",
        lines(
            "100 tasks of 2 processes: 100",
            "had in a tenth of a second: False",
            "three more, one of them cancelled: 102",
            r"process \d+ died inside: 'half wri'",
            "after the repair: 1",
        ),
    ),
    Example(
        "zero_copy.py",
        lines(r"camera 0: 10 pictures, mean 4\.5", r"camera 1: 10 pictures, mean 4\.5"),
        ("10",),
        needs=("numpy",),
    ),
]
"""What runs without the module."""

MACHINE = [
    Example("client_module/read_hello.py", lines(THERE, "record 0, type 1: hello from the kernel")),
    Example(
        "interrupt_module/count_forks.py",
        lines(THERE) + r"(?:\d+: \S.* made a process\n){20}0 had no space\n",
        ("20",),
    ),
    Example(
        "lock_module/transfer.py",
        lines(THERE, "it moves money, too, and nothing is lost", "after a process was killed over it, nothing is lost"),
    ),
    Example(
        "parameters_module/steer_blink.py",
        lines(
            r"on_ms may be Limits\(minimum=1, maximum=10000\)",
            "it blinked ten times more; brightness is 0 or 50",
            r".*gain.*3\.0.*",
            ".*blinks.*",
        ),
        ("left",),
        "semshare_blink",
        "instance=left",
    ),
    Example(
        "channel_module/ask_sums.py",
        lines(
            r"1 \+ 20 \+ 300 = 321",
            "twice each to 99: 9900",
            "UnknownOpcode: .*",
            "Malformed: .*",
            "CommandFailed: .*the sum is larger than 64 bits hold.*",
        ),
        ("1", "20", "300"),
        "semshare_sums",
    ),
    Example(
        "notify_module/wait_for_answers.py",
        lines(THERE, "poll: an answer, just now", "asyncio: 100 signals, 100 answers"),
        ("100",),
    ),
    Example(
        "dma_reader.py",
        lines("page 0: 100 bytes, 00 01 02 03 04 05 06 07 …", "page 1: 100 bytes, 01 02 03 04 05 06 07 08 …")
        + lines("2 pages; 0 refused, 0 overwritten, 0 abandoned"),
        ("/dev/semshare-edu", "2"),
        "semshare_edu",
        "dma_bits=32",
    ),
    Example(
        "dma_reader.py",
        r"(?:page \d+: 100 bytes, [ 0-9a-f]+ …\n)*\d+ pages; 0 refused, \d+ overwritten, 0 abandoned\n",
        ("/dev/semshare-paged", "50"),
        "semshare_paged",
    ),
    Example(
        "device_memory.py",
        lines("contiguous: 1048576 bytes, .* is 3670010", "the device sees it in one piece"),
        ("frames",),
        "semshare_memory",
        "area=frames bytes=1048576 kind=contiguous",
        ("numpy",),
    ),
    Example(
        "device_memory.py",
        lines(THERE, "memfd: 1048576 bytes, .* is 3670010", "the device sees it in .*"),
        ("frames", "memfd"),
        needs=("numpy",),
    ),
    Example(
        "break_a_ring.py",
        lines(
            ".*: the ring is broken: .*",
            "its kernel threads: Protocol error, Protocol error",
            "the other ring: 1000 more records, in order",
        ),
    ),
    Example("async_consumer.py", lines(r"1000 records, in order; the other task had \d+ turns meanwhile")),
]
"""What runs in the machine, with the module."""

ELSEWHERE = {
    "plain_producer.py": "tests/host/test_demo.py",
    "judge_program_starts.py": "tests/vm/test_examples.py",
    "litmus.py": "tests/host/test_examples.py",
    "replace/redis_before.py": "tests/host/test_replace.py",
    "async_consumer.py": "tests/host/test_aio.py",
}
"""What is run in another way, or in more ways, and the test that does it."""


def programs() -> set[str]:
    """Those that there are."""
    return {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")}


def modules() -> set[str]:
    """Those that there are."""
    return {path.stem for path in EXAMPLES.rglob("semshare_*.c")}


def module_of(example: Example) -> str:
    """The one that it talks to; of one that says itself which, what it says in its source."""
    if example.module is None:
        said = re.findall(r"insmod (semshare_\w+)\.ko", (EXAMPLES / example.program).read_text())
        return said[0] if said else ""
    return example.module


def loaded_modules() -> set[str]:
    """Those that are loaded for one program or another."""
    return {module_of(each) for each in MACHINE} - {""}


def must_print(example: Example, output: str) -> None:
    assert re.fullmatch(example.prints, output), f"{example.program} printed:\n{output}"
