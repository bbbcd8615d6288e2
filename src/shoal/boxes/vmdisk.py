"""Disks of virtual machines: a directory as a read-only ext4 image, made without root and without mounting."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from shoal.errors import BoxSpecError, IsolationUnavailableError

__all__ = ["LARGEST_DISK", "make_disk", "program"]

LARGEST_DISK = 8 << 30
_BLOCK = 4096
_INODE = 256
_SPARE = 4 << 20
_ADMIN = "/usr/local/sbin:/usr/sbin:/sbin"


def program(name: str, package: str) -> str:
    """Return the path of a program, where administrators' programs lie, too. Raises IsolationUnavailableError."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_ADMIN}")
    if found is None:
        raise IsolationUnavailableError(f"microvm: {name} is missing", note=f"Install Debian's package {package}.")
    return found


def make_disk(target: Path, source: Path, points: Sequence[str] = ()) -> None:
    """Write what is below *source* to *target* as a disk; *points* are directories that it shall have in any case.

    Raises BoxSpecError (too large, not readable), IsolationUnavailableError.
    """
    blocks, inodes = _needs(source)
    size = blocks * _BLOCK + (inodes + 64) * _INODE * 2
    size = size + size // 16 + _SPARE
    if size > LARGEST_DISK:
        raise BoxSpecError(
            f"{source} is {size >> 20} MiB, and a disk of a virtual machine may have {LARGEST_DISK >> 20}"
        )
    command = [program("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-m", "0"]
    command += ["-b", str(_BLOCK), "-I", str(_INODE), "-N", str(inodes + 64), "-E", "root_owner=0:0,nodiscard"]
    _run([*command, "-d", str(source), str(target), f"{size // 1024}k"], source)
    missing = [point for point in points if not (source / point.lstrip("/")).exists()]
    if missing:
        requests = "\n".join(f"mkdir {point}" for point in missing)
        _run([program("debugfs", "e2fsprogs"), "-w", "-f", "-", str(target)], source, requests)
    target.chmod(0o644)  # who runs the machine reads it by another user's number


def _needs(source: Path) -> tuple[int, int]:
    """Return how many blocks and inodes a tree takes."""
    blocks = inodes = 0
    for folder, folders, names in os.walk(source):
        blocks += 1 + len(names) // 32
        inodes += 1
        for name in (*folders, *names):
            found = os.lstat(os.path.join(folder, name))
            if not stat.S_ISDIR(found.st_mode):
                inodes += 1
                blocks += -(-found.st_size // _BLOCK) if stat.S_ISREG(found.st_mode) else 1
    return blocks, inodes


def _run(command: list[str], source: Path, text: str | None = None) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BoxSpecError(f"no disk can be made of {source}: {(done.stderr or done.stdout).strip()[-1000:]}")
