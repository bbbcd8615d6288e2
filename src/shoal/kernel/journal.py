"""The journal of runs without a runtime: a ``RunWriter`` in dicts. It promises nothing beyond the process.

It does what a store does, by the same arithmetic, and no more than an in-memory call can afford: values are kept as they
are, and every verb has been carried out when it returns.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter

from msgspec.structs import replace

from shoal.errors import (
    ApprovalNotFoundError,
    LeaseLostError,
    RunActiveError,
    RunConflictError,
    RunNotFoundError,
)
from shoal.kernel.accounts import Accounts
from shoal.kernel.budget import Account, Amount, Budget, Grant, Need
from shoal.kernel.done import awaited
from shoal.kernel.payload import decode, encode
from shoal.kernel.ports.runs import Begun, Hold, RunEnd, RunOrder, RunWrite
from shoal.kernel.run import (
    ENDED,
    FINISHED,
    Approval,
    Decision,
    RunEvent,
    RunRecord,
    RunStatus,
    RunStep,
)
from shoal.kernel.usage import Usage

__all__ = ["MemoryRuns"]

_offset = attrgetter("offset")


class _Run:
    """A run as it stands. ``record`` has what seldom changes, the fields beside it what each write changes."""

    __slots__ = ("record", "result", "seconds", "status", "steps", "token", "usage")

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.status = RunStatus.RUNNING
        self.usage = Usage()
        self.seconds = 0.0
        self.token = 1
        self.result: object = None
        self.steps: dict[str, RunStep] = {}

    def count(self, usage: Usage | None) -> None:
        if usage is not None:
            self.usage += usage

    def whole(self) -> RunRecord:
        return replace(self.record, status=self.status, usage=self.usage, seconds=self.seconds)


class _Readers:
    """The readers of ``RunStore`` that need nothing more than what a writer keeps."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._feeds: dict[str, list[RunEvent]] = {}
        self._accounts = Accounts()
        self._approvals: dict[str, Approval] = {}

    @awaited
    def approval(self, approval_id: str) -> Approval:
        """Return one question. Raises ApprovalNotFoundError."""
        return self._approval(approval_id)

    @awaited
    def account(self, account_id: str) -> Account:
        """Return the account of a budget. Raises RunNotFoundError."""
        return self._accounts.get(account_id)

    @awaited
    def cancel_asked(self, run_id: str) -> str | None:
        """Return None: whoever holds a run of this process cancels it himself."""
        return None

    def get(self, run_id: str) -> RunRecord:
        """Return one run. Raises RunNotFoundError."""
        return self._run(run_id).whole()

    def steps(self, run_id: str) -> list[RunStep]:
        """Return its steps in order of recording. Raises RunNotFoundError."""
        return list(self._run(run_id).steps.values())

    def events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[RunEvent]:
        """Return the news of a run, or of a stream of one, after an offset, in order."""
        feed = self._feeds.get(run_id, [])
        begin = bisect_right(feed, after, key=_offset)
        return feed[begin : begin + limit]

    def approvals(self, run_id: str | None = None, *, undecided: bool = True) -> list[Approval]:
        """Return questions, oldest first."""
        return [
            asked
            for asked in self._approvals.values()
            if run_id in (None, asked.run_id) and (asked.decision is None or not undecided)
        ]

    def _approval(self, approval_id: str) -> Approval:
        try:
            return self._approvals[approval_id]
        except KeyError:
            raise ApprovalNotFoundError(f"there is no approval {approval_id!r:.200}") from None

    def _run(self, run_id: str) -> _Run:
        try:
            return self._runs[run_id]
        except KeyError:
            raise RunNotFoundError(f"there is no run {run_id!r:.200}", run_id=run_id) from None


