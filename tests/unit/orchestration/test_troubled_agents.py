"""Agents that fail in every way they know: no hang, no exception out of a pattern, exact totals."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest

from shoal.orchestration import ConditionalPipeline, Handoff, ParallelAgents, Pipeline, Team
from shoal.testing.clock import VirtualClock
from tests.support.replay import Lives
from tests.support.speakers import Calls, Said, virtual


class Troubled:
    """Answers, or does something worse, as (seed, name, how many calls before) say; each real call costs 1."""

    def __init__(self, name: str, seed: int, calls: Calls) -> None:
        self.name = name
        self._seed = seed
        self._calls = calls
        self._count = 0

    async def chat(self, message: str) -> Any:
        """Do it."""
        self._count += 1
        self._calls.made.append((1, self.name, message))
        draw = hashlib.sha256(f"{self._seed} {self.name} {self._count}".encode()).digest()
        await asyncio.sleep(draw[1] / 64)
        match draw[0] % 12:
            case 0:
                raise ValueError("chaos")
            case 1:
                raise ExceptionGroup("several", [OSError("a"), KeyError("b")])
            case 2:
                raise TimeoutError
            case 3:
                raise asyncio.CancelledError
            case 4:
                await asyncio.sleep(1_000)
            case 5:
                return None
            case 6:
                return Said("over to you", cost=1.0, handoff=Handoff("BCDX"[draw[2] % 4], f"{draw[3]}"))
            case 7:
                return Said("", cost=1.0)
            case 8:
                try:
                    await asyncio.sleep(1_000)
                finally:
                    await asyncio.sleep(draw[2] / 200)
        return Said(f"{self.name} says {draw.hex()[:6]}", cost=1.0)


def _patterns(seed: int, calls: Calls) -> list[Any]:
    def agents(names: str = "ABCD") -> list[Troubled]:
        return [Troubled(name, seed, calls) for name in names]

    def upper(text: str) -> str:
        if seed % 3 == 0:
            raise LookupError("no template")
        return text.upper()

    fan = ParallelAgents(agents(), timeout=5, fail_fast=seed % 2 == 0, max_concurrency=2 + seed % 3)
    return [
        fan,
        Pipeline(agents(), {1: upper}, step_timeout=5, stop_on_error=seed % 2 == 0),
        ConditionalPipeline(
            Troubled("A", seed, calls),
            {"x": agents("B"), "default": agents("CD")},
            lambda t: t[:1].lower(),
            step_timeout=5,
        ),
        Team(agents(), turn_timeout=5, max_turns=8),
        Team(agents(), turn="round_robin", turn_timeout=5, max_turns=8, stop="f"),
        Team(
            [Pipeline([fan, *agents("E")], name="A", stop_on_error=False), *agents("BC")],
            turn="round_robin",
            max_turns=4,
        ),
    ]


@pytest.mark.spec("O46")
def test_no_hang_no_exception_and_exact_totals() -> None:
    stopped = set()

    async def main(clock: VirtualClock) -> None:
        for seed in range(200):
            for which in range(6):
                calls = Calls()
                pattern = _patterns(seed, calls)[which]
                handle = pattern.start(f"task {seed}")
                result = await handle
                assert handle.status in ("completed", "failed")
                priced = round(result.total_cost)
                assert result.total_cost == priced
                assert priced + result.usage.unpriced_calls == result.usage.calls <= len(calls)
                stopped.add(result.stopped)
                assert handle.usage == result.usage
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main)
    assert stopped >= {None, "error", "timeout"}


def test_two_runs_under_one_seed_and_a_virtual_clock_are_byte_equal() -> None:
    for which in range(6):
        for seed in (1, 2):
            first, second = (Lives(lambda calls: _patterns(seed, calls)[which], "x") for _ in range(2))  # noqa: B023
            assert msgspec.json.encode(first.live().result) == msgspec.json.encode(second.live().result)
            assert list(first.steps.items()) == list(second.steps.items())
            assert [message for *_, message in first.calls.made] == [message for *_, message in second.calls.made]
