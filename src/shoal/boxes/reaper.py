"""Ending processes for sure, and only those that are meant."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable

from shoal.boxes.procfs import read_stat

__all__ = ["Reaper", "kill_group", "kill_orphan"]


def kill_group(group: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal to a whole process group; False when it is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_orphan(pid: int, pid_started: int) -> bool:
    """Kill the process group of a child that a dead runtime left behind; True when it was still there.

    Nothing happens unless the process *pid* started at *pid_started* (clock ticks since boot) and leads its group:
    a pid may have gone to somebody else since.
    """
    stat = read_stat(pid)
    if stat is None or stat.started != pid_started or stat.group != pid or stat.state == "Z":
        return False
    return kill_group(pid)


class Reaper:
    """Waits for one child through a pidfd on the loop: it never stays a zombie, whoever was cancelled meanwhile.

    ``on_exit(code)`` is called once, when it has ended: the exit code, or minus the signal's number. What is left of
    its process group is killed before the child is reaped, while the group's number cannot belong to another.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, process: subprocess.Popen[bytes], on_exit: Callable[[int], None]
    ) -> None:
        self._loop = loop
        self._process = process
        self._on_exit = on_exit
        self._pidfd = os.pidfd_open(process.pid)
        loop.add_reader(self._pidfd, self._ended)

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.signal(signal.SIGKILL)
        self._on_exit(self._process.wait())

    def signal(self, number: int) -> None:
        """Send a signal to the child's whole process group; nothing after its end."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
