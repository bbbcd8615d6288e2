"""TLS in front of a PostgreSQL that was built without: speaks the beginning of its protocol, then passes bytes on."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

__all__ = ["TlsFront"]

_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_SIZE = 1 << 16


class TlsFront:
    """Listens on a loopback port of its own (``port``), in a thread: whoever reads from a store waits in its event loop.

    Args:
        behind: the port of the server.
        context: the certificate, and whether clients must have one.
    """

    def __init__(self, behind: int, context: ssl.SSLContext) -> None:
        self._behind = behind
        self._context = context
        self.port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _listen(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                if await reader.readexactly(8) != _SSL_REQUEST:
                    return  # a server that lets nobody in without TLS
                writer.write(b"S")
                await writer.start_tls(self._context)
                answers, there = await asyncio.open_connection("127.0.0.1", self._behind)
                await asyncio.gather(_pump(reader, there), _pump(answers, writer))
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(_SIZE):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
