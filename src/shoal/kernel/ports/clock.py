"""Time, chance and ids."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

__all__ = ["Clock", "Timer"]


class Timer(Protocol):
    """A call that will happen, and can be called off."""

    def cancel(self) -> None:
        """Call it off."""
        ...


class Clock(Protocol):
    """Time, chance and ids. ``shoal.kernel.clock.RealClock`` is the real one, ``shoal.testing`` has the virtual one."""

    random: random.Random
    virtual: bool  # time passes only when nothing is left to do: then nothing may run in threads of its own

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        ...

    def micros(self) -> int:
        """Return the present as whole microseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that is never set back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for *seconds*."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Sleep until ``monotonic()`` reaches *deadline*."""
        ...

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Return a context that raises TimeoutError after *seconds* (None: never)."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* on the running loop after *seconds*."""
        ...

    def every(self, seconds: float, callback: Callable[[], object], *, name: str) -> Callable[[], None]:
        """Call *callback* every *seconds*, also while the event loop is blocked; returns a function that ends it."""
        ...

    def new_id(self) -> str:
        """Return a new UUID; ids made later sort later."""
        ...
