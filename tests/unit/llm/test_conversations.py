"""Messages, threads and users as programs see them, on an open store and on a runtime."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal import (
    AgentRuntime,
    LockTimeoutError,
    MessageStore,
    PayloadError,
    RuntimeNotStartedError,
    StoreError,
    ThreadSafeMessageStore,
    ThreadStore,
    UserContextStore,
    open_store,
)

Run = Callable[..., Any]
Connected = Callable[[], AbstractAsyncContextManager[Any]]


@pytest.fixture(params=["store", "runtime"])
def connected(request: pytest.FixtureRequest, store_url: str) -> Connected:
    """``async with connected() as conn``: an open store, a running runtime."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        if request.param == "store":
            async with open_store(store_url) as store:
                yield store
        else:
            async with AgentRuntime(store=store_url) as runtime:
                yield runtime

    return connect


@pytest.mark.spec("O24")
def test_fifty_writers_to_one_thread(connected: Connected, run: Run) -> None:
    async def main() -> None:
        async with connected() as conn:
            for kind in (MessageStore, ThreadSafeMessageStore):
                thread = kind.__name__

                async def write(writer: int, kind: type[MessageStore] = kind, thread: str = thread) -> list[int]:
                    store = kind(conn)
                    return [
                        (await store.add(thread, "assistant", f"{writer}/{n}", agent_name=f"a{writer}")).seq
                        for n in range(20)
                    ]

                seqs = await asyncio.gather(*(write(writer) for writer in range(50)))
                store = kind(conn)
                assert await store.count(thread) == 1000
                rows = await store.list(thread, limit=5000)
                assert [row.seq for row in rows] == list(range(1, 1001)) == sorted(seq for each in seqs for seq in each)
                assert len({row.id for row in rows}) == 1000
                for writer, own in enumerate(seqs):
                    assert own == sorted(own), "each writer's messages in his order"
                    assert [row.seq for row in rows if row.content.startswith(f"{writer}/")] == own
                recent = await store.get_recent(thread, limit=10)
                assert [row.seq for row in recent] == list(range(991, 1001)) and recent == rows[-10:]

    run(main)


@pytest.mark.spec("O20")
def test_two_agents_update_one_user_at_once(connected: Connected, run: Run) -> None:
    async def main() -> None:
        async with connected() as conn:

            async def agent(first: int, users: UserContextStore) -> None:
                for n in range(first, 100, 2):
                    await users.update("phil", {f"key{n}": n, "facts": {f"f{n}": n}})

            await asyncio.gather(agent(0, UserContextStore(conn)), agent(1, UserContextStore(conn)))
            known = await UserContextStore(conn).get("phil")
            assert {key: known[key] for key in known if key != "facts"} == {f"key{n}": n for n in range(100)}
            assert known["facts"] == {f"f{n}": n for n in range(100)}

    run(main)


