"""How many requests of a box may be open at once; more wait here until one is answered."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_LONGEST = 1e6  # seconds; threads cannot wait much longer at a time


class Places:
    """A number of places, given out in the order of asking, to threads and coroutines alike."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], object]] = deque()

    def _take_or_wait(self, wake: Callable[[], object] | None) -> bool:
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            if wake is not None:
                self._waiting.append(wake)
            return False

    def take(self, timeout: float | None) -> bool:
        """Take a place; False when none came free within *timeout* seconds."""
        if self._take_or_wait(None):
            return True
        gate = threading.Lock()
        gate.acquire()
        if self._take_or_wait(gate.release):
            return True
        came = gate.acquire(timeout=-1 if timeout is None else min(timeout, _LONGEST))
        return came or not self._gave_up(gate.release)

    async def take_async(self, timeout: float | None) -> bool:
        """Take a place; False when none came free within *timeout* seconds."""
        if self._take_or_wait(None):
            return True
        import asyncio

        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()

        def settle(came: bool) -> None:
            if not turn.done():
                turn.set_result(came)
            elif came:
                self.free()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(settle, True)
            except RuntimeError:  # that loop is closed
                self.free()

        if self._take_or_wait(wake):
            return True
        late = None if timeout is None else loop.call_later(min(timeout, _LONGEST), settle, False)
        try:
            came = await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._gave_up(wake)
            elif turn.result():
                self.free()
            raise
        finally:
            if late is not None:
                late.cancel()
        if not came:
            self._gave_up(wake)  # if a place is given at this moment, ``settle`` gives it back
        return came

    def _gave_up(self, wake: Callable[[], object]) -> bool:
        """Wait no more; False when a place has been given meanwhile."""
        with self._lock:
            try:
                self._waiting.remove(wake)
            except ValueError:
                return False
            return True

    def free(self) -> None:
        """Give a place back, to whoever has waited longest."""
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            wake = self._waiting.popleft()
        wake()
