"""One holder of a team's run at a time: the others are refused, and who has lost it writes nothing more."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from shoal import AgentRuntime
from shoal.kernel.run import RunStatus
from tests.lifecycle.runs.lives import model_calls, recorded
from tests.lifecycle.workflow.program import program
from tests.lifecycle.workflow.teams import COST_PICO, TEAMS, Setting

CONFIG = {"lease_seconds": 2, "durability": "normal", "poll_seconds": 0.1}
CALLS = 11


def test_of_two_nodes_that_start_it_at_once_one_carries_it_out(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db", config=CONFIG):  # so that the store is there
            with program(tmp_path, "slow") as one, program(tmp_path, "slow") as other:
                ended = [await asyncio.to_thread(each.communicate, timeout=60) for each in (one, other)]
                codes = sorted(each.returncode == 0 for each in (one, other))
            assert codes == [False, True], ended
            said, refused = (ended[0], ended[1]) if one.returncode == 0 else (ended[1], ended[0])
            assert "RunActiveError" in refused[1]
            result = msgspec.json.decode(said[0])["result"]
            assert result["ready"] and len(result["messages"]) == 9

    run(main)
    assert len(model_calls(tmp_path)) == CALLS and set(model_calls(tmp_path).values()) == {1}


def test_a_holder_that_is_stopped_past_its_lease_loses_it(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db", config=CONFIG) as runtime:
            with program(tmp_path, "slow") as stopped:
                while len(model_calls(tmp_path)) < 4:
                    await asyncio.sleep(0.01)
                os.kill(stopped.pid, signal.SIGSTOP)
                try:
                    while runtime.runs.get("r").node_id is not None:  # until its lease has ended
                        await asyncio.sleep(0.05)
                    assert runtime.runs.get("r").status is RunStatus.INTERRUPTED
                    handle = runtime.run(*TEAMS["slow"](Setting(runtime, tmp_path / "calls.log")), run_id="r")
                    async for event in handle.events():
                        if event.type == "work_delivered":
                            break
                finally:
                    os.kill(stopped.pid, signal.SIGCONT)
                _, err = await asyncio.to_thread(stopped.communicate, timeout=30)
                assert stopped.returncode != 0 and "LeaseLostError" in err
                report = await handle
            assert report.success and report.ready and len(report.messages) == 9
            assert report.usage.cost_pico - report.usage.lost_pico == CALLS * COST_PICO
            told = [event.type async for event in runtime.runs.events("r")]
            assert told.count("final_output") == told.count("task_received") == told.count("run_finished") == 1

    run(main)
    asked = model_calls(tmp_path)
    assert set(asked) == recorded(tmp_path, "r") and len(asked) == CALLS
    assert sum(asked.values()) - CALLS <= 2, "but for the call at which it was stopped, and the one it went on with"
