# SPDX-License-Identifier: MIT
"""The kernel modules of docs/examples, built as their readers build them, and the programs that talk to them.

vm/kmod builds them on the host by their own Kbuild, from the headers and symbol versions that DKMS keeps of ours.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading

import examples
import kernel
import pytest
from abi import read_parameter
from examples import EXAMPLES, INSMOD, MACHINE, Example, module_of, must_print
from pace import SLACK

LIMIT = 8 * SLACK
"""Seconds after which a program hangs."""


@pytest.fixture(autouse=True)
def nothing_left(no_sets_left):
    """A test that fails leaves no module to the next."""
    before = kernel.loaded()
    yield
    for module in kernel.loaded():
        if module not in before:
            unload(module)


@contextlib.contextmanager
def running(program: str, *arguments: str):
    """A program of docs/examples; ended, if it has not."""
    command = [sys.executable, "-u", str(EXAMPLES / program), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        # Whatever it waits for, this test does not.
        timer = threading.Timer(LIMIT, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def load(module: str, parameters: str) -> None:
    assert kernel.name_of(kernel.load(module, parameters)) == "0", module


def unload(module: str) -> None:
    assert kernel.eventually(lambda: kernel.unload(module) == 0), kernel.holders()


def test_every_module_of_an_example_is_loaded_here():
    assert examples.modules() <= examples.loaded_modules()
    assert examples.modules() <= {path.stem for path in kernel.KMOD_DIR.glob("*.ko")}


@pytest.mark.parametrize("example", MACHINE, ids=lambda each: " ".join([each.program, *each.arguments[:1]]))
def test_it_runs_beside_its_module(example: Example):
    if example.module == "semshare_edu" and not (kernel.KMOD_DIR / "semshare_edu.ko").exists():
        pytest.skip("this kernel has no PCI")
    if example.program == "break_a_ring.py" and os.environ.get("SEMSHARE_KERNEL") == "kcsan":
        pytest.skip("makes the data races it must survive")
    if example.module:
        load(example.module, example.parameters)
    with running(example.program, *example.arguments) as process:
        output = ""
        if not example.module and (module := module_of(example)):
            output = process.stdout.readline()
            said = INSMOD.search(output)
            assert said and said["module"] == module, output or process.stderr.read()
            load(module, said["parameters"] or "")
        output += process.stdout.read()
        errors = process.stderr.read()
        assert (process.wait(), errors) == (0, ""), output
    if module := module_of(example):
        unload(module)
    must_print(example, output)


def test_program_starts_are_judged():
    """docs/examples/judge_program_starts.py, which goes on until it is told to end."""
    load("semshare_verdict", "timeout_ms=60000 allow=1")
    with running("judge_program_starts.py", "/usr/bin/false") as process:
        subprocess.run(["/usr/bin/false"])
        subprocess.run(["/usr/bin/true"])
        told = ""
        # The start of the program itself is among them.
        while not re.search(r"^allowed \d+ /usr/bin/true\n", told, re.M):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            told += line
        process.send_signal(signal.SIGINT)
        rest, errors = process.stdout.read(), process.stderr.read()
        assert (process.wait(), rest, errors) == (0, "", "")
    assert re.findall(r"^denied  \d+ (.*)$", told, re.M) == ["/usr/bin/false"]
    assert read_parameter("denied", "semshare_verdict") == 1
    unload("semshare_verdict")


@pytest.mark.parametrize("module", ["semshare_hello", "semshare_forks", "semshare_doorbell", "semshare_transfer"])
def test_a_module_whose_area_is_not_there_says_so(module):
    lock = module == "semshare_transfer"
    with kernel.KernelLog() as log:
        assert kernel.name_of(kernel.load(module, "name=nowhere" if lock else "area=nowhere")) == "-ENOENT"
        area = "area and lock" if lock else "area"
        assert any(line.startswith(f"{module}: {area} nowhere: ") for line in log.read())
