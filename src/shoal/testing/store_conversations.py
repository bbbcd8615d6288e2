"""The part of the conformance suite for conversations."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal.kernel.ports import NewMessage, Store, StoredMessage, Thread
from shoal.testing.store_frame import T0, at, contract, new_id

__all__ = ["ConversationsContract"]


async def _say(store: Store, thread: str, *contents: str, **fields: Any) -> list[StoredMessage]:
    """Add messages in this order."""
    added = [
        store.conversations.messages.add(
            NewMessage(id=new_id(), thread_id=thread, role="user", content=content, **fields), now=T0
        )
        for content in contents
    ]
    return [await each for each in added]


async def _thread(store: Store, **fields: Any) -> Thread:
    known: dict[str, Any] = {"id": new_id(), "user_id": "ann", "created_at": T0, "updated_at": T0}
    thread = Thread(**known | fields)
    await store.conversations.threads.create(thread)
    return thread


def _texts(messages: Any) -> list[str]:
    return [message.content for message in messages]


class ConversationsContract:
    """The contract of ``Conversations``."""

    @contract
    async def test_a_message_comes_back_as_it_was(self, store: Store) -> None:
        messages = store.conversations.messages
        (first,) = await _say(store, "t", "hello", agent_name="Writer", metadata={"a": [1, None]})
        assert (first.seq, first.created_at, first.deleted_at) == (1, T0, None)
        assert messages.get(first.id) == first and first.metadata == {"a": [1, None]}
        (second,) = await _say(store, "t", "ä\0🐟")
        assert (second.seq, second.metadata, second.agent_name) == (2, {}, None)
        assert messages.get(second.id) == second
        assert messages.get("none") is None
        (other,) = await _say(store, "u", "elsewhere")
        assert other.seq == 1

    @contract
    async def test_pages(self, store: Store) -> None:
        messages = store.conversations.messages
        said = await _say(store, "t", *"abcdefgh")
        assert _texts(messages.page("t", limit=3)) == ["a", "b", "c"]
        assert _texts(messages.page("t", limit=3, after=said[2].id)) == ["d", "e", "f"]
        assert _texts(messages.page("t", limit=3, before=said[6].id)) == ["d", "e", "f"]
        assert _texts(messages.page("t", limit=9, after=said[2].id, before=said[5].id)) == ["d", "e"]
        assert _texts(messages.recent("t", 3)) == ["f", "g", "h"]
        assert _texts(messages.recent("t", 0)) == [] == _texts(messages.page("t", limit=0))
        assert _texts(messages.recent("nowhere", 3)) == []
        for marks in ({"before": "none"}, {"after": "none"}):
            with pytest.raises(LookupError, match="none"):
                messages.page("t", limit=3, **marks)
        with pytest.raises(LookupError, match="thread 'u'"):
            messages.page("u", limit=3, after=said[0].id)

    @contract
    async def test_a_deleted_message_is_left_out(self, store: Store) -> None:
        messages = store.conversations.messages
        said = await _say(store, "t", *"abcd")
        assert await messages.delete(said[1].id, now=at(5))
        assert not await messages.delete(said[1].id, now=at(6))
        assert not await messages.delete("none", now=at(6))
        gone = messages.get(said[1].id)
        assert gone is not None and gone.deleted_at == at(5)
        assert _texts(messages.page("t", limit=9)) == ["a", "c", "d"] == _texts(messages.recent("t", 3))
        assert messages.count("t") == 3
        assert _texts(messages.page("t", limit=9, after=said[1].id)) == ["c", "d"], "its place is still known"
        (last,) = await _say(store, "t", "e")
        assert last.seq == 5

    @contract
    async def test_by_characters(self, store: Store) -> None:
        messages = store.conversations.messages
        await _say(store, "t", "aaaa", "äää", "cc", "d")
        assert _texts(messages.recent_by_chars("t", 6)) == ["äää", "cc", "d"]
        assert _texts(messages.recent_by_chars("t", 5)) == ["cc", "d"]
        assert _texts(messages.recent_by_chars("t", 0)) == []
        assert _texts(messages.recent_by_chars("t", 1000)) == ["aaaa", "äää", "cc", "d"]

    @contract
    async def test_what_is_not_summarized(self, store: Store) -> None:
        messages = store.conversations.messages
        said = await _say(store, "t", *"abcdef")
        assert _texts(messages.unsummarized("t", None, 2)) == ["a", "b", "c", "d"]
        assert _texts(messages.unsummarized("t", said[1].id, 2)) == ["c", "d"]
        assert _texts(messages.unsummarized("t", said[1].id, 0)) == ["c", "d", "e", "f"]
        assert _texts(messages.unsummarized("t", said[4].id, 2)) == []
        assert _texts(messages.unsummarized("t", None, 9)) == []
        with pytest.raises(LookupError, match="none"):
            messages.unsummarized("t", "none", 2)

    @contract
    async def test_metadata_of_a_message(self, store: Store) -> None:
        messages = store.conversations.messages
        (said,) = await _say(store, "t", "a", metadata={"x": {"y": 1, "z": 2}, "l": [1, 2]})
        changed = await messages.update_metadata(said.id, {"x": {"y": None, "n": 3}, "l": [3]})
        assert changed.metadata == {"x": {"z": 2, "n": 3}, "l": [3]} and changed.content == "a"
        assert messages.get(said.id) == changed
        with pytest.raises(LookupError, match="none"):
            await messages.update_metadata("none", {})

    @contract
    async def test_threads(self, store: Store) -> None:
        threads = store.conversations.threads
        first = await _thread(store, agent_name="Writer", title="One", metadata={"a": 1})
        second = await _thread(store, user_id="bob", updated_at=at(1))
        assert threads.get(first.id) == first and threads.get("none") is None
        assert threads.find(user_id="ann", limit=9) == [first]
        assert threads.find(agent_name="Writer", limit=9) == [first]
        assert threads.find(limit=9) == [second, first] and threads.find(limit=1) == [second]
        changed = await threads.update(first.id, now=at(2), title="Uno", metadata={"a": None, "b": 2})
        assert (changed.title, changed.metadata, changed.updated_at) == ("Uno", {"b": 2}, at(2))
        assert (await threads.update(first.id, now=at(3))).title == "Uno"
        assert threads.find(limit=9) == [threads.get(first.id), second]
        assert (await threads.archive(first.id, True, now=at(4))).archived
        assert threads.find(limit=9) == [second]
        assert [found.id for found in threads.find(archived=True, limit=9)] == [first.id, second.id]
        assert not (await threads.archive(first.id, False, now=at(5))).archived
        for verb in (threads.update("none", now=at(6)), threads.archive("none", True, now=at(6))):
            with pytest.raises(LookupError, match="none"):
                await verb

    @contract
    async def test_a_message_makes_its_thread_new(self, store: Store) -> None:
        thread = await _thread(store, updated_at=at(-5), created_at=at(-5))
        await _say(store, thread.id, "hello")
        found = store.conversations.threads.get(thread.id)
        assert found is not None and found.updated_at == T0 and found.created_at == at(-5)

    @contract
    async def test_deleting_a_thread_takes_its_messages(self, store: Store) -> None:
        threads, messages = store.conversations.threads, store.conversations.messages
        thread = await _thread(store)
        (said,) = await _say(store, thread.id, "hello")
        await _say(store, "other", "stays")
        assert await threads.delete(thread.id) and not await threads.delete(thread.id)
        assert threads.get(thread.id) is None and messages.get(said.id) is None
        assert messages.count("other") == 1
        assert await threads.delete("other"), "a thread of messages alone"

    @contract
    async def test_fork(self, store: Store) -> None:
        threads, messages = store.conversations.threads, store.conversations.messages
        thread = await _thread(store, agent_name="Writer", title="One", metadata={"a": 1}, archived=True)
        said = await _say(store, thread.id, *"abcd", metadata={"m": 1})
        await messages.delete(said[1].id, now=at(1))
        forked = await threads.fork(thread.id, "f", now=at(2), at=said[2].id)
        assert forked == threads.get("f") and (forked.parent_id, forked.archived) == (thread.id, False)
        assert (forked.user_id, forked.agent_name, forked.title, forked.metadata, forked.created_at) == (
            "ann", "Writer", "One", {"a": 1}, at(2),
        )  # fmt: skip
        copies = messages.recent("f", 9)
        assert [(copy.id, copy.content, copy.seq, copy.metadata) for copy in copies] == [
            ("f/1", "a", 1, {"m": 1}),
            ("f/3", "c", 3, {"m": 1}),
        ]
        (added,) = await _say(store, "f", "e")
        assert added.seq == 4 and messages.count(thread.id) == 3
        await threads.fork(thread.id, "g", now=at(3))
        assert _texts(messages.recent("g", 9)) == ["a", "c", "d"]
        for source, mark in (("none", None), (thread.id, "none"), (thread.id, added.id)):
            with pytest.raises(LookupError):
                await threads.fork(source, "h", now=at(3), at=mark)
        assert threads.get("h") is None and messages.count("h") == 0

    @contract
    async def test_search(self, store: Store) -> None:
        threads = store.conversations.threads
        first = await _thread(store, title="50% off_all\\")
        second = await _thread(store, updated_at=at(1))
        said = await _say(store, second.id, "The Cat sat", "dog")
        for text, found in {
            "cat S": [second.id],
            "50%": [first.id],
            "f_a": [first.id],
            "l\\": [first.id],
            "5_%": [],
            "": [second.id, first.id],
        }.items():
            assert [each.id for each in threads.search(text, 9)] == found, text
        await store.conversations.messages.delete(said[0].id, now=at(1))
        assert threads.search("cat", 9) == [] and len(threads.search("", 1)) == 1

    @contract
    async def test_stats(self, store: Store) -> None:
        threads = store.conversations.threads
        thread = await _thread(store)
        empty = threads.stats(thread.id)
        assert (empty.messages, empty.characters, empty.by_role, empty.first_at) == (0, 0, {}, None)
        await _say(store, thread.id, "äb", "c", agent_name="Writer")
        (gone,) = await _say(store, thread.id, "xxxx")
        await store.conversations.messages.delete(gone.id, now=at(1))
        full = threads.stats(thread.id)
        assert (full.messages, full.characters, full.by_role, full.by_agent) == (2, 3, {"user": 2}, {"Writer": 2})
        assert (full.first_at, full.last_at) == (T0, T0)
        with pytest.raises(LookupError, match="none"):
            threads.stats("none")

    @contract
    async def test_users(self, store: Store) -> None:
        users = store.conversations.users
        assert users.get("ann") == {} and users.users() == []
        await users.set("ann", {"name": "Ann", "likes": ["tea"], "home": {"city": "Rome", "zip": None}}, now=T0)
        assert users.get("ann") == {"name": "Ann", "likes": ["tea"], "home": {"city": "Rome", "zip": None}}
        changes = {"likes": ["milk"], "home": {"city": None, "street": {"no": 1, "x": None}}, "name": None}
        whole = await users.update("ann", changes, now=at(1))
        assert whole == {"likes": ["milk"], "home": {"zip": None, "street": {"no": 1}}} == users.get("ann")
        assert await users.update("bob", {"a": 1}, now=at(1)) == {"a": 1}
        assert users.users() == ["ann", "bob"]
        assert await users.delete("ann") and not await users.delete("ann")
        assert users.get("ann") == {} and users.users() == ["bob"]

    @contract
    async def test_updates_of_one_user_at_once_lose_nothing(self, store: Store) -> None:
        users = store.conversations.users
        await asyncio.gather(*(users.update("ann", {f"k{n}": n, "all": {f"k{n}": n}}, now=T0) for n in range(50)))
        keys = {f"k{n}": n for n in range(50)}
        assert users.get("ann") == {**keys, "all": keys}
