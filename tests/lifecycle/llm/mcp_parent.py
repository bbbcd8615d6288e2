"""Uses an MCP server that starts processes, says their ids, and waits: ``python mcp_parent.py SERVER SAME|OWN``."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from shoal.kernel.starting import live_in_memory
from shoal.llm import ToolCall
from shoal.llm.mcp import MCPTools
from shoal.llm.toolbox import Toolbox


async def main() -> None:
    box = Toolbox([MCPTools([sys.executable, sys.argv[1]])])
    await box.open()
    scope = live_in_memory("test").root
    own = json.dumps({"own_session": sys.argv[2] == "OWN"})
    pid = await box.run(ToolCall(call_id="1", name="pid"), scope=scope, segment="a")
    children = await box.run(ToolCall(call_id="2", name="children", arguments=own), scope=scope, segment="b")
    server = int(pid.content)
    with open(f"/proc/{server}/stat") as file:
        guard = int(file.read().rpartition(")")[2].split()[1])
    groups = [os.getpgid(server), os.getpgid(guard)]
    print(json.dumps([guard, server, *map(int, children.content.split())]), flush=True)
    print(json.dumps([os.getpgid(0) not in groups, len(set(groups)) == 1]), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
