"""Bad input, row by row: the error and its words, and that nothing was written, lost or half done."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shoal import (
    AgentRuntime,
    BaseAgent,
    ResourceLimit,
    RestartPolicy,
    RetryPolicy,
    Task,
    TaskSpec,
    TaskStatus,
)
from shoal.client import Client
from shoal.errors import (
    AgentNameTakenError,
    AgentNotFoundError,
    AgentPauseError,
    AgentStartError,
    AgentStateError,
    ConfigError,
    CyclicDependencyError,
    IdempotencyConflictError,
    IsolationUnavailableError,
    MessageTooLargeError,
    PayloadError,
    PayloadTooLargeError,
    QueueFullError,
    RuntimeNotStartedError,
    RuntimeStateError,
    RuntimeStoppingError,
    StoreError,
    TaskNotFoundError,
)
from tests.support.runtimes import running, until

Run = Callable[..., Any]
MEMORY = "sqlite://:memory:"
MB = 1 << 20
SPEC = pytest.mark.spec("R52")


class Worker(BaseAgent):
    async def execute_task(self, task: Task) -> Any:
        return await self.context.receive_messages() if task.name == "take" else task.input_data.get("answer")


class Ear:
    async def on_message(self, message: Any) -> Any:
        return message.data


def state(runtime: AgentRuntime) -> Any:
    """Everything that a refused call must leave as it was."""
    return (
        runtime.store.events.last_id(),
        runtime.get_queue_status(),
        [(a.name, a.status, a.mailbox_size) for a in runtime.list_agents()],
        runtime.list_groups(),
        runtime.dead_letters(),
        runtime.store.kv.keys("", now=datetime.now(UTC)),
    )


async def refused(
    runtime: AgentRuntime, call: Awaitable[Any] | Callable[[], Any], error: type[BaseException], *words: str
) -> BaseException:
    """See that *call* raises *error* with *words* in its text, and leaves no trace."""
    before = state(runtime)
    with pytest.raises(error) as raised:
        await (call() if callable(call) else call)
    text = str(raised.value)
    assert [word for word in words if word not in text] == [], text
    assert state(runtime) == before
    return raised.value


def with_agents(main: Callable[[AgentRuntime], Awaitable[None]], **config: Any) -> Callable[[], Any]:
    async def inside() -> None:
        async with running(MEMORY, {"worker": Worker, "ear": Ear}, **config) as runtime:
            await main(runtime)

    return inside


# -- a verb before start, while stopping, from another event loop -------------------------------------------------------


def verbs(runtime: AgentRuntime) -> dict[str, Callable[[], Any]]:
    return {
        "register_agent": lambda: runtime.register_agent("x", Worker),
        "unregister_agent": lambda: runtime.unregister_agent("x"),
        "start_agent": lambda: runtime.start_agent("x"),
        "stop_agent": lambda: runtime.stop_agent("x"),
        "pause_agent": lambda: runtime.pause_agent("x"),
        "resume_agent": lambda: runtime.resume_agent("x"),
        "submit_task": lambda: runtime.submit_task("t"),
        "submit_tasks": lambda: runtime.submit_tasks([TaskSpec(name="t")]),
        "cancel_task": lambda: runtime.cancel_task("t"),
        "wait_for_task": lambda: runtime.wait_for_task("t"),
        "wait_for_tasks": lambda: runtime.wait_for_tasks(["t"]),
        "pause_queue": lambda: runtime.pause_queue(),
        "resume_queue": lambda: runtime.resume_queue(),
        "create_group": lambda: runtime.create_group("g"),
        "delete_group": lambda: runtime.delete_group("g"),
        "add_to_group": lambda: runtime.add_to_group("g", "x"),
        "remove_from_group": lambda: runtime.remove_from_group("g", "x"),
        "groups.start": lambda: runtime.groups.start("g"),
        "send_message": lambda: runtime.send_message(["x"], "note", 1),
        "request": lambda: runtime.request("x", "note", 1),
        "publish": lambda: runtime.publish("x", 1),
        "redeliver": lambda: runtime.redeliver("x"),
        "shared.set": lambda: runtime.shared.set("x", 1),
        "shared.delete": lambda: runtime.shared.delete("x"),
    }


NAMES = list(verbs(AgentRuntime(store=MEMORY)))


@SPEC
@pytest.mark.parametrize("verb", NAMES)
def test_a_verb_before_start(run: Run, verb: str) -> None:
    async def main() -> None:
        runtime = AgentRuntime(store=MEMORY)
        with pytest.raises(RuntimeNotStartedError, match="Runtime not started"):
            await verbs(runtime)[verb]()
        async with runtime:
            pass
        with pytest.raises(RuntimeNotStartedError):
            await verbs(runtime)[verb]()

    run(main)


@SPEC
@pytest.mark.parametrize("verb", NAMES)
def test_a_verb_while_stopping(run: Run, verb: str) -> None:
    class Lingers(Worker):
        async def on_stop(self) -> None:
            await asyncio.sleep(0.1)

    async def main() -> None:
        async with AgentRuntime(store=MEMORY) as runtime:
            await runtime.register_agent("a", Lingers)
            await runtime.start_agent("a")
            stopping = asyncio.create_task(runtime.stop())
            await until(lambda: runtime.status == "stopping")
            with pytest.raises(RuntimeStoppingError, match="Runtime is stopping"):
                await verbs(runtime)[verb]()
            await stopping

    run(main)


@SPEC
@pytest.mark.parametrize("verb", NAMES)
def test_a_verb_from_another_event_loop(run: Run, verb: str) -> None:
    async def main() -> None:
        async with AgentRuntime(store=MEMORY) as runtime:
            errors: list[BaseException] = []

            def elsewhere() -> None:
                async def call() -> None:
                    await verbs(runtime)[verb]()

                try:
                    asyncio.run(call())
                except RuntimeStateError as error:
                    errors.append(error)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            await asyncio.to_thread(thread.join)
            assert len(errors) == 1 and "belongs to another event loop" in str(errors[0])

    run(main)


@SPEC
def test_a_start_of_one_that_runs(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        await refused(runtime, runtime.start, RuntimeStateError, "cannot start a runtime that is running")

    run(with_agents(main))


# -- configuration ------------------------------------------------------------------------------------------------------


@SPEC
def test_every_fault_of_the_configuration_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        AgentRuntime(
            tmp_path / "shoal.db",
            ResourceLimit(max_concurrent_agents=-1),
            {"lease_secs": 1, "durability": "some", "poll_seconds": -1},
            store="sqlite://:memory:",
            bus="carrier-pigeon://home",
        )
    faults = error.value.faults
    assert len(faults) == 6
    for words in (
        ("'lease_secs'", "lease_seconds"),
        ("durability", "full, normal", "'some'"),
        ("poll_seconds", "above 0", "-1"),
        ("max_concurrent_agents", "above 0", "-1"),
        ("storage_path", "store"),
        ("carrier-pigeon",),
    ):
        assert any(all(word in fault for word in words) for fault in faults), (words, faults)
    assert not (tmp_path / "shoal.db").exists()


@SPEC
@pytest.mark.parametrize("url", ["mysql://there", "sqlite:", "shoal.db"])
def test_an_unknown_url_scheme(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        AgentRuntime(store=url)
    assert url in str(error.value) and "sqlite:///" in str(error.value)
    assert ("a path is written sqlite:///PATH" in str(error.value)) == ("://" not in url)


@SPEC
def test_a_url_that_is_for_store_and_bus_is_found_wrong_once() -> None:
    for url in ("postgresql://me:a@b@one/x", "postgresql://me@one/x?shcema=y", "postgresql://me@one/x?schema=A-b"):
        with pytest.raises(ConfigError) as error:
            AgentRuntime(store=url)
        assert [fault.partition(":")[0] for fault in error.value.faults] == ["store"], error.value.faults
        with pytest.raises(ConfigError, match=r"^store: "):
            Client(store=url)


@SPEC
def test_a_node_name_in_use(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db", node="n1") as first:
            before = state(first)
            with pytest.raises(ConfigError, match="n1"):
                async with AgentRuntime(tmp_path / "shoal.db", node="n1"):
                    pass
            assert state(first) == before
            assert [node.name for node in first.store.leases.nodes()] == ["n1"]
            await first.register_agent("a", Worker)  # it lives on

    run(main)


# -- the path of the store ----------------------------------------------------------------------------------------------


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@SPEC
@pytest.mark.parametrize("kind", ["directory", "text", "newer", "no folder", "read-only"])
def test_a_path_that_is_no_store(run: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "shoal.db"
    word = {"directory": "directory", "text": "not a database", "newer": "newer", "no folder": "", "read-only": ""}[
        kind
    ]
    if kind == "directory":
        path.mkdir()
        (path / "inside").write_text("kept")
    elif kind == "text":
        path.write_text("These are my notes, not a database, and they must stay as they are." * 50)
    elif kind == "newer":
        run(lambda: once(path))
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 9999")
        connection.close()
    elif kind == "no folder":
        path = Path("/proc/none/shoal.db")
    else:
        path = Path("/proc/version")
    before = contents(tmp_path)

    async def main() -> None:
        runtime = AgentRuntime(path)
        with pytest.raises(StoreError) as error:
            await runtime.start()
        assert str(path) in str(error.value) and word in str(error.value)
        assert runtime.status == "stopped"
        assert contents(tmp_path) == before

    run(main)


async def once(path: Path) -> None:
    async with AgentRuntime(path):
        pass


# -- agents -------------------------------------------------------------------------------------------------------------


@SPEC
@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "1 to 100"),
        ("x" * 101, "1 to 100"),
        (7, "1 to 100"),
        ("0b3d2a44-3f0c-4b57-9a6b-3f1b7f6c0e11", "shaped like an id"),
        ("0B3D2A44-3F0C-4B57-9A6B-3F1B7F6C0E11", "shaped like an id"),
    ],
)
def test_agent_names(run: Run, name: Any, word: str) -> None:
    async def main(runtime: AgentRuntime) -> None:
        error = await refused(runtime, runtime.register_agent(name, Worker), ConfigError, word, str(name)[:80])
        assert "x" * 81 not in str(error)

    run(with_agents(main))


class Nothing:
    pass


@SPEC
@pytest.mark.parametrize("source", [Nothing, Nothing(), 7, "text", None])
def test_a_source_that_is_no_agent(run: Run, source: Any) -> None:
    async def main(runtime: AgentRuntime) -> None:
        words = "has neither execute_task nor on_message"
        await refused(runtime, runtime.register_agent("x", source), ConfigError, words)

    run(with_agents(main))


@SPEC
def test_a_function_with_too_many_arguments(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        def three(a: Any, b: Any, c: Any) -> None: ...

        await refused(runtime, runtime.register_agent("x", three), ConfigError, "three", "(task)", "3")

    run(with_agents(main))


@SPEC
def test_a_source_that_cannot_travel_to_a_process(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        agent = Worker()
        agent.diary = io.StringIO()  # type: ignore[attr-defined]
        agent.guard = threading.Lock()  # type: ignore[attr-defined]
        call = runtime.register_agent("x", agent, isolation="process")
        await refused(runtime, call, ConfigError, "Worker cannot travel to a process", "guard (lock)")

    run(with_agents(main))


@SPEC
@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"max_concurrent_tasks": 0}, ConfigError, "max_concurrent_tasks"),
        ({"error_threshold": 0}, ConfigError, "error_threshold"),
        ({"isolation": "jail"}, ConfigError, "isolation"),
        ({"limits": ResourceLimit(max_memory_per_agent_mb=100), "isolation": "inline"}, ConfigError, "needs a process"),
        ({"limits": ResourceLimit(max_memory_per_agent_mb=-1)}, ConfigError, "max_memory_per_agent_mb"),
        ({"capabilities": ["", "a"]}, ConfigError, "capabilities"),
        ({"group": "x" * 101}, ConfigError, "group"),
        ({"restart": RestartPolicy(mode="sometimes")}, ConfigError, "mode"),
        ({"restart": RestartPolicy(max_restarts=-1)}, ConfigError, "max_restarts"),
        ({"restart": "always"}, ConfigError, "restart"),
        ({"metadata": {"x": {1, 2}}}, PayloadError, "metadata.x is a set"),
        ({"isolatoin": "process"}, TypeError, "isolation"),
    ],
)
def test_agent_options(run: Run, options: dict[str, Any], error: type[Exception], word: str) -> None:
    async def main(runtime: AgentRuntime) -> None:
        await refused(runtime, lambda: runtime.register_agent("x", Worker, **options), error, word)

    run(with_agents(main))


@SPEC
def test_a_name_held_by_a_live_node_this_one_or_another(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shoal.db"

    async def main() -> None:
        async with running(url, {"worker": Worker}) as one, running(url) as two:
            for runtime in (one, two):
                agent = one.get_agent_status("worker")
                since = (agent.started_at or agent.created_at).isoformat(timespec="seconds")[:13]
                call = runtime.register_agent("worker", Worker)
                error = await refused(runtime, call, AgentNameTakenError, "'worker'", one.node_id, since)
                assert isinstance(error, AgentNameTakenError)
                assert (error.node_id, error.agent_id) == (one.node_id, agent.agent_id)

    run(main)


@SPEC
@pytest.mark.parametrize("isolation", ["bubblewrap", "gvisor", "microvm"])
def test_isolation_that_this_machine_lacks(run: Run, isolation: Any) -> None:
    async def main(runtime: AgentRuntime) -> None:
        hosts = runtime._here.cells.hosts
        if isolation in hosts:
            pytest.skip("this machine has it")
        await refused(
            runtime, runtime.register_agent("x", Worker, isolation=isolation), IsolationUnavailableError, isolation
        )

    run(with_agents(main))


# -- tasks --------------------------------------------------------------------------------------------------------------


PRIORITY = "priority must be 0 to 100, or high, medium, low"
TASKS: list[tuple[dict[str, Any], type[Exception], tuple[str, ...]]] = [
    ({"name": ""}, ValueError, ("task name", "1 to 200")),
    ({"name": "x" * 201}, ValueError, ("task name", "1 to 200")),
    *[({"priority": value}, ValueError, (PRIORITY,)) for value in (101, -1, 1.5, True, "urgent", None)],
    *[
        ({"timeout_seconds": value}, ValueError, ("timeout_seconds", "above 0", repr(value)))
        for value in (0, -1, float("nan"), float("inf"), True, "1")
    ],
    ({"max_retries": -1}, ValueError, ("max_retries", "-1")),
    ({"agent": "worker", "capability": "x"}, ValueError, ("agent", "capability")),
    ({"capability": "x", "group": "y"}, ValueError, ("capability", "group")),
    ({"not_before": datetime.now(UTC), "delay_seconds": 1}, ValueError, ("not_before", "delay_seconds")),
    ({"delay_seconds": -1}, ValueError, ("delay_seconds", "-1")),
    ({"not_before": "tomorrow"}, TypeError, ("not_before", "str")),
    ({"retry": RetryPolicy(max_retries=1), "max_retries": 1}, ValueError, ("retry", "max_retries")),
    ({"retry": RetryPolicy(max_retries=-1)}, ValueError, ("max_retries",)),
    ({"on_dependency_failure": "shrug"}, ValueError, ("on_dependency_failure", "fail", "run")),
    ({"dependencies": ["no-such-task"]}, TaskNotFoundError, ("'no-such-task'",)),
    ({"dependencies": "text"}, TypeError, ("dependencies",)),
    ({"agent": "wroker"}, AgentNotFoundError, ("'wroker'", "did you mean 'worker'?")),
    ({"agent": "ear"}, AgentStateError, ("takes no tasks",)),
    ({"input_data": {"items": [1, 2, 3, {4}]}}, PayloadError, ("input_data.items[3] is a set",)),
    ({"input_data": {"x": b"bytes"}}, PayloadError, ("input_data.x is a bytes",)),
    ({"input_data": {"x": float("nan")}}, PayloadError, ("input_data.x",)),
    ({"input_data": {1: 2}}, PayloadError, ("input_data", "1")),
    ({"input_data": {"x": 2**64}}, PayloadError, ("input_data.x", "64 bits")),
    ({"input_data": {"x": datetime.now(UTC)}}, PayloadError, ("input_data.x is a datetime",)),
    ({"input_data": ["list"]}, TypeError, ("input_data", "dict")),
    ({"input_data": {"x": "y" * (10 * MB)}}, PayloadTooLargeError, (str(10 * MB), str(10 * MB + 8))),
    ({"metadata": {"x": {1}}}, PayloadError, ("metadata.x is a set",)),
    ({"agnet": "worker"}, TypeError, ("agent",)),
]


@SPEC
@pytest.mark.parametrize(("given", "error", "words"), TASKS, ids=[str(row[0])[:40] for row in TASKS])
def test_tasks(run: Run, given: dict[str, Any], error: type[Exception], words: tuple[str, ...]) -> None:
    async def main(runtime: AgentRuntime) -> None:
        call = {"name": "t", **given}
        await refused(runtime, lambda: runtime.submit_task(**call), error, *words)
        if "agnet" in given:
            return
        good = TaskSpec(name="good")
        await refused(runtime, lambda: runtime.submit_tasks([good, TaskSpec(**call)]), error, *words)

    run(with_agents(main))


@SPEC
def test_circles_in_a_batch(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        def batch(**waits: list[str]) -> Callable[[], Any]:
            return lambda: runtime.submit_tasks([TaskSpec(name=k, key=k, dependencies=d) for k, d in waits.items()])

        await refused(runtime, batch(a=["b"], b=["a"], c=[]), CyclicDependencyError, "a -> b -> a")
        await refused(runtime, batch(a=["a"]), CyclicDependencyError, "a -> a")
        await refused(runtime, batch(a=["nobody"]), TaskNotFoundError, "'nobody'")

    run(with_agents(main))


@SPEC
def test_unknown_ids_and_names_everywhere(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        async def sync(call: Callable[[], Any]) -> Any:
            return call()

        async def first(stream: Any) -> Any:
            return await anext(stream)

        for call in (
            lambda: runtime.cancel_task("nope"),
            lambda: runtime.wait_for_task("nope"),
            lambda: runtime.wait_for_tasks(["nope"]),
            lambda: first(runtime.as_completed(["nope"])),
            lambda: sync(lambda: runtime.get_task_status("nope")),
            lambda: sync(lambda: runtime.get_queue_position("nope")),
        ):
            await refused(runtime, call, TaskNotFoundError, "'nope'")
        for call in (
            lambda: runtime.start_agent("wroker"),
            lambda: runtime.stop_agent("wroker"),
            lambda: runtime.pause_agent("wroker"),
            lambda: runtime.resume_agent("wroker"),
            lambda: runtime.unregister_agent("wroker"),
            lambda: sync(lambda: runtime.get_agent_status("wroker")),
            lambda: runtime.send_message(["wroker"], "note", 1),
            lambda: runtime.request("wroker", "note", 1),
            lambda: runtime.create_group("g", ["wroker"]),
            lambda: sync(lambda: runtime.list_tasks(agent_id="wroker")),
        ):
            await refused(runtime, call, AgentNotFoundError, "'wroker'", "did you mean 'worker'?")

    run(with_agents(main))


@SPEC
def test_a_capability_or_group_that_nobody_has_is_accepted(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        ids = [await runtime.submit_task("t", capability="Fly"), await runtime.submit_task("t", group="nobody")]
        for task_id in ids:
            assert runtime.get_task_status(task_id).status is TaskStatus.PENDING
            assert runtime.get_queue_position(task_id).reason == "no_agent"
        for _ in range(2):
            await runtime._here.maintenance._expire()
        told = runtime.query_events("task_unroutable")
        assert sorted(e.task_id or "" for e in told) == sorted(ids), "once each"
        await runtime.register_agent("bird", Worker, capabilities=["fly"])
        await runtime.start_agent("bird")
        assert (await runtime.wait_for_task(ids[0], 10)).status is TaskStatus.COMPLETED

    run(with_agents(main))


@SPEC
@pytest.mark.parametrize(
    ("answer", "words"), [({1, 2}, "output_data is a set"), ([{"x": object()}], "output_data[0].x is an object")]
)
def test_an_output_that_is_not_encodable_fails_the_task(run: Run, answer: Any, words: str) -> None:
    async def bad(task: Task) -> Any:
        return answer

    async def main(runtime: AgentRuntime) -> None:
        await runtime.register_agent("bad", bad)
        await runtime.start_agent("bad")
        task = await runtime.wait_for_task(await runtime.submit_task("t", agent="bad", max_retries=3), 10)
        assert (task.status, task.error_type, task.attempt) == (TaskStatus.FAILED, "PayloadError", 1)
        assert words in (task.error_message or "")

    run(with_agents(main))


@SPEC
def test_state_that_is_not_encodable(run: Run) -> None:
    class Bad(Worker):
        async def on_pause(self) -> Any:
            return self.config["state"] and {"items": {1, 2}}

        async def execute_task(self, task: Task) -> Any:
            if task.name == "checkpoint":
                await self.context.checkpoint({"x": {1}})
            await self.context.shared.set("key", {1, 2})

    async def main(runtime: AgentRuntime) -> None:
        await runtime.register_agent("bad", Bad, {"state": True})
        await runtime.start_agent("bad")
        await refused(runtime, runtime.pause_agent("bad"), AgentPauseError, "on_pause().items is a set")
        for name, words in (("checkpoint", "state.x is a set"), ("shared", "is a set")):
            task = await runtime.wait_for_task(await runtime.submit_task(name, agent="bad"), 10)
            assert task.error_type == "PayloadError" and words in (task.error_message or "")
        await refused(runtime, lambda: runtime.shared.set("k", [{1}]), PayloadError, "[0] is a set")
        with pytest.raises(PayloadTooLargeError):
            await runtime.shared.set("k", "x" * 10 * MB)

    run(with_agents(main))


@SPEC
def test_a_full_queue_and_a_batch_larger_than_the_room_left(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        await runtime.pause_queue()
        await runtime.submit_tasks([TaskSpec(name="t"), TaskSpec(name="t")])
        before = runtime.get_queue_status()
        with pytest.raises(QueueFullError, match="Task queue at capacity") as error:
            await runtime.submit_tasks([TaskSpec(name="t"), TaskSpec(name="t")])
        assert error.value.max_size == 3 and runtime.get_queue_status() == before
        await runtime.submit_task("t")
        with pytest.raises(QueueFullError):
            await runtime.submit_task("t")
        assert runtime.get_queue_status()["pending_count"] == 3

    run(with_agents(main, limits=ResourceLimit(max_task_queue_size=3)))


@SPEC
def test_one_idempotency_key_for_two_things(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        first = await runtime.submit_task("t", {"x": 1}, idempotency_key="k")
        assert await runtime.submit_task("t", {"x": 1}, idempotency_key="k") == first
        await runtime.wait_for_task(first, 10)
        for name, data in (("t", {"x": 2}), ("u", {"x": 1})):
            call = runtime.submit_task(name, data, idempotency_key="k")
            error = await refused(runtime, call, IdempotencyConflictError, "'k'", first)
            assert isinstance(error, IdempotencyConflictError) and error.task_id == first

    run(with_agents(main))


# -- messages -----------------------------------------------------------------------------------------------------------


@SPEC
@pytest.mark.parametrize("kind", ["", "x" * 51, "two words", "dash-ed", 7, None])
def test_message_types(run: Run, kind: Any) -> None:
    async def main(runtime: AgentRuntime) -> None:
        await refused(runtime, runtime.send_message(["worker"], kind, 1), ValueError, "message_type", "1 to 50")
        await refused(runtime, runtime.request("ear", kind, 1), ValueError, "message_type", "1 to 50")

    run(with_agents(main))


@SPEC
def test_recipients_topics_and_contents(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        text = "recipient_ids is a list; for all use broadcast_message"
        await refused(runtime, runtime.send_message("worker", "note", 1), TypeError, text)
        await refused(runtime, runtime.send_message([], "note", 1), ValueError, "recipient_ids is empty")
        for topic in ("", "a..b", "a b", "a.*", "a.>"):
            await refused(runtime, partial(runtime.publish, topic, 1), ValueError, "topic")
        await refused(
            runtime, runtime.send_message(["worker"], "note", {"x": [{1}]}), PayloadError, "data.x[0] is a set"
        )
        big = "x" * 10 * MB
        error = await refused(
            runtime, runtime.send_message(["worker"], "note", big), MessageTooLargeError, str(10 * MB), str(10 * MB + 2)
        )
        assert isinstance(error, MessageTooLargeError) and (error.size, error.limit) == (10 * MB + 2, 10 * MB)
        await refused(runtime, runtime.request("ear", "note", big), MessageTooLargeError)
        await refused(runtime, runtime.send_message(["worker"], "note", 1, ttl_seconds=0), ValueError, "ttl_seconds")
        await refused(runtime, runtime.request("ear", "note", 1, timeout_seconds=-1), ValueError, "timeout_seconds")
        await refused(runtime, runtime.redeliver("nope"), LookupError, "'nope'")

    run(with_agents(main))


# -- queries and exports ------------------------------------------------------------------------------------------------


@SPEC
def test_queries_and_exports(run: Run, tmp_path: Path) -> None:
    async def main(runtime: AgentRuntime) -> None:
        async def later(call: Callable[[], Any]) -> Any:
            return call()

        limits: tuple[Any, ...] = (0, 10_001, -1, True, 1.5)
        for limit in limits:
            await refused(runtime, partial(later, partial(runtime.query_events, limit=limit)), ValueError, "1 to 10000")
            await refused(runtime, partial(later, partial(runtime.list_tasks, limit=limit)), ValueError, "1 to 10000")
        await refused(runtime, lambda: later(lambda: runtime.list_tasks(status="odd")), ValueError, "odd")
        await refused(runtime, lambda: later(lambda: runtime.list_agents(status="odd")), ValueError, "odd")
        target = tmp_path / "events.out"
        await refused(runtime, runtime.export_events(target, format="xml"), ValueError, "xml", "jsonl", "csv", "json")
        for path in (tmp_path / "no" / "folder" / "x", tmp_path, Path("/proc/none/x")):
            await refused(runtime, partial(runtime.export_events, path), OSError)
        assert list(tmp_path.iterdir()) == [], "no partial file stays"

    run(with_agents(main))


# -- hooks --------------------------------------------------------------------------------------------------------------


@SPEC
@pytest.mark.parametrize("answer", [None, 7, "text", [1]])
def test_on_pause_returns_no_dict(run: Run, answer: Any) -> None:
    class Bad(Worker):
        async def on_pause(self) -> Any:
            return answer

    async def main(runtime: AgentRuntime) -> None:
        await runtime.register_agent("bad", Bad)
        await runtime.start_agent("bad")
        await refused(runtime, runtime.pause_agent("bad"), AgentPauseError, "on_pause", type(answer).__name__)
        task = await runtime.wait_for_task(await runtime.submit_task("t", agent="bad"), 10)
        assert task.status is TaskStatus.COMPLETED, "it runs on"

    run(with_agents(main))


@SPEC
@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_a_constructor_that_raises(run: Run, isolation: Any) -> None:
    class Bad(Worker):
        def __init__(self, config: Any) -> None:
            raise LookupError("there is no such thing")

    async def main(runtime: AgentRuntime) -> None:
        await runtime.register_agent("bad", Bad, isolation=isolation)
        with pytest.raises(AgentStartError) as error:
            await runtime.start_agent("bad")
        assert "there is no such thing" in str(error.value) and "LookupError" in str(error.value)
        assert error.value.__cause__ is not None and "there is no such thing" in str(error.value.__cause__)
        assert runtime.get_agent_status("bad").status == "failed"

    run(with_agents(main))


@SPEC
def test_pause_a_stopped_agent(run: Run) -> None:
    async def main(runtime: AgentRuntime) -> None:
        await runtime.stop_agent("worker")
        await refused(runtime, runtime.pause_agent("worker"), AgentStateError, "cannot pause a stopped agent")
        await refused(runtime, runtime.resume_agent("worker"), AgentStateError, "cannot resume a stopped agent")

    run(with_agents(main))
