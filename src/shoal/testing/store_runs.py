"""The part of the conformance suite for runs: what carries one out writes. In-memory runs keep it, too."""

from __future__ import annotations

import pytest

from shoal.errors import (
    ApprovalNotFoundError,
    LeaseLostError,
    RunActiveError,
    RunConflictError,
    RunNotFoundError,
)
from shoal.kernel.budget import Budget
from shoal.kernel.ports import RunEnd, RunWrite, Store
from shoal.kernel.run import RunStatus, StepFailure
from shoal.kernel.usage import Usage
from shoal.testing.store_queue_frame import NOW, after, on_nodes
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

__all__ = ["RunWriterContract"]


class RunWriterContract:
    """The contract of ``RunWriter``, but for budgets."""

    @on_nodes
    async def test_a_new_run(self, store: Store) -> None:
        begun = await begin(
            store, "r1", budget=LIMITS, label="one", context="about", user_id="ann", seed=2**70, input=[1, {"a": None}]
        )
        record = begun.record
        assert (record.status, record.node_id, record.usage, record.input) == (
            RunStatus.RUNNING, "n1", Usage(), [1, {"a": None}],
        )  # fmt: skip
        assert (record.label, record.context, record.user_id, record.seed, record.budget) == (
            "one", "about", "ann", 2**70, LIMITS,
        )  # fmt: skip
        assert (begun.steps, begun.offset, begun.result) == ((), 0, None)
        assert store.runs.get("r1") == record and record.started_at == NOW
        with pytest.raises(RunNotFoundError, match="r2"):
            store.runs.get("r2")
        with pytest.raises(RunNotFoundError, match="r2"):
            store.runs.steps("r2")

    @on_nodes
    async def test_steps_are_recorded_once_and_in_order(self, store: Store) -> None:
        hold = await hold_of(store, "r1")
        failure = StepFailure(error_type="ValueError", message="no", bases=("ValueError",), attributes={"line": 3})
        failed = done("c", None, error=failure, usage=Usage(), agent_name="", input_sha256="")
        for step in (intent("b", usage=Usage(calls=7)), done("a", {"x": [1, None]}), failed, done("b", "late")):
            await write(store, hold, step)
        await write(store, hold, done("a", "again", pico=7))
        await write(store, hold, intent("a"))
        steps = store.runs.steps("r1")
        assert steps == [done("a", {"x": [1, None]}), failed, done("b", "late")]
        assert store.runs.get("r1").usage == Usage(calls=2, input_tokens=20, cost_pico=200), "each once, intents never"

    @on_nodes
    async def test_a_run_is_gone_on_with(self, store: Store) -> None:
        first = await hold_of(store, "r1")
        await write(store, first, done("a"), events=news("r1", 1, 2), seconds=2.5)
        await write(store, first, intent("b"))
        await end(store, first, RunStatus.INTERRUPTED, stopped="budget", error="spent", seconds=2.0)
        left = store.runs.get("r1")
        assert (left.status, left.node_id, left.stopped, left.error, left.seconds, left.finished_at) == (
            RunStatus.INTERRUPTED, None, "budget", "spent", 2.5, None,
        )  # fmt: skip
        again = await begin(store, "r1", "n2", now=after(5))
        assert again.steps == (done("a"), intent("b")) and again.offset == 2
        record = again.record
        assert (record.status, record.node_id, record.stopped, record.error) == (RunStatus.RUNNING, "n2", None, None)
        assert record.started_at == NOW and record.usage.calls == 1

    @on_nodes
    async def test_a_finished_run_gives_its_result(self, store: Store) -> None:
        for run_id, status in (("r1", RunStatus.COMPLETED), ("r2", RunStatus.FAILED)):
            hold = await hold_of(store, run_id, budget=LIMITS)
            await write(store, hold, done("a"), events=news(run_id, 1))
            await end(store, hold, status, now=after(3), result={"content": status}, events=news(run_id, 2))
            known = await begin(store, run_id, "n2", budget=Budget(max_calls=1), now=after(9))
            assert (known.hold, known.result, known.steps, known.offset) == (None, {"content": status}, (), 2)
            assert (known.record.status, known.record.finished_at, known.record.budget) == (status, after(3), LIMITS)
            assert [event.offset for event in store.runs.events(run_id)] == [1, 2]

    @on_nodes
    async def test_another_run_under_this_id(self, store: Store) -> None:
        await hold_of(store, "r1", input={"a": 1, "b": (2,)})
        with pytest.raises(RunConflictError, match=r"'r1'.*pattern"):
            await begin(store, "r1", pattern="Debate", input={"a": 1, "b": [2]})
        with pytest.raises(RunConflictError, match=r"'r1'.*input"):
            await begin(store, "r1", input={"a": 1})
        with pytest.raises(RunActiveError, match="n1") as active:
            await begin(store, "r1", "n2", input={"b": [2], "a": 1})
        assert (active.value.run_id, active.value.node) == ("r1", "n1")
        with pytest.raises(RunNotFoundError, match="nowhere"):
            await begin(store, "r2", parent_account="nowhere")
        with pytest.raises(RunNotFoundError):
            store.runs.get("r2")

    @on_nodes
    async def test_an_old_hold_writes_nothing(self, store: Store) -> None:
        old = await hold_of(store, "r1", budget=LIMITS)
        new = await hold_of(store, "r1")
        assert new.token > old.token
        runs = store.runs
        before = (store.runs.get("r1"), await amounts(store, "r1"))
        for attempt in (
            lambda: runs.write(old, RunWrite(step=done("a"), events=news("r1", 1)), now=NOW),
            lambda: runs.open_account(old, "r1/x", None, LIMITS, now=NOW),
            lambda: runs.reserve(old, "r1", "a", need(), now=NOW),
            lambda: runs.ask(old, question("r1"), news("r1", 1), now=NOW),
            lambda: runs.resume(old, (), now=NOW),
            lambda: runs.forget(old, "a", now=NOW),
            lambda: runs.end(old, RunEnd(status=RunStatus.FAILED), now=NOW),
        ):
            with pytest.raises(LeaseLostError, match="r1"):
                await attempt()
        assert (store.runs.get("r1"), await amounts(store, "r1")) == before
        assert (runs.steps("r1"), runs.events("r1"), runs.approvals()) == ([], [], [])
        await end(store, new)
        with pytest.raises(LeaseLostError):
            await write(store, new, done("a"))

    @on_nodes
    async def test_news_is_read_after_any_offset(self, store: Store) -> None:
        hold = await hold_of(store, "r1")
        await write(store, hold, events=news("r1", 1, 2))
        await write(store, hold, done("a"), events=(*news("r1", 3), *news("s1", 1, 2), *news("r1", 4)))
        await write(store, hold, events=news("s1", 3))
        for feed, last in (("r1", 4), ("s1", 3)):
            for offset in range(last + 1):
                assert store.runs.events(feed, after=offset) == list(news(feed, *range(offset + 1, last + 1)))
        assert store.runs.events("r1", after=1, limit=2) == list(news("r1", 2, 3))
        assert store.runs.events("r2") == [] and store.runs.events("r1", after=99) == []

    @on_nodes
    async def test_a_step_is_forgotten_with_all_after_it(self, store: Store) -> None:
        hold = await hold_of(store, "r1", budget=LIMITS)
        for key in "abcd":
            await write(store, hold, intent("b") if key == "a" else None)
            await write(store, hold, done(key), charge="r1")
        await store.runs.forget(hold, "z", now=NOW)
        assert len(store.runs.steps("r1")) == 4
        await store.runs.forget(hold, "c", now=NOW)
        assert [step.key for step in store.runs.steps("r1")] == ["a", "b"]
        assert store.runs.get("r1").usage.calls == 4
        await write(store, hold, done("c", "anew"), charge="r1")
        assert [step.output for step in store.runs.steps("r1")] == ["text", "text", "anew"]
        assert (await amounts(store, "r1"))[0].calls == store.runs.get("r1").usage.calls == 5

    @on_nodes
    async def test_a_person_decides(self, store: Store) -> None:
        hold = await hold_of(store, "r1")
        asked = question("r1", arguments={"to": "ann"}, kind="outcome", expires_at=after(60), agent_name="Writer")
        assert await store.runs.ask(hold, asked, news("r1", 1), now=NOW) == asked
        assert store.runs.get("r1").status == RunStatus.WAITING
        await store.runs.ask(hold, question("r1", "q2"), (), now=NOW)
        assert [each.id for each in store.runs.approvals("r1")] == [each.id for each in store.runs.approvals()]
        given = await store.runs.decide("q1", "denied", "ann", "not now", now=after(1))
        assert (given.decision, given.decided_by, given.note, given.decided_at) == (
            "denied",
            "ann",
            "not now",
            after(1),
        )
        assert await store.runs.decide("q1", "approved", "bob", "", now=after(2)) == given, "decided once"
        assert await store.runs.approval("q1") == given
        await store.runs.resume(hold, news("r1", 2), now=after(3))
        assert store.runs.get("r1").status == RunStatus.RUNNING
        assert await store.runs.ask(hold, asked, news("r1", 3), now=after(4)) == given, "not asked again"
        assert store.runs.get("r1").status == RunStatus.RUNNING
        assert [each.id for each in store.runs.approvals()] == ["q2"]
        assert [each.id for each in store.runs.approvals("r1", undecided=False)] == ["q1", "q2"]
        assert store.runs.approvals("r2", undecided=False) == []
        assert [event.offset for event in store.runs.events("r1")] == [1, 2, 3]
        with pytest.raises(ApprovalNotFoundError, match="q3"):
            await store.runs.decide("q3", "approved", "ann", "", now=NOW)
        with pytest.raises(ApprovalNotFoundError, match="q3"):
            await store.runs.approval("q3")
