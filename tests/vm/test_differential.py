# SPDX-License-Identifier: MIT
"""The same sequence of operations by system calls and through the module: every answer and every state is the same.

hypothesis makes the sequences, sem_player.c plays them (it says what they are made of), once down each path to the
kernel, and writes down what happened, step by step: results, errnos, what came out, who sleeps and who wakes with what;
and for each set, whenever it changes, its values, the pids, the waiters, the times, the owner and the mode. The texts
must be equal. A difference is shown for a sequence as short as hypothesis finds one.
"""

import contextlib
import pathlib
from dataclasses import dataclass

import kernel
import player
import pytest
from effort import EFFORT, scaled
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

# Five steps a draw: to hypothesis a draw costs far more than what it holds.
DRAWN = 5 * player.RECORD
steps = st.lists(st.binary(min_size=DRAWN, max_size=DRAWN), min_size=3, max_size=12).map(b"".join)


@dataclass(frozen=True)
class Comparison:
    """What is compared with what."""

    reference: str
    route: str
    test_module: str  # the same by direct calls of the entry points, where the sequence allows it
    profile: int
    sequences: int


COMPARISONS = {
    "in-the-caller": Comparison("system-call", "route", "test-process", 0, 1200),
    "in-a-kernel-thread": Comparison("system-call-as-kthread", "route-kthread", "test-kthread", player.RARE_UNDO, 800),
}

# What must have come at least once, or the sequences tried less than they should have: in a part of them what comes
# twenty times and more in a twentieth, in all of them ANSWERS.
FREQUENT = {
    "semget ok",
    *(f"semop {answer}" for answer in ("ok", "EACCES", "EAGAIN", "EFBIG", "EINVAL", "slept:EINTR", "slept:EIDRM")),
    *(f"semtimedop {answer}" for answer in ("ok", "EAGAIN", "EINVAL")),
    *(f"semctl:{command} ok" for command in ("IPC_SET", "IPC_INFO", "SEM_INFO", "SETVAL", "SETALL")),
    "exit ok",
}
ANSWERS = {
    *("semget ok", "semget EEXIST", "semget ENOENT", "semget EINVAL", "semget ENOSPC"),
    *(f"semop {error}" for error in ("ok", "E2BIG", "EACCES", "EAGAIN", "EFAULT", "EFBIG", "EINVAL", "ERANGE")),
    *(f"semop slept:{error}" for error in ("ok", "EINTR", "EIDRM")),
    *(f"semtimedop {error}" for error in ("ok", "EAGAIN", "EFAULT", "EINVAL", "EACCES")),
    *(f"semtimedop slept:{error}" for error in ("ok", "EINTR", "EIDRM")),
    *(f"semctl:IPC_SET {error}" for error in ("ok", "EPERM", "EFAULT", "EINVAL")),
    *(f"semctl:IPC_RMID {error}" for error in ("ok", "EPERM", "EINVAL")),
    *(f"semctl:IPC_STAT {error}" for error in ("ok", "EINVAL")),
    *(f"semctl:{command} {error}" for command in ("SEM_STAT", "SEM_STAT_ANY") for error in ("ok", "EINVAL")),
    *("semctl:IPC_INFO ok", "semctl:SEM_INFO ok"),
    *(
        f"semctl:{command} {error}"
        for command in ("GETVAL", "GETPID", "GETNCNT", "GETZCNT")
        for error in ("ok", "EINVAL")
    ),
    *(f"semctl:GETALL {error}" for error in ("ok", "EACCES", "EFAULT", "EINVAL")),
    *(f"semctl:{set_} {error}" for set_ in ("SETVAL", "SETALL") for error in ("ok", "EACCES", "EINVAL", "ERANGE")),
    *("semctl:4 EINVAL", "semctl:22 EINVAL"),
    # The ends of a process: by itself, killed, and killed asleep.
    *("exit ok", "exit EINTR", "exit slept:EINTR", "unshare ok"),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return player.compile_player(tmp_path_factory.mktemp("player"))


@pytest.fixture(scope="module")
def _test_module():
    assert kernel.load("semshare_test") == 0
    yield
    assert kernel.unload("semshare_test") == 0


@pytest.fixture(scope="module")
def _one_processor():
    """Who plays takes turns: waking an emulated processor that its host is not running costs more than all the rest."""
    others = []
    for switch in pathlib.Path("/sys/devices/system/cpu").glob("cpu[1-9]*/online"):
        with contextlib.suppress(OSError):
            switch.write_text("0")
            others.append(switch)
    yield
    for switch in others:
        switch.write_text("1")


def difference(names, texts):
    """What led to the first line that differs, and how it goes on on each path."""
    lines = [text.splitlines() for text in texts]
    at = next((i for i, together in enumerate(zip(*lines)) if len(set(together)) > 1), min(len(each) for each in lines))
    told = [*lines[0][:at]]
    for name, each in zip(names, lines):
        told += [f"--- {name}:", *each[at : at + 4]]
    return "\n".join(told)


def test_a_difference_is_told_from_its_first_line():
    texts = ["0: made\n1: P = 0\n2: V = 0\n", "0: made\n1: P = EAGAIN\n"]
    assert difference(["one", "two"], texts).splitlines() == [
        "0: made",
        *("--- one:", "1: P = 0", "2: V = 0"),
        *("--- two:", "1: P = EAGAIN"),
    ]
    assert difference(["one", "two"], ["0: made\n", ""]).splitlines() == ["--- one:", "0: made", "--- two:"]


@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("_test_module", "_one_processor")
@pytest.mark.parametrize("where", COMPARISONS)
def test_no_sequence_of_operations_shows_a_difference(program, where, capsys):
    comparison = COMPARISONS[where]
    paths = [comparison.reference, comparison.route, comparison.test_module]
    players = player.Players(program)

    @settings(
        max_examples=scaled(comparison.sequences),
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(steps, st.booleans())
    def compare(steps, plain):
        script = bytes([comparison.profile | (player.PLAIN if plain else 0)]) + steps
        names = paths if plain else paths[:2]
        texts = players.play(script, names)
        if any(text != texts[0] for text in texts):
            players.stop()  # they would go on from different states
            pytest.fail(difference(names, texts), pytrace=False)

    try:
        compare()
        counts = {name: players.counts(name) for name in paths}
    finally:
        players.stop()

    with capsys.disabled():
        calls = {name: sum(count for what, count in counts[name].items() if " " in what) for name in paths}
        told = (f"{name} {counts[name]['sequences']:,} ({calls[name]:,} calls)" for name in paths)
        print(f"\nsequences {where.replace('-', ' ')}: {', '.join(told)}", end=" ")
    assert counts[comparison.reference]["sequences"] >= scaled(comparison.sequences)
    assert counts[comparison.route] == counts[comparison.reference]
    assert counts[comparison.test_module]["sequences"] >= scaled(comparison.sequences) / 5
    wanted = ANSWERS if EFFORT >= 1 else FREQUENT
    if player.RARE_UNDO & comparison.profile:
        wanted = wanted | {"semop EOPNOTSUPP", "semtimedop EOPNOTSUPP"}
    missing = wanted - counts[comparison.route].keys()
    assert not missing, sorted(missing)
