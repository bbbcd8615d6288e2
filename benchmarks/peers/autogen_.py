"""autogen-core's SingleThreadedAgentRuntime."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    TopicId,
    TypeSubscription,
    message_handler,
)

from benchmarks.common import run

__all__ = ["Echo", "Said", "messages", "publish"]


@dataclass
class Said:
    """A message with a number or a text."""

    value: int | str


class Echo(RoutedAgent):
    """Answers with what it was asked."""

    @message_handler
    async def on_said(self, message: Said, ctx: MessageContext) -> Said:
        """Return the question."""
        return message


def messages(count: int) -> dict[str, float]:
    """Return questions a second and what one takes."""
    return run(_messages(count))


async def _messages(count: int) -> dict[str, float]:
    runtime = SingleThreadedAgentRuntime()
    await Echo.register(runtime, "echo", lambda: Echo("echo"))
    runtime.start()
    echo = AgentId("echo", "default")
    for number in range(count // 10):
        await runtime.send_message(Said(number), echo)
    begun = time.perf_counter()
    for number in range(count):
        await runtime.send_message(Said(number), echo)
    seconds = time.perf_counter() - begun
    await runtime.stop()
    return {"per_s": count / seconds, "us": seconds / count * 1e6}


def publish(count: int, subscribers: int) -> dict[str, float]:
    """Return deliveries a second, until every handler has run."""
    return run(_publish(count, subscribers))


async def _publish(count: int, subscribers: int) -> dict[str, float]:
    heard = 0
    all_made, all_heard = asyncio.Event(), asyncio.Event()

    class Listener(RoutedAgent):
        @message_handler
        async def on_said(self, message: Said, ctx: MessageContext) -> None:
            nonlocal heard
            heard += 1
            if heard == subscribers:
                all_made.set()
            if heard == (count + 1) * subscribers:
                all_heard.set()

    runtime = SingleThreadedAgentRuntime()
    for number in range(subscribers):
        await Listener.register(runtime, f"listener-{number}", lambda: Listener("listener"))
        await runtime.add_subscription(TypeSubscription("news", f"listener-{number}"))
    runtime.start()
    await runtime.publish_message(Said(0), TopicId("news", "default"))  # the agents are made by their first message
    await all_made.wait()
    begun = time.perf_counter()
    for number in range(count):
        await runtime.publish_message(Said(number), TopicId("news", "default"))
    await all_heard.wait()
    seconds = time.perf_counter() - begun
    await runtime.stop()
    return {"per_s": count * subscribers / seconds}
