"""Debates of agents and models that fail: no hang, no exception out of a pattern, exact totals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal.llm.agent import Agent
from shoal.llm.doubles import chaos, scripted
from shoal.orchestration import Debate
from shoal.testing.clock import VirtualClock
from tests.support.debaters import ballot
from tests.support.speakers import Calls, virtual
from tests.unit.orchestration.test_troubled_agents import Troubled

_VERDICT = '{"consensus": true, "position": "wait", "dissenters": ["C"]}'


@pytest.mark.spec("O46")
def test_chaos() -> None:
    outcomes = set()

    async def main(clock: VirtualClock) -> None:
        for seed in range(200):
            real = scripted({"": lambda request: _chaotic(request.messages[-1].content)}, cost=1.0, latency=0.5)
            model = chaos(real, seed, errors=0.15, timeouts=0.1, rate_limits=0.1, malformed=0.1, slow=0.1)
            agents = [Agent(name=name, role=name, model=model, retries=seed % 2, timeout=5) for name in "ABC"]
            debate = Debate(
                agents,
                rounds=2,
                parallel_responses=seed % 3 > 0,
                round_timeout=20,
                consensus="judge" if seed % 2 else "ballot",
                threshold=0.6,
                blind=seed % 5 == 0,
                require_consensus=seed % 7 == 0,
            )
            handle = debate.start("topic")
            result = await handle
            assert handle.status in ("completed", "failed") and handle.usage == result.usage
            assert result.total_cost == round(result.total_cost) and round(result.total_cost) <= result.usage.calls
            assert len(result.messages) % 3 == 0 and (result.error is None) == result.success
            outcomes.add((result.success, result.consensus_reached, result.stopped))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main)
    assert {(success, reached) for success, reached, _ in outcomes} >= {(True, True), (True, False), (False, False)}


@pytest.mark.spec("O46")
def test_agents_that_fail_in_every_way_they_know() -> None:
    outcomes = set()

    async def main(clock: VirtualClock) -> None:
        for seed in range(200):
            calls = Calls()
            agents = [Troubled(name, seed, calls) for name in "ABCD"]
            moderator = Troubled("M", seed, calls)
            rule: Any = "judge" if seed % 2 else "ballot"
            debate = Debate(agents, moderator, 3, bool(seed % 3), round_timeout=5, consensus=rule, blind=seed % 5 == 0)
            handle = debate.start(f"topic {seed}")
            result = await handle
            assert handle.status in ("completed", "failed") and handle.usage == result.usage
            priced = round(result.total_cost)
            assert result.total_cost == priced
            assert priced + result.usage.unpriced_calls == result.usage.calls <= len(calls)
            assert len(result.messages) % 4 == 0 and not result.consensus_reached
            outcomes.add((result.success, result.stopped))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main)
    assert outcomes >= {(True, None), (False, "error"), (False, "timeout")}


def _chaotic(prompt: str) -> str:
    if "JSON" in prompt:
        return _VERDICT
    if "Write the conclusion" in prompt:
        return "done"
    return ballot("I see.", "so", "A, Participant 1", len(prompt) % 100)
