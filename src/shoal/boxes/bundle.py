"""An OCI bundle: what ``runsc`` is told of one box, as a directory."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from shoal.boxes.launch import BOX_PATH, LaunchOrder
from shoal.boxes.tree import GUEST_MAIN, Tree

__all__ = ["write_bundle"]

_MIB = 1 << 20
_GUEST = (GUEST_MAIN, "0", "set")
_USER = 1000
_NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
_CAPABILITIES = ("bounding", "effective", "inheritable", "permitted", "ambient")
_ROOMS = ("/tmp", "/work", "/dev/shm")


def write_bundle(order: LaunchOrder, tree: Tree, program: tuple[str, ...] = _GUEST) -> None:
    """Write ``config.json`` and the empty root directory for a box into the order's directory. Raises OSError.

    *program* is what its Python runs.
    """
    root = order.directory / "root"
    root.mkdir()
    for path, text in tree.links:
        os.symlink(text, root / path.lstrip("/"))
    for path, text in tree.hops:
        link = root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(text, link)
    (order.directory / "config.json").write_bytes(msgspec.json.encode(_config(order, tree, program)))


def _config(order: LaunchOrder, tree: Tree, program: tuple[str, ...]) -> dict[str, Any]:
    spec = order.spec
    env = {"PATH": BOX_PATH, "HOME": "/work", "LANG": "C.UTF-8", **spec.env}
    return {
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": {"path": "root", "readonly": True},
        "process": {
            "terminal": False,
            "user": {"uid": _user(tree), "gid": _user(tree)},
            "args": [tree.python, "-I", "-S", *program],
            "env": [f"{name}={value}" for name, value in env.items()],
            # What is missing of its directory the guest makes: here nobody can.
            "cwd": "/work" if spec.cwd.startswith(("/work/", "/tmp/")) else spec.cwd,
            "noNewPrivileges": True,
            "capabilities": {name: [] for name in _CAPABILITIES},
        },
        "mounts": _mounts(order, tree),
        "linux": {"namespaces": [{"type": name} for name in _NAMESPACES if not (name == "network" and spec.network)]},
    }


def _user(tree: Tree) -> int:
    """Return who the program is in its own kernel; never anybody with rights outside."""
    if os.geteuid() != 0 and any(bind.writable for bind in tree.binds):
        return 0  # the only one whose files the runtime's user can own
    return _USER


def _mounts(order: LaunchOrder, tree: Tree) -> list[dict[str, Any]]:
    size = f"size={order.limits.tmp_mib * _MIB}"
    rooms = [_mount("tmpfs", "tmpfs", room, [size, "mode=1777", "nosuid", "nodev"]) for room in _ROOMS]
    binds = {
        place: [_mount("bind", bind.source, bind.target, ["rw" if bind.writable else "ro", "rbind"]) for bind in binds]
        for place, binds in (("system", tree.system), ("own", tree.binds))
    }
    kernel = [_mount("proc", "proc", "/proc"), _mount("tmpfs", "tmpfs", "/dev")]
    return [*binds["system"], *kernel, *rooms, *binds["own"]]


def _mount(kind: str, source: str, target: str, options: list[str] | None = None) -> dict[str, Any]:
    return {"type": kind, "source": source, "destination": target, "options": options or []}
