# SPDX-License-Identifier: MIT
"""These tests load and unload kernel modules as root: they run in the virtual machine (make test) and nowhere else."""

import os

import abi
import kernel
import pytest

collect_ignore_glob = [] if os.environ.get("SEMSHARE_VM") else ["test_*.py"]


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
