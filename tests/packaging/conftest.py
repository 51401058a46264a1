# SPDX-License-Identifier: MIT
"""A Debian system that semshare is installed on as its documents say, in a chroot, and the machine booted with that.

The chroot lies in the cache and stays as it is. What is done in it goes to a layer over it, a folder below build/,
which so holds exactly what an installation changes. In the machine the two together are a root file system again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "--preserve-env=XDG_CACHE_HOME,HOME"]
# pahole: newer kernels' headers, which here are not installed but lent by the cache, depend on it.
PACKAGES = ["dkms", "make", "udev", "systemd", "kmod", "openssl", "pahole", "ovmf"]


def run(*command: object, check: bool = True, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(word) for word in command], cwd=TOP, capture_output=True, text=True, timeout=timeout)
    if check:
        said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{said}"
    return done


@dataclass(frozen=True)
class Kernel:
    """A kernel of vm/kernels."""

    name: str
    folder: Path

    @property
    def release(self) -> str:
        return (self.folder / "release").read_text().strip()


@pytest.fixture(scope="session")
def kernels() -> dict[str, Kernel]:
    return {name: Kernel(name, Path(run("vm/fetch", name).stdout.strip())) for name in ("6.1", "6.12")}


class System:
    """The chroot with a layer over it."""

    def __init__(self, chroot: Path, layer: Path, shared: list[Path]) -> None:
        self.chroot = chroot
        self.layer = layer
        self._shared = shared

    @property
    def changes(self) -> Path:
        """What the layer has that the chroot has not, or has otherwise."""
        return self.layer / "upper"

    def do(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in it as root, in the checkout."""
        words = ["vm/inside", "--layer", self.layer, self.chroot, TOP, *self._shared, "--", "sh", "-ec", script]
        return run(*AS_ROOT, *words, check=check)

    def files(self) -> set[str]:
        """What it has that the chroot has not, but for temporary files and what DKMS and depmod keep for themselves."""
        found = set()
        for folder, _, names in os.walk(self.changes):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), self.changes)
                if not (self.chroot / path).exists() and not path.startswith(("tmp/", "var/tmp/", "var/log/")):
                    found.add(path)
        return {path for path in found if "/modules." not in path and not path.startswith("var/lib/dkms/mok.")}

    def copy(self, layer: Path) -> System:
        """The same system, to be changed on its own."""
        run(*AS_ROOT, "cp", "-a", self.layer, layer)
        return System(self.chroot, layer, self._shared)


@pytest.fixture(scope="session")
def layers():
    """A folder for layers, on a disk and where the machine sees it."""
    folder = TOP / "build/packaging"
    run(*AS_ROOT, "rm", "-rf", folder)
    folder.mkdir(parents=True)
    yield folder
    run(*AS_ROOT, "rm", "-rf", folder)


@pytest.fixture(scope="session")
def system(kernels, layers) -> System:
    """A Debian 12 with DKMS and the headers of its kernel, on which a new user typed `make dkms-install`.

    Then its next kernel came, for which DKMS builds on its own, and a module was built that uses semshare's.
    """
    old, new = kernels["6.1"], kernels["6.12"]
    made = run("vm/chroot", "bookworm", f"linux-headers-{old.release}", *PACKAGES, check=False)
    assert made.returncode == 0, (
        f"{made.stderr[-4000:]}\nIf Debian no longer has headers of {old.release}: remove {old.folder}, so that the"
        " machine's kernel is fetched anew."
    )
    system = System(Path(made.stdout.strip()), layers / "installed", [new.folder])
    system.layer.mkdir()
    system.do(f"make dkms-install KERNELRELEASE={old.release}")
    system.do(f"mkdir /lib/modules/{new.release}; ln -s {new.folder}/build /lib/modules/{new.release}/build")
    system.do(f"dkms autoinstall -k {new.release}")
    for each in (old, new):
        system.do(
            f"cp -a docs/examples/client_module /root/client-{each.name}"
            f" && make -C /root/client-{each.name} KERNELRELEASE={each.release}"
        )
    return system


# In the machine: the layer over the chroot becomes a root file system again, in which one may write.
BOOTED = """
layer=/run/semshare-system
mkdir $layer && mount -t tmpfs -o mode=755 system $layer && mkdir $layer/upper $layer/work $layer/root || exit
mount -t overlay -o lowerdir="$CHANGES:$CHROOT",upperdir=$layer/upper,workdir=$layer/work system $layer/root || exit
root=$layer/root
for each in proc sys dev; do mount --rbind /$each $root/$each || exit; done
mount -t tmpfs -o mode=755 run $root/run || exit
in_system() { chroot $root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"; }
"""


@pytest.fixture(scope="session")
def machine(system):
    """Boots the machine and runs a script there; ``in_system COMMAND…`` is a command in the installed system."""

    def boot(kernel: Kernel, script: str, *options: object) -> subprocess.CompletedProcess[str]:
        settings = f"CHANGES={system.changes}\nCHROOT={system.chroot}\n"
        return run("vm/run", "--kernel", kernel.name, "--no-load", *options, "--sh", settings + BOOTED + script)

    return boot


@pytest.fixture(scope="session")
def private(tmp_path_factory):
    """A folder for keys."""
    folder = tmp_path_factory.mktemp("private")
    yield folder
    shutil.rmtree(folder)
