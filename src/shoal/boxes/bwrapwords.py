"""What ``bwrap`` is told: the namespaces, the files, the environment of one box."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.boxes.launch import BOX_PATH, LaunchOrder
from shoal.boxes.tree import Bind, Tree, ancestors

__all__ = ["words"]

_MIB = 1 << 20
# Without user namespaces of their own: root in one of those would still be the host's root to some of /proc/sys.
_OF_ROOT = ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
_OF_USER = ("--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000", *_OF_ROOT)
_NEEDED = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")  # by setpriv, which then gives them up
_ROOMS = ("/tmp", "/work", "/dev/shm")


def words(order: LaunchOrder, tree: Tree, more: tuple[Bind, ...], *, own_user: bool) -> Iterator[str]:
    """Yield the options of bwrap. *own_user*: root starts the box and setpriv makes it another user."""
    spec = order.spec
    yield from _OF_ROOT if own_user else _OF_USER
    if not spec.network:
        yield "--unshare-net"
    yield from ("--die-with-parent", "--new-session", "--hostname", spec.hostname)
    yield from _files(order, tree, more)
    yield "--clearenv"
    for name, value in {"PATH": BOX_PATH, "HOME": "/work", "LANG": "C.UTF-8", **spec.env}.items():
        if not (own_user and name.startswith("LD_")):  # setpriv is still root; the guest learns them later
            yield from ("--setenv", name, value)
    yield from ("--cap-drop", "ALL")
    if own_user:
        for capability in _NEEDED:
            yield from ("--cap-add", capability)
    yield from ("--chdir", spec.cwd)


def _files(order: LaunchOrder, tree: Tree, more: tuple[Bind, ...]) -> Iterator[str]:
    made: list[str] = []
    bound: list[str] = []
    for bind in tree.system:
        yield from _bind(bind, bound, made)
    for path, text in tree.links:
        yield from ("--symlink", text, path)
    yield from ("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev")
    size = str(order.limits.tmp_mib * _MIB)
    for room in _ROOMS:
        yield from ("--size", size, "--perms", "1777", "--tmpfs", room)
    yield from ("--remount-ro", "/dev")  # it has no size of its own
    for bind in (*tree.binds, *more):
        yield from _bind(bind, bound, made)
    for path, text in tree.hops:
        yield from _parents(path, bound, made)
        yield from ("--symlink", text, path)
    if order.spec.cwd.startswith(("/work/", "/tmp/")) and order.spec.cwd not in bound:
        yield from ("--perms", "1777", "--dir", order.spec.cwd)
    yield from ("--remount-ro", "/")


def _bind(bind: Bind, bound: list[str], made: list[str]) -> Iterator[str]:
    yield from _parents(bind.target, bound, made)
    bound.append(bind.target)
    yield from ("--bind" if bind.writable else "--ro-bind", bind.source, bind.target)


def _parents(target: str, bound: list[str], made: list[str]) -> Iterator[str]:
    # Left to itself, bwrap gives them the rights of what is bound below, which may shut out who is to enter.
    for parent in ancestors(target, bound):
        if parent not in made:
            made.append(parent)
            yield from ("--perms", "0755", "--dir", parent)
