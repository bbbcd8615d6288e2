"""What an answer tells while it comes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec

from shoal.kernel.feed import Feed
from shoal.kernel.run import RunEvent, StepFailure
from shoal.llm.model import ModelReply
from shoal.llm.results import ChatResult, StreamEvent, StreamKind
from shoal.llm.tools import ToolRecord

__all__ = ["Telling", "stream_event"]


def stream_event(event: RunEvent) -> StreamEvent:
    """Return an event of a stream's feed as what its readers get."""
    data = {name: value for name, value in event.data.items() if name not in ("attempt", "text")}
    kind = cast(StreamKind, event.type)  # the feed of a stream holds no other
    text = event.data.get("text", "")
    return StreamEvent(offset=event.offset, attempt=event.data.get("attempt", 1), kind=kind, text=text, data=data)


class Telling:
    """What an answer tells while it comes (``Listener``).

    When an attempt counts no more, ``restart`` says so, and what stands from before is told again with the new attempt: the
    text of an attempt is always the whole text so far.

    Args:
        feed: where it is told.
        past: what an earlier life of the process told.
    """

    def __init__(self, feed: Feed, agent_name: str, past: list[RunEvent]) -> None:
        self._feed = feed
        self._agent_name = agent_name
        self._attempt = 1
        self._whole: list[tuple[str, dict[str, Any]]] = []  # what stands, whatever becomes of the present call
        self._present = ""
        self._cancelled = False
        self.over = bool(past) and past[-1].type == "done"  # told to its end before: nothing is told again
        if past and not self.over:
            self._attempt = past[-1].data.get("attempt", 1)
            self._restart()

    def cancel(self) -> None:
        """Somebody wants no more."""
        self._cancelled = True

    def cancelled(self) -> str | None:
        """Return the text so far if somebody wants no more; the cancellation that tells of it is used up then."""
        if not self._cancelled:
            return None
        self._cancelled = False
        mine = asyncio.current_task()
        if mine is not None:
            mine.uncancel()
        return self._present

    def text(self, piece: str) -> None:
        """More text came."""
        self._present += piece
        self._tell("text", {"text": piece})

    def broken_off(self) -> None:
        """What came of the present call counts no more."""
        self._restart()

    def replied(self, reply: ModelReply) -> None:
        """A reply is there, in whole."""
        if not reply.text.startswith(self._present):
            self._restart()
        if rest := reply.text[len(self._present) :]:
            self._tell("text", {"text": rest})
        if reply.text:
            self._whole.append(("text", {"text": reply.text}))
        self._present = ""
        for call in reply.tool_calls:
            self._stand("tool_call", {"call_id": call.call_id, "name": call.name, "arguments": call.arguments})

    def tool_result(self, record: ToolRecord) -> None:
        """A tool has answered."""
        data = {
            "call_id": record.call_id, "name": record.name, "content": record.content, "success": record.success
        }  # fmt: skip
        self._stand("tool_result", data)

    def approval(self, event: RunEvent) -> None:
        """A person was asked, or has decided."""
        self._stand("approval", {**event.data, "step": event.path})

    def done(self, result: ChatResult[Any]) -> None:
        """The chat has ended with *result*."""
        plain = msgspec.structs.replace(result, output=None)
        self._tell("done", {"result": msgspec.to_builtins(plain)})
        self._feed.close()

    def failed(self, error: BaseException) -> None:
        """The chat has ended with an error."""
        self._tell("done", {"error": msgspec.to_builtins(StepFailure.of_step(error))})
        self._feed.close()

    def close(self) -> None:
        """Nothing more comes in this life of the process."""
        self._feed.close()

    def _stand(self, kind: str, data: dict[str, Any]) -> None:
        self._whole.append((kind, data))
        self._tell(kind, data)

    def _restart(self) -> None:
        self._attempt += 1
        self._present = ""
        self._tell("restart", {})
        for kind, data in self._whole:
            self._tell(kind, data)

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        if not self.over:
            self._feed.tell("", kind, self._agent_name, {"attempt": self._attempt, **data})
