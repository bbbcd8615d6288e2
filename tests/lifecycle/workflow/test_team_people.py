"""People who decide on the plan and the result: waited for over restarts and kills, and obeyed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal import AgentRuntime
from shoal.kernel.run import RunOptions, RunStatus
from tests.lifecycle.runs.lives import model_calls
from tests.lifecycle.workflow.program import program
from tests.lifecycle.workflow.teams import TEAMS, Setting

CONFIG = {"lease_seconds": 2, "durability": "normal", "poll_seconds": 0.1}


async def asked(runtime: AgentRuntime, kind: str) -> Any:
    """Wait for the question, and return it."""
    while True:
        known = [run.run_id for run in runtime.runs.list()]
        found = [each for each in runtime.runs.approvals("r") if each.kind == kind] if known else []
        if found:
            return found[0]
        await asyncio.sleep(0.01)


@pytest.mark.spec("W18")
def test_questions_survive_the_program_and_are_asked_once(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db", config=CONFIG) as runtime:
            with program(tmp_path, "approved") as first:
                question = await asked(runtime, "plan")
                assert [step["title"] for step in question.arguments][:2] == [
                    "Analyze requirements",
                    "Design architecture",
                ]
                assert runtime.runs.get("r").status is RunStatus.WAITING
                assert sum(model_calls(tmp_path).values()) == 1, "nothing is begun before the plan is approved"
                first.kill()
                first.wait()
            await runtime.runs.approve(question.id, by="Bob")
            with program(tmp_path, "approved") as second:
                final = await asked(runtime, "final")
                assert final.arguments["summary"] == "It is built."
                second.kill()
                second.wait()
            with program(tmp_path, "approved") as third:
                await runtime.runs.approve(final.id, by="Bob")
                out, err = await asyncio.to_thread(third.communicate, timeout=30)
                assert third.returncode == 0, err
            result = msgspec.json.decode(out)["result"]
            assert result.get("success", True) and result["ready"]
            told = [event.type async for event in runtime.runs.events("r")]
            assert runtime.runs.approvals("r") == []
            assert told.count("plan") == 1 and told.count("final_output") == 1

    run(main)
    assert all(times == 1 for times in model_calls(tmp_path).values()) and len(model_calls(tmp_path)) == 11


@pytest.mark.spec("W18")
@pytest.mark.parametrize(("denied", "calls"), [("plan", 1), ("final", 11)])
def test_a_denial_ends_it(tmp_path: Path, run: Callable[..., Any], denied: str, calls: int) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db", config=CONFIG) as runtime:
            handle = runtime.run(*TEAMS["approved"](Setting(runtime, tmp_path / "calls.log")), run_id="r")
            for kind in ("plan", "final"):
                question = await asked(runtime, kind)
                if kind == denied:
                    await runtime.runs.deny(question.id, by="Bob", reason="not so")
                    break
                await runtime.runs.approve(question.id, by="Bob")
            report = await handle
            assert (report.stopped, report.success, report.ready) == ("denied", False, False)
            assert report.error == {"plan": "the plan was denied", "final": "the result was denied"}[denied]
            done = [record.status for record in report.steps]
            assert done == [{"plan": "pending", "final": "completed"}[denied]] * 7
            assert report.to_markdown().rstrip().splitlines()[-1].startswith("Not ready")
            again = await runtime.run(*TEAMS["approved"](Setting(runtime, tmp_path / "calls.log")), run_id="r")
            assert again == report

    run(main)
    assert sum(model_calls(tmp_path).values()) == calls


@pytest.mark.spec("W18")
def test_a_run_that_does_not_wait_returns_what_is_finished(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        seen = []
        for kind in ("plan", "final", ""):
            async with AgentRuntime(tmp_path / "runs.db", config=CONFIG) as runtime:
                made = TEAMS["approved"](Setting(runtime, tmp_path / "calls.log"))
                report = await runtime.run(*made, run_id="r", options=RunOptions(on_wait="return"))
                seen.append((report.stopped, sum(model_calls(tmp_path).values()), len(report.files)))
                if kind:
                    assert runtime.runs.get("r").status is RunStatus.WAITING and not report.success
                    await runtime.runs.approve((await asked(runtime, kind)).id, by="Bob")
        assert seen == [("waiting", 1, 0), ("waiting", 11, 2), (None, 11, 2)]
        assert report.success and report.ready

    run(main)
