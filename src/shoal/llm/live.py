"""A real model, over pydantic-ai's model layer. Imported with the first one only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model as PaiModel

from shoal.errors import ContentFilteredError, ModelError, ModelUnavailableError
from shoal.kernel.usage import Usage
from shoal.llm.faults import CAUGHT, fault_of
from shoal.llm.model import ModelDelta, ModelReply, ModelRequest
from shoal.llm.pricing import Pricing
from shoal.llm.translate import broken_off, delta_of, messages_of, parameters_of, reply_of, settings_of

__all__ = ["Identity", "LiveModel"]


class Identity(NamedTuple):
    """Who a model is: its name, the provider and key that its calls count against, and what no text may hold."""

    name: str
    place: str
    secrets: tuple[str, ...]


class LiveModel:
    """A model of a provider, as ``shoal.llm.Model``.

    Connections belong to an event loop: each loop gets a client of its own (*first*, then *build* makes them), which is
    closed when the loop shuts its asynchronous generators down, as ``asyncio.run`` does at its end. *own*: settings of
    every call.
    """

    def __init__(
        self,
        first: PaiModel,
        build: Callable[[], PaiModel],
        identity: Identity,
        pricing: Pricing,
        own: Mapping[str, Any],
    ) -> None:
        self.name = identity.name
        self.place = identity.place
        self._identity = identity
        self._build = build
        self._pricing = pricing
        self._settings = dict(own)
        self._spare = [first]
        self._seats: dict[asyncio.AbstractEventLoop, _Seat] = {}

    def __repr__(self) -> str:
        return f"<model {self.name}>"

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process without connections: they are made anew there."""
        return {**self.__dict__, "_spare": [], "_seats": {}}

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer in whole. Raises ``ModelError`` classes only."""
        model, left_out, _ = await self._seat()
        try:
            response = await model_request(
                model,
                messages_of(request),
                model_settings=settings_of(request, self._settings, left_out),
                model_request_parameters=parameters_of(request),
            )
        except CAUGHT as error:
            fault = self._fault(error)
        else:
            return self._whole(response)
        raise fault  # outside of the handler: their error, which may quote a key, is no part of ours

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in pieces; the whole reply comes last.

        When the answer breaks off, what came of it is yielded as a reply with the finish reason ``incomplete``, and
        then the error is raised.
        """
        model, left_out, _ = await self._seat()
        fault: ModelError | None = None
        response: ModelResponse | None = None
        try:
            async with model_request_stream(
                model,
                messages_of(request),
                model_settings=settings_of(request, self._settings, left_out),
                model_request_parameters=parameters_of(request),
            ) as stream:
                try:
                    async for event in stream:
                        if (delta := delta_of(event)) is not None:
                            yield delta
                except CAUGHT as error:
                    fault = self._fault(error)
                response = stream.get()
        except CAUGHT as error:
            fault = fault or self._fault(error)
        if response is not None and fault is None and not broken_off(response):
            yield self._whole(response)
            return
        if response is not None and response.parts:
            yield reply_of(response, model=self.name, whole=False)
        raise fault or ModelUnavailableError(f"{self.name}: the answer broke off", model=self.name)

    def price(self, usage: Usage) -> int | None:
        """Return what *usage* costs in 1e-12 USD; None: not known."""
        return self._pricing.of(usage)

    def _whole(self, response: ModelResponse) -> ModelReply:
        reply = reply_of(response, model=self.name)
        if reply.finish_reason == "content_filter" and not reply.text and not reply.tool_calls:
            raise ContentFilteredError(f"{self.name}: the provider's filter refused the reply", model=self.name)
        return reply

    def _fault(self, error: BaseException) -> ModelError:
        return fault_of(error, model=self.name, secrets=self._identity.secrets)

    async def _seat(self) -> _Seat:
        loop = asyncio.get_running_loop()
        seat = self._seats.get(loop)
        if seat is None:
            for gone in [other for other in list(self._seats) if other.is_closed()]:
                self._seats.pop(gone, None)
            model = self._spare.pop() if self._spare else self._build()
            seat = self._seats[loop] = _Seat(model, _left_out(model), _keep(model, self._seats, loop))
            await anext(seat.keeper)
        return seat


class _Seat(NamedTuple):
    model: PaiModel
    left_out: frozenset[str]
    keeper: AsyncGenerator[None, None]


def _left_out(model: PaiModel) -> frozenset[str]:
    """Return the settings that need not be sent: what the model ignores, and no retries where its client makes none.

    To tell a client so with every request costs 0.4 ms: the SDK is copied for it.
    """
    client_makes_none = getattr(getattr(model, "client", None), "max_retries", None) == 0
    return frozenset(model.unsupported_settings) | ({"max_retries"} if client_makes_none else set())


async def _keep(
    model: PaiModel, seats: dict[asyncio.AbstractEventLoop, _Seat], loop: asyncio.AbstractEventLoop
) -> AsyncGenerator[None, None]:
    """Hold the model's connections open until the loop, or the one who holds this generator, is done."""
    async with model:
        try:
            yield
        finally:
            seats.pop(loop, None)
