"""Budgets: accounts, and what is reserved in them. Each change is made in an account and all above it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from shoal.errors import RunNotFoundError
from shoal.kernel.budget import Account, Amount, Budget, Grant, Need, grant
from shoal.kernel.payload import encode
from shoal.kernel.usage import Usage

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["account", "chain", "charge", "limit", "lose", "lose_all", "reserve", "settle", "warn"]

_GET = """SELECT account_id, budget, (SELECT run_id FROM runs WHERE runs.seq = accounts.run), parent, spent, held, lost,
    warned FROM accounts WHERE account_id = ?"""
_INSERT = "INSERT INTO accounts (account_id, run, parent, budget) VALUES (?, ?, ?, ?)"
_LIMIT = "UPDATE accounts SET budget = ? WHERE account_id = ?"
_WARN = "UPDATE accounts SET warned = :share WHERE account_id = :account_id AND warned < :share"
_PUT = "UPDATE accounts SET spent = ?, held = ?, lost = ? WHERE account_id = ?"
_RESERVED = "SELECT account_id, amount FROM reservations WHERE run = ? AND key = ?"
_RESERVE = "INSERT INTO reservations (run, key, account_id, amount) VALUES (?, ?, ?, ?)"
_FREE = "DELETE FROM reservations WHERE run = ? AND key = ?"
_OPEN = "SELECT key FROM reservations WHERE run = ? ORDER BY key"
_NOTHING = Amount()
_budget = msgspec.json.Decoder(Budget).decode
_amount = msgspec.json.Decoder(Amount).decode


def account(cx: Reader, account_id: str) -> Account:
    """Return an account. Raises RunNotFoundError."""
    row = cx.one(_GET, (account_id,))
    if row is None:
        raise RunNotFoundError(f"there is no account {account_id!r:.200} of a budget")
    return _account(row)


def chain(cx: Reader, account_id: str) -> list[Account]:
    """Return an account and all above it; above one whose run was removed there is nothing."""
    found = [account(cx, account_id)]
    while (parent := found[-1].parent) is not None and (row := cx.one(_GET, (parent,))) is not None:
        found.append(_account(row))
    return found


def limit(cx: Transaction, account_id: str, run: int, parent: str | None, budget: Budget) -> None:
    """Make an account of a run, or give one that is there these limits."""
    raw = encode(budget).decode()
    if not cx.execute(_LIMIT, (raw, account_id)):
        if parent is not None:
            account(cx, parent)
        cx.execute(_INSERT, (account_id, run, parent, raw))


def warn(cx: Transaction, warned: Sequence[tuple[str, float]]) -> None:
    """Remember the shares that were told."""
    for account_id, share in warned:
        cx.execute(_WARN, {"share": share, "account_id": account_id})


def reserve(cx: Transaction, run: int, account_id: str, key: str, need: Need) -> tuple[Grant, Usage | None]:
    """Reserve for a run under a key; return the grant, and what an earlier reservation under the key has lost."""
    account(cx, account_id)
    lost = lose(cx, run, key)
    accounts = chain(cx, account_id)
    granted = grant(accounts, need)
    if granted.refusal is None and granted.unpriced is None:
        _put(cx, (replace(each, held=each.held + granted.amount) for each in accounts))
        cx.execute(_RESERVE, (run, key, account_id, encode(granted.amount).decode()))
    return granted, lost


def charge(cx: Transaction, accounts: Sequence[Account], spent: Amount) -> None:
    """Count what was used without a reservation."""
    _put(cx, (replace(each, spent=each.spent + spent) for each in accounts))


def settle(cx: Transaction, run: int, key: str, spent: Amount) -> None:
    """End a reservation: *spent* is spent, the rest is free again."""
    if (reserved := _end(cx, run, key)) is not None:
        account_id, amount = reserved
        accounts = chain(cx, account_id)
        _put(cx, (replace(each, held=each.held - amount, spent=each.spent + spent) for each in accounts))


def lose(cx: Transaction, run: int, key: str) -> Usage | None:
    """End a reservation whose call was not seen to its end; return what that adds to the usage of the run."""
    reserved = _end(cx, run, key)
    if reserved is None:
        return None
    account_id, amount = reserved
    accounts = chain(cx, account_id)
    _put(cx, (replace(each, held=each.held - amount, lost=each.lost + amount) for each in accounts))
    return Usage(lost_calls=amount.calls, lost_pico=amount.cost_pico)


def lose_all(cx: Transaction, run: int) -> Usage:
    """End all reservations of a run as lost; return what that adds to its usage."""
    usage = Usage()
    for (key,) in cx.rows(_OPEN, (run,)):
        usage += lose(cx, run, key) or Usage()
    return usage


def _end(cx: Transaction, run: int, key: str) -> tuple[str, Amount] | None:
    row = cx.one(_RESERVED, (run, key))
    if row is None:
        return None
    cx.execute(_FREE, (run, key))
    return row[0], _amount(row[1])


def _account(row: tuple[Any, ...]) -> Account:
    account_id, budget, run_id, parent, spent, held, lost, warned = row
    return Account(
        account_id=account_id,
        budget=_budget(budget),
        run_id=run_id,
        parent=parent,
        spent=_NOTHING if spent is None else _amount(spent),
        held=_NOTHING if held is None else _amount(held),
        lost=_NOTHING if lost is None else _amount(lost),
        warned=warned,
    )


def _put(cx: Transaction, accounts: Iterable[Account]) -> None:
    for each in accounts:
        cx.execute(_PUT, (_text(each.spent), _text(each.held), _text(each.lost), each.account_id))


def _text(amount: Amount) -> str | None:
    return None if amount == _NOTHING else encode(amount).decode()
