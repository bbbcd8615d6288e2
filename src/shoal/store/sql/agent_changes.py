"""What may become of an agent: registered, moved through its state machine, removed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from shoal.errors import AgentNameTakenError, AgentNotFoundError, AgentStateError, LeaseLostError
from shoal.kernel.agent import AGENT_EVENTS, AGENT_TRANSITIONS, AgentInstance, AgentStatus, AgentVerb
from shoal.kernel.clock import epoch, from_epoch
from shoal.kernel.event import EventType, Fact
from shoal.kernel.payload import decode, encode
from shoal.kernel.ports import AgentChange, Cancelled
from shoal.store.sql import groups, mail, paused_mail
from shoal.store.sql.settle import cancel_all

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Reader, Row, Transaction

__all__ = ["AGENT_COLUMNS", "advance", "agents_of", "checkpoint", "fetch", "register", "unknown", "unregister"]

_ERROR_LENGTH = 1000
_ENDED = (AgentStatus.STOPPED, AgentStatus.FAILED)
AGENT_COLUMNS = """agent_id, name, status, node_id, process_id, isolation, created_at, updated_at, started_at, config,
    metadata, error_message, queued_reason, restart_count"""
_CAPABILITIES = "SELECT agent_id, capability FROM agent_capabilities WHERE {} ORDER BY position"
_GROUPS = "SELECT agent_id, name FROM group_members WHERE {} ORDER BY name"
_OF_ONE, _OF_MANY = "agent_id = ?", "agent_id IN (SELECT value FROM json_each(?))"
_SAVE_STATE = """INSERT INTO agent_states (agent_id, state, at) VALUES (?, ?, ?)
    ON CONFLICT (agent_id) DO UPDATE SET state = excluded.state, at = excluded.at"""
_REGISTER = """INSERT INTO agents (agent_id, name, status, node_id, isolation, created_at, updated_at, registered_at,
        config, metadata)
    VALUES (:agent_id, :name, :status, :node_id, :isolation, :now, :now, :now, :config, :metadata)
    ON CONFLICT (name) DO UPDATE SET status = excluded.status, node_id = excluded.node_id, process_id = NULL,
        isolation = excluded.isolation, updated_at = excluded.updated_at, started_at = NULL,
        registered_at = excluded.registered_at, config = excluded.config, metadata = excluded.metadata,
        error_message = NULL, queued_reason = NULL, restart_count = 0"""
_ADVANCE = """UPDATE agents SET status = :status, node_id = :node_id, updated_at = :now,
        process_id = CASE WHEN :live THEN coalesce(:process_id, process_id) END,
        started_at = CASE WHEN :started THEN :now ELSE started_at END,
        error_message = :error_message, queued_reason = :queued_reason,
        restart_count = coalesce(:restart_count, restart_count)
    WHERE agent_id = :agent_id"""


def register(cx: Transaction, agent: AgentInstance, now: datetime) -> AgentInstance:
    """Store an agent, or take a known one up again; see ``AgentStore.register``."""
    known = cx.one(
        """SELECT agent_id, status, node_id, coalesce(started_at, registered_at) FROM agents WHERE name = ?""",
        (agent.name,),
    )
    status = AgentStatus.STOPPED
    agent_id = agent.agent_id
    if known is not None:
        agent_id, before, holder, since = known
        if _holds(cx, holder, before):
            raise AgentNameTakenError(
                agent.name, node_id=holder, since=from_epoch(since).isoformat(), agent_id=agent_id
            )
        if before == AgentStatus.PAUSED:
            status = AgentStatus.PAUSED
        else:
            paused_mail.thaw(cx, agent_id, now)
    cx.execute(
        _REGISTER,
        {
            "agent_id": agent_id,
            "name": agent.name,
            "status": str(status),
            "node_id": agent.node_id,
            "isolation": agent.isolation,
            "now": epoch(now),
            "config": _text(agent.config),
            "metadata": _text(agent.metadata),
        },
    )
    _write_words(cx, agent_id, agent, now)
    details: dict[str, object] = {
        "name": agent.name,
        "isolation": agent.isolation,
        "capabilities": list(agent.capabilities),
        "groups": list(agent.groups),
        "taken_up": known is not None,
    }
    kind = EventType.AGENT_REGISTERED
    cx.emit(Fact(event_type=kind, agent_id=agent_id, node_id=agent.node_id, details=details), now)
    return fetch(cx, agent_id)


def _write_words(cx: Transaction, agent_id: str, agent: AgentInstance, now: datetime) -> None:
    """Write the words that an agent is found by."""
    cx.execute("DELETE FROM agent_capabilities WHERE agent_id = ?", (agent_id,))
    cx.executemany(
        "INSERT INTO agent_capabilities (capability, folded, agent_id, position) VALUES (?, ?, ?, ?)",
        [(word, word.casefold(), agent_id, place) for place, word in enumerate(agent.capabilities)],
    )
    groups.name_at_registration(cx, agent_id, agent.groups, now)


def unregister(cx: Transaction, agent_id: str, now: datetime) -> Cancelled:
    """Remove a stopped or failed agent; see ``AgentStore.unregister``."""
    agent = fetch(cx, agent_id)
    if agent.status not in (AgentStatus.STOPPED, AgentStatus.FAILED):
        raise _refused(agent, "unregister")
    tasks = [
        task_id
        for (task_id,) in cx.rows(
            "SELECT task_id FROM tasks WHERE status = 'pending' AND target = ? ORDER BY seq", (f"agent:{agent_id}",)
        )
    ]
    groups.leave_all(cx, agent_id)
    mail.bury_all(cx, agent_id, "stopped", now)
    for table in ("agent_states", "agent_capabilities", "agents"):
        cx.execute(f"DELETE FROM {table} WHERE agent_id = ?", (agent_id,))
    details: dict[str, object] = {"name": agent.name}
    kind = EventType.AGENT_UNREGISTERED
    cx.emit(Fact(event_type=kind, agent_id=agent_id, node_id=agent.node_id, details=details), now)
    if not tasks:
        return Cancelled(applied=False)
    return cancel_all(cx, tasks, f"agent {agent.name!r} was unregistered", now)


def advance(
    cx: Transaction,
    change: AgentChange,
    state: str | None,
    kept: paused_mail.Kept,
    now: datetime,
) -> AgentInstance:
    """Apply one change and its event; *state* and the messages *kept* by a pause are encoded. See ``AgentStore.advance``."""
    agent = fetch(cx, change.agent_id)
    _check_holder(cx, agent, change.node_id)
    verb, queued_reason = change.verb, change.queued_reason
    after = AGENT_TRANSITIONS.get((agent.status, verb))
    if after is None:
        raise _refused(agent, verb)
    if verb is AgentVerb.START and not agent.status.live and _full(cx, change):
        verb, after, queued_reason = AgentVerb.QUEUE, AgentStatus.QUEUED, "limit"
    if after is not AgentStatus.QUEUED:
        queued_reason = None
    error_message = None
    if after is AgentStatus.FAILED and change.error_message is not None:
        error_message = change.error_message[:_ERROR_LENGTH]
    cx.execute(
        _ADVANCE,
        {
            "status": str(after),
            "node_id": change.node_id,
            "now": epoch(now),
            "live": after.live,
            "process_id": change.process_id,
            "started": verb is AgentVerb.STARTED,
            "error_message": error_message,
            "queued_reason": queued_reason,
            "restart_count": change.restart_count,
            "agent_id": change.agent_id,
        },
    )
    _keep_or_forget(cx, change, agent.status, state, kept, now)
    _tell(cx, change, verb, {"reason": queued_reason, "error_message": error_message}, now)
    return fetch(cx, change.agent_id)


def _keep_or_forget(
    cx: Transaction,
    change: AgentChange,
    before: AgentStatus,
    state: str | None,
    kept: paused_mail.Kept,
    now: datetime,
) -> None:
    """Do to saved state and mail what a change does to them."""
    if change.verb is AgentVerb.PAUSE:
        if state is not None:  # else it was frozen: what was saved before stays
            cx.execute(_SAVE_STATE, (change.agent_id, state, epoch(now)))
        paused_mail.keep_mailbox(cx, change.agent_id, change.node_id, kept, now)
        paused_mail.freeze(cx, change.agent_id, now)
    elif change.verb is AgentVerb.STOP and before is AgentStatus.RUNNING and not change.keep_state:
        cx.execute("DELETE FROM agent_states WHERE agent_id = ?", (change.agent_id,))
    if before is AgentStatus.PAUSED and change.verb is not AgentVerb.NODE_LOST:
        paused_mail.thaw(cx, change.agent_id, now)


def _tell(cx: Transaction, change: AgentChange, verb: AgentVerb, known: dict[str, str | None], now: datetime) -> None:
    """Write the event of a verb, if it has one, and the facts beside it."""
    kind = AGENT_EVENTS.get(verb)
    if kind is not None:
        details = {**change.details, **{key: value for key, value in known.items() if value is not None}}
        if change.process_id is not None:
            details["process_id"] = change.process_id
        cx.emit(Fact(event_type=kind, agent_id=change.agent_id, node_id=change.node_id, details=details), now)
    for fact in change.facts:
        cx.emit(fact, now)


def checkpoint(cx: Transaction, agent_id: str, node_id: str, state: str, now: datetime) -> None:
    """Keep an agent's state outside a task."""
    _check_holder(cx, fetch(cx, agent_id), node_id)
    cx.execute(_SAVE_STATE, (agent_id, state, epoch(now)))
    cx.emit(Fact(event_type=EventType.AGENT_CHECKPOINTED, agent_id=agent_id, node_id=node_id), now)


