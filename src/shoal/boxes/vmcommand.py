"""The command lines of a virtual machine: bubblewrap's, and in it QEMU's."""

from __future__ import annotations

import math
import os
from pathlib import Path

from shoal.boxes.spec import BoxLimits
from shoal.boxes.vmhost import MachineHost
from shoal.boxes.vmimage import Image

__all__ = ["KERNEL_MIB", "qemu_command", "walls_of_qemu"]

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_FIRMWARE = ("/usr/share/qemu", "/usr/share/seabios", "/usr/share/qboot")
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
_LINKED = ("/lib", "/lib64")
KERNEL_MIB = 128
"""What a machine has beside the memory of its box: for its kernel, its init, and what they read from disks."""
_TRANSLATED_MIB = 32  # of translated code that QEMU keeps without KVM; 128 would save 5 % of the time


def walls_of_qemu(host: MachineHost, image: Image, user: int | None) -> list[str]:
    """Return bubblewrap's command: no network, no other process, nothing of the host but what QEMU is made of.

    *user* is the number that QEMU runs under when the runtime is root, None when it is not.
    """
    words = [host.bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if user is None:
        words += ["--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    words += ["--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
    for path in _parents(host):  # bubblewrap itself would make them for its own user alone
        words += ["--perms", "0755", "--dir", path]
    for path in (*_LIBRARIES, *_FIRMWARE):
        words += ["--ro-bind-try", path, path]
    for path in _LINKED:
        words += ["--symlink", f"usr{path}", path] if os.path.islink(path) else ["--ro-bind-try", path, path]
    words += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--ro-bind", host.qemu, host.qemu]
    if host.setpriv is not None:
        words += ["--ro-bind", host.setpriv, host.setpriv]
    for file, inside in _files(image):
        words += ["--ro-bind", str(file), inside]
    if host.kvm_fault is None:
        words += ["--dev-bind", "/dev/kvm", "/dev/kvm"]
    words += ["--remount-ro", "/", "--cap-drop", "ALL"]
    return words + (["--"] if user is None else _as_user(host, user))


def _parents(host: MachineHost) -> list[str]:
    """Return the directories in which something is put, the outer ones first."""
    files = [*_LIBRARIES, *_FIRMWARE, host.qemu, host.setpriv or host.qemu, "/etc/ld.so.cache", "/vm/kernel"]
    return sorted({str(parent) for file in files for parent in Path(file).parents if parent != Path("/")})


def _as_user(host: MachineHost, user: int) -> list[str]:
    words = ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    words += ["--", str(host.setpriv), f"--reuid={user}", f"--regid={user}"]
    words.append("--no-new-privs")
    words.append("--clear-groups" if host.kvm_group is None else f"--groups={host.kvm_group}")
    return [*words, "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]


def _files(image: Image) -> list[tuple[Path, str]]:
    """Return the machine's files on the host, and where QEMU finds them."""
    files = [(image.kernel, "/vm/kernel"), (image.initrd, "/vm/initrd")]
    return files + [(path, f"/vm/{serial}") for serial, path in _disks(image)]


def _disks(image: Image) -> list[tuple[str, Path]]:
    mounts = [(f"mount{number}", disk.file) for number, disk in enumerate(image.disks)]
    return [("root", image.root), ("shoal", image.library), *mounts]


def qemu_command(host: MachineHost, image: Image, limits: BoxLimits) -> list[str]:
    """Return QEMU's command; ``{port}`` in it stands for the descriptor of the machine's serial port."""
    kvm = host.kvm_fault is None
    # The kernel was tested by who built it: testing its ciphers takes a tenth of its start where it is interpreted.
    kernel = f"console=ttyS0 quiet panic=-1 reboot=t random.trust_cpu=on cryptomgr.notests shoal_python={image.python}"
    if image.disks:
        kernel += " shoal_mounts=1"
    words = [host.qemu, "-M", "microvm,rtc=on", "-sandbox", _SANDBOX]
    if kvm:
        words += ["-accel", "kvm", "-cpu", "host"]
    else:
        words += ["-accel", f"tcg,tb-size={_TRANSLATED_MIB}", "-cpu", "max"]
        # The interpreted machine reads this processor's counter, and cannot find out by itself how fast that runs.
        kernel += f" tsc_early_khz={host.tsc_khz}"
    words += ["-m", f"{math.ceil(limits.memory_mib) + KERNEL_MIB}M", "-smp", str(math.ceil(limits.cpus or 1))]
    words += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"]
    words += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    words += ["-kernel", "/vm/kernel", "-initrd", "/vm/initrd", "-append", kernel]
    for serial, _ in _disks(image):
        words += ["-drive", f"id={serial},file=/vm/{serial},format=raw,if=none,readonly=on"]
        words += ["-device", f"virtio-blk-device,drive={serial},serial={serial}"]
    words += ["-device", "virtio-serial-device", "-chardev", "socket,id=port,fd={port}"]
    return [*words, "-device", "virtserialport,chardev=port,name=shoal"]
