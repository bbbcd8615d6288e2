"""A node that is killed while a message handler of its is held: ``python held_node.py FILE``. It says when."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from shoal import AgentRuntime, BaseAgent


class Slow(BaseAgent):
    """Notes each message that it has handled to the end, in the shared store."""

    async def on_message(self, message: Any) -> None:
        await self.context.shared.set("begun", message.data)
        await asyncio.sleep(0.05)
        await self.context.shared.update("handled", lambda done: [*done, message.data], [])


async def main(file: str) -> None:
    """Pause while the first of five messages is being handled, then wait to be killed."""
    async with AgentRuntime(file) as runtime:
        await runtime.register_agent("slow", Slow)
        await runtime.start_agent("slow")
        for number in range(5):
            await runtime.send_message(["slow"], "note", number)
        while await runtime.shared.get("begun") is None:
            await asyncio.sleep(0.001)
        await runtime.pause_agent("slow")
        print(json.dumps({"handled": await runtime.shared.get("handled", [])}), flush=True)
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
