# SPDX-License-Identifier: MIT
"""The row of docs/reference/comparison.md that needs the module."""

import json
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP))
from bench.compare import KERNEL_ROW, PAGE, read_table  # noqa: E402
from bench.peers import Multiprocessing, Ours, SysvIpc  # noqa: E402


def test_kernel_code_takes_ours_and_what_sysv_ipc_takes_and_the_page_says_so():
    kinds = (Ours, SysvIpc, Multiprocessing)
    only = [word for kind in kinds for word in ("--only", kind.module)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.compare", "--json", "--row", KERNEL_ROW, *only],
        cwd=TOP,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)["cells"][KERNEL_ROW]
    assert seen == {Ours.title: "yes", SysvIpc.title: "yes", Multiprocessing.title: "no"}
    written = read_table(PAGE.read_text())[KERNEL_ROW]
    assert seen == {title: written[title] for title in seen}
