"""The calls of models that one chat makes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from shoal.kernel.fences import WINDOW_CHARS, cut_fenced
from shoal.kernel.run import RunEventType
from shoal.llm.caller import Caller, Prompt
from shoal.llm.model import ModelReply
from shoal.llm.modelcall import ModelCall
from shoal.llm.retrying import Attempt, Pace, with_retries

__all__ = ["ModelCalls"]


class ModelCalls:
    """The model calls of one chat.

    Args:
        caller: that chat.
        ordinal: counts the agent's calls in the run.

    Attributes:
        attempts: all that were made, in order.
        last_step: the key of the last of them.
    """

    def __init__(self, caller: Caller, ordinal: Callable[[], int]) -> None:
        self._caller = caller
        self._ordinal = ordinal
        self._numbers: dict[str, int] = {}
        self.attempts: list[Attempt] = []
        self.last_step = ""

    async def ask(self, prompt: Prompt, segment: str = "model") -> ModelReply:
        """Return the reply to *prompt*. Raises what the last attempt raised, and what ``Scope.step`` does."""
        calling, scope, _, listener = self._caller
        number = self._numbers[segment] = self._numbers.get(segment, 0) + 1
        prompt = self._fitting(prompt)
        call = ModelCall(self._caller, prompt, f"{segment}{number}", self._ordinal())
        seed = f"{scope.run.record.seed} {scope.key(call.segment)}"
        pace = Pace(scope.run.clock, _Chance(seed), calling.gate, call.known)
        reply = await with_retries(
            call.attempt, models=calling.models, retries=calling.retries, pace=pace, on_attempt=self.attempts.append
        )
        self.last_step = call.step
        if listener is not None:
            listener.replied(reply)
        return reply

    def _fitting(self, prompt: Prompt) -> Prompt:
        """Cut what others wrote, when it is too much for the model."""
        texts = [message.content for message in prompt.messages]
        room = WINDOW_CHARS - len(prompt.system)
        if sum(map(len, texts)) <= room:
            return prompt
        cut = cut_fenced(texts, room)
        if not cut.left_out:
            return prompt
        self._caller.scope.tell(RunEventType.CONTEXT_CUT, self._caller.calling.agent_name, left_out=cut.left_out)
        pairs = zip(prompt.messages, cut.texts, strict=True)
        return prompt._replace(messages=[msgspec.structs.replace(message, content=text) for message, text in pairs])


class _Chance:
    """Chance that follows from the run's seed and the place alone, not from who drew before."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._drawn = 0

    def random(self) -> float:
        self._drawn += 1
        digest = hashlib.sha256(f"{self._seed} {self._drawn}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:6], "big") / 2.0**48
