"""The runs of a task: a ``RunWriter`` whose verbs go over the link of the agent that executes it, on whatever host."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from shoal.kernel.budget import Account, Budget, Grant, Need
from shoal.kernel.ports import Begun, Hold, Link, RunEnd, RunOrder, RunWrite
from shoal.kernel.run import Approval, Decision, RunEvent

__all__ = ["LinkRuns"]


class LinkRuns:
    """What carries out a run inside a task writes by this. The runtime adds the fence of the attempt."""

    def __init__(self, link: Link, invocation_id: str) -> None:
        self._link = link
        self._invocation_id = invocation_id

    def _call(self, verb: str, /, **args: Any) -> Awaitable[Any]:
        plain = {name: msgspec.to_builtins(value) for name, value in args.items()}
        return self._link.call(verb, self._invocation_id, plain)

    def begin(self, order: RunOrder, *, now: datetime) -> Awaitable[Begun]:
        """Create the run of the task, or take it up."""
        return self._call("run_begin", order=order)

    def write(self, hold: Hold, write: RunWrite, *, now: datetime) -> Awaitable[None]:
        """Record a step with its news."""
        return self._call("run_write", hold=hold, write=write)

    def open_account(
        self, hold: Hold, account_id: str, parent: str | None, budget: Budget, *, now: datetime
    ) -> Awaitable[None]:
        """Make the account of a part's budget."""
        return self._call("run_open_account", hold=hold, account_id=account_id, parent=parent, budget=budget)

    def reserve(self, hold: Hold, account_id: str, key: str, need: Need, *, now: datetime) -> Awaitable[Grant]:
        """Reserve what a call needs."""
        return self._call("run_reserve", hold=hold, account_id=account_id, key=key, need=need)

    def ask(self, hold: Hold, approval: Approval, events: Sequence[RunEvent], *, now: datetime) -> Awaitable[Approval]:
        """Ask a person."""
        return self._call("run_ask", hold=hold, approval=approval, events=list(events))

    def decide(self, approval_id: str, decision: Decision, by: str, note: str, *, now: datetime) -> Awaitable[Approval]:
        """Decide a question: here, that its time is over."""
        return self._call("run_decide", approval_id=approval_id, decision=decision, by=by, note=note)

    def resume(self, hold: Hold, events: Sequence[RunEvent], *, now: datetime) -> Awaitable[None]:
        """Let the run be running again."""
        return self._call("run_resume", hold=hold, events=list(events))

    def forget(self, hold: Hold, key: str, keep: Sequence[str] = (), *, now: datetime) -> Awaitable[None]:
        """Remove a step and all after it."""
        return self._call("run_forget", hold=hold, key=key, keep=list(keep))

    def end(self, hold: Hold, end: RunEnd, *, now: datetime) -> Awaitable[None]:
        """End the run."""
        return self._call("run_end", hold=hold, end=end)

    def approval(self, approval_id: str) -> Awaitable[Approval]:
        """Return one question."""
        return self._call("run_approval", approval_id=approval_id)

    def account(self, account_id: str) -> Awaitable[Account]:
        """Return the account of a budget."""
        return self._call("run_account", account_id=account_id)

    def cancel_asked(self, run_id: str) -> Awaitable[str | None]:
        """Return why somebody asked to cancel the run."""
        return self._call("run_cancel_asked", run_id=run_id)

    def told(self, feed_id: str, after: int) -> Awaitable[list[RunEvent]]:
        """Return a page of what was told in this run, or a stream of it, after an offset."""
        return self._call("run_told", feed_id=feed_id, after=after)
