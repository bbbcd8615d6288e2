"""Code that is handed in is really run, in a box: what was seen counts, whatever is claimed, and it harms nobody."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.errors import IsolationUnavailableError
from shoal.orchestration.workflow.report import WorkflowReport
from tests.lifecycle.workflow import coders
from tests.lifecycle.workflow.teams import Made, Setting
from tests.support.levels import chosen, need

CONFIG = {"durability": "normal"}
Run = Callable[..., Any]


def report_of(run: Run, folder: Path, make: Callable[[Setting], Made], **options: Any) -> WorkflowReport:
    """Carry a run out, with a journal."""

    async def main() -> WorkflowReport:
        async with AgentRuntime(folder / "runs.db", config=CONFIG) as runtime:
            team, task = make(Setting(runtime, folder / "calls.log"), **options)
            report: WorkflowReport = await runtime.run(team, task, run_id="r")
            return report

    found: WorkflowReport = run(main)
    return found


@pytest.mark.spec("W12")
@pytest.mark.parametrize("level", chosen("bubblewrap", long=("gvisor", "microvm")))
def test_what_was_measured_overrules_what_was_claimed(run: Run, tmp_path: Path, level: str) -> None:
    need(level)
    report = report_of(run, tmp_path, coders.measured, level=level)
    assert report.success and report.ready, report.error
    tests = report.tests
    assert tests is not None and (tests.passed, tests.total, tests.source) == (14, 14, "measured")
    assert report.coverage == 70.0, "7 of 10 lines, not the 100 % that are claimed"
    assert report.steps[0].reworks == 1
    refused = next(entry for entry in report.trace if entry.kind == "work_refused")
    assert "5 of 14 failed" in refused.output[0], "the first hand-in claimed that all were passing"
    ran = [entry.output for entry in report.trace if entry.kind == "code_run"]
    assert len(ran) == 2 and "9 passed, 5 failed" in ran[0][0] and "14 passed, 0 failed" in ran[1][0]
    assert len((tmp_path / "code.log").read_text().splitlines()) == 2


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


FACTS = {
    "loops": "did not end in time",
    "forks": "1 errors",
    "eats": "memory limit 128 MiB",
    "prints": "memory limit 128 MiB",
    "reads": "0 passed, 1 failed",
    "writes": "0 passed, 1 failed",
    "connects": "0 passed, 1 failed",
    "leaves": "0 passed, 0 failed, 1 errors",
}


@pytest.mark.spec("W13")
@pytest.mark.parametrize("attack", coders.ATTACKS)
def test_code_that_attacks_is_contained_and_the_step_goes_on_with_the_facts(
    run: Run, tmp_path: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    need("bubblewrap")
    (tmp_path / "secret.txt").write_text("secret")
    code = coders.ATTACKS[attack].replace("PORT", str(listening.getsockname()[1]))
    monkeypatch.setitem(coders.ATTACKS, attack, code)
    report = report_of(run, tmp_path, coders.CODERS[f"attack-{attack}"])
    assert report.success and report.ready, report.error
    assert report.steps[0].reworks == 1, "the attack was sent back, the next hand-in accepted"
    (first, last) = [entry.output for entry in report.trace if entry.kind == "code_run"]
    assert FACTS[attack] in "\n".join(first), first
    assert "1 passed, 0 failed" in last[0]
    assert {path.name for path in tmp_path.iterdir()} <= {
        *("secret.txt", "calls.log", "code.log", "runs.db", "runs.db-wal", "runs.db-shm", "runs.db-lock")
    }, "nothing was written outside"
    with pytest.raises(BlockingIOError):
        listening.accept()
    assert len(report.to_json()) < 200_000, "what was printed without end is cut"


def test_no_box_is_told_before_the_first_model_call(run: Run, tmp_path: Path) -> None:
    class NoBoxes:
        async def check(self) -> None:
            raise IsolationUnavailableError("there is none here")

        async def run(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("never")

    def make(setting: Setting) -> Made:
        found = coders.measured(setting)
        found.team.runner = NoBoxes()
        return found

    need("bubblewrap")
    with pytest.raises(IsolationUnavailableError):
        report_of(run, tmp_path, make)
    assert not (tmp_path / "calls.log").exists()


def test_files_that_are_too_many_with_those_before_are_sent_back(run: Run, tmp_path: Path) -> None:
    need("bubblewrap")
    report = report_of(run, tmp_path, coders.too_many)
    assert report.success and [record.reworks for record in report.steps] == [0, 1]
    refused = next(entry for entry in report.trace if entry.kind == "work_refused")
    assert "with the files of the steps before: 201 files, at most 200" in refused.output[0]


def test_a_box_that_fails_fails_the_step_and_the_report_is_there(run: Run, tmp_path: Path) -> None:
    class Broken:
        async def run(self, *args: Any, **kwargs: Any) -> Any:
            raise OSError("no space left on device")

    def make(setting: Setting) -> Made:
        found = coders.measured(setting)
        found.team.runner = Broken()
        return found

    report = report_of(run, tmp_path, make)
    assert not report.success
    assert report.steps[0].error == "the code could not be run: OSError: no space left on device"
    assert report.steps[1].status == "skipped"
