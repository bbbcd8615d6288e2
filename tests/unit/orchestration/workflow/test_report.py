"""The report in its three forms: what it must tell, that words stay words, that it comes back equal, how it is written."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from shoal.kernel.usage import Usage
from shoal.orchestration.workflow.brief import Brief, WorkStep
from shoal.orchestration.workflow.conflict import ConflictRecord, Position
from shoal.orchestration.workflow.delivery import Delivery, Dispute, TestResult
from shoal.orchestration.workflow.expected import ExpectedOutput
from shoal.orchestration.workflow.message import WorkMessage, WorkOrder
from shoal.orchestration.workflow.metrics import Tally, metrics_of
from shoal.orchestration.workflow.recovery import ACTIONS, Recovery, RecoveryAction
from shoal.orchestration.workflow.report import CallRecord, Escalation, ReviewRecord, StepRecord, WorkflowReport
from shoal.orchestration.workflow.reporttext import coverage_text, outcome_text, ready_text
from shoal.orchestration.workflow.review import Facts, Issue, Review
from shoal.orchestration.workflow.trace import TraceEntry
from shoal.orchestration.workflow.writing import write_beside

AT = datetime(2026, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
USAGE = Usage(calls=4, input_tokens=900, output_tokens=100, cost_pico=12_345_000_000)


def _report(said: str = "said", **fields: Any) -> WorkflowReport:
    """Return a report that has some of everything; whatever others wrote in it is *said*."""
    step = WorkStep(
        id="3", title=said, owner="Developer", depends_on=("1",), expected_output=ExpectedOutput(coverage=">80%")
    )
    delivery = Delivery(
        summary=said, outputs=(said,), files={"a.py": said}, tests=TestResult(passed=1), coverage=80.5,
        disputed=(Dispute(issue="R1", statement=said),), review=Review(score=3, facts=Facts(checked=1)), raw=said,
    )  # fmt: skip
    position = Position(agent="Developer", statement=said, evidence=(said,), tags=("speed",))
    full = WorkflowReport(
        content=said,
        success=False,
        error=said,
        usage=USAGE,
        total_duration_ms=330_000.0,
        run_id="auth-1",
        warnings=(said,),
        task=Brief(said or "x", context={"notes": said, "deep": [1, None, {"a": 0.5}]}, requirements=(said or "x",))
        if said.strip()
        else Brief("x"),
        plan=(step,),
        steps=(
            StepRecord(
                step=step, status="failed", instance="dev-2", attempts=3, reworks=2, delivery=delivery, checks=(said,),
                review_scores=(85, 98), started_at=AT, finished_at=AT + timedelta(minutes=5), due_at=AT,
                duration_ms=300_000.0, usage=USAGE, error=said,
            ),
        ),
        messages=(
            WorkMessage(message_id="msg_1", from_agent="orchestrator", to_agent="developer", task_type="work", priority=7,
                        context={"a": said}, unknown={"": {"deadline": said}},
                        task=WorkOrder(description=said if said.strip() else "x", input_data={"x": [said]})),
        ),
        calls=(CallRecord(role="Developer", instance="dev-2", kind="work", step_id="3", seconds=0.1, usage=USAGE),),
        trace=(TraceEntry(seq=1, at=AT, kind="work_delivered", sender="Developer", task=said, output=(said,), seconds=0.1),),
        reviews=(ReviewRecord(step_id="4", round=1, reviewer="R", works=("3",), review=Review(score=85), reasons=(said,)),),
        issues=(Issue(id="R1", title=said, file=said, line=3, opened_by="Reviewer"),),
        conflicts=(
            ConflictRecord(id="C1", topic=said, positions=(position,), requirements=(said,), rule="lead", proposal=said,
                           decision=said, implementer="Developer", approver="Reviewer", dissent=(position,), result=said,
                           decided_at=AT, notes=(said,)),
        ),
        recoveries=(
            Recovery(step_id="3", agent="Developer", instance="dev-1", reason=said, backup="dev-2", delay_seconds=300.0,
                     result=said, actions=tuple(RecoveryAction(kind=kind, text=said, at=AT) for kind in ACTIONS)),
        ),
        escalations=(Escalation(step_id="3", agent="Developer", reason=said, at=AT),),
        files={"src/a.py": said},
        tests=TestResult(passed=12, failed=2, failures=("test_login", said)),
        coverage=79.0,
        not_ready=("step 3 failed", said),
        delay_seconds=300.0,
    )  # fmt: skip
    full = msgspec.structs.replace(full, metrics=metrics_of([Tally.of(full)], numbers=True))
    return msgspec.structs.replace(full, **fields)


def _shape(text: str) -> tuple[list[tuple[str, str]], set[str], list[int]]:
    """Return of Markdown the headings that hold words of the report alone, the kinds of its parts, the cells of its rows."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    headings = [
        (token.tag, tokens[number + 1].content) for number, token in enumerate(tokens) if token.type == "heading_open"
    ]
    kinds = {token.type for token in tokens}
    kinds |= {child.type for token in tokens for child in token.children or ()}
    cells: list[int] = []
    for token in tokens:
        if token.type == "tr_open":
            cells.append(0)
        cells[-1:] = [cells[-1] + 1] if token.type in ("td_open", "th_open") else cells[-1:]
    return headings, kinds, cells