def _full(cx: Transaction, change: AgentChange) -> bool:
    if change.limit is None:
        return False
    live = [str(status) for status in AgentStatus if status.live]
    count: int = cx.value(
        "SELECT count(*) FROM agents WHERE node_id = ? AND status IN (SELECT value FROM json_each(?))",
        (change.node_id, encode(live).decode()),
    )
    return count >= change.limit


def _holds(cx: Reader, node_id: str | None, status: str) -> bool:
    """Tell whether a node holds an agent that is in its name.

    One whose lease has ended does until it is given up: it may live. One that drains has let go of what it has ended.
    """
    found = None if node_id is None else cx.one("SELECT draining FROM nodes WHERE node_id = ? AND lost = 0", (node_id,))
    return found is not None and not (found[0] is not None and status in _ENDED)


def _check_holder(cx: Reader, agent: AgentInstance, node_id: str) -> None:
    """Raise LeaseLostError unless *node_id* may write of this agent."""
    if cx.value("SELECT lost FROM nodes WHERE node_id = ?", (node_id,)):
        raise LeaseLostError(f"node {node_id} has lost its lease; agent {agent.name!r} is no longer its own")
    if agent.node_id != node_id and _holds(cx, agent.node_id, agent.status):
        raise LeaseLostError(f"agent {agent.name!r} is held by node {agent.node_id}, not by {node_id}")


