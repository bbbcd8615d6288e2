"""Level ``bubblewrap``: Linux namespaces and a system call filter, set up by ``bwrap``. For code you half trust."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from shoal.boxes.bwrapwords import words
from shoal.boxes.dropping import dropper_for
from shoal.boxes.holding import Holding
from shoal.boxes.launch import BOX_PATH, Launch, LaunchOrder, Walls
from shoal.boxes.procfs import ProcessStat, all_stats, descendants
from shoal.boxes.roots import Roots
from shoal.boxes.seccomp import filter_fd, filter_program
from shoal.boxes.spec import BoxSpec
from shoal.boxes.tree import GUEST_MAIN, Bind, tree_of
from shoal.boxes.usernumbers import FIRST_USER, UserNumber, covers
from shoal.errors import BoxSpecError, BoxStartError, IsolationUnavailableError, MissingExtraError

__all__ = ["BubblewrapLauncher"]

_KEEPERS = 2  # processes of bwrap itself that stay beside the box
_ROUNDS = 20
_SECONDS = 5.0
_HELD = {"tmp_mib": "tmpfs", "pids": "rlimit"}


class BubblewrapLauncher:
    """Starts boxes in namespaces of their own.

    As root, each box runs as a user of its own that nobody else is; otherwise as the runtime's own user in a user
    namespace. Code in a box reaches the host's kernel by the calls that the filter lets through.
    """

    level = "bubblewrap"

    def __init__(self, first_user: int = FIRST_USER) -> None:
        """*first_user*: the lowest of the user numbers for boxes of root."""
        self._first_user = first_user
        self._own_users = os.geteuid() == 0 and covers(first_user)
        self._has_namespaces = False  # as far as is known
        self._roots = Roots()

    async def prepare(self, spec: BoxSpec) -> None:
        """Look for what this level needs, and whether it can do what *spec* asks for.

        Raises BoxSpecError, IsolationUnavailableError.
        """
        missing = list(self._missing())
        if missing:
            raise IsolationUnavailableError("; ".join(missing))
        root = await self._roots.prepare(spec)
        tree = tree_of(spec, root)
        if self._own_users:
            dropper_for(root)
            faults = [f"mount {bind.target}: {_CLOSED}" for bind in tree.binds if bind.writable and not _is_open(bind)]
            if faults:
                raise BoxSpecError(faults)

    def _missing(self) -> Iterator[str]:
        if shutil.which("bwrap") is None:
            yield "bwrap is not installed (Debian package bubblewrap)"
        if self._own_users and shutil.which("setpriv") is None:
            yield "setpriv is not installed (Debian package util-linux)"
        try:
            filter_program(False)
        except MissingExtraError as error:
            yield f"{error}: pip install 'shoal[boxes]', and the Debian package libseccomp2"
        if not self._own_users and not self._has_namespaces:
            fault = _user_namespace_fault()
            if fault is not None:
                yield fault
            self._has_namespaces = fault is None

    def build(self, order: LaunchOrder) -> Walls:
        """Return the walls of one box. Raises BoxStartError."""
        root = self._roots.known(order.spec)
        tree = tree_of(order.spec, root)
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise BoxStartError("bwrap is not installed any more", level=self.level, phase="launch")
        with contextlib.ExitStack() as undo:
            front: tuple[str, ...] = ()
            binds: tuple[Bind, ...] = ()
            user = None
            if self._own_users:
                user = UserNumber(self._first_user)
                undo.callback(user.release)
                dropper = dropper_for(root)
                front, binds = dropper.command(user.number), dropper.binds
            fds = [self._filter(order.spec.network)]
            undo.callback(os.close, fds[0])
            fds.append(_memory_file([*words(order, tree, binds, own_user=user is not None), "--seccomp", str(fds[0])]))
            undo.callback(os.close, fds[1])
            # bwrap keeps fds 0 to 2 open beside the box: of the channel the guest alone shall have an end.
            channel = next(number for number in range(3, 10) if number not in fds)
            guest = (tree.python, "-I", "-S", GUEST_MAIN, "0", "set", str(channel))
            command = (bwrap, "--args", str(fds[1]), "--", *front, *guest)
            holding = Holding(order.box_id, order.limits, extra_pids=_KEEPERS, others=_HELD)
            undo.pop_all()
        # The keeper in the box can be seen to have this environment: it is nothing of the host's.
        launch = Launch(command=holding.joined(command, channel), env={"PATH": BOX_PATH}, fds=tuple(fds))
        return _BubblewrapWalls(launch, holding, user)

    def _filter(self, network: bool) -> int:
        try:
            return filter_fd(network)
        except (OSError, MissingExtraError) as error:
            raise BoxStartError(f"no system call filter: {error}", level=self.level, phase="launch") from error


class _BubblewrapWalls(Walls):
    """The started command has one child, which is the first process in the box and keeps it; the others are below that.

    When it ends, the kernel ends all others in its process namespace.
    """

    def __init__(self, launch: Launch, holding: Holding, user: UserNumber | None) -> None:
        super().__init__(launch, holding=holding)
        self._user = user

    def members(self, stats: Iterable[ProcessStat]) -> list[ProcessStat]:
        """Pick the processes in the box, without the one that keeps it."""
        stats = list(stats)
        keeper = self._keeper(stats)
        return [] if keeper is None else descendants(keeper, stats)

    def _keeper(self, stats: list[ProcessStat]) -> int | None:
        return next((stat.pid for stat in stats if self.pid is not None and stat.parent == self.pid), None)

    def signal(self, number: int) -> None:
        """Send a signal to every process in the box."""
        seen: set[int] = set()
        for _ in range(_ROUNDS):  # who is born meanwhile is found in the next round
            new = [stat.pid for stat in self.members(all_stats()) if stat.pid not in seen]
            for pid in new:
                _send(os.kill, pid, number)
            seen.update(new)
            if not new or number != signal.SIGSTOP:
                break

    def kill(self) -> None:
        """End every process in the box; the command then ends by itself."""
        keeper = self._keeper(all_stats())
        if keeper is not None:
            _send(os.kill, keeper, signal.SIGKILL)
        elif self.pid is not None:
            _send(os.killpg, self.pid, signal.SIGKILL)
        if self.holding is not None:
            self.holding.group.freeze(False)  # version 1: a frozen process does not even die

    async def remove(self) -> None:
        """Remove its groups and give back its user number."""
        await super().remove()
        if self._user is not None:
            self._user.release()


def _send(kill: Callable[[int, int], None], target: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        kill(target, number)


_CLOSED = "the box is a user of its own, who may not write there (give others the right: chmod o+w)"


def _is_open(bind: Bind) -> bool:
    return bool(Path(bind.source).stat().st_mode & 0o002)


def _user_namespace_fault() -> str | None:
    """Tell why this user cannot make user namespaces, None when it can."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "unshare is not installed (Debian package util-linux)"
    tried = subprocess.run([unshare, "--user", "true"], capture_output=True, text=True, check=False, timeout=_SECONDS)
    if tried.returncode == 0:
        return None
    return f"this user may not make user namespaces (see user.max_user_namespaces): {tried.stderr.strip()}"


def _memory_file(texts: Iterable[str]) -> int:
    """Return a file with *texts*, each ended by NUL. What a box is given stands in no list of processes."""
    fd = os.memfd_create("arguments")
    with open(fd, "wb", closefd=False) as file:
        file.write(b"".join(os.fsencode(text) + b"\0" for text in texts))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
