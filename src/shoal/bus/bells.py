"""Bells: wake-ups that are heard once per turn of the event loop, however often they ring."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from shoal.errors import ShoalError

__all__ = ["Bells", "Rang"]

_log = logging.getLogger("shoal.bus")
Rang = tuple[str, str]


class Bells:
    """The hearers of one node, and what rang in the present turn."""

    def __init__(self, carry: Callable[[list[Rang]], object]) -> None:
        """*carry* brings what rang here to the other nodes, once a turn."""
        self._carry = carry
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hearers: dict[str, dict[object, Callable[[str], object]]] = {}
        self._rang: dict[Rang, None] = {}  # for the hearers of this node
        self._to_carry: dict[Rang, None] = {}  # to the other nodes
        self._sounds = False  # at the end of this turn

    def open(self) -> None:
        """Begin to ring, on the running loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Ring what rang in this turn, then no more."""
        self._sound()
        self._loop = None
        self._hearers.clear()

    def ring(self, bell: str, note: str, here: bool) -> None:
        """Wake the hearers of every node, with *here* those of this one as well; without effect while closed."""
        if self._loop is not None:
            self._sound_soon(self._loop)
            self._to_carry[(bell, note)] = None
            if here:
                self._rang[(bell, note)] = None

    def rang_elsewhere(self, rings: Iterable[Rang]) -> None:
        """Wake the hearers of this node."""
        if self._loop is not None:
            self._sound_soon(self._loop)
            self._rang.update(dict.fromkeys(rings))

    def _sound_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._sounds:
            self._sounds = True
            loop.call_soon(self._sound)

    def hear(self, bell: str, callback: Callable[[str], object]) -> Callable[[], None]:
        """Add a hearer; returns an undo."""
        key = object()
        self._hearers.setdefault(bell, {})[key] = callback

        def undo() -> None:
            hearers = self._hearers.get(bell, {})
            hearers.pop(key, None)
            if not hearers:
                self._hearers.pop(bell, None)

        return undo

    def _sound(self) -> None:
        self._sounds = False
        rang, self._rang = self._rang, {}
        if self._to_carry:
            ours, self._to_carry = list(self._to_carry), {}
            self._carry(ours)
        for bell, note in rang:
            for key, hearer in list(self._hearers.get(bell, {}).items()):
                if key not in self._hearers.get(bell, {}):
                    continue  # undone by a hearer before it
                try:
                    hearer(note)
                except Exception as error:  # noqa: BLE001 - logged; the others shall hear all the same
                    trace = None if isinstance(error, ShoalError) else error
                    _log.error("a hearer of the bell %r raised: %s", bell, error, exc_info=trace)
