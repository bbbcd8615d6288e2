"""The private folder in which the nodes on one store find each other's sockets."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import tempfile
from pathlib import Path

from shoal.errors import ConfigError

__all__ = ["listening_socket", "private_folder", "remove", "socket_name", "sockets"]

_PATH_LIMIT = 103  # the shorter of the two usual limits: 108 bytes on Linux, 104 elsewhere, with the closing zero
_NAME_LIMIT = 40
_SUFFIX = ".sock"
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


def private_folder(folder: Path) -> Path:
    """Create *folder* for this user alone and return it, or what stands in for it when its path is too long.

    Raises ConfigError when it cannot be made, or belongs to somebody else.
    """
    wanted = Path(os.path.realpath(folder))
    if len(os.fsencode(wanted)) + 1 + _NAME_LIMIT + len(_SUFFIX) > _PATH_LIMIT:
        # Not the TMPDIR of the environment first: all nodes must come to the same place.
        base = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
        wanted = base / f"shoal-{os.getuid()}-{hashlib.sha256(os.fsencode(wanted)).hexdigest()[:24]}"
    try:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = wanted.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigError(f"bus: the folder {wanted} does not belong to this user")
        if stat.S_IMODE(found.st_mode) != 0o700:
            wanted.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"bus: cannot make the folder {wanted}: {error.strerror}") from error
    return wanted


def socket_name(node: str) -> str:
    """Return the name of a node's socket in the folder."""
    if len(node) <= _NAME_LIMIT and _SAFE.fullmatch(node):
        return node + _SUFFIX
    return hashlib.sha256(node.encode()).hexdigest()[:_NAME_LIMIT] + _SUFFIX


def sockets(folder: Path) -> list[Path]:
    """Return the sockets in the folder, sorted; none when the folder is gone."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def remove(path: Path) -> None:
    """Remove a socket, if it is there."""
    path.unlink(missing_ok=True)


def listening_socket(path: Path) -> socket.socket:
    """Return a socket that listens at *path*, in the place of one that a dead node left there."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(draft))
        listener.listen(512)
        # Only one that listens gets its name: others unlink what refuses them.
        draft.rename(path)
    except OSError as error:
        listener.close()
        raise ConfigError(f"bus: cannot listen at {path}: {error.strerror}") from error
    listener.setblocking(False)
    return listener
