"""Roles taken by agents in a process, in a box, and on another node; and what happens when one of them is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.orchestration import Orchestrator
from shoal.orchestration.workflow.recovery import ACTIONS
from tests.lifecycle.runs.killing import ROOT
from tests.lifecycle.workflow.far import CONFIG, Worker
from tests.support.levels import need
from tests.support.speakers import Speaker
from tests.support.workteam import lead_of

SOON = 1.0
PLACES = ("process", "box", "far")


@contextmanager
def node(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the other node."""
    names = [str(folder / "runs.db"), str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lifecycle.workflow.far", *names], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


async def register(runtime: AgentRuntime, folder: Path) -> None:
    await runtime.register_agent("process", Worker, {"folder": str(folder)}, isolation="process")
    await runtime.register_agent("box", Worker, isolation="bubblewrap")
    for name in ("process", "box"):
        await runtime.start_agent(name)


def team_of(runtime: AgentRuntime, task: str = "work") -> Orchestrator:
    plan = [
        {"id": place, "title": f"{task} in {place}", "owner": place.title()}
        for place in PLACES
        if task in ("work", place)
    ]
    roles = {
        place.title(): [runtime.agent(place), Speaker("Backup", "- done by the backup")]
        for place in PLACES
        if task in ("work", place)
    }
    for step in plan if task != "work" else []:
        step["title"] = "hang"
    return Orchestrator(lead_of(plan), roles)


@pytest.mark.spec("W17")
def test_agents_wherever_they_are_take_roles(tmp_path: Path, run: Callable[..., Any]) -> None:
    need("bubblewrap")

    async def main() -> None:
        async with AgentRuntime(tmp_path / "runs.db", config=CONFIG) as runtime:
            await register(runtime, tmp_path)
            report = await runtime.run(team_of(runtime), "the task", run_id="r")
            assert report.success and report.recoveries == ()
            assert [record.instance for record in report.steps] == list(PLACES)
            assert {record.delivery.outputs for record in report.steps if record.delivery} == {("done by Worker",)}
            again = await runtime.run(team_of(runtime), "the task", run_id="r")
            assert again == report

    with node(tmp_path):
        run(main)


@pytest.mark.spec("W17")
@pytest.mark.parametrize("place", PLACES)
def test_the_recovery_begins_within_a_second_of_a_death(tmp_path: Path, run: Callable[..., Any], place: str) -> None:
    need("bubblewrap")

    async def main(other: subprocess.Popen[str]) -> None:
        loop = asyncio.get_running_loop()
        async with AgentRuntime(tmp_path / "runs.db", config=CONFIG) as runtime:
            await register(runtime, tmp_path)
            handle = runtime.run(team_of(runtime, place), "the task", run_id="r")
            await asked(runtime, place, tmp_path)
            os.kill(victim(place, tmp_path, other), signal.SIGKILL)
            killed = loop.time()
            async for event in handle.events():
                if event.type == "health_check":
                    break
            took = loop.time() - killed
            report = await handle
            assert report.success and report.steps[0].instance.startswith("Backup")
            (recovery,) = report.recoveries
            assert tuple(action.kind for action in recovery.actions) == ACTIONS
            assert "DeadAgentError" in recovery.reason, recovery.reason
            if place == "far":  # the others may have been started again by now
                assert recovery.actions[0].details["health"] != "healthy"
            assert took < SOON, f"{took:.2f} s"

    with node(tmp_path) as other:
        run(lambda: main(other))


async def asked(runtime: AgentRuntime, place: str, folder: Path) -> None:
    """Wait until the agent is at work."""
    if place != "box":
        while not (folder / "pid").exists():
            await asyncio.sleep(0.01)
        return
    while not any(str(task.status) == "running" for task in runtime.list_tasks()):
        await asyncio.sleep(0.01)


def victim(place: str, folder: Path, other: subprocess.Popen[str]) -> int:
    if place == "far":
        return other.pid
    if place == "process":
        return int((folder / "pid").read_text())
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    found = [pid for pid in children if b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert found, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children]
    return int(found[0])
