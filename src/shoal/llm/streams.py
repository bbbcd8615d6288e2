"""An answer while it comes: numbered pieces that can be read again, from any of them on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

import msgspec

from shoal.errors import RunError
from shoal.kernel.feed import Feed
from shoal.kernel.run import RunEvent, RunEventType, StepFailure
from shoal.kernel.scope import Scope
from shoal.llm.results import ChatResult, StreamEvent
from shoal.llm.telling import Telling, stream_event

__all__ = ["ChatStream", "LiveStream", "Streams", "read_stream"]

T = TypeVar("T")

KEPT = 100
"""How many streams of an agent that have ended can be read again."""

_APPROVALS = (RunEventType.APPROVAL_ASKED, RunEventType.APPROVAL_GIVEN)


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
        place: its place in the run, or what finds it.
        chat: carries it out at that place, telling what comes.
        opened: is told when its id is known.
        bound: it is part of a run: when whoever asked for it has ended, it ends.
    """

    def __init__(
        self,
        agent_name: str,
        place: Scope | Callable[[], Awaitable[Scope]],
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
        if isinstance(place, Scope):
            self._take(place)
        self.work = loop.create_task(self._carry_out(place), name=f"stream of {agent_name}")
        self.work.add_done_callback(_looked_at)
        asker = asyncio.current_task()
        if bound and asker is not None:
            asker.add_done_callback(lambda _: self.work.cancel())

    def _take(self, scope: Scope) -> None:
        self.id = f"{scope.run.run_id}/{scope.path or self._agent_name}"
        self._opened(self)

    async def _carry_out(self, place: Scope | Callable[[], Awaitable[Scope]]) -> ChatResult[T]:
        if isinstance(place, Scope):
            scope = place
        else:
            self._take(scope := await place())
        past = await scope.run.feeds.past(self.id)
        feed = scope.run.feeds.open(self.id, past[-1].offset if past else 0, past)
        self._telling = telling = Telling(feed, self._agent_name, past)
        self._feed.set_result(feed)
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
            await self._begun()
            if self._feed.done():
                async for event in self._feed.result().follow(after):
                    yield event

        return ChatStream(lambda: self.id, events, self._result, self.cancel)

    async def _begun(self) -> None:
        either: set[asyncio.Future[Any]] = {self._feed, self.work}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)

    async def _result(self) -> ChatResult[T]:
        return await asyncio.shield(self.work)

    async def cancel(self) -> None:
        """End it with what came so far."""
        await self._begun()
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


def read_stream(stream_id: str, events: Callable[[], AsyncIterator[RunEvent]]) -> ChatStream[Any]:
    """Return the stream whose *events* come from somewhere else, a store or another process.

    Its result is that of the ``done`` event: an output is in its content, as JSON. It cannot be cancelled here.
    """
    last: list[RunEvent] = []

    async def noted() -> AsyncIterator[RunEvent]:
        async for event in events():
            last[:] = [event]
            yield event
            if event.type == "done":
                return

    async def result() -> ChatResult[Any]:
        if not last or last[0].type != "done":
            async for _ in noted():
                continue
        if not last or last[0].type != "done":
            raise LookupError(f"the stream {stream_id!r:.200} has not been told to its end")
        data = last[0].data
        if "error" in data:
            raise msgspec.convert(data["error"], StepFailure).revive()
        return msgspec.convert(data["result"], ChatResult[Any])

    async def cancel() -> None:
        run_id = stream_id.partition("/")[0]
        raise RunError(
            f"the stream {stream_id!r:.200} is read out of the store",
            run_id=run_id,
            note="Cancel its run with runtime.runs.cancel, or the stream where it was begun.",
        )

    return ChatStream(lambda: stream_id, noted, result, cancel)


class Streams:
    """The streams of one agent that can be read again: those under way, and the last ones that have ended."""

    def __init__(self) -> None:
        self._known: dict[str, LiveStream[Any]] = {}

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
