# SPDX-License-Identifier: MIT
"""The machine's first file system: busybox, the few kernel modules that reach the host's files, and vm/init."""

import os
import stat

# What a stock Debian kernel has as modules and the machine needs before it can see the host.
MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")


def _dependencies(modules_dir):
    """modules.dep as a mapping: a module's name -> its path and the paths it needs, in the order depmod gives."""
    table = {}
    index = os.path.join(modules_dir, "modules.dep")
    if os.path.exists(index):
        with open(index, encoding="ascii") as lines:
            for line in lines:
                path, _, needs = line.partition(":")
                name = os.path.basename(path).split(".")[0].replace("-", "_")
                table[name] = (path, needs.split())
    return table


def load_order(modules_dir):
    """Paths of MODULES and all they need, each after its needs; what is built into the kernel is not in the index."""
    table = _dependencies(modules_dir)
    order = []
    for name in MODULES:
        path, needs = table.get(name, (None, []))
        for each in [*reversed(needs), path]:
            if each is not None and each not in order:
                order.append(each)
    return [os.path.join(modules_dir, path) for path in order]


class _Cpio:
    """Writes the "newc" format, which is all that the kernel reads."""

    def __init__(self, out):
        self._out = out
        self._inode = 0

    def add(self, name, mode, data=b""):
        self._inode += 1
        fields = [self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self._out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def add_folder(self, name):
        self.add(name, stat.S_IFDIR | 0o755)

    def add_file(self, name, data, mode=0o755):
        self.add(name, stat.S_IFREG | mode, data)


def write(out, kernel_dir, init):
    """Write to `out` (a binary file) the image for the kernel unpacked in `kernel_dir`, starting the script `init`."""
    with open(os.path.join(kernel_dir, "release"), encoding="ascii") as file:
        release = file.read().strip()
    cpio = _Cpio(out)
    for folder in ("bin", "dev", "proc", "sys", "modules", "host", "over", "root"):
        cpio.add_folder(folder)
    with open(os.path.join(kernel_dir, "busybox"), "rb") as file:
        cpio.add_file("bin/busybox", file.read())
    with open(init, "rb") as file:
        cpio.add_file("init", file.read())
    for place, path in enumerate(load_order(os.path.join(kernel_dir, "lib/modules", release))):
        with open(path, "rb") as file:
            cpio.add_file(f"modules/{place:02}-{os.path.basename(path)}", file.read(), 0o644)
    cpio.add("TRAILER!!!", 0)
