# SPDX-License-Identifier: MIT
"""Answers the kernel module semshare_verdict, which asks for a verdict on every program start.

    # insmod semshare_verdict.ko
    # python judge_program_starts.py /usr/bin/false

denies each start of the programs that it is given, and allows the others. The kernel only logs the verdict (dmesg); the
counts are in /sys/module/semshare_verdict/parameters. End it with ^C: verdicts are then the default.
"""

import contextlib
import struct
import sys

import semshare
from semshare.demo import program_start

AREA = "verdict"
PROGRAM_START = 1
ALLOW, DENY = 0, 1


def main(denied):
    try:
        channel = semshare.Channel.attach(AREA)
    except FileNotFoundError:
        sys.exit(f"there is no channel {AREA!r}: load the kernel module semshare_verdict first")
    with channel:
        # What is not known is refused, and what comes too late is not seen.
        for command in channel.serve(opcodes={PROGRAM_START}):
            start = program_start.read(command.payload)
            verdict = DENY if start.path in denied else ALLOW
            command.reply(struct.pack("=I", verdict))
            print("denied " if verdict else "allowed", start.pid, start.path, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(frozenset(sys.argv[1:]))
