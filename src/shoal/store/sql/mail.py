"""Messages that must not be lost, and dead letters.

What is done leaves its ids behind (until ``prune_mail_tombstones``), so that a sender who repeats a send, not knowing
that the first one arrived, does not have it handled twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from shoal.errors import AgentNotFoundError
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.message import AgentMessage, DeadLetter
from shoal.kernel.payload import encode
from shoal.kernel.ports import Return
from shoal.store.sql import dead_letters
from shoal.store.sql.dead_letters import message_fact, message_of
from shoal.store.sql.records import check_not_lost

if TYPE_CHECKING:
    from shoal.store.sql.database import Database
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = [
    "OPEN", "SqlMail", "ack", "bury_all", "keep", "nack", "prune_mail_tombstones", "put", "release_node", "take",
]  # fmt: skip

_PUT = """INSERT INTO mail (recipient_id, message_id, message, durable, expires_at, ttl_left) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (recipient_id, message_id) DO NOTHING"""
OPEN = "node_id IS NULL AND done_at IS NULL"  # as the indexes have it
_FINISH = """UPDATE mail SET message = NULL, node_id = NULL, expires_at = NULL, ttl_left = NULL, done_at = ?
    WHERE seq = ?"""


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

    def expire(self, *, now: datetime) -> Awaitable[int]:
        """Turn stored mail whose time is over into dead letters; returns how many."""
        return self._db.write(_expire, now)

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
    for message_id in message_ids:
        row = cx.one(
            "SELECT seq, message, durable FROM mail WHERE recipient_id = ? AND message_id = ? AND done_at IS NULL",
            (recipient_id, message_id),
        )
        if row is not None and not row[2]:
            cx.execute("DELETE FROM mail WHERE seq = ?", (row[0],))
        elif row is not None:
            cx.execute(_FINISH, (epoch(now), row[0]))
            cx.emit(message_fact(EventType.MESSAGE_RECEIVED, recipient_id, message_of(row[1])), now)


def nack(cx: Transaction, recipient_id: str, given: Return, now: datetime) -> bool:
    """Make what was taken and not handled due again, or a dead letter: then True."""
    row = cx.one(
        "SELECT seq, failures FROM mail WHERE recipient_id = ? AND message_id = ? AND done_at IS NULL",
        (recipient_id, given.message_id),
    )
    if row is None:
        return False
    seq, failures = row
    if given.max_deliveries is not None:  # it was tried; not every one that was handed out is
        failures += 1
        if failures >= given.max_deliveries:
            _give_up(cx, seq, "failures", given.error, now)
            return True
    cx.execute(
        "UPDATE mail SET node_id = NULL, due_at = ?, failures = ? WHERE seq = ?",
        (epoch(given.retry_at), failures, seq),
    )
    return False


def keep(cx: Transaction, recipient_id: str, message: AgentMessage, encoded: str, now: datetime) -> bool:
    """Store a message for one recipient; False when it was known."""
    expires_at: int | None = None
    ttl_left: int | None = None
    if message.expires_at is not None:
        if cx.value("SELECT status = 'paused' FROM agents WHERE agent_id = ?", (recipient_id,)):
            ttl_left = max(epoch(message.expires_at) - epoch(now), 1)
        else:
            expires_at = epoch(message.expires_at)
    row = (recipient_id, message.message_id, encoded, int(message.durable), expires_at, ttl_left)
    return cx.execute(_PUT, row) > 0


def release_node(cx: Transaction, node_id: str) -> None:
    """Give back all that a node took and did not acknowledge."""
    cx.execute("UPDATE mail SET node_id = NULL WHERE node_id = ?", (node_id,))


def bury_all(cx: Transaction, recipient_id: str, reason: str, now: datetime) -> None:
    """Make dead letters of all mail of a recipient."""
    rows = cx.rows("SELECT seq FROM mail WHERE recipient_id = ? AND done_at IS NULL ORDER BY seq", (recipient_id,))
    for (seq,) in rows:
        _give_up(cx, seq, reason, None, now)


def prune_mail_tombstones(cx: Transaction, before: datetime, limit: int) -> int:
    """Forget up to *limit* messages that were done before *before*; a later repeat of the send is mail again."""
    return cx.execute(
        "DELETE FROM mail WHERE seq IN (SELECT seq FROM mail WHERE done_at < ? ORDER BY done_at LIMIT ?)",
        (epoch(before), limit),
    )


# -- verbs ----------------------------------------------------------------------------------------------------------


def put(
    cx: Transaction,
    recipient_ids: tuple[str, ...],
    message: AgentMessage,
    encoded: str,
    now: datetime,
    node_id: str | None,
) -> None:
    """Store a message for each recipient; see ``Mail.put``."""
    check_not_lost(cx, node_id)
    stored = [each for each in recipient_ids if keep(cx, each, message, encoded, now)]
    if message.durable and stored:
        fact = message_fact(EventType.MESSAGE_SENT, message.sender_id, message)
        cx.emit(msgspec.structs.replace(fact, details={**fact.details, "recipients": stored}), now)


def take(cx: Transaction, recipient_id: str, node_id: str, now: datetime, limit: int) -> list[AgentMessage]:
    """Hand out messages; see ``Mail.take``."""
    check_not_lost(cx, node_id)  # nobody would give back again what it takes
    micros = epoch(now)
    for (seq,) in cx.rows(
        f"SELECT seq FROM mail INDEXED BY mail_expiring WHERE expires_at <= ? AND recipient_id = ? AND {OPEN}",
        (micros, recipient_id),
    ):
        _give_up(cx, seq, "expired", None, now)
    rows = cx.rows(
        f"""SELECT seq, message, durable, coalesce(expires_at, :now + ttl_left), deliveries FROM mail
            INDEXED BY mail_waiting WHERE recipient_id = :recipient AND {OPEN} AND coalesce(due_at, 0) <= :now
            ORDER BY seq LIMIT :limit /* FOR UPDATE SKIP LOCKED */""",
        {"recipient": recipient_id, "now": micros, "limit": limit},
    )
    taken = []
    for seq, encoded, durable, expires_at, deliveries in rows:
        if durable:
            cx.execute("UPDATE mail SET node_id = ?, deliveries = deliveries + 1 WHERE seq = ?", (node_id, seq))
        else:
            cx.execute("DELETE FROM mail WHERE seq = ?", (seq,))
        taken.append(
            msgspec.structs.replace(
                message_of(encoded),
                delivery_count=deliveries + 1,
                expires_at=None if expires_at is None else from_epoch(expires_at),
            )
        )
    return taken


def _release(cx: Transaction, recipient_id: str, node_id: str) -> int:
    return cx.execute("UPDATE mail SET node_id = NULL WHERE node_id = ? AND recipient_id = ?", (node_id, recipient_id))


def _bury_letters(cx: Transaction, letters: tuple[DeadLetter, ...], facts: tuple[Fact, ...], now: datetime) -> None:
    for fact in facts:
        cx.emit(fact, now)
    for letter in letters:
        seq = cx.value(
            "SELECT seq FROM mail WHERE recipient_id = ? AND message_id = ?",
            (letter.recipient_id, letter.message.message_id),
        )
        if seq is not None:
            cx.execute(_FINISH, (epoch(now), seq))
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
        cx.execute(_PUT, (recipient_id, message_id, encode(message).decode(), 1, None, None))
    return list(newest)


def _expire(cx: Transaction, now: datetime) -> int:
    rows = cx.rows(
        f"SELECT seq FROM mail INDEXED BY mail_expiring WHERE expires_at <= ? AND {OPEN} ORDER BY expires_at",
        (epoch(now),),
    )
    for (seq,) in rows:
        _give_up(cx, seq, "expired", None, now)
    return len(rows)


def _give_up(cx: Transaction, seq: int, reason: str, error: str | None, now: datetime) -> None:
    """Turn one stored message into a dead letter."""
    row = cx.one("SELECT recipient_id, message, deliveries FROM mail WHERE seq = ?", (seq,))
    assert row is not None, "the caller has just read this row"
    recipient_id, encoded, deliveries = row
    message = msgspec.structs.replace(message_of(encoded), delivery_count=max(deliveries, 1))
    cx.execute(_FINISH, (epoch(now), seq))
    if reason == "expired":
        cx.emit(message_fact(EventType.MESSAGE_EXPIRED, recipient_id, message), now)
    dead_letters.keep(
        cx, DeadLetter(message=message, recipient_id=recipient_id, reason=reason, at=now, error=error), now
    )


# -- readers --------------------------------------------------------------------------------------------------------


def _waiting(cx: Reader, recipient_id: str) -> int:
    count: int = cx.value(
        f"SELECT count(*) FROM mail INDEXED BY mail_waiting WHERE recipient_id = ? AND {OPEN}", (recipient_id,)
    )
    return count


def _due(cx: Reader, node_agents: str, now: int) -> list[str]:
    rows = cx.rows(
        f"""SELECT value FROM json_each(:agents) WHERE EXISTS (
            SELECT 1 FROM mail INDEXED BY mail_waiting
            WHERE recipient_id = value AND {OPEN} AND coalesce(due_at, 0) <= :now)""",
        {"agents": node_agents, "now": now},
    )
    return [agent_id for (agent_id,) in rows]
