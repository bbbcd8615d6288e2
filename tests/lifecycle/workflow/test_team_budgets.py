"""Budgets of teams: spent in the middle, enlarged, and added up to the last 1e-12 USD."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal import AgentRuntime, Budget
from shoal.kernel.run import RunStatus
from shoal.orchestration.workflow.report import WorkflowReport
from tests.lifecycle.runs.lives import Lives, account, lives, model_calls, recorded
from tests.lifecycle.workflow.teams import COST, COST_PICO, TEAMS, Setting
from tests.support.replay import without_times

CONFIG = {"durability": "normal"}
CALLS = 11


@pytest.fixture(scope="module")
def start() -> Iterator[Lives]:
    with lives("tests.lifecycle.workflow.team_node") as started:
        yield started


def live(start: Lives, folder: Path, name: str, calls: float | None) -> tuple[WorkflowReport, dict[str, Any]]:
    """Carry the run out with a budget of as many calls' costs."""
    budget = "" if calls is None else msgspec.json.encode(Budget(max_cost=COST * calls)).decode()
    found = start.live(folder, name, "r", budget=budget)
    assert found is not None
    return msgspec.convert(found["result"], WorkflowReport), found


@pytest.mark.spec("W16")
@pytest.mark.parametrize("name", ["auth", "beside"])
def test_a_spent_budget_keeps_what_is_finished_and_a_larger_one_goes_on(
    start: Lives, tmp_path: Path, name: str
) -> None:
    finished: set[str] = set()
    for most in (1, 4, 6, 9):
        report, _ = live(start, tmp_path, name, most + 0.5)
        assert (report.stopped, report.success, report.ready) == ("budget", False, False)
        assert len(recorded(tmp_path, "r")) == most == sum(model_calls(tmp_path).values())
        check_sums(report, most, tmp_path)
        done = {record.step.id for record in report.steps if record.status == "completed"}
        assert done >= finished, "what was finished stays so"
        finished = done
        assert not any(record.status == "failed" for record in report.steps) and report.escalations == ()
        assert report.recoveries == (), "a budget that is spent is no failure of an agent"
    assert finished
    report, found = live(start, tmp_path, name, 100)
    assert report.success and report.ready
    check_sums(report, CALLS, tmp_path)
    if name == "auth":
        alone = tmp_path / "alone"
        alone.mkdir()
        _, undisturbed = live(start, alone, name, 100)
        assert without_times(found) == without_times(undisturbed)


def check_sums(report: WorkflowReport, calls: int, folder: Path) -> None:
    """The total is the sum of all calls; so are the roles' costs; and so is what the budget has counted."""
    assert report.usage.cost_pico == calls * COST_PICO
    assert sum(call.usage.cost_pico for call in report.calls) == report.usage.cost_pico
    assert account(folder, "r").used.cost_pico == report.usage.cost_pico


@pytest.mark.spec("W16")
def test_the_costs_of_the_roles_add_up_to_the_total(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db", config=CONFIG) as runtime:
            team, task = TEAMS["auth"](Setting(runtime, tmp_path / "calls.log"))
            report = await runtime.run(team, task, run_id="r")
            for by in ("role", "instance"):
                numbers = team.metrics(by, numbers=True)
                picos = [round(part["cost"] * 1e12) for part in numbers.values()]
                assert sum(picos) == report.usage.cost_pico == CALLS * COST_PICO
                assert sum(part["calls"] for part in numbers.values()) == CALLS
            assert round(report.total_cost * 1e12) == CALLS * COST_PICO

    run(main)


@pytest.mark.spec("W16")
def test_a_run_that_is_cancelled_anywhere_goes_on(tmp_path: Path, run: Callable[..., Any]) -> None:
    """Also: what is finished can be looked at whenever anything is told."""

    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db", config=CONFIG) as runtime:

            def start() -> Any:
                made = TEAMS["beside"](Setting(runtime, tmp_path / "calls.log"))
                return runtime.run(*made, run_id="r")

            lives = seen = 0
            finished: set[str] = set()
            while True:
                handle, told = start(), 0
                async for event in handle.events(after=seen):
                    seen = max(seen, event.offset)
                    partial = handle.partial()
                    if partial is not None and not handle.done:
                        assert partial.to_json() and partial.to_markdown() and partial.stopped is None
                    told += event.type == "step_finished" and event.data["kind"] == "model"
                    if told == 2:
                        await handle.cancel("enough")
                        break
                report = await handle
                lives += 1
                if report.stopped is None:
                    break
                assert report.stopped == "cancelled" and handle.status is RunStatus.CANCELLED
                done = {record.step.id for record in report.steps if record.status == "completed"}
                assert finished <= done
                finished = done
            assert report.success and report.ready and lives > 3
            assert report.usage.calls == CALLS
            asked = model_calls(tmp_path)
            assert len(asked) == CALLS

    run(main)
