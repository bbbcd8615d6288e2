"""The heartbeat of a node: it prolongs its lease, and tells how busy it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shoal.errors import StoreError

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["Heartbeat", "renew_lease"]

log = logging.getLogger("shoal")

BEATS = 4
"""So often in the time of a lease it is prolonged."""
TRIES = 4
"""So often between two beats one that failed is tried again: a server may be there for a short while only."""


class Heartbeat:
    """Beats outside the event loop, so that a blocked loop loses no lease.

    Args:
        env: what the rooms of the node share.
        busy: tells the load of the machine (a share) and how many agents are alive.
        lost: called, on the loop, when the store says that the lease was lost.
    """

    def __init__(self, env: Env, busy: Callable[[], tuple[float, int]], lost: Callable[[], object]) -> None:
        self._env = env
        self._busy = busy
        self._lost = lost
        self._due = 0.0  # by the monotonic clock
        self._fails = False

    def start(self) -> Callable[[], None]:
        """Begin to beat, after a join; returns what ends it."""
        env = self._env
        self._next(env.clock.monotonic())
        return env.clock.every(self._tick, self._look, name="shoal-heartbeat")

    @property
    def _tick(self) -> float:
        return self._env.settings.lease_seconds / (BEATS * TRIES)

    def _next(self, begun: float) -> None:
        self._due = begun + (TRIES - 0.5) * self._tick  # ticks come a moment too early or too late

    def _look(self) -> None:
        begun = self._env.clock.monotonic()
        if begun >= self._due and self._beat():
            self._next(begun)

    def _beat(self) -> bool:
        """Beat; False when it is to be tried again soon."""
        env = self._env
        try:
            alive = renew_lease(env, *self._busy())
        except Exception as error:  # whatever it is: the next try may do
            if not self._fails:
                trace = None if isinstance(error, StoreError) else error
                log.error("the heartbeat of node %s failed, and is tried again: %s", env.node_id, error, exc_info=trace)
            self._fails = True
            return False
        self._fails = False
        if not alive and not env.lost and env.loop is not None:
            env.loop.call_soon_threadsafe(self._lost)
        return True


def renew_lease(env: Env, load: float, agents: int) -> bool:
    """Prolong the lease of a node and tell how busy it is; False when it was lost. Blocks; not on the loop.

    A heartbeat puts the clock right. When it was wrong, the lease's end is said once more, by the right one.
    """
    lease = timedelta(seconds=env.settings.lease_seconds)
    steady = env.clock.monotonic()
    alive, until, moved = _renewed(env, lease, load, agents)
    if alive and abs(moved) > lease / 100:
        alive, until, moved = _renewed(env, lease, load, agents)
    if alive:
        env.lease_steady = steady + env.settings.lease_seconds
        env.lease_until = until + min(moved, timedelta())
    return alive


def _renewed(env: Env, lease: timedelta, load: float, agents: int) -> tuple[bool, datetime, timedelta]:
    """Beat once; return whether the lease is held, until when, and how far the clock was put right by it."""
    clock = env.clock
    steady, now = clock.monotonic(), clock.now()
    alive = env.store.leases.heartbeat(env.node_id, until=now + lease, load=load, agents=agents)
    return alive, now + lease, clock.now() - now - timedelta(seconds=clock.monotonic() - steady)
