# SPDX-License-Identifier: MIT
"""The device without the module: what is said when it is missing, may not be opened, or is something else."""

from __future__ import annotations

import errno
import os

import pytest
from processes import Child

from semshare import AbiMismatch, Area, Denied, Error, NotFound, Ring, device

pytestmark = pytest.mark.skipif(device.present(), reason="the module is loaded; see tests/vm")


def test_without_a_module_areas_are_posix_ones(name):
    assert not device.present()
    with pytest.raises(NotFound, match="modprobe"):
        device.Device()
    with pytest.raises(NotFound, match="modprobe"):
        Area(name, 1, backend="module")
    with pytest.raises(NotFound, match="modprobe"):
        Area(name, backend="module")
    with Area(name, 1) as area:
        assert area.backend == "posix"


def test_a_device_that_may_not_be_opened_is_an_error_and_no_fallback(name, monkeypatch, tmp_path):
    if os.getuid():
        pytest.skip("needs root to become somebody else")
    node = tmp_path / "semshare"
    node.touch(mode=0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        os.chmod(folder, 0o755)
    monkeypatch.setattr(device, "PATH", str(node))

    def somebody_else():
        os.setgid(65534)
        os.setuid(65534)
        for use in (lambda: Area(name, 1), lambda: Area(name), lambda: Ring(name, 4096, create=True)):
            with pytest.raises(Denied, match="may not open") as caught:
                use()
            assert caught.value.errno == errno.EACCES and str(node) in str(caught.value)

    assert Child(somebody_else).wait() == 0


def test_something_else_of_that_name_is_not_taken_for_the_module(name, monkeypatch, tmp_path):
    node = tmp_path / "semshare"
    node.touch()
    monkeypatch.setattr(device, "PATH", str(node))
    with pytest.raises(AbiMismatch, match="does not answer"):
        Area(name, 1)


@pytest.mark.parametrize(
    "code, parameters",
    [(errno.EINVAL, ["max_area_bytes"]), (errno.ENOSPC, ["max_user_bytes", "max_total_bytes"])],
    ids=["EINVAL", "ENOSPC"],
)
def test_an_area_over_a_limit_of_the_module_names_its_parameter(name, monkeypatch, code, parameters):
    class Full:
        def _call(self, request, structure):
            raise OSError(code, os.strerror(code))

        def close(self):
            pass

    monkeypatch.setattr(device, "Device", Full)
    with pytest.raises(Error, match="/sys/module/semshare/parameters/") as caught:
        device.create(name, 1 << 20, 0o600)
    assert caught.value.errno == code and name in str(caught.value)
    assert all(parameter in str(caught.value) for parameter in parameters)
    assert "kernel.sem" not in str(caught.value) and "/dev/shm" not in str(caught.value)
