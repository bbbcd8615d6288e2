"""A program in whose run an agent streams; told so, it dies in the middle of a word: STORE RUN_ID [WORDS]."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from shoal import Agent, AgentRuntime, Usage, tool
from shoal.llm import ModelDelta, ModelReply, ModelRequest, ToolCall

WORDS = [f"word{number} " for number in range(40)]


class Talker:
    """A model that looks something up, and then talks for a second; after *words* words it kills its process."""

    name = "talker"

    def __init__(self, words: int) -> None:
        self._words = words

    async def request(self, request: ModelRequest) -> ModelReply:
        raise AssertionError("it is to be streamed")

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        used = Usage(calls=1, output_tokens=1)
        if request.ordinal == 0:
            yield ModelDelta(text="I look. ")
            yield ModelReply(text="I look. ", tool_calls=(ToolCall(call_id="1", name="look"),), usage=used)
            return
        for number, word in enumerate(WORDS, 1):
            yield ModelDelta(text=word)
            await asyncio.sleep(0.02)
            if number == self._words:
                os.kill(os.getpid(), signal.SIGKILL)
        yield ModelReply(text="".join(WORDS), usage=used)

    def price(self, usage: Usage) -> int | None:
        return 0


@tool
def look() -> str:
    """Look."""
    return "seen"


class Streaming:
    """An agent that streams where it is asked."""

    name = "Speaker"
    journaled = True

    def __init__(self, words: int) -> None:
        self._agent = Agent(name="Speaker", model=Talker(words), tools=[look])

    async def chat(self, message: str, user_id: str = "default") -> Any:
        return await self._agent.stream(message).result()


async def main(store: str, run_id: str, words: str = "0") -> None:
    async with AgentRuntime(store, config={"lease_seconds": 2}) as runtime:
        result = await runtime.run(Streaming(int(words)), "talk", run_id=run_id)
        print(result.content, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
