# SPDX-License-Identifier: MIT
"""What ``make dkms-install`` puts where, what dkms.conf says, ``make kmod-sign``: what needs no root and no boot."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
MODULE = TOP / "kmod_semshare"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semshare"
SIGN_FILE = CACHE / "kernels/6.1/build/scripts/sign-file"
MAGIC = b"~Module signature appended~\n"


def run(*command: object, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=TOP,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def dkms_conf(release: str = "6.1.0-50-amd64") -> dict[str, str]:
    """dkms.conf as DKMS reads it for a kernel: by a shell, which has set these."""
    text = run(
        *("bash", "-c", 'set -a; . "$1"; unset -f module; env -0', "bash", MODULE / "dkms.conf"),
        kernelver=release,
        arch="x86_64",
        dkms_tree="/var/lib/dkms",
        kernel_source_dir="/kernel",
    ).stdout
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def built_modules() -> list[str]:
    return re.findall(r'^BUILT_MODULE_NAME\[\d+\]="(\w+)"', (MODULE / "dkms.conf").read_text(), re.M)


@pytest.fixture
def installed(tmp_path):
    """A folder with what an installation puts on a system."""
    run("make", "dkms-install", f"DESTDIR={tmp_path}")
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


# ------------------------------------------------------------------------------------------------------------ dkms.conf


def test_the_module_and_the_package_have_one_version():
    package = re.search(r'^version = "(.+)"', (TOP / "pyproject.toml").read_text(), re.M)
    assert package is not None and dkms_conf()["PACKAGE_VERSION"] == package[1]


@pytest.mark.parametrize(
    "release",
    ["6.1.0-50-amd64", "6.1.0-50-rt-amd64", "6.1-rc2", "6.12.95+deb12-amd64", "7.0.1", "7.2.12-amd64", "10.3.0"],
)
def test_dkms_builds_for_kernels_from_6_1_on(release):
    assert matches(release)


@pytest.mark.parametrize("release", ["5.10.0-28-amd64", "5.19.1", "6.0.12-amd64", "4.19.0", "1.0.0", "2.6.32"])
def test_dkms_leaves_older_kernels_alone(release):
    assert not matches(release)


def matches(release: str) -> bool:
    pattern = dkms_conf()["BUILD_EXCLUSIVE_KERNEL"]
    return run("bash", "-c", "[[ $1 =~ $2 ]]", "bash", release, pattern, check=False).returncode == 0


def test_dkms_asks_for_the_settings_without_which_the_module_does_not_load():
    assert {"CONFIG_SYSVIPC", "CONFIG_KPROBES"} <= set(dkms_conf()["BUILD_EXCLUSIVE_CONFIG"].split())
    assert dkms_conf()["BUILD_EXCLUSIVE_ARCH"] == "x86_64"


def test_dkms_builds_in_its_own_copy_and_keeps_what_clients_need_with_the_build():
    conf = dkms_conf("6.1.7")
    build = "/var/lib/dkms/semshare/" + conf["PACKAGE_VERSION"]
    assert f"M={build}/build modules" in re.findall(r'^MAKE\[0\]="(.*)"', (MODULE / "dkms.conf").read_text(), re.M)[
        0
    ].replace("${dkms_tree}/${PACKAGE_NAME}/${PACKAGE_VERSION}", build)
    assert conf["POST_BUILD"].split() == ["dkms-keep", f"{build}/6.1.7/x86_64/devel"]
    assert os.access(MODULE / "dkms-keep", os.X_OK)


# --------------------------------------------------------------------------------------------------------------- files


def test_an_installation_has_all_sources_and_nothing_of_the_tests(installed):
    sources = installed / f"usr/src/semshare-{dkms_conf()['PACKAGE_VERSION']}"
    wanted = {
        name
        for name in run("git", "-C", MODULE, "ls-files", "--cached", "--others", "--exclude-standard").stdout.split()
        if not name.startswith("tests/") and not name.endswith("test.h")
    }
    assert {"dkms.conf", "Kbuild", "main.c", "compat/compat.h", "include/semshare/kapi.h"} <= wanted
    assert files(sources) - {"LICENSE", "LICENSES/GPL-2.0.txt", "LICENSES/MIT.txt"} == wanted


def test_kbuild_makes_of_an_installation_what_dkms_installs_and_no_more(installed):
    sources = next(installed.glob("usr/src/*"))
    assert set(objects(sources)) == set(built_modules())
    assert {"semshare_test", "semshare_ring_test"} <= set(objects(MODULE))


def objects(folder: Path) -> list[str]:
    """The modules that Kbuild makes in a folder."""
    return [Path(name).stem for name in kbuild(folder, "$(obj-m)")]


def kbuild(folder: Path, words: str) -> list[str]:
    """Words of the Kbuild file in a folder."""
    text = f"all:\n\t@echo {words}\ninclude $(src)/Kbuild\n"
    done = subprocess.run(
        ["make", "-s", "-f", "-", f"src={folder}"], input=text, capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout.split()


def test_what_belongs_to_the_system_lies_where_it_looks(installed):
    headers = {"usr/include/semshare/abi.h", "usr/include/semshare/route.h", "usr/include/semshare/core/ring.h"}
    settings = {
        "usr/lib/udev/rules.d/60-semshare.rules",
        "usr/lib/sysusers.d/semshare.conf",
        "usr/lib/modules-load.d/semshare.conf",
    }
    found = files(installed)
    assert headers | settings <= found
    rest = {name for name in found if not name.startswith(("usr/src/semshare-", "usr/include/semshare/"))}
    assert rest == settings
    for name in found:
        mode = (installed / name).stat().st_mode & 0o777
        assert mode == (0o755 if name.endswith("/dkms-keep") else 0o644), name


def test_programs_compile_against_the_installed_headers(installed, tmp_path):
    headers = sorted(files(installed / "usr/include"))
    assert len(headers) >= 8
    program = tmp_path / "program.c"
    program.write_text("".join(f"#include <{name}>\n" for name in headers) + "int main(void) { return 0; }\n")
    run("gcc", "-std=gnu11", "-Wall", "-Werror", "-fsyntax-only", "-isystem", installed / "usr/include", program)


def test_the_device_is_for_the_group_and_routing_for_everybody(installed):
    rules = {}
    for line in (installed / "usr/lib/udev/rules.d/60-semshare.rules").read_text().splitlines():
        if line and not line.startswith("#"):
            fields = dict(re.findall(r'(\w+)={1,2}"([^"]*)"', line))
            assert fields.pop("SUBSYSTEM") == "misc"
            for name in fields.pop("KERNEL").split("|"):
                rules[name] = fields
    assert rules["semshare"] == {"GROUP": "semshare", "MODE": "0660"}
    assert rules["semshare-route"] == {"MODE": "0666"}
    assert "\ng semshare -\n" in (installed / "usr/lib/sysusers.d/semshare.conf").read_text()
    assert "\nsemshare\n" in (installed / "usr/lib/modules-load.d/semshare.conf").read_text()


def test_a_rule_names_every_device_of_the_installed_modules(installed):
    rules = (installed / "usr/lib/udev/rules.d/60-semshare.rules").read_text()
    named = set(re.findall(r'[="|](semshare[\w-]*)(?=["|])', rules))
    folder = next(installed.glob("usr/src/*"))
    parts = kbuild(folder, "$(foreach module,$(obj-m:.o=),$($(module)-y))")
    text = "".join((folder / part).with_suffix(".c").read_text() for part in parts)
    devices = set(re.findall(r'^\t\.name = "(semshare[\w-]*)"', text, re.M))
    assert "semshare" in devices and devices <= named


def test_uninstalling_takes_away_what_was_installed_and_nothing_else(installed):
    stranger = installed / "usr/lib/udev/rules.d/60-other.rules"
    stranger.write_text("")
    run("make", "dkms-uninstall", f"DESTDIR={installed}")
    assert files(installed) == {str(stranger.relative_to(installed))}


def test_an_installation_replaces_an_older_one(installed):
    old = installed / "usr/src/semshare-0.0.9"
    old.mkdir()
    (installed / "usr/include/semshare/gone.h").write_text("")
    run("make", "dkms-install", f"DESTDIR={installed}")
    assert not old.exists() and not (installed / "usr/include/semshare/gone.h").exists()


def test_without_headers_of_the_kernel_nothing_is_installed_and_a_line_says_so(tmp_path):
    dkms = tmp_path / "dkms"
    dkms.write_text("#!/bin/sh\necho touched >&2\nexit 1\n")
    dkms.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run("packaging/dkms", "install", check=False, KERNELRELEASE="6.1.0-none", PATH=path, DESTDIR="")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "apt-get install linux-headers-6.1.0-none" in done.stderr


# -------------------------------------------------------------------------------------------------------------- signing


needs_sign_file = pytest.mark.skipif(
    not SIGN_FILE.exists() or shutil.which("openssl") is None, reason="no kernel headers in the cache, or no openssl"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two keys, first.key and second.key, with certificates: DER and PEM."""
    folder = tmp_path_factory.mktemp("keys")
    for name, form in (("first", "DER"), ("second", "PEM")):
        command = [
            "openssl",
            "req",
            "-new",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-batch",
            "-subj",
            f"/CN={name}/",
        ]
        run(*command, "-keyout", folder / f"{name}.key", "-outform", form, "-out", folder / name)
    run("openssl", "x509", "-inform", "DER", "-in", folder / "first", "-out", folder / "first.pem")
    return folder


