"""What roles did in numbers: counted in whole units from records, added over runs, shown as texts and ratios."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shoal.kernel.usage import Usage
from shoal.orchestration.workflow.brief import LEAD
from shoal.orchestration.workflow.durations import duration_text

if TYPE_CHECKING:
    from shoal.orchestration.workflow.report import CallRecord, ReviewRecord, WorkflowReport

__all__ = ["Counts", "Tally", "metrics_of"]

_MICRO = 1_000_000
_WORK = ("work", "fix", "review")
_LEAD, _RESEARCHER, _DEVELOPER, _REVIEWER = (name.lower() for name in (LEAD, "Researcher", "Developer", "Reviewer"))
_AVERAGES = {_RESEARCHER: "avg_research", _DEVELOPER: "avg_coding", _REVIEWER: "avg_review"}


class Counts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one role, or one agent of it, did. ``a + b`` adds exactly: all are whole numbers, times in microseconds.

    Attributes:
        delegated: messages to others, work sent back and given to another included.
        planned, planning_micros: calls that gave a plan, and their time.
        conflicts: how many were decided.
        completed, working_micros: calls for work, mending and reviews that were answered in time, and their time.
        failed, timeouts: such calls that were not; calls of any kind whose time was up.
        reworks: how often its work was sent back.
        checked, correct: statements that reviewers checked, and those of them that were correct.
        reviewed, approved_first: works that were reviewed, and those approved at their first review.
        reviews, issues: its reviews, and the issues that they opened.
        usage: of all calls.
    """

    delegated: int = 0
    planned: int = 0
    planning_micros: int = 0
    conflicts: int = 0
    completed: int = 0
    working_micros: int = 0
    failed: int = 0
    timeouts: int = 0
    reworks: int = 0
    checked: int = 0
    correct: int = 0
    reviewed: int = 0
    approved_first: int = 0
    reviews: int = 0
    issues: int = 0
    usage: Usage = Usage()

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


_Seat = tuple[str, str]
"""A role in lower case, and an agent of it; an empty agent: nobody of the role in particular."""


class Tally(msgspec.Struct, frozen=True):
    """What the roles of one run, or of several, did: ``a + b`` adds. It round-trips through JSON.

    Attributes:
        seats: counts by role in lower case and by agent; those of the agent ``""`` belong to its role alone.
    """

    seats: dict[str, dict[str, Counts]] = {}

    def __add__(self, other: Tally) -> Tally:
        seats = {role: dict(agents) for role, agents in self.seats.items()}
        for role, agents in other.seats.items():
            mine = seats.setdefault(role, {})
            for agent, counts in agents.items():
                mine[agent] = mine[agent] + counts if agent in mine else counts
        return Tally(seats)

    @classmethod
    def of(cls, report: WorkflowReport) -> Tally:
        """Count the records of *report*."""
        return cls(_Counting(report).seats())


def metrics_of(
    tallies: Iterable[Tally], by: Literal["role", "instance"] = "role", numbers: bool = False
) -> dict[str, dict[str, Any]]:
    """Return what *tallies* count together, by role in lower case, the lead first.

    Args:
        tallies: of the runs that count.
        by: ``role``, or ``instance``: the same keys for each agent, by its name.
        numbers: whether seconds stand beside the texts, and failures, reworks, time-outs, calls, tokens and cost (USD).

    Returns:
        Counts, times such as ``5m 30s``, ratios with two decimals; None where nothing was counted.

    Raises:
        ValueError: *by* is neither.
    """
    if by not in ("role", "instance"):
        raise ValueError(f"by={by!r:.80}: it must be 'role' or 'instance'")
    whole = sum(tallies, Tally())
    roles = sorted(whole.seats, key=_rank)
    if by == "role":
        return {role: _shown(role, sum(whole.seats[role].values(), Counts()), numbers) for role in roles}
    shown: dict[str, dict[str, Any]] = {}
    for role in roles:
        for agent, counts in whole.seats[role].items():
            if agent:
                shown[agent if agent not in shown else f"{agent} ({role})"] = _shown(role, counts, numbers)
    return shown


def _rank(role: str) -> int:
    known = (_LEAD, *_AVERAGES)
    return known.index(role) if role in known else len(known)


def _shown(role: str, counts: Counts, numbers: bool) -> dict[str, Any]:
    if role == _LEAD:
        average, seconds = "avg_decomposition", _mean(counts.planning_micros, counts.planned)
        shown: dict[str, Any] = {"tasks_delegated": counts.delegated}
    else:
        average, seconds = _AVERAGES.get(role, "avg"), _mean(counts.working_micros, counts.completed)
        shown = {"tasks_completed": counts.completed}
    shown[f"{average}_time"] = None if seconds is None else duration_text(seconds)
    match role:
        case "orchestrator":
            shown["conflict_resolutions"] = counts.conflicts
        case "researcher":
            shown["accuracy_score"] = _ratio(counts.correct, counts.checked)
        case "developer":
            shown["first_approval_rate"] = _ratio(counts.approved_first, counts.reviewed)
        case "reviewer":
            shown["issues_found_per_task"] = _ratio(counts.issues, counts.reviews)
    if numbers:
        used = counts.usage
        shown |= {f"{average}_seconds": seconds, "tasks_failed": counts.failed, "reworks": counts.reworks,
                  "timeouts": counts.timeouts, "calls": used.calls, "tokens": used.tokens, "cost": used.cost}  # fmt: skip
    return shown


