"""How a child is started, and what stands around it: the contract of an isolation level.

A launcher has to give a child one end of a socket pair as fd 0 and two pipes as fd 1 and 2 (its caller does so), and run
``main.py`` of the guest in it. Everything else of a box is the same at every level.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from shoal.boxes.holding import Holding
from shoal.boxes.procfs import ProcessStat, started_at
from shoal.boxes.reaper import kill_session
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.boxes.state import note_process

__all__ = ["BOX_PATH", "Launch", "LaunchOrder", "Launcher", "Walls"]

BOX_PATH = "/usr/local/bin:/usr/bin:/bin"
"""``PATH`` in a box."""
_ROUNDS = 20


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a child: the command, its environment (None: the runtime's), its directory (None: the runtime's).

    ``fds`` stay open in the child at their numbers; who starts the child closes them afterwards.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    fds: tuple[int, ...] = ()


class LaunchOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One child that is wanted.

    ``box_id`` is unique on the machine (letters, digits, ``-``); ``directory`` belongs to this child alone, has mode 0700,
    and is removed with all that is in it after ``Walls.remove``.
    """

    box_id: str
    directory: Path
    spec: BoxSpec = BoxSpec()
    limits: BoxLimits = BoxLimits()


class Walls:
    """What stands around one child, from before its start until it is reaped and ``remove`` has ended.

    This class is the level ``process``: the child leads a session and a process group of its own. Others override what
    differs. Signals go to the processes *in* the box, never to what keeps the walls up.
    """

    def __init__(self, launch: Launch, home: str = "/work", holding: Holding | None = None) -> None:
        """Nothing is started yet.

        Args:
            launch: how it is started.
            home: where the box's ``/work`` lies for the code in it.
            holding: what holds it to the limits of a box, None for an agent's plain process.
        """
        self.launch = launch
        self.home = home
        self.holding = holding
        self.pid: int | None = None
        self._pid_started = 0

    def started(self, pid: int) -> None:
        """Learn the process id of the command, on the host. Of a box it is noted, for a sweep if this process is killed."""
        self.pid = pid
        self._pid_started = started_at(pid)
        if self.holding is not None:
            note_process(self.holding.box_id, pid)

    def members(self, stats: Iterable[ProcessStat]) -> list[ProcessStat]:
        """Pick the processes in the box out of *stats*, which are all of the machine's."""
        return [stat for stat in stats if stat.session == self.pid and stat.state not in "ZX"]

    def signal(self, number: int) -> None:
        """Send a signal to every process in the box; nothing when they are gone."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """End every process in the box, and the walls, now."""
        self.signal(signal.SIGKILL)
        if self.holding is not None:
            self.holding.group.kill()
            self._kill_session()

    def freeze(self) -> None:
        """Let every process in the box stand still between two instructions."""
        if self.holding is None or not self.holding.group.freeze(True):
            self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        if self.holding is None or not self.holding.group.freeze(False):
            self.signal(signal.SIGCONT)

    def _kill_session(self) -> None:
        """End what its commands started in process groups of their own, where no group of the kernel holds them."""
        if self.pid is None or self.holding is None or self.holding.group.held:
            return
        for _ in range(_ROUNDS):  # who forks meanwhile is found in the next round
            if not kill_session(self.pid, self._pid_started):
                break

    async def remove(self) -> None:
        """Take away what is left on the machine. Called once, when the command has been reaped. Never raises."""
        if self.holding is not None:
            self._kill_session()
            await self.holding.remove()


class Launcher(Protocol):
    """One isolation level."""

    level: str

    async def prepare(self, spec: BoxSpec) -> None:
        """Do what takes long, once for each *spec*: unpack an image, look for programs.

        Raises BoxSpecError (this level cannot do what the spec asks for), IsolationUnavailableError.
        """
        ...

    def build(self, order: LaunchOrder) -> Walls:
        """Return the walls of one child, in a millisecond or so. Raises BoxStartError; then nothing is left behind."""
        ...
