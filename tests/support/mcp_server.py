"""An MCP server of the SDK's own kind, with tools of every temper: ``python mcp_server.py [http PORT]``."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

server = MCPServer("shelf", log_level="ERROR")


@server.tool()
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@server.tool(name="look.up")
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} in {os.environ.get('SHELF', 'no shelf')}"


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def burn(book: str) -> str:
    """Burn a book."""
    return f"{book} burnt"


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("no such book")


@server.tool()
async def slow(seconds: float) -> str:
    """Take a while."""
    await asyncio.sleep(seconds)
    return "at last"


@server.tool()
def pid() -> int:
    """Tell the process id."""
    return os.getpid()


@server.tool()
def children(own_session: bool = False) -> list[int]:
    """Start a child that starts one of its own, and return both."""
    script = "import subprocess,time; print(subprocess.Popen(['sleep', '1000']).pid, flush=True); time.sleep(1000)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=own_session)
    assert child.stdout is not None
    return [child.pid, int(child.stdout.readline())]


@server.tool()
def die() -> str:
    """End the server at once."""
    os._exit(9)


if __name__ == "__main__":
    if sys.argv[1:2] == ["http"]:
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run("stdio")
