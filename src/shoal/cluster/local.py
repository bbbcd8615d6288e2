"""A PostgreSQL and a NATS for the nodes of one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from shoal.cluster.keeping import keep
from shoal.cluster.nats import NatsServer
from shoal.cluster.postgres import PostgresServer
from shoal.kernel.agent import RestartPolicy
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock

__all__ = ["LocalServers"]

_POLICY = RestartPolicy()


class LocalServers:
    """Both servers in one folder. What PostgreSQL holds is kept there from one start to the next; NATS holds nothing.

    ``async with`` starts and ends them; they end with the process that started them, too. While :meth:`keep` runs, one
    that dies is started again.

    Args:
        folder: made when it is not there, for its owner alone.
        clock: the time source of its starter.
    """

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        self.folder = Path(folder).resolve()
        self._clock = clock or RealClock()
        self.postgres = PostgresServer(self.folder / "postgres", clock=self._clock)
        self.nats = NatsServer(self.folder / "nats", clock=self._clock)

    @property
    def store(self) -> str:
        """The URL of the store, with its password."""
        return self.postgres.url

    @property
    def bus(self) -> str:
        """The URL of the bus, with its token."""
        return self.nats.url

    async def keep(self, say: Callable[[str], object], policy: RestartPolicy = _POLICY) -> None:
        """Start a server again that has died, on its port and data; return when one died more often than *policy* allows.

        Args:
            say: hears each death and each start, a line each.
            policy: for each of them.
        """
        keeping = [
            asyncio.ensure_future(keep("PostgreSQL", self.postgres, self._clock, say, policy)),
            asyncio.ensure_future(keep("NATS", self.nats, self._clock, say, policy)),
        ]
        try:
            done, _ = await asyncio.wait(keeping, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in keeping:
                each.cancel()
            await asyncio.wait(keeping)

    async def __aenter__(self) -> Self:
        """Start them. Raises MissingExtraError, ConfigError, ServerError; nothing is left then."""
        try:
            await self.postgres.start()
            await self.nats.start()
            file = self.folder / "env"
            file.touch(mode=0o600)
            file.write_text(f"export SHOAL_STORE='{self.store}'\nexport SHOAL_BUS='{self.bus}'\n")
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await self.nats.stop()
        await self.postgres.stop()
