# SPDX-License-Identifier: MIT
"""The command line: one file per command."""

from semshare.cli.group import main

__all__ = ["main"]
