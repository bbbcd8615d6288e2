"""Who is known, where each stands, and groups."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shoal.kernel.agent import AGENT_EVENTS, AGENT_TRANSITIONS, AgentInstance, AgentStatus, AgentVerb
from shoal.kernel.clock import epoch
from shoal.kernel.event import Fact
from shoal.kernel.payload import decode, encode
from shoal.kernel.ports import AgentChange, Cancelled
from shoal.store.sql import agent_changes, groups
from shoal.store.sql.agent_changes import AGENT_COLUMNS
from shoal.store.sql.transaction import Reader

if TYPE_CHECKING:
    from shoal.store.sql.database import Database
    from shoal.store.sql.transaction import Transaction

__all__ = ["SqlAgents", "leave_agents", "lose_agents"]

_OF_ADDRESS = "FROM agents WHERE agent_id = :address OR name = :address ORDER BY agent_id = :address DESC"
_SEARCH = f"""SELECT {AGENT_COLUMNS} FROM agents WHERE (CAST(:status AS TEXT) IS NULL OR status = :status)
        AND (CAST(:folded AS TEXT) IS NULL OR agent_id IN (SELECT agent_id FROM agent_capabilities WHERE folded = :folded))
        AND (CAST(:group AS TEXT) IS NULL OR agent_id IN (SELECT agent_id FROM group_members WHERE name = :group))
    ORDER BY seq"""
_LOSE = """UPDATE agents SET status = ?, node_id = NULL, process_id = NULL, error_message = coalesce(?, error_message),
    queued_reason = NULL, updated_at = ? WHERE agent_id = ?"""


class SqlAgents:
    """``kernel.ports.AgentStore`` in SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def register(self, agent: AgentInstance, *, now: datetime) -> Awaitable[AgentInstance]:
        """Store an agent, or take a known one up again; see ``AgentStore.register``."""
        return self._db.write(agent_changes.register, agent, now)

    def unregister(self, agent_id: str, *, now: datetime) -> Awaitable[Cancelled]:
        """Remove a stopped or failed agent; see ``AgentStore.unregister``."""
        return self._db.write(agent_changes.unregister, agent_id, now)

    def advance(self, change: AgentChange, *, now: datetime) -> Awaitable[AgentInstance]:
        """Apply one change and its event; see ``AgentStore.advance``."""
        state = None if change.state is None else encode(change.state).decode()
        kept = [(message, True) for message in change.held] + [(message, False) for message in change.mail]
        encoded = tuple((message, encode(message).decode(), held) for message, held in kept)
        return self._db.write(agent_changes.advance, change, state, encoded, now)

    def checkpoint(self, agent_id: str, node_id: str, state: dict[str, object], *, now: datetime) -> Awaitable[None]:
        """Keep an agent's state outside a task (``agent_checkpointed``)."""
        return self._db.write(agent_changes.checkpoint, agent_id, node_id, encode(state).decode(), now)

    def create_group(self, name: str, members: Sequence[str], *, now: datetime) -> Awaitable[None]:
        """Create a group of agent ids; see ``AgentStore.create_group``."""
        return self._db.write(groups.create, name, tuple(members), now)

    def delete_group(self, name: str, *, now: datetime) -> Awaitable[None]:
        """Delete a group. Raises GroupError when there is none."""
        return self._db.write(groups.delete, name, now)

    def change_group(self, name: str, agent_id: str, *, member: bool, now: datetime) -> Awaitable[None]:
        """Put an agent in or out of a group; see ``AgentStore.change_group``."""
        return self._db.write(groups.change, name, agent_id, member, now)

    def resolve(self, address: str) -> str:
        """Return the id of the agent with this id or name. Raises AgentNotFoundError with the nearest name."""
        agent_id: str | None = self._db.read(Reader.value, f"SELECT agent_id {_OF_ADDRESS}", {"address": address})
        return self.get(address).agent_id if agent_id is None else agent_id

    def get(self, address: str) -> AgentInstance:
        """Return the agent with this id or name. Raises AgentNotFoundError with the nearest name."""
        return self._db.read(_get, address)

    def search(
        self, *, status: AgentStatus | None = None, capability: str | None = None, group: str | None = None
    ) -> list[AgentInstance]:
        """Return agents in order of registration; capabilities are compared without case."""
        folded = None if capability is None else capability.casefold()
        wanted = {"status": None if status is None else str(status), "folded": folded, "group": group}
        return self._db.read(_search, wanted)

    def saved_state(self, agent_id: str) -> dict[str, object] | None:
        """Return the state for ``on_resume``, or None."""
        return self._db.read(_saved_state, agent_id)

    def groups(self) -> dict[str, list[str]]:
        """Return the ids of each group's members, by group."""
        return self._db.read(groups.members)


# -- for verbs of other nouns, in their transaction -----------------------------------------------------------------


def lose_agents(cx: Transaction, node_id: str, now: datetime) -> list[str]:
    """Apply NODE_LOST to the agents of a node and let go of them; return those that failed by it."""
    failed: list[str] = []
    lost: list[tuple[Any, ...]] = []
    message = f"node {node_id} was lost"
    for agent_id, status in cx.rows("SELECT agent_id, status FROM agents WHERE node_id = ? ORDER BY seq", (node_id,)):
        before = AgentStatus(status)
        after = AGENT_TRANSITIONS.get((before, AgentVerb.NODE_LOST), before)
        error: str | None = None
        if after is AgentStatus.FAILED and after is not before:
            failed.append(agent_id)
            details: dict[str, object] = {"error_message": message, "reason": "node_lost"}
            kind = AGENT_EVENTS[AgentVerb.NODE_LOST]
            cx.emit(Fact(event_type=kind, agent_id=agent_id, node_id=node_id, details=details), now)
            error = message
        lost.append((str(after), error, epoch(now), agent_id))
    cx.executemany(_LOSE, lost)
    return failed


def leave_agents(cx: Transaction, node_id: str, now: datetime) -> None:
    """Let go of the agents of a node that ends in order; those it left queued are stopped, and those of whose end the
    store did not hear."""
    unheard = "SELECT agent_id FROM agents WHERE node_id = ? AND status IN ('starting', 'running', 'stopping')"
    for (agent_id,) in cx.rows(f"{unheard} ORDER BY seq", (node_id,)):
        details: dict[str, object] = {"reason": "its node has ended"}
        kind = AGENT_EVENTS[AgentVerb.STOPPED]
        cx.emit(Fact(event_type=kind, agent_id=agent_id, node_id=node_id, details=details), now)
    cx.execute(
        """UPDATE agents SET node_id = NULL, process_id = NULL, queued_reason = NULL,
            status = CASE WHEN status IN ('paused', 'failed') THEN status ELSE 'stopped' END WHERE node_id = ?""",
        (node_id,),
    )


# -- readers --------------------------------------------------------------------------------------------------------


def _get(cx: Reader, address: str) -> AgentInstance:
    row = cx.one(f"SELECT {AGENT_COLUMNS} {_OF_ADDRESS}", {"address": address})
    if row is None:
        raise agent_changes.unknown(cx, address)
    return agent_changes.agents_of(cx, [row])[0]


def _search(cx: Reader, wanted: dict[str, str | None]) -> list[AgentInstance]:
    return agent_changes.agents_of(cx, cx.rows(_SEARCH, wanted))


def _saved_state(cx: Reader, agent_id: str) -> dict[str, object] | None:
    state = cx.value("SELECT state FROM agent_states WHERE agent_id = ?", (agent_id,))
    return None if state is None else decode(state)
