# SPDX-License-Identifier: MIT
"""Parameters and state between processes, in POSIX shared memory; and what both sides do with the memory."""

from __future__ import annotations

import math
import os
import signal
import struct
import subprocess
import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest
from compiler import COMPILER, INCLUDE, compile_c
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import Child, wait_until
from semshare._abi import ffi, lib
from stepping import possible
from test_kill_at_every_instruction import kill_at, length_inside

from semshare import (
    Area,
    Denied,
    Error,
    Lock,
    NameExists,
    NotFound,
    OutOfLimits,
    Parameter,
    Parameters,
    Timeout,
    UnknownParameter,
)
from semshare.names import padded as names_padded
from semshare.parameters import look

TOP = Path(__file__).resolve().parents[2]
AT_VERSIONS, AT_WORDS, MAX = 8192 + 128, 8192 + 256, 60

MOTOR = [
    Parameter("rate", 2.5, 0.0, 100.0),
    Parameter("low", 1, 0, 100, group=1),
    Parameter("high", 2, 0, 100, group=1),
    Parameter("size", 64),
    Parameter("gain", 1.0),
]
RATE, LOW, HIGH, SIZE, GAIN = range(5)


@pytest.fixture
def declared(name):
    with Parameters.create(name, MOTOR, {"made": 7, "load": 0.5}, backend="posix") as declared:
        yield declared


@pytest.fixture
def user(declared):
    with Parameters.attach(declared.name) as user:
        yield user


# Setting and reading


def test_what_one_process_sets_another_reads(declared):
    def other() -> None:
        with Parameters.attach(declared.name) as user:
            assert dict(user) == {"rate": 2.5, "low": 1, "high": 2, "size": 64, "gain": 1.0}
            user["rate"] = 7
            user["size"] = -(1 << 63)
            user["gain"] = math.inf
            user.update(low=10, high=20)

    assert Child(other).wait() == 0
    assert dict(declared) == {"rate": 7.0, "low": 10, "high": 20, "size": -(1 << 63), "gain": math.inf}
    assert isinstance(declared["rate"], float)


def test_state_goes_the_other_way_and_only_that(declared, user):
    declared.state["made"] = 8
    declared.state["load"] = 1
    assert dict(user.state) == {"made": 8, "load": 1.0} and len(user.state) == 2
    with pytest.raises(Denied, match="only who declared"):
        user.state["made"] = 9
    assert declared.state["made"] == 8


