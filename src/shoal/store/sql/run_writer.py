"""What carries out a run writes."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime

from msgspec.structs import replace

from shoal.kernel.budget import Account, Budget, Grant, Need
from shoal.kernel.done import Done, done
from shoal.kernel.payload import encode
from shoal.kernel.ports import Begun, Hold, RunEnd, RunOrder, RunWrite
from shoal.kernel.run import Approval, RunEvent, RunStatus
from shoal.kernel.usage import Usage
from shoal.store.sql import accounts, approvals, run_life, run_steps
from shoal.store.sql.database import Database
from shoal.store.sql.run_rows import approval_row, run_row, step_row
from shoal.store.sql.transaction import Reader

__all__ = ["SqlRunWriter"]

_CANCEL_ASKED = "SELECT cancel_asked FROM runs WHERE run_id = ?"


class SqlRunWriter:
    """``RunWriter`` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, order: RunOrder, *, now: datetime) -> Awaitable[Begun]:
        """Create a run, or take up one that nobody carries out."""
        new = replace(order.record, node_id=order.node_id, status=RunStatus.RUNNING, usage=Usage())
        return self._db.write(run_life.begin, self._db.drift(), order, run_row(new, hold=1), now)

    def write(self, hold: Hold, write: RunWrite, *, now: datetime) -> Awaitable[None]:
        """Record a step with its news."""
        row = None if write.step is None else step_row(write.step)
        return self._db.write(run_steps.write_run, hold, write, row, now)

    def open_account(
        self, hold: Hold, account_id: str, parent: str | None, budget: Budget, *, now: datetime
    ) -> Awaitable[None]:
        """Make the account of a part's budget, or give it these limits."""
        return self._db.write(run_steps.open_account, hold, account_id, parent, budget)

    def reserve(self, hold: Hold, account_id: str, key: str, need: Need, *, now: datetime) -> Awaitable[Grant]:
        """Reserve in the account and all above it."""
        return self._db.write(run_steps.reserve_for, hold, account_id, key, need)

    def ask(self, hold: Hold, approval: Approval, events: Sequence[RunEvent], *, now: datetime) -> Awaitable[Approval]:
        """Ask a person, or return the question that was asked already."""
        return self._db.write(approvals.ask, hold, approval_row(approval), approval, tuple(events), now)

    def resume(self, hold: Hold, events: Sequence[RunEvent], *, now: datetime) -> Awaitable[None]:
        """Let a run that was waiting be running again."""
        return self._db.write(approvals.resume, hold, tuple(events))

    def forget(self, hold: Hold, key: str, keep: Sequence[str] = (), *, now: datetime) -> Awaitable[None]:
        """Remove a step and all that were recorded after it."""
        return self._db.write(run_steps.forget, hold, key, encode(list(keep)).decode())

    def end(self, hold: Hold, end: RunEnd, *, now: datetime) -> Awaitable[None]:
        """End the run, or this life of it."""
        result = None if end.result is None else encode(end.result).decode()
        return self._db.write(run_life.end, hold, end, result, now)

    # readers

    def approval(self, approval_id: str) -> Done[Approval]:
        """Return one question."""
        return done(self._db.read, approvals.approval, approval_id)

    def account(self, account_id: str) -> Done[Account]:
        """Return the account of a budget."""
        return done(self._db.read, accounts.account, account_id)

    def cancel_asked(self, run_id: str) -> Done[str | None]:
        """Return the reason for which somebody asked to cancel the run."""
        return done(self._db.read, Reader.value, _CANCEL_ASKED, (run_id,))
