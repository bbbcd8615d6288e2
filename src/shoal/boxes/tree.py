"""What of the host is to be seen in a box of walls: the guest, the interpreter, a root directory, the mounts."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import msgspec

from shoal.boxes.pack import is_installed
from shoal.boxes.process import GUEST
from shoal.boxes.spec import BoxSpec
from shoal.errors import BoxSpecError

__all__ = ["GUEST_MAIN", "Bind", "Tree", "ancestors", "import_path", "tree_of"]

GUEST_MAIN = "/shoal/guest/main.py"
_LIBRARY = "/shoal/lib"
_PACKAGES = ("cloudpickle", "msgspec", "shoal")
_TOP = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_OURS = ("dev", "proc", "shoal", "sys", "tmp", "work")  # these are made anew in every box
_NETWORK = ("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/ssl/certs")
_LINKS = 40  # the kernel follows no more


class Bind(msgspec.Struct, frozen=True):
    """A directory or file of the host, and where it lies in the box."""

    source: str
    target: str
    writable: bool = False


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in a box.

    ``system`` comes first, then what every box has of its own (``/proc``, ``/dev``, ``/tmp``, ``/work``), then ``binds``
    in their order, then ``hops``. ``links`` and ``hops`` are symbolic links: path and text. ``python`` is the interpreter,
    as the box sees it.
    """

    python: str
    system: tuple[Bind, ...]
    links: tuple[tuple[str, str], ...]
    binds: tuple[Bind, ...]
    hops: tuple[tuple[str, str], ...]


def tree_of(spec: BoxSpec, root: Path | None = None) -> Tree:
    """Return what a box of *spec* sees, with *root* in place of the host's ``/usr``. Raises BoxSpecError."""
    if root is None:
        system, links = _host_system()
        python = spec.python or sys.executable
        interpreter, hops = _interpreter(python)
    else:
        system, links = _root_system(root)
        python = spec.python or "/usr/bin/python3"
        interpreter, hops = (), ()
        if not _is_file_in(root, python):
            raise BoxSpecError(f"there is no Python at {python} in {root}")
    mounts = tuple(Bind(os.path.realpath(mount.source), _clean(mount.target), mount.writable) for mount in spec.mounts)
    network = _network_files(root is None and spec.network)
    tree = Tree(
        python=python,
        system=system,
        links=links,
        hops=hops,
        binds=(*interpreter, *network, Bind(str(GUEST), "/shoal/guest"), *_packages(), *mounts),
    )
    _check_targets(tree, mounts)
    return tree


def import_path(spec: BoxSpec) -> tuple[str, ...]:
    """Return where code in a box of *spec* imports from, beside its interpreter's own standard library."""
    if spec.rootfs is not None or spec.image is not None or spec.python not in (None, sys.executable):
        return (_LIBRARY,)
    return (_LIBRARY, *_standard_library(), *_site_packages())


def ancestors(target: str, bound: Iterable[str]) -> list[str]:
    """Return the directories above *target* that no bound tree brings along, outermost first."""
    parents = [str(parent) for parent in reversed(PurePosixPath(target).parents[:-1])]
    bound = tuple(bound)
    return [parent for parent in parents if not _below(parent, bound)]


# -- the host's own system -----------------------------------------------------------------------------------------


@functools.cache
def _host_system() -> tuple[tuple[Bind, ...], tuple[tuple[str, str], ...]]:
    binds, links = [Bind("/usr", "/usr")], []
    for name in _TOP:
        path = f"/{name}"
        if os.path.islink(path):
            links.append((path, os.readlink(path)))
        elif os.path.isdir(path):
            binds.append(Bind(path, path))
    return tuple(binds), tuple(links)


