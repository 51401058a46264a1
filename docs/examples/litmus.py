#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One litmus test by herd7, whole and without each of its barriers: python3 docs/examples/litmus.py [NAME]

NAME is one of tests/models/litmus, wake-up unless told. Needs Debian, as the virtual machine does: herd7 is downloaded.
"""

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "models"))

# Behind the line that says where they are found.
from barriers import mutants, plain  # noqa: E402
from herd import SPLIT, WITHOUT, run  # noqa: E402

name = sys.argv[1] if len(sys.argv) > 1 else "wake-up"
text = (TOP / "tests" / "models" / "litmus" / f"{name}.litmus").read_text()
tests = [("as it is", plain(text)), *((f"without {of}", each) for of, each in mutants(text, WITHOUT, SPLIT))]
for (what, _), (word, race) in zip(tests, run([each for _, each in tests])):
    print(f"{name}, {what}: {word}{', and a data race' if race else ''}")
