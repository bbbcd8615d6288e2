"""Reports of runs, and the files beside them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.cli.reports import Report, check_writable, file_name, plain_result, write_files
from shoal.errors import ConfigError
from shoal.kernel.run import RunRecord, RunStep, StepFailure
from shoal.kernel.usage import Usage
from shoal.orchestration.results import AgentResult, ParallelResult
from shoal.orchestration.workflow.writing import write_beside

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVIL = "fine\n# All is well\n> quoted\n```\n| a | b |\n\x1b[31m<!-- "


def report(result: Any, *steps: RunStep, task: Any = "dig") -> Report:
    record = RunRecord(
        run_id="r", pattern="Parallel", input=task, started_at=NOW, usage=Usage(calls=1, cost_pico=10**11)
    )
    return Report(record, steps, result)


def step(agent: str, output: Any, error: StepFailure | None = None) -> RunStep:
    return RunStep(
        key=f"0:{agent}/model1", kind="model", agent_name=agent, output=output, error=error, started_at=NOW, finished_at=NOW,
        usage=Usage(calls=1, input_tokens=3, output_tokens=4, cost_pico=10**11),
    )  # fmt: skip


def test_words_of_models_make_no_headings_tables_or_rows() -> None:
    result = ParallelResult(content=EVIL, error=EVIL, success=False, warnings=(EVIL,))
    page = report(result, step(f"A|{EVIL}", {"text": EVIL}), task=EVIL).to_markdown()
    lines = page.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# Parallel: failed", "## Task", "## Result", "## Warnings", "## Cost", "## Who said what",
    ]  # fmt: skip
    assert "\x1b" not in page and "```" not in [line.strip() for line in lines]
    assert all(line.startswith((">", "|", "#", "- ", "**")) for line in lines if line)
    tables = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {3, 7}


def test_costs_tool_calls_and_failures_are_told() -> None:
    failure = StepFailure(error_type="ModelError", message="no", bases=())
    calls = {"tool_calls": [{"name": "drop", "arguments": "{}"}], "model": "echo"}
    page = report(ParallelResult(content="x"), step("A", calls), step("B", None, failure)).to_markdown()
    assert "> calls drop {}" in page and "**B** (0:B): failed" in page and "> ModelError: no" in page
    assert r"| A | echo | 1 | 3 | 4 | \$0.100000 |" in page and "| all |" in page


def test_json_has_every_field_and_loads_back_equal() -> None:
    one = AgentResult(agent_name="A", content="x", usage=Usage(calls=1, cost_pico=3))
    result = ParallelResult(content="x", results=(one,), usage=Usage(calls=1, cost_pico=3), run_id="r")
    text = report(result).to_json()
    assert msgspec.json.decode(text, type=ParallelResult) == result
    assert list(json.loads(text))[:6] == ["run_id", "success", "stopped", "error", "content", "total_cost"]
    assert plain_result("only a text") == {"success": True, "content": "only a text"}


@pytest.mark.parametrize(
    ("run_id", "name"),
    [("r-1", "r-1"), ("..", "%2E."), (".x", "%2Ex"), ("a/b", "a%2Fb"), ("a\0b", "a%00b"), ("zwölf", "zw%C3%B6lf")],
)
def test_an_id_becomes_a_name_that_stays_where_it_is(run_id: str, name: str) -> None:
    assert file_name(run_id) == name


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.md"
    write_beside(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_beside(path, "new \ud800")
    assert path.read_text() == "old" and [each.name for each in path.parent.iterdir()] == ["r.md"]


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "link/out.py", "a/../../out.py"])
def test_handed_in_files_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (fault,) = write_files(folder, {name: "x"})
    assert "outside" in fault and name in fault
    assert not list(tmp_path.rglob("out.py"))
    (folder / "a.py").symlink_to(tmp_path / "elsewhere" / "a.py")
    assert write_files(folder, {"a.py": "x", "app/b.py": "y"}) == []  # a link in its place is replaced, not followed
    assert (folder / "a.py").read_text() == "x" and not (folder / "a.py").is_symlink()
    assert (folder / "app" / "b.py").read_text() == "y" and not list((tmp_path / "elsewhere").iterdir())


def test_a_file_where_another_needs_a_folder_keeps_no_third_from_being_written(tmp_path: Path) -> None:
    (fault,) = write_files(tmp_path / "r", {"a": "1", "a/b.py": "2", "c.py": "3"})
    assert fault == "'a/b.py': File exists"
    assert (tmp_path / "r" / "a").read_text() == "1" and (tmp_path / "r" / "c.py").read_text() == "3"
    assert write_files(tmp_path / "r", {"d.py": "\ud800", "e.py": "5"})[0].startswith("'d.py': ")
    assert not (tmp_path / "r" / "d.py").exists() and (tmp_path / "r" / "e.py").read_text() == "5"


def test_what_cannot_be_written_is_said_before(tmp_path: Path) -> None:
    check_writable(tmp_path / "r.md", (".md",))
    assert list(tmp_path.iterdir()) == []
    for path, word in (
        ("r.txt", "must end in .md"),
        ("no/r.md", "there is no folder"),
        (f"{'x' * 300}.md", "too long"),
    ):
        with pytest.raises(ConfigError, match=word):
            check_writable(tmp_path / path, (".md",))
