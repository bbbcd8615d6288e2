"""What the doubles of models have in common: they answer at once or after a while, in whole or in pieces."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from shoal.errors import ModelTimeoutError
from shoal.kernel.ambient import current_ambient
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock
from shoal.kernel.usage import Usage
from shoal.llm.model import ModelDelta, ModelReply, ModelRequest

__all__ = ["Double", "ambient_clock", "counted", "in_pieces", "pass_time"]

BYTES_PER_TOKEN = 4


class Double:
    """A model that needs no provider. What it says depends on the request alone."""

    name = "double"

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer in whole."""
        raise NotImplementedError

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in pieces, word by word; the whole reply comes last."""
        reply = await self.request(request)
        for delta in in_pieces(reply):
            yield delta
        yield reply

    def price(self, usage: Usage) -> int | None:
        """Return 0: it is free."""
        return 0


def in_pieces(reply: ModelReply) -> list[ModelDelta]:
    """Return a reply word by word, and the tool calls that it begins."""
    words = [ModelDelta(text=word) for word in re.findall(r"\s*\S+\s*$|\s*\S+|\s+", reply.text)]
    return words + [ModelDelta(tool_call=call) for call in reply.tool_calls]


def counted(request: ModelRequest, reply: ModelReply) -> Usage:
    """Return a usage as a provider would count it: a token is four bytes, never more than may be answered."""
    asked = len(request.system.encode()) + sum(len(message.content.encode()) for message in request.messages)
    said = len(reply.text.encode()) + sum(len(call.name) + len(call.arguments.encode()) for call in reply.tool_calls)
    answered = max(1, said // BYTES_PER_TOKEN)
    if request.max_tokens is not None:
        answered = min(answered, request.max_tokens)
    return Usage(calls=1, input_tokens=asked // BYTES_PER_TOKEN, output_tokens=answered)


async def pass_time(seconds: float, request: ModelRequest, name: str) -> None:
    """Let *seconds* pass on the clock of the runtime around, or on the real one; no longer than the request's time-out."""
    if request.timeout is not None and seconds > request.timeout:
        await ambient_clock().sleep(request.timeout)
        raise ModelTimeoutError(f"{name}: no answer within {request.timeout:g} s", model=name)
    if seconds > 0:
        await ambient_clock().sleep(seconds)


def ambient_clock() -> Clock:
    """Return the clock of the runtime that this code is part of, or else a real one."""
    ambient = current_ambient.get()
    return RealClock() if ambient is None else ambient.clock
