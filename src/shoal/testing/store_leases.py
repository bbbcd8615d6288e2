"""The part of the conformance suite for steps, nodes and leases."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from shoal.errors import AgentNameTakenError, ConfigError, LeaseLostError
from shoal.kernel.agent import AgentVerb
from shoal.kernel.event import EventFilter
from shoal.kernel.ports import Child, Rescue, Store
from shoal.testing.store_frame import agent, change
from shoal.testing.store_queue_frame import NOW, after, check_counts, claim, new, node, on_nodes, settle, submit

__all__ = ["JournalContract", "LeasesContract"]


class JournalContract:
    """The contract of ``Journal``; fences are in ``TasksContract``."""

    @on_nodes
    async def test_a_step_is_recorded_once_and_in_order(self, store: Store) -> None:
        for key, value in (("b", {"x": [1]}), ("a", None), ("b", "again")):
            await store.journal.record("run:1", key, value, now=NOW, digest="d")
        steps = store.journal.load("run:1")
        assert [(step.key, step.value, step.at) for step in steps.values()] == [
            ("b", {"x": [1]}, NOW),
            ("a", None, NOW),
        ]
        assert store.journal.get("run:1", "a") == steps["a"]
        assert store.journal.get("run:1", "c") is None and store.journal.load("run:2") == {}


async def _beat(store: Store, node_id: str, until: datetime, **busy: Any) -> bool:
    """Beat from another thread, as a runtime does."""
    return await asyncio.to_thread(store.leases.heartbeat, node_id, until=until, **busy)


class LeasesContract:
    """The contract of ``Leases``."""

    @on_nodes
    async def test_a_dead_node_is_taken_over(self, store: Store) -> None:
        await store.leases.join(node("short", lease=10), now=NOW)
        first, waits = new(), new()
        second = new("second", dependencies=(waits.task_id,))
        await submit(store, first, waits, second)
        given = await claim(store, 2, node_id="short")
        child = Child(node_id="short", pid=7, pid_started=8, agent_id="a1")
        await store.leases.adopt(child)
        await store.leases.adopt(Child(node_id="short", pid=9, pid_started=8))
        await store.leases.disown("short", 9)
        assert (await store.leases.rescue([], now=after(9), max_interruptions=2)) == Rescue()
        assert (await store.leases.rescue([], now=after(99), max_interruptions=2, spared=["short"])).nodes == ()
        late = await store.leases.rescue([], now=after(10), max_interruptions=2)
        assert late.nodes == ("short",) and set(late.requeued) == {first.task_id, waits.task_id}
        assert late.children == (child,)
        assert await store.leases.rescue(["short"], now=after(10), max_interruptions=2) == Rescue()
        task = store.tasks.get(first.task_id)
        assert (task.status, task.interruptions, task.retry_count) == ("pending", 1, 0)
        assert not (await settle(store, given[0])).applied
        assert not await _beat(store, "short", after(99))
        with pytest.raises(LeaseLostError):
            await claim(store, node_id="short")
        await claim(store, 2, node_id="n2")
        last = await store.leases.rescue(["n2"], now=after(11), max_interruptions=2)
        assert last.requeued == ()
        assert {end.task_id for end in last.ended} == {first.task_id, waits.task_id, second.task_id}
        assert store.tasks.get(first.task_id).error_type == "TaskInterruptedError"
        lost = [event.node_id for event in store.events.scan(EventFilter(event_type="node_lost"))]
        assert lost == ["short", "n2"]
        check_counts(store, 3)

    @on_nodes
    async def test_whoever_was_silent_and_has_renewed_is_alive(self, store: Store) -> None:
        for node_id in ("silent", "back"):
            await store.leases.join(node(node_id, lease=100), now=NOW)
        seen = {each.node_id: each.lease_until for each in store.leases.nodes() if each.node_id in ("silent", "back")}
        assert await _beat(store, "back", after(101))
        rescued = await store.leases.rescue([], now=after(20), max_interruptions=2, spared=["n1", "n2"], silent=seen)
        assert rescued.nodes == ("silent",)
        assert await store.aside(store.leases.nodes) == store.leases.nodes()
        assert await _beat(store, "back", after(102))

    @on_nodes
    async def test_join_leave_and_heartbeat(self, store: Store) -> None:
        with pytest.raises(ConfigError, match="n1"):
            await store.leases.join(node("n3", name="n1"), now=NOW)
        assert await _beat(store, "n1", after(7200), load=0.5, agents=7)
        assert [(each.load, each.agents) for each in store.leases.nodes()] == [(0.5, 7), (0.0, 0)]
        until = {each.node_id: each.lease_until for each in store.leases.nodes()}
        assert until == {"n1": after(7200), "n2": after(3600)}
        await store.leases.leave("n1", now=NOW)
        await store.leases.join(node("n3", name="n1"), now=NOW)
        assert {each.node_id for each in store.leases.nodes()} == {"n2", "n3"}
        assert await _beat(store, "n2", after(60)), "the wall clock was set back"
        assert {each.node_id: each.lease_until for each in store.leases.nodes()}["n2"] == after(60)

    @on_nodes
    async def test_what_a_node_still_holds_when_it_leaves_goes_back(self, store: Store) -> None:
        held, waits = new(), new()
        await submit(store, held, waits)
        (given,) = await claim(store, node_id="n1")
        await store.leases.leave("n1", now=after(1))
        task = store.tasks.get(held.task_id)
        assert (task.status, task.interruptions, task.assigned_agent_id) == ("pending", 0, None)
        told = [event.event_type for event in store.events.scan(EventFilter(task_id=held.task_id))]
        assert told[-1] == "task_interrupted"
        assert not (await settle(store, given)).applied
        check_counts(store, 2)
        again = await claim(store, 2, node_id="n2")
        assert [each.task.task_id for each in again] == [held.task_id, waits.task_id]

    @on_nodes
    async def test_the_agents_of_a_node_that_leaves(self, store: Store) -> None:
        ids = {}
        for name, verbs in (("starting", ()), ("running", (AgentVerb.STARTED,)), ("failed", (AgentVerb.DIED,))):
            ids[name] = (await store.agents.register(agent(name), now=NOW)).agent_id
            for verb in (AgentVerb.START, *verbs):
                await store.agents.advance(change(ids[name], verb), now=NOW)
        await store.leases.leave("n1", now=after(1))
        found = {name: store.agents.get(agent_id) for name, agent_id in ids.items()}
        assert {name: str(known.status) for name, known in found.items()} == {
            "starting": "stopped", "running": "stopped", "failed": "failed",
        }  # fmt: skip
        assert {known.node_id for known in found.values()} == {None}
        told = [event.agent_id for event in store.events.scan(EventFilter(event_type="agent_stopped"))]
        assert told == [ids["starting"], ids["running"]]

    @on_nodes
    async def test_a_node_whose_lease_has_ended_holds_its_agents_until_it_is_given_up(self, store: Store) -> None:
        await store.leases.join(node("short", lease=10), now=NOW)
        known = await store.agents.register(agent("worker", node="short"), now=NOW)
        with pytest.raises(AgentNameTakenError, match="worker"):
            await store.agents.register(agent("worker", node="n2"), now=after(11))
        await store.leases.rescue([], now=after(11), max_interruptions=2)
        assert (await store.agents.register(agent("worker", node="n2"), now=after(11))).agent_id == known.agent_id

    @on_nodes
    async def test_a_node_that_is_told_to_leave_lets_go_of_what_it_has_ended(self, store: Store) -> None:
        known = {name: (await store.agents.register(agent(name), now=NOW)).agent_id for name in ("ended", "runs")}
        for verb in (AgentVerb.START, AgentVerb.STARTED):
            await store.agents.advance(change(known["runs"], verb), now=NOW)
        await store.agents.checkpoint(known["runs"], "n1", {"count": 3}, now=NOW)
        assert await store.leases.drain("n1", seconds=2.5, now=NOW)
        assert not await store.leases.drain("n1", seconds=9, now=NOW), "it was told before"
        assert not await store.leases.drain("nobody", seconds=9, now=NOW)
        assert {each.node_id: each.draining for each in store.leases.nodes()} == {"n1": 2.5, "n2": None}
        (told,) = store.events.scan(EventFilter(event_type="node_draining"))
        assert (told.node_id, told.details) == ("n1", {"seconds": 2.5})
        assert (await store.agents.register(agent("ended", node="n2"), now=NOW)).agent_id == known["ended"]
        with pytest.raises(AgentNameTakenError, match="runs"):
            await store.agents.register(agent("runs", node="n2"), now=NOW)
        for step in (change(known["runs"], AgentVerb.STOP, keep_state=True), change(known["runs"], AgentVerb.STOPPED)):
            await store.agents.advance(step, now=NOW)
        assert (await store.agents.register(agent("runs", node="n2"), now=NOW)).agent_id == known["runs"]
        assert store.agents.saved_state(known["runs"]) == {"count": 3}
        with pytest.raises(LeaseLostError):
            await store.agents.advance(change(known["runs"], AgentVerb.START), now=NOW)

    @on_nodes
    async def test_nodes_found_dead_are_forgotten_in_the_end(self, store: Store) -> None:
        for name in ("first", "second", "late"):
            await store.leases.join(node(name, lease=500 if name == "late" else 10), now=NOW)
        await store.leases.adopt(Child(node_id="second", pid=7, pid_started=8))
        await store.leases.rescue(["first", "late"], now=after(5), max_interruptions=2)
        assert (await store.prune(after(9)))["nodes"] == 0, "not yet"
        assert (await store.prune(after(100)))["nodes"] == 1
        known = {each.node_id for each in store.leases.nodes()}
        assert known == {"n1", "n2", "second", "late"}, "those who live or were not found dead stay"
        assert not await _beat(store, "first", after(9999)), "nobody comes back"
        with pytest.raises(LeaseLostError):
            await claim(store, node_id="first")

    @on_nodes
    async def test_named_leases(self, store: Store) -> None:
        leases = store.leases
        first = await leases.acquire("lock", "me", now=NOW, until=after(10))
        assert first is not None and first.token == 1
        assert await leases.acquire("lock", "you", now=after(9), until=after(20)) is None
        again = await leases.acquire("lock", "me", now=after(5), until=after(15))
        assert again is not None and again.token == 1
        second = await leases.acquire("lock", "you", now=after(15), until=after(20))
        assert second is not None and second.token == 2
        with pytest.raises(LeaseLostError):
            await leases.renew(first, now=after(16), until=after(99))
        assert not await leases.release(first, now=after(16))
        renewed = await leases.renew(second, now=after(16), until=after(30))
        assert renewed.until == after(30)
        assert await leases.release(renewed, now=after(17))
        assert not await leases.release(renewed, now=after(17))
        third = await leases.acquire("lock", "me", now=after(17), until=after(20))
        assert third is not None and third.token == 3
        with pytest.raises(LeaseLostError):
            await leases.renew(third, now=after(20), until=after(99))

    @on_nodes
    async def test_those_who_want_a_name_stand_in_line(self, store: Store) -> None:
        leases = store.leases
        held = await leases.acquire("lock", "me", now=NOW, until=after(60))
        assert held is not None
        for owner in ("first", "second"):
            assert await leases.acquire("lock", owner, now=NOW, until=after(60), wait_until=after(10)) is None
        assert await leases.acquire("lock", "passer-by", now=NOW, until=after(60)) is None
        second = leases.standing("lock", "second", now=NOW)
        assert (second.held, second.ahead, second.waiting) == (held, 1, 2)
        assert leases.standing("lock", "passer-by", now=NOW).ahead == 2
        assert leases.standing("lock", "second", now=after(10)).waiting == 0, "they asked no more"
        assert await leases.withdraw("lock", "me", now=after(1))
        assert leases.standing("lock", "first", now=after(1)).held is None
        for owner in ("second", "passer-by"):
            assert await leases.acquire("lock", owner, now=after(1), until=after(60), wait_until=after(11)) is None
        given = await leases.acquire("lock", "first", now=after(1), until=after(60))
        assert given is not None and given.token == 2
        assert not await leases.withdraw("lock", "second", now=after(2)), "it held nothing, and stands there no more"
        last = leases.standing("lock", "passer-by", now=after(2))
        assert (last.held, last.ahead, last.waiting) == (given, 0, 1)
        gone = await leases.acquire("lock", "late", now=after(60), until=after(99))
        assert gone is not None and gone.token == 3, "the holder and those in line died"

    @on_nodes
    async def test_the_tokens_of_a_forgotten_name_never_fall(self, store: Store) -> None:
        leases = store.leases
        for owner in ("a", "b", "c"):
            lease = await leases.acquire("old", owner, now=NOW, until=after(10))
            assert lease is not None and await leases.release(lease, now=NOW)
        assert await leases.acquire("new", "a", now=NOW, until=after(100)) is not None
        assert await leases.forget(after(10)) == 0
        assert await leases.forget(after(11), limit=1) == 1 and await leases.forget(after(11)) == 0
        again = await leases.acquire("old", "a", now=after(12), until=after(20))
        assert again is not None and again.token == 4
        assert leases.standing("new", "", now=after(12)).held is not None
        await store.prune(after(21))
        third = await leases.acquire("old", "a", now=after(22), until=after(23))
        assert third is not None and third.token == 5
