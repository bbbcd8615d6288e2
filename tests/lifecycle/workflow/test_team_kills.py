"""Teams killed with ``kill -9`` at every step: nothing that is on record is asked again, and the report is the same."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
import pytest

from shoal.client import Client
from shoal.orchestration.workflow.recovery import ACTIONS
from shoal.orchestration.workflow.report import WorkflowReport
from tests.lifecycle.runs.lives import Lives, journals, lives, model_calls, recorded
from tests.lifecycle.workflow.teams import COST_PICO
from tests.support.levels import need
from tests.support.replay import without_times

SAMPLE = 2
MOMENTS = ("before", "called", "recorded")
AT_ONCE = ("beside",)
PROGRAM = "tests.lifecycle.workflow.team_node"
CALLS = {"auth": 11, "dispute": 13, "beside": 11, "silent": 4, "workspace": 14}


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


class Undisturbed(NamedTuple):
    """A run that nobody kills: what is said of it, and its folder."""

    found: dict[str, Any]
    folder: Path


Whole: TypeAlias = Callable[[str], Undisturbed]


@pytest.fixture(scope="module")
def undisturbed_run(start: Lives, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return the undisturbed run of a team, made once."""

    @functools.cache
    def of(name: str) -> Undisturbed:
        folder = tmp_path_factory.mktemp("undisturbed")
        found = start.live(folder, name, "r")
        assert found is not None and found["result"].get("success", True), found
        assert sum(model_calls(folder).values()) == CALLS[name]
        return Undisturbed(found, folder)

    return of


def order_free(found: dict[str, Any]) -> Any:
    """Return what does not depend on which of the steps at once is quicker."""
    report = msgspec.convert(found["result"], WorkflowReport)
    steps = {
        record.step.id: (record.status, record.reworks, record.review_scores, record.delivery and record.delivery.files)
        for record in report.steps
    }
    issues = sorted((issue.title, issue.severity, issue.status, issue.opened_by) for issue in report.issues)
    messages = sorted((message.message_id, len(report.messages)) for message in report.messages)
    kinds = sorted(entry.kind for entry in report.trace)
    return steps, issues, messages, kinds, report.files, report.ready, without_times(found["usage"])


def check_end(start: Lives, folder: Path, name: str, undisturbed: Undisturbed, where: object) -> WorkflowReport:
    """Let the run end, and hold it to one that nobody killed; then ask for it again."""
    found = live(start, folder, name)
    assert found is not None
    compared = order_free if name in AT_ONCE else without_times
    assert compared(found) == compared(undisturbed.found), where
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
    """Return the keys of all steps of the run that are done, in their order."""

    async def read() -> list[str]:
        if not (folder / "runs.db").exists():
            return []
        async with Client(folder / "runs.db", read_only=True) as client:
            known = [run.run_id for run in client.runs.list()]
            return [step.key for step in client.runs.steps("r") if step.finished_at is not None] if known else []

    return asyncio.run(read())


def events(folder: Path) -> list[Any]:
    """Return all news of the run."""

    async def read() -> list[Any]:
        async with Client(folder / "runs.db", read_only=True) as client:
            return [event async for event in client.runs.events("r")]

    return asyncio.run(read())


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


@pytest.mark.spec("W11")
@pytest.mark.long
@pytest.mark.parametrize("name", ["auth", "dispute", "beside"])
def test_a_team_killed_once_at_any_step(
    start: Lives, undisturbed_run: Whole, tmp_path: Path, name: str, rounds: Callable[[int, int], int]
) -> None:
    undisturbed = undisturbed_run(name)
    steps = all_steps(undisturbed.folder)
    points = [(number + 1, when) for number in range(len(steps)) for when in MOMENTS]
    for step, when in random.Random(name).sample(points, rounds(len(points), SAMPLE)):
        folder = _folder(tmp_path, f"{step}-{when}")
        assert live(start, folder, name, (step, when)) is None, f"there is no step {step}"
        check_end(start, folder, name, undisturbed, (step, when))


@pytest.mark.spec("W11")
@pytest.mark.long
@pytest.mark.parametrize("name", ["auth"])
def test_a_team_killed_again_and_again(
    start: Lives, undisturbed_run: Whole, tmp_path: Path, name: str, rounds: Callable[[int, int], int]
) -> None:
    undisturbed = undisturbed_run(name)
    stride, struck = rounds(1, 4), 0
    while live(start, tmp_path, name, (stride, MOMENTS[struck % 3])) is None:
        struck += 1
    assert struck * stride > CALLS[name]
    check_end(start, tmp_path, name, undisturbed, "killed again and again")


@pytest.mark.spec("W11")
@pytest.mark.parametrize(
    ("step", "when"),
    [("w1:health", "before"), ("w2:to", "called"), ("s2/w1:to", "recorded")],
)
def test_killed_between_time_out_and_re_assignment_there_is_one_re_assignment(
    start: Lives, undisturbed_run: Whole, tmp_path: Path, step: str, when: str
) -> None:
    undisturbed = undisturbed_run("silent")
    steps = all_steps(undisturbed.folder)
    number = next(
        place for place, key in enumerate(steps, start=2) if key.endswith(step)
    )  # the silent one's comes first
    assert live(start, tmp_path, "silent", (number, when)) is None
    report = check_end(start, tmp_path, "silent", undisturbed, step)
    (recovery,) = report.recoveries
    assert (recovery.backup, tuple(action.kind for action in recovery.actions)) == ("Backup", ACTIONS)
    assert recovery.reason == "Timeout (agent took >0.6s)"
    assert [message.message_id for message in report.messages] == ["msg_1", "msg_2", "msg_3"]
    told = [event.type for event in events(tmp_path)]
    assert [told.count(kind) for kind in ACTIONS] == [1] * len(ACTIONS), "nothing is told twice"


@pytest.mark.spec("W14")
@pytest.mark.long
def test_files_that_were_written_before_a_kill_are_there_again(
    start: Lives, undisturbed_run: Whole, tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    need("bubblewrap")
    undisturbed = undisturbed_run("workspace")
    runs = len(code_runs(undisturbed.folder))
    assert runs == 6, "three by the developer, and three of what was handed in"
    stride, struck, again = rounds(1, 13), 0, 0
    while True:
        before, known = len(code_runs(tmp_path)), recorded_code_runs(tmp_path)
        died = live(start, tmp_path, "workspace", (stride, MOMENTS[struck % 3])) is None
        again += len(code_runs(tmp_path)) - before - (recorded_code_runs(tmp_path) - known)
        if not died:
            break
        struck += 1
    assert struck * stride > 15
    assert again <= struck and len(code_runs(tmp_path)) == runs + again, "only those that a kill hid are repeated"
    report = check_end(start, tmp_path, "workspace", undisturbed, "killed again and again")
    assert report.files["sign.py"].startswith("# Signs.") and report.tests is not None and report.tests.passed == 14


def code_runs(folder: Path) -> list[str]:
    log = folder / "code.log"
    return log.read_text().splitlines() if log.exists() else []


def recorded_code_runs(folder: Path) -> int:
    return sum(key.rpartition("/")[2].startswith("code") for key in all_steps(folder))
