"""What the agents of a team are asked. What others wrote stands within fences, whoever quotes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from shoal.kernel.fences import Quote
from shoal.orchestration.agents import name_of
from shoal.orchestration.workflow.brief import LEAD, Brief, WorkStep
from shoal.orchestration.workflow.delivery import Delivery
from shoal.orchestration.workflow.desk import Texts
from shoal.orchestration.workflow.message import WorkMessage
from shoal.orchestration.workflow.report import WorkflowReport
from shoal.orchestration.workflow.review import Issue

__all__ = [
    "Handed",
    "Parts",
    "again",
    "decomposition",
    "file_quotes",
    "inputs_of",
    "issue_lines",
    "measured_lines",
    "review_prompt",
    "summary_prompt",
    "title_of",
    "work_prompt",
]

WORK_FORM = """How to answer: each file that you hand in as a line `FILE: path`, then its whole text in a fenced block (a
file with ``` in it between ~~~~~ lines).
Then one JSON object (leave out what does not apply):
{"summary": "what you did", "outputs": ["one line each"], "resolved": ["ids of issues that you mended"],
 "disputed": [{"issue": "R1", "statement": "why it is none", "evidence": ["..."]}],
 "objections": [{"topic": "...", "statement": "what should be done instead", "evidence": ["..."]}],
 "recommendations": ["..."]}"""

CLAIMS = """
Nobody here runs your code. Tests or coverage are asked for: say in that object what you know of them, and nothing that you
do not know: "tests": "14 passed, 0 failed", "coverage": 91.5"""

WORKSPACE = """

You have a workspace: write_file, read_file, list_files, run_tests. Files that you write there are handed in."""

REVIEW_FORM = """How to answer: one JSON object:
{"score": 0 to 100, "approved": true or false,
 "issues": [{"id": "only of a known one", "severity": "HIGH, MEDIUM or LOW", "title": "...", "file": "...", "line": 1}],
 "resolved": ["ids of known issues that are mended"], "recommendations": ["..."],
 "facts": {"checked": 0, "correct": 0}}
Only issues that you name in "resolved" are closed. Answer for each open id."""

PLAN_FORM = """How to answer: a JSON array of steps, or a numbered list.
As JSON: [{"id": "1", "title": "...", "owner": "a role", "task": "what is to be done, in full", "context": "what to look at",
 "task_type": "research, design, implementation, testing, review or check", "depends_on": ["ids"], "reviews": ["ids"],
 "requirements": ["..."], "expected_output": {"files": ["..."], "tests": "all passing", "coverage": ">80%"},
 "estimate_seconds": 600}]. Only id, title and owner must be there. Steps without depends_on start at once.
As a list, each step after the one before:
1. Analyze requirements → Need Researcher
2. Design architecture → Orchestrator (self)"""


_PLAIN_PATH = re.compile(r"[\w.+@=~/-]+")


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was handed in before, for whoever goes on with it."""

    role: str
    title: str
    delivery: Delivery
    files: Mapping[str, str]


# -- planning


def decomposition(brief: Brief, roles: Mapping[str, Sequence[Any]], context: str) -> Texts:
    """Ask for the plan."""
    lines = [
        "You lead a team. Split this task into steps, each with one owner.\n",
        *_brief_lines(brief, context),
        "\nThe team:",
    ]
    for role, agents in roles.items():
        words = "; ".join(dict.fromkeys(text for agent in agents if (text := _description(agent))))
        number = f" ({len(agents)} instances)" if len(agents) > 1 else " (1 instance)"
        lines.append(f"- {role}{number}: {words or ', '.join(name_of(agent) for agent in agents)}")
    lines += [f"- {LEAD} (self): you", "", PLAN_FORM]
    return ["\n".join(lines)]


def _description(agent: Any) -> str:
    role = getattr(agent, "role", "")
    return role if isinstance(role, str) else ""


def _brief_lines(brief: Brief, context: str) -> list[str]:
    lines = [f"Task: {brief.task}"]
    if brief.known:
        lines.append(f"Context: {json.dumps(brief.known, ensure_ascii=False)}")
    if context:
        lines.append(f"Context: {context}")
    if brief.requirements:
        lines += ["Requirements:", *(f"- {each}" for each in brief.requirements)]
    if brief.expected_output is not None:
        lines.append(f"Expected output: {_json(brief.expected_output)}")
    return lines


def again(prompt: Texts, name: str, said: str, problem: str, wanted: str) -> Texts:
    """Ask once more: what was answered cannot be used."""
    return [*prompt, "\n\nYou have answered:\n", Quote(name, said), f"\n\nThis cannot be used: {problem}. {wanted}"]


# -- work


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a prompt for work tells beside its message.

    Attributes:
        inputs: what was handed in before it.
        files: as they stand.
        findings: what is to be mended.
        decisions: that are in force.
        tools: whether there is a workspace.
        claims: whether tests or coverage are asked for, and nobody measures them.
    """

    inputs: Sequence[Handed] = ()
    files: Mapping[str, str] = {}
    findings: Texts = ()
    decisions: Texts = ()
    tools: bool = False
    claims: bool = False


def work_prompt(brief: Brief, message: WorkMessage, given: Parts) -> Texts:
    """Ask for work, or for a fix of it."""
    parts: list[str | Quote] = [
        f"{_about(brief, message)}This is your task:\n```json\n{_fenced_away(message, given.inputs)}\n```"
    ]
    parts += inputs_of(given.inputs)
    if given.files:
        parts += ["\n\nThe files as they stand:", *file_quotes("team", given.files)]
    for texts in (given.findings, given.decisions):
        if texts:
            parts += ["\n\n", *texts]
    if given.tools:
        parts.append(WORKSPACE)
    return [*parts, f"\n\n{WORK_FORM}{CLAIMS if given.claims else ''}"]


def _about(brief: Brief, message: WorkMessage) -> str:
    return f"You are the {message.to_agent} of a team that works on this: {brief.task}\n\n"


def _fenced_away(message: WorkMessage, inputs: Sequence[Handed]) -> str:
    """Return the message as JSON; what others wrote in it stands below it, within fences."""
    named = {title_of(each): "see below" for each in inputs}
    task = msgspec.structs.replace(message.task, input_data=named)
    return msgspec.structs.replace(message, task=task).to_json()


def title_of(handed: Handed) -> str:
    """Return by which key something handed in stands in ``input_data``."""
    return f"{handed.role}: {handed.title}"


def inputs_of(inputs: Iterable[Handed]) -> list[str | Quote]:
    """Return what was handed in before."""
    parts: list[str | Quote] = []
    for each in inputs:
        said = each.delivery
        text = "\n".join([said.summary, *(f"- {line}" for line in (*said.outputs, *said.recommendations))]).strip()
        parts += [f"\n\n### {title_of(each)}\n", Quote(each.role, text)]
    return parts


def file_quotes(author: str, files: Mapping[str, str]) -> list[str | Quote]:
    """Return files, each within a fence under its path."""
    parts: list[str | Quote] = []
    for path, text in files.items():
        parts += ["\n\nFILE: ", _named(author, path), "\n", Quote(author, text)]
    return parts


def _named(author: str, path: str) -> str | Quote:
    """Return the path of a file; what could be a sentence is fenced, as all words of others."""
    return path if _PLAIN_PATH.fullmatch(path) else Quote(author, path)


def issue_lines(issues: Iterable[Issue], *, status: bool) -> list[str | Quote]:
    """Return issues, each by id and severity; the words of whoever found them are fenced."""
    parts: list[str | Quote] = []
    for issue in issues:
        author = issue.opened_by or "reviewer"
        parts.append(f"\n- {issue.id} {issue.severity}" + (f" [{issue.status}]" if status else ""))
        if issue.file:
            parts += [" in ", _named(author, issue.file), f", line {issue.line}" if issue.line else ""]
        parts += [": ", Quote(author, issue.title)]
    return parts


def measured_lines(delivery: Delivery) -> str:
    """Return what is known of tests and coverage, and whether it was measured."""
    tests = delivery.tests
    if tests is None and delivery.coverage is None:
        return ""
    lines = []
    if tests is not None:
        names = f": {', '.join(tests.failures[:20])}" if tests.failures else ""
        lines.append(
            f"Tests ({tests.source}): {tests.passed} passed, {tests.failed} failed, {tests.errors} errors, "
            f"{tests.skipped} skipped{names}"
        )
    if delivery.coverage is not None:
        lines.append(f"Coverage: {round(delivery.coverage, 1):g} %")
    return "\n".join(lines)


# -- review


def review_prompt(
    brief: Brief,
    message: WorkMessage,
    works: Sequence[tuple[WorkStep, Delivery]],
    files: Mapping[str, str],
    issues: Sequence[Issue],
    decisions: Texts,
) -> Texts:
    """Ask for a review of *works*, whose files are *files*."""
    task = f"{_about(brief, message)}Review others' work. This is your task:"
    parts: list[str | Quote] = [f"{task}\n```json\n{_fenced_away(message, ())}\n```\n\nWhat was asked of them:"]
    for step, delivery in works:
        parts.append(f"\n- {step.owner}: {step.task or step.title}")
        parts += [f"\n  required: {each}" for each in step.requirements]
        said = "\n".join([delivery.summary, *delivery.outputs]).strip()
        if said:
            parts += ["\n", Quote(step.owner, said)]
        measured = measured_lines(delivery)
        if measured:
            parts += ["\n", Quote("tests", measured)]
    parts += ["\n\nThe files:", *(file_quotes("work", files) or ["\nnone"])]
    parts += ["\n\nAll issues so far:", *(issue_lines(issues, status=True) or ["\nnone"])]
    if decisions:
        parts += ["\n\n", *decisions]
    return [*parts, f"\n\n{REVIEW_FORM}"]


# -- the end


def summary_prompt(report: WorkflowReport) -> Texts:
    """Ask for the words of the report."""
    parts: list[str | Quote] = [f"Your team has finished. The task was: {report.task.task}\n\nWhat came of each step:"]
    for record in report.steps:
        parts.append(f"\n\n{record.step.id}. {record.step.title} ({record.step.owner}): {record.status}")
        said = record.delivery
        if said is not None and (said.summary or said.outputs):
            parts += ["\n", Quote(record.step.owner, "\n".join([said.summary, *said.outputs]).strip())]
    open_issues = [issue for issue in report.issues if issue.status == "open"]
    if open_issues:
        parts += ["\n\nOpen issues:", *issue_lines(open_issues, status=False)]
    last = Delivery(tests=report.tests, coverage=report.coverage)
    if (measured := measured_lines(last)) != "":
        parts += ["\n\n", Quote("tests", measured)]
    return [
        *parts,
        "\n\nWrite the summary for whoever gave the task: what there is now, what was decided, what is open.",
    ]


def _json(record: Any) -> str:
    return msgspec.json.encode(record).decode()
