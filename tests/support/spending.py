"""Agents that spend the money of one budget, for tests of what many of them do to it. A process of its own when run."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable

from shoal.kernel.budget import Budget, Need
from shoal.kernel.ports import Hold, RunEnd, RunWrite, Store
from shoal.kernel.run import RunStatus, RunStep
from shoal.kernel.usage import Usage
from shoal.store import open_store
from shoal.testing.store_queue_frame import NOW, node
from shoal.testing.store_run_frame import order

__all__ = ["LIMIT_PICO", "REFUSED", "Spender"]

LIMIT_PICO = 20_000
BUDGET = Budget(max_cost=LIMIT_PICO * 1e-12)
REFUSED = "refused"


class Spender:
    """The agents of one run: each calls a model whose cost is within what was reserved, until the budget refuses.

    Args:
        store: where they keep their run.
        run_id: their run; ``above`` has the budget and is begun by the one called so.
        chance: decides on costs, on the order of the agents, and on crashes.
    """

    def __init__(self, store: Store, run_id: str, chance: random.Random) -> None:
        self.store = store
        self.run_id = run_id
        self.chance = chance
        self.calls = 0
        self.refused = 0
        self.checked: Callable[[], Awaitable[None]] | None = None

    async def run(self, agents: int, *, crashes: int = 0) -> None:
        """Let *agents* work at once, all of them dying *crashes* times in the middle."""
        for life in range(crashes + 1):
            hold = await self._begin()
            last = life == crashes
            work = [asyncio.ensure_future(self._agent(hold, f"{life}/{number}")) for number in range(agents)]
            if not last:
                await self._pause(60)
                for each in work:
                    each.cancel()
            await asyncio.gather(*work, return_exceptions=not last)
            if not last:
                continue
            await self.store.runs.end(hold, RunEnd(status=RunStatus.INTERRUPTED), now=NOW)

    async def _begin(self) -> Hold:
        above = self.run_id == "above"
        begun = await self.store.runs.begin(
            order(
                self.run_id, self.run_id, budget=BUDGET if above else None, parent_account=None if above else "above"
            ),
            now=NOW,
        )
        assert begun.hold is not None
        return begun.hold

    async def _agent(self, hold: Hold, name: str) -> None:
        runs = self.store.runs
        for ordinal in range(4):
            await self._pause(4)
            need = Need(input_pico=self.chance.randrange(300), output_tokens=self.chance.randrange(600), output_pico=1)
            key = f"{name}/model{ordinal}"
            granted = await runs.reserve(hold, "above", key, need, now=NOW)
            if granted.refusal is not None:
                self.refused += 1
                return
            await self._pause(4)
            self.calls += 1
            usage = Usage(calls=1, cost_pico=self.chance.randint(0, granted.amount.cost_pico))
            step = RunStep(key=key, kind="model", usage=usage, started_at=NOW, finished_at=NOW)
            match self.chance.randrange(6):
                case 0:
                    await runs.write(hold, RunWrite(settle=key, lost=True), now=NOW)
                case _:
                    await runs.write(hold, RunWrite(step=step, settle=key), now=NOW)
            if self.checked is not None:
                await self.checked()

    async def _pause(self, most: int) -> None:
        for _ in range(self.chance.randrange(most)):
            await asyncio.sleep(0)


async def _main(url: str, run_id: str, seed: int) -> None:
    store = open_store(url)
    await store.open()
    await store.leases.join(node(run_id), now=NOW)
    spender = Spender(store, run_id, random.Random(seed))
    await spender.run(25, crashes=2)
    await store.close()
    print(spender.refused)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
