"""The record of who said what to whom, as people read it, and the lines that it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from shoal.orchestration.workflow.brief import LEAD
from shoal.orchestration.workflow.delivery import Delivery
from shoal.orchestration.workflow.ledger import same_title
from shoal.orchestration.workflow.lines import bounded_line, line_count, one_line
from shoal.orchestration.workflow.review import Issue, Review
from shoal.orchestration.workflow.trace import TraceEntry, TraceKind

__all__ = ["input_line", "input_text", "review_lines", "said_lines", "trace_text"]

_MOST_LINES = 50
_PAPERS = (".md", ".rst", ".txt", ".pdf", ".csv")
_REVIEW = re.compile(r"\breview\b", re.IGNORECASE)
_REPEATING = re.compile(r"(?:updated?|created?|added|wrote|new|changed|modified|fixed)\s+(?:file\s+)?", re.IGNORECASE)
_ASIDE = re.compile(r"\([^()]*\)$")

_HEADS: dict[TraceKind, str] = {
    "work_refused": "Work sent back",
    "code_run": "Code run",
    "conflict_opened": "Conflict",
    "conflict_resolved": "Resolution",
    "health_check": "Check agent health",
    "reassigned": "Task re-assigned",
    "delay_notified": "Delay",
    "timeline_adjusted": "Timeline adjusted",
    "logged": "Logged",
    "late_answer": "Late answer",
    "escalated": "Escalation",
}


def trace_text(entries: Iterable[TraceEntry], arrow: str = "→") -> str:
    """Return *entries* in their order, a block each, with a blank line between; no line ends with a space.

    Args:
        entries: what was recorded.
        arrow: what stands between sender and receiver, such as ``->``.
    """
    return "\n\n".join("\n".join(_block(entry, arrow)) for entry in entries)


def _block(entry: TraceEntry, arrow: str) -> list[str]:
    sender = f"[{one_line(entry.sender) or LEAD}]"
    match entry.kind:
        case "task_received":
            return [f"[{LEAD}] Received task: {one_line(entry.task)}"]
        case "final_output":
            return [f"{sender} {arrow} Final Output:", *_bullets(entry.output)]
        case "work_assigned" | "work_delivered":
            block = [f"{sender} {arrow} [{one_line(entry.receiver) or LEAD}]:", *_asked(entry)]
            return [*block, "  Output:", *_bullets(entry.output)] if entry.output else block
        case kind:
            receiver, task = one_line(entry.receiver), one_line(entry.task)
            head = f"{sender} {arrow} [{receiver}]: {_HEADS[kind]}" if receiver else f"{sender} {_HEADS[kind]}"
            block = [f"{head}: {task}" if task else head, *_looked_at(entry)]
    instance = [f"  Agent: {one_line(entry.instance)}"] if entry.instance else []
    return [*block, *instance, *_bullets(entry.output)]


def _asked(entry: TraceEntry) -> list[str]:
    task = one_line(entry.task)
    return [f"  Task: {task}", *_looked_at(entry)] if task else _looked_at(entry)


def _looked_at(entry: TraceEntry) -> list[str]:
    named = (("Context", one_line(entry.context)), ("Input", one_line(entry.input)))
    return [f"  {name}: {text}" for name, text in named if text]


def _bullets(output: Iterable[str]) -> list[str]:
    lines = (one_line(line) for line in output)
    return [f"    {line}" if line.startswith("* ") else f"  - {line}" for line in lines]


def said_lines(delivery: Delivery, before: Mapping[str, str], *, fix: bool) -> tuple[str, ...]:
    """Return what *delivery* hands in, a line each: its files, then what it says beside their names.

    Args:
        delivery: what was handed in.
        before: text by path, as it was before.
        fix: whether it mends earlier work: a file that was there is ``Updated``, and one that did not change is left out.

    Returns:
        At most 50 lines of at most 300 characters; without files and lines, the summary.
    """
    files = [_file_line(path, text, fix and path in before) for path, text in delivery.files.items()
             if not fix or before.get(path) != text]  # fmt: skip
    names = {name for path in delivery.files for name in (path, path.rpartition("/")[2])}
    said = [bounded_line(line).lstrip("-*• ") for line in delivery.outputs if not _repeats(line, names)]
    if fix and delivery.files and not files:
        files = ["No file changed"]
    lines = [line for line in (*files, *said) if line] or [line for line in [bounded_line(delivery.summary)] if line]
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES - 1 :] = [f"… and {len(lines) - _MOST_LINES + 1} more"]
    return tuple(lines)


def _file_line(path: str, text: str, updated: bool) -> str:
    if updated:
        return f"Updated {one_line(path)}"
    count = line_count(text)
    return f"{one_line(path)} ({count} line{'s' if count != 1 else ''})"


def _repeats(line: str, names: set[str]) -> bool:
    """Return whether *line* says no more than that a file of *names* is there: ``Updated auth.py (12 lines)``."""
    words = bounded_line(line).lstrip("-*• ").rstrip(".:")
    words = _ASIDE.sub("", words).strip(" `'\"")
    return words in names or _REPEATING.sub("", words, count=1).strip(" `'\"") in names


def review_lines(review: Review, title: str, open_issues: Sequence[Issue], approved: bool) -> tuple[str, ...]:
    """Return what *review* says, a line each: the score, what it found, what stays open, and whether work is approved.

    Args:
        review: the judgement of one round.
        title: of the step; "Security review" gives a "Security score".
        open_issues: those that are open after this round.
        approved: whether the orchestrator takes the work as approved.
    """
    found = [f"* {_issue(issue)}" for issue in review.issues]
    named = {issue.id for issue in review.issues if issue.id} | {same_title(issue.title) for issue in review.issues}
    left = [issue for issue in open_issues if issue.id not in named and same_title(issue.title) not in named]
    lines = [f"{_label(title)}: {review.score}/100"]
    if found:
        lines += ["Issues found:", *found]
    if left:
        lines += ["Still open:", *(f"* {one_line(f'{issue.id} {_issue(issue)}')}" for issue in left)]
    if review.resolved and not open_issues:
        lines.append("All issues resolved")
    if review.recommendations:
        lines.append("Recommendations included")
    if approved:
        lines.append("Approved for merge")
    return tuple(lines)


def _issue(issue: Issue) -> str:
    return f"{bounded_line(issue.title)} ({issue.severity})"


def _label(title: str) -> str:
    words = _REVIEW.split(bounded_line(title), maxsplit=1)
    about = words[0].strip(" :,-") if len(words) > 1 else ""
    return f"{about} score" if about else "Score"


def input_text(handed: Sequence[tuple[str, Delivery]]) -> str:
    """Return what was handed in by others, (role, delivery), in one line; what the lead made himself goes without saying."""
    others = [each for each in handed if each[0] != LEAD] or handed
    return "; ".join(dict.fromkeys(input_line(role, delivery) for role, delivery in others))


def input_line(role: str, delivery: Delivery) -> str:
    """Return what *delivery* of *role* is called for the next who gets it: ``Developer's code``."""
    if delivery.review is not None:
        what = "review"
    elif delivery.files:
        what = "documents" if all(path.lower().endswith(_PAPERS) for path in delivery.files) else "code"
    else:
        what = "design" if role == LEAD else "findings"
    return f"{one_line(role)}'s {what}"