def _refused(agent: AgentInstance, verb: str) -> AgentStateError:
    return AgentStateError(
        f"cannot {str(verb).replace('_', ' ')} a {agent.status} agent",
        status=str(agent.status),
        operation=str(verb),
        agent_id=agent.agent_id,
        name=agent.name,
    )


# -- rows -------------------------------------------------------------------------------------------------------------


def fetch(cx: Reader, agent_id: str) -> AgentInstance:
    """Return the agent with this id. Raises AgentNotFoundError."""
    row = cx.one(f"SELECT {AGENT_COLUMNS} FROM agents WHERE agent_id = ?", (agent_id,))
    if row is None:
        raise unknown(cx, agent_id)
    return agents_of(cx, [row])[0]


def unknown(cx: Reader, address: str) -> AgentNotFoundError:
    """Return the error for an address that nobody has."""
    return AgentNotFoundError(address, (name for (name,) in cx.rows("SELECT name FROM agents")))


def agents_of(cx: Reader, rows: Sequence[Row]) -> list[AgentInstance]:
    """Return the agents of rows of ``AGENT_COLUMNS``, with the words by which each is found."""
    capabilities, in_groups = (_words(cx, sql, [row[0] for row in rows]) for sql in (_CAPABILITIES, _GROUPS))
    return [_agent(row, capabilities.get(row[0], ()), in_groups.get(row[0], ())) for row in rows]


def _words(cx: Reader, sql: str, agent_ids: Sequence[str]) -> dict[str, list[str]]:
    which, given = (_OF_ONE, agent_ids[0]) if len(agent_ids) == 1 else (_OF_MANY, encode(agent_ids).decode())
    found: dict[str, list[str]] = {}
    for agent_id, word in cx.rows(sql.format(which), (given,)):
        found.setdefault(agent_id, []).append(word)
    return found


def _agent(row: Row, capabilities: Sequence[str], in_groups: Sequence[str]) -> AgentInstance:
    agent_id, name, status, node_id, process_id, isolation, created_at, updated_at, started_at = row[:9]
    config, metadata, error_message, queued_reason, restart_count = row[9:]
    return AgentInstance(
        agent_id=agent_id,
        name=name,
        status=AgentStatus(status),
        process_id=process_id,
        created_at=from_epoch(created_at),
        updated_at=from_epoch(updated_at),
        config=decode(config) if config else {},
        error_message=error_message,
        restart_count=restart_count,
        isolation=sys.intern(isolation),  # few words for many agents
        node_id=None if node_id is None else sys.intern(node_id),
        capabilities=tuple(capabilities),
        groups=tuple(in_groups),
        metadata=decode(metadata) if metadata else {},
        queued_reason=queued_reason,
        started_at=None if started_at is None else from_epoch(started_at),
    )


def _text(value: dict[str, object]) -> str | None:
    return encode(value).decode() if value else None
