# SPDX-License-Identifier: MIT
"""Parameters as a shell sees them: semshare get, set and ls."""

from __future__ import annotations

import json
import struct

import pytest
from semshare._abi import ffi, lib
from test_cli import assert_one_line, semshare

from semshare import Parameter, Parameters


@pytest.fixture
def declared(name):
    parameters = [
        Parameter("rate", 2.5, 0.0, 100.0),
        Parameter("low", 1, 0, 9, group=1),
        Parameter("high", 2, 0, 9, group=1),
        Parameter("gain", 1.0),
    ]
    with Parameters.create(name, parameters, {"made": 7}, backend="posix") as declared:
        yield declared


def test_get_prints_values_limits_and_state(declared, name):
    ended = semshare("get", name)
    assert ended.stdout.splitlines() == [
        "rate=2.5 (0.0 to 100.0)",
        "low=1 (0 to 9, group 1)",
        "high=2 (0 to 9, group 1)",
        "gain=1.0 (-inf to inf)",
        "made=7 (state)",
    ]
    assert semshare("get", name, "made", "low").stdout == "made=7 (state)\nlow=1 (0 to 9, group 1)\n"
    found = json.loads(semshare("get", "--json", name, "gain", "made").stdout)
    assert found == {"gain": {"value": 1.0, "limits": ["-inf", "inf"], "group": 0}, "made": {"value": 7, "state": True}}
    assert_one_line(semshare("get", name, "speed"), "speed", "rate")
    assert_one_line(semshare("get", f"no-{name}"), "there is none")


def test_set_sets_one_or_a_group(declared, name):
    assert semshare("set", name, "rate=7").returncode == 0
    assert semshare("set", name, "low=3", "high=0x4").returncode == 0
    assert dict(declared) == {"rate": 7.0, "low": 3, "high": 4, "gain": 1.0}
    assert_one_line(semshare("set", name, "rate=101"), "0.0 to 100.0")
    assert_one_line(semshare("set", name, "speed=1"), "speed")
    for wrong in (["rate"], ["rate=fast"], ["low=1.5"], ["rate=1", "low=2"], []):
        assert semshare("set", name, *wrong).returncode == 2
    assert dict(declared) == {"rate": 7.0, "low": 3, "high": 4, "gain": 1.0}


def test_ls_shows_what_a_person_wants_to_know(declared, name):
    declared["rate"] = 5.5
    declared.update(low=2, high=3)
    found = json.loads(semshare("ls", "--json").stdout)
    (area,) = [each for each in found["areas"] if each["name"] == name]
    mine = area["parameters"]
    assert area["holds"] == "parameters" and area["ring"] is None
    assert mine["values"] == {"rate": 5.5, "low": 2, "high": 3, "gain": 1.0} and mine["state"] == {"made": 7}
    assert (mine["declared_by"], mine["groups"], mine["refused"], mine["ended"]) == ("process", 1, 0, False)
    (set_,) = [each for each in found["sets"] if each["name"] == name]
    assert set_["use"] == "parameters"
    (line,) = [line for line in semshare("ls").stdout.splitlines() if name in line and "rate=" in line]
    assert "rate=5.5 low=2 high=3 gain=1.0" in line and "made=7" in line and line.split()[-2:] == ["0", "ok"]


def test_ls_shows_what_the_kernel_could_not_read(declared, name):
    at = lib.SEMSHARE_PARAMETERS_STATE + ffi.offsetof("struct semshare_parameters_bank", "refused")
    struct.pack_into("2Q", declared._area.buffer, at, 7, 12)
    found = json.loads(semshare("ls", "--json").stdout)
    (mine,) = [each["parameters"] for each in found["areas"] if each["name"] == name]
    assert (mine["refused"], mine["unsettled"]) == (7, 12)
    (line,) = [line for line in semshare("ls").stdout.splitlines() if name in line and "rate=" in line]
    assert line.split()[-4:] == ["7", "ok,", "12", "unsettled"]
