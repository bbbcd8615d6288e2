"""What goes out to the server: gathered in one turn of the loop, carried together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from shoal.bus.bells import Rang
from shoal.bus.broker import Broker, Outgoing
from shoal.bus.member import Member
from shoal.bus.packets import SPARE_BYTES, Rung, written

__all__ = ["Outbox"]

_log = logging.getLogger("shoal.bus")
_MOST_RINGS = 10_000
_LITTLE_BYTES = 64 * 1024


class Outbox:
    """Members with something to say, bells and notes, until the writer has carried them."""

    def __init__(self, broker: Broker, counts: Counter[str]) -> None:
        self._broker = broker
        self.counts = counts
        self._wake = asyncio.Event()
        self._dirty: dict[Member, None] = {}
        self._rings: dict[Rang, None] = {}
        self._notes: list[Outgoing] = []

    def member(self, member: Member) -> None:
        """Send what a member has, when the writer is woken."""
        self._dirty[member] = None

    def wake(self) -> None:
        """Wake the writer, if there is something."""
        if self._dirty or self._notes or self._rings:
            self._wake.set()

    def note(self, session: str | None, data: bytes) -> None:
        """Send a note to one session, or to all."""
        self._notes.append((session, data))
        self._wake.set()

    def ring(self, rings: list[Rang]) -> None:
        """Send bells; those beyond what may wait are lost, and counted."""
        room = _MOST_RINGS - len(self._rings)
        self._rings.update(dict.fromkeys(rings[:room]))
        self.counts["rings_lost"] += len(rings) - min(len(rings), room)
        self._wake.set()

    def clear(self) -> None:
        """Forget all: the connection was lost."""
        self._dirty.clear()
        self._rings.clear()
        self._notes.clear()

    async def filled(self) -> None:
        """Wait until there may be something."""
        await self._wake.wait()
        self._wake.clear()

    def is_little(self) -> bool:
        """Tell whether there is one small packet and nothing else."""
        if len(self._dirty) != 1 or self._notes or self._rings:
            return False
        return next(iter(self._dirty)).unsent <= _LITTLE_BYTES

    def taken(self, session: str) -> list[Outgoing]:
        """Return what is to be sent now, by *session*."""
        batch, self._notes = self._notes, []
        dirty, self._dirty = self._dirty, {}
        size = self._broker.packet_bytes
        for member in dirty:
            batch += [(member.session, packet) for packet in member.packets(size)]
        if self._rings:
            rings, self._rings = self._rings, {}
            batch += [(None, written(Rung(session, part))) for part in self._parts(list(rings), size - SPARE_BYTES)]
        return batch

    def _parts(self, rings: list[Rang], most: int) -> list[list[Rang]]:
        parts: list[list[Rang]] = [[]]
        filled = 0
        for bell, note in rings:
            size = 16 + len(bell.encode()) + len(note.encode())
            if size > most:
                self.counts["rings_lost"] += 1
                _log.warning("the bell %r is lost: its note of %d bytes is larger than a packet", bell, len(note))
                continue
            if filled + size > most:
                parts.append([])
                filled = 0
            parts[-1].append((bell, note))
            filled += size
        return [part for part in parts if part]
