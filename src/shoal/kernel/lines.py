"""Standing in line: first come, first served, across the event loops and threads of one process."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from shoal.kernel.ports.clock import Clock

__all__ = ["Lines"]


class _Turn:
    """One who waits, on the event loop on which he does so."""

    __slots__ = ("future", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def give(self) -> None:
        """Let him in. On his loop."""
        if not self.future.done():
            self.future.set_result(None)


class Lines:
    """A line for each name. Invariant: a name is in ``_waiting`` exactly while somebody is in, and his successors wait."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[str, deque[_Turn]] = {}

    def occupied(self, name: str) -> bool:
        """Tell whether somebody of this process is in."""
        return name in self._waiting

    def try_enter(self, name: str) -> bool:
        """Go in if nobody is."""
        with self._guard:
            if name in self._waiting:
                return False
            self._waiting[name] = deque()
            return True

    async def enter(self, name: str, clock: Clock, deadline: float | None) -> bool:
        """Wait for one's turn until *deadline* (monotonic; None: for ever); False when it did not come."""
        with self._guard:
            waiting = self._waiting.get(name)
            if waiting is None:
                self._waiting[name] = deque()
                return True
            turn = _Turn()
            waiting.append(turn)
        try:
            async with clock.timeout(None if deadline is None else max(0.0, deadline - clock.monotonic())):
                await turn.future
        except TimeoutError:
            return not self._step_out(name, turn)  # else he was let in at that very moment
        except asyncio.CancelledError:
            if not self._step_out(name, turn):
                self.leave(name)
            raise
        return True

    def _step_out(self, name: str, turn: _Turn) -> bool:
        """Wait no longer; False when the turn was given already."""
        with self._guard:
            waiting = self._waiting.get(name)
            if waiting is None or turn not in waiting:
                return False
            waiting.remove(turn)
            return True

    def leave(self, name: str) -> None:
        """Let the next one in. From any thread."""
        while True:
            with self._guard:
                waiting = self._waiting[name]
                if not waiting:
                    del self._waiting[name]
                    return
                turn = waiting.popleft()
            try:
                turn.loop.call_soon_threadsafe(turn.give)
            except RuntimeError:  # his loop is closed: he waits no more
                continue
            return
