"""SIGTERM in an agent's own process: the first is a wish that the runtime carries out, the second ends it at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["TERMINATED", "Terminating"]

TERMINATED = 128 + signal.SIGTERM
PATIENCE_SECONDS = 12.0
"""What the runtime has to end the process after the first: its own grace is shorter. A loop that is held up does not ask."""


class Terminating:
    """Hears SIGTERM. While *at_once* is set there is nobody to ask: SystemExit in the main thread, so ``finally`` runs.

    It interrupts whatever runs there, so it takes no lock: the wish is carried out in the loop's next turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ask: Callable[[], object]) -> None:
        self._loop = loop
        self._ask = ask
        self.at_once = True
        signal.signal(signal.SIGTERM, self._heard)

    def _heard(self, _signal: int, _stack: Any) -> None:
        if self.at_once:
            _end()
        self.at_once = True
        if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:  # else the agent's own code uses it
            signal.signal(signal.SIGALRM, _end)
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(self._ask)


def _end(*_: object) -> NoReturn:
    raise SystemExit(TERMINATED)
