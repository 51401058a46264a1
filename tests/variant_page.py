# SPDX-License-Identifier: MIT
"""docs/how-to/add-a-ring-variant.md, as somebody follows it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "add-a-ring-variant.md"


def shell() -> list[str]:
    """The commands of the page, in their order."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def add_variant(tree: Path) -> None:
    """Add the variant of docs/examples/ring_variant to a copy of the sources, by the commands of the page."""
    commands = [line for line in shell() if line.startswith(("cp ", "sed "))]
    assert len(commands) == 3
    subprocess.run(["sh", "-euc", "\n".join(commands)], cwd=tree, check=True)
