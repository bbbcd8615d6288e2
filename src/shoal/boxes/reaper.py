"""Ending processes for sure, and only those that are meant."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable

from shoal.boxes.procfs import read_stat, session_members

__all__ = ["Reaper", "kill_group", "kill_orphan", "kill_session"]


def kill_group(group: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal to a whole process group; False when it is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_orphan(pid: int, pid_started: int) -> bool:
    """Kill a child that a dead runtime left behind, with all it started; True when something was still there.

    Nothing happens when the process *pid* did not start at *pid_started* (clock ticks since this boot): the pid has gone
    to somebody else. When the child itself is gone its session is looked for: while anything lives in a session, the
    kernel gives its number to nobody, so what is there is the child's own.
    """
    stat = read_stat(pid)
    if stat is not None and stat.state != "Z":
        return stat.started == pid_started and stat.group == pid and kill_group(pid)
    return kill_session(pid, pid_started)


def kill_session(session: int, started: int) -> bool:
    """Kill all processes of a session that began at *started*; True when there were some.

    Nothing happens when its number belongs to a process that started at another time.
    """
    leader = read_stat(session)
    if leader is not None and leader.started != started:
        return False
    left = [member for member in session_members(session) if member.started >= started]
    for member in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(member.pid, signal.SIGKILL)
    return bool(left)


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
