"""Finds out when an agent's code holds the event loop, and says where."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from shoal.kernel.event import EventType, Fact
from shoal.kernel.ports import Timer

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["Watchdog"]

BEAT_SECONDS = 0.25
BLOCKED_SECONDS = 1.0


class Watchdog:
    """The loop beats, a thread looks whether it still does. A blocked loop is told of, never interrupted."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._beat = 0.0
        self._told = False
        self._thread = 0
        self._timer: Timer | None = None

    def start(self) -> Callable[[], None]:
        """Begin; returns what ends it."""
        self._thread = threading.get_ident()
        self._tick()
        end = self._env.clock.every(BEAT_SECONDS, self._look, name="shoal-watchdog")

        def stop() -> None:
            end()
            if self._timer is not None:
                self._timer.cancel()

        return stop

    def _tick(self) -> None:
        self._beat = self._env.clock.monotonic()
        self._told = False
        self._timer = self._env.clock.call_later(BEAT_SECONDS, self._tick)

    def _look(self) -> None:
        late = self._env.clock.monotonic() - self._beat
        loop = self._env.loop
        if late < BLOCKED_SECONDS or self._told or loop is None or threading.get_ident() == self._thread:
            return
        self._told = True
        frame = sys._current_frames().get(self._thread)
        stack = "".join(traceback.format_stack(frame))[-8192:] if frame is not None else ""
        loop.call_soon_threadsafe(self._tell, stack, late, self._env.clock.now())

    def _tell(self, stack: str, late: float, at: datetime) -> None:
        fact = Fact(
            event_type=EventType.LOOP_BLOCKED,
            node_id=self._env.node_id,
            details={
                "seconds": round(late, 3),
                "stack": stack,
                "advice": "run this agent with isolation='thread' or 'process', or let it await",
            },
        )
        self._env.spawn(self._append(fact, at), "loop blocked")

    async def _append(self, fact: Fact, at: datetime) -> None:
        await self._env.store.events.append([fact], now=at)
