"""A node that handles durable mail until it is killed: ``python mail_rounds.py FILE DIARY``.

The diary, a file written with one call a line, survives what the node forgets: ``begin N`` before a message is handled.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from shoal import AgentRuntime, BaseAgent


class Clerk(BaseAgent):
    async def on_message(self, message: Any) -> None:
        os.write(DIARY, f"{message.data} {message.message_id}\n".encode())
        await asyncio.sleep(0.001)


async def main(file: str) -> None:
    async with AgentRuntime(file, config={"durability": "normal", "poll_seconds": 0.1}) as runtime:
        await runtime.register_agent("clerk", Clerk)
        await runtime.start_agent("clerk")
        print("true", flush=True)
        await asyncio.sleep(600)


if __name__ == "__main__":
    DIARY = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    asyncio.run(main(sys.argv[1]))
