"""The part of the conformance suite for budgets of runs. In-memory runs keep it, too."""

from __future__ import annotations

import pytest

from shoal.errors import RunNotFoundError
from shoal.kernel.budget import Amount, Budget
from shoal.kernel.ports import Store
from shoal.kernel.usage import Usage
from shoal.testing.store_queue_frame import NOW, on_nodes
from shoal.testing.store_run_frame import LIMITS, amounts, begin, done, end, hold_of, need, write

__all__ = ["RunBudgetsContract"]

_ONE = Amount(calls=1, tokens=10, cost_pico=100)
_NONE = Amount()


class RunBudgetsContract:
    """The contract of ``RunWriter`` for budgets."""

    @on_nodes
    async def test_what_is_reserved_is_settled(self, store: Store) -> None:
        hold = await hold_of(store, "r1", budget=LIMITS)
        await store.runs.open_account(hold, "r1/a", "r1", Budget(max_calls=2), now=NOW)
        for key in ("a", "b"):
            assert (await store.runs.reserve(hold, "r1/a", key, need(), now=NOW)).amount == _ONE
        refused = await store.runs.reserve(hold, "r1/a", "c", need(), now=NOW)
        assert refused.refusal is not None and refused.refusal.account_id == "r1/a"
        assert await amounts(store, "r1") == await amounts(store, "r1/a") == (_NONE, _ONE + _ONE, _NONE)
        await write(store, hold, done("a", pico=60), settle="a")
        spent = Amount(calls=1, tokens=10, cost_pico=60)
        assert await amounts(store, "r1") == await amounts(store, "r1/a") == (spent, _ONE, _NONE)
        await write(store, hold, done("a", pico=60), settle="a")
        await write(store, hold, settle="b")
        assert await amounts(store, "r1") == await amounts(store, "r1/a") == (spent, _NONE, _NONE), "each ends once"
        assert (await store.runs.reserve(hold, "r1/a", "c", need(), now=NOW)).refusal is None
        await write(store, hold, done("c", calls=2, pico=10_000), settle="c")
        assert (await amounts(store, "r1"))[0] == Amount(calls=3, tokens=20, cost_pico=10_060), "what was used counts"
        assert store.runs.get("r1").usage == Usage(calls=3, input_tokens=20, cost_pico=10_060)

    @on_nodes
    async def test_what_was_not_seen_to_its_end_is_lost(self, store: Store) -> None:
        hold = await hold_of(store, "r1", budget=LIMITS)
        for key in ("a", "a", "b", "c"):
            await store.runs.reserve(hold, "r1", key, need(), now=NOW)
        assert await amounts(store, "r1") == (_NONE, _ONE + _ONE + _ONE, _ONE), "a second attempt: the first is lost"
        await write(store, hold, settle="b", lost=True)
        assert store.runs.get("r1").usage == Usage(lost_calls=2, lost_pico=200)
        told = Usage(calls=1, lost_calls=1, lost_pico=100)
        await write(store, hold, done("c", usage=told), settle="c", lost=True)
        assert store.runs.get("r1").usage == Usage(calls=1, lost_calls=3, lost_pico=300), "a step tells it itself"
        again = await begin(store, "r1")
        assert again.hold is not None and again.record.usage == Usage(calls=1, lost_calls=4, lost_pico=400)
        assert await amounts(store, "r1") == (_NONE, _NONE, Amount(calls=4, tokens=40, cost_pico=400))
        await store.runs.reserve(again.hold, "r1", "d", need(), now=NOW)
        await end(store, again.hold)
        assert await amounts(store, "r1") == (_NONE, _NONE, Amount(calls=5, tokens=50, cost_pico=500))
        assert store.runs.get("r1").usage.lost_pico == 500

    @on_nodes
    async def test_a_step_that_has_its_result_is_not_paid_twice(self, store: Store) -> None:
        hold = await hold_of(store, "r1", budget=LIMITS)
        await write(store, hold, done("a"), charge="r1")
        await write(store, hold, done("a"), charge="r1")
        assert await amounts(store, "r1") == (_ONE, _NONE, _NONE)
        await store.runs.reserve(hold, "r1", "a", need(), now=NOW)
        await write(store, hold, done("a"), settle="a")
        assert await amounts(store, "r1") == (_ONE, _NONE, _ONE)
        assert store.runs.get("r1").usage == Usage(calls=1, input_tokens=10, cost_pico=100, lost_calls=1, lost_pico=100)

    @on_nodes
    async def test_accounts_of_another_run(self, store: Store) -> None:
        above = await hold_of(store, "r1", budget=Budget(max_calls=2))
        below = await hold_of(store, "r2", budget=Budget(max_calls=9), parent_account="r1")
        account = await store.runs.account("r2")
        assert (account.run_id, account.parent, account.budget) == ("r2", "r1", Budget(max_calls=9))
        await store.runs.reserve(below, "r2", "a", need(), now=NOW)
        await store.runs.reserve(above, "r1", "a", need(), now=NOW)
        refused = (await store.runs.reserve(below, "r2", "b", need(), now=NOW)).refusal
        assert refused is not None and (refused.account_id, refused.limit) == ("r1", "max_calls")
        await write(store, below, done("a", pico=60), settle="a")
        spent = Amount(calls=1, tokens=10, cost_pico=60)
        assert await amounts(store, "r1") == (spent, _ONE, _NONE) and await amounts(store, "r2") == (
            spent,
            _NONE,
            _NONE,
        )
        assert store.runs.get("r1").usage == Usage(), "costs belong to the run whose steps they are"
        charged = await hold_of(store, "r3", parent_account="r1")
        await write(store, charged, done("a", pico=5), charge="r1")
        assert (await amounts(store, "r1"))[0].cost_pico == 65

    @on_nodes
    async def test_what_another_run_has_charged_is_not_charged_again(self, store: Store) -> None:
        hold = await hold_of(store, "r1", budget=LIMITS)
        below = await hold_of(store, "r2", parent_account="r1")
        await write(store, below, done("a", pico=60), charge="r1")
        paid = Usage(calls=1, input_tokens=10, cost_pico=60)
        await write(store, hold, done("remote", pico=60), charge="r1", paid=paid)
        assert await amounts(store, "r1") == (Amount.of(paid), _NONE, _NONE)
        await write(store, hold, done("more", pico=75), charge="r1", paid=paid)
        assert (await amounts(store, "r1"))[0] == Amount(calls=1, tokens=10, cost_pico=75)
        assert store.runs.get("r1").usage.cost_pico == 60 + 75, "its totals are those of its steps"

    @on_nodes
    async def test_another_budget_of_a_known_run(self, store: Store) -> None:
        hold = await hold_of(store, "r1", budget=Budget(max_calls=1))
        await write(store, hold, done("a"), charge="r1")
        assert (await store.runs.reserve(hold, "r1", "b", need(), now=NOW)).refusal is not None
        more = await hold_of(store, "r1", budget=Budget(max_calls=2))
        assert store.runs.get("r1").budget == Budget(max_calls=2)
        assert (await store.runs.reserve(more, "r1", "b", need(), now=NOW)).refusal is None
        same = await hold_of(store, "r1")
        assert (await store.runs.account("r1")).budget == Budget(max_calls=2)
        await store.runs.open_account(same, "r1", None, LIMITS, now=NOW)
        assert (await store.runs.account("r1")).spent == _ONE and (await store.runs.account("r1")).budget == LIMITS
        free = await hold_of(store, "r2")
        with pytest.raises(RunNotFoundError, match="r2"):
            await store.runs.reserve(free, "r2", "a", need(), now=NOW)
        with pytest.raises(RunNotFoundError, match="nowhere"):
            await store.runs.open_account(free, "r2/x", "nowhere", LIMITS, now=NOW)
        with pytest.raises(RunNotFoundError, match="r2"):
            await write(store, free, done("a"), charge="r2")
        with pytest.raises(RunNotFoundError, match="r2"):
            await store.runs.account("r2")
        assert store.runs.steps("r2") == []
        await hold_of(store, "r2", budget=LIMITS)
        assert (await store.runs.account("r2")).budget == LIMITS

    @on_nodes
    async def test_warnings_are_remembered(self, store: Store) -> None:
        hold = await hold_of(store, "r1", budget=LIMITS)
        for share in (0.8, 0.5):
            await write(store, hold, warned=(("r1", share),))
        assert (await store.runs.account("r1")).warned == 0.8
        await hold_of(store, "r1", budget=LIMITS)
        assert (await store.runs.account("r1")).warned == 0.8
