"""The hosts with a process of their own: what they need of a node to remember and to tell."""

from __future__ import annotations

from shoal.boxes.host import AutoHost, ChildHost, HostCallbacks, StartedChild
from shoal.boxes.levels import LEVELS
from shoal.boxes.limits import LimitWarning
from shoal.config import output_folder
from shoal.kernel.env import Env
from shoal.kernel.event import EventType, Fact
from shoal.kernel.ports import Child, Host

__all__ = ["child_hosts"]


def child_hosts(env: Env) -> dict[str, Host]:
    """Return the hosts of all levels with a process of their own, and ``auto``, by level."""

    async def remember(child: StartedChild) -> None:
        await env.store.leases.adopt(
            Child(node_id=env.node_id, pid=child.pid, pid_started=child.pid_started, agent_id=child.agent_id)
        )

    async def forget(child: StartedChild) -> None:
        await env.store.leases.disown(env.node_id, child.pid)

    async def warn(warning: LimitWarning) -> None:
        details: dict[str, object] = {
            "resource_type": warning.resource_type,
            "current": warning.current,
            "limit": warning.limit,
        }
        fact = Fact(event_type=EventType.RESOURCE_LIMIT_WARNING, agent_id=warning.agent_id, details=details)
        await env.store.events.append([fact], now=env.clock.now())

    callbacks = HostCallbacks(
        adopted=lambda child: env.spawn(remember(child), "remember a child"),
        disowned=lambda child: env.spawn(forget(child), "forget a child"),
        warning=lambda warning: env.spawn(warn(warning), "limit warning"),
        output=None if env.clock.virtual else output_folder(env.store.url),
    )
    hosts: dict[str, Host] = {
        level: ChildHost(
            env.clock,
            level,
            callbacks=callbacks,
            warm_processes=env.settings.warm_processes,
            max_message_mb=env.settings.max_payload_mb,
        )
        for level in LEVELS
    }
    return {**hosts, "auto": AutoHost(hosts)}
