"""Every type of event is written by its fact: not before it, and with what it happened to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, EventType, ResourceLimit, RestartPolicy, Task, TaskSpec
from shoal.errors import AgentLimitError, DeadlockError, MailboxFullError, QueueFullError, RequestFailedError
from shoal.kernel.event import SEVERITY
from shoal.kernel.ports import Node
from shoal.testing import store_run_life
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.runtimes import running
from tests.support.servers import Echo

ELSEWHERE = {
    EventType.LOOP_BLOCKED: "lifecycle/test_runtime_endings.py",
    EventType.LEASE_LOST: "lifecycle/test_runtime_recovery.py",
    EventType.ORPHAN_KILLED: "lifecycle/test_runtime_recovery.py",
    EventType.NODE_DRAINING: "lifecycle/nodes/test_drain.py",
}
"""Those that need real processes or a blocked loop."""

RUNS = {
    EventType.RUN_STARTED,
    EventType.RUN_FINISHED,
    EventType.APPROVAL_ASKED,
    EventType.APPROVAL_GIVEN,
    EventType.BUDGET_EXHAUSTED,
    EventType.LOOP_DETECTED,
}
"""Those of runs, which every store's suite looks for."""


class Stage:
    """One runtime and the means to let things happen on it."""

    def __init__(self, runtime: AgentRuntime, clock: VirtualClock) -> None:
        self.runtime = runtime
        self.clock = clock

    async def agent(self, name: str, source: Any = None, **options: Any) -> str:
        """Register and start an agent."""
        agent_id = await self.runtime.register_agent(name, source or obey, **options)
        await self.runtime.start_agent(name)
        return agent_id

    async def does(self, name: str, what: str, **options: Any) -> Task:
        """Let the agent *name* do *what* in a task of its own."""
        task_id = await self.runtime.submit_task(what, agent=name, **options)
        return await self.runtime.wait_for_task(task_id, timeout_seconds=600)


async def obey(task: Task, context: Any) -> None:
    match task.name:
        case "fail":
            raise ValueError("as asked")
        case "progress":
            await context.progress(1.0)
        case "checkpoint":
            await context.checkpoint({"n": 1})
        case "sleep":
            await asyncio.sleep(task.input_data.get("seconds", 3600))
        case "send":
            await context.send_message([task.input_data["to"]], "note", {}, ttl_seconds=1)
        case "broadcast":
            await context.broadcast_message("note", {})
        case "receive":
            assert await context.receive_messages(block=True, timeout_seconds=60)


class Moody(BaseAgent):
    """Raises in on_start, when its configuration says so."""

    async def execute_task(self, task: Task) -> None:
        return None

    async def on_start(self) -> None:
        if self.config.get("bad"):
            raise ValueError("a bad start")
        await self.context.checkpoint({"started": True})


class Asker(BaseAgent):
    """Asks the other one, which asks back."""

    async def on_message(self, message: Any) -> Any:
        other = message.data["other"]
        return (await self.context.request(other, "ask", {"other": self.context.name})).data


# -- scenarios: each lets its fact happen


async def life_of_an_agent(stage: Stage) -> None:
    agent_id = await stage.agent("life", Moody, config={})
    await stage.runtime.pause_agent(agent_id)
    await stage.runtime.resume_agent(agent_id)
    await stage.runtime.stop_agent(agent_id)
    await stage.runtime.unregister_agent(agent_id)


async def bad_start(stage: Stage) -> None:
    with pytest.raises(Exception, match="a bad start"):
        await stage.agent("bad", Moody, config={"bad": True})


async def no_place(stage: Stage) -> None:
    for n in range(3):
        await stage.agent(f"place {n}")
    await stage.runtime.register_agent("one too many", obey)
    with pytest.raises(AgentLimitError):
        await stage.runtime.start_agent("one too many")


async def error_threshold(stage: Stage) -> None:
    await stage.agent("weak", error_threshold=1)
    await stage.does("weak", "fail")
    while stage.runtime.get_agent_status("weak").status != "failed":
        await stage.clock.sleep(0.1)


async def stubborn(stage: Stage) -> None:
    """Code that does not end when it is told to: its agent is built anew."""

    release = asyncio.Event()

    async def never_ends(task: Task) -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    await stage.agent("stubborn", never_ends, restart=RestartPolicy())
    await stage.does("stubborn", "stubborn", timeout_seconds=1)
    while not stage.runtime.query_events("agent_restarted"):
        await stage.clock.sleep(1)
    release.set()


async def work(stage: Stage) -> None:
    await stage.agent("worker")
    await stage.does("worker", "progress")
    await stage.does("worker", "checkpoint")
    await stage.does("worker", "fail", max_retries=1)
    await stage.does("worker", "sleep", timeout_seconds=1)
    cancelled = await stage.runtime.submit_task("x", delay_seconds=9999)
    await stage.runtime.cancel_task(cancelled)
    await stage.runtime.submit_task("x", capability="nobody has it")
    interrupted = await stage.runtime.submit_task("sleep", agent="worker")
    while stage.runtime.get_task_status(interrupted).status != "running":
        await stage.clock.sleep(0.1)
    await stage.runtime.stop_agent("worker", graceful=False)
    await stage.clock.sleep(30)


async def queue(stage: Stage) -> None:
    await stage.runtime.pause_queue()
    await stage.runtime.resume_queue()
    with pytest.raises(QueueFullError):
        await stage.runtime.submit_tasks([TaskSpec(name="x") for _ in range(101)])


