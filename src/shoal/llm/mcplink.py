"""Connections to one MCP server: started when first used, one for each event loop, ended with the loop at the latest."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shoal.errors import MissingExtraError, ToolError, ToolTimeoutError
from shoal.kernel.ports import Clock
from shoal.llm.mcpstdio import stdio

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as Listed

__all__ = ["Connection", "Server"]

log = logging.getLogger("shoal")

_PAGES = 100  # a server whose list never ends must not hang anybody
_CLOSED, _LATE = -32000, -32001  # JSON-RPC codes of the SDK: the connection has ended; no answer in time


class Server:
    """A server, by command or by address.

    Args:
        command: what starts it, None: it is at *url*.
        url: its address (streamable HTTP).
        env: its environment, beside HOME, PATH and the like.
        timeout: seconds that it has to be ready.
    """

    def __init__(self, command: Sequence[str] | None, url: str | None, env: Mapping[str, str], timeout: float) -> None:
        self.command = command
        self.url = url
        self.timeout = timeout
        self._env = dict(env)
        self._connections: dict[asyncio.AbstractEventLoop, Connection] = {}

    @property
    def label(self) -> str:
        """What error texts call it."""
        return self.url or " ".join(self.command or ())[:200]

    async def connected(self, clock: Clock) -> Connection:
        """Return the connection of the running loop, made when there is none.

        Raises MissingExtraError, and ToolError when the server does not start, or not in time.
        """
        loop = asyncio.get_running_loop()
        for other in [other for other in self._connections if other.is_closed()]:
            del self._connections[other]
        connection = self._connections.get(loop)
        if connection is None or connection.ended:
            connection = self._connections[loop] = Connection(self, clock)
        try:
            async with clock.timeout(self.timeout):
                await asyncio.shield(connection.ready)
        except TimeoutError:
            connection.stop()
            raise ToolTimeoutError(f"the MCP server {self.label!r} was not ready within {self.timeout:g} s") from None
        return connection

    @contextlib.asynccontextmanager
    async def client(self, clock: Clock) -> AsyncIterator[Client]:
        """Start it, or open its address, and end it afterwards."""
        try:
            from mcp import Client
        except ImportError as error:
            raise MissingExtraError("mcp", "MCPTools") from error
        if self.url is not None:
            async with Client(self.url) as client:
                yield client
            return
        assert self.command is not None
        if shutil.which(self.command[0], path=self._env.get("PATH")) is None:
            raise ToolError(f"the MCP server cannot be started: there is no command {self.command[0]!r:.200}")
        async with Client(stdio(self.command, self._env, clock)) as client:
            yield client

    def stop(self) -> None:
        """Let all connections end, from any thread."""
        for loop, connection in list(self._connections.items()):
            with contextlib.suppress(RuntimeError):  # that loop is closed, and with it the connection
                loop.call_soon_threadsafe(connection.stop)

    async def aclose(self) -> None:
        """End the connection of the running loop, and wait until its server has ended."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            connection.stop()
            await connection.over()
        self.stop()


class Connection:
    """One connection, kept by an asyncio task of its own: the SDK's must be left where they were entered."""

    def __init__(self, server: Server, clock: Clock) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.tools: tuple[Listed, ...] = ()
        self.name = ""
        self._client: Client | None = None
        self._stop = asyncio.Event()
        # It outlives its first caller, so it has nothing of his: neither his place in a run nor his invocation.
        self._task = loop.create_task(
            self._keep(server, clock), name=f"mcp {server.label}", context=contextvars.Context()
        )

    @property
    def ended(self) -> bool:
        """Whether it can be used no more."""
        return self._stop.is_set() or self._task.done()

    def stop(self) -> None:
        """Let it end."""
        self._stop.set()
        if not self.ready.done():
            self._task.cancel()

    async def over(self) -> None:
        """Wait until it has ended, and the server that it started."""
        await asyncio.wait([self._task])

    async def _keep(self, server: Server, clock: Clock) -> None:
        try:
            async with server.client(clock) as client:
                self.tools = await _all_tools(client)
                self.name = client.server_info.name if client.server_info is not None else ""
                self._client = client
                self.ready.set_result(None)
                cancelled = await self._until_stopped()
            if cancelled is not None:
                raise cancelled
        except asyncio.CancelledError:
            self.ready.cancel()
            raise
        except Exception as error:  # noqa: BLE001  told to whoever waits, or logged
            if self.ready.done():
                log.warning("MCP server %r: %s: %s", server.label, type(error).__name__, error)
                return
            known = error if isinstance(error, (MissingExtraError, ToolError)) else _start_error(server, error)
            self.ready.set_exception(known)
            self.ready.exception()  # perhaps nobody waits any more
        finally:
            self._stop.set()

    async def _until_stopped(self) -> asyncio.CancelledError | None:
        """Wait for the end. A loop that closes cancels; the SDK, which waits for its server to end, must not see that."""
        try:
            await self._stop.wait()
        except asyncio.CancelledError as cancelled:
            self._task.uncancel()
            return cancelled
        return None

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool. Raises ToolError, ToolTimeoutError."""
        from mcp import MCPError

        assert self._client is not None, "ready comes first"
        try:
            return await self._client.call_tool(name, arguments)
        except MCPError as error:
            if error.code == _LATE:
                raise ToolTimeoutError(f"the MCP server did not answer in time: {error}", tool=name) from error
            if error.code == _CLOSED:
                self.stop()  # the next call starts it anew
                raise ToolError(f"the MCP server ended while {name!r} ran", tool=name) from error
            raise ToolError(str(error), tool=name) from error


async def _all_tools(client: Client) -> tuple[Listed, ...]:
    found: list[Listed] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tuple(found)


def _start_error(server: Server, error: BaseException) -> ToolError:
    while isinstance(error, BaseExceptionGroup):  # task groups wrap what is wrong
        error = error.exceptions[0]
    text = f"the MCP server {server.label!r} cannot be used: {type(error).__name__}: {error}"
    return ToolError(text, note="What it printed to stderr may say more.")
