"""A TCP proxy on loopback which can be cut: what comes is held up, unheard, until it is healed, as by a broken network.

Or as by a firewall that refuses: connections are reset, and so is whoever connects.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from urllib.parse import urlsplit

__all__ = ["Proxy"]


class Proxy:
    """Stands between one node and one server, on a thread of its own: whoever holds up the test's loop holds up no node."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._refuses = False
        self._server: asyncio.Server | None = None
        self._carried: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    @property
    def url(self) -> str:
        """The URL through the proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user, at, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{user}{at}127.0.0.1:{port}").geturl()

    def open(self) -> None:
        """Begin to carry."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def cut(self, *, refused: bool = False) -> None:
        """Carry nothing in either way: both sides believe that the other is silent, or, when *refused*, gone."""
        asyncio.run_coroutine_threadsafe(self._cut(refused), self._loop).result()

    def heal(self, *, broken: bool) -> None:
        """Carry again, what was held up first; *broken*: drop that with its connections, as a router that forgot them."""
        asyncio.run_coroutine_threadsafe(self._heal(broken), self._loop).result()

    def close(self) -> None:
        """End all."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _cut(self, refused: bool) -> None:
        self._flows.clear()
        self._refuses = refused
        if refused:
            await self._drop()

    async def _heal(self, broken: bool) -> None:
        self._refuses = False
        if broken:
            await self._drop()
        self._flows.set()

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._drop()

    async def _drop(self) -> None:
        carried = list(self._carried)
        for each in carried:
            each.cancel()
        if carried:
            await asyncio.wait(carried)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        carrying = asyncio.create_task(self._carry(reader, writer))
        self._carried.add(carrying)
        carrying.add_done_callback(self._carried.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            await self._flows.wait()
            there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            writers.append(back)
            ways = [asyncio.create_task(self._pump(*way)) for way in ((reader, back), (there, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.wait(ways)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            for each in writers:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
