"""A TCP proxy on loopback that can cut a connection at a COMMIT: before it gets to the server, or before its answer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["Proxy"]

Cut = Literal["before", "answer"]


class Proxy:
    """Stands between a store and its server. ``cut_next`` says where the next COMMIT is cut; each cut is made once."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._carried: set[asyncio.Task[None]] = set()
        self.cut_next: Cut | None = None
        self.cuts = 0

    @property
    def url(self) -> str:
        """The URL through the proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        netloc = f"{self._parts.username}:{self._parts.password}@127.0.0.1:{port}"
        return self._parts._replace(netloc=netloc).geturl()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        for each in self._carried:
            each.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._carried.add(asyncio.create_task(self._carry(reader, writer)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        muted = asyncio.Event()
        answers = asyncio.create_task(_pump(there, writer, muted))
        try:
            while data := await reader.read(1 << 16):
                cut = self.cut_next if b"COMMIT\0" in data else None
                if cut is not None:
                    self.cut_next = None
                    self.cuts += 1
                    muted.set()
                if cut != "before":
                    back.write(data)
                    await back.drain()
                if cut == "answer":
                    await asyncio.wait([answers])  # so it has committed
                if cut is not None:
                    return
        except ConnectionError:
            return
        finally:
            answers.cancel()
            for each in (writer, back):
                each.close()
                with suppress(ConnectionError):
                    await each.wait_closed()
            await asyncio.wait([answers])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, muted: asyncio.Event) -> None:
    try:
        while data := await reader.read(1 << 16):
            if muted.is_set():
                return
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()
