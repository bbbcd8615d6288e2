"""What the parts of the store's conformance suite share: how a contract test runs, and things to store."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from shoal.kernel.agent import AgentInstance, AgentStatus, AgentVerb
from shoal.kernel.clock import RealClock
from shoal.kernel.event import Event, EventFilter
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import AgentChange, Node, Store

__all__ = ["T0", "agent", "at", "change", "contract", "events_of", "join", "kinds", "message", "new_id", "start"]

Suite = TypeVar("Suite")

T0 = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
"""The time at which every contract test begins; the store reads no clock, so nothing has to wait."""

new_id = RealClock().new_id


def at(seconds: float) -> datetime:
    """Return the time *seconds* after the begin."""
    return T0 + timedelta(seconds=seconds)


def contract(test: Callable[[Suite, Store], Coroutine[Any, Any, None]]) -> Callable[[Suite, Store], None]:
    """Make of a coroutine function ``test(self, store)`` a plain test, with the store open while it runs."""

    @functools.wraps(test)
    def run(self: Suite, store: Store) -> None:
        async def main() -> None:
            await store.open()
            try:
                await test(self, store)
            finally:
                await store.close()

        asyncio.run(main())

    return run


async def join(store: Store, node_id: str, *, seconds: float = 3600) -> str:
    """Make a node known whose lease lasts *seconds* from the begin; return its id."""
    node = Node(
        node_id=node_id,
        runtime_id=f"runtime-{node_id}",
        name=f"name-{node_id}",
        host="here",
        pid=1,
        pid_started=1,
        started_at=T0,
        lease_until=at(seconds),
    )
    await store.leases.join(node, now=T0)
    return node_id


def agent(name: str, *, node: str | None = "n1", **fields: Any) -> AgentInstance:
    """Return an agent as a runtime registers it."""
    return AgentInstance(
        agent_id=new_id(), name=name, status=AgentStatus.STOPPED, created_at=T0, updated_at=T0, node_id=node, **fields
    )


def change(agent_id: str, verb: AgentVerb, *, node: str = "n1", **fields: Any) -> AgentChange:
    """Return a step of an agent's state machine."""
    return AgentChange(agent_id=agent_id, verb=verb, node_id=node, **fields)


async def start(store: Store, name: str, *, node: str = "n1", now: datetime = T0, **fields: Any) -> str:
    """Register an agent and bring it to running; return its id."""
    agent_id = (await store.agents.register(agent(name, node=node, **fields), now=now)).agent_id
    await store.agents.advance(change(agent_id, AgentVerb.START, node=node), now=now)
    await store.agents.advance(change(agent_id, AgentVerb.STARTED, node=node), now=now)
    return agent_id


def message(data: object = None, *, durable: bool = False, ttl: float | None = None, **fields: Any) -> AgentMessage:
    """Return a message sent at the begin that lives *ttl* seconds."""
    return AgentMessage(
        message_id=new_id(),
        sender_id="sender",
        sender_name="Sender",
        message_type="note",
        data=data,
        timestamp=T0,
        durable=durable,
        expires_at=None if ttl is None else at(ttl),
        **fields,
    )


def events_of(store: Store, event_type: str, **filters: Any) -> list[Event]:
    """Return the events of one type, oldest first."""
    return list(store.events.query(EventFilter(event_type=event_type, oldest_first=True, **filters), 1000))


def kinds(store: Store, after_id: int = 0) -> list[str]:
    """Return the types of all events after an id, oldest first."""
    return [event.event_type for event in store.events.scan(EventFilter(after_id=after_id))]