@functools.cache
def _interpreter(python: str) -> tuple[tuple[Bind, ...], tuple[tuple[str, str], ...]]:
    """Return what an interpreter of the host needs that is not below /usr: its directories, and links on the way to it."""
    if not os.path.isabs(python) or not os.access(python, os.X_OK):
        raise BoxSpecError(f"there is no Python at {python!r:.200}")
    hops, real = _hops(python)
    places = [str(Path(real).parents[1])]
    if python == sys.executable:
        places += [sys.base_prefix, sys.prefix, *_site_packages()]
    elif (Path(python).parents[1] / "pyvenv.cfg").is_file():
        places.append(str(Path(python).parents[1]))
    chosen: list[str] = []
    for place in sorted({os.path.abspath(place) for place in places}, key=len):
        if place != "/" and not _below(place, ("/usr", *chosen)):
            chosen.append(place)
    links = tuple((hop, text) for hop, text in hops if not _below(hop, ("/usr", *chosen)))
    return tuple(Bind(place, place) for place in chosen), links


def _hops(python: str) -> tuple[list[tuple[str, str]], str]:
    """Return the links that lead from *python* to the program, as (path, text), and the program."""
    hops: list[tuple[str, str]] = []
    path = python
    while os.path.islink(path) and len(hops) < _LINKS:
        text = os.readlink(path)
        hops.append((path, text))
        path = os.path.normpath(os.path.join(os.path.dirname(path), text))
    return hops, path


@functools.cache
def _site_packages() -> tuple[str, ...]:
    found = [os.path.abspath(entry) for entry in sys.path if entry and os.path.isdir(entry)]
    names = ("site-packages", "dist-packages")
    return tuple(dict.fromkeys(entry for entry in found if os.path.basename(entry) in names))


def _standard_library() -> list[str]:
    site = _site_packages()
    place = sysconfig.get_path("stdlib")
    found = [os.path.abspath(entry) for entry in sys.path if entry and is_installed(entry)]
    return list(dict.fromkeys([place, *(entry for entry in found if entry not in site)]))


@functools.cache
def _packages() -> tuple[Bind, ...]:
    binds = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.submodule_search_locations is not None, name
        binds.append(Bind(os.path.realpath(spec.submodule_search_locations[0]), f"{_LIBRARY}/{name}"))
    return tuple(binds)


def _network_files(wanted: bool) -> tuple[Bind, ...]:
    return tuple(Bind(os.path.realpath(path), path) for path in _NETWORK if wanted and os.path.exists(path))


# -- a root directory ----------------------------------------------------------------------------------------------


def _root_system(root: Path) -> tuple[tuple[Bind, ...], tuple[tuple[str, str], ...]]:
    # Entry by entry: then the box has a root of its own, in which places for mounts can be made.
    binds, links = [], []
    for entry in sorted(os.scandir(root), key=lambda found: found.name):
        if entry.name in _OURS:
            continue
        target = f"/{entry.name}"
        if entry.is_symlink():
            links.append((target, os.readlink(entry.path)))
        else:
            binds.append(Bind(entry.path, target))
    return tuple(binds), tuple(links)


def _is_file_in(root: Path, path: str) -> bool:
    """Tell whether *path* is a file in *root*, with its links followed as the box will follow them."""
    place = root
    rest = list(PurePosixPath(path).parts[1:])
    for _ in range(_LINKS * 8):
        if not rest:
            return place.is_file()
        name = rest.pop(0)
        if name == "..":
            place = place.parent if place != root else root
            continue
        place = place / name
        if place.is_symlink():
            text = PurePosixPath(os.readlink(place))
            place = root if text.is_absolute() else place.parent
            rest[:0] = [part for part in text.parts if part != "/"]
    return False


def _check_targets(tree: Tree, mounts: tuple[Bind, ...]) -> None:
    """Refuse a mount for which a place would have to be made in a directory of the host."""
    faults = []
    for place, mount in enumerate(mounts):
        for bind in reversed((*tree.system, *tree.binds[: len(tree.binds) - len(mounts) + place])):
            if _below(mount.target, (bind.target,)):
                inside = os.path.relpath(mount.target, bind.target)
                if not os.path.exists(os.path.join(bind.source, inside)):
                    faults.append(f"mount {mount.target}: there is no such place in {bind.target}, where none is made")
                break
    if faults:
        raise BoxSpecError(faults)


def _below(path: str, places: Iterable[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(place) for place in places)


def _clean(target: str) -> str:
    return str(PurePosixPath(target))
