"""Every pair of state and verb of both state machines, carried out: what is allowed, and what is refused without a trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, AgentStatus, BaseAgent, ResourceLimit, Task, TaskStatus
from shoal.errors import AgentLimitError, AgentStartError, AgentStateError
from shoal.kernel.agent import AGENT_EVENTS, AGENT_TRANSITIONS, AgentInstance, AgentVerb
from shoal.kernel.ports import AgentChange, Fence, Node, Outcome, Settlement, Store
from shoal.kernel.room import Room, Slot
from shoal.kernel.task import TRANSITIONS
from shoal.store import open_store
from shoal.testing.clock import VirtualClock, run_virtual

NOW = datetime(2026, 1, 1, tzinfo=UTC)
S, V = AgentStatus, AgentVerb
WAYS: dict[AgentStatus, tuple[AgentVerb, ...]] = {
    S.STOPPED: (),
    S.QUEUED: (V.QUEUE,),
    S.STARTING: (V.START,),
    S.RUNNING: (V.START, V.STARTED),
    S.PAUSED: (V.START, V.STARTED, V.PAUSE),
    S.STOPPING: (V.START, V.STARTED, V.STOP),
    S.FAILED: (V.START, V.STARTED, V.DIED),
}


def node(name: str) -> Node:
    later = NOW + timedelta(seconds=60)
    return Node(
        node_id=name, runtime_id=name, name=name, host="h", pid=1, pid_started=1, started_at=NOW, lease_until=later
    )


async def opened(tmp_path: Path) -> Store:
    store = open_store(f"sqlite:///{tmp_path}/shoal.db", inline=True)
    await store.open()
    await store.leases.join(node("n"), now=NOW)
    return store


def change(verb: AgentVerb) -> AgentChange:
    return AgentChange(agent_id="a", verb=verb, node_id="n", state={"kept": 1} if verb is V.PAUSE else None)


async def agent_in(store: Store, status: AgentStatus) -> None:
    agent = AgentInstance(agent_id="a", name="a", status=S.STOPPED, created_at=NOW, updated_at=NOW, node_id="n")
    await store.agents.register(agent, now=NOW)
    for verb in WAYS[status]:
        await store.agents.advance(change(verb), now=NOW)
    assert store.agents.get("a").status is status


@pytest.mark.spec("R23")
@pytest.mark.parametrize(("status", "verb"), [p for p in product(AgentStatus, AgentVerb) if p[1] is not V.NODE_LOST])
def test_agent(tmp_path: Path, status: AgentStatus, verb: AgentVerb) -> None:
    async def main(clock: VirtualClock) -> None:
        store = await opened(tmp_path)
        await agent_in(store, status)
        last = store.events.last_id()
        after = AGENT_TRANSITIONS.get((status, verb))
        if after is None:
            with pytest.raises(AgentStateError) as error:
                await store.agents.advance(change(verb), now=NOW)
            assert (error.value.status, error.value.operation) == (str(status), str(verb))
            assert (store.agents.get("a").status, store.events.last_id()) == (status, last)
        else:
            assert (await store.agents.advance(change(verb), now=NOW)).status is after
            assert store.agents.get("a").status is after
            events = 1 if verb in AGENT_EVENTS else 0
            assert store.events.last_id() == last + events, "each step is one transaction with its event"
        await store.close()

    run_virtual(main)


@pytest.mark.spec("R23")
@pytest.mark.parametrize("status", AgentStatus)
def test_agent_whose_node_is_lost(tmp_path: Path, status: AgentStatus) -> None:
    async def main(clock: VirtualClock) -> None:
        store = await opened(tmp_path)
        await agent_in(store, status)
        await store.leases.rescue(["n"], now=NOW, max_interruptions=25)
        assert store.agents.get("a").status is AGENT_TRANSITIONS.get((status, V.NODE_LOST), status)
        await store.close()

    run_virtual(main)


# -- tasks: what is not in the table has no effect ---------------------------------------------------------------------


def settlement(outcome: Outcome, token: int) -> Settlement:
    error = {} if outcome is Outcome.COMPLETED else {"error_type": "E", "error_message": "e"}
    return Settlement(fence=Fence("t", "n", token), agent_id="a", outcome=outcome, **error)  # type: ignore[arg-type]


async def claim(store: Store) -> None:
    await store.tasks.claim("n", Room([Slot(agent_id="a", targets=("",))]), now=NOW)


async def settle(store: Store, outcome: Outcome) -> None:
    await store.tasks.settle(settlement(outcome, max(1, store.tasks.get("t").attempt)), now=NOW)


async def dependency_failed(store: Store) -> None:
    await store.tasks.cancel("before", None, now=NOW)


TASK_VERBS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "claim": claim,
    "cancel": lambda store: store.tasks.cancel("t", None, now=NOW),
    "dependency_failed": dependency_failed,
    "complete": lambda store: settle(store, Outcome.COMPLETED),
    "retry": lambda store: settle(store, Outcome.RETRY),
    "fail": lambda store: settle(store, Outcome.FAILED),
    "interrupt": lambda store: settle(store, Outcome.INTERRUPTED),
}
TASK_WAYS: dict[str, tuple[str, ...]] = {
    "pending": (),
    "running": ("claim",),
    "completed": ("claim", "complete"),
    "failed": ("claim", "fail"),
    "cancelled": ("claim", "cancel"),
}


def new_task(task_id: str, **fields: Any) -> Task:
    return Task(task_id=task_id, name=task_id, created_at=NOW, **fields)


@pytest.mark.spec("R23")
@pytest.mark.parametrize(("status", "verb"), list(product(TASK_WAYS, TASK_VERBS)))
def test_task(tmp_path: Path, status: str, verb: str) -> None:
    async def main(clock: VirtualClock) -> None:
        store = await opened(tmp_path)
        if verb == "dependency_failed" and status == "pending":
            await store.tasks.enqueue([new_task("before")], now=NOW, max_pending=None)
            task = new_task("t", dependencies=("before",))
        else:  # a dependency that fails later can concern only a task that still waits for it
            task = new_task("t", agent=None)
        await store.tasks.enqueue([task], now=NOW, max_pending=None)
        for step in TASK_WAYS[status]:
            await TASK_VERBS[step](store)
        assert store.tasks.get("t").status == status
        before, last = store.tasks.get("t"), store.events.last_id()
        if verb == "dependency_failed" and status != "pending":
            await store.tasks.enqueue([new_task("before")], now=NOW, max_pending=None)
            last = store.events.last_id() + 1  # the cancel of the other one
        await TASK_VERBS[verb](store)
        wanted = TRANSITIONS.get((TaskStatus(status), verb))
        if wanted is None:
            assert store.tasks.get("t") == before, "no effect"
            assert store.events.last_id() == last
        else:
            assert store.tasks.get("t").status is wanted
        await store.close()

    run_virtual(main)


@pytest.mark.spec("R23")
def test_submit_after_a_failed_dependency(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        store = await opened(tmp_path)
        await store.tasks.enqueue([new_task("a")], now=NOW, max_pending=None)
        await store.tasks.cancel("a", None, now=NOW)
        await store.tasks.enqueue([new_task("t", dependencies=("a",)), new_task("u")], now=NOW, max_pending=None)
        assert (store.tasks.get("t").status, store.tasks.get("u").status) == (TaskStatus.FAILED, TaskStatus.PENDING)
        await store.close()

    run_virtual(main)


@pytest.mark.spec("R23")
@pytest.mark.parametrize("outcome", Outcome)
def test_a_settlement_with_an_old_token_has_no_effect(tmp_path: Path, outcome: Outcome) -> None:
    async def main(clock: VirtualClock) -> None:
        store = await opened(tmp_path)
        await store.tasks.enqueue([new_task("t")], now=NOW, max_pending=None)
        await claim(store)
        await settle(store, Outcome.INTERRUPTED)
        await claim(store)
        before, last = store.tasks.get("t"), store.events.last_id()
        assert not (await store.tasks.settle(settlement(outcome, 1), now=NOW)).applied
        assert (store.tasks.get("t"), store.events.last_id()) == (before, last)
        await store.close()

    run_virtual(main)


# -- the same by the verbs of a caller ---------------------------------------------------------------------------------


class Plain(BaseAgent):
    async def on_start(self) -> None:
        if self.config.get("fails"):
            raise OSError("no")

    async def execute_task(self, task: Task) -> None:
        return None


async def brought_to(runtime: AgentRuntime, status: str) -> None:
    await runtime.register_agent("a", Plain, {"fails": status == "failed"})
    if status == "queued":
        await runtime.register_agent("first", Plain)
        await runtime.start_agent("first")
        with pytest.raises(AgentLimitError):
            await runtime.start_agent("a")
    elif status == "failed":
        with pytest.raises(AgentStartError):
            await runtime.start_agent("a")
    elif status != "stopped":
        await runtime.start_agent("a")
    if status == "paused":
        await runtime.pause_agent("a")
    assert runtime.get_agent_status("a").status == status


AFTER = {
    ("stopped", "start"): "running",
    ("stopped", "stop"): "stopped",
    ("stopped", "unregister"): None,
    ("queued", "start"): AgentLimitError,
    ("queued", "stop"): "stopped",
    ("running", "start"): "running",
    ("running", "pause"): "paused",
    ("running", "stop"): "stopped",
    ("paused", "start"): "paused",
    ("paused", "resume"): "running",
    ("paused", "stop"): "stopped",
    ("failed", "start"): AgentStartError,
    ("failed", "stop"): "failed",
    ("failed", "unregister"): None,
}
VERBS = ("start", "pause", "resume", "stop", "unregister")


@pytest.mark.spec("R23")
@pytest.mark.parametrize(("status", "verb"), list(product(("stopped", "queued", "running", "paused", "failed"), VERBS)))
def test_verbs_of_a_caller(status: str, verb: str) -> None:
    async def main(clock: VirtualClock) -> None:
        limits = ResourceLimit(max_concurrent_agents=1)
        async with AgentRuntime(store="sqlite://:memory:", resource_limits=limits, clock=clock) as runtime:
            await brought_to(runtime, status)
            last = runtime.store.events.last_id()
            call = getattr(runtime, f"{verb}_agent")
            after = AFTER.get((status, verb), AgentStateError)
            if isinstance(after, type):
                with pytest.raises(after) as error:
                    await call("a")
                assert runtime.get_agent_status("a").status == status
                if after is AgentStateError:
                    assert isinstance(error.value, AgentStateError)
                    article = "an" if status[0] in "aeiou" else "a"
                    assert str(error.value) == f"cannot {verb} {article} {status} agent"
                    assert (error.value.status, error.value.operation) == (status, verb)
                    assert runtime.store.events.last_id() == last
                return
            await call("a")
            if after is None:
                assert runtime.list_agents() == []
            else:
                assert runtime.get_agent_status("a").status == after

    run_virtual(main)
