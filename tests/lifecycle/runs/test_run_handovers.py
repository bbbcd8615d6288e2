"""A node that drains cuts no run within a step, whatever that run was at when the drain began."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal import AgentRuntime, Budget
from shoal.kernel.boundary import Boundary
from shoal.kernel.spending import Spending
from shoal.orchestration import Pipeline


class Stage:
    """Notes the begin and the end of what it does."""

    def __init__(self, name: str, said: list[str], seconds: float) -> None:
        self.name = name
        self._said = said
        self._seconds = seconds

    async def chat(self, message: str) -> str:
        self._said.append(f"{self.name} begins")
        await asyncio.sleep(self._seconds)
        self._said.append(f"{self.name} ends")
        return message


def line(name: str, said: list[str], seconds: float) -> Pipeline:
    return Pipeline([Stage(f"{name}{number}", said, seconds) for number in range(2)], name=name)


def whole(said: list[str]) -> bool:
    """Tell whether all that began has ended."""
    return sorted(word.split()[0] for word in said if "begins" in word) == sorted(
        word.split()[0] for word in said if "ends" in word
    )


def test_a_run_that_is_just_being_taken_up(store_url: str, run: Callable[..., Any]) -> None:
    said: list[str] = []

    async def main() -> None:
        runtime = AgentRuntime(store=store_url)
        await runtime.start()
        slow = runtime.run(line("slow", said, 0.3), "go", run_id="slow")
        while not said:
            await asyncio.sleep(0.001)
        late = runtime.run(line("late", said, 0.6), "go", run_id="late")
        await runtime.drain(10)
        for handle in (slow, late):
            with pytest.raises(asyncio.CancelledError):
                await handle

    run(main)
    assert whole(said), said
    assert "slow1 begins" not in said


def test_a_run_that_waits_for_its_money(
    store_url: str, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    closed = asyncio.Event()
    reserve, reach = Spending.reserve, Boundary.reach

    async def slowly(self: Spending, *args: Any) -> Any:
        """Answer when the drain has begun."""
        grant = await reserve(self, *args)
        said.append("reserved")
        await closed.wait()
        return grant

    async def told(self: Boundary) -> None:
        closing = asyncio.ensure_future(reach(self))
        await asyncio.sleep(0)
        closed.set()
        await closing

    async def main() -> None:
        runtime = AgentRuntime(store=store_url)
        await runtime.start()
        slow = runtime.run(line("slow", said, 0.3), "go", run_id="slow")
        paid = runtime.run(line("paid", said, 0.6), "go", run_id="paid", budget=Budget(max_calls=2))
        while not {"slow0 begins", "reserved"} <= set(said):
            await asyncio.sleep(0.001)
        await runtime.drain(10)
        for handle in (slow, paid):
            with pytest.raises(asyncio.CancelledError):
                await handle
        monkeypatch.undo()
        said.clear()
        async with AgentRuntime(store=store_url) as again:
            result = await again.run(line("paid", said, 0.0), "go", run_id="paid")
            assert result.success, "what was reserved for the call that was not made is free again"
            assert again.runs.get("paid").usage.lost_calls == 0

    monkeypatch.setattr(Spending, "reserve", slowly)
    monkeypatch.setattr(Boundary, "reach", told)
    run(main)
    assert said == ["paid0 begins", "paid0 ends", "paid1 begins", "paid1 ends"]
