"""``Client``: the verbs from outside of any node, with their checks; it leaves no trace of itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shoal.client import Client
from shoal.errors import AgentNotFoundError, ConfigError, QueueFullError, RuntimeNotStartedError, StoreError
from shoal.runtime import AgentRuntime, ResourceLimit, Task, TaskStatus


async def echo(task: Task) -> object:
    return task.input_data


def test_it_submits_to_a_running_node_and_hears_of_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db", config={"poll_seconds": 60}) as runtime:
            await runtime.register_agent("echo", echo)
            await runtime.start_agent("echo")
            before = runtime.store.events.last_id()
            async with Client(tmp_path / "shoal.db") as client:
                task_id = await client.tasks.submit("t", {"a": 1}, agent="echo")
                done = await client.tasks.wait(task_id, 20)  # bells alone: no poll of the node comes in that time
                assert done.result() == {"a": 1}
                assert [node.node_id for node in client.list_nodes()] == [runtime.node_id]
            types = [str(event.event_type) for event in runtime.query_events(limit=100) if event.event_id > before]
            assert set(types) == {"task_enqueued", "task_assigned", "task_started", "task_completed"}

    asyncio.run(main())


def test_a_wait_ends_though_its_bell_was_lost(tmp_path: Path, nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_POLL_SECONDS", "0.05")

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            await runtime.register_agent("echo", echo)
            await runtime.start_agent("echo")
            client = Client(tmp_path / "shoal.db", bus=nats_url)  # where no bell of the node is heard
            await client.open()
            task_id = await client.tasks.submit("t", agent="echo")
            await runtime.wait_for_task(task_id, timeout_seconds=20)
        while client.store.changed():  # it has heard that others wrote, when nobody waited; from here on nobody writes
            await asyncio.sleep(0.1)
        assert (await client.tasks.wait(task_id, 20)).status is TaskStatus.COMPLETED
        await client.close()

    asyncio.run(main())


def test_a_reader_follows_and_waits_but_does_not_write(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            AgentRuntime(tmp_path / "shoal.db") as runtime,
            Client(tmp_path / "shoal.db", read_only=True) as reader,
        ):
            followed = reader.events.follow()
            first = asyncio.ensure_future(anext(followed))
            await asyncio.sleep(0)
            task_id = await runtime.submit_task("t")
            assert (await asyncio.wait_for(first, 20)).task_id == task_id
            await followed.aclose()  # type: ignore[attr-defined]
            waiting = asyncio.ensure_future(reader.tasks.wait(task_id, 20))
            await runtime.cancel_task(task_id)
            assert (await waiting).status is TaskStatus.CANCELLED
            with pytest.raises(StoreError, match="reading only"):
                await reader.tasks.submit("t")

    asyncio.run(main())


def test_its_verbs_have_the_checks_of_the_runtime(tmp_path: Path) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db"):
            pass
        client = Client(tmp_path / "shoal.db", resource_limits=ResourceLimit(max_task_queue_size=1))
        with pytest.raises(RuntimeNotStartedError):
            _ = client.tasks
        async with client:
            with pytest.raises(AgentNotFoundError):
                await client.tasks.submit("t", agent="nobody")
            await client.tasks.submit("t")
            with pytest.raises(QueueFullError):
                await client.tasks.submit("t")
        await client.close()
        with pytest.raises(RuntimeNotStartedError):
            client.list_nodes()

    asyncio.run(main())


def test_what_is_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="there is no store at"):
            await Client(tmp_path / "none.db").open()
        with pytest.raises(ConfigError, match="in memory"):
            await Client(store="sqlite://:memory:").open()
        with pytest.raises(ConfigError):
            Client(store="mysql://x")
        assert list(tmp_path.iterdir()) == []

    asyncio.run(main())
