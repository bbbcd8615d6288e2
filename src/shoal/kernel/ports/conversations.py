"""The store of conversations: messages, threads, and what is known of users."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

__all__ = [
    "Conversations",
    "Messages",
    "NewMessage",
    "StoredMessage",
    "Thread",
    "ThreadStats",
    "Threads",
    "UserContexts",
]


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is to be added to a thread."""

    id: str
    thread_id: str
    role: str
    content: str
    agent_name: str | None = None
    metadata: dict[str, Any] = {}


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a thread. ``seq`` counts from 1 within its thread, in the one order that all readers see."""

    id: str
    thread_id: str
    seq: int
    role: str
    content: str
    agent_name: str | None
    metadata: dict[str, Any]
    created_at: datetime
    deleted_at: datetime | None = None


class Thread(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation of a user. ``parent_id`` is the thread that it was forked from."""

    id: str
    user_id: str
    agent_name: str | None = None
    title: str = ""
    metadata: dict[str, Any] = {}
    archived: bool = False
    parent_id: str | None = None
    created_at: datetime
    updated_at: datetime


class ThreadStats(msgspec.Struct, frozen=True, kw_only=True):
    """The messages of a thread in numbers; deleted ones do not count."""

    messages: int
    characters: int
    by_role: dict[str, int]
    by_agent: dict[str, int]
    first_at: datetime | None
    last_at: datetime | None


class Messages(Protocol):
    """The messages of threads. A thread need not be made before: its id is enough.

    Deleted messages are left out of all but ``get``. A *before* or *after* that is no message of the thread is a
    LookupError.
    """

    def add(self, message: NewMessage, *, now: datetime) -> Awaitable[StoredMessage]:
        """Put a message at the end of its thread; a thread that was made is ``updated_at`` *now*."""
        ...

    def delete(self, message_id: str, *, now: datetime) -> Awaitable[bool]:
        """Mark a message as deleted; False when there is none, or it is deleted already."""
        ...

    def update_metadata(self, message_id: str, changes: Mapping[str, Any]) -> Awaitable[StoredMessage]:
        """Merge *changes* into its metadata, as ``UserContexts.update`` does. Raises LookupError."""
        ...

    # readers
    def get(self, message_id: str) -> StoredMessage | None:
        """Return one message, deleted or not."""
        ...

    def page(
        self, thread_id: str, *, limit: int, before: str | None = None, after: str | None = None
    ) -> Sequence[StoredMessage]:
        """Return up to *limit* messages in order: the first ones after *after*, or the last ones before *before*."""
        ...

    def recent(self, thread_id: str, limit: int) -> Sequence[StoredMessage]:
        """Return the newest *limit*, oldest first."""
        ...

    def recent_by_chars(self, thread_id: str, max_chars: int) -> Sequence[StoredMessage]:
        """Return as many of the newest as have *max_chars* characters of content together, oldest first."""
        ...

    def unsummarized(self, thread_id: str, after: str | None, keep_recent: int) -> Sequence[StoredMessage]:
        """Return what comes after the message *after* (None: all), but for the newest *keep_recent* of the thread."""
        ...

    def count(self, thread_id: str) -> int:
        """Return how many there are."""
        ...


class Threads(Protocol):
    """The threads of users. Lists are newest first, by ``updated_at``. Verbs on an unknown id raise LookupError."""

    def create(self, thread: Thread) -> Awaitable[None]:
        """Make a thread."""
        ...

    def update(
        self, thread_id: str, *, now: datetime, title: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Awaitable[Thread]:
        """Change the title, and merge *metadata* as ``UserContexts.update`` does."""
        ...

    def archive(self, thread_id: str, archived: bool, *, now: datetime) -> Awaitable[Thread]:
        """Put a thread aside, or take it back."""
        ...

    def delete(self, thread_id: str) -> Awaitable[bool]:
        """Remove a thread with all of its messages; False when there was neither."""
        ...

    def fork(self, thread_id: str, new_id: str, *, now: datetime, at: str | None = None) -> Awaitable[Thread]:
        """Make a thread with the messages up to and including *at* (None: all) that are not deleted.

        The copies have ids ``NEW_ID/SEQ``, and their old ``seq`` and ``created_at``.
        """
        ...

    # readers
    def get(self, thread_id: str) -> Thread | None:
        """Return one thread."""
        ...

    def find(
        self, *, user_id: str | None = None, agent_name: str | None = None, archived: bool = False, limit: int
    ) -> Sequence[Thread]:
        """Return threads of a user or an agent; those put aside only with *archived*."""
        ...

    def search(self, text: str, limit: int) -> Sequence[Thread]:
        """Return threads with *text* in the title or in a message; ASCII letters match in either case."""
        ...

    def stats(self, thread_id: str) -> ThreadStats:
        """Return a thread's messages in numbers."""
        ...


class UserContexts(Protocol):
    """What is known of each user, as one JSON object, shared by all agents."""

    def set(self, user_id: str, value: Mapping[str, Any], *, now: datetime) -> Awaitable[None]:
        """Replace all that is known."""
        ...

    def update(self, user_id: str, changes: Mapping[str, Any], *, now: datetime) -> Awaitable[dict[str, Any]]:
        """Merge *changes* and return the whole: objects merge, all else replaces, None removes (RFC 7396)."""
        ...

    def delete(self, user_id: str) -> Awaitable[bool]:
        """Forget a user; False when nothing was known."""
        ...

    # readers
    def get(self, user_id: str) -> dict[str, Any]:
        """Return what is known; an empty dict when nothing is."""
        ...

    def users(self) -> Sequence[str]:
        """Return the ids of all users of whom something was stored, sorted."""
        ...


class Conversations(Protocol):
    """Conversations by their three nouns."""

    messages: Messages
    threads: Threads
    users: UserContexts
