"""A run is cut between two of its outermost steps: those under way end, with what they call, and no other begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from shoal.kernel.boundary import Boundary


def test_steps_beside_each_other_end_and_none_begins(run: Callable[..., Any]) -> None:
    async def main() -> None:
        boundary = Boundary()
        begun: list[str] = []
        gates = {name: asyncio.Event() for name in ("left", "right")}

        async def branch(name: str) -> None:
            for number in range(3):
                await boundary.pass_by()
                with boundary.step():
                    begun.append(f"{name}{number}")
                    await gates[name].wait()
                    await boundary.pass_by()  # what is done within a step goes on
                    with boundary.step():
                        begun.append(f"{name}{number} within")

        branches = [asyncio.create_task(branch(name)) for name in gates]
        await asyncio.sleep(0)
        reaching = asyncio.create_task(boundary.reach())
        await asyncio.sleep(0)
        gates["left"].set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not reaching.done(), "the other one is under way"
        gates["right"].set()
        await reaching
        assert begun == ["left0", "right0", "left0 within", "right0 within"]
        assert not any(each.done() for each in branches), "they stand at the next step"
        for each in branches:
            each.cancel()
        await asyncio.wait(branches)

    run(main)


def test_one_with_nothing_under_way_is_reached_at_once(run: Callable[..., Any]) -> None:
    run(lambda: Boundary().reach())
