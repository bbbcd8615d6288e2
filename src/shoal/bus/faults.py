"""What an asker is told whose question does not come to anybody who could answer."""

from __future__ import annotations

from shoal.errors import DeadAgentError

__all__ = ["cut_off", "node_lost", "not_running", "stopped"]


def not_running(address: str) -> DeadAgentError:
    """Return the error for an address that nobody has attached."""
    return DeadAgentError(f"Agent {address[:80]!r} is not running", reason="not_running", agent_id=address)


def stopped(address: str) -> DeadAgentError:
    """Return the error for an address that was left while somebody waited for its answer."""
    return DeadAgentError(f"Agent {address[:80]!r} stopped before it answered", reason="stopped", agent_id=address)


def node_lost(node: str, address: str) -> DeadAgentError:
    """Return the error for an address whose node went away, or does not react any more."""
    return DeadAgentError(
        f"Node {node} of agent {address[:80]!r} was lost before it answered", reason="node_lost", agent_id=address
    )


def cut_off(where: str, reason: str, address: str) -> DeadAgentError:
    """Return the error for an address beyond a server to which this node has no connection."""
    return DeadAgentError(
        f"No connection to {where} ({reason}): agent {address[:80]!r} is on another node and cannot be reached. "
        "The connection is made again by itself; ask again then",
        reason="node_lost",
        agent_id=address,
    )
