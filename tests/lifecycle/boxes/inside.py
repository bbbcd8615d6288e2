"""Run inside a box: says as JSON what it sees and what it is refused. Standard library only.

Arguments: a secret file of the host, a TCP port that listens there, an abstract socket name, the host process' id.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import socket
import sys
import threading
from collections.abc import Callable

SECRET, PORT, ABSTRACT, HOST_PID = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
NEW_USER, NEW_MOUNT = 0x10000000, 0x00020000
BLOCK_DEVICE = 0o060666
NETLINK = 16
SEIZE = 0x4206  # takes hold without stopping: where nothing refuses it, this is our own guest
FAMILIES = {"inet": 2, "inet6": 10, "netlink": NETLINK, "packet": 17, "vsock": 40, "unix": 1}
REFUSED = {  # x86_64 and, where it differs, aarch64
    "mount": lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
    "umount": lambda: libc.umount2(b"/tmp", 0),
    "chroot": lambda: libc.chroot(b"/tmp"),
    "mknod": lambda: libc.mknod(b"/tmp/device", BLOCK_DEVICE, os.makedev(1, 1)),
    "unshare": lambda: libc.unshare(NEW_USER),
    "clone": lambda: libc.syscall(56, NEW_USER | 17, None, None, None, None),
    "setns": lambda: libc.setns(0, 0),
    "ptrace": lambda: libc.ptrace(SEIZE, os.getppid(), None, None),
    "hostname": lambda: libc.sethostname(b"x", 1),
    "setuid": lambda: libc.setuid(0),
    "bpf": lambda: libc.syscall(321, 0, None, 0),
    "keyctl": lambda: libc.syscall(250, 0, -3, 1),
    "io_uring": lambda: libc.syscall(425, 1, None),
    "perf": lambda: libc.syscall(298, None, 0, -1, -1, 0),
    "userfaultfd": lambda: libc.syscall(323, 0),
    "open_tree": lambda: libc.syscall(428, -100, b"/", 1),
    "tiocsti": lambda: libc.ioctl(0, ctypes.c_ulong((1 << 32) | 0x5412), b"x"),
}
FILES = ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/usr/x", "/etc/x", "/x", "/dev/x", "/shoal/x")


def outcome(call: Callable[..., object], *args: object) -> str:
    """Return the name of the error, or ok."""
    try:
        result = call(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    if result == -1:
        return errno.errorcode.get(ctypes.get_errno(), "?")
    return "ok"


def connect(family: int, address: object) -> None:
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as sock:
        sock.settimeout(5)
        sock.connect(address)  # type: ignore[arg-type]


def family(number: int) -> None:
    socket.socket(number, socket.SOCK_DGRAM if number != NETLINK else socket.SOCK_RAW).close()


def try_open(path: str, mode: str) -> None:
    with open(path, mode):
        pass


KEEPER = ""
with contextlib.suppress(OSError), open("/proc/1/environ") as keeper:
    KEEPER = keeper.read()
with open("/proc/self/status") as lines:
    status = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
print(
    json.dumps(
        {
            "uid": os.getuid(),
            "groups": os.getgroups(),
            "capabilities": {name: status[name] for name in status if name.startswith("Cap")},
            "seccomp": status.get("Seccomp"),
            "no_new_privs": status.get("NoNewPrivs"),
            "processes": [int(name) for name in os.listdir("/proc") if name.isdigit()],
            "own": [os.getpid(), os.getppid()],
            "hostname": socket.gethostname(),
            "environment": dict(os.environ),
            "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))),
            "secret": outcome(try_open, SECRET, "r"),
            "tcp": outcome(connect, socket.AF_INET, ("127.0.0.1", int(PORT))),
            "abstract": outcome(connect, socket.AF_UNIX, f"\0{ABSTRACT}"),
            "kill": outcome(os.kill, int(HOST_PID), 0),
            "families": {name: outcome(family, number) for name, number in FAMILIES.items()},
            "files": {path: outcome(try_open, path, "w") for path in FILES},
            "keeper": KEEPER,
            "calls": {name: outcome(call) for name, call in REFUSED.items()},
            "threads": outcome(threading.Thread(target=int).start),
        }
    )
)
