"""A model that fails as real ones do, and does so again with the same seed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator

import msgspec

from shoal.errors import ModelRateLimitError, ModelTimeoutError, ModelUnavailableError
from shoal.kernel.usage import Usage
from shoal.llm.double import ambient_clock, pass_time
from shoal.llm.model import Model, ModelDelta, ModelReply, ModelRequest

__all__ = ["Chaos", "chaos"]

NO_TIMEOUT_SECONDS = 60.0  # how long a call that never answers takes when it has no time-out


def chaos(
    model: Model,
    seed: int,
    *,
    errors: float = 0.0,
    timeouts: float = 0.0,
    rate_limits: float = 0.0,
    malformed: float = 0.0,
    slow: float = 0.0,
) -> Chaos:
    """Return *model* with faults, which (seed, agent, ordinal, attempt) alone decide on.

    Args:
        errors: share of calls that fail as a provider does (0 to 1).
        timeouts: share that never answers: the time-out of the request passes.
        rate_limits: share that is refused, with 1 to 10 seconds to wait.
        malformed: share whose answer is cut off in the middle: text and arguments of tool calls.
        slow: share that takes 1 to 10 seconds longer.

    Raises:
        ValueError: a share is not from 0 to 1, or all together are more than 1.
    """
    shares = {
        "errors": errors, "timeouts": timeouts, "rate_limits": rate_limits, "malformed": malformed, "slow": slow
    }  # fmt: skip
    for name, share in shares.items():
        if not isinstance(share, (int, float)) or not math.isfinite(share) or not 0 <= share <= 1:
            raise ValueError(f"chaos({name}={share!r:.80}): it must be a share from 0 to 1")
    if sum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"chaos: the shares are {sum(shares.values()):g} together, more than 1")
    return Chaos(model, seed, shares)


class Chaos:
    """A model of ``chaos``."""

    def __init__(self, model: Model, seed: int, shares: dict[str, float]) -> None:
        self.name = model.name
        self._model = model
        self._seed = seed
        self._shares = shares

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer, or fail."""
        fault = await self._before(request)
        reply = await self._model.request(request)
        return _cut(reply) if fault == "malformed" else reply

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in pieces, or fail before the first."""
        fault = await self._before(request)
        if fault == "malformed":
            reply = _cut(await self._model.request(request))
            yield ModelDelta(text=reply.text)
            yield reply
            return
        async for piece in self._model.stream(request):
            yield piece

    def price(self, usage: Usage) -> int | None:
        """Return the price of the model within."""
        return self._model.price(usage)

    async def _before(self, request: ModelRequest) -> str:
        fault, drawn = self._drawn(request)
        if fault == "errors":
            raise ModelUnavailableError(f"{self.name}: chaos: the provider failed", model=self.name)
        if fault == "timeouts":
            await ambient_clock().sleep(NO_TIMEOUT_SECONDS if request.timeout is None else request.timeout)
            raise ModelTimeoutError(f"{self.name}: chaos: no answer", model=self.name)
        if fault == "rate_limits":
            wait = 1.0 + round(9.0 * drawn, 3)
            raise ModelRateLimitError(f"{self.name}: chaos: too many calls", model=self.name, retry_after=wait)
        if fault == "slow":
            await pass_time(1.0 + 9.0 * drawn, request, self.name)
        return fault

    def _drawn(self, request: ModelRequest) -> tuple[str, float]:
        """Return the fault, "" for none, and a second number from 0 to 1."""
        facts = f"{self._seed} {request.agent_name!r} {request.ordinal} {request.attempt}"
        digest = hashlib.sha256(facts.encode()).digest()
        first, second = (int.from_bytes(part, "big") / 2**64 for part in (digest[:8], digest[8:16]))
        below = 0.0
        for fault, share in self._shares.items():
            below += share
            if first < below:
                return fault, second
        return "", second


def _cut(reply: ModelReply) -> ModelReply:
    calls = tuple(
        msgspec.structs.replace(call, arguments=call.arguments[: len(call.arguments) // 2]) for call in reply.tool_calls
    )
    return msgspec.structs.replace(
        reply, text=reply.text[: len(reply.text) // 2], tool_calls=calls, finish_reason="length", state=b""
    )