def _mean(micros: int, count: int) -> float | None:
    return micros / count / _MICRO if count else None


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 2) if whole else None


class _Counting:
    """Counts one report."""

    def __init__(self, report: WorkflowReport) -> None:
        self._report = report
        self._found: dict[_Seat, dict[str, int]] = {}
        self._usage: dict[_Seat, Usage] = {}
        self._steps = {record.step.id: record for record in report.steps}
        self._owners = {step.id: step.owner for step in report.plan} | {
            record.step.id: record.step.owner for record in report.steps
        }
        self._answered = {
            call.message_id: (call.role.lower(), call.instance) for call in report.calls if call.message_id
        }
        self._agents: dict[str, dict[str, None]] = {}
        for call in report.calls:
            self._agents.setdefault(call.role.lower(), {})[call.instance] = None

    def seats(self) -> dict[str, dict[str, Counts]]:
        """Return the counts by role and agent; a role that a step belongs to is there even if it did nothing."""
        self._count_lead()
        for call in self._report.calls:
            self._count_call(call)
        for record in self._report.steps:
            self._count(self._worker(record.step.id), reworks=record.reworks)
        self._count_reviews()
        seats: dict[str, dict[str, Counts]] = {_LEAD: {}}
        for owner in self._owners.values():
            seats.setdefault(owner.lower(), {})
        for seat in self._found:
            counts = Counts(**self._found[seat], usage=self._usage.get(seat, Usage()))
            if seat[0] and counts != Counts():  # a step that is not in the plan has no owner
                seats.setdefault(seat[0], {})[seat[1]] = counts
        return seats

    def _count(self, seat: _Seat, **amounts: int) -> None:
        found = self._found.setdefault(seat, {})
        for name, amount in amounts.items():
            found[name] = found.get(name, 0) + amount

    def _count_lead(self) -> None:
        lead = next(iter(self._agents.get(_LEAD, ())), LEAD)
        delegated = sum(message.to_agent.lower() != _LEAD for message in self._report.messages)
        decided = sum(bool(conflict.decision) for conflict in self._report.conflicts)
        self._count((_LEAD, lead), delegated=delegated, conflicts=decided)

    def _count_call(self, call: CallRecord) -> None:
        seat = (call.role.lower(), call.instance)
        used = self._usage.get(seat)
        self._usage[seat] = call.usage if used is None else used + call.usage
        micros = round(call.seconds * _MICRO)
        answered = call.success and not call.timed_out
        if call.kind in _WORK and answered:
            self._count(seat, completed=1, working_micros=micros)
        elif call.kind in _WORK:
            self._count(seat, failed=1, timeouts=int(call.timed_out))
        elif call.kind == "plan" and answered:
            self._count(seat, planned=1, planning_micros=micros)
        else:
            self._count(seat, timeouts=int(call.timed_out))

    def _worker(self, step_id: str) -> _Seat:
        """Return who owns the step, and which agent's work was taken last."""
        record = self._steps.get(step_id)
        return self._owners.get(step_id, "").lower(), record.instance if record is not None else ""

    def _count_reviews(self) -> None:
        reviewed: set[str] = set()
        for record in self._report.reviews:
            self._count(self._reviewer(record), reviews=1)
            for work in record.works:
                if work not in reviewed and work in self._owners:
                    reviewed.add(work)
                    self._count(self._worker(work), reviewed=1, approved_first=int(record.approved))
            facts = record.review.facts
            if facts is not None and facts.checked:
                self._count(self._researcher(record), checked=facts.checked, correct=facts.correct)
        for issue in self._report.issues:
            answered = self._answered.get(issue.opened_in, ("", ""))
            role = issue.opened_by.lower() or answered[0]
            self._count((role, answered[1] if answered[0] == role else ""), issues=1)

    def _reviewer(self, record: ReviewRecord) -> _Seat:
        role, agent = self._worker(record.step_id)
        return role, record.reviewer if record.reviewer in self._agents.get(role, ()) else agent

    def _researcher(self, record: ReviewRecord) -> _Seat:
        """Return whose statements a review has checked: of the one researcher before it, else of the role as a whole."""
        found = {
            self._worker(step)[1] for step in self._before(record.step_id) if self._owners[step].lower() == _RESEARCHER
        }
        return _RESEARCHER, found.pop() if len(found) == 1 else ""

    def _before(self, step_id: str) -> Iterator[str]:
        seen: set[str] = set()
        waiting = [step_id]
        while waiting:
            step = self._steps.get(waiting.pop())
            for before in step.step.depends_on if step is not None else ():
                if before not in seen and before in self._owners:
                    seen.add(before)
                    waiting.append(before)
                    yield before
