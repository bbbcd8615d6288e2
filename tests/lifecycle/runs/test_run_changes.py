"""A changed program, forks, and news that are read again after every offset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.errors import BudgetExceededError, RunChangedError, RunConflictError, RunNotFoundError
from shoal.kernel.budget import Budget
from shoal.kernel.run import RunOptions, RunStatus
from shoal.orchestration import Pipeline
from tests.lifecycle.runs.compositions import Logged
from tests.lifecycle.runs.killing import calls
from tests.support.backend import store_at


def pipeline(log: Path, middle: str = "") -> Any:
    """Return three agents; *middle* changes what the second one is asked."""
    agents = [Logged(name, log, lambda message, name=name: f"{message}{name}") for name in "abc"]  # type: ignore[misc]
    return Pipeline(agents, {1: lambda text: text + middle} if middle else None)


async def _interrupted(runtime: AgentRuntime, log: Path) -> None:
    """Leave a run behind whose first two agents have answered."""
    handle = runtime.run(pipeline(log), "x", run_id="r")
    async for event in handle.events():
        if event.type == "step_finished" and event.path == "1:b/chat":
            break
    await handle.cancel("to go on later")


@pytest.mark.spec("O29")
def test_a_changed_step_is_named_and_done_anew_when_asked_to(tmp_path: Path, run: Callable[..., Any]) -> None:
    log = tmp_path / "calls.log"

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            await runtime.run(Pipeline(pipeline(log).agents[:2], name="p"), "x", run_id="first")
            whole = pipeline(log)
            whole.name = "p"
            record = runtime.runs.get("first")
            assert record.status is RunStatus.COMPLETED
            forked = await runtime.runs.fork("first", "1:b/chat")
            changed = pipeline(log, "!")
            changed.name = "p"
            result = await runtime.run(changed, "x", run_id=forked)
            assert result.content == "xa!bc"
            assert calls(tmp_path) == {"a": 1, "b": 2, "c": 1}  # the first step was kept
            kept = await runtime.runs.fork("first", "1:b/chat")
            assert kept != forked and [step.key for step in runtime.runs.steps(kept)] == ["0:a/chat"]
            with pytest.raises(RunNotFoundError):
                await runtime.runs.fork("first", "9:z/chat")

    run(main)


@pytest.mark.spec("O29")
def test_a_recorded_step_with_another_input_is_named(tmp_path: Path, run: Callable[..., Any]) -> None:
    log = tmp_path / "calls.log"

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            await _interrupted(runtime, log)
            recorded = len(runtime.runs.steps("r"))
            agents = [Logged(name, log, lambda message, name=name: f"{message}{name}") for name in "abc"]  # type: ignore[misc]
            changed = Pipeline(agents, {0: lambda text: text + "?"})
            with pytest.raises(RunChangedError) as refused:
                await runtime.run(changed, "x", run_id="r")
            assert refused.value.step == "0:a/chat" and "'0:a/chat'" in str(refused.value)
            assert runtime.runs.get("r").status is RunStatus.INTERRUPTED
            before = calls(tmp_path)
            result = await runtime.run(changed, "x", run_id="r", options=RunOptions(on_change="rerun"))
            assert result.content == "x?abc"
            assert sum(calls(tmp_path).values()) - sum(before.values()) == 3 and recorded >= 2
            with pytest.raises(RunConflictError):
                await runtime.run(changed, "another input", run_id="r")

    run(main)


@pytest.mark.spec("O39")
def test_news_read_again_after_every_offset_are_the_same(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            handle = runtime.run(pipeline(tmp_path / "calls.log"), "x", run_id="r")
            live = [event async for event in handle.events()]
            await handle
            assert [event.offset for event in live] == list(range(1, len(live) + 1))
            for after in range(len(live) + 1):
                assert [event async for event in runtime.runs.events("r", after)] == live[after:]
                assert [event async for event in handle.events(after)] == live[after:]

    run(main)


@pytest.mark.spec("O39")
def test_a_reader_who_never_reads_on_does_not_delay_the_run(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config={"durability": "normal"}) as runtime:
            many = Pipeline([Logged(f"agent{number}", tmp_path / "log") for number in range(700)])
            handle = runtime.run(many, "x", run_id="r")
            reader = handle.events()
            first = await anext(reader)  # and no more until the run is over
            await handle
            rest = [event async for event in reader]  # more than are kept in memory
            assert [event.offset for event in [first, *rest]] == list(range(1, 2 + 2 * 700 + 1))

    run(main)


def test_an_agent_alone_whose_budget_is_spent_goes_on_with_a_larger_one(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            alone = Logged("alone", tmp_path / "calls.log")
            with pytest.raises(BudgetExceededError, match="max_calls"):
                await runtime.run(alone, "x", run_id="r", budget=Budget(max_calls=0))
            assert runtime.runs.get("r").status is RunStatus.INTERRUPTED and runtime.runs.get("r").stopped == "budget"
            assert (await runtime.run(alone, "x", run_id="r", budget=Budget(max_calls=1))).content == "alone(1)"

    run(main)
    assert calls(tmp_path) == {"alone": 1}
