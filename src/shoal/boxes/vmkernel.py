"""The kernel and the initrd of virtual machines, out of Debian's cloud kernel package. Nothing of it is installed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from shoal.errors import IsolationUnavailableError

__all__ = ["INIT", "MODULES", "make_initrd", "make_kernel"]

MODULES = ("virtio_ring", "virtio", "virtio_mmio", "virtio_blk", "virtio_console", "overlay")
"""What the machine's devices need, in the order of loading, and what mounts need; a kernel may have some built in."""

INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs dev /dev
busybox mount -t sysfs sys /sys
for module in {modules}; do busybox insmod /$module.ko; done
[ -n "$shoal_mounts" ] && [ -e /overlay.ko ] && busybox insmod /overlay.ko
disk() {{
    tries=0
    while [ $tries -lt 500 ]; do
        for at in /sys/block/vd*; do
            serial=
            [ -e $at/serial ] && read -r serial < $at/serial
            if [ "$serial" = $1 ]; then device=/dev/${{at##*/}}; return; fi
        done
        busybox sleep 0.01
        tries=$((tries + 1))
    done
    echo no disk $1
}}
disk root
busybox mount -t ext4 -o ro,nosuid,nodev $device /newroot
disk shoal
busybox mount -t ext4 -o ro,nosuid,nodev $device /newroot/shoal
busybox umount /sys
busybox mount -t devtmpfs dev /newroot/dev
busybox umount -l /dev
exec busybox switch_root /newroot $shoal_python -I -S /shoal/guest/shim.py
"""
"""The first program of a machine: loads what its disks need, and gives way to the shim."""

_DEPENDS = re.compile(r"Depends: (linux-image-\S+)")
_META = "linux-image-cloud-amd64"
_BUILD = "run `shoal boxes build-image`"


def make_kernel(directory: Path, package: Path | None = None) -> None:
    """Write ``vmlinux`` (an ELF file), the modules and ``release`` into *directory*.

    *package* is a Debian package of a kernel; None: the cloud kernel's is downloaded. Raises IsolationUnavailableError.
    """
    with tempfile.TemporaryDirectory(prefix="shoal-kernel-") as name:
        room = Path(name)
        _run("dpkg-deb", "--extract", str(package or _download(room)), str(room / "tree"), cwd=room)
        image = next((room / "tree" / "boot").glob("vmlinuz-*"), None)
        if image is None:
            raise IsolationUnavailableError(f"microvm: {package} has no kernel in it")
        directory.mkdir()
        (directory / "vmlinux").write_bytes(_unpack_kernel(image.read_bytes()))
        modules = room / "tree" / "lib" / "modules"
        for module in MODULES:
            for path in modules.rglob(f"{module}.ko*"):
                (directory / f"{module}.ko").write_bytes(_expand(path.read_bytes()))
        (directory / "release").write_text(image.name.partition("-")[2])


def make_initrd(target: Path, kernel: Path, busybox: Path) -> None:
    """Write the initrd for a kernel that ``make_kernel`` made: busybox, the modules, and ``INIT``."""
    modules = [name for name in MODULES if (kernel / f"{name}.ko").exists()]
    first = " ".join(name for name in modules if name != "overlay")
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "sys", "newroot")]
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()))
    entries.append(("init", stat.S_IFREG | 0o755, INIT.format(modules=first).encode()))
    entries += [(f"{name}.ko", stat.S_IFREG | 0o644, (kernel / f"{name}.ko").read_bytes()) for name in modules]
    target.write_bytes(b"".join(_cpio(*entry) for entry in [*entries, ("TRAILER!!!", 0, b"")]))


def _download(room: Path) -> Path:
    if shutil.which("apt-get") is None:
        raise IsolationUnavailableError(
            "microvm: no kernel, and no apt-get to download one with",
            note=f"Fetch Debian's package of {_META} (linux-image-6.1.0-N-cloud-amd64) with a browser, and give its file "
            "to `shoal boxes build-image --kernel FILE.deb`.",
        )
    found = _DEPENDS.search(_run("apt-cache", "depends", _META, cwd=room))
    if found is None:
        raise IsolationUnavailableError(
            f"microvm: apt knows no package {_META}", note="Run `apt-get update` as root, on Debian 12 or newer."
        )
    _run("apt-get", "download", found[1], cwd=room)
    (package,) = room.glob("*.deb")
    return package


def _run(*command: str, cwd: Path) -> str:
    if shutil.which(command[0]) is None:
        raise IsolationUnavailableError(f"microvm: {command[0]} is missing", note=f"Install it, then {_BUILD}.")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise IsolationUnavailableError(
            f"microvm: {' '.join(command[:2])} failed: {done.stderr.strip()[-1000:]}",
            note=f"Run `apt-get update` as root, then {_BUILD}.",
        )
    return done.stdout


def _unpack_kernel(image: bytes) -> bytes:
    """Return the ELF file inside a bzImage (its header says where: the x86 boot protocol, 2.08 and later)."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length - 4]  # its last four bytes say how large it becomes
    kernel = _expand(payload)
    if not kernel.startswith(b"\x7fELF"):
        raise IsolationUnavailableError("microvm: the kernel's package has no kernel for this machine")
    return kernel


def _expand(data: bytes) -> bytes:
    """Decompress what the kernel's builders may have compressed."""
    ways: dict[bytes, Callable[[bytes], bytes]] = {
        b"\x1f\x8b": gzip.decompress,
        b"\xfd7zXZ": lzma.decompress,
        b"\x5d\0\0": lzma.decompress,
        b"BZh": bz2.decompress,
        b"\x02\x21\x4c\x18": lambda packed: _pipe("lz4", packed),
        b"\x28\xb5\x2f\xfd": lambda packed: _pipe("zstd", packed),
    }
    for magic, expand in ways.items():
        if data.startswith(magic):
            return expand(data)
    return data


def _pipe(program: str, data: bytes) -> bytes:
    if shutil.which(program) is None:
        raise IsolationUnavailableError(
            f"microvm: the kernel is packed with {program}, which is missing", note=f"Install {program}, then {_BUILD}."
        )
    done = subprocess.run([program, "-dc"], input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise IsolationUnavailableError(f"microvm: {program} cannot unpack the kernel: {done.stderr!r}")
    return done.stdout


def _cpio(name: str, mode: int, data: bytes) -> bytes:
    """Return one entry of an archive in the format ``newc``."""
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)
