"""The part of the conformance suite for runs in a store: nodes, questions of outsiders, forks, removal."""

from __future__ import annotations

import asyncio

import pytest

from shoal.errors import LeaseLostError, RunActiveError, RunConflictError, RunNotFoundError
from shoal.kernel.budget import Amount, Budget
from shoal.kernel.event import EventFilter, EventType, Fact
from shoal.kernel.ports import Store
from shoal.kernel.run import RunStatus
from shoal.kernel.usage import Usage
from shoal.testing.store_queue_frame import NOW, after, claim, fence, new, node, on_nodes, settle, submit
from shoal.testing.store_run_frame import (
    LIMITS,
    amounts,
    begin,
    done,
    end,
    hold_of,
    intent,
    need,
    news,
    question,
    write,
)

__all__ = ["RunStoreContract"]


def _told(store: Store, kind: EventType) -> list[tuple[str | None, object]]:
    found = store.events.scan(EventFilter(event_type=kind))
    return [(event.run_id, event.details.get("status", event.details.get("resumed"))) for event in found]


class RunStoreContract:
    """The contract of ``RunStore`` beyond ``RunWriter``."""

    @on_nodes
    async def test_one_node_carries_it_out(self, store: Store) -> None:
        await store.leases.join(node("short", lease=10), now=NOW)
        held = await hold_of(store, "r1", "short")
        with pytest.raises(RunActiveError, match="short"):
            await begin(store, "r1", "n2", now=after(9))
        with pytest.raises(RunActiveError, match="short"):
            await store.runs.delete("r1", now=after(9))
        taken = await hold_of(store, "r1", "n2", now=after(10))
        assert taken.token > held.token
        with pytest.raises(LeaseLostError):
            await write(store, held, done("a"), now=after(11))
        assert store.runs.steps("r1") == []

    @on_nodes
    async def test_the_runs_of_a_dead_node(self, store: Store) -> None:
        holds = [await hold_of(store, run_id, budget=LIMITS) for run_id in ("r1", "r2", "r3")]
        await store.runs.reserve(holds[1], "r2", "a", need(), now=NOW)
        await store.runs.ask(holds[2], question("r3"), (), now=NOW)
        asked = await store.runs.ask_cancel("r2", "enough", now=NOW)
        assert (asked.status, await store.runs.cancel_asked("r2")) == (RunStatus.RUNNING, "enough")
        assert await store.runs.cancel_asked("r1") is None
        rescued = await store.leases.rescue(["n1"], now=after(5), max_interruptions=2)
        assert rescued.runs == ("r1", "r2", "r3")
        for hold in holds:
            with pytest.raises(LeaseLostError):
                await write(store, hold, done("a"), now=after(6))
        records = [store.runs.get(hold.run_id) for hold in holds]
        assert [record.status for record in records] == ["interrupted", "cancelled", "interrupted"]
        assert {record.node_id for record in records} == {None}
        assert (records[1].error, records[1].stopped, records[1].finished_at) == ("enough", "cancelled", after(5))
        assert records[1].usage == Usage(lost_calls=1, lost_pico=100), "nobody will settle it"
        assert _told(store, EventType.RUN_FINISHED) == [("r2", "cancelled")]
        assert [record.run_id for record in store.runs.unheld(["Pipeline"], now=after(6))] == ["r1", "r3"]
        with pytest.raises(LeaseLostError):
            await begin(store, "r1", "n1", now=after(6))
        assert (await begin(store, "r1", "n2", now=after(6))).hold is not None
        again = await begin(store, "r2", "n2", now=after(6))
        assert (again.record.finished_at, again.offset, await store.runs.cancel_asked("r2")) == (None, 1, None)

    @on_nodes
    async def test_a_node_that_leaves_lets_its_runs_go(self, store: Store) -> None:
        held = await hold_of(store, "r1")
        await store.leases.leave("n1", now=after(1))
        assert (store.runs.get("r1").status, store.runs.get("r1").node_id) == (RunStatus.INTERRUPTED, None)
        with pytest.raises(LeaseLostError):
            await write(store, held, done("a"))
        await hold_of(store, "r1", "n2", now=after(2))

    @on_nodes
    async def test_a_run_of_a_task_belongs_to_its_attempt(self, store: Store) -> None:
        await submit(store, new())
        (given,) = await claim(store)
        await hold_of(store, "r1", fence=fence(given))
        await settle(store, given)
        for run_id in ("r1", "r2"):
            with pytest.raises(LeaseLostError):
                await begin(store, run_id, fence=fence(given))
        with pytest.raises(RunNotFoundError):
            store.runs.get("r2")

    @on_nodes
    async def test_events_of_the_store(self, store: Store) -> None:
        woken = asyncio.Event()
        undo = store.on_commit(woken.set)
        hold = await hold_of(store, "r1")
        woken.clear()
        await write(store, hold, events=news("r1", 1))
        await asyncio.wait_for(woken.wait(), 10)
        undo()
        spent = Fact(event_type=EventType.BUDGET_EXHAUSTED, run_id="r1", details={"limit": "max_calls"})
        loop = Fact(event_type=EventType.LOOP_DETECTED, run_id="r1", details={"kind": "same_call"})
        await write(store, hold, facts=(spent, loop))
        await store.runs.ask(hold, question("r1", expires_at=after(9)), (), now=NOW)
        await store.runs.ask(hold, question("r1"), (), now=NOW)
        for by in ("ann", "bob"):
            await store.runs.decide("q1", "approved", by, "", now=after(1))
        ended = Fact(event_type=EventType.RUN_FINISHED, run_id="r1", details={"status": "interrupted"})
        await end(store, hold, RunStatus.INTERRUPTED, facts=(ended,))
        await hold_of(store, "r1")
        told = [event.event_type for event in store.events.scan(EventFilter(run_id="r1"))]
        assert told == [
            "run_started", "budget_exhausted", "loop_detected", "approval_asked", "approval_given", "run_finished",
            "run_started",
        ]  # fmt: skip
        assert _told(store, EventType.RUN_STARTED) == [("r1", False), ("r1", True)]
        (given,) = store.events.scan(EventFilter(event_type="approval_given"))
        assert given.details == {
            "id": "q1", "kind": "tool", "step": "0:Writer/tool1", "agent_name": "", "tool": "send",
            "decision": "approved", "by": "ann", "note": "",
        }  # fmt: skip

    @on_nodes
    async def test_cancelling(self, store: Store) -> None:
        idle = await hold_of(store, "r1", budget=LIMITS)
        await write(store, idle, done("a"), charge="r1", events=news("r1", 1))
        await end(store, idle, RunStatus.INTERRUPTED)
        cancelled = await store.runs.ask_cancel("r1", "", now=after(1))
        assert (cancelled.status, cancelled.error, cancelled.finished_at) == (RunStatus.CANCELLED, "", after(1))
        assert [(event.offset, event.type) for event in store.runs.events("r1", after=1)] == [(2, "run_finished")]
        assert await store.runs.ask_cancel("r1", "again", now=after(2)) == cancelled
        finished = await hold_of(store, "r2")
        await end(store, finished, result="text")
        assert (await store.runs.ask_cancel("r2", "", now=after(2))).status == RunStatus.COMPLETED
        assert store.runs.result("r2") == "text" and store.runs.result("r1") is None
        with pytest.raises(RunNotFoundError):
            await store.runs.ask_cancel("r3", "", now=NOW)
        with pytest.raises(RunNotFoundError):
            store.runs.result("r3")

    @on_nodes
    async def test_which_runs_can_be_gone_on_with(self, store: Store) -> None:
        await store.leases.join(node("short", lease=10), now=NOW)
        await hold_of(store, "held")
        await hold_of(store, "dead", "short")
        await hold_of(store, "other", "short", pattern="Debate")
        ends = {
            "cut": (RunStatus.INTERRUPTED, None),
            "spent": (RunStatus.INTERRUPTED, "budget"),
            "cancelled": (RunStatus.CANCELLED, "cancelled"),
            "failed": (RunStatus.FAILED, None),
            "waits": (RunStatus.WAITING, "waiting"),
            "expires": (RunStatus.WAITING, "waiting"),
            "decided": (RunStatus.WAITING, "waiting"),
        }
        for run_id, (status, stopped) in ends.items():
            hold = await hold_of(store, run_id)
            if status is RunStatus.WAITING:
                expires_at = after(20) if run_id == "expires" else None
                await store.runs.ask(hold, question(run_id, run_id, expires_at=expires_at), (), now=NOW)
            await end(store, hold, status, stopped=stopped)
        await store.runs.decide("decided", "approved", "ann", "", now=after(1))

        def found(seconds: float, *patterns: str) -> list[str]:
            return [record.run_id for record in store.runs.unheld(patterns, now=after(seconds))]

        assert found(5, "Pipeline") == ["cut", "decided"]
        assert found(10, "Pipeline") == ["dead", "cut", "decided"]
        assert found(20, "Pipeline", "Debate") == ["dead", "other", "cut", "expires", "decided"]
        assert found(20, "Team") == found(20) == []

    @on_nodes
    async def test_a_fork(self, store: Store) -> None:
        budget = Budget(max_calls=3)
        hold = await hold_of(store, "r1", budget=budget, seed=5, label="one")
        await write(store, hold, intent("z"))
        for key in "abc":
            await write(store, hold, done(key, key), charge="r1")
        await end(store, hold, result="text")
        made = await store.runs.fork("r1", "c", "r2", now=after(1))
        assert made == store.runs.get("r2")
        assert (made.status, made.forked_from, made.usage.calls, made.seed, made.label, made.started_at) == (
            RunStatus.INTERRUPTED, "r1", 2, 5, "one", after(1),
        )  # fmt: skip
        assert store.runs.steps("r2") == [done("a", "a"), done("b", "b")]
        assert await amounts(store, "r2") == (Amount(), Amount(), Amount())
        assert store.runs.unheld(["Pipeline"], now=after(2)) == [], "somebody has to ask for it"
        begun = await begin(store, "r2", "n2", now=after(2))
        assert begun.hold is not None and [step.key for step in begun.steps] == ["a", "b"]
        await end(store, begun.hold, RunStatus.INTERRUPTED)
        assert len(store.runs.unheld(["Pipeline"], now=after(3))) == 1
        with pytest.raises(RunNotFoundError, match="'x'"):
            await store.runs.fork("r1", "x", "r3", now=NOW)
        with pytest.raises(RunNotFoundError, match="'r9'"):
            await store.runs.fork("r9", "a", "r3", now=NOW)
        with pytest.raises(RunConflictError, match="'r2'"):
            await store.runs.fork("r1", "b", "r2", now=NOW)

    @on_nodes
    async def test_finding_runs(self, store: Store) -> None:
        for run_id, pattern in (("r1", "Pipeline"), ("r2", "Debate"), ("r3", "Pipeline")):
            await hold_of(store, run_id, pattern=pattern)
        await end(store, await hold_of(store, "r1"))
        search = store.runs.search
        assert [record.run_id for record in search()] == ["r3", "r2", "r1"]
        assert [record.run_id for record in search(limit=1)] == ["r3"]
        assert [record.run_id for record in search(pattern="Pipeline")] == ["r3", "r1"]
        assert [record.run_id for record in search(pattern="Pipeline", status=RunStatus.RUNNING)] == ["r3"]

    @on_nodes
    async def test_removal(self, store: Store) -> None:
        empty = store.info()["rows"]
        above = await hold_of(store, "above", budget=LIMITS)
        for run_id in ("gone", "old", "young", "open"):
            hold = await hold_of(store, run_id, budget=LIMITS, parent_account="above")
            await write(store, hold, done("a"), charge=run_id, events=(*news(run_id, 1), *news(f"{run_id}/s", 1)))
            await store.runs.ask(hold, question(run_id, run_id), (), now=NOW)
            await store.runs.reserve(hold, run_id, "b", need(), now=NOW)
            if run_id != "open":
                await end(store, hold, now=after(100 if run_id == "young" else 1), result="text")
        await store.leases.rescue(["n1"], now=after(50), max_interruptions=2)
        await store.runs.delete("gone", now=after(51))
        with pytest.raises(RunNotFoundError):
            await store.runs.delete("gone", now=after(51))
        assert (await store.prune(after(99), limit=1000))["runs"] == 1
        assert (await store.prune(after(99), limit=1000))["runs"] == 0
        assert {record.run_id for record in store.runs.search()} == {"above", "young", "open"}
        assert store.runs.events("gone/s") == [] and store.runs.events("young/s") != []
        await store.runs.delete("open", now=after(101))
        spent, held, lost = await amounts(store, "above")
        assert (spent.calls, held, lost.calls) == (4, Amount(), 4), "what was used stays used"
        for run_id in ("above", "young"):
            await store.runs.delete(run_id, now=after(101))
        rows, events = store.info()["rows"], ("events", "nodes")
        assert isinstance(rows, dict) and isinstance(empty, dict)
        assert {name: count for name, count in rows.items() if name not in events} == {
            name: count for name, count in empty.items() if name not in events
        }
        assert above.token == 1
