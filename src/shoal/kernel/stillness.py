"""What a node does that cannot renew its lease stands still before that ends: others may be doing it from then on."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from shoal.errors import AgentPauseError
from shoal.kernel.clock import epoch
from shoal.kernel.env import LOOKS, Env
from shoal.kernel.ports import Clock

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.registration import Registration

__all__ = ["ALWAYS", "Good", "Stillness", "good_until", "nearly_over", "renewed"]

log = logging.getLogger("shoal")

MARGIN = 8
"""This part of its lease before its end, code is told to stand: time for it to come to its next await."""


class Good(NamedTuple):
    """Until when something may begin: in microseconds since 1970, and by the monotonic clock. Whichever comes first: the
    one may be set back, and the other stands still while a machine is suspended."""

    micros: int
    steady: float

    def is_over(self, clock: Clock) -> bool:
        """Tell whether that is over."""
        return clock.micros() >= self.micros or clock.monotonic() >= self.steady


ALWAYS = Good(sys.maxsize, math.inf)


def good_until(env: Env) -> Good:
    """Return until when something may begin under the node's lease, as far as the node knows."""
    if env.lease_until is None:
        return ALWAYS
    margin = env.settings.lease_seconds / MARGIN
    return Good(epoch(env.lease_until) - round(margin * 1_000_000), env.lease_steady - margin)


def nearly_over(env: Env) -> bool:
    """Tell whether the node's lease is nearly over, or over: nothing is to begin until it is renewed."""
    return good_until(env).is_over(env.clock)


async def renewed(env: Env) -> None:
    """Return when the node's lease holds and is not nearly over: at once, or when a heartbeat has said so.

    Raises LeaseLostError when it is lost.
    """
    while env.lost or nearly_over(env):
        env.check_lease(known=True)
        await env.clock.sleep(env.settings.lease_seconds / LOOKS)


class Stillness:
    """Holds agents that work on tasks, and singletons, while the node's lease is nearly over or over, and not known to be
    lost.

    Code that makes no call of its context would not hear otherwise that its node is cut off, and go on with what another
    node has begun anew. A heartbeat that reaches the store lets all go on from where they stood; time limits stand still
    meanwhile, too. Agents that only answer messages go on answering: nobody else answers for them.

    Runs that the node carries out are not held, since they need not be: what they do to the world they do in steps, and
    none begins, and none that was done gives its result to the code after it, before the lease is known to hold and the run
    to be this node's (``Pen.sure``). What is within a step at that time ends; if another node takes the run up, it makes
    that one call again, as after a crash.
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
        if nearly_over(env):
            self._stand(env.settings.lease_seconds / MARGIN)
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