SECTIONS = ["Task", "Summary", "Steps", "Issues", "Reviews", "Conflicts", "Recoveries", "Escalations", "Files", "Warnings",
            "Metrics", "Trace"]  # fmt: skip


def test_the_report_tells_everything() -> None:
    text = _report().to_markdown()
    headings, _, _ = _shape(text)
    assert [title for tag, title in headings if tag == "h2"] == SECTIONS
    assert headings[0] == ("h1", "said")
    for told in (
        "| steps completed | 0 of 1 |",
        "| reworks | 2 |",
        "| issues | 1, 1 open |",
        "| tests | 12 passed, 2 failed (test_login, said), measured |",
        "| coverage | 79 % |",
        "| delay | 5 minutes |",
        "| model calls, tokens | 4, 1000 |",
        "| cost | 0.0123 USD |",
        "| time | 5m 30s |",
        "| run | auth-1 |",
        "| 3 | said | Developer | dev-2 | failed | 3 | 2 | 85, 98 | 5m | 0.0123 USD | said |",
        "| R1 | HIGH | said | said:3 | open | Reviewer |",
        "| 4 | 1 | R | 3 | 85/100 | not approved: said |",
        "[Orchestrator] Recovery Actions:\n1. Check agent health",
        "Total delay: 5 minutes",
        "[Orchestrator] Resolution:",
        "- Developer: said",
        "- step 3, Developer: said",
        "| src/a.py | 1 | 4 |",
        '"orchestrator": {',
        "[Developer] → [Orchestrator]:\n  Task: said\n  Output:\n  - said",
    ):
        assert told in text, told
    assert text.endswith("\n\nNot ready: step 3 failed; said\n")


def test_a_report_of_little_is_short_and_ready_when_it_says_so() -> None:
    text = WorkflowReport(task=Brief("Build *it*"), ready=True).to_markdown()
    assert text.startswith("# Build \\*it\\*\n\n|  |  |\n|---|---|\n| ready | yes |\n")
    assert [title for _, title in _shape(text)[0]] == ["Build \\*it\\*", "Task"]
    assert text.splitlines()[-1] == "Ready for deployment"


def test_one_that_is_not_ready_always_says_why() -> None:
    assert WorkflowReport(task=Brief("x")).to_markdown().endswith("\nNot ready: the work was not finished\n")
    failed = WorkflowReport(task=Brief("x"), success=False, error="no plan", stopped="budget")
    assert failed.to_markdown().endswith("\nNot ready: no plan\n")
    assert "| stopped | budget |" in failed.to_markdown()
    assert ready_text(False, ("R1 is open", "tests: 1 of 2 failed")) == "Not ready: R1 is open; tests: 1 of 2 failed"
    assert ready_text(True, ()) == "Ready for deployment"


HOSTILE = """\
x\r# Ready

# Ready
## Steps
| a | b |
|---|---|
| 1 | 2 |

Setext
======
---
```text
~~~
</details><script>alert(1)</script> <b>bold</b> <!-- <https://evil.example> [x](javascript:1) ![i](http://evil.example/i.png)
> quote
- list
1. list
    code
&lt;&#35; **bold** _it_ ~~gone~~ `code` \\ \\| \x1b[2J \u2028# Ready\u2028
````
# Ready
Ready for deployment"""
PARTS = st.sampled_from(
    [*HOSTILE.split(), *HOSTILE.splitlines(), "\n", "\n\n", "\r", "\t", "    ", "```", "`````", "\x0b#", "\\"]
)


def _check_words_stay_words(said: str) -> None:
    plain = _report("word" if said.strip() else said)
    hostile = _report(said)
    text = hostile.to_markdown()
    expected, found = _shape(plain.to_markdown()), _shape(text)
    assert [tag for tag, _ in found[0]] == [tag for tag, _ in expected[0]]
    assert [title for tag, title in found[0] if tag == "h2"] == SECTIONS or not said.strip()
    assert found[2] == expected[2]
    assert not found[1] & {"html_block", "html_inline", "link_open", "image", "em_open", "strong_open", "s_open",
                           "code_inline", "hr", "code_block", "ordered_list_open"}  # fmt: skip
    assert text.splitlines()[-1].startswith("Not ready: step 3 failed")
    assert not text.translate({0x0A: None, 0x1B: "\x1b"}).count("\x1b")


def test_hostile_words_stay_words() -> None:
    _check_words_stay_words(HOSTILE)
    for line in HOSTILE.splitlines():
        _check_words_stay_words(line)


@given(st.lists(PARTS | st.text(max_size=5), max_size=12).map("".join))
def test_any_words_stay_words(said: str) -> None:
    _check_words_stay_words(said)


