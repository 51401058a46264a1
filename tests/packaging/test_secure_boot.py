# SPDX-License-Identifier: MIT
"""Secure Boot in earnest: UEFI firmware that verifies Debian's signed kernel, which then verifies every module.

The firmware's keys are ours, written by virt-firmware: `db` has Debian's, so that the kernel boots, and one that the
machine's owner enrolled there; and the list of machine owner keys, which shim passes on to the kernel (here, where the
firmware starts the kernel without shim, it is put where shim would leave it), has DKMS's.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import TOP, run

OWNER = "6ccbe0c5-9d3f-4d5b-8b5e-6b1d0e8f2a41"  # of the keys: any will do
REFUSED = "Key was rejected by service"
NO_KEY = "Required key not available"


@pytest.fixture(scope="session")
def keys(private):
    """NAME.key and NAME.pem, of whom the kernel trusts one (owner) and has never heard of the other (unknown)."""
    for name in ("owner", "unknown"):
        command = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-batch"]
        command += ["-subj", f"/CN=semshare test {name}/", "-addext", "extendedKeyUsage=codeSigning"]
        run(*command, "-keyout", private / f"{name}.key", "-out", private / f"{name}.pem")
    return private


@pytest.fixture(scope="session")
def modules(system, kernels, keys, tmp_path_factory):
    """The module as built (unsigned), signed by each key, and signed by the owner and then changed, in a folder."""
    share = tmp_path_factory.mktemp("share")
    run("vm/kmod", "6.1")
    built = TOP / "build/kmod-6.1/semshare.ko"
    for name in ("unsigned", "owner", "unknown"):
        shutil.copy(built, share / f"{name}.ko")
    sign_file = kernels["6.1"].folder / "build/scripts/sign-file"
    for name in ("owner", "unknown"):
        words = [f"KEY={keys}/{name}.key", f"CERT={keys}/{name}.pem", f"MODULES={share}/{name}.ko"]
        run("env", f"SIGN_FILE={sign_file}", "make", "kmod-sign", *words)
    signed = bytearray((share / "owner.ko").read_bytes())
    at = signed.index(b"One SysV semaphore set")
    signed[at] ^= 1
    (share / "changed.ko").write_bytes(signed)
    return share


LOAD = """
load() {
	cp "$SEMSHARE_RUN_DIR/$1.ko" /tmp/semshare.ko
	said=$(insmod /tmp/semshare.ko 2>&1) && said=loaded && rmmod semshare
	echo "$1: $said"
}
for each in unsigned unknown changed owner; do load $each; done
"""


def results(stdout: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in stdout.splitlines() if ": " in line)


def test_a_kernel_that_enforces_signatures_refuses_what_it_does_not_trust(machine, kernels, modules):
    found = results(machine(kernels["6.1"], LOAD, "--append", "module.sig_enforce=1", "--run-dir", modules).stdout)
    for name in ("unsigned", "unknown", "changed", "owner"):
        assert REFUSED in found[name] or NO_KEY in found[name], found


@pytest.fixture(scope="session")
def firmware(system, keys, tmp_path_factory) -> Path:
    """The firmware's variables: who may be booted, and whose modules the kernel takes."""
    folder = tmp_path_factory.mktemp("firmware")
    tool = [TOP / ".venv/bin/virt-fw-vars", "-l", "ERROR", "-i", system.chroot / "usr/share/OVMF/OVMF_VARS_4M.fd"]
    mok = system.changes / "var/lib/dkms/mok.pub"
    run(*tool, "-o", folder / "list.fd", "--add-mok", OWNER, mok, "--output-json", folder / "list.json")
    (variable,) = json.loads((folder / "list.json").read_text())["variables"]
    assert variable["name"] == "MokList"
    variable.update(name="MokListRT", attr=7)
    (folder / "list.json").write_text(json.dumps({"version": 2, "variables": [variable]}))
    owner = keys / "owner.pem"
    enrolled = [
        "--set-pk",
        OWNER,
        owner,
        "--add-kek",
        OWNER,
        owner,
        "--add-db",
        OWNER,
        owner,
        "--distro-keys",
        "debian",
    ]
    run(*tool, "-o", folder / "vars.fd", *enrolled, "--secure-boot", "--set-json", folder / "list.json")
    return folder / "vars.fd"


SECURE = """
echo "lockdown: $(cat /sys/kernel/security/lockdown)"
in_system modprobe semshare && echo "dkms: loaded" && in_system modprobe semshare_demo && echo "demo module: loaded"
echo "signer: $(in_system modinfo -F signer semshare)"
semshare demo --seconds 2 >&2
echo "demo: $?"
in_system modprobe -r semshare_demo semshare
"""


@pytest.fixture(scope="session")
def secure(machine, system, kernels, modules, firmware):
    """What was said under Secure Boot, and the kernel's log."""
    image = run("vm/image", "6.1").stdout.strip()
    qemu = [
        "-machine smm=on -global driver=cfi.pflash01,property=secure,value=on",
        f"-drive if=pflash,unit=0,format=raw,readonly=on,file={system.chroot}/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
        f"-drive if=pflash,unit=1,format=raw,file={firmware}",
        f"-kernel {image}",
    ]
    done = machine(kernels["6.1"], SECURE + LOAD, "--qemu", " ".join(qemu), "--run-dir", modules)
    return results(done.stdout), (modules / "machine/dmesg").read_text()


def test_the_machine_is_under_secure_boot_and_locked_down(secure):
    found, log = secure
    assert "Secure boot enabled" in log
    assert "[integrity]" in found["lockdown"]


def test_what_dkms_signed_loads_once_its_key_is_a_machine_owner_key(secure):
    found, log = secure
    assert "Loading X.509 certificate: UEFI:MokListRT" in log
    assert found["dkms"] == found["demo module"] == "loaded"
    assert found["signer"] == "DKMS module signing key"


def test_the_module_does_its_work_on_a_locked_down_kernel(secure):
    assert secure[0]["demo"] == "0"


def test_what_kmod_sign_signed_loads_once_its_key_is_enrolled(secure):
    assert secure[0]["owner"] == "loaded"


@pytest.mark.parametrize("name", ["unsigned", "unknown", "changed"])
def test_anything_else_is_refused(secure, name):
    found = secure[0][name]
    assert REFUSED in found or NO_KEY in found
