# SPDX-License-Identifier: MIT
"""What every child of the demo does first: it dies with its parent, and leaves the terminal's signals to it."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1

# Looked up before any fork: between fork and exec nothing should be loaded.
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def settle(parent: int) -> None:
    """Be a child that cannot be left behind. `parent` is the pid of the process that forks it.

    Ctrl-C in a terminal goes to the whole process group. The parent alone acts on it, and tells its children to stop
    when they are at a place where they can; so they ignore it, and SIGTERM and SIGHUP. Should the parent be killed, the
    kernel kills them.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    if _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    # The parent may have died before the line above; then nobody would ever be told.
    if os.getppid() != parent:
        os._exit(1)
