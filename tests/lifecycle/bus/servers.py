"""Servers of NATS with a configuration of their own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from shoal.cluster import NatsServer
from shoal.testing.receivers import Replier, a_message, attached_everywhere
from tests.lifecycle.bus.nodes import node
from tests.support.engines import fresh_folder

__all__ = ["answered", "served"]


@contextlib.asynccontextmanager
async def served(config: str, folder: Path | None = None) -> AsyncIterator[str]:
    """Give the host and port of a server with *config*; its folder is removed afterwards."""
    server = NatsServer(folder or fresh_folder(), config=config)
    try:
        await server.start()
        yield server.url.partition("://")[2]
    finally:
        await server.stop()
        shutil.rmtree(server.folder)


async def answered(url: str) -> None:
    """Check that two nodes reach each other."""
    async with node(url, "one") as one, node(url, "two") as two:
        two.attach("echo", Replier(lambda asked: asked.data))
        await attached_everywhere([one], "echo")
        assert (await one.request("echo", a_message(1), 5.0)).data == 1
