"""Giving up root inside a box: the host's own ``setpriv``, as the box sees it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import msgspec

from shoal.boxes.tree import Bind
from shoal.errors import BoxSpecError, IsolationUnavailableError

__all__ = ["Dropper", "dropper_for"]

_PLACE = "/shoal/setpriv"
_DROP = (
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--ambient-caps=-all",
)


class Dropper(msgspec.Struct, frozen=True):
    """A program that becomes another user without any rights and then the guest; ``binds`` is what it needs in the box."""

    program: tuple[str, ...]
    binds: tuple[Bind, ...] = ()

    def command(self, user: int) -> tuple[str, ...]:
        """Return what goes in front of the guest's command."""
        return (*self.program, f"--reuid={user}", f"--regid={user}", *_DROP)


def dropper_for(root: Path | None) -> Dropper:
    """Return it for a box with the host's ``/usr``, or with *root* in its place.

    A root directory's own programs must not run as root, not even its dynamic loader's settings count: the host's setpriv
    comes along with its loader and libraries. Raises BoxSpecError, IsolationUnavailableError.
    """
    program = shutil.which("setpriv")
    if program is None:
        raise IsolationUnavailableError("setpriv is not installed (Debian package util-linux)")
    program = os.path.realpath(program)
    if root is None and program.startswith("/usr/"):
        return Dropper((program,))
    if root is not None:
        _check_loader_settings(root)
    loader, libraries = _libraries(program)
    binds = [Bind(program, f"{_PLACE}/setpriv"), Bind(loader, f"{_PLACE}/loader")]
    binds += [Bind(library, f"{_PLACE}/{os.path.basename(library)}") for library in libraries]
    command = (f"{_PLACE}/loader", "--inhibit-cache", "--library-path", _PLACE, f"{_PLACE}/setpriv")
    return Dropper(command, tuple(binds))


def _check_loader_settings(root: Path) -> None:
    etc = root / "etc"
    if etc.is_symlink() or os.path.lexists(etc / "ld.so.preload"):
        raise BoxSpecError(f"{root}: /etc must be a directory without ld.so.preload, which would run as root")


@functools.cache
def _libraries(program: str) -> tuple[str, tuple[str, ...]]:
    """Return the dynamic loader of a program of the host, and the libraries that it loads, by the names it asks for."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False, timeout=5.0)
    loader, libraries = "", []
    for line in listed.stdout.splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        path = rest.split(" ")[0]
        if arrow and path.startswith("/"):
            libraries.append(path)
        elif name.startswith("/"):
            loader = name.split(" ")[0]
    if not loader:
        raise IsolationUnavailableError(f"the libraries of {program} are not known: {listed.stderr.strip()}")
    return loader, tuple(libraries)
