"""Is this a place for a store? Looks before anything is opened, so that a file that is refused stays untouched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from shoal.errors import StoreError

__all__ = ["APPLICATION_ID", "check_place", "filesystem_type", "refuse_newer"]

APPLICATION_ID = 0x53686F6C  # "Shol", in the header of every store

_MAGIC = b"SQLite format 3\x00"
_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs",
    "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb2", "smb3", "smbfs",
}  # fmt: skip


def filesystem_type(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds *path*, by *mounts* in the format of ``/proc/self/mountinfo``."""
    best, kind = "", ""
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split()
        if len(fields) < 5 or not source:
            continue
        point = fields[4].encode().decode("unicode_escape") if "\\" in fields[4] else fields[4]
        inside = point == "/" or str(path) == point or str(path).startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, source.split()[0]
    return kind


def check_place(path: Path, *, version: int, url: str) -> bool:
    """Return whether a store is there already; nothing is created or changed.

    Raises:
        StoreError: it says which: a directory, not writable, not a database, a database of something else, a newer
            schema than *version*, a network file system.
    """
    _check_folder(path, url)
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{path} is a directory, not a database file", url=url, note="Name a file in it.")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is not a regular file", url=url)
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(f"{path} is not writable", url=url, note="Change its permissions, or name another file.")
    if found.st_size == 0:
        return False
    _check_header(path, version, url)
    return True


def _check_folder(path: Path, url: str) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise StoreError(f"{path} is not writable: there is no directory {folder}", url=url, note="Create it first.")
    mounts = Path("/proc/self/mountinfo")
    kind = filesystem_type(path, mounts.read_text(errors="replace")) if mounts.exists() else ""
    if kind in _NETWORK:
        raise StoreError(
            f"{path} is on a network file system ({kind}), where SQLite cannot keep its promises",
            url=url,
            note="Name a file on a local disk, or use a postgresql:// store.",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{path} is not writable: nothing can be created in {folder}", url=url)


def _check_header(path: Path, version: int, url: str) -> None:
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(_MAGIC):
        raise StoreError(f"{path} is not a database: it does not begin as SQLite files do", url=url)
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreError(f"{path} is a database of something else", url=url, note="Name another file.")
    refuse_newer(int.from_bytes(header[60:64], "big"), version, path, url)


def refuse_newer(found: int, version: int, path: Path, url: str) -> None:
    """Raise StoreError when the schema *found* is newer than *version*."""
    if found > version:
        raise StoreError(
            f"{path} has a newer schema ({found}) than this version of Shoal knows ({version})",
            url=url,
            note="Upgrade Shoal, or name another file.",
        )