async def mail(stage: Stage) -> None:
    await stage.agent("reader")
    await stage.agent("writer")
    await stage.runtime.send_message(["reader"], "note", {}, durable=True)
    await stage.does("reader", "receive")
    await stage.does("writer", "send", input_data={"to": "reader"})
    await stage.clock.sleep(5)
    for _ in range(2):
        await stage.runtime.send_message(["reader"], "note", {})
    with pytest.raises(MailboxFullError):
        await stage.runtime.send_message(["reader"], "note", {})
    await stage.does("writer", "broadcast")


async def groups(stage: Stage) -> None:
    await stage.runtime.create_group("team")


async def deadlock(stage: Stage) -> None:
    for name in ("ask a", "ask b"):
        await stage.agent(name, Asker)
    first = asyncio.create_task(stage.runtime.request("ask a", "ask", {"other": "ask b"}))
    second = asyncio.create_task(stage.runtime.request("ask b", "ask", {"other": "ask a"}))
    found = await asyncio.gather(first, second, return_exceptions=True)
    assert any(isinstance(error, (DeadlockError, RequestFailedError)) for error in found)


async def lost_node(stage: Stage) -> None:
    now = stage.clock.now()
    record = Node(
        node_id="silent", runtime_id="silent", name="silent", host="elsewhere", pid=1, pid_started=1, started_at=now,
        lease_until=now + timedelta(seconds=1),
    )  # fmt: skip
    await stage.runtime.store.leases.join(record, now=now)
    await stage.clock.sleep(5)


async def service(stage: Stage) -> None:
    services = stage.runtime.services
    echo = await services.start(Echo)
    await services.control(echo, "pause")
    await stage.clock.sleep(1)
    await services.control(echo, "resume")
    await services.stop(echo.instance)
    await stage.clock.sleep(1)


SCENARIOS: dict[Callable[[Stage], Awaitable[None]], str] = {
    life_of_an_agent: "agent_registered agent_started agent_checkpointed agent_paused agent_resumed agent_stopped "
    "agent_unregistered",
    bad_start: "agent_failed agent_hook_failed",
    no_place: "agent_queued",
    error_threshold: "agent_error_threshold",
    stubborn: "agent_restarted",
    work: "task_enqueued task_assigned task_started task_progress task_checkpointed task_completed task_retrying "
    "task_failed task_timeout task_cancelled task_unroutable task_interrupted",
    queue: "queue_paused queue_resumed queue_full",
    mail: "message_sent message_received message_expired message_dead_lettered message_rejected",
    groups: "group_changed",
    deadlock: "deadlock_detected",
    lost_node: "node_lost",
    service: "service_joined service_changed service_left",
}
LIMITS = ResourceLimit(max_concurrent_agents=3, max_task_queue_size=100, message_queue_max_size=2)
AGENT = {kind for kind in EventType if kind.startswith("agent_")}
TASK = {kind for kind in EventType if kind.startswith("task_")}


@pytest.mark.sqlite
@pytest.mark.spec("R44")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_each_type_is_written_by_its_fact(url: str, scenario: Callable[[Stage], Awaitable[None]]) -> None:
    async def main(clock: VirtualClock) -> None:
        async with running(url, limits=LIMITS, clock=clock) as runtime:
            kinds = [EventType(word) for word in SCENARIOS[scenario].split()]
            for kind in kinds:
                assert runtime.query_events(kind) == [], "not before its fact"
            await scenario(Stage(runtime, clock))
            for kind in kinds:
                event = next(iter(runtime.query_events(kind)), None)
                assert event is not None, f"{kind} is missing"
                assert event.severity is SEVERITY[kind]
                assert event.agent_id is not None or kind not in AGENT
                assert event.task_id is not None or kind not in TASK
            for task in runtime.list_tasks("pending"):
                await runtime.cancel_task(task.task_id)

    run_virtual(main)


@pytest.mark.sqlite
@pytest.mark.spec("R44")
def test_the_life_of_a_runtime_is_told(store_url: str) -> None:
    async def main(clock: VirtualClock) -> None:
        async with running(store_url, clock=clock) as runtime:
            (started,) = runtime.query_events("runtime_started")
            assert started.node_id == runtime.node_id
            assert runtime.query_events("runtime_stopped") == []
        async with running(store_url, clock=clock) as again:
            (stopped,) = again.query_events("runtime_stopped")
            assert stopped.node_id == runtime.node_id
            assert len(again.query_events("runtime_started")) == 2

    run_virtual(main)


@pytest.mark.spec("R44")
def test_no_type_is_left_out() -> None:
    here = {EventType(word) for words in SCENARIOS.values() for word in words.split()}
    here |= {EventType.RUNTIME_STARTED, EventType.RUNTIME_STOPPED}
    for kind, place in ELSEWHERE.items():
        text = (Path(__file__).parents[1] / place).read_text()
        assert f'query_events("{kind}"' in text, f"{place} does not look for {kind}"
    assert not here & set(ELSEWHERE)
    suite = Path(store_run_life.__file__).read_text()
    assert [kind for kind in RUNS if f'"{kind}"' not in suite] == []
    left = set(EventType) - here - set(ELSEWHERE) - RUNS
    assert left <= {EventType.RESOURCE_LIMIT_WARNING, EventType.RESOURCE_LIMIT_EXCEEDED, EventType.LAUNCH_DELAYED}
