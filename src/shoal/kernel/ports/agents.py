"""The store of agents and groups."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from shoal.kernel.agent import AgentInstance, AgentStatus, AgentVerb
from shoal.kernel.event import Fact
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports.tasks import Cancelled

__all__ = ["AgentChange", "AgentStore"]


class AgentChange(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an agent's state machine (``AGENT_TRANSITIONS``).

    ``details`` go into the event of the verb. PAUSE takes ``state`` (what on_pause returned; None keeps what was saved
    before), ``mail``, the messages that wait in its mailbox, in order, before those in the store, and ``held``, plain
    messages whose handlers are held: kept as handed out to the node until ``Mail.ack``. START with ``limit`` becomes
    QUEUE when as many agents of the node are live. STOP with ``keep_state`` leaves the saved state to whoever takes the
    agent up.
    """

    agent_id: str
    verb: AgentVerb
    node_id: str
    error_message: str | None = None
    queued_reason: str | None = None
    process_id: int | None = None
    restart_count: int | None = None
    limit: int | None = None
    state: dict[str, object] | None = None
    keep_state: bool = False
    mail: tuple[AgentMessage, ...] = ()
    held: tuple[AgentMessage, ...] = ()
    details: dict[str, object] = {}
    facts: tuple[Fact, ...] = ()


class AgentStore(Protocol):
    """Who is known, where each stands, and groups."""

    def register(self, agent: AgentInstance, *, now: datetime) -> Awaitable[AgentInstance]:
        """Store an agent (``agent_registered``) and return it as stored; creates its groups.

        A known name whose node has left or was given up, or drains and has ended the agent, is taken up again with its old
        id, saved state, and status stopped (paused if it was paused). Raises AgentNameTakenError when a node holds the
        name; one whose lease has ended does until it is given up (``leases.rescue``), since it may live and go on.
        """
        ...

    def unregister(self, agent_id: str, *, now: datetime) -> Awaitable[Cancelled]:
        """Remove a stopped or failed agent (``agent_unregistered``), its groups' entries and its mail (dead letters).

        Pending tasks that target it are cancelled; what ended with them is returned. Raises AgentNotFoundError,
        AgentStateError.
        """
        ...

    def advance(self, change: AgentChange, *, now: datetime) -> Awaitable[AgentInstance]:
        """Apply one change and its event (``AGENT_EVENTS``); return the agent after it.

        STOP from running forgets the saved state unless ``keep_state``, STOP from paused keeps it. NODE_LOST is
        applied by ``leases.rescue``. Raises AgentNotFoundError; AgentStateError for a verb that the status refuses ("cannot
        pause a stopped agent"); LeaseLostError when the agent is held by another live node.
        """
        ...

    def checkpoint(self, agent_id: str, node_id: str, state: dict[str, object], *, now: datetime) -> Awaitable[None]:
        """Keep an agent's state outside a task (``agent_checkpointed``)."""
        ...

    def create_group(self, name: str, members: Sequence[str], *, now: datetime) -> Awaitable[None]:
        """Create a group of agent ids (``group_changed``). Raises ValueError when it exists, AgentNotFoundError."""
        ...

    def delete_group(self, name: str, *, now: datetime) -> Awaitable[None]:
        """Delete a group (``group_changed``). Raises GroupError when there is none."""
        ...

    def change_group(self, name: str, agent_id: str, *, member: bool, now: datetime) -> Awaitable[None]:
        """Put an agent in or out of a group (``group_changed`` if that changed something).

        Raises GroupError, AgentNotFoundError.
        """
        ...

    # readers
    def resolve(self, address: str) -> str:
        """Return the id of the agent with this id or name. Raises AgentNotFoundError with the nearest name."""
        ...

    def get(self, address: str) -> AgentInstance:
        """Return the agent with this id or name. Raises AgentNotFoundError with the nearest name."""
        ...

    def search(
        self, *, status: AgentStatus | None = None, capability: str | None = None, group: str | None = None
    ) -> list[AgentInstance]:
        """Return agents in order of registration; capabilities are compared without case."""
        ...

    def saved_state(self, agent_id: str) -> dict[str, object] | None:
        """Return the state for ``on_resume``, or None."""
        ...

    def groups(self) -> dict[str, list[str]]:
        """Return the ids of each group's members, by group."""
        ...