CODE = b"\x7fELF" + bytes(range(256)) * 16


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "module.ko"
    path.write_bytes(CODE)
    return path


def sign(key: Path, certificate: Path, *modules: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    words = [f"KEY={key}", f"CERT={certificate}", "MODULES=" + " ".join(map(str, modules))]
    return run("make", "kmod-sign", *words, check=check, SIGN_FILE=str(SIGN_FILE))


def split(module: bytes) -> tuple[bytes, bytes]:
    """A signed module's content and its signature, as include/linux/module_signature.h lays them out."""
    assert module.endswith(MAGIC)
    tail = module[: -len(MAGIC)]
    size = int.from_bytes(tail[-4:], "big")
    assert tail[-12:-4] == b"\0\0\2" + bytes(5)  # of which only the kind, PKCS#7, is used
    return tail[: -12 - size], tail[-12 - size : -12]


def is_by(module: bytes, certificate: Path, tmp_path: Path) -> bool:
    """Whether openssl says that the key of this certificate signed the module."""
    content, signature = split(module)
    (tmp_path / "content").write_bytes(content)
    (tmp_path / "signature").write_bytes(signature)
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-noverify", "-nointern", "-out", "/dev/null"]
    words = ["-in", tmp_path / "signature", "-content", tmp_path / "content", "-certfile", certificate]
    return run(*command, *words, check=False).returncode == 0


@needs_sign_file
def test_a_signature_is_by_the_key_and_covers_the_whole_module(keys, module, tmp_path):
    sign(keys / "first.key", keys / "first", module)
    signed = module.read_bytes()
    assert split(signed)[0] == CODE
    assert is_by(signed, keys / "first.pem", tmp_path)
    assert not is_by(signed, keys / "second", tmp_path)
    assert not is_by(signed[:9] + b"x" + signed[10:], keys / "first.pem", tmp_path)


@needs_sign_file
def test_a_key_may_have_a_passphrase(keys, module, tmp_path):
    secret = tmp_path.parent / f"{tmp_path.name}.key"
    run("openssl", "pkey", "-in", keys / "first.key", "-aes256", "-passout", "pass:sesame", "-out", secret)
    words = [f"KEY={secret}", f"CERT={keys}/first", f"MODULES={module}"]
    environment = {"SIGN_FILE": str(SIGN_FILE), "KBUILD_SIGN_PIN": "sesame"}
    run("make", "kmod-sign", *words, **environment)
    assert is_by(module.read_bytes(), keys / "first.pem", tmp_path)
    environment["KBUILD_SIGN_PIN"] = "open"
    assert run("make", "kmod-sign", *words, check=False, **environment).returncode != 0


@needs_sign_file
def test_signing_again_replaces_the_signature(keys, module, tmp_path):
    sign(keys / "first.key", keys / "first", module)
    sign(keys / "second.key", keys / "second", module)
    assert split(module.read_bytes())[0] == CODE
    assert is_by(module.read_bytes(), keys / "second", tmp_path)


@needs_sign_file
def test_a_compressed_module_is_signed_inside(keys, module, tmp_path):
    packed = module.with_suffix(".ko.xz")
    packed.write_bytes(lzma.compress(CODE))
    sign(keys / "first.key", keys / "first", packed)
    with lzma.open(packed) as file:
        signed = file.read()
    assert is_by(signed, keys / "first.pem", tmp_path)
    decoder = lzma.LZMADecompressor()
    decoder.decompress(packed.read_bytes())
    assert decoder.check == lzma.CHECK_CRC32  # else the kernel cannot unpack it


@needs_sign_file
@pytest.mark.parametrize("wrong", ["certificate", "key", "module"])
def test_what_cannot_be_signed_stays_as_it_was(keys, module, wrong):
    if wrong == "module":
        module.write_bytes(b"#!/bin/sh\n")
    before = module.read_bytes()
    key = keys / ("first" if wrong == "key" else "first.key")
    done = sign(key, keys / ("second" if wrong == "certificate" else "first"), module, check=False)
    assert done.returncode != 0 and "semshare: " in done.stderr and str(module) in done.stderr
    assert module.read_bytes() == before
    assert [path.name for path in module.parent.iterdir()] == [module.name]


@pytest.mark.parametrize("words", [[], ["KEY=/none", "CERT=/none"], ["KEY=Makefile"], ["CERT=Makefile"]])
def test_signing_without_a_key_and_its_certificate_says_what_is_missing(words):
    done = run("make", "kmod-sign", *words, check=False)
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("semshare: ")]
