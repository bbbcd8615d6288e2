"""The money and the time of a run: budgets of its parts, reservations, warnings, and the end when one is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shoal.errors import BudgetExceededError, UnpricedModelError
from shoal.kernel.budget import Budget, Grant, Need, Refusal
from shoal.kernel.ports import RunWrite
from shoal.kernel.run import RunEventType
from shoal.kernel.scope import Scope, Stopped

if TYPE_CHECKING:
    from shoal.kernel.liverun import LiveRun

__all__ = ["Spending"]


class _Limits(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that this life of the run has opened. ``since``: the active seconds at which its time began."""

    budget: Budget
    parent: str | None
    since: float


class Spending:
    """The budgets of one run. Accounts are kept by its writer; here is what this life of the run has to know of them."""

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._open: dict[str, _Limits] = {}
        self._spent: dict[str, Refusal] = {}  # which account has refused what
        self._warned: dict[str, float] = {}  # the highest share that this life has told
        record = run.record
        self.root: str | None = record.parent_account
        if record.budget is not None:
            self.root = record.run_id
            limits = _Limits(budget=record.budget, parent=record.parent_account, since=-record.seconds)
            self._open[record.run_id] = limits

    async def open(self, path: str, parent: str | None, budget: Budget) -> str:
        """Make the account of a part's budget, below *parent*, and return its id."""
        run = self._run
        account_id = f"{run.run_id}/{path}" if path else run.run_id
        await run.pen.written(run.writer.open_account, account_id, parent, budget)
        self._open[account_id] = _Limits(budget=budget, parent=parent, since=run.active_seconds)
        return account_id

    async def reserve(self, account_id: str, key: str, need: Need, model: str) -> Grant:
        """Reserve what a call needs, in the account and all above it.

        Raises BudgetExceededError, UnpricedModelError: it does not fit, or its price is not known; the call is not made.
        """
        run = self._run
        while True:
            grant = await run.pen.written(run.writer.reserve, account_id, key, need)
            if grant.unpriced is not None:
                raise UnpricedModelError(model)
            if grant.refusal is None:
                return grant
            if not await self._extended(grant.refusal):
                self._exhaust(grant.refusal)
                raise self._exceeded(grant.refusal)

    async def free_above(self, scope: Scope) -> None:
        """Give back what is set aside for steps above *scope*: the calls are made in it."""
        place: Scope | None = scope
        while place is not None:
            if place.set_aside:
                key, place.set_aside = place.set_aside, ""
                await self._run.pen.write(RunWrite(settle=key))
            place = place.parent

    def refused_elsewhere(self, refusal: Refusal | None) -> BudgetExceededError:
        """Take note that an account has refused whoever worked for it in another run; return the error to be raised.

        None: nobody knows any more which one, and why.
        """
        if refusal is None:
            return BudgetExceededError("limit", 0.0, 0.0)
        self._exhaust(refusal)
        return self._exceeded(refusal)

    async def _extended(self, refusal: Refusal) -> bool:
        """Ask whether a spent budget may be used as much again, if it says that it wants to be asked."""
        limits = self._open.get(refusal.account_id)
        if limits is None or limits.budget.on_exhausted != "ask":
            return False
        run = self._run
        if not await run.asking.whether_to_go_on(refusal):
            return False
        budget = (await run.writer.account(refusal.account_id)).budget
        if getattr(budget, refusal.limit) < refusal.allowed * 1.5:  # else one who asked the same has seen to it
            budget = _doubled(budget, refusal)
            await run.pen.written(run.writer.open_account, refusal.account_id, limits.parent, budget)
        self._open[refusal.account_id] = msgspec.structs.replace(self._open[refusal.account_id], budget=budget)
        return True

    async def warn(self, scope: Scope) -> None:
        """Tell when a share of ``warn_at`` of a budget above *scope* is reached, once each."""
        warned: list[tuple[str, float]] = []
        for account_id in _above(scope):
            limits = self._open.get(account_id)
            if limits is None or not limits.budget.warn_at:
                continue
            account = await self._run.writer.account(account_id)
            reached = max((mark for mark in limits.budget.warn_at if mark <= account.share), default=0.0)
            if reached > max(account.warned, self._warned.get(account_id, 0.0)):
                self._warned[account_id] = reached
                data = {"share": account.share, "mark": reached}
                self._run.feed.tell(self._path_of(account_id), RunEventType.BUDGET_WARNING, "", data)
                warned.append((account_id, reached))
        if warned:
            await self._run.pen.write(RunWrite(warned=tuple(warned)))

    # -- time

    def seconds_used(self) -> float | None:
        """Return the active time of the run until now, if a budget of it is for time: then each step records it."""
        record = self._run.record
        if record.budget is None or record.budget.max_seconds is None:
            return None
        return record.seconds + self._run.active_seconds

    async def ask_for_time(self, scope: Scope) -> None:
        """Ask whether a budget above *scope* whose time is over may take as long again, if it wants that to be asked.

        Raises Stopped when it may not.
        """
        for account_id in _above(scope):
            left = self._seconds_of(account_id)
            while left is not None and left <= 0 and account_id not in self._spent:
                refusal = self._out_of_time(account_id, left)
                if not await self._extended(refusal):
                    self._exhaust(refusal)
                    self.check(scope)
                left = self._seconds_of(account_id)

    def _out_of_time(self, account_id: str, left: float) -> Refusal:
        most = self._open[account_id].budget.max_seconds or 0.0
        return Refusal(account_id=account_id, limit="max_seconds", allowed=most, spent=most - left, needed=0.0)

    # -- the end

    def check(self, scope: Scope) -> None:
        """Raise Stopped when a budget above *scope* is spent."""
        if not self._open and not self._spent:
            return
        for account_id in _above(scope):
            left = self._seconds_of(account_id)
            if left is not None and left <= 0 and not self._asks(account_id):
                self._exhaust(self._out_of_time(account_id, left))
            refusal = self._spent.get(account_id)
            if refusal is not None:
                exceeded = self._exceeded(refusal)
                raise Stopped("budget", str(exceeded), exceeded)

    def seconds_left(self, scope: Scope) -> float | None:
        """Return how much active time the budgets above *scope* leave, None: no limit, or a person is asked at it."""
        found = [
            left
            for account_id in _above(scope)
            if (left := self._seconds_of(account_id)) is not None and not self._asks(account_id)
        ]
        return max(0.0, min(found)) if found else None

    def _asks(self, account_id: str) -> bool:
        return self._open[account_id].budget.on_exhausted == "ask"

    def _seconds_of(self, account_id: str) -> float | None:
        limits = self._open.get(account_id)
        if limits is None or limits.budget.max_seconds is None:
            return None
        return limits.budget.max_seconds - (self._run.active_seconds - limits.since)

    def _exhaust(self, refusal: Refusal) -> None:
        if refusal.account_id not in self._spent:
            self._spent[refusal.account_id] = refusal
            data = msgspec.to_builtins(refusal)
            self._run.feed.tell(self._path_of(refusal.account_id), RunEventType.BUDGET_EXHAUSTED, "", data)

    def _exceeded(self, refusal: Refusal) -> BudgetExceededError:
        return BudgetExceededError(refusal.limit, refusal.spent, refusal.needed, self._path_of(refusal.account_id))

    def _path_of(self, account_id: str) -> str:
        return account_id.removeprefix(self._run.run_id).removeprefix("/")


def _doubled(budget: Budget, refusal: Refusal) -> Budget:
    most = refusal.allowed * 2
    whole = refusal.limit in ("max_calls", "max_tokens")
    return msgspec.structs.replace(budget, **{refusal.limit: int(most) if whole else most})


def _above(scope: Scope) -> list[str]:
    """Return the accounts of *scope* and of all places above it."""
    found: dict[str, None] = {}
    place: Scope | None = scope
    while place is not None:
        if place.account is not None:
            found[place.account] = None
        place = place.parent
    return list(found)
