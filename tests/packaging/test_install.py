# SPDX-License-Identifier: MIT
"""`make dkms-install` on a Debian system, and what a user has of it after the next boot."""

from __future__ import annotations

import re
import subprocess

import pytest

MODULES = ["semshare", "semshare_demo", "semshare_exec", "semshare_verdict"]
KERNELS = ["6.1", "6.12"]


@pytest.fixture(params=KERNELS)
def kernel(request, kernels):
    return kernels[request.param]


# ------------------------------------------------------------------------------------------------- what is on the disk


def test_dkms_has_built_and_installed_for_both_kernels(system, kernels):
    lines = system.do("dkms status -m semshare").stdout.splitlines()
    assert sorted(lines) == sorted(f"semshare/0.1.0, {each.release}, x86_64: installed" for each in kernels.values())


def test_the_modules_are_there_and_no_others(system, kernel):
    folder = system.changes / "usr/lib/modules" / kernel.release / "updates"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {f"dkms/{name}.ko" for name in MODULES}


def test_a_build_keeps_headers_and_symbols_for_those_who_build_on_it(system, kernel):
    folder = system.changes / f"var/lib/dkms/semshare/kernel-{kernel.release}-x86_64"
    devel = folder.parent / folder.readlink() / "devel"
    symbols = re.findall(r"^0x\w{8}\t(\w+)\t.*\tEXPORT_SYMBOL_GPL", (devel / "Module.symvers").read_text(), re.M)
    assert {"semshare_semtimedop", "semshare_area_attach", "semshare_ring_put"} <= set(symbols)
    found = {str(path.relative_to(devel / "include")) for path in devel.rglob("*.h")}
    assert {"semshare/kapi.h", "semshare/abi.h", "semshare/core/ring.h"} <= found
    assert all(name.startswith("semshare/") and not name.endswith("test.h") for name in found)


def test_the_group_is_made(system):
    assert re.fullmatch(r"semshare:[^:]*:\d+:\n", system.do("getent group semshare").stdout)


# ------------------------------------------------------------------------------------------------------ after a reboot

BOOT = """
in_system useradd -G semshare member
in_system useradd stranger

echo "# udev"
in_system /lib/systemd/systemd-udevd --daemon
echo "# boot"
in_system /lib/systemd/systemd-modules-load
in_system modprobe -a semshare_demo semshare_exec semshare_verdict
in_system env SYSTEMD_IGNORE_CHROOT=1 udevadm settle
in_system lsmod | grep -o '^semshare[a-z_]*' | sort
echo "# files"
for each in semshare semshare_demo; do in_system modinfo -F filename $each; done
echo "# devices"
in_system sh -c 'stat -c "%n %G %a" /dev/semshare*'
for user in member stranger; do
	for device in semshare semshare-demo semshare-route; do
		in_system setpriv --reuid=$user --regid=$user --init-groups sh -c "exec 3<>/dev/$device" 2>/dev/null &&
			echo "$user may open $device"
	done
done
echo "# group"
in_system env SYSTEMD_IGNORE_CHROOT=1 udevadm test /sys/class/misc/semshare 2>&1 | grep -i 'semshare.*rules'
echo "# client"
"$VIRTUAL_ENV/bin/python" -c '
import subprocess, sys, semshare
with semshare.Ring("hello", 65536, create=True) as ring:
    subprocess.run(sys.argv[1:], check=True)
    print(ring.get(timeout=5))
' chroot $root insmod /root/client-$NAME/semshare_hello.ko area=hello
in_system rmmod semshare_hello
echo "# doctor"
semshare doctor
echo "# removed"
in_system modprobe -r semshare_verdict semshare_exec semshare_demo semshare
in_system lsmod | grep -c '^semshare'
in_system udevadm control --exit
"""


@pytest.fixture(scope="module")
def boots(machine):
    """The parts of what BOOT printed, for a kernel, which is booted once."""
    done: dict[str, dict[str, list[str]]] = {}

    def parts(kernel):
        if kernel.name not in done:
            done[kernel.name] = split(machine(kernel, f"NAME={kernel.name}\n{BOOT}"))
        return done[kernel.name]

    return parts


