"""One call of a model: every attempt is a step of the run, with its money reserved before."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from shoal.errors import ModelError, ModelTimeoutError, ModelUnavailableError
from shoal.kernel.budget import Need
from shoal.kernel.run import RunEventType
from shoal.kernel.scope import StepOrder, Ticket
from shoal.kernel.usage import Usage
from shoal.llm.caller import Caller, Prompt
from shoal.llm.digests import prompt_digest
from shoal.llm.memory import size_of
from shoal.llm.model import Model, ModelReply, ModelRequest
from shoal.llm.pricing import need_of
from shoal.llm.replies import sound_reply, sound_text

__all__ = ["ModelCall"]

BYTES_PER_TOKEN = 2  # an upper bound of tokens: no tokenizer makes more of a text
TOKENS_PER_MESSAGE = 8

_encode = msgspec.json.Encoder().encode


class ModelCall:
    """One call, with all its attempts.

    Attributes:
        segment: its place below that of the chat.
        step: the key of the last attempt.
    """

    def __init__(self, caller: Caller, prompt: Prompt, segment: str, ordinal: int) -> None:
        self._caller = caller
        self._scope = caller.scope
        self._calling = caller.calling
        self.step = ""
        self._prompt = prompt
        self.segment = segment
        self._ordinal = ordinal
        self._messages = tuple(prompt.messages)
        self._digest = prompt_digest(prompt.system, self._messages, tuple(prompt.tools), prompt.output)
        self._heard = False  # something of the present attempt came already
        self._reply: ModelReply | None = None

    def known(self, number: int) -> bool:
        """Tell whether an attempt is on record."""
        return self._scope.recorded(self._segment(number)) is not None

    def _segment(self, number: int) -> str:
        return self.segment if number == 1 else f"{self.segment}.{number}"

    async def attempt(self, model: Model, number: int) -> ModelReply:
        """Make one attempt, as a step."""
        segment = self._segment(number)
        order = StepOrder(
            segment=segment,
            kind="model",
            agent_name=self._calling.agent_name,
            digest=self._digest,
            need=self._need(model),
            note={"model": model.name} if number == 1 else {"model": model.name, "attempt": number},
        )
        self.step = self._scope.key(segment)

        async def do(ticket: Ticket) -> Any:
            chosen = self._calling.cheap if ticket.cheap and self._calling.cheap is not None else model
            self._reply = await self._made(chosen, ticket, number)
            return msgspec.to_builtins(self._reply)

        self._reply = None
        step = await self._scope.step(order, do)
        return self._reply if self._reply is not None else msgspec.convert(step.output, ModelReply)

    def _need(self, model: Model) -> Need:
        most = self._calling.max_tokens
        if self._scope.account is None:
            return Need(output_tokens=most)
        return need_of(model, input_tokens=self._input_bound(), output_tokens=most)

    def _input_bound(self) -> int:
        prompt = self._prompt
        size = len(prompt.system.encode("utf-8", "surrogatepass")) + sum(map(size_of, self._messages))
        size += len(_encode(prompt.tools)) + (0 if prompt.output is None else len(_encode(prompt.output)))
        return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * (1 + len(self._messages))

    async def _made(self, model: Model, ticket: Ticket, number: int) -> ModelReply:
        calling = self._calling
        seconds = self._seconds()
        request = ModelRequest(
            system=self._prompt.system,
            messages=self._messages,
            tools=self._prompt.tools,
            output_schema=self._prompt.output,
            temperature=calling.temperature,
            max_tokens=ticket.output_tokens or calling.max_tokens,
            timeout=seconds,
            key=f"{self._scope.run.run_id}/{self._scope.key(self.segment)}",
            agent_name=calling.agent_name,
            ordinal=self._ordinal,
            attempt=number,
            settings=dict(calling.settings),
        )
        self._heard = False
        try:
            async with self._scope.run.clock.timeout(seconds):
                reply = sound_reply(await self._answer(model, request), model.name)
        except Exception as error:
            late = isinstance(error, TimeoutError)
            self._failed(ticket, seen=not late and not self._heard)
            if late and not isinstance(error, ModelError):
                raise ModelTimeoutError(f"{model.name}: no answer within {seconds:g} s", model=model.name) from None
            raise
        if reply.usage is None:
            self._lose(ticket)
        else:
            ticket.usage = _priced(model, reply.usage)
        return reply

    def _seconds(self) -> float:
        if self._scope.account is None:
            return self._calling.timeout
        left = self._scope.run.spending.seconds_left(self._scope)
        return self._calling.timeout if left is None else min(left, self._calling.timeout)

    def _failed(self, ticket: Ticket, *, seen: bool) -> None:
        if seen:
            ticket.usage = Usage(calls=1)
        else:
            self._lose(ticket)
        if self._heard and self._caller.listener is not None:
            self._caller.listener.broken_off()

    def _lose(self, ticket: Ticket) -> None:
        """Nobody knows what it cost: what was reserved is lost, which the run counts."""
        ticket.unseen = True
        ticket.usage = Usage(calls=1, lost_calls=0 if self._scope.account is not None else 1)

    async def _answer(self, model: Model, request: ModelRequest) -> ModelReply:
        if not self._caller.tokens and self._caller.listener is None:
            return await model.request(request)
        try:
            return await self._streamed(model, request)
        except asyncio.CancelledError:
            listener = self._caller.listener
            text = None if listener is None else listener.cancelled()
            if text is None:
                raise
            return ModelReply(text=text, model=model.name, finish_reason="cancelled")

    async def _streamed(self, model: Model, request: ModelRequest) -> ModelReply:
        reply: ModelReply | None = None
        pieces = model.stream(request)
        try:
            async for piece in pieces:
                if isinstance(piece, ModelReply):
                    reply = piece
                elif piece.text:
                    self._tell(piece.text, request.attempt)
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
        if reply is None:
            raise ModelUnavailableError(f"{model.name}: the stream ended without a reply", model=model.name)
        return reply

    def _tell(self, piece: str, attempt: int) -> None:
        self._heard = True
        piece = sound_text(piece)
        if self._caller.listener is not None:
            self._caller.listener.text(piece)
        if self._caller.tokens:
            data: dict[str, Any] = {"text": piece}
            if attempt > 1:
                data["attempt"] = attempt
            self._scope.run.feed.tell(self.step, RunEventType.TEXT, self._calling.agent_name, data)


def _priced(model: Model, usage: Usage) -> Usage:
    cost = model.price(usage)
    if cost is None or cost < 0:
        return msgspec.structs.replace(usage, calls=1, unpriced_calls=1)
    return msgspec.structs.replace(usage, calls=1, cost_pico=cost)
