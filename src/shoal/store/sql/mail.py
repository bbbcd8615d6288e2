"""Messages that must not be lost, and dead letters.

What is done leaves its ids behind (until ``prune_mail_tombstones``), so that a sender who repeats a send, not knowing
that the first one arrived, does not have it handled twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shoal.errors import AgentNotFoundError
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.message import AgentMessage, DeadLetter
from shoal.kernel.payload import encode
from shoal.kernel.ports import Return
from shoal.store.sql import dead_letters
from shoal.store.sql.begun_mail import begin
from shoal.store.sql.dead_letters import DONE, LETTER, LISTED, give_up, message_fact, message_of
from shoal.store.sql.posted import PUT, put
from shoal.store.sql.records import check_not_lost

if TYPE_CHECKING:
    from shoal.kernel.trace import Span
    from shoal.store.sql.database import Database, Drift
    from shoal.store.sql.operations import Operation
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["OPEN", "SqlMail", "ack", "ack_many", "bury_all", "nack", "prune_mail_tombstones", "take"]

OPEN = "node_id IS NULL AND done_at IS NULL"  # as the indexes have it
_HAND_OUT = "UPDATE mail SET node_id = ?, deliveries = deliveries + 1"
# A look of its own for each pair: else PostgreSQL may look for one half of the key among all that was ever put.
_ITS = "FROM mail WHERE mail.recipient_id = r.value AND mail.message_id = m.value AND mail.done_at IS NULL"
_UNDONE = f"""SELECT * FROM (
    SELECT r.value AS of, m.value AS id, (SELECT seq {_ITS}) AS seq, (SELECT message {_ITS}), (SELECT durable {_ITS})
    FROM json_each(:recipient_id) AS r CROSS JOIN json_each(:message_id) AS m ON true) AS pair WHERE seq IS NOT NULL"""
_PAIRS = 30  # asked for at once: each recipient's is looked for with each message
_EXPIRED = f"{LETTER} FROM mail INDEXED BY mail_expiring WHERE expires_at <= ? AND {OPEN}"
_EXPIRED_LIMIT = 1000  # of one recipient, found as his mail is taken; the sweep finds the others


class SqlMail:
    """``kernel.ports.Mail`` in SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(
        self, recipient_ids: Sequence[str], message: AgentMessage, *, now: datetime, node_id: str | None = None
    ) -> Awaitable[None]:
        """Store *message* for each recipient; see ``Mail.put``."""
        return self._db.write(put, tuple(recipient_ids), message, encode(message).decode(), now, node_id)

    def take(self, recipient_id: str, node_id: str, *, now: datetime, limit: int) -> Awaitable[list[AgentMessage]]:
        """Hand out up to *limit* messages in order, oldest first; see ``Mail.take``."""
        return self._db.write(take, recipient_id, node_id, now, limit)

    def begin(self, recipient_id: str, message_id: str, node_id: str, *, now: datetime) -> Awaitable[bool]:
        """Note that its handler is about to begin; see ``Mail.begin``."""
        return self._db.write(begin, recipient_id, message_id, node_id, now)

    def ack(self, recipient_id: str, message_ids: Sequence[str], *, now: datetime) -> Awaitable[None]:
        """Remove messages that were handled; see ``Mail.ack``."""
        return self._db.write(ack, recipient_id, tuple(message_ids), now)

    def nack(
        self, recipient_id: str, message_id: str, error: str, *, now: datetime, retry_at: datetime, max_deliveries: int
    ) -> Awaitable[bool]:
        """Make it due again at *retry_at*, or a dead letter after *max_deliveries*: then True."""
        given = Return(message_id=message_id, error=error, retry_at=retry_at, max_deliveries=max_deliveries)
        return self._db.write(nack, recipient_id, given, now)

    def release(self, recipient_id: str, node_id: str, *, now: datetime) -> Awaitable[int]:
        """Give back what *node_id* took for this recipient and did not acknowledge; returns how many."""
        return self._db.write(_release, recipient_id, node_id)

    def bury(self, letters: Sequence[DeadLetter], *, now: datetime, facts: Sequence[Fact] = ()) -> Awaitable[None]:
        """Keep dead letters, each with ``message_dead_lettered`` beside *facts*."""
        return self._db.write(_bury_letters, tuple(letters), tuple(facts), now)

    def redeliver(self, message_id: str, *, now: datetime) -> Awaitable[list[str]]:
        """Turn dead letters of this message into mail again; see ``Mail.redeliver``."""
        return self._db.write(_redeliver, message_id)

    def expire(self, *, now: datetime, limit: int = 1000) -> Awaitable[int]:
        """Turn up to *limit* stored messages whose time is over into dead letters; returns how many."""
        return self._db.write(_expire, self._db.drift(), now, limit)

    def waiting(self, recipient_id: str) -> int:
        """Return how many messages are stored for this recipient and not handed out."""
        return self._db.read(_waiting, recipient_id)

    def due(self, node_agents: Sequence[str], *, now: datetime) -> Sequence[str]:
        """Return those of *node_agents* for whom mail can be taken now."""
        return self._db.read(_due, encode(list(node_agents)).decode(), epoch(now))

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return dead letters, newest first."""
        return self._db.read(dead_letters.newest, limit)


# -- for verbs of other nouns, in their transaction -----------------------------------------------------------------


def ack(cx: Transaction, recipient_id: str, message_ids: Iterable[str], now: datetime) -> None:
    """Remove messages that were handled (``message_received``, when durable); one that is not there is passed over."""
    _ack(cx, [_Handled(recipient_id, message_id, now, cx.span) for message_id in message_ids])


def ack_many(cx: Transaction, operations: Sequence[Operation[None]]) -> list[None]:
    """Do what ``ack`` does, for many at once."""
    handled = []
    for operation in operations:
        recipient_id, message_ids, now = operation.args
        handled += [_Handled(recipient_id, message_id, now, operation.span) for message_id in message_ids]
    _ack(cx, handled)
    return [None] * len(operations)


class _Handled(NamedTuple):
    recipient_id: str
    message_id: str
    now: datetime
    span: Span | None


def _ack(cx: Transaction, handled: Sequence[_Handled]) -> None:
    open_ones: dict[tuple[str, str], list[Any]] = {}
    for start in range(0, len(handled), _PAIRS):
        some = handled[start : start + _PAIRS]
        ids = {name: encode(sorted({getattr(each, name) for each in some})).decode() for name in _Handled._fields[:2]}
        open_ones |= {(recipient_id, message_id): row for recipient_id, message_id, *row in cx.rows(_UNDONE, ids)}
    gone, done = [], []
    for each in handled:
        row = open_ones.pop((each.recipient_id, each.message_id), None)
        if row is None:
            continue
        seq, encoded, durable = row
        if not durable:
            gone.append(seq)
            continue
        done.append((epoch(each.now), seq))
        cx.span = each.span
        cx.emit(message_fact(EventType.MESSAGE_RECEIVED, each.recipient_id, message_of(encoded)), each.now)
    if gone:
        cx.execute(f"DELETE FROM mail {LISTED}", (encode(gone).decode(),))
    cx.executemany(f"{DONE} WHERE seq = ?", done)


def nack(cx: Transaction, recipient_id: str, given: Return, now: datetime) -> bool:
    """Make what was taken and not handled due again, or a dead letter: then True."""
    row = cx.one(
        f"{LETTER}, failures FROM mail WHERE recipient_id = ? AND message_id = ? AND done_at IS NULL",
        (recipient_id, given.message_id),
    )
    if row is None:
        return False
    *letter, failures = row
    if given.max_deliveries is not None:  # it was tried; not every one that was handed out is
        failures += 1
        if failures >= given.max_deliveries:
            give_up(cx, [letter], "failures", given.error, now)
            return True
    cx.execute(
        "UPDATE mail SET node_id = NULL, due_at = ?, failures = ? WHERE seq = ?",
        (epoch(given.retry_at), failures, letter[0]),
    )
    return False


def bury_all(cx: Transaction, recipient_id: str, reason: str, now: datetime) -> None:
    """Make dead letters of all mail of a recipient."""
    rows = cx.rows(f"{LETTER} FROM mail WHERE recipient_id = ? AND done_at IS NULL ORDER BY seq", (recipient_id,))
    give_up(cx, rows, reason, None, now)


def prune_mail_tombstones(cx: Transaction, before: datetime, limit: int) -> int:
    """Forget up to *limit* messages that were done before *before*; a later repeat of the send is mail again."""
    return cx.execute(
        "DELETE FROM mail WHERE seq IN (SELECT seq FROM mail WHERE done_at < ? ORDER BY done_at LIMIT ?)",
        (epoch(before), limit),
    )


# -- verbs ----------------------------------------------------------------------------------------------------------


def take(cx: Transaction, recipient_id: str, node_id: str, now: datetime, limit: int) -> list[AgentMessage]:
    """Hand out messages; see ``Mail.take``."""
    check_not_lost(cx, node_id)  # nobody would give back again what it takes
    micros = epoch(now)
    expired = f"{_EXPIRED} AND recipient_id = ? ORDER BY expires_at LIMIT ? /* FOR UPDATE SKIP LOCKED */"
    give_up(cx, cx.rows(expired, (micros, recipient_id, _EXPIRED_LIMIT)), "expired", None, now)
    rows = cx.rows(
        f"""SELECT seq, message, durable, coalesce(expires_at, :now + ttl_left), deliveries FROM mail
            INDEXED BY mail_waiting WHERE recipient_id = :recipient AND {OPEN} AND coalesce(due_at, 0) <= :now
            AND coalesce(expires_at > :now, true) ORDER BY seq LIMIT :limit /* FOR UPDATE SKIP LOCKED */""",
        {"recipient": recipient_id, "now": micros, "limit": limit},
    )
    for statement, kept in ((_HAND_OUT, 1), ("DELETE FROM mail", 0)):
        if seqs := [seq for seq, _, durable, *_ in rows if durable == kept]:
            values = (node_id,) if kept else ()
            cx.execute(f"{statement} {LISTED}", (*values, encode(seqs).decode()))
    return [
        msgspec.structs.replace(
            message_of(encoded),
            delivery_count=deliveries + 1,
            expires_at=None if expires_at is None else from_epoch(expires_at),
        )
        for _, encoded, _, expires_at, deliveries in rows
    ]


def _release(cx: Transaction, recipient_id: str, node_id: str) -> int:
    return cx.execute("UPDATE mail SET node_id = NULL WHERE node_id = ? AND recipient_id = ?", (node_id, recipient_id))


def _bury_letters(cx: Transaction, letters: tuple[DeadLetter, ...], facts: tuple[Fact, ...], now: datetime) -> None:
    for fact in facts:
        cx.emit(fact, now)
    its = [(epoch(now), letter.recipient_id, letter.message.message_id) for letter in letters]
    cx.executemany(f"{DONE} WHERE recipient_id = ? AND message_id = ?", its)
    for letter in letters:
        dead_letters.keep(cx, letter, now)


def _redeliver(cx: Transaction, message_id: str) -> list[str]:
    letters = cx.rows("SELECT recipient_id, message FROM dead_letters WHERE message_id = ? ORDER BY seq", (message_id,))
    if not letters:
        raise LookupError(f"no dead letter has the message id {message_id[:80]!r}")
    newest = {
        recipient_id: encoded
        for recipient_id, encoded in letters
        if cx.value("SELECT 1 FROM agents WHERE agent_id = ?", (recipient_id,))
    }
    if not newest:  # as mail of nobody they would never be seen again
        raise AgentNotFoundError(letters[-1][0])
    for recipient_id, encoded in newest.items():
        cx.execute("DELETE FROM dead_letters WHERE message_id = ? AND recipient_id = ?", (message_id, recipient_id))
        cx.execute("DELETE FROM mail WHERE recipient_id = ? AND message_id = ?", (recipient_id, message_id))
        message = msgspec.structs.replace(message_of(encoded), durable=True, expires_at=None, delivery_count=1)
        cx.execute(PUT, (recipient_id, message_id, encode(message).decode(), 1, None, None))
    return list(newest)


def _expire(cx: Transaction, drift: Drift, now: datetime, limit: int) -> int:
    rows = cx.rows(f"{_EXPIRED} ORDER BY expires_at LIMIT ?", (epoch(now) + drift(cx), limit))
    give_up(cx, rows, "expired", None, now)
    return len(rows)


# -- readers --------------------------------------------------------------------------------------------------------


def _waiting(cx: Reader, recipient_id: str) -> int:
    of_it = f"SELECT count(*) FROM mail INDEXED BY mail_waiting WHERE recipient_id = ? AND {OPEN}"
    return int(cx.value(of_it, (recipient_id,)))


def _due(cx: Reader, node_agents: str, now: int) -> list[str]:
    rows = cx.rows(
        f"""SELECT value FROM json_each(:agents) WHERE EXISTS (
            SELECT 1 FROM mail INDEXED BY mail_waiting
            WHERE recipient_id = value AND {OPEN} AND coalesce(due_at, 0) <= :now)""",
        {"agents": node_agents, "now": now},
    )
    return [agent_id for (agent_id,) in rows]