class MemoryRuns(_Readers):
    """``RunWriter`` in dicts, with some readers of ``RunStore``. Not for threads."""

    @awaited
    def begin(self, order: RunOrder, *, now: datetime) -> Begun:
        """Create a run, or take up one that nobody carries out."""
        record = order.record
        run = self._runs.get(record.run_id)
        if run is None:
            if record.parent_account is not None:
                self._accounts.get(record.parent_account)
            run = _Run(replace(record, node_id=order.node_id, usage=Usage(), status=RunStatus.RUNNING))
            self._runs[record.run_id] = run
        else:
            self._check_same(run, order)
            if run.status in FINISHED:
                return Begun(record=run.whole(), hold=None, offset=self._last(record.run_id), result=run.result)
            self._take_up(run, order)
        if record.budget is not None:
            self._accounts.limit(record.run_id, record.run_id, run.record.parent_account, record.budget)
        return Begun(
            record=run.whole(),
            hold=Hold(run_id=record.run_id, node_id=order.node_id, token=run.token),
            steps=tuple(run.steps.values()),
            offset=self._last(record.run_id),
        )

    @awaited
    def write(self, hold: Hold, write: RunWrite, *, now: datetime) -> None:
        """Record a step with its news."""
        run = self._held(hold)
        if write.charge is not None:
            self._accounts.get(write.charge)
        step = write.step
        result = step is not None and step.finished_at is not None
        counted = step.usage if step is not None and _record(run, step) and result else None
        if counted is not None:
            run.usage += counted
            if write.charge is not None:
                self._accounts.charge(write.charge, Amount.of(counted).beyond(Amount.of(write.paid)))
        if write.settle is not None:
            if write.lost or (result and counted is None):
                lost = self._accounts.lose(hold.run_id, write.settle)
                if counted is None:
                    run.count(lost)
            else:
                self._accounts.settle(hold.run_id, write.settle, counted or Usage())
        self._accounts.warn(write.warned)
        if write.seconds is not None:
            run.seconds = max(run.seconds, write.seconds)
        self._tell(write.events)

    @awaited
    def open_account(self, hold: Hold, account_id: str, parent: str | None, budget: Budget, *, now: datetime) -> None:
        """Make the account of a part's budget, or give it these limits."""
        self._held(hold)
        self._accounts.limit(account_id, hold.run_id, parent, budget)

    @awaited
    def reserve(self, hold: Hold, account_id: str, key: str, need: Need, *, now: datetime) -> Grant:
        """Reserve in the account and all above it."""
        run = self._held(hold)
        self._accounts.get(account_id)
        run.count(self._accounts.lose(hold.run_id, key))
        return self._accounts.reserve(hold.run_id, account_id, key, need)

    @awaited
    def ask(self, hold: Hold, approval: Approval, events: Sequence[RunEvent], *, now: datetime) -> Approval:
        """Ask a person, or return the question that was asked already."""
        run = self._held(hold)
        asked = self._approvals.setdefault(approval.id, approval)
        if asked.decision is None:
            run.status = RunStatus.WAITING
        self._tell(events)
        return asked

    @awaited
    def resume(self, hold: Hold, events: Sequence[RunEvent], *, now: datetime) -> None:
        """Let a run that was waiting be running again."""
        self._held(hold).status = RunStatus.RUNNING
        self._tell(events)

    @awaited
    def forget(self, hold: Hold, key: str, keep: Sequence[str] = (), *, now: datetime) -> None:
        """Remove a step and all that were recorded after it."""
        run = self._held(hold)
        keys = list(run.steps)
        if key in run.steps:
            for later in keys[keys.index(key) :]:
                if later not in keep:
                    del run.steps[later]

    @awaited
    def end(self, hold: Hold, end: RunEnd, *, now: datetime) -> None:
        """End the run, or this life of it."""
        run = self._held(hold)
        run.count(self._accounts.lose_all(hold.run_id))
        run.status = end.status
        run.result = end.result
        run.seconds = max(run.seconds, end.seconds)
        finished_at = now if end.status in ENDED else None
        run.record = replace(run.record, node_id=None, finished_at=finished_at, error=end.error, stopped=end.stopped)
        self._tell(end.events)

    @awaited
    def decide(self, approval_id: str, decision: Decision, by: str, note: str, *, now: datetime) -> Approval:
        """Decide a question, once: one that is decided is returned with its first decision."""
        asked = self._approval(approval_id)
        if asked.decision is None:
            asked = replace(asked, decision=decision, decided_by=by, decided_at=now, note=note)
            self._approvals[approval_id] = asked
        return asked

    # -- what the verbs share

    def _held(self, hold: Hold) -> _Run:
        run = self._run(hold.run_id)
        if run.record.node_id != hold.node_id or run.token != hold.token:
            raise LeaseLostError(f"run {hold.run_id!r:.200} is no longer carried out by node {hold.node_id}")
        return run

    def _check_same(self, run: _Run, order: RunOrder) -> None:
        known, asked = run.record, order.record
        if known.pattern != asked.pattern or decode(encode(known.input)) != decode(encode(asked.input)):
            what = "input" if known.pattern == asked.pattern else f"pattern ({known.pattern!r:.80})"
            raise RunConflictError(f"run {asked.run_id!r:.200} was begun with another {what}", run_id=asked.run_id)
        if run.status not in FINISHED and known.node_id not in (None, order.node_id):
            raise RunActiveError(asked.run_id, str(known.node_id))

    def _take_up(self, run: _Run, order: RunOrder) -> None:
        run.count(self._accounts.lose_all(order.record.run_id))
        run.token += 1
        run.status = RunStatus.RUNNING
        budget = order.record.budget or run.record.budget
        run.record = replace(
            run.record, node_id=order.node_id, finished_at=None, error=None, stopped=None, budget=budget
        )

    def _tell(self, events: Sequence[RunEvent]) -> None:
        for event in events:
            self._feeds.setdefault(event.run_id, []).append(event)

    def _last(self, feed: str) -> int:
        told = self._feeds.get(feed)
        return told[-1].offset if told else 0


def _record(run: _Run, step: RunStep) -> bool:
    """Record a step; tell whether it is a result, and the first one of its key."""
    known = run.steps.get(step.key)
    if known is not None:
        if known.finished_at is not None:
            return False
        del run.steps[step.key]  # its place in the order is that of its result
    run.steps[step.key] = step
    return step.finished_at is not None