def test_it_is_a_mapping_of_what_was_declared(user):
    assert list(user) == ["rate", "low", "high", "size", "gain"] and len(user) == 5
    assert "rate" in user and "made" not in user and "made" in user.state and 5 not in user
    assert user.get("nothing", 3) == 3
    assert user.snapshot() == dict(user.items())
    assert user.limits("rate") == (0.0, 100.0)
    assert user.limits("size") == (-(1 << 63), (1 << 63) - 1)
    assert user.declared("low") == Parameter("low", 1, 0, 100, group=1)
    assert "rate=2.5" in repr(user) and "made=7" in repr(user.state)
    with pytest.raises(TypeError):
        del user["rate"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("key", "value", "error", "says"),
    [
        ("rate", 100.5, OutOfLimits, "0.0 to 100.0"),
        ("rate", math.nan, OutOfLimits, "nan"),
        ("rate", "fast", TypeError, "a float, not str"),
        ("rate", None, TypeError, "a float"),
        ("low", -1, OutOfLimits, "0 to 100"),
        ("low", 1 << 70, OutOfLimits, "0 to 100"),
        ("size", 1 << 63, OutOfLimits, "9223372036854775807"),
        ("size", 1.0, TypeError, "an int, not float"),
        ("speed", 1, UnknownParameter, "there are rate"),
        ("made", 1, UnknownParameter, r"\.state\['made'\]"),
        (3, 1, UnknownParameter, "no 3"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(user, key, value, error, says):
    before = user.snapshot()
    with pytest.raises(error, match=says):
        user[key] = value
    if error is UnknownParameter:
        with pytest.raises(error, match=says):
            user.declared(key)
    with pytest.raises(error, match=says):
        user.update({key: value})
    assert user.snapshot() == before


def test_an_unknown_one_is_a_key_error_and_a_bad_value_a_value_error(user):
    with pytest.raises(KeyError):
        user["speed"]
    with pytest.raises(KeyError):
        user.state["speed"]
    with pytest.raises(KeyError):
        user.limits("made")
    with pytest.raises(ValueError, match="0 to 100"):
        user["low"] = 101


def test_who_attached_to_read_cannot_set(declared):
    with Parameters.attach(declared.name, readonly=True) as reader:
        assert reader.readonly and reader["rate"] == 2.5
        for change in ({"rate": 1.0}, {"low": 1}):
            with pytest.raises(Denied):
                reader.update(change)
        with pytest.raises(Denied):
            reader["rate"] = 1.0


def test_after_close_nothing_can_be_done(declared):
    with Parameters.attach(declared.name) as user:
        pass
    assert user.closed and "closed" in repr(user)
    for use in (lambda: user["rate"], lambda: user.update(low=1), lambda: user.state["made"], lambda: user.snapshot()):
        with pytest.raises(ValueError, match="closed"):
            use()
    user.close()


# Groups


def test_members_of_a_group_change_together(declared, user):
    user.update({"low": 30}, high=40)
    assert (declared["low"], declared["high"]) == (30, 40)
    user["low"] = 31
    assert (declared["low"], declared["high"]) == (31, 40)
    with user.group() as new:
        new["low"] = 50
        assert declared["low"] == 31
        new["high"] = 60
    assert (declared["low"], declared["high"]) == (50, 60)
    with pytest.raises(ZeroDivisionError), user.group() as new:
        new["low"] = 1 // 0
    with pytest.raises(OutOfLimits):
        user.update(low=70, high=101)
    assert (declared["low"], declared["high"]) == (50, 60)
    user.update()
    user.update(rate=5.0)
    assert declared["rate"] == 5.0


def test_what_is_of_no_group_does_not_change_together(user):
    for values in ({"rate": 1.0, "size": 2}, {"rate": 1.0, "low": 2}):
        with pytest.raises(ValueError, match="not of one group"):
            user.update(values)
    assert user["rate"] == 2.5


def change(name: str, step: int) -> None:
    with Parameters.attach(name) as user:
        value = 0
        while True:
            user.update(low=value, high=100 - value)
            value = (value + step) % 101


def test_no_reader_sees_a_mixed_group(declared):
    declared.update(low=0, high=100)
    writers = [Child(change, declared.name, step) for step in (3, 7)]
    seen = set()

    def look_often() -> bool:
        for _ in range(1000):
            now = declared.snapshot()
            assert now["low"] + now["high"] == 100
            seen.add(now["low"])
        return len(seen) > 20

    try:
        wait_until(look_often, "a change after the other")
    finally:
        for writer in writers:
            writer.kill()
    assert declared.facts().refused_here == 0


def test_threads_of_one_process_change_groups_too(declared, user):
    def work(step: int) -> None:
        for value in range(0, 100, step):
            user.update(low=value, high=100 - value)

    user.update(low=0, high=100)
    threads = [threading.Thread(target=work, args=(step,)) for step in (1, 2, 3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        now = declared.snapshot()
        assert now["low"] + now["high"] == 100
    for thread in threads:
        thread.join()


@pytest.mark.skipif(not possible(), reason="a process cannot step its child here")
def test_a_writer_may_be_killed_anywhere(declared):
    """Its group is there wholly or not at all, and the next writer has nothing to wait for."""
    with Parameters.attach(declared.name) as user:

        def work() -> None:
            user.update(low=70, high=71)

        semid = user._writers().semid
        work()
        length = length_inside(semid, work)
        wholly = 0
        for number in range(0, length, 11):
            user.update(low=1, high=2)
            # Once more: a child would begin with forgetting that an owner died.
            user.update(low=1, high=2)
            kill_at(semid, number, work)
            now = declared.snapshot()
            assert (now["low"], now["high"]) in ((1, 2), (70, 71))
            wholly += now["low"] == 70
        assert wholly > 0
        print(f"killed inside {length} instructions, {wholly} times after the commit")


def test_a_stopped_writer_holds_up_only_those_who_change_groups_and_not_for_ever(declared):
    ready, go_on = os.pipe(), os.pipe()

    def hold() -> None:
        with Parameters.attach(declared.name) as user:
            user._writers().acquire()
            os.write(ready[1], b".")
            os.read(go_on[0], 1)

    child = Child(hold)
    os.read(ready[0], 1)
    with Parameters.attach(declared.name, timeout=0.2) as user:
        user["rate"] = 9.0
        assert declared["rate"] == 9.0
        assert declared["low"] == 1
        with pytest.raises(Timeout, match=f"process {child.pid}"):
            user["low"] = 4
        child.kill()
        user["low"] = 5
        assert declared["low"] == 5
    for fd in ready + go_on:
        os.close(fd)


# Whatever is written to the memory


def poke(parameters: Parameters, index: int, value: float, copy: int = 0) -> None:
    kind = "d" if isinstance(value, float) else "q"
    struct.pack_into(kind, parameters._area._mapping, AT_WORDS + copy * 8 * MAX + 8 * index, value)


def test_a_value_outside_of_its_limits_is_not_read(declared, user):
    user["rate"] = 3.0
    assert declared["rate"] == 3.0
    for wrong in (100.1, -1e-300, math.nan, -math.nan, math.inf, -math.inf):
        poke(user, RATE, wrong)
        assert declared["rate"] == 3.0
    assert declared.facts().refused_here == 6
    poke(user, RATE, -0.0)
    assert declared["rate"] == 0.0
    poke(user, RATE, 100.0)
    assert declared["rate"] == 100.0


def test_a_group_with_a_wrong_value_is_not_read_and_put_right_by_the_next_writer(declared, user):
    user.update(low=10, high=11)
    assert declared["low"] == 10
    version = struct.unpack_from("Q", user._area._mapping, AT_VERSIONS + 8)[0]
    poke(user, LOW, 20, copy=(version + 1) & 1)
    poke(user, HIGH, 101, copy=(version + 1) & 1)
    struct.pack_into("Q", user._area._mapping, AT_VERSIONS + 8, version + 1)
    assert declared.snapshot()["low"] == 10 and declared["high"] == 11
    assert declared.facts().refused_here == 2
    user.update(low=30)
    assert (declared["low"], declared["high"]) == (30, 2)


def test_a_group_that_changes_all_the_time_is_read_as_it_last_was(declared, user):
    def scribble() -> None:
        memory = memoryview(user._area._mapping).cast("Q")
        place = (AT_VERSIONS + 8) // 8
        while True:
            for _ in range(1000):
                memory[place] += 1

    user.update(low=10, high=11)
    assert declared["low"] == 10
    child = Child(scribble)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        now = declared.snapshot()
        # The copies are those of two versions, both of them good.
        assert (now["low"], now["high"]) in ((10, 11), (1, 2), (0, 0))
    child.kill()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nothing_that_is_written_to_the_page_gets_past_the_limits(data):
    name = f"test-{os.getpid()}-scribble"
    with Parameters.create(name, MOTOR, {"made": 7}, backend="posix") as declared:
        page = memoryview(declared._area._mapping)[8192:12288].cast("Q")
        word = st.integers(0, (1 << 64) - 1) | st.sampled_from(
            [0, 1, 1 << 63, (1 << 64) - 1, 0x7FF0000000000000, 0xFFF0000000000000, 0x7FF0000000000001, 101, 100]
        )
        for _ in range(data.draw(st.integers(1, 30))):
            page[data.draw(st.integers(0, 151))] = data.draw(word)
            now = declared.snapshot()
            for parameter in MOTOR:
                least, most = parameter.limits
                assert least <= now[parameter.name] <= most
        page.release()


def test_what_is_no_directory_is_not_attached(name, monkeypatch):
    monkeypatch.setattr("semshare.parameters.FORMAT_LIMIT", 0.1)
    with Area(name, 12288, backend="posix") as area, pytest.raises(NotFound, match="no parameters"):
        Parameters.attach(name)
    with Area(name, 4096, backend="posix"), pytest.raises(NotFound, match="no parameters"):
        Parameters.attach(name)
    with Area(name, 12288, backend="posix") as area:
        struct.pack_into("II", area.buffer, 0, lib.SEMSHARE_PARAMETERS_MAGIC, lib.SEMSHARE_ABI_VERSION)
        struct.pack_into("II", area.buffer, 16, 61, 0)
        with pytest.raises(Error, match="wrote over"):
            Parameters.attach(name)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_directory_breaks_who_looks_at_it(data):
    copy = bytearray(12288)
    struct.pack_into("IIIIII", copy, 0, lib.SEMSHARE_PARAMETERS_MAGIC, lib.SEMSHARE_ABI_VERSION, 0, 0, 2, 1)
    for index, name in enumerate((b"a", b"b", b"c")):
        limits = (0, 9) if index < 2 else (0, 0)
        struct.pack_into("32sIIqqq", copy, 256 + 64 * index, name, 1, 0, *limits, 5)
    assert look(bytes(copy)) is not None
    for place, value in data.draw(st.lists(st.tuples(st.integers(8, 450), st.integers(0, 255)), max_size=6)):
        copy[place] = value
    found = look(bytes(copy))
    assert found is None or all(isinstance(value, (int, float)) for value in found.values.values())


# Declaring


@pytest.mark.parametrize(
    "parameters",
    [
        [],
        [Parameter("", 1)],
        [Parameter("a b", 1)],
        [Parameter("ä", 1)],
        [Parameter("x" * 32, 1)],
        [Parameter("a", 1), Parameter("a", 2.0)],
        [Parameter("a", 3, 0, 2)],
        [Parameter("a", 1, 2, 0)],
        [Parameter("a", 1.0, math.nan)],
        [Parameter("a", math.nan)],
        [Parameter("a", 1, 0.5)],
        [Parameter("a", 1 << 63)],
        [Parameter("a", 1, group=16)],
        [Parameter("a", 1, group=-1)],
        [Parameter(f"a{i}", 1) for i in range(61)],
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(name, parameters):
    with pytest.raises(ValueError, match=f"parameters '{name}'"):
        Parameters.create(name, parameters, backend="posix")


def test_sixty_of_the_longest_names(name):
    names = [f"{index:031d}" for index in range(60)]
    parameters = [Parameter(each, 0, 0, 60, group=index % 16) for index, each in enumerate(names)]
    with Parameters.create(name, parameters, backend="posix") as declared, Parameters.attach(name) as user:
        for index, each in enumerate(names):
            user[each] = index
        assert declared.snapshot() == {each: index for index, each in enumerate(names)}


def test_a_name_that_is_taken(name, declared):
    with pytest.raises(NameExists):
        Parameters.create(name, MOTOR, backend="posix")


def test_a_lock_of_that_name_is_in_the_way_of_groups_only(name):
    lock = Lock(name)
    try:
        with pytest.raises(NameExists, match="ipcrm"):
            Parameters.create(name, MOTOR, backend="posix")
        with Parameters.create(name, [Parameter("a", 1)], backend="posix") as declared:
            assert declared["a"] == 1
    finally:
        lock.unlink()


def test_who_attaches_waits_for_who_declares(name):
    def attach() -> None:
        with Parameters.attach(name) as user:
            assert user["a"] == 5

    entries = ffi.new("struct semshare_parameter[]", [(b"a", lib.SEMSHARE_PARAMETER_INT, 0, 0, 9, 5)])
    with Area(name, 12288, backend="posix") as area:
        child = Child(attach)
        time.sleep(0.1)
        assert not child.poll()
        memory = ffi.from_buffer(area.buffer)
        assert not lib.semshare_parameters_format(memory, entries, 1, 0, lib.SEMSHARE_OWNER_USER, 0, names_padded(name))
        del memory
        assert child.wait() == 0


def test_parameters_live_on_when_who_declared_them_is_killed(name):
    ready = os.pipe()

    def declare() -> None:
        with Parameters.create(name, MOTOR, backend="posix"):
            os.write(ready[1], b".")
            signal.pause()

    child = Child(declare)
    os.read(ready[0], 1)
    with Parameters.attach(name) as user:
        child.kill()
        user.update(low=3, high=4)
        assert user["high"] == 4 and user.facts().pid == child.pid
    for fd in ready:
        os.close(fd)
    wait_until(lambda: not os.path.exists(f"/dev/shm/semshare.{name}"), "the end of the area")


# The core


@pytest.fixture(scope="module")
def entry():
    return ffi.new("struct semshare_parameter *")


doubles = st.floats(allow_nan=True, allow_infinity=True)


def bits_of(value: float) -> int:
    return int(struct.unpack("Q", struct.pack("d", value))[0])


@given(one=doubles, other=doubles)
def test_doubles_are_ordered_by_their_bits(one, other):
    if math.isnan(one) or math.isnan(other):
        return
    order = [lib.semshare_parameter_order(lib.SEMSHARE_PARAMETER_DOUBLE, bits_of(each)) for each in (one, other)]
    assert (order[0] < order[1]) == (one < other) and (order[0] == order[1]) == (one == other)


@given(least=doubles, most=doubles, value=doubles)
def test_a_double_is_within_its_limits_as_floating_point_says(entry, least, most, value):
    if math.isnan(least) or math.isnan(most):
        return
    entry.type = lib.SEMSHARE_PARAMETER_DOUBLE
    entry.minimum, entry.maximum = bits_of(least), bits_of(most)
    assert bool(lib.semshare_parameter_within(entry, bits_of(value))) == (least <= value <= most)


@given(bits=st.integers(0, (1 << 64) - 1))
def test_no_nan_is_within_any_limits(entry, bits):
    entry.type = lib.SEMSHARE_PARAMETER_DOUBLE
    entry.minimum, entry.maximum = bits_of(-math.inf), bits_of(math.inf)
    value = struct.unpack("d", struct.pack("Q", bits))[0]
    assert bool(lib.semshare_parameter_within(entry, bits)) == (not math.isnan(value))


@settings(max_examples=500)
@given(value=doubles | st.floats(-1e12, 1e12), scale=st.integers(0, (1 << 32) - 1) | st.sampled_from([1, 1000, 10**9]))
def test_a_double_is_scaled_as_fractions_say(value, scale):
    most = (1 << 63) - 1
    if math.isnan(value):
        wanted = 0
    elif math.isinf(value):
        wanted = (most if value > 0 else -most) if scale else 0
    else:
        wanted = max(-most, min(most, math.trunc(Fraction(value) * scale)))
    assert lib.semshare_double_scaled(bits_of(value), scale) == wanted


@pytest.mark.parametrize(("writers", "readers"), [(1, 1), (2, 2), (3, 1)])
def test_groups_under_thread_sanitizer(tmp_path, writers, readers):
    if COMPILER is None or not INCLUDE.exists():
        pytest.skip("no gcc here, or not in a source tree")
    source = Path(__file__).with_name("c") / "parameters.c"
    program = compile_c(tmp_path / "parameters", source, "-O1", "-fsanitize=thread")
    # ThreadSanitizer wants addresses where it expects them.
    done = subprocess.run(
        ["setarch", "-R", program, str(writers), str(readers), "300000"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "changes seen" in done.stdout and not done.stdout.endswith("seen 0\n"), done.stdout
