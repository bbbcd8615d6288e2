"""A TCP proxy on loopback that can cut a connection at a commit: before it gets to the server, before its answer, or so
that it gets to the server when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["Proxy"]

Cut = Literal["before", "answer", "late", "between", "silent"]


class Proxy:
    """Stands between a store and its server. ``cut_next`` says where the next commit is cut; each cut is made once.

    ``commit`` are the bytes by which it is known. What is cut ``late`` is carried on at ``carry_on``, ``between`` before
    the same comes again; ``silent`` carries nothing more and leaves the connection open. While ``flowing`` is not set
    nothing is carried: the server seems to hang.
    """

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._carried: set[asyncio.Task[None]] = set()
        self.cut_next: Cut | None = None
        self.commit = b"COMMIT\0"
        self.cuts = 0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._between = False
        self._waiting: list[tuple[asyncio.Event, asyncio.Event]] = []

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

    async def carry_on(self) -> None:
        """Let what was cut late come to the server; return when it has answered."""
        for go, done in self._waiting:
            go.set()
            await done.wait()
        self._waiting.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._carried.add(asyncio.create_task(self._carry(reader, writer)))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        muted, done = asyncio.Event(), asyncio.Event()
        answers = asyncio.create_task(_pump(there, writer, muted))
        try:
            while data := await reader.read(1 << 16):
                await self.flowing.wait()
                cut = self.cut_next if self.commit in data else None
                if cut is None and self.commit in data and self._between:
                    await self.carry_on()
                if cut is not None:
                    self.cut_next, self._between = None, cut == "between"
                    self.cuts += 1
                    muted.set()
                if cut == "silent":
                    while await reader.read(1 << 16):
                        pass
                    return
                if cut in ("late", "between"):
                    writer.close()
                    done = await self._go_on()
                if cut != "before":
                    back.write(data)
                    await back.drain()
                if cut in ("answer", "late", "between"):
                    await asyncio.wait([answers])  # so it has been carried out
                if cut is not None:
                    return
        except ConnectionError:
            return
        finally:
            done.set()
            answers.cancel()
            for each in (writer, back):
                each.close()
                with suppress(ConnectionError):
                    await each.wait_closed()
            await asyncio.wait([answers])

    async def _go_on(self) -> asyncio.Event:
        go, done = asyncio.Event(), asyncio.Event()
        self._waiting.append((go, done))
        await go.wait()
        return done


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
