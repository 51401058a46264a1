# SPDX-License-Identifier: MIT
"""Whether a kernel log tells of something wrong: the patterns of vm/splats, and two reports that need a closer look."""

import itertools
import pathlib
import re

PATTERNS = pathlib.Path(__file__).resolve().with_name("splats")

OURS = "[semshare"  # how a stack trace marks a function of one of our modules
# The line of a KCSAN report over the stack of one of the two accesses, and how many functions of that are near to it.
ACCESS = re.compile(r"\d+ bytes by (task|interrupt)")
NEAR = 4

# What vm/guest-init writes before the list of leaks.
RUN_BEGAN = re.compile(r"semshare: kmemleak: the run began at jiffies: (\d+)")
# What it writes where somebody looked, and did so to the end.
LOOKED = {"leak": RUN_BEGAN, "race": re.compile(r"semshare: kcsan: on to the end")}
# Tasks that work for the whole kernel, so that what they lose is not this run's doing.
KERNEL_TASK = re.compile(r"kworker/|swapper|ksoftirqd/|migration/|rcu|kcompactd|khugepaged|kswapd|oom_reaper")
# An address in the modules' area that no longer has a name: the module was removed, and only ours ever are.
REMOVED_MODULE = re.compile(r"\] 0xffffffff[a-f][0-9a-f]{7}$", re.MULTILINE)


class Splats:
    """The patterns of vm/splats."""

    def __init__(self):
        bad, harmless = [], []
        for line in PATTERNS.read_text().splitlines():
            if line and not line.startswith("#"):
                (harmless if line.startswith("!") else bad).append(line.lstrip("!"))
        self._bad = re.compile("|".join(bad))
        self._harmless = re.compile("|".join(harmless) or r"(?!)")

    def first(self, log):
        """The first bad line of a kernel log, or None."""
        return next((line for _kind, line in self.each(log)), None)

    def each(self, log):
        """The bad lines of a kernel log, each after its kind: "race", "leak" or "splat"."""
        lines = log.splitlines()
        run_began = 0
        for place, line in enumerate(lines):
            if began := RUN_BEGAN.match(line):
                run_began = int(began[1])
            if not self._bad.search(line) or self._harmless.search(line):
                continue
            kind = "splat"
            if "BUG: KCSAN: " in line:
                kind = "race"
                if not _race_is_ours(lines[place:]):
                    continue
            elif line.startswith("unreferenced object"):
                kind = "leak"
                if not _leak_is_ours(lines[place + 1 :], run_began):
                    continue
            yield kind, line


def looked_for(log):
    """The kinds of complaints for which a kernel looked, by its log: any looks for a "splat"."""
    return {"splat"} | {kind for kind, said in LOOKED.items() if any(map(said.match, log.splitlines()))}


def _race_is_ours(lines):
    """Whether a KCSAN report, which ends at a line of "=", is of an access that our code made, or had made for it.

    The kernel has races of its own, known and borne with. Those that it commits while our code has called it are told
    from ours by how far down they are: what works on memory that it is handed, such as a list, does so within a few
    calls; what is many calls below us, in an interrupt, the timers or the allocator, is on memory of the kernel's.
    """
    report = itertools.takewhile(lambda line: "==========" not in line, lines)
    depth = None  # in one of the two stacks, the access first; None outside
    for line in report:
        if ACCESS.search(line):
            depth = 0
        elif depth is not None and "+0x" in line:
            depth += 1
            if OURS in line and depth <= NEAR:
                return True
        else:
            depth = None
    return False


def _leak_is_ours(lines, run_began):
    """Whether a kmemleak record, all indented, was allocated by our code, or for a task of the run since that began."""
    record = "\n".join(itertools.takewhile(lambda line: line.startswith(" "), lines))
    if OURS in record or REMOVED_MODULE.search(record):
        return True
    task = re.search(r'comm "(.*)", pid \d+, jiffies (\d+)', record)
    return task is None or (int(task[2]) >= run_began and not KERNEL_TASK.match(task[1]))
