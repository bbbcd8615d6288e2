"""SIGINT and SIGTERM for those who end in order: the first asks for it, the second ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from types import FrameType
from typing import Any, Self

__all__ = ["Signals"]

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_KILLED = 128


class Signals:
    """Hears SIGINT and SIGTERM while it is entered, also while the event loop is held up.

    The first one sets *asked*; the second ends the process with exit code 128 + its number, whatever runs in it. Several
    in one program hear each signal all: who begins to hear passes on to whom it finds hearing, so nothing is kept
    between them.
    """

    def __init__(self, asked: asyncio.Event) -> None:
        self._asked = asked
        self._loop = asyncio.get_running_loop()
        self._before: dict[int, Any] = {}
        self._hears = False
        self._heard = False

    def __enter__(self) -> Self:
        """Begin to hear. Raises RuntimeError outside of the main thread, where Python hears no signals."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("signals are heard in the main thread only: wait there, or call the stop yourself")
        self._hears = True
        for number in _NUMBERS:
            self._before[number] = signal.signal(number, self)
        return self

    def __exit__(self, *failure: object) -> None:
        self._hears = False
        for number in _NUMBERS:
            hears: Any = signal.getsignal(number)
            if hears is self:
                signal.signal(number, self._next(number))

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Hear a signal."""
        following = self._next(number)
        if isinstance(following, Signals):
            following(number, frame)
        if not self._hears:
            return
        if self._heard:
            os._exit(_KILLED + number)
        self._heard = True
        self._loop.call_soon_threadsafe(self._asked.set)

    def _next(self, number: int) -> Any:
        """Return who hears after this one: another that still does, or what was there before all of them."""
        following = self._before[number]
        while isinstance(following, Signals) and not following._hears:
            following = following._before[number]
        return following
