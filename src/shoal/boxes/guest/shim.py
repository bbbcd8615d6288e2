"""The init of a virtual machine: ``python -I -S shim.py``. Standard library only.

It gives the guest what it finds at every level (fd 0 its channel, fd 1 and 2 its output) and carries all three over the
machine's one serial port. What goes wrong here ends the machine; the traceback is on its console.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import glob
import json
import os
import select
import signal
import socket
import struct
import sys
import time

TYPE_CHECKING = False  # importing typing takes long in a machine that is interpreted
if TYPE_CHECKING:
    from typing import Any

    from shoal.boxes.guest import vmwire
    from shoal.boxes.guest.vmbridge import GROUP, Bridge, read_port
else:
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import vmwire
    from vmbridge import GROUP, Bridge, read_port

USER = 1000
_PORTS = "/dev/vport*p*"
_LOOK_AGAIN = 0.01  # seconds
_READONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND = 1, 2, 4, 8, 32, 4096
_ADD_ENTROPY = 0x40085203  # ioctl RNDADDENTROPY
_POWER_OFF = 0x4321FEDC
_DROP_BOUNDING, _NO_NEW_PRIVILEGES = 24, 38  # prctl

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount. Raises OSError."""
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def prepare_machine() -> None:
    """Mount what every process expects."""
    mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC, "hidepid=2")
    mount("sysfs", "/sys", "sysfs", _NOSUID | _NODEV | _NOEXEC | _READONLY)
    os.mkdir("/dev/pts")
    mount("devpts", "/dev/pts", "devpts", _NOSUID | _NOEXEC, "mode=620,ptmxmode=666")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/dev/{name}")
    os.symlink("/proc/self/fd", "/dev/fd")
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", _NOSUID | _NODEV | _NOEXEC)
    set_kernel("vm/panic_on_oom", "1")
    set_kernel("user/max_user_namespaces", "0")
    set_kernel("kernel/dmesg_restrict", "1")


def make_group(setup: dict[str, Any]) -> None:
    """Make the group in which the box is; over its memory, all of it is killed at once."""
    write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids")
    os.mkdir(GROUP)
    write(f"{GROUP}/memory.max", str(setup["memory_mib"] << 20))
    write(f"{GROUP}/memory.oom.group", "1")
    write(f"{GROUP}/pids.max", str(setup["pids"]))


