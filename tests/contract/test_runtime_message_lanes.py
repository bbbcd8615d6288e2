"""Several messages at once: as many handlers as were asked for, begun in order, answers never crossed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal.errors import ConfigError
from shoal.kernel.message import AgentMessage
from shoal.runtime import AgentRuntime

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class Busy:
    def __init__(self, config: dict[str, Any]) -> None:
        self.at_work = 0
        self.most = 0
        self.begun: list[int] = []

    async def on_message(self, message: AgentMessage) -> Any:
        if message.message_type == "look":
            return {"most": self.most, "begun": self.begun}
        self.begun.append(message.data)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await asyncio.sleep(0.002 * (1 + message.data % 3))
        self.at_work -= 1
        return message.data


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
@pytest.mark.parametrize("most", [1, 4])
def test_as_many_at_once_as_were_asked_for(store_url: str, run: Run, isolation: Any, most: int) -> None:
    async def main() -> None:
        async with AgentRuntime(store=store_url) as runtime:
            agent = await runtime.register_agent("busy", Busy, isolation=isolation, max_concurrent_messages=most)
            await runtime.start_agent(agent)
            ask = runtime.mail.asking.request
            asked = [ask(None, "busy", "work", number, 10.0) for number in range(30)]
            answers = await asyncio.gather(*asked)
            assert [answer.data for answer in answers] == list(range(30))
            seen = (await ask(None, "busy", "look", None, 10.0)).data
            assert seen == {"most": most, "begun": list(range(30))}

    run(main)


def test_a_number_below_one_is_refused(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with AgentRuntime(store=store_url) as runtime:
            with pytest.raises(ConfigError, match="max_concurrent_messages must be a whole number from 1, not 0"):
                await runtime.register_agent("busy", Busy, max_concurrent_messages=0)

    run(main)