def split(finished: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in finished.stdout.splitlines():
        if line.startswith("# "):
            found[line[2:]] = []
        elif found:
            found[list(found)[-1]].append(line)
    assert "removed" in found, f"{finished.stdout}\n{finished.stderr}"
    return found


def test_the_module_is_loaded_at_boot_and_the_others_by_name(boots, kernel):
    assert boots(kernel)["boot"] == ["semshare", "semshare_demo", "semshare_exec"]


def test_what_is_loaded_is_what_dkms_installed(boots, kernel):
    folder = f"/lib/modules/{kernel.release}/updates/dkms"
    assert boots(kernel)["files"] == [f"{folder}/semshare.ko", f"{folder}/semshare_demo.ko"]


def test_udev_gives_each_device_its_group_and_mode(boots, kernel):
    assert [line for line in boots(kernel)["devices"] if line.startswith("/dev/")] == [
        "/dev/semshare semshare 660",
        "/dev/semshare-demo semshare 660",
        "/dev/semshare-route root 666",
    ]


def test_a_member_of_the_group_may_open_the_device_and_others_may_only_route(boots, kernel):
    assert [line for line in boots(kernel)["devices"] if " may open " in line] == [
        "member may open semshare",
        "member may open semshare-demo",
        "member may open semshare-route",
        "stranger may open semshare-route",
    ]


def test_a_module_built_against_the_installation_loads_and_reaches_python(boots, kernel):
    (record,) = boots(kernel)["client"]
    assert "hello from the kernel" in record


def test_the_doctor_finds_the_installed_module(boots, kernel):
    assert any("0.1.0" in line for line in boots(kernel)["doctor"])


def test_the_modules_can_be_removed_by_name(boots, kernel):
    assert boots(kernel)["removed"] == ["0"]


# --------------------------------------------------------------------------------------------- again, and away with it


def test_installing_again_builds_anew_for_every_kernel_that_had_it(system, kernels, layers):
    again = system.copy(layers / "again")
    stamp = {each.name: built_at(again, each) for each in kernels.values()}
    again.do(f"make dkms-install KERNELRELEASE={kernels['6.1'].release}")
    lines = again.do("dkms status -m semshare").stdout.splitlines()
    assert sorted(lines) == sorted(f"semshare/0.1.0, {each.release}, x86_64: installed" for each in kernels.values())
    for each in kernels.values():
        assert built_at(again, each) > stamp[each.name]


def built_at(system, kernel) -> int:
    return (system.changes / f"usr/lib/modules/{kernel.release}/updates/dkms/semshare.ko").stat().st_mtime_ns


def test_a_kernel_whose_headers_are_gone_does_not_stop_the_installation_for_another(system, kernels, layers):
    gone = system.copy(layers / "gone")
    old, new = kernels["6.1"].release, kernels["6.12"].release
    gone.do(f"rm /lib/modules/{old}/build")
    done = gone.do(f"make dkms-install KERNELRELEASE={new}")
    assert f"the kernel {old}, which had an older build, is without one now" in done.stderr
    assert f"{new}, x86_64: installed" in gone.do("dkms status -m semshare").stdout


def test_the_installed_modules_can_be_signed_with_a_key_of_ones_own(system, kernel, layers):
    own = system.copy(layers / f"own-{kernel.name}")
    make_key = "openssl req -new -x509 -newkey rsa:2048 -nodes -batch -subj '/CN=my kernel modules/'"
    own.do(f"{make_key} -keyout /root/mok.key -outform DER -out /root/mok.der")
    own.do(f"make kmod-sign KEY=/root/mok.key CERT=/root/mok.der KERNELRELEASE={kernel.release}")
    for name in MODULES:
        signer = own.do(f"modinfo -k {kernel.release} -F signer {name}").stdout
        assert signer == "my kernel modules\n", name


def test_uninstalling_leaves_nothing_behind_but_the_group(system, kernels, layers):
    away = system.copy(layers / "away")
    away.do("make dkms-uninstall")
    lent = f"usr/lib/modules/{kernels['6.12'].release}/build"
    left = {path for path in away.files() if path != lent and not path.startswith("root/client-")}
    assert left <= {"etc/.pwd.lock", "etc/group-", "etc/gshadow-"}  # of the group, which stays
    assert away.do("dkms status -m semshare").stdout == ""


def test_a_kernel_that_is_too_old_is_refused_with_one_clear_line(system, layers):
    old = system.copy(layers / "old")
    old.do("mkdir -p /lib/modules/5.10.0-28-amd64/build; touch /lib/modules/5.10.0-28-amd64/build/Makefile")
    done = old.do("make dkms-install KERNELRELEASE=5.10.0-28-amd64", check=False)
    assert done.returncode != 0
    assert "semshare: the kernel 5.10.0-28-amd64 is not one for semshare: x86-64, 6.1 or newer" in done.stderr


def test_a_build_that_fails_shows_why(system, kernels, layers):
    broken = system.copy(layers / "broken")
    release = kernels["6.1"].release
    makefile = "modules:\\n\\techo no compiler here; false\\nclean:\\n"
    broken.do(f"cd /lib/modules/{release}; rm build; mkdir -p build/include; printf '{makefile}' >build/Makefile")
    done = broken.do(f"make dkms-install KERNELRELEASE={release}", check=False)
    assert done.returncode != 0
    assert "no compiler here" in done.stderr and "DKMS could not install the modules for " + release in done.stderr
