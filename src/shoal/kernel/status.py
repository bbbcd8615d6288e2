"""Bringing what happens to an agent to the store: one change of its status, with its event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal.kernel.agent import AgentInstance, AgentVerb
from shoal.kernel.ports import AgentChange

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.registration import Registration

__all__ = ["advance", "advance_surely"]


async def advance(env: Env, registration: Registration, verb: AgentVerb, **fields: Any) -> AgentInstance:
    """Record one verb on an agent; *fields* are those of ``AgentChange``. Raises what ``AgentStore.advance`` raises."""
    change = AgentChange(agent_id=registration.agent_id, verb=verb, node_id=env.node_id, **fields)
    registration.instance = await env.store.agents.advance(change, now=env.clock.now())
    env.bus.ring("agents", registration.agent_id)
    return registration.instance


async def advance_surely(env: Env, registration: Registration, verb: AgentVerb, **fields: Any) -> AgentInstance:
    """Record a verb that nobody could repeat: what has happened is a fact, also while the store refuses to hear it."""
    return await env.persist(lambda: advance(env, registration, verb, **fields))
