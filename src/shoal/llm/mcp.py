"""Tools of MCP servers."""

from __future__ import annotations

import functools
import math
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from shoal.errors import ToolError, nearest
from shoal.kernel.starting import present_clock
from shoal.llm.mcplink import Server
from shoal.llm.tools import Tool

if TYPE_CHECKING:
    from mcp.types import CallToolResult, ContentBlock
    from mcp.types import Tool as Listed

__all__ = ["MCPTools"]


class MCPTools:
    """The tools of an MCP server: in the list of an agent's tools it stands for all of them.

    The server is connected to when its tools are first needed. A command is started in a process group of its own; it ends
    with ``aclose``, with the agent, and when this process dies, however it dies, and so does all that it started.

    Args:
        command: what starts the server; it speaks on stdin and stdout.
        url: the address of a server that runs (streamable HTTP), in place of a command.
        env: of the command, beside HOME, PATH and the like, which it has in any case.
        include: the names of the tools to offer, None: all.
        exclude: the names of tools not to offer.
        timeout: seconds for one call, and for the server to be ready.
        approval: as that of ``Tool``, for each of its tools.

    Raises:
        ValueError, TypeError: an argument, its value and what is allowed.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        timeout: float = 60.0,
        approval: bool | Callable[[dict[str, Any]], bool] = False,
    ) -> None:
        _check(command, url, timeout, include, exclude)
        self._server = Server(None if command is None else tuple(command), url, env or {}, timeout)
        self._include, self._exclude = include, exclude or ()
        self._timeout = timeout
        self._approval = approval
        self._listed: tuple[Listed, ...] | None = None
        self._tools: tuple[Tool, ...] = ()
        self._name = ""
        weakref.finalize(self, self._server.stop).atexit = False  # loops end their connections by themselves

    def __repr__(self) -> str:
        return f"<MCPTools {self._server.label}>"

    @property
    def name(self) -> str:
        """The server's name, as far as it is known, in letters that the name of a tool may have."""
        plain = self._name or _name_of(self._server)
        return re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_")[:32] or "mcp"

    async def tools(self) -> tuple[Tool, ...]:
        """Return its tools, connecting to it if need be.

        Raises:
            MissingExtraError: the extra ``mcp`` is not installed. ToolError: it does not start or answer, or *include*
                names a tool that it does not have.
        """
        connection = await self._server.connected(present_clock())
        if connection.tools is not self._listed:
            self._name = connection.name
            self._tools = tuple(self._tool(each) for each in self._offered(connection.tools))
            self._listed = connection.tools
        return self._tools

    def _offered(self, listed: tuple[Listed, ...]) -> list[Listed]:
        names = [each.name for each in listed]
        for name in self._include or ():
            if name not in names:
                known = ", ".join(names)
                raise ToolError(f"{self!r} has no tool {name!r:.80}{nearest(name, names)}; it has: {known}", tool=name)
        wanted = names if self._include is None else self._include
        return [each for each in listed if each.name in wanted and each.name not in self._exclude]

    def _tool(self, listed: Listed) -> Tool:
        hints = listed.annotations
        destructive = hints is not None and hints.destructive_hint is True
        return Tool(
            functools.partial(_call, self._server, listed.name),
            name=re.sub(r"[^A-Za-z0-9_-]+", "_", listed.name)[:64] or "tool",
            description=listed.description or "",
            parameters=dict(listed.input_schema),
            timeout=self._timeout,
            effect="once" if destructive else "repeat",
            approval=self._approval,
        )

    async def aclose(self) -> None:
        """End the connection, and the server if it was started here. It is started anew when it is needed again."""
        await self._server.aclose()


async def _call(server: Server, tool_name: str, /, **arguments: Any) -> str:
    connection = await server.connected(present_clock())
    result = await connection.call(tool_name, arguments)
    text = _text_of(result)
    if result.is_error:
        raise ToolError(text or "it failed and did not say why", tool=tool_name)
    return text


def _text_of(result: CallToolResult) -> str:
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return "\n".join(parts)


def _part(block: ContentBlock) -> str:
    match block.type:
        case "text":
            return block.text
        case "resource_link":
            return f"[{block.name}: {block.uri}]"
        case "resource":
            text = getattr(block.resource, "text", None)
            return text if isinstance(text, str) else f"[{block.resource.uri}: binary]"
        case _:
            return f"[{block.type}: {block.mime_type}, {len(block.data) * 3 // 4} bytes]"


def _name_of(server: Server) -> str:
    if server.url is not None:
        return urlsplit(server.url).hostname or ""
    return PurePath((server.command or ("",))[-1]).stem


def _check(command: object, url: object, timeout: object, include: object, exclude: object) -> None:
    if (command is None) == (url is None):
        raise ValueError("MCPTools needs command=[...] or url=..., one of the two")
    if command is not None and (
        isinstance(command, str)
        or not isinstance(command, Sequence)
        or not command
        or not all(isinstance(word, str) for word in command)
    ):
        raise TypeError(f"MCPTools(command={command!r:.80}): it must be a list of words, such as ['uvx', 'server']")
    if url is not None and not (isinstance(url, str) and urlsplit(url).scheme in ("http", "https")):
        raise ValueError(f"MCPTools(url={url!r:.80}): it must begin with http:// or https://")
    good = isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and math.isfinite(timeout)
    if not good or not isinstance(timeout, (int, float)) or timeout <= 0:
        raise ValueError(f"MCPTools(timeout={timeout!r:.80}): it must be a number of seconds above 0")
    for field, names in (("include", include), ("exclude", exclude)):
        if isinstance(names, str) or (names is not None and not isinstance(names, Sequence)):
            raise TypeError(f"MCPTools({field}={names!r:.80}): it must be a list of names")
