"""Leases on names, and the line of those who want one.

Whoever takes, keeps or gives back has his clock put right first: what another holds is not taken by a time that was wrong.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shoal.errors import LeaseLostError
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.ports.leases import Lease, Standing

if TYPE_CHECKING:
    from shoal.store.sql.database import Drift
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["acquire", "forget", "release", "renew", "standing", "withdraw"]

_LEASE = "SELECT owner, token, until FROM leases WHERE name = ?"
_TAKE = """INSERT INTO leases (name, owner, token, until) VALUES (?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, token = excluded.token, until = excluded.until"""
_RENEW = "UPDATE leases SET until = ? WHERE name = ? AND owner = ? AND token = ? AND until > ?"
_RELEASE = "UPDATE leases SET owner = NULL WHERE name = ? AND owner = ? AND token = ? AND until > ?"
_FREE = "UPDATE leases SET owner = NULL WHERE name = ? AND owner = ? AND until > ?"
_FIRST = "SELECT owner FROM lease_waiters WHERE name = ? AND until > ? ORDER BY seq LIMIT 1"
_STAND = """INSERT INTO lease_waiters (name, owner, until) VALUES (?, ?, ?)
    ON CONFLICT (name, owner) DO UPDATE SET until = excluded.until"""
_LEAVE_LINE = "DELETE FROM lease_waiters WHERE name = ? AND (owner = ? OR until <= ?)"
_LINE = "SELECT owner FROM lease_waiters WHERE name = ? AND until > ? ORDER BY seq"
_FORGOTTEN = "SELECT name, token FROM leases WHERE until < ? LIMIT ?"
_FORGET = "DELETE FROM leases WHERE name = ?"
_FORGET_WAITERS = "DELETE FROM lease_waiters WHERE until < ?"
# The tokens of forgotten names are at most this: a name that comes again goes on above it.
_FLOOR = "SELECT value FROM meta WHERE key = 'lease_token_floor'"
_RAISE_FLOOR = """INSERT INTO meta (key, value) VALUES ('lease_token_floor', ?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value"""


def acquire(
    cx: Transaction, drift: Drift, name: str, owner: str, now: int, until: datetime, wait_until: int | None
) -> Lease | None:
    """Take a free name, or prolong one's own; None when another holds it, or stands in line before."""
    late = drift(cx)
    now += late
    until += timedelta(microseconds=late)
    row = cx.one(_LEASE, (name,))
    if row is None:
        holder, token, ends = None, _floor(cx), 0
    else:
        holder, token, ends = row
    held = holder is not None and ends > now
    if not held:
        token += 1
    if held and holder != owner:
        refused = True
    else:
        first = None if held else cx.value(_FIRST, (name, now))
        refused = first is not None and first != owner
        if not held and first is not None and not refused:
            cx.execute(_LEAVE_LINE, (name, owner, now))
    if refused:
        if wait_until is not None:
            cx.execute(_STAND, (name, owner, wait_until + late))
        return None
    cx.execute(_TAKE, (name, owner, token, epoch(until)))
    return Lease(name=name, owner=owner, token=token, until=until)


def renew(cx: Transaction, drift: Drift, lease: Lease, now: int, until: datetime) -> Lease:
    """Prolong. Raises LeaseLostError."""
    late = drift(cx)
    until += timedelta(microseconds=late)
    if not cx.execute(_RENEW, (epoch(until), lease.name, lease.owner, lease.token, now + late)):
        raise LeaseLostError(f"the lease of {lease.name!r:.80} by {lease.owner!r:.80} has ended")
    return Lease(name=lease.name, owner=lease.owner, token=lease.token, until=until)


def release(cx: Transaction, drift: Drift, lease: Lease, now: int) -> bool:
    """Give it up; False when it was no longer held."""
    return cx.execute(_RELEASE, (lease.name, lease.owner, lease.token, now + drift(cx))) > 0


def withdraw(cx: Transaction, drift: Drift, name: str, owner: str, now: int) -> bool:
    """Stand in line no more, and give the name up if *owner* holds it; False when he did not."""
    now += drift(cx)
    cx.execute(_LEAVE_LINE, (name, owner, now))
    return cx.execute(_FREE, (name, owner, now)) > 0


def forget(cx: Transaction, before: int, limit: int) -> int:
    """Remove up to *limit* names whose last lease ended before *before*; return how many."""
    cx.execute(_FORGET_WAITERS, (before,))
    gone = cx.rows(_FORGOTTEN, (before, limit))
    if gone:
        cx.execute(_RAISE_FLOOR, (str(max(_floor(cx), *(token for _, token in gone))),))
        cx.executemany(_FORGET, [(name,) for name, _ in gone])
    return len(gone)


def _floor(cx: Reader) -> int:
    return int(cx.value(_FLOOR) or 0)


def standing(cx: Reader, name: str, owner: str, now: int) -> Standing:
    """Return where *owner* stands for a name."""
    row = cx.one(_LEASE, (name,))
    held = None
    if row is not None and row[0] is not None and row[2] > now:
        held = Lease(name=name, owner=row[0], token=row[1], until=from_epoch(row[2]))
    line = [other for (other,) in cx.rows(_LINE, (name, now))]
    ahead = line.index(owner) if owner in line else len(line)
    return Standing(held=held, ahead=ahead, waiting=len(line))
