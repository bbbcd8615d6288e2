"""A node whose agent dies of one message, and its node with it: ``python deadly_node.py STORE DIARY``.

Its agent ``clerk`` handles mail; ``slow`` is at one message until the clerk has no more; ``shelf`` has a mailbox, and only a
task looks into it. The diary, a file written with one call a line, survives what the node forgets. It ends when all mail is
handled, and says what the shelf has.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from shoal import AgentRuntime, BaseAgent, Task

POISON = 9
"""What a node ends with that died of a message."""

AT_WORK, CLERK_IS_DONE = asyncio.Event(), asyncio.Event()


class Clerk(BaseAgent):
    async def on_message(self, message: Any) -> None:
        os.write(DIARY, f"{message.data}\n".encode())
        if message.data == "poison":
            os._exit(POISON)


class Slow(BaseAgent):
    async def on_message(self, message: Any) -> None:
        AT_WORK.set()
        await CLERK_IS_DONE.wait()


class Shelf(BaseAgent):
    async def execute_task(self, task: Task) -> list[Any]:
        return [[message.data, message.delivery_count] for message in await self.context.receive_messages()]


async def main(store: str, bus: str) -> None:
    async with AgentRuntime(store=store, bus=bus or None, config={"poll_seconds": 0.1}) as runtime:
        shelf = await runtime.register_agent("shelf", Shelf)
        await runtime.start_agent(shelf)
        while runtime.get_agent_status("shelf").mailbox_size < 3:  # it has them in its mailbox, and does not look
            await asyncio.sleep(0.01)
        await runtime.start_agent(await runtime.register_agent("slow", Slow))
        await AT_WORK.wait()
        await runtime.start_agent(await runtime.register_agent("clerk", Clerk))
        while len(runtime.query_events("message_received")) < 4:
            await asyncio.sleep(0.01)
        CLERK_IS_DONE.set()
        while len(runtime.query_events("message_received")) < 5:
            await asyncio.sleep(0.01)
        kept = await runtime.wait_for_task(await runtime.submit_task("look", agent="shelf"))
        print(json.dumps(kept.result()), flush=True)


if __name__ == "__main__":
    DIARY = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    asyncio.run(main(sys.argv[1], sys.argv[3]))
