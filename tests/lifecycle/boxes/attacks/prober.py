"""Run inside a box: tries to see and to change what lies outside of it, says as JSON how each try ended. Standard library
only. Arguments: as JSON, what a test has made on the host.

With ``control`` as second argument it reads what the test made, and nothing more.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import glob
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

HOST = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
SET_UID_PROGRAMS = ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount", "/usr/bin/sudo", "/usr/bin/newgrp")


def outcome(call: Callable[[], object]) -> str:
    """Return the name of the error, or ok."""
    try:
        result = call()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    if result == -1:
        return errno.errorcode.get(ctypes.get_errno(), "?")
    return "ok"


def read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read(200)


def write(path: str) -> None:
    with open(path, "r+" if os.path.exists(path) else "w"):
        pass


def connect(family: int, address: object) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(address)  # type: ignore[arg-type]


def commands() -> list[str]:
    """Return the command lines of all processes that are to be seen."""
    lines = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            lines.append(read(f"/proc/{name}/cmdline"))
        except OSError:
            continue
    return lines


def environments() -> str:
    """Return every environment that is to be seen."""
    texts = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                texts.append(file.read().decode(errors="replace"))
        except OSError:
            continue
    return "".join(texts)


def user_after(program: str) -> str:
    """Return what the kernel lets a set-uid program be: whether it still is who it was."""
    if not os.path.exists(program):
        return "absent"
    code = "import os; print(os.geteuid())"
    # -p keeps sh from giving such rights back itself.
    said = subprocess.run(
        [program, "-c", code, "root"], input="\n", capture_output=True, text=True, timeout=5, check=False
    )
    return f"root: {said.stdout}" if said.returncode == 0 and said.stdout.strip() == "0" else "refused"


def own_set_uid_copy() -> bool:
    """Return whether a set-uid copy of a program in a writable place would be somebody else."""
    with open("/usr/bin/id", "rb") as program, open("/tmp/id", "wb") as copy:
        copy.write(program.read())
    os.chmod("/tmp/id", 0o6755)
    said = subprocess.run(["/tmp/id", "-u"], capture_output=True, text=True, check=False)
    return said.returncode != 0 or int(said.stdout) == os.getuid()


def reached_outside() -> list[str]:
    """Follow every way out of this root that /proc offers; return where the test's secret was found."""
    paths = glob.glob("/proc/[0-9]*/root" + HOST["secret"])
    return [path for path in paths if outcome(functools.partial(read, path)) == "ok"]


def trace(pid: int) -> dict[str, str]:
    """Try to take hold of a process."""
    page = ctypes.create_string_buffer(mmap.PAGESIZE)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(page), mmap.PAGESIZE)
    return {
        "kill": outcome(lambda: os.kill(pid, signal.SIGCONT)),
        "attach": outcome(lambda: libc.ptrace(PTRACE_ATTACH, pid, None, None)),
        "seize": outcome(lambda: libc.ptrace(PTRACE_SEIZE, pid, None, None)),
        "memory": outcome(lambda: libc.process_vm_readv(pid, vector, 1, vector, 1, 0)),
        "root": outcome(lambda: os.listdir(f"/proc/{pid}/root")),
        "environ": outcome(lambda: read(f"/proc/{pid}/environ")),
    }


def control() -> dict[str, object]:
    return {"secret": outcome(lambda: read(HOST["secret"])), "environment": "SHOAL_TEST_MARKER" in os.environ}


def attack() -> dict[str, object]:
    return {
        **control(),
        "shadow": outcome(lambda: read("/etc/shadow")),
        "commands": [line for line in commands() if HOST["word"] in line],
        "environments": HOST["marker"] in environments(),
        "host process": trace(HOST["pid"]),
        "other box": trace(HOST["other"]),
        "escapes": reached_outside(),
        "unix path": outcome(lambda: connect(socket.AF_UNIX, HOST["unix"])),
        "tcp6": outcome(lambda: connect(socket.AF_INET6, ("::1", HOST["port"]))),
        "written": {path: outcome(functools.partial(write, path)) for path in HOST["write"]},
        "renamed": outcome(lambda: os.rename("/usr", "/usr2")),
        "set-uid": [user_after(program) for program in SET_UID_PROGRAMS],
        "copy": own_set_uid_copy(),
        "devices": [name for name in ("kmsg", "mem", "kvm", "fuse", "sda", "vda") if os.path.exists(f"/dev/{name}")],
        "read-only mount": outcome(lambda: write("/in/new")),
        "remade": outcome(lambda: os.chmod("/in/old", 0o777)),
        "removed": outcome(lambda: os.remove("/in/old")),
    }


if __name__ == "__main__":
    print(json.dumps(control() if sys.argv[2:] == ["control"] else attack()))
