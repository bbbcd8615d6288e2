"""Errors of agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shoal.errors.root import ShoalError, nearest

__all__ = [
    "AgentError",
    "AgentLimitError",
    "AgentNameTakenError",
    "AgentNotFoundError",
    "AgentPauseError",
    "AgentStartError",
    "AgentStateError",
    "DeadAgentError",
    "GroupError",
    "ProcessError",
    "ResourceLimitExceededError",
]


class AgentError(ShoalError):
    """Something about one agent. ``agent_id`` and ``name`` say which, where they are known."""

    def __init__(self, text: str, *, agent_id: str | None = None, name: str | None = None, note: str | None = None):
        self.agent_id = agent_id
        self.name = name
        super().__init__(text, note=note)


class AgentNotFoundError(AgentError, ValueError, LookupError):
    """No agent has this id or name."""

    def __init__(self, address: str, known: Iterable[str] = ()) -> None:
        super().__init__(f"Agent {address[:80]!r} not found{nearest(address, known)}", name=address)


class AgentNameTakenError(AgentError, ValueError):
    """An agent of this name is alive on ``node_id``."""

    def __init__(self, name: str, *, node_id: str, since: str, agent_id: str | None = None) -> None:
        self.node_id = node_id
        super().__init__(
            f"Agent name {name!r} is taken: alive on node {node_id} since {since}",
            agent_id=agent_id,
            name=name,
            note="Unregister that agent, choose a name for each node, or use the agent that is there. Where every node of a "
            "program is to register it and one to have it: register_agent(..., singleton=True).",
        )


class AgentLimitError(AgentError, RuntimeError):
    """As many agents run as ``limit`` allows. The agent is queued and starts when a place is free."""

    def __init__(self, limit: int, *, agent_id: str | None = None, name: str | None = None) -> None:
        self.limit = limit
        super().__init__(
            "Max concurrent agents reached",
            agent_id=agent_id,
            name=name,
            note=f"The limit is {limit}. The agent is queued and starts when a place is free; stop an agent, or raise "
            "ResourceLimit.max_concurrent_agents.",
        )


class AgentStateError(AgentError, RuntimeError):
    """The agent's ``status`` does not allow ``operation``."""

    def __init__(
        self,
        text: str,
        *,
        status: str = "",
        operation: str = "",
        agent_id: str | None = None,
        name: str | None = None,
    ) -> None:
        self.status = status
        self.operation = operation
        super().__init__(text, agent_id=agent_id, name=name)


class AgentStartError(AgentError, RuntimeError):
    """The agent's constructor, ``on_start`` or ``on_resume`` raised; the cause is chained."""


class AgentPauseError(AgentError, RuntimeError):
    """The agent could not be paused and runs on: ``on_pause`` raised, or no safe point came in time."""


class ProcessError(AgentError, RuntimeError):
    """The agent's process could not be started or ended badly."""

    def __init__(
        self,
        text: str,
        *,
        exit_code: int | None = None,
        stderr_tail: str = "",
        agent_id: str | None = None,
        name: str | None = None,
    ) -> None:
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail
        note = f"Its last output on stderr:\n{stderr_tail}" if stderr_tail else None
        super().__init__(text, agent_id=agent_id, name=name, note=note)


class DeadAgentError(AgentError, ConnectionError):
    """The agent is not there to answer. ``reason``: not_running, draining, stopped, cancelled (its time to drain was over),
    died or node_lost. ``began`` False: it surely has not begun with what it was asked.
    """

    began = True

    def __init__(
        self,
        text: str,
        *,
        reason: str = "not_running",
        exit_code: int | None = None,
        agent_id: str | None = None,
        name: str | None = None,
        began: bool = True,
    ) -> None:
        self.reason = reason
        self.exit_code = exit_code
        self.began = began and reason not in ("not_running", "draining")
        super().__init__(text, agent_id=agent_id, name=name)


class ResourceLimitExceededError(AgentError, RuntimeError):
    """A process took more than its hard limit and was ended. Units: MB, seconds, or percent of one core."""

    def __init__(
        self,
        resource_type: str,
        current: float,
        limit: float,
        *,
        agent_id: str | None = None,
        name: str | None = None,
    ) -> None:
        self.resource_type = resource_type
        self.current = current
        self.limit = limit
        super().__init__(
            f"{resource_type} limit exceeded: {current:g} of {limit:g}",
            agent_id=agent_id,
            name=name,
        )


class GroupError(AgentError, RuntimeError):
    """Some members of a group failed; the others are done. ``failures`` maps agent name to error."""

    def __init__(self, text: str, *, failures: Mapping[str, BaseException] | None = None) -> None:
        self.failures: dict[str, BaseException] = dict(failures or {})
        super().__init__(text)