def test_the_json_comes_back_equal() -> None:
    report = _report(HOSTILE)
    assert WorkflowReport.from_json(report.to_json()) == report
    assert WorkflowReport.from_json(report.to_json().encode()) == report
    assert json.loads(report.to_json())["steps"][0]["step"]["title"] == HOSTILE
    assert report.to_json().startswith('{\n  "content": ')


@given(st.text())
def test_the_json_of_any_words_comes_back_equal(said: str) -> None:
    report = _report(said)
    assert WorkflowReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"task": 3}', '{"task": {"task": ""}}', b"\xff", '{"task": {"task": "x"']
)
def test_what_is_no_report_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="no WorkflowReport as JSON"):
        WorkflowReport.from_json(text)


def test_the_trace_is_the_reports_own() -> None:
    assert _report().trace_text("->") == "[Developer] -> [Orchestrator]:\n  Task: said\n  Output:\n  - said"


def test_it_is_written_by_suffix(tmp_path: Path) -> None:
    report = _report(HOSTILE)
    assert report.write(tmp_path / "report.md") == tmp_path / "report.md"
    assert (tmp_path / "report.md").read_bytes().decode() == report.to_markdown()
    report.write(str(tmp_path / "REPORT.JSON"))
    assert WorkflowReport.from_json((tmp_path / "REPORT.JSON").read_bytes()) == report
    assert sorted(os.listdir(tmp_path)) == ["REPORT.JSON", "report.md"]


def test_a_report_replaces_the_one_before_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    path.write_text("before")
    with path.open() as reader:
        _report().write(path)
        assert reader.read() == "before"
    assert path.read_text() == _report().to_markdown()


def test_what_could_not_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        _report("\ud800").write(path)
    (tmp_path / f".report.json.{os.getpid()}.partial").mkdir()
    with pytest.raises(IsADirectoryError):
        _report().write(path)
    assert path.read_text() == "before"


def test_a_failed_rename_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    with pytest.raises(IsADirectoryError):
        write_beside(tmp_path / "report", "text")
    assert os.listdir(tmp_path) == ["report"]


def test_markdown_of_words_that_are_no_unicode_can_be_written(tmp_path: Path) -> None:
    path = _report("a\ud800").write(tmp_path / "report.md")
    assert path.read_text().startswith("# a?\n")


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("report.txt", ValueError, r"its name must end in \.md or \.json"),
        ("report", ValueError, r"its name must end in \.md or \.json"),
        ("nowhere/report.md", FileNotFoundError, "there is no folder .*nowhere; make it"),
        ("folder.md", IsADirectoryError, "it is a folder; give the name of a file"),
    ],
)
def test_where_nothing_can_be_written_is_said(tmp_path: Path, name: str, kind: type[Exception], why: str) -> None:
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(kind, match=why):
        _report().write(tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.md"]


def test_tests_and_coverage_in_words() -> None:
    assert outcome_text(TestResult(passed=14)) == "14 passed, measured"
    assert outcome_text(TestResult(source="claimed")) == "0 passed, claimed"
    everything = TestResult(passed=1, failed=1, errors=2, skipped=3, failures=("test_a",))
    assert outcome_text(everything) == "1 passed, 1 failed (test_a), 2 with errors, 3 skipped, measured"
    assert [coverage_text(each) for each in (70.0, 80.1, 66.666, 100.0)] == ["70 %", "80.1 %", "66.67 %", "100 %"]


def test_a_thousand_steps_are_rendered_at_once() -> None:
    steps = tuple(
        StepRecord(step=WorkStep(id=str(n), title=f"Write part {n}", owner="Developer"), status="completed",
                   instance=f"dev-{n % 100}", usage=USAGE, duration_ms=50.0) for n in range(1_000)
    )  # fmt: skip
    calls = tuple(
        CallRecord(
            role="Developer", instance=each.instance, kind="work", step_id=each.step.id, seconds=0.05, usage=USAGE
        )
        for each in steps
    )
    trace = tuple(
        TraceEntry(seq=n, at=AT, kind="work_delivered", sender="Developer", output=(f"part_{n}.py (20 lines)", "done"))
        for n in range(2_000)
    )
    report = _report(steps=steps, calls=calls, trace=trace, plan=tuple(each.step for each in steps))
    started = time.perf_counter()
    text, trace_text, metrics = report.to_markdown(), report.trace_text(), metrics_of([Tally.of(report)])
    assert time.perf_counter() - started < 1.0  # 0.1 s is measured by the benchmark
    assert text.count("Write part") == 1_000
    assert trace_text.count("[Developer]") == 2_000
    assert metrics["developer"]["tasks_completed"] == 1_000


def test_long_words_are_rendered_in_linear_time() -> None:
    started = time.perf_counter()
    for said in (
        "`" * 200_000,
        "_" * 200_000,
        "&" * 200_000,
        "<" * 200_000,
        "9" * 200_000,
        " \t" * 100_000,
        "\n" * 200_000,
    ):
        _report(said).to_markdown()
    assert time.perf_counter() - started < 10.0
