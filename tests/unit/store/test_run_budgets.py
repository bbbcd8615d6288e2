"""Budgets hold in every order of events: nothing is spent beyond a limit, and every sum is exact."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Protocol

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal.kernel.budget import Amount, Budget, Need
from shoal.kernel.journal import MemoryRuns
from shoal.kernel.ports import Hold, RunEnd, RunWrite, RunWriter
from shoal.kernel.run import RunRecord, RunStatus, RunStep
from shoal.kernel.usage import Usage, pico_of
from shoal.store import open_store
from shoal.testing.store_queue_frame import NOW
from shoal.testing.store_run_frame import order

USD = 1e-9  # 1,000 units
NESTED = {"r1": None, "r1/a": "r1", "r1/a/b": "r1/a", "r1/c": "r1"}

limits = st.builds(
    Budget,
    max_cost=st.none() | st.integers(0, 9).map(lambda n: n * USD),
    max_tokens=st.none() | st.integers(0, 3000),
    max_calls=st.none() | st.integers(0, 9),
)
needs = st.builds(
    Need,
    calls=st.integers(0, 2),
    input_tokens=st.integers(0, 300),
    input_pico=st.integers(0, 800),
    output_tokens=st.integers(0, 900),
    output_pico=st.integers(0, 3),
)
INTERRUPTED = RunEnd(status=RunStatus.INTERRUPTED)
slots = st.sampled_from(["k1", "k2"])
actions = st.tuples(
    st.tuples(st.sampled_from(sorted(NESTED)), slots, needs),
    st.one_of(
        st.tuples(st.just("settle"), slots, st.sampled_from([1.0, 0.3, 0.0]), st.booleans()),
        st.tuples(st.just("lose"), slots),
        st.tuples(st.sampled_from(["go on", "kill", "end"])),
    ),
)
"""A call that is reserved, and what happens then, to it or to another one."""


class Readers(Protocol):
    """The readers of a store that tell what was written."""

    def get(self, run_id: str) -> RunRecord: ...
    def steps(self, run_id: str) -> list[RunStep]: ...


class Run:
    """One run whose budgets are driven at random, and what its accounts must show."""

    def __init__(self, writer: RunWriter, readers: Readers, budgets: dict[str, Budget]) -> None:
        self.writer = writer
        self.readers = readers
        self.budgets = budgets
        self.open: dict[str, tuple[str, Amount]] = {}
        self.spent: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.steps = 0
        self.hold: Hold | None = None

    async def begin(self) -> None:
        begun = await self.writer.begin(order("r1", budget=self.budgets["r1"] if self.hold is None else None), now=NOW)
        for account_id, amount in self.open.values():
            self.lose(account_id, amount)
        self.open.clear()
        new = self.hold is None
        self.hold = begun.hold
        assert self.hold is not None
        for account_id, parent in NESTED.items():
            if new and parent is not None:
                await self.writer.open_account(self.hold, account_id, parent, self.budgets[account_id], now=NOW)

    def lose(self, account_id: str, amount: Amount) -> None:
        for above in _above(account_id):
            self.lost[above] += amount.cost_pico
        self.lost["calls"] += amount.calls

    async def reserve(self, account_id: str, key: str, wanted: Need) -> None:
        assert self.hold is not None
        granted = await self.writer.reserve(self.hold, account_id, key, wanted, now=NOW)
        if key in self.open:
            self.lose(*self.open.pop(key))
        if granted.refusal is None:
            self.open[key] = (account_id, granted.amount)
            assert granted.output_tokens <= wanted.output_tokens

    async def go_on(self, happening: tuple[Any, ...]) -> None:
        hold = self.hold
        assert hold is not None
        match happening:
            case ("settle", key, share, repeated):
                await self.settle(hold, key, share, repeated)
            case ("lose", key):
                await self.writer.write(hold, RunWrite(settle=key, lost=True), now=NOW)
                if key in self.open:
                    self.lose(*self.open.pop(key))
            case ("end",):
                await self.writer.end(hold, INTERRUPTED, now=NOW)
                await self.begin()
            case ("kill",):
                await self.begin()

    async def settle(self, hold: Hold, key: str, share: float, repeated: bool) -> None:
        if key not in self.open:
            return
        account_id, amount = self.open.pop(key)
        usage = Usage(
            calls=int(amount.calls * share),
            input_tokens=int(amount.tokens * share),
            cost_pico=int(amount.cost_pico * share),
        )
        self.steps += 1
        step = RunStep(key=f"s{self.steps}", kind="model", usage=usage, started_at=NOW, finished_at=NOW)
        for _ in range(1 + repeated):
            await self.writer.write(hold, RunWrite(step=step, settle=key), now=NOW)
        for above in _above(account_id):
            self.spent[above] += usage.cost_pico

    async def check(self) -> None:
        held: Counter[str] = Counter()
        for account_id, amount in self.open.values():
            for above in _above(account_id):
                held[above] += amount.cost_pico
        for account_id in NESTED:
            account = await self.writer.account(account_id)
            found = (account.spent.cost_pico, account.held.cost_pico, account.lost.cost_pico)
            assert found == (self.spent[account_id], held[account_id], self.lost[account_id])
            used, most = account.used, self.budgets[account_id]
            assert most.max_cost is None or used.cost_pico <= pico_of(most.max_cost)
            assert most.max_tokens is None or used.tokens <= most.max_tokens
            assert most.max_calls is None or used.calls <= most.max_calls
        usage = self.readers.get("r1").usage
        total = sum((step.usage for step in self.readers.steps("r1")), start=Usage())
        assert usage == total + Usage(lost_calls=self.lost["calls"], lost_pico=self.lost["r1"])
        assert usage.cost_pico == self.spent["r1"]


def _above(account_id: str) -> list[str]:
    found, place = [], account_id
    while place:
        found.append(place)
        place = NESTED[place] or ""
    return found


async def _drive(run: Run, schedule: list[tuple[Any, ...]]) -> None:
    await run.begin()
    for call, happening in schedule:
        await run.reserve(*call)
        await run.check()
        await run.go_on(happening)
        await run.check()


@settings(deadline=None, max_examples=200)
@given(st.tuples(limits, limits, limits, limits), st.lists(actions, min_size=3, max_size=12))
def test_nested_budgets_hold_in_memory(budgets: tuple[Budget, ...], schedule: list[tuple[Any, ...]]) -> None:
    runs = MemoryRuns()
    asyncio.run(_drive(Run(runs, runs, dict(zip(NESTED, budgets, strict=True))), schedule))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.tuples(limits, limits, limits, limits), st.lists(actions, min_size=3, max_size=12))
def test_nested_budgets_hold_in_a_store(budgets: tuple[Budget, ...], schedule: list[tuple[Any, ...]]) -> None:
    async def main() -> None:
        store = open_store("sqlite://:memory:", inline=True)
        await store.open()
        try:
            await _drive(Run(store.runs, store.runs, dict(zip(NESTED, budgets, strict=True))), schedule)
        finally:
            await store.close()

    asyncio.run(main())
