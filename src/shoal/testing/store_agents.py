"""The contract of ``AgentStore``."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from shoal.errors import AgentNameTakenError, AgentNotFoundError, AgentStateError, GroupError, LeaseLostError
from shoal.kernel.agent import AGENT_EVENTS, AGENT_TRANSITIONS, AgentInstance, AgentStatus, AgentVerb
from shoal.kernel.event import Fact
from shoal.kernel.ports import Store
from shoal.kernel.task import Task, TaskStatus
from shoal.testing.store_frame import (
    T0,
    agent,
    at,
    change,
    contract,
    events_of,
    join,
    kinds,
    message,
    new_id,
    start,
)

__all__ = ["AgentsContract"]

_V = AgentVerb
_WAYS: dict[AgentStatus, tuple[AgentVerb, ...]] = {
    AgentStatus.STOPPED: (),
    AgentStatus.QUEUED: (_V.QUEUE,),
    AgentStatus.STARTING: (_V.START,),
    AgentStatus.RUNNING: (_V.START, _V.STARTED),
    AgentStatus.PAUSED: (_V.START, _V.STARTED, _V.PAUSE),
    AgentStatus.STOPPING: (_V.START, _V.STOP),
    AgentStatus.FAILED: (_V.START, _V.START_FAILED),
}
"""How to bring an agent that was just registered to each status."""


async def _bring(store: Store, name: str, status: AgentStatus, *, node: str = "n1") -> str:
    agent_id = (await store.agents.register(agent(name, node=node), now=T0)).agent_id
    for verb in _WAYS[status]:
        await _step(store, agent_id, verb, node=node)
    assert store.agents.get(agent_id).status is status
    return agent_id


async def _step(store: Store, agent_id: str, verb: AgentVerb, *, node: str = "n1", now: float = 0) -> AgentInstance:
    state: dict[str, object] | None = {"kept": 1} if verb is _V.PAUSE else None
    return await store.agents.advance(change(agent_id, verb, node=node, state=state), now=at(now))


class AgentsContract:
    """Who is known, where each stands, and groups."""

    @contract
    async def test_an_agent_comes_back_as_registered(self, store: Store) -> None:
        new = agent(
            "worker", config={"a": [1]}, metadata={"m": None}, isolation="process", capabilities=("Search", "sum"),
            groups=("blue", "all"),
        )  # fmt: skip
        known = await store.agents.register(new, now=at(1))
        assert known == store.agents.get("worker") == store.agents.get(new.agent_id)
        assert (known.agent_id, known.name, known.status, known.node_id) == (new.agent_id, "worker", "stopped", "n1")
        assert (known.created_at, known.updated_at) == (at(1), at(1))
        assert (known.config, known.metadata, known.isolation) == ({"a": [1]}, {"m": None}, "process")
        assert (known.capabilities, sorted(known.groups)) == (("Search", "sum"), ["all", "blue"])
        assert store.agents.groups() == {"all": [new.agent_id], "blue": [new.agent_id]}
        (event,) = events_of(store, "agent_registered")
        assert (event.agent_id, event.node_id, event.timestamp) == (new.agent_id, "n1", at(1))

    @contract
    async def test_an_unknown_agent_is_named_with_the_nearest(self, store: Store) -> None:
        await store.agents.register(agent("worker"), now=T0)
        with pytest.raises(AgentNotFoundError, match="did you mean 'worker'"):
            store.agents.get("wroker")
        with pytest.raises(AgentNotFoundError):
            await store.agents.unregister("nobody", now=T0)
        with pytest.raises(AgentNotFoundError):
            await store.agents.advance(change("nobody", _V.START), now=T0)
        with pytest.raises(AgentNotFoundError):
            await store.agents.checkpoint("nobody", "n1", {}, now=T0)

    @contract
    async def test_search_in_order_of_registration(self, store: Store) -> None:
        for name, words in (("zeta", ("Search",)), ("beta", ("SEARCH", "x")), ("alpha", ()), ("eta", ("straße",))):
            await store.agents.register(agent(name, capabilities=words, groups=("g",) if words else ()), now=T0)
        await _step(store, store.agents.get("beta").agent_id, _V.START, now=5)

        def names(**wanted: object) -> list[str]:
            return [found.name for found in store.agents.search(**wanted)]  # type: ignore[arg-type]

        assert names() == ["zeta", "beta", "alpha", "eta"]
        assert names(capability="search") == ["zeta", "beta"]
        assert names(capability="STRASSE") == ["eta"]
        assert names(group="g", status=AgentStatus.STOPPED) == ["zeta", "eta"]
        assert names(capability="searc") == names(group="h") == []

    # -- the state machine

    @contract
    async def test_every_pair_of_status_and_verb(self, store: Store) -> None:
        for status, verb in product(AgentStatus, AgentVerb):
            name = f"{status}-{verb}"
            agent_id = await _bring(store, name, status)
            before, last = store.agents.get(agent_id), store.events.last_id()
            expected = AGENT_TRANSITIONS.get((status, verb))
            if expected is None:
                with pytest.raises(AgentStateError) as refused:
                    await _step(store, agent_id, verb, now=1)
                assert str(refused.value) == f"cannot {str(verb).replace('_', ' ')} a {status} agent"
                assert (refused.value.status, refused.value.operation) == (status, verb)
                assert store.agents.get(agent_id) == before and kinds(store, last) == [], name
                continue
            after = await _step(store, agent_id, verb, now=1)
            assert after == store.agents.get(agent_id)
            assert (after.status, after.updated_at) == (expected, at(1)), name
            if verb is not _V.NODE_LOST:
                assert kinds(store, last) == ([str(AGENT_EVENTS[verb])] if verb in AGENT_EVENTS else []), name

    @contract
    async def test_what_a_change_carries(self, store: Store) -> None:
        agent_id = await _bring(store, "worker", AgentStatus.STARTING)
        started = change(agent_id, _V.STARTED, process_id=77, restart_count=2, facts=(Fact(event_type="seen"),))
        running = await store.agents.advance(started, now=at(2))
        assert (running.process_id, running.restart_count, running.started_at) == (77, 2, at(2))
        assert kinds(store)[-2:] == ["agent_started", "seen"]
        died = change(agent_id, _V.DIED, error_message="x" * 2000, details={"process_exit_code": -9})
        failed = await store.agents.advance(died, now=at(3))
        assert (failed.process_id, failed.error_message, failed.restart_count) == (None, "x" * 1000, 2)
        (event,) = events_of(store, "agent_failed")
        assert event.details["process_exit_code"] == -9 and event.details["error_message"] == "x" * 1000
        assert (await _step(store, agent_id, _V.START)).error_message is None

    @contract
    async def test_a_start_at_the_limit_is_queued(self, store: Store) -> None:
        paused = await _bring(store, "paused", AgentStatus.PAUSED)
        await _bring(store, "stopping", AgentStatus.STOPPING)
        await _bring(store, "failed", AgentStatus.FAILED)
        await _bring(store, "elsewhere", AgentStatus.RUNNING, node="n2")
        agent_id = await _bring(store, "worker", AgentStatus.STOPPED)
        queued = await store.agents.advance(change(agent_id, _V.START, limit=2), now=T0)
        assert (queued.status, queued.queued_reason) == (AgentStatus.QUEUED, "limit")
        assert [event.agent_id for event in events_of(store, "agent_queued")] == [agent_id]
        assert (await store.agents.advance(change(paused, _V.START, limit=2), now=T0)).status is AgentStatus.STARTING
        starting = await store.agents.advance(change(agent_id, _V.START, limit=3), now=T0)
        assert (starting.status, starting.queued_reason) == (AgentStatus.STARTING, None)

    @contract
    async def test_many_starts_at_once_never_pass_the_limit(self, store: Store) -> None:
        ids = [await _bring(store, f"w{n}", AgentStatus.STOPPED) for n in range(10)]
        starts = [store.agents.advance(change(agent_id, _V.START, limit=3), now=T0) for agent_id in ids]
        statuses = [found.status for found in await asyncio.gather(*starts)]
        assert statuses == [AgentStatus.STARTING] * 3 + [AgentStatus.QUEUED] * 7

    @contract
    async def test_saved_state(self, store: Store) -> None:
        agent_id = await start(store, "worker")
        assert store.agents.saved_state(agent_id) is None
        await store.agents.checkpoint(agent_id, "n1", {"n": 1}, now=at(1))
        assert store.agents.saved_state(agent_id) == {"n": 1}
        assert kinds(store)[-1] == "agent_checkpointed"
        await store.agents.advance(change(agent_id, _V.PAUSE, state={"ä": [None, 2**63]}), now=at(2))
        assert store.agents.saved_state(agent_id) == {"ä": [None, 2**63]}
        await _step(store, agent_id, _V.STOP)
        await _step(store, agent_id, _V.STOPPED)
        assert store.agents.saved_state(agent_id) is not None, "a stop while paused keeps it"
        for verb in (_V.START, _V.STARTED):
            await _step(store, agent_id, verb)
        assert store.agents.saved_state(agent_id) is not None
        await _step(store, agent_id, _V.STOP)
        assert store.agents.saved_state(agent_id) is None, "a stop while running forgets it"

    @contract
    async def test_a_refused_pause_keeps_neither_state_nor_mail(self, store: Store) -> None:
        agent_id = await _bring(store, "worker", AgentStatus.STOPPED)
        with pytest.raises(AgentStateError, match="cannot pause a stopped agent"):
            await store.agents.advance(change(agent_id, _V.PAUSE, state={"n": 1}, mail=(message(1),)), now=T0)
        assert store.agents.saved_state(agent_id) is None and store.mail.waiting(agent_id) == 0

    # -- names and nodes

    @contract
    async def test_a_name_held_by_a_live_node_is_taken(self, store: Store) -> None:
        for node in ("n1", "n2"):
            await join(store, node, seconds=100)
        known = await store.agents.register(agent("worker"), now=at(1))
        for node in ("n1", "n2"):
            with pytest.raises(AgentNameTakenError, match="worker") as taken:
                await store.agents.register(agent("worker", node=node), now=at(2))
            assert (taken.value.node_id, taken.value.agent_id) == ("n1", known.agent_id)
        assert store.agents.get("worker") == known and len(events_of(store, "agent_registered")) == 1

    @contract
    async def test_a_name_whose_node_ended_is_taken_up_again(self, store: Store) -> None:
        await join(store, "n1", seconds=100)
        await join(store, "n2")
        first = agent("worker", config={"v": 1}, capabilities=("a", "b"), groups=("old",))
        agent_id = (await store.agents.register(first, now=T0)).agent_id
        await store.agents.create_group("by_hand", [agent_id], now=T0)
        await store.agents.checkpoint(agent_id, "n1", {"n": 1}, now=T0)
        second = agent("worker", node="n2", config={"v": 2}, capabilities=("B",), groups=("new",), isolation="thread")
        await store.leases.rescue(("n1",), now=at(101), max_interruptions=3)
        again = await store.agents.register(second, now=at(101))
        assert (again.agent_id, again.status, again.node_id) == (agent_id, AgentStatus.STOPPED, "n2")
        assert (again.created_at, again.config, again.capabilities, again.isolation) == (T0, {"v": 2}, ("B",), "thread")
        assert (sorted(again.groups), store.agents.saved_state(agent_id)) == (["by_hand", "new"], {"n": 1})
        assert store.agents.search(capability="a") == [] and store.agents.groups()["old"] == []

    @contract
    async def test_what_becomes_of_the_agents_of_a_lost_node(self, store: Store) -> None:
        await join(store, "n1", seconds=10)
        await join(store, "n2")
        ids = {status: await _bring(store, str(status), status) for status in AgentStatus}
        last = store.events.last_id()
        rescue = await store.leases.rescue((), now=at(11), max_interruptions=3)
        found = {status: store.agents.get(agent_id) for status, agent_id in ids.items()}
        assert {status: str(known.status) for status, known in found.items()} == {
            "stopped": "stopped", "queued": "stopped", "starting": "failed", "running": "failed", "paused": "paused",
            "stopping": "failed", "failed": "failed",
        }  # fmt: skip
        lost = {ids[status] for status in (AgentStatus.STARTING, AgentStatus.RUNNING, AgentStatus.STOPPING)}
        assert set(rescue.agents) == lost
        assert {e.agent_id for e in events_of(store, "agent_failed", after_id=last)} == lost
        assert all(known.node_id is None for known in found.values())
        assert "n1" in (found[AgentStatus.RUNNING].error_message or "")
        for status in AgentStatus:
            again = await store.agents.register(agent(str(status), node="n2"), now=at(12))
            assert again.status is (AgentStatus.PAUSED if status is AgentStatus.PAUSED else AgentStatus.STOPPED)
            assert again.error_message is None
        assert store.agents.saved_state(ids[AgentStatus.PAUSED]) == {"kept": 1}

    @contract
    async def test_a_node_that_leaves_lets_go_of_its_agents(self, store: Store) -> None:
        await join(store, "n1")
        for status in (AgentStatus.STOPPED, AgentStatus.QUEUED, AgentStatus.PAUSED):
            await _bring(store, str(status), status)
        await store.leases.leave("n1", now=at(1))
        left = {known.name: (str(known.status), known.node_id) for known in store.agents.search()}
        assert left == {"stopped": ("stopped", None), "queued": ("stopped", None), "paused": ("paused", None)}
        again = await store.agents.register(agent("paused"), now=at(2))
        assert (again.status, again.node_id) == (AgentStatus.PAUSED, "n1")

    @contract
    async def test_a_node_writes_of_its_own_agents_only(self, store: Store) -> None:
        await join(store, "n1", seconds=10)
        await join(store, "n2")
        agent_id = await _bring(store, "worker", AgentStatus.RUNNING)
        last = store.events.last_id()
        with pytest.raises(LeaseLostError):
            await _step(store, agent_id, _V.STOP, node="n2", now=1)
        with pytest.raises(LeaseLostError):
            await store.agents.checkpoint(agent_id, "n2", {}, now=at(1))
        assert kinds(store, last) == [] and store.agents.get(agent_id).status is AgentStatus.RUNNING
        await store.leases.rescue((), now=at(11), max_interruptions=3)
        with pytest.raises(LeaseLostError):
            await _step(store, agent_id, _V.START, now=12)

    # -- the end

    @contract
    async def test_unregister(self, store: Store) -> None:
        for status in AgentStatus:
            agent_id = await _bring(store, str(status), status)
            if status in (AgentStatus.STOPPED, AgentStatus.FAILED):
                await store.agents.unregister(agent_id, now=at(1))
                with pytest.raises(AgentNotFoundError):
                    store.agents.get(agent_id)
                assert kinds(store)[-1] == "agent_unregistered"
                assert (await store.agents.register(agent(str(status)), now=T0)).agent_id != agent_id
            else:
                with pytest.raises(AgentStateError, match=f"cannot unregister a {status} agent"):
                    await store.agents.unregister(agent_id, now=at(1))

    @contract
    async def test_unregister_cancels_the_tasks_that_wait_for_the_agent(self, store: Store) -> None:
        known = await store.agents.register(agent("worker", groups=("g",)), now=T0)
        mine = Task(task_id=new_id(), name="mine", agent=known.agent_id, created_at=T0)
        other = Task(task_id=new_id(), name="other", created_at=T0)
        await store.tasks.enqueue([mine, other], now=T0, max_pending=None)
        cancelled = await store.agents.unregister(known.agent_id, now=at(1))
        assert [ended.task_id for ended in cancelled.ended] == [mine.task_id]
        assert store.tasks.get(mine.task_id).status is TaskStatus.CANCELLED
        assert store.tasks.get(other.task_id).status is TaskStatus.PENDING
        assert store.agents.groups() == {"g": []}

    # -- groups

    @contract
    async def test_groups(self, store: Store) -> None:
        ids = [(await store.agents.register(agent(name), now=T0)).agent_id for name in ("c", "b", "a")]
        await store.agents.create_group("g", ids[:2], now=T0)
        await store.agents.create_group("empty", [], now=T0)
        assert store.agents.groups() == {"empty": [], "g": ids[:2]}
        await store.agents.change_group("g", ids[2], member=True, now=T0)
        await store.agents.change_group("g", ids[0], member=False, now=T0)
        assert store.agents.groups()["g"] == ids[1:]
        last = store.events.last_id()
        await store.agents.change_group("g", ids[1], member=True, now=T0)
        await store.agents.change_group("g", ids[0], member=False, now=T0)
        assert kinds(store, last) == [], "nothing changed, so nothing is told"
        await store.agents.delete_group("g", now=T0)
        assert store.agents.groups() == {"empty": []} and store.agents.get(ids[1]).groups == ()
        assert len(events_of(store, "group_changed")) == 5

    @contract
    async def test_groups_refuse_what_is_wrong_before_they_change(self, store: Store) -> None:
        agent_id = (await store.agents.register(agent("worker", groups=("g",)), now=T0)).agent_id
        last = store.events.last_id()
        with pytest.raises(ValueError, match="'g'"):
            await store.agents.create_group("g", [], now=T0)
        with pytest.raises(AgentNotFoundError):
            await store.agents.create_group("h", [agent_id, "nobody"], now=T0)
        with pytest.raises(AgentNotFoundError):
            await store.agents.change_group("g", "nobody", member=True, now=T0)
        for verb in (
            store.agents.delete_group("hh", now=T0),
            store.agents.change_group("hh", agent_id, member=True, now=T0),
        ):
            with pytest.raises(GroupError, match="'hh'"):
                await verb
        assert store.agents.groups() == {"g": [agent_id]} and kinds(store, last) == []
