"""The trace, and the lines it is made of: the form of the example of a feature, and what hostile words cannot do to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoal.orchestration.workflow.delivery import Delivery
from shoal.orchestration.workflow.lines import bounded_line, line_count, one_line
from shoal.orchestration.workflow.review import Issue, Review
from shoal.orchestration.workflow.trace import TraceEntry, TraceKind
from shoal.orchestration.workflow.tracetext import input_line, review_lines, said_lines, trace_text
from tests.support.workteam import TRACE

AT = datetime(2026, 1, 1, tzinfo=UTC)

RESEARCH = Delivery(
    outputs=(
        "JWT best practices summary",
        "Security considerations",
        "Recommended libraries: python-jose, passlib",
        "Sample implementation pattern",
    )
)
CODE = {"auth_api.py": "pass\n" * 500, "test_auth.py": "pass\n" * 149 + "pass"}
WRITTEN = Delivery(
    outputs=("auth_api.py", "test_auth.py (150 lines)", "Requirements: python-jose, passlib"), files=CODE
)
FIXED = Delivery(
    outputs=("Updated auth_api.py", "Added rate limiting", "- Fixed token expiry"),
    files={"auth_api.py": "pass\n" * 512, "test_auth.py": CODE["test_auth.py"]},
)
ISSUES = (
    Issue(title="Missing rate limiting", severity="HIGH"),
    Issue(title="Token expiry too long", severity="MEDIUM"),
    Issue(title="No refresh token rotation", severity="MEDIUM"),
)
OPEN = tuple(
    Issue(id=f"R{number}", title=issue.title, severity=issue.severity) for number, issue in enumerate(ISSUES, start=1)
)
FIRST = Review(score=85, issues=ISSUES, recommendations=("Rotate refresh tokens",))
SECOND = Review(score=98, resolved=("R1", "R2", "R3"), approved=True)
TITLE = "Security review"


def _entry(kind: TraceKind, **fields: Any) -> TraceEntry:
    return TraceEntry(seq=1, at=AT, kind=kind, **fields)


def _given(receiver: str, task: str, context: str, given_to: str = "") -> TraceEntry:
    return _entry("work_assigned", sender="Orchestrator", receiver=receiver, task=task, context=context, input=given_to)


def _handed(sender: str, output: tuple[str, ...]) -> TraceEntry:
    return _entry("work_delivered", sender=sender, receiver="Orchestrator", output=output)


def _feature() -> list[TraceEntry]:
    return [
        _entry("task_received", task="Build user authentication API"),
        _given("Researcher", "Research best practices for JWT authentication", "Python, FastAPI, 2024 standards"),
        _handed("Researcher", said_lines(RESEARCH, {}, fix=False)),
        _given(
            "Developer",
            "Implement JWT authentication API",
            "FastAPI, use python-jose, include refresh tokens",
            input_line("Researcher", RESEARCH),
        ),
        _handed("Developer", said_lines(WRITTEN, {}, fix=False)),
        _given(
            "Reviewer",
            "Security review of authentication API",
            "Check for vulnerabilities",
            input_line("Developer", WRITTEN),
        ),
        _handed("Reviewer", review_lines(FIRST, TITLE, OPEN, approved=False)),
        _given("Developer", "Fix security issues", "Address reviewer's findings"),
        _handed("Developer", said_lines(FIXED, CODE, fix=True)),
        _handed("Reviewer", review_lines(SECOND, TITLE, (), approved=True)),
        _entry(
            "final_output",
            sender="Orchestrator",
            output=("Aggregated results", "Final report", "Ready for deployment"),
        ),
    ]


def test_the_trace_of_a_feature_has_its_form() -> None:
    assert trace_text(_feature()) == TRACE


def test_the_arrow_is_a_choice_and_touches_no_words() -> None:
    entry = _given("Developer", "a → b", "")
    assert trace_text([entry], arrow="->") == "[Orchestrator] -> [Developer]:\n  Task: a → b"


@pytest.mark.parametrize("kind", get_args(TraceKind))
@pytest.mark.parametrize("receiver", ["", "Developer"])
def test_every_kind_is_one_block_that_tells_all_it_was_given(kind: TraceKind, receiver: str) -> None:
    entry = _entry(kind, sender="Orchestrator", receiver=receiver, task="the task", output=("done", "* inner (LOW)"))
    lines = trace_text([entry]).split("\n")
    assert lines[0].startswith("[Orchestrator]")
    assert all(line.startswith("  ") for line in lines[1:])
    if kind == "task_received":
        assert lines == ["[Orchestrator] Received task: the task"]
    else:
        assert lines[-2:] == ["  - done", "    * inner (LOW)"]
        assert kind == "final_output" or any("the task" in line for line in lines)


def test_an_answer_without_lines_is_a_head_alone() -> None:
    assert trace_text([_handed("Developer", ())]) == "[Developer] → [Orchestrator]:"


def test_a_conflict_names_its_topic_and_who_opened_it() -> None:
    opened = _entry(
        "conflict_opened", sender="Developer", receiver="Orchestrator", task="Hashing", output=("Too slow",)
    )
    decided = _entry("conflict_resolved", sender="Orchestrator", task="Hashing", output=("Final Decision: bcrypt",))
    assert trace_text([opened, decided]).split("\n") == [
        "[Developer] → [Orchestrator]: Conflict: Hashing",
        "  - Too slow",
        "",
        "[Orchestrator] Resolution: Hashing",
        "  - Final Decision: bcrypt",
    ]


def test_an_action_tells_which_agent_it_is_about() -> None:
    entry = _entry("health_check", sender="Orchestrator", instance="dev-1", output=("unhealthy",))
    assert trace_text([entry]) == "[Orchestrator] Check agent health\n  Agent: dev-1\n  - unhealthy"


@given(st.text(), st.text(), st.text(), st.lists(st.text(), max_size=4))
def test_no_words_make_a_line_of_their_own(task: str, context: str, role: str, output: list[str]) -> None:
    entry = _entry("work_delivered", sender=role, receiver=role, task=task, context=context, output=tuple(output))
    lines = trace_text([entry]).splitlines()
    expected = 1 + bool(one_line(task)) + bool(one_line(context)) + bool(output) + len(output)
    assert len(lines) == expected
    assert [line.startswith("[") for line in lines] == [True] + [False] * (expected - 1)


def test_a_terminal_gets_no_commands() -> None:
    said = "\x1b[2J\x1b]0;owned\x07ready\u202egnp.exe"
    assert trace_text([_handed("Developer", (said,))]).endswith("  - [2J]0;ownedreadygnp.exe")


def test_files_come_first_and_are_not_repeated() -> None:
    files = {"src/auth.py": "", "one.py": "x", "two.py": "x\n\n"}
    outputs = ("`auth.py`", "Created src/auth.py (new, 1 line).", "Put the limit into one.py", "* Two things")
    assert said_lines(Delivery(files=files, outputs=outputs), {}, fix=False) == (
        "src/auth.py (0 lines)",
        "one.py (1 line)",
        "two.py (2 lines)",
        "Put the limit into one.py",
        "Two things",
    )


def test_a_fix_tells_what_changed() -> None:
    before = {"a.py": "1", "b.py": "1"}
    delivery = Delivery(files={"a.py": "2", "b.py": "1", "c.py": "1"})
    assert said_lines(delivery, before, fix=True) == ("Updated a.py", "c.py (1 line)")
    assert said_lines(Delivery(files=before), before, fix=True) == ("No file changed",)
    assert said_lines(delivery, before, fix=False)[0] == "a.py (1 line)"


def test_a_delivery_of_words_is_told_by_its_summary() -> None:
    assert said_lines(Delivery(summary="All is\nwell"), {}, fix=False) == ("All is well",)
    assert said_lines(Delivery(), {}, fix=False) == ()


def test_what_is_told_is_bounded() -> None:
    lines = said_lines(Delivery(outputs=tuple("x" * 5_000 for _ in range(1_000))), {}, fix=False)
    assert len(lines) == 50
    assert max(map(len, lines)) == 300
    assert lines[0].endswith("x…")
    assert lines[-1] == "… and 951 more"


@given(st.lists(st.text()), st.dictionaries(st.text(), st.text()), st.text(), st.booleans())
def test_whatever_is_handed_in_becomes_lines(
    outputs: list[str], files: dict[str, str], summary: str, fix: bool
) -> None:
    lines = said_lines(Delivery(outputs=tuple(outputs), files=files, summary=summary), {}, fix=fix)
    assert all(len(line.splitlines()) <= 1 for line in lines)


def test_a_review_without_faults_says_only_what_it_is() -> None:
    assert review_lines(Review(score=95), "Final review", (), approved=True) == (
        "Final score: 95/100",
        "Approved for merge",
    )


def test_open_issues_are_told_and_nothing_says_that_all_is_resolved() -> None:
    lines = review_lines(Review(score=98, resolved=("R1",), approved=True), TITLE, OPEN[1:], approved=False)
    assert lines == (
        "Security score: 98/100",
        "Still open:",
        "* R2 Token expiry too long (MEDIUM)",
        "* R3 No refresh token rotation (MEDIUM)",
    )


def test_an_issue_named_again_is_told_once() -> None:
    again = Issue(title="missing  RATE limiting")
    lines = review_lines(Review(score=70, issues=(again,)), TITLE, OPEN[:1], approved=False)
    assert lines == ("Security score: 70/100", "Issues found:", "* missing RATE limiting (HIGH)")
    by_id = Review(score=70, issues=(Issue(id="R1", title="No limit"),))
    assert "Still open:" not in review_lines(by_id, TITLE, OPEN[:1], approved=False)


@pytest.mark.parametrize(
    ("title", "label"),
    [
        ("Security review", "Security score"),
        ("Security review of authentication API", "Security score"),
        ("Code and security REVIEW", "Code and security score"),
        ("Review the code", "Score"),
        ("Check everything", "Score"),
        ("Previewing", "Score"),
    ],
)
def test_the_score_is_named_after_the_step(title: str, label: str) -> None:
    assert review_lines(Review(score=1), title, (), approved=False) == (f"{label}: 1/100",)


def test_inputs_are_named_after_what_they_are() -> None:
    assert input_line("Developer", Delivery(files={"a.py": ""})) == "Developer's code"
    assert input_line("Writer", Delivery(files={"a.md": "", "b.TXT": ""})) == "Writer's documents"
    assert input_line("Reviewer", Delivery(review=Review(), files={"a.py": ""})) == "Reviewer's review"
    assert input_line("Researcher", Delivery(summary="x")) == "Researcher's findings"
    assert input_line("Orchestrator", Delivery(summary="x")) == "Orchestrator's design"


@given(st.text(st.sampled_from("ab \t\n\r\x00\x1b\x1c\x85\u2028\u202e\ufeff")) | st.text())
@example("a\x00 \x00 b")
def test_one_line_is_one_and_stays_as_it_is(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert line == one_line(line) == line.strip()
    assert len(bounded_line(text * 50)) <= 300


def test_lines_of_files_are_counted_by_their_ends() -> None:
    assert [line_count(text) for text in ("", "\n", "a", "a\n", "a\nb", "a\r\nb\r\n", "a\x0cb\u2028c")] == [
        0, 1, 1, 1, 2, 2, 1,
    ]  # fmt: skip
