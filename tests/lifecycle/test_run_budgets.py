"""One budget, spent by the agents of two stores at once: it holds, whatever the order."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.kernel.ports import Store
from shoal.kernel.usage import Usage
from shoal.store import open_store
from shoal.testing.store_queue_frame import NOW, node
from tests.support import spending
from tests.support.spending import LIMIT_PICO, Spender

RUNS = ("above", "below")


async def _check_sums(store: Store) -> None:
    """Hold the account to the steps of both runs, and to its limit."""
    account = await store.runs.account("above")
    assert account.held.cost_pico == 0
    assert account.spent.cost_pico + account.lost.cost_pico <= LIMIT_PICO
    used = sum((store.runs.get(run_id).usage for run_id in RUNS), start=Usage())
    assert account.spent.cost_pico == used.cost_pico and account.lost.cost_pico == used.lost_pico
    steps = [step for run_id in RUNS for step in store.runs.steps(run_id)]
    assert sum(step.usage.cost_pico for step in steps) == used.cost_pico
    assert len(steps) == used.calls == account.spent.calls and account.lost.calls == used.lost_calls


async def _schedule(folder: Path, seed: int) -> tuple[int, int]:
    """Let 50 agents of two stores on one file spend, in the order that *seed* makes; return calls and refusals."""
    url = f"sqlite:///{folder}/{seed}.db"
    stores = [open_store(url, inline=True, durability="normal") for _ in RUNS]
    chance = random.Random(seed)
    spenders = [Spender(store, run_id, chance) for store, run_id in zip(stores, RUNS, strict=True)]

    async def check() -> None:
        account = await stores[0].runs.account("above")
        assert account.used.cost_pico <= LIMIT_PICO, f"seed {seed}"

    for store, spender in zip(stores, spenders, strict=True):
        await store.open()
        await store.leases.join(node(spender.run_id), now=NOW)
        spender.checked = check
    first = asyncio.ensure_future(spenders[0].run(25, crashes=chance.randrange(3)))
    while not stores[0].runs.search():
        await asyncio.sleep(0)
    await asyncio.gather(first, spenders[1].run(25, crashes=chance.randrange(3)))
    await _check_sums(stores[1])
    for store in stores:
        await store.close()
    return sum(spender.calls for spender in spenders), sum(spender.refused for spender in spenders)


@pytest.mark.spec("O31")
@pytest.mark.long
def test_a_budget_holds_in_every_order(tmp_path: Path, rounds: Callable[[int, int], int]) -> None:
    done = [asyncio.run(_schedule(tmp_path, seed)) for seed in range(rounds(1000, 50))]
    assert all(calls > 10 for calls, _ in done) and sum(1 for _, refused in done if refused) > len(done) / 2


def test_an_order_can_be_had_again(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        found.append(asyncio.run(_schedule(folder, 7)))
    assert found[0] == found[1]


def test_a_budget_holds_between_processes(tmp_path: Path, rounds: Callable[[int, int], int]) -> None:
    async def main(seed: int) -> None:
        url = f"sqlite:///{tmp_path}/{seed}.db"
        store = open_store(url)
        await store.open()
        try:
            processes = []
            for run_id in RUNS:
                command = (sys.executable, "-m", spending.__name__, url, run_id, str(seed))
                root = Path(__file__).parents[2]
                processes.append(
                    await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=root)
                )
                while not store.runs.search():
                    await asyncio.sleep(0.01)
            told = await asyncio.gather(*(process.communicate() for process in processes))
            assert [process.returncode for process in processes] == [0, 0]
            assert sum(int(out) for out, _ in told) > 0, "the budget was spent in the end"
            await _check_sums(store)
        finally:
            await store.close()

    for seed in range(rounds(20, 2)):
        asyncio.run(main(seed))
