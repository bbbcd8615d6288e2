"""Accounts of budgets in a dict, with what is reserved in them. Each change is made in an account and all above it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from shoal.errors import RunNotFoundError
from shoal.kernel.budget import Account, Amount, Budget, Grant, Need, grant
from shoal.kernel.usage import Usage

__all__ = ["Accounts"]


class Accounts:
    """The accounts of the runs of one ``MemoryRuns``. The verbs are those of ``RunWriter``, but for the holds."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._reserved: dict[str, dict[str, tuple[str, Amount]]] = {}  # by run and key

    def get(self, account_id: str) -> Account:
        """Return an account. Raises RunNotFoundError."""
        try:
            return self._accounts[account_id]
        except KeyError:
            raise RunNotFoundError(f"there is no account {account_id!r:.200} of a budget") from None

    def limit(self, account_id: str, run_id: str, parent: str | None, budget: Budget) -> None:
        """Make an account of a run, or give one that is there these limits."""
        known = self._accounts.get(account_id)
        if known is not None:
            self._accounts[account_id] = replace(known, budget=budget)
            return
        if parent is not None:
            self.get(parent)
        self._accounts[account_id] = Account(account_id=account_id, budget=budget, run_id=run_id, parent=parent)

    def warn(self, warned: Sequence[tuple[str, float]]) -> None:
        """Remember the shares that were told."""
        for account_id, share in warned:
            account = self.get(account_id)
            self._accounts[account_id] = replace(account, warned=max(account.warned, share))

    def reserve(self, run_id: str, account_id: str, key: str, need: Need) -> Grant:
        """Reserve for a run under a key that is free."""
        chain = self._chain(account_id)
        granted = grant(chain, need)
        if granted.refusal is None and granted.unpriced is None:
            self._reserved.setdefault(run_id, {})[key] = (account_id, granted.amount)
            self._put(replace(each, held=each.held + granted.amount) for each in chain)
        return granted

    def charge(self, account_id: str, spent: Amount) -> None:
        """Count what was used without a reservation."""
        self._put(replace(each, spent=each.spent + spent) for each in self._chain(account_id))

    def settle(self, run_id: str, key: str, usage: Usage) -> None:
        """End a reservation: what was used is spent, the rest is free again."""
        if (reserved := self._reserved.get(run_id, {}).pop(key, None)) is not None:
            account_id, amount = reserved
            spent = Amount.of(usage)
            chain = self._chain(account_id)
            self._put(replace(each, held=each.held - amount, spent=each.spent + spent) for each in chain)

    def lose(self, run_id: str, key: str) -> Usage | None:
        """End a reservation whose call was not seen to its end; return what that adds to the usage of the run.

        None: nothing was reserved under this key.
        """
        reserved = self._reserved.get(run_id, {}).pop(key, None)
        if reserved is None:
            return None
        account_id, amount = reserved
        chain = self._chain(account_id)
        self._put(replace(each, held=each.held - amount, lost=each.lost + amount) for each in chain)
        return Usage(lost_calls=amount.calls, lost_pico=amount.cost_pico)

    def lose_all(self, run_id: str) -> Usage | None:
        """End all reservations of a run as lost; return what that adds to its usage, None when there were none."""
        total: Usage | None = None
        for key in tuple(self._reserved.get(run_id, ())):
            lost = self.lose(run_id, key)
            total = lost if total is None or lost is None else total + lost
        return total

    def _chain(self, account_id: str) -> list[Account]:
        chain = [self.get(account_id)]
        while (parent := chain[-1].parent) is not None:
            chain.append(self.get(parent))
        return chain

    def _put(self, accounts: Iterator[Account]) -> None:
        for account in accounts:
            self._accounts[account.account_id] = account
