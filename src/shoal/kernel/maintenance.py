"""The sweeps of a node: what makes a lost bell cost one poll interval, and what removes what is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.node import Node
    from shoal.kernel.waiting import Waiting

__all__ = ["Maintenance"]

RESCUE_EVERY_SECONDS = 0.25
PRUNE_EVERY_SECONDS = 600.0
EXPIRE_EVERY_SECONDS = 10.0
EXPIRE_AT_ONCE = 1000
PIECES_APART_SECONDS = 0.05
"""What may be much is done in small pieces, so that nobody waits behind it."""
LOOK_ALL_THE_SAME = 10
"""After so many polls the store is looked at even when it says that nothing has changed."""


class Maintenance:
    """Runs each sweep on its own beat; one that fails is logged and comes again."""

    def __init__(self, env: Env, node: Node, waiting: Waiting) -> None:
        self._env = env
        self._node = node
        self._waiting = waiting
        self._sweeps: list[asyncio.Task[Any]] = []
        self._polls = 0
        self._behind = False  # something was committed at which this node has not looked yet

    def start(self) -> None:
        """Begin."""
        env = self._env
        every = env.every
        self._sweeps = [
            every(env.settings.poll_seconds, self._poll, "poll"),
            every(1.0, self._second, "second"),
            every(min(RESCUE_EVERY_SECONDS, env.settings.lease_seconds / 4), self._rescue, "rescue"),
            every(EXPIRE_EVERY_SECONDS, self._expire, "expire"),
            every(PRUNE_EVERY_SECONDS, self._prune, "prune"),
        ]

    def stop(self) -> None:
        """End."""
        for sweep in self._sweeps:
            sweep.cancel()
        self._sweeps = []

    async def _poll(self) -> None:
        """Hear of what other nodes committed, also when their bell was lost."""
        env, node = self._env, self._node
        self._polls += 1
        store, aside = env.store, env.store.aside
        if await aside(store.changed) or self._polls % LOOK_ALL_THE_SAME == 0:
            self._behind = True
        if self._behind:
            await self._waiting.look()
            await node.scheduler.look()
            node.groups.look()
            node.events.wake()
            node.shared.wake()
            await node.runs.look()
            self._behind = False  # else the store was away meanwhile: the next poll looks
        now = env.clock.now()
        if await aside(lambda: store.tasks.claimable(now=now)):
            node.scheduler.kick()
        cells = list(node.post.cells)
        for agent_id in await aside(lambda: store.mail.due(cells, now=now)):
            node.post.mail_waits(agent_id)

    async def _rescue(self) -> None:
        await self._node.takeover.look()
        self._node.look_around(self._node.takeover.nodes)

    async def _second(self) -> None:
        self._node.load.sample()
        for cell in list(self._node.post.cells.values()):
            if not cell.paused:
                cell.inbox.mailbox.sweep()

    async def _expire(self) -> None:
        env = self._env
        while await env.store.mail.expire(now=env.clock.now(), limit=EXPIRE_AT_ONCE) == EXPIRE_AT_ONCE:
            await env.clock.sleep(PIECES_APART_SECONDS)
        known = {word for registration in self._node.registrations.values() for word in registration.targets}
        for agent in await env.store.aside(env.store.agents.search):
            known.update(f"capability:{word.casefold()}" for word in agent.capabilities)
            known.update(f"group:{group}" for group in agent.groups)
        await env.store.tasks.unroutable(sorted(known), now=env.clock.now())

    async def _prune(self) -> None:
        env = self._env
        if env.settings.retention_days is None:
            return
        before = env.clock.now() - timedelta(days=env.settings.retention_days)
        while any((await env.store.prune(before)).values()):
            await env.clock.sleep(PIECES_APART_SECONDS)
