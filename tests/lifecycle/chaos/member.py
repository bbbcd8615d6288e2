"""One node of a cluster, through all of its lives, and the servers that it stands on."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec

from shoal.cluster import NatsServer, PostgresServer
from tests.lifecycle.chaos.proxy import Proxy
from tests.support.processes import Script, script

__all__ = ["Member", "Servers", "Way"]

Way = Literal["store", "bus"]
_NODE = Path(__file__).with_name("chaos_node.py")


class Servers(msgspec.Struct, frozen=True):
    """The servers of a cluster, and the URLs of its own place on them."""

    postgres: PostgresServer
    nats: NatsServer
    store: str
    bus: str


class Member:
    """One node. ``skew``: seconds; *proxied*: what it says to the servers can be cut off."""

    def __init__(self, name: str, skew: float, servers: Servers, *, proxied: bool) -> None:
        self.name = name
        self.skew = skew
        self.life = ""
        self._process: Script | None = None
        self._ends = ExitStack()
        self.urls: dict[Way, str] = {"store": servers.store, "bus": servers.bus}
        self.proxies: dict[Way, Proxy] = {way: Proxy(url) for way, url in self.urls.items()} if proxied else {}
        for way, proxy in self.proxies.items():
            proxy.open()
            self.urls[way] = proxy.url

    @property
    def process(self) -> Script:
        """The process of its present life."""
        assert self._process is not None
        return self._process

    async def start(self, **plan: Any) -> None:
        """Begin a life, and wait until it works."""
        where = {"store": self.urls["store"], "bus": self.urls["bus"]}
        given = {**where, "name": self.name, "skew": self.skew, **plan}
        self._process = self._ends.enter_context(script(_NODE, msgspec.json.encode(given).decode()))
        self.life = str(await asyncio.to_thread(self._process.hear))

    def kill(self) -> None:
        """End its life by SIGKILL, if it still lives."""
        self._ends.close()

    def close(self) -> None:
        """End all."""
        self.kill()
        for proxy in self.proxies.values():
            proxy.close()
