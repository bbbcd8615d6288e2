"""Uses an MCP server that starts processes, says their ids, and waits: ``python mcp_parent.py SERVER MODE``.

MODE ``own``: what the server starts has a session of its own; ``stubborn``: it stands behind a shell that goes on when the
server has ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from shoal.kernel.starting import live_in_memory
from shoal.llm import ToolCall
from shoal.llm.mcp import MCPTools
from shoal.llm.toolbox import Toolbox


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


async def main() -> None:
    command = [sys.executable, sys.argv[1]]
    if sys.argv[2] == "stubborn":
        command = ["sh", "-c", '"$0" "$1"; sleep 1000', *command]
    box = Toolbox([MCPTools(command)])
    await box.open()
    scope = live_in_memory("test").root
    own = json.dumps({"own_session": sys.argv[2] == "own"})
    pid = await box.run(ToolCall(call_id="1", name="pid"), scope=scope, segment="a")
    children = await box.run(ToolCall(call_id="2", name="children", arguments=own), scope=scope, segment="b")
    above = [int(pid.content)]
    while (parent := parent_of(above[-1])) != os.getpid():
        above.append(parent)
    groups = {os.getpgid(each) for each in above}
    print(json.dumps([*above, *map(int, children.content.split())]), flush=True)
    print(json.dumps([os.getpgid(0) not in groups, len(groups) == 1]), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
