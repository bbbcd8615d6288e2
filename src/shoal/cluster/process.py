"""A server as a child process: started behind a guard, ended by its pid, and with its starter."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from shoal.errors import ServerError
from shoal.kernel.ports import Clock

__all__ = ["HOST", "ServerProcess", "User", "free_port", "guarded", "new_password", "run_to_end"]

_GUARD = str(Path(__file__).with_name("guard.py"))
_POLL_SECONDS = 0.01
_LOOK_SECONDS = 0.05
_TAIL = 2000
HOST = "127.0.0.1"


class User(NamedTuple):
    """Whose rights a server has; those of its starter when the numbers are below 0."""

    uid: int = -1
    gid: int = -1


_STARTER = User()


class ServerProcess:
    """One server. It ends with *stop_signal*, and by the same signal when the thread that started it ends (kill -9)."""

    def __init__(
        self, name: str, log: Path, clock: Clock, *, stop_signal: signal.Signals, user: User = _STARTER
    ) -> None:
        self.name = name
        self._log = log
        self._clock = clock
        self._stop_signal = stop_signal
        self._user = user
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return self._child.pid if self._child is not None else None

    @property
    def lives(self) -> bool:
        """Tell whether it runs."""
        return self._child is not None and self._child.poll() is None

    async def start(self, command: Sequence[str], ready: Callable[[], bool], seconds: float) -> None:
        """Start *command* and wait up to *seconds* until *ready* says so. Raises ServerError, and nothing is left then."""
        await self.stop()
        if self._log.exists():
            self._log.replace(self._log.with_name(f"{self._log.name}.1"))  # so that what a crashed one said can be read
        self._child = _popen(command, self._log, self._stop_signal, self._user)
        try:
            async with self._clock.timeout(seconds):
                while not ready():
                    if self._child.poll() is not None:
                        code = self._child.returncode
                        raise ServerError(f"{self.name} ended with exit code {code}: {self.log_tail()}")
                    await self._clock.sleep(_POLL_SECONDS)
        except TimeoutError:
            await self.kill()
            raise ServerError(f"{self.name} did not answer within {seconds:g} s: {self.log_tail()}") from None
        except BaseException:
            await self.kill()
            raise

    async def stop(self, seconds: float = 5.0) -> None:
        """End it: by its signal, and after *seconds* by SIGKILL."""
        if self._child is None:
            return
        self.signal(self._stop_signal)
        try:
            async with self._clock.timeout(seconds):
                await self._ended()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it by SIGKILL."""
        self.signal(signal.SIGKILL)
        await self._ended()

    async def died(self) -> str:
        """Wait until it ends by itself, and return how: ``signal 9``, or ``exit code 1``."""
        while (child := self._child) is None or child.poll() is None:
            await self._clock.sleep(_LOOK_SECONDS)
        return f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, if it runs."""
        if self._child is not None:
            self._child.send_signal(number)

    def log_tail(self) -> str:
        """Return the end of its log."""
        try:
            return _tail(self._log)
        except FileNotFoundError:
            return "(it wrote nothing)"

    async def _ended(self) -> None:
        while self._child is not None and self._child.poll() is None:
            await self._clock.sleep(_POLL_SECONDS)
        self._child = None


async def run_to_end(command: Sequence[str], log: Path, user: User, clock: Clock) -> None:
    """Run a program that prepares a server. Raises ServerError when it fails."""
    child = _popen(command, log, signal.SIGKILL, user)
    try:
        while child.poll() is None:
            await clock.sleep(_POLL_SECONDS)
    finally:
        child.kill()
        child.wait()
    if child.returncode != 0:
        raise ServerError(f"{Path(command[0]).name} failed: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_bytes()[-_TAIL:].decode(errors="replace").strip()


def free_port() -> int:
    """Return a loopback port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def new_password() -> str:
    """Return 128 random bits."""
    return os.urandom(16).hex()


def guarded(command: Sequence[str], death: signal.Signals, user: User = _STARTER) -> list[str]:
    """Return *command* behind a guard, so that it gets the signal *death* when the thread that starts it ends."""
    return [sys.executable, "-I", "-S", _GUARD, *map(str, (os.getpid(), int(death), *user)), *command]


def _popen(command: Sequence[str], log: Path, death: signal.Signals, user: User) -> subprocess.Popen[bytes]:
    guard = guarded(command, death, user)
    with log.open("ab") as file:
        # A session of its own: Ctrl-C in a terminal goes to the starter, which ends its servers in order.
        return subprocess.Popen(
            guard, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=log.parent, start_new_session=True
        )
