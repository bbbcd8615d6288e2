"""Teams killed with ``kill -9`` at every step: nothing that is on record is asked again, and the report is the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.client import Client
from shoal.orchestration.workflow.report import WorkflowReport
from tests.lifecycle.runs.lives import Lives, journals, lives, model_calls, recorded
from tests.lifecycle.workflow.teams import COST_PICO
from tests.support.levels import need
from tests.support.replay import without_times

SAMPLE = 6
MOMENTS = ("before", "called", "recorded")
PROGRAM = "tests.lifecycle.workflow.team_node"
CALLS = {"auth": 11, "dispute": 13, "beside": 11, "failing": 3, "workspace": 14}


@pytest.fixture(scope="module")
def start() -> Iterator[Lives]:
    with lives(PROGRAM) as started:
        yield started


def live(start: Lives, folder: Path, name: str, kill: tuple[int, str] | None = None) -> dict[str, Any] | None:
    """Live once, and check that nothing that was recorded is asked again, and nothing twice."""
    before = recorded(folder, "r") if (folder / "runs.db").exists() else set()
    lines = sum(model_calls(folder).values())
    found = start.live(folder, name, "r", kill=kill)
    asked = model_calls(folder, lines)
    assert not before & set(asked), "a recorded call was made again"
    assert all(times == 1 for times in asked.values())
    assert before <= recorded(folder, "r"), "something recorded is lost"
    return found


def undisturbed_run(start: Lives, folder: Path, name: str) -> dict[str, Any]:
    alone = folder / f"undisturbed-{name}"
    alone.mkdir()
    found = start.live(alone, name, "r")
    assert found is not None and found["result"].get("success", True), found
    assert sum(model_calls(alone).values()) == CALLS[name]
    return found


def check_end(start: Lives, folder: Path, name: str, undisturbed: dict[str, Any], where: object) -> WorkflowReport:
    """Let the run end, and hold it to one that nobody killed; then ask for it again."""
    found = live(start, folder, name)
    assert found is not None
    assert without_times(found) == without_times(undisturbed), where
    report = msgspec.convert(found["result"], WorkflowReport)
    assert sum(call.usage.cost_pico for call in report.calls) == CALLS[name] * COST_PICO, where
    assert len(recorded(folder, "r")) == CALLS[name] and set(model_calls(folder)) == recorded(folder, "r")
    (journal,) = journals(folder)
    assert (journal.usage.cost_pico, journal.usage.lost_calls) == (CALLS[name] * COST_PICO, 0)
    asked = model_calls(folder)
    assert start.live(folder, name, "r") == found, "a finished run gives its report again"
    assert model_calls(folder) == asked, "a finished run asks nobody"
    return report


def all_steps(folder: Path) -> list[str]:
    """Return the keys of all steps of the run, in their order."""

    async def read() -> list[str]:
        async with Client(folder / "runs.db", read_only=True) as client:
            return [step.key for step in client.runs.steps("r")]

    return asyncio.run(read())


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


@pytest.mark.spec("W11")
@pytest.mark.long
@pytest.mark.parametrize("name", ["auth", "dispute", "failing"])
def test_a_team_killed_once_at_any_step(
    start: Lives, tmp_path: Path, name: str, rounds: Callable[[int, int], int]
) -> None:
    undisturbed = undisturbed_run(start, tmp_path, name)
    steps = all_steps(tmp_path / f"undisturbed-{name}")
    points = [(number + 1, when) for number in range(len(steps)) for when in MOMENTS]
    for step, when in random.Random(name).sample(points, rounds(len(points), SAMPLE)):
        folder = _folder(tmp_path, f"{step}-{when}")
        assert live(start, folder, name, (step, when)) is None, f"there is no step {step}"
        check_end(start, folder, name, undisturbed, (step, when))


@pytest.mark.spec("W11")
@pytest.mark.parametrize("name", ["auth", "dispute", "failing"])
def test_a_team_killed_before_and_after_every_call_and_record_in_one_run(
    start: Lives, tmp_path: Path, name: str
) -> None:
    undisturbed = undisturbed_run(start, tmp_path, name)
    struck = 0
    while live(start, tmp_path, name, (1, MOMENTS[struck % 3])) is None:
        struck += 1
    assert struck > 3 * CALLS[name]
    check_end(start, tmp_path, name, undisturbed, "killed at each of its steps")