@pytest.mark.spec("O20")
def test_two_threads_with_loops_of_their_own_update_one_user_at_once(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with open_store(f"sqlite:///{tmp_path}/shoal.db") as store:
            users = UserContextStore(store)
            begin = threading.Barrier(2)

            async def agent(first: int) -> None:
                begin.wait(20)
                for n in range(first, 100, 2):
                    await users.update("phil", {f"key{n}": n})

            await asyncio.gather(*(asyncio.to_thread(asyncio.run, agent(first)) for first in (0, 1)))
            assert await users.get("phil") == {f"key{n}": n for n in range(100)}

    run(main)


def test_messages(connected: Connected, run: Run) -> None:
    async def main() -> None:
        async with connected() as conn:
            store = MessageStore(conn)
            first = await store.add("t", "user", "Hello", metadata={"lang": "en", "tags": ["a", "b"]})
            second = await store.create("t", "assistant", "Good morning", agent_name="Writer")
            assert (first.seq, second.seq, second.agent_name, second.metadata) == (1, 2, "Writer", {})
            assert await store.get(first.id) == first and await store.get("none") is None
            assert [each.id for each in await store.list("t", after=first.id)] == [second.id]
            changed = await store.update_metadata(first.id, {"tags": ["c"], "lang": None})
            assert changed.metadata == {"tags": ["c"]}
            assert await store.get_recent_by_chars("t", 12) == [second]
            assert [each.content for each in await store.get_unsummarized("t", keep_recent=1)] == ["Hello"]
            assert await store.delete(first.id) and not await store.delete(first.id)
            gone = await store.get(first.id)
            assert gone is not None and gone.deleted_at is not None
            assert await store.count("t") == 1 and await store.list("t") == [second]

    run(main)


def test_threads(connected: Connected, run: Run) -> None:
    async def main() -> None:
        async with connected() as conn:
            threads, messages = ThreadStore(conn), MessageStore(conn)
            thread = await threads.create("phil", "Writer", title="Trip", metadata={"a": 1})
            assert await threads.get(thread.id) == thread and await threads.get("none") is None
            said = [await messages.add(thread.id, "user", text) for text in ("to Rome", "to Oslo")]
            fork = await threads.fork(thread.id, at=said[0].id)
            assert fork.parent_id == thread.id
            assert [each.content for each in await messages.list(fork.id)] == ["to Rome"]
            assert [each.id for each in await threads.search("oslo")] == [thread.id]
            assert {each.id for each in await threads.list_by_agent("Writer")} == {thread.id, fork.id}
            assert (await threads.archive(fork.id)).archived
            assert [each.id for each in await threads.list_by_user("phil")] == [thread.id]
            assert len(await threads.list_by_user("phil", archived=True)) == 2
            assert not (await threads.unarchive(fork.id)).archived
            assert (await threads.update(thread.id, title="Journey")).title == "Journey"
            stats = await threads.stats(thread.id)
            assert (stats.messages, stats.characters, stats.by_role) == (2, 14, {"user": 2})
            assert await threads.delete(thread.id) and await messages.count(thread.id) == 0
            for verb in (threads.update, threads.archive, threads.unarchive, threads.fork, threads.stats):
                with pytest.raises(LookupError, match="none"):
                    await verb("none")
            assert not await threads.delete("none")

    run(main)


def test_users(connected: Connected, run: Run) -> None:
    async def main() -> None:
        async with connected() as conn:
            users = UserContextStore(conn)
            assert await users.get("phil") == {} and await users.list_users() == []
            await users.set("phil", {"name": "Phil", "home": {"city": "London"}})
            assert await users.update("phil", {"home": {"zip": "N1"}, "name": None}) == {
                "home": {"city": "London", "zip": "N1"}
            }
            assert await users.list_users() == ["phil"] and await users.delete("phil")
            assert not await users.delete("phil")

    run(main)


@pytest.mark.spec("O24")
def test_a_thread_is_ones_own_around_several_calls(connected: Connected, run: Run) -> None:
    async def main() -> None:
        async with connected() as conn:
            store, other = ThreadSafeMessageStore(conn), ThreadSafeMessageStore(conn, lock_timeout=0.05)
            first = await store.add("t", "user", "one")
            async with store.thread("t") as mine:
                assert mine is store
                assert (await store.add("t", "user", "two")).seq == 2
                for verb in (other.add("t", "user", "x"), other.delete(first.id), other.update_metadata(first.id, {})):
                    with pytest.raises(LockTimeoutError, match="thread:t not free"):
                        await asyncio.create_task(verb)
                assert (await asyncio.create_task(other.add("u", "user", "elsewhere"))).seq == 1
                assert await asyncio.create_task(other.count("t")) == 2, "readers wait for nobody"
            assert (await other.add("t", "user", "three")).seq == 3
            assert await other.delete(first.id) and not await other.delete("none")
            with pytest.raises(LookupError):
                await other.update_metadata("none", {})

    run(main)


def test_bad_connections(tmp_path: Path, run: Run) -> None:
    for kind in (MessageStore, ThreadSafeMessageStore, ThreadStore, UserContextStore):
        wrong: list[Any] = [None, "shoal.db", open_store("sqlite://:memory:")]
        for conn in wrong:
            with pytest.raises(
                TypeError, match=r"conn must be an AgentRuntime, or a store from `await shoal\.open_store"
            ):
                kind(conn)

    async def main() -> None:
        runtime = AgentRuntime(store=f"sqlite:///{tmp_path}/shoal.db")
        messages = MessageStore(runtime)
        with pytest.raises(RuntimeNotStartedError):
            await messages.add("t", "user", "x")
        store = await open_store("sqlite://:memory:")
        await store.close()
        with pytest.raises(StoreError, match="not open"):
            await MessageStore(store).add("t", "user", "x")

    run(main)


def test_bad_arguments(run: Run) -> None:
    async def main() -> None:
        async with open_store("sqlite://:memory:") as store:
            messages, threads, users = MessageStore(store), ThreadStore(store), UserContextStore(store)
            for wrong, named in (
                (messages.add("", "user", "x"), "thread_id"),
                (messages.add("t", "", "x"), "role"),
                (messages.add("t", "user", "\ud800"), "content"),
                (messages.add("t", "user", "x", agent_name=""), "agent_name"),
                (messages.add("t", "user", "x", metadata={"a": {1}}), "metadata"),
                (messages.list("t", limit=-1), "limit"),
                (messages.get_recent("t", -1), "limit"),
                (messages.get_recent_by_chars("t", -1), "max_chars"),
                (messages.get_unsummarized("t", keep_recent=-1), "keep_recent"),
                (threads.create(""), "user_id"),
                (users.update("u", {"a": float("nan")}), "changes"),
            ):
                with pytest.raises(ValueError, match=named):
                    await wrong
            for odd, named in (
                (messages.add("t", "user", 7), "content must be text, not int"),  # type: ignore[arg-type]
                (messages.list("t", limit=1.5), "limit must be a whole number"),  # type: ignore[arg-type]
                (users.set("u", ["a"]), "value must be a dict, not list"),  # type: ignore[arg-type]
                (users.get(None), "user_id must be text"),  # type: ignore[arg-type]
            ):
                with pytest.raises(TypeError, match=named):
                    await odd
            with pytest.raises(PayloadError):
                await users.set("u", {1: 2})  # type: ignore[dict-item]
            assert await messages.count("t") == 0 and await users.list_users() == []

    run(main)
