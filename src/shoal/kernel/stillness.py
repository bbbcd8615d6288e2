"""What a node does that cannot renew its lease stands still before it ends: others may be doing it from then on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from shoal.errors import AgentPauseError
from shoal.kernel.env import LOOKS, Env

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.registration import Registration

__all__ = ["Stillness"]

log = logging.getLogger("shoal")

MARGIN = 8
"""This part of its lease before its end, code is told to stand: time for it to come to its next await."""


class Stillness:
    """Holds agents that work on tasks, and singletons, while the node's lease is nearly over or over, and not known to be
    lost.

    Code that makes no call of its context would not hear otherwise that its node is cut off, and go on with what another
    node has begun anew. A heartbeat that reaches the store lets all go on from where they stood; time limits stand still
    meanwhile, too. Agents that only answer messages go on answering: nobody else answers for them.
    """

    def __init__(self, env: Env, alive: Callable[[], Iterable[Registration]]) -> None:
        self._env = env
        self._alive = alive
        self._holding: dict[Cell, asyncio.Task[None]] = {}  # those that were told to stand

    def start(self) -> None:
        """Begin to look."""
        self._env.every(self._env.settings.lease_seconds / LOOKS, self._look, "look at the lease")

    async def _look(self) -> None:
        env = self._env
        if env.lost or env.lease_until is None:
            return
        margin = env.settings.lease_seconds / MARGIN
        if env.clock.now() + timedelta(seconds=margin) >= env.lease_until:
            self._stand(margin)
        elif self._holding:
            await self._go_on()

    def _stand(self, seconds: float) -> None:
        env = self._env
        for registration in self._alive():
            cell = registration.cell
            if cell is None or cell.paused or cell.dead or cell.time.held:
                continue
            if not cell.attempts and not registration.options.singleton:
                continue
            if not self._holding:
                log.error("node %s cannot renew its lease: its work stands still until it can", env.node_id)
            cell.time.hold()
            self._holding[cell] = env.spawn(self._hold(cell, seconds), f"let {cell.name} stand still")

    async def _hold(self, cell: Cell, seconds: float) -> None:
        try:
            await cell.hold(seconds)
        except AgentPauseError as error:
            log.error("%s; what it does now another node may be doing, too", error)

    async def _go_on(self) -> None:
        holding, self._holding = self._holding, {}
        await asyncio.wait(holding.values())
        if self._env.lost:
            return
        log.warning("node %s has renewed its lease: its work goes on", self._env.node_id)
        for cell in holding:
            if cell.time.held and not cell.paused:
                cell.handle.release()
                cell.time.go_on()