def write(path: str, text: str) -> None:
    """Write to a file of the kernel's."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def set_kernel(name: str, value: str) -> None:
    """Set a variable of the kernel, where it has it."""
    with contextlib.suppress(FileNotFoundError):
        write(f"/proc/sys/{name}", value)


def open_port() -> int:
    """Return the serial port, as soon as the kernel has made it and lets it be opened."""
    while True:
        for path in glob.glob(_PORTS):
            with contextlib.suppress(OSError):  # it is there before it can be opened
                return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        time.sleep(_LOOK_AGAIN)


def receive_setup(port: int, records: vmwire.Records) -> tuple[dict[str, Any], list[tuple[int, bytes]]]:
    """Ask the host what this box is to be, and wait for it; returns that, and the records that came along."""
    os.write(port, vmwire.record(vmwire.BOOTED))
    waiting = select.poll()
    waiting.register(port, select.POLLIN)
    found: list[tuple[int, bytes]] = []
    while not found:
        waiting.poll()
        found = records.feed(read_port(port))
    (kind, body), *early = found
    if kind != vmwire.SETUP:
        raise OSError("the host says something else before the setup")
    return json.loads(body), early


def set_up(setup: dict[str, Any]) -> None:
    """Make the machine what the box is to be."""
    time.clock_settime(time.CLOCK_REALTIME, setup["time"])
    seed = base64.b64decode(setup["seed"])
    with open("/dev/random", "wb", buffering=0) as chance:
        fcntl.ioctl(chance, _ADD_ENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
    socket.sethostname(setup["hostname"])
    make_group(setup)
    room = f"size={setup['tmp_mib']}m,mode=1777"
    layered = any(needs_place(disk["target"]) for disk in setup["disks"])
    if layered:
        enter_layers()
    for place in ("/tmp", "/work", "/dev/shm"):
        os.makedirs(place, exist_ok=True)
        mount("tmpfs", place, "tmpfs", _NOSUID | _NODEV, room)
    for disk in setup["disks"]:
        attach(disk)
    if layered:
        mount("", "/", "", _REMOUNT | _READONLY | _NOSUID | _NODEV)


def needs_place(target: str) -> bool:
    """Tell whether a directory must be made for a mount that cannot be made in the image."""
    return not os.path.exists(target) and not target.startswith(("/tmp/", "/work/"))


def enter_layers() -> None:
    """Go on in a root directory in which directories can be made: the image's own is read-only, and shared."""
    layers, root = "/dev/layers", "/dev/box"
    for path in (layers, root):
        os.mkdir(path)
    mount("tmpfs", layers, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=700")
    for name in ("upper", "work"):
        os.mkdir(f"{layers}/{name}", 0o755)
    options = f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work"
    mount("overlay", root, "overlay", _NOSUID | _NODEV, options)
    for name in ("dev", "proc", "shoal", "sys", "sys/fs/cgroup"):
        mount(f"/{name}", f"{root}/{name}", "", _BIND)
    os.chroot(root)
    os.chdir("/")


def attach(disk: dict[str, str]) -> None:
    """Mount a disk, read-only, at its target; of a disk with one file, that file."""
    target, flags = disk["target"], _READONLY | _NOSUID | _NODEV
    if not disk["file"]:
        os.makedirs(target, exist_ok=True)
        mount(device(disk["serial"]), target, "ext4", flags)
        return
    place = f"/dev/mounts/{disk['serial']}"
    os.makedirs(place, 0o700)
    mount(device(disk["serial"]), place, "ext4", flags)
    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    mount(f"{place}/{disk['file']}", target, "", _BIND)
    mount("", target, "", _BIND | _REMOUNT | flags)


def device(serial: str) -> str:
    """Return the device of a disk."""
    for path in glob.glob("/sys/block/vd*/serial"):
        with open(path, encoding="ascii") as file:
            if file.read() == serial:
                return f"/dev/{path.split('/')[3]}"
    raise OSError(f"no disk {serial}")


def start_guest(setup: dict[str, Any]) -> tuple[int, socket.socket, int, int]:
    """Start the guest; returns its pid, its channel, and the reading ends of its stdout and stderr."""
    ours, theirs = socket.socketpair()
    out, print_out = os.pipe()
    err, print_err = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for fd, number in ((theirs.fileno(), 0), (print_out, 1), (print_err, 2)):
                os.dup2(fd, number)
            os.chdir("/work")
            write(f"{GROUP}/cgroup.procs", "0")
            become_user()
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execve(setup["command"][0], setup["command"], setup["env"])
        except OSError as error:
            os.write(2, f"{setup['command'][0]}: {error}\n".encode())
        finally:
            os._exit(127)
    for fd in (print_out, print_err):
        os.close(fd)
    theirs.close()
    return pid, ours, out, err


def become_user() -> None:
    """Give up every right, for good."""
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    capability = 0
    while libc.prctl(_DROP_BOUNDING, capability, 0, 0, 0) == 0:
        capability += 1
    os.setresuid(USER, USER, USER)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError("no_new_privs is refused")


def main() -> None:
    """Bring the box to life, carry its words, and switch the machine off."""
    if os.getpid() != 1:
        sys.exit("shim.py is the first process of a virtual machine, and ends every other one")
    prepare_machine()
    port = open_port()
    records = vmwire.Records()
    setup, early = receive_setup(port, records)
    set_up(setup)
    bridge = Bridge(port, records, start_guest(setup))
    bridge.take(early)
    bridge.run()
    libc.reboot(_POWER_OFF)


if __name__ == "__main__":
    main()
