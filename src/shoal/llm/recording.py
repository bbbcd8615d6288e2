"""A model that answers from a cassette."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec

from shoal.errors import CassetteError, CassetteMissError
from shoal.kernel.usage import Usage
from shoal.llm.cassette import Cassette, Line, StepLine, common_length, first_difference, line_of
from shoal.llm.digests import prompt_digest
from shoal.llm.double import in_pieces
from shoal.llm.model import Model, ModelDelta, ModelReply, ModelRequest

__all__ = ["Recorded", "recorded"]

Mode = Literal["auto", "replay", "record"]
MODES = ("auto", "replay", "record")


def recorded(path: str | os.PathLike[str], model: Model | None = None, mode: Mode = "auto") -> Recorded:
    """Return a model that gives the recorded replies of a cassette, and records those of *model*.

    A request is found by what is asked (``shoal.llm.cassette.canonical``) and how often the same was asked before. Only
    whole replies are recorded; a call that failed is not.

    Args:
        path: the cassette, a file of JSON lines.
        model: who answers what is not recorded yet.
        mode: ``replay`` never calls out, a miss is CassetteMissError; ``record`` always calls out, and replaces what
            was recorded for the same request; ``auto`` replays what is there and records the rest.

    Raises:
        CassetteError: the file cannot be read, a line of it is damaged, or it is not there and nothing could be recorded.
        ValueError: no such mode, or ``record`` without a model.
    """
    if mode not in MODES:
        raise ValueError(f"recorded(mode={mode!r:.80}): it must be 'auto', 'replay' or 'record'")
    if mode == "record" and model is None:
        raise ValueError("recorded(mode='record') needs the model to record")
    cassette = Cassette(path)
    if not cassette.lines and not cassette.steps and (model is None or mode == "replay") and not cassette.path.exists():
        raise CassetteError(f"cassette {str(path)!r} is not there", path=str(path))
    return Recorded(cassette, None if mode == "replay" else model, anew=mode == "record")


class Recorded:
    """A model of ``recorded``."""

    def __init__(self, cassette: Cassette, model: Model | None, *, anew: bool) -> None:
        self.name = model.name if model is not None else f"recorded:{cassette.path.name}"
        self._cassette = cassette
        self._model = model
        self._anew = anew
        self._taken: dict[str, set[int]] = {}  # the repetition numbers that are given, or being asked for

    async def request(self, request: ModelRequest) -> ModelReply:
        """Give the recorded reply, or ask and record."""
        known = self._take(request)
        if known is not None:
            return known
        begun = self._begin(request)
        ended: ModelReply | None = None
        try:
            reply = ended = await self._asked_model.request(request)
        finally:
            self._end(begun, ended)
        return reply

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Give the recorded reply in pieces, or ask for pieces and record the whole."""
        known = self._take(request)
        if known is not None:
            for delta in in_pieces(known):
                yield delta
            yield known
            return
        begun = self._begin(request)
        reply: ModelReply | None = None
        try:
            async for piece in self._asked_model.stream(request):
                if isinstance(piece, ModelReply) and piece.finish_reason != "incomplete":
                    reply = piece
                else:
                    yield piece
        finally:
            self._end(begun, reply)
        if reply is not None:
            yield reply

    def price(self, usage: Usage) -> int | None:
        """Return the price as the model has it, else as it was recorded.

        What was not recorded like that is priced by the dearest of the recorded calls, which makes a bound for budgets.
        """
        if self._model is not None:
            return self._model.price(usage)
        lines: list[Line | StepLine] = [*self._cassette.lines.values(), *self._cassette.steps.values()]
        known = [(line.reply.usage, line.price) for line in lines if line.reply.usage]
        if not known or any(price is None for _, price in known):
            return None
        prices = [(told, price) for told, price in known if price is not None]
        for told, price in prices:
            if _tokens(told) == _tokens(usage):
                return price
        return max(-(-price * max(1, usage.tokens) // max(1, told.tokens)) for told, price in prices)

    def _take(self, request: ModelRequest) -> ModelReply | None:
        """Return the reply that is due, its number taken; None: the model is to be asked."""
        if self._anew:
            return None
        of_run = self._take_of_run(request)
        if of_run is not None:
            return of_run
        sha256 = line_of(request, ModelReply()).sha256
        n = self._next(sha256)
        line = self._cassette.lines.get((sha256, n))
        if line is not None:
            self._taken.setdefault(sha256, set()).add(n)
        elif self._model is None:
            raise self._miss(request, sha256, n)
        return None if line is None else line.reply

    def _take_of_run(self, request: ModelRequest) -> ModelReply | None:
        """Return the reply that is due of an exported run."""
        if not self._cassette.steps:
            return None
        step = prompt_digest(request.system, request.messages, request.tools, request.output_schema)
        key = f"{request.agent_name}/{step}"
        n = self._next(key)
        line = self._cassette.steps.get((request.agent_name, step, n))
        if line is None:
            return None
        self._taken.setdefault(key, set()).add(n)
        return line.reply

    def _next(self, sha256: str) -> int:
        taken = self._taken.get(sha256, set())
        return next(n for n in range(len(taken) + 1) if n not in taken)

    @property
    def _asked_model(self) -> Model:
        assert self._model is not None
        return self._model

    def _begin(self, request: ModelRequest) -> Line:
        line = line_of(request, ModelReply())
        n = self._next(line.sha256)
        self._taken.setdefault(line.sha256, set()).add(n)
        return msgspec.structs.replace(line, n=n)

    def _end(self, begun: Line, reply: ModelReply | None) -> None:
        """Record the reply; a call that failed gives its number back, for the next attempt is the same call."""
        if reply is None:
            self._taken[begun.sha256].discard(begun.n)
            return
        price = None if reply.usage is None else self._asked_model.price(reply.usage)
        self._cassette.add([msgspec.structs.replace(begun, reply=reply, price=price)])

    def _miss(self, request: ModelRequest, sha256: str, n: int) -> CassetteMissError:
        path = str(self._cassette.path)
        who = f"cassette {path!r} has no reply to call {request.ordinal} of {request.agent_name!r:.200}"
        if n:
            return CassetteMissError(f"{who}: the same was asked {n + 1} times, and is recorded {n} times", path=path)
        now = line_of(request, ModelReply()).request
        text = _text(now)
        lines = self._cassette.lines.values()
        nearest = max(lines, key=lambda line: common_length(_text(line.request), text), default=None)
        if nearest is None:
            why = "its prompt is another one than in the run" if self._cassette.steps else "it is empty"
            return CassetteMissError(f"{who}: {why}", path=path)
        told = first_difference(nearest.request, now)
        return CassetteMissError(f"{who}; the first difference to the nearest request: {told}", path=path)


def _text(asked: dict[str, Any]) -> str:
    return msgspec.json.encode(asked, order="sorted").decode()


def _tokens(usage: Usage) -> tuple[int, ...]:
    return usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens
