"""One node of a cluster, through all of its lives, and the servers that it stands on."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import msgspec

from shoal.cluster import NatsServer, PostgresServer
from tests.lifecycle.chaos.wires import Wires
from tests.support.processes import Script, script

__all__ = ["Member", "Servers"]

_NODE = "tests.lifecycle.chaos.chaos_node"


class Servers(msgspec.Struct, frozen=True):
    """The servers of a cluster, and the URLs of its own place on them."""

    postgres: PostgresServer
    nats: NatsServer
    store: str
    bus: str


class Member:
    """One node. ``skew``: seconds; ``wires``: what is between it and the servers."""

    def __init__(self, name: str, skew: float, wires: Wires) -> None:
        self.name = name
        self.skew = skew
        self.wires = wires
        self.life = ""
        self._process: Script | None = None
        self._ends = ExitStack()
        wires.open()

    @property
    def process(self) -> Script:
        """The process of its present life."""
        assert self._process is not None
        return self._process

    async def start(self, **plan: Any) -> None:
        """Begin a life, and wait until it works."""
        given: dict[str, Any] = {"name": self.name, "skew": self.skew, **plan}
        given |= dict(self.wires.urls.items())
        words = msgspec.json.encode(given).decode()
        self._process = self._ends.enter_context(script(_NODE, words, before=self.wires.before))
        self.life = str(await asyncio.to_thread(self._process.hear))

    def kill(self) -> None:
        """End its life by SIGKILL, if it still lives."""
        self._ends.close()

    def close(self) -> None:
        """End all."""
        self.kill()
        self.wires.close()
