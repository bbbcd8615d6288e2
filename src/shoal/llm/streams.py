"""An answer while it comes: numbered pieces that can be read again, from any of them on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

import msgspec

from shoal.kernel.feed import Feed
from shoal.kernel.run import RunEvent, RunEventType, StepFailure
from shoal.kernel.scope import Scope
from shoal.llm.model import ModelReply
from shoal.llm.results import ChatResult, StreamEvent, StreamKind
from shoal.llm.tools import ToolRecord

__all__ = ["ChatStream", "LiveStream", "Streams", "Telling", "read_stream", "stream_event"]

T = TypeVar("T")

KEPT = 100
"""How many streams of an agent that have ended can be read again."""

_APPROVALS = (RunEventType.APPROVAL_ASKED, RunEventType.APPROVAL_GIVEN)


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


class ChatStream(Generic[T]):
    """An answer under way, read from an offset on.

    ``async for`` gives ``StreamEvent`` after ``StreamEvent``, and raises what the chat raises. A reader who stops can go
    on after the offset of the last event he saw, with ``agent.stream_again`` or ``runtime.stream``.

    Attributes:
        id: by which it is found again.
    """

    def __init__(
        self,
        stream_id: Callable[[], str],
        events: Callable[[], AsyncIterator[RunEvent]],
        result: Callable[[], Awaitable[ChatResult[T]]],
        cancel: Callable[[], Awaitable[None]],
    ) -> None:
        self._id = stream_id
        self._events = events
        self._result = result
        self._cancel = cancel

    @property
    def id(self) -> str:
        """By which it is found again. In ``execute_task`` it is known from the first event on."""
        return self._id()

    async def __aiter__(self) -> AsyncGenerator[StreamEvent, None]:
        async for event in self._events():
            yield stream_event(event)
        await self._result()

    async def result(self) -> ChatResult[T]:
        """Return the whole answer when it is there. Raises what ``chat`` raises."""
        return await self._result()

    async def cancel(self) -> None:
        """End it; its result is what came so far, with ``finish_reason="cancelled"``."""
        await self._cancel()

    def __await__(self) -> Generator[Any, None, ChatResult[T]]:
        return self._result().__await__()


class LiveStream(Generic[T]):
    """The chat behind the streams of this process.

    Args:
        place: its place in the run, or a coroutine that finds it.
        chat: carries it out at that place, telling what comes.
        opened: is told when its id is known.
        bound: it is part of a run: when whoever asked for it has ended, it ends.
    """

    def __init__(
        self,
        agent_name: str,
        place: Scope | Coroutine[Any, Any, Scope],
        chat: Callable[[Scope, Telling], Awaitable[ChatResult[T]]],
        opened: Callable[[LiveStream[T]], object],
        *,
        bound: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._agent_name = agent_name
        self._chat = chat
        self._opened = opened
        self.id = ""
        self._feed: asyncio.Future[Feed] = loop.create_future()
        self._telling: Telling | None = None
        telling = self._open(place) if isinstance(place, Scope) else None
        self.work = loop.create_task(self._carry_out(place, telling), name=f"stream of {agent_name}")
        self.work.add_done_callback(_looked_at)
        asker = asyncio.current_task()
        if bound and asker is not None:
            asker.add_done_callback(lambda _: self.work.cancel())

    def _open(self, scope: Scope) -> Telling:
        run = scope.run
        self.id = f"{run.run_id}/{scope.path or self._agent_name}"
        past = run.past(self.id)
        feed = run.open_feed(self.id, past[-1].offset if past else 0)
        self._telling = Telling(feed, self._agent_name, past)
        self._feed.set_result(feed)
        self._opened(self)
        return self._telling

    async def _carry_out(self, place: Scope | Coroutine[Any, Any, Scope], telling: Telling | None) -> ChatResult[T]:
        scope = place if isinstance(place, Scope) else await place
        telling = telling or self._open(scope)
        watching = asyncio.get_running_loop().create_task(_watch(scope, telling), name=f"approvals of {self.id}")
        try:
            result = await self._chat(scope, telling)
        except asyncio.CancelledError:
            telling.close()
            raise
        except Exception as error:
            telling.failed(error)
            raise
        finally:
            watching.cancel()
        telling.done(result)
        return result

    def read(self, after: int = 0) -> ChatStream[T]:
        """Return what reads it after an offset."""

        async def events() -> AsyncIterator[RunEvent]:
            either: set[asyncio.Future[Any]] = {self._feed, self.work}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._feed.done():
                async for event in self._feed.result().follow(after):
                    yield event

        return ChatStream(lambda: self.id, events, self._result, self.cancel)

    async def _result(self) -> ChatResult[T]:
        return await asyncio.shield(self.work)

    async def cancel(self) -> None:
        """End it with what came so far."""
        if not self.work.done():
            if self._telling is not None:
                self._telling.cancel()
            self.work.cancel()
            await asyncio.wait([self.work])


async def _watch(scope: Scope, telling: Telling) -> None:
    """Tell of questions to people, too, which the run asks for the tools of this chat."""
    feed = scope.run.feed
    async for event in feed.follow(feed.offset):
        if event.type in _APPROVALS and event.path.startswith(scope.path):
            telling.approval(event)


def _looked_at(work: asyncio.Task[Any]) -> None:
    if not work.cancelled():
        work.exception()  # whoever reads the stream gets it; whoever does not has chosen not to hear of it


def read_stream(
    stream_id: str, events: AsyncIterator[RunEvent], cancel: Callable[[], Awaitable[None]]
) -> ChatStream[Any]:
    """Return the stream whose *events* come from somewhere else, a store or another process.

    Its result is that of the ``done`` event: an output is in its content, as JSON.
    """
    last: list[RunEvent] = []

    async def noted() -> AsyncIterator[RunEvent]:
        async for event in events:
            last[:] = [event]
            yield event
            if event.type == "done":
                return

    async def result() -> ChatResult[Any]:
        async for _ in noted():
            continue
        if not last or last[0].type != "done":
            raise LookupError(f"the stream {stream_id!r:.200} has not been told to its end")
        data = last[0].data
        if "error" in data:
            raise msgspec.convert(data["error"], StepFailure).revive()
        return msgspec.convert(data["result"], ChatResult[Any])

    return ChatStream(lambda: stream_id, noted, result, cancel)


class Streams:
    """The streams of one agent that can be read again: those under way, and the last ones that have ended."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, LiveStream[Any]] = OrderedDict()

    def add(self, stream: LiveStream[Any]) -> None:
        """Keep one, from when its id is known."""
        self._known[stream.id] = stream
        for stream_id, old in list(self._known.items()):
            if len(self._known) <= KEPT:
                return
            if old.work.done():
                del self._known[stream_id]

    def get(self, stream_id: str) -> LiveStream[Any]:
        """Return one. Raises LookupError."""
        try:
            return self._known[stream_id]
        except KeyError:
            raise LookupError(
                f"no stream {stream_id!r:.200} is known here; one of another process is read with runtime.stream"
            ) from None
