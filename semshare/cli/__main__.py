# SPDX-License-Identifier: MIT
"""`python -m semshare.cli`, for where the script is not on PATH."""

from semshare.cli import main

main(prog_name="semshare")
