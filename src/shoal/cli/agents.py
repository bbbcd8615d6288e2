"""``shoal agents``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from shoal.cli.nodes import is_alive
from shoal.cli.options import Json, Store, url_of
from shoal.cli.show import clip, document, table
from shoal.client import Client
from shoal.kernel.agent import AgentInstance, AgentStatus

__all__ = ["agents"]


def agents(
    status: Annotated[AgentStatus | None, typer.Option(help="Only those in this state.")] = None,
    capability: Annotated[str | None, typer.Option(metavar="WORD", help="Only those that can do this.")] = None,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Only members of this group.")] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """List the agents that a store knows, in order of registration.

    An agent whose node is gone keeps its last state until another node takes it up; it is shown as such.

    \b
    Example:
      shoal agents --status running
    """
    found, gone = asyncio.run(_search(url_of(store), status, capability, group))
    if json:
        document([msgspec.to_builtins(agent) | {"node_alive": agent.node_id not in gone} for agent in found])
        return
    columns = ("name", "status", "isolation", "tasks", "capabilities", "groups", "restarts", "node", "error")
    table(columns, [_row(agent, gone) for agent in found], empty="no agents")


def _row(agent: AgentInstance, gone: set[str | None]) -> tuple[object, ...]:
    lost = agent.node_id in gone and agent.status.live
    return (
        agent.name,
        f"{agent.status} (node gone)" if lost else str(agent.status),
        agent.isolation,
        len(agent.task_ids) or "",
        " ".join(agent.capabilities),
        " ".join(agent.groups),
        agent.restart_count or "",
        agent.node_id,
        clip(agent.error_message),
    )


async def _search(
    url: str, status: AgentStatus | None, capability: str | None, group: str | None
) -> tuple[list[AgentInstance], set[str | None]]:
    async with Client(store=url, read_only=True) as client:
        found = client.list_agents(status, capability, group)
        now = client.store.clock.now()
        alive = {node.node_id for node in client.list_nodes() if is_alive(node, now)}
    return found, {agent.node_id for agent in found if agent.node_id not in alive}
