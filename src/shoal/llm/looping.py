"""Tool calls that go in circles: refused to the model, and when it does not listen, the end of the chat."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shoal.errors import LoopDetectedError
from shoal.kernel.asking_people import canonical
from shoal.kernel.budget import LoopLimits
from shoal.llm.model import ToolCall

__all__ = ["LoopGuard"]


class LoopGuard:
    """Counts the tool calls of one chat."""

    def __init__(self, limits: LoopLimits) -> None:
        self._limits = limits
        self._same: dict[tuple[str, bytes], int] = {}
        self._calls = 0

    def refusals(self, calls: Sequence[ToolCall]) -> list[str | None]:
        """Return for each call of one reply why it is refused, None: it may be run.

        Raises:
            LoopDetectedError: the chat ends, and no call of this reply is run.
        """
        return [self._refusal(number, call) for number, call in enumerate(calls)]

    def _refusal(self, number: int, call: ToolCall) -> str | None:
        limits = self._limits
        if number >= limits.max_tool_calls_per_reply:
            return (
                f"at most {limits.max_tool_calls_per_reply} tool calls are run of one reply; ask again for the others"
            )
        what = (call.name, _sorted(call.arguments))
        times = self._same[what] = self._same.get(what, 0) + 1
        if times > limits.max_same_call + 1:
            raise LoopDetectedError("same_call", f"{call.name}({call.arguments}) was called {times} times")
        if times > limits.max_same_call:
            return (
                f"{call.name} was called with these arguments {times - 1} times: use what it said, or do something else"
            )
        self._calls += 1
        if self._calls > limits.max_tool_calls:
            raise LoopDetectedError(
                "tool_calls", f"{self._calls} tool calls in one chat, the last {call.name}({call.arguments})"
            )
        return None


def _sorted(arguments: str) -> bytes:
    """Return arguments so that equal ones are equal, however they were written."""
    try:
        return canonical(msgspec.json.decode(arguments or "{}"))
    except (msgspec.DecodeError, UnicodeError):
        return arguments.encode("utf-8", "surrogatepass")
