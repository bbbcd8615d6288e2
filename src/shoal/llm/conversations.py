"""Conversations: of an agent with one user in one thread, in memory or in a store; one writer at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any, Protocol

import msgspec

from shoal.kernel.ports import StoredMessage
from shoal.llm.messages import MessageStore, ThreadSafeMessageStore
from shoal.llm.model import ChatMessage

__all__ = ["Conversation", "Conversations", "InMemory", "Kept", "StoredMessages", "Turnstile", "talking"]

PAGE = 1000
SUMMARY = "summary"

talking: ContextVar[frozenset[int]] = ContextVar("shoal_talking", default=frozenset())
"""The conversations in which this code is the writer: a chat on one of them would wait for itself."""


class Turnstile:
    """Lets one through at a time, first come first served; for any event loop, one after the other."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for one's turn."""
        if not self._taken:
            self._taken = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # it was this one's turn already
            raise

    def leave(self) -> None:
        """Let the next one through."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False


class Kept(Protocol):
    """Where the messages of one conversation are kept."""

    async def load(self) -> list[ChatMessage]:
        """Return all of them."""
        ...

    async def add(self, messages: Sequence[ChatMessage]) -> None:
        """Put *messages* at the end."""
        ...

    async def summarize(self, count: int, summary: ChatMessage) -> None:
        """Let *summary* stand for the first *count* messages."""
        ...

    async def clear(self) -> None:
        """Forget them."""
        ...


class InMemory:
    """Messages that go with the process, or the run."""

    def __init__(self) -> None:
        self._messages: list[ChatMessage] = []

    async def load(self) -> list[ChatMessage]:
        """Return all of them."""
        return self._messages.copy()

    async def add(self, messages: Sequence[ChatMessage]) -> None:
        """Put *messages* at the end."""
        self._messages += messages

    async def summarize(self, count: int, summary: ChatMessage) -> None:
        """Let *summary* stand for the first *count* messages."""
        self._messages[:count] = [summary]

    async def clear(self) -> None:
        """Forget them."""
        self._messages.clear()


class StoredMessages:
    """Messages of one agent and user in a thread of a store; those of others in that thread are not its."""

    def __init__(self, store: MessageStore, thread_id: str, agent_name: str, user_id: str) -> None:
        self._store = store
        self._thread_id = thread_id
        self._agent_name = agent_name
        self._user_id = user_id
        self._ids: list[str] = []  # of what was loaded: a summary has that of the last message it holds

    async def load(self) -> list[ChatMessage]:
        """Return all of them, from the last summary on."""
        rows: list[StoredMessage] = []
        while page := await self._store.list(self._thread_id, limit=PAGE, after=rows[-1].id if rows else None):
            rows += page
            if len(page) < PAGE:
                break
        mine = [row for row in rows if self._is_mine(row)]
        place = {row.id: number for number, row in enumerate(mine)}
        found: list[ChatMessage] = []
        self._ids = []
        begin = 0
        for row in reversed(mine):
            if row.role == SUMMARY:
                begin = place.get(row.metadata.get("upto", ""), -1) + 1
                found, self._ids = [ChatMessage(role="user", content=row.content)], [row.metadata["upto"]]
                break
        for row in mine[begin:]:
            if row.role != SUMMARY:
                found.append(_message_of(row))
                self._ids.append(row.id)
        return found

    def _is_mine(self, row: StoredMessage) -> bool:
        return row.agent_name == self._agent_name and row.metadata.get("user_id") == self._user_id

    async def add(self, messages: Sequence[ChatMessage]) -> None:
        """Put *messages* at the end."""
        for message in messages:
            row = await self._add(message.role, message.content, _rest_of(message))
            self._ids.append(row.id)

    async def summarize(self, count: int, summary: ChatMessage) -> None:
        """Let *summary* stand for the first *count* messages, which stay in the store."""
        await self._add(SUMMARY, summary.content, {"upto": self._ids[count - 1]})
        self._ids[:count] = [self._ids[count - 1]]

    async def clear(self) -> None:
        """Mark them as deleted."""
        await self.load()
        for row in await self._store.list(self._thread_id, limit=await self._store.count(self._thread_id)):
            if self._is_mine(row):
                await self._store.delete(row.id)

    async def _add(self, role: str, content: str, more: dict[str, Any]) -> StoredMessage:
        metadata = {"user_id": self._user_id, **more}
        return await self._store.add(self._thread_id, role, content, agent_name=self._agent_name, metadata=metadata)


def _rest_of(message: ChatMessage) -> dict[str, Any]:
    rest: dict[str, Any] = msgspec.to_builtins(message)
    rest.pop("role", None)
    rest.pop("content", None)
    return rest


def _message_of(row: StoredMessage) -> ChatMessage:
    fields = {name: value for name, value in row.metadata.items() if name in ChatMessage.__struct_fields__}
    return msgspec.convert({**fields, "role": row.role, "content": row.content}, ChatMessage)


class Conversation:
    """One conversation, in which one chat at a time has the word."""

    def __init__(self, kept: Kept, store: MessageStore | None = None, thread_id: str = "") -> None:
        self.kept = kept
        self._turnstile = Turnstile()
        self._store = store if isinstance(store, ThreadSafeMessageStore) else None
        self._thread_id = thread_id
        self._held: AsyncExitStack | None = None

    async def enter(self, agent_name: str) -> None:
        """Wait for the word. Raises RuntimeError when this code has it already."""
        if id(self) in talking.get():
            raise RuntimeError(
                f"{agent_name} is asked in the middle of its own chat with the same user and thread, "
                "which would wait for itself: give another thread_id, or use as_tool() or fork()"
            )
        await self._turnstile.enter()
        if self._store is not None:
            self._held = AsyncExitStack()
            try:
                await self._held.enter_async_context(self._store.thread(self._thread_id))
            except BaseException:
                self._turnstile.leave()
                raise

    async def leave(self) -> None:
        """Give the word to the next."""
        try:
            if self._held is not None:
                held, self._held = self._held, None
                await held.aclose()
        finally:
            self._turnstile.leave()


class Conversations:
    """The conversations of one agent outside of runs, by user and thread."""

    def __init__(self, agent_name: str, store: MessageStore | None) -> None:
        self._agent_name = agent_name
        self._store = store
        self._open: dict[tuple[str, str | None], Conversation] = {}

    def get(self, user_id: str, thread_id: str | None) -> Conversation:
        """Return a conversation; a new one is empty."""
        found = self._open.get((user_id, thread_id))
        if found is None:
            found = self._open[user_id, thread_id] = self._new(user_id, thread_id)
        return found

    def _new(self, user_id: str, thread_id: str | None) -> Conversation:
        if self._store is None:
            return Conversation(InMemory())
        place = thread_id if thread_id is not None else f"{self._agent_name}/{user_id}"
        return Conversation(StoredMessages(self._store, place, self._agent_name, user_id), self._store, place)

    @staticmethod
    def of_run() -> Conversation:
        """Return an empty conversation that goes with a run, or a single call."""
        return Conversation(InMemory())
