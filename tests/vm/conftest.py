# SPDX-License-Identifier: MIT
"""These tests load and unload kernel modules as root: they run in the virtual machine (make test) and nowhere else."""

import os

import abi
import kernel
import pytest

collect_ignore_glob = [] if os.environ.get("SEMSHARE_VM") else ["test_*.py"]


#: The files that take longest, in pairs, so dealt out that two halves take as long as each other.
LONGEST = [
    f"test_{subject}.py"
    for subject in (
        *("fail_nth", "bug_shapes"),
        *("namespaces", "entry_points"),
        *("hostile", "exec"),
        *("demo", "ioctl_fuzz"),
        *("permissions", "kernel_ring_variants"),
        *("differential", "rings_as_on_the_host"),
        *("kernel_ring", "notify"),
        *("kernel_locks_python", "examples"),
        *("memory", "storm"),
        *("waits", "channel"),
    )
]


def pytest_collection_modifyitems(config, items):
    """Of the files every other one only, if this is the first or the second half (vm/test-all)."""
    part, parts = map(int, os.environ.get("SEMSHARE_PART", "1/1").split("/"))
    files = sorted(
        {item.path for item in items},
        key=lambda path: (LONGEST.index(path.name) if path.name in LONGEST else len(LONGEST), path),
    )
    ours = set(files[part - 1 :: parts])
    config.hook.pytest_deselected(items=[item for item in items if item.path not in ours])
    items[:] = [item for item in items if item.path in ours]


@pytest.fixture
def no_sets_left():
    """Each test removes what it made, whatever became of the test.

    Not that of the program starts: where a test loads the modules again it is new as well.
    """
    before = kernel.sets()
    yield
    for semid, key in kernel.sets().items():
        if semid not in before and key != abi.key_of("exec"):
            kernel.SystemCalls().semctl(semid, 0, kernel.IPC_RMID)


@pytest.fixture
def open_to_all():
    """The devices may be opened by anybody, as a distribution's udev rule might have it."""
    with abi.open_to_all("/dev/semshare", "/dev/semshare-demo"):
        yield
