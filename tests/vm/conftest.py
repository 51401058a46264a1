# SPDX-License-Identifier: MIT
"""These tests load and unload kernel modules as root: they run in the virtual machine (make test) and nowhere else."""

import os

collect_ignore_glob = [] if os.environ.get("SEMSHARE_VM") else ["test_*.py"]
