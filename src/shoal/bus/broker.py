"""What a server must do for the bus: bring bytes to one node or to all, in order, and say who is not there."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Broker", "BrokerDesk", "Outgoing"]

Outgoing = tuple[str | None, bytes]
"""The session that gets the bytes, None for all of them."""


class BrokerDesk(Protocol):
    """What a broker tells its node, on the event loop."""

    def heard(self, data: bytes) -> None:
        """Take bytes for this session, or for all. What one node sent to this session comes in its order, or not.

        What came of it goes out by :meth:`hurry` or :meth:`wake`, one of which the broker calls next.
        """
        ...

    async def hurry(self) -> None:
        """Send it at once when it is little, else soon."""
        ...

    def wake(self) -> None:
        """Send it soon."""
        ...

    def rang(self, bell: str, note: str) -> None:
        """Hear a bell that another node has rung past this bus."""
        ...

    def gone(self, session: str) -> None:
        """Forget a session that has no connection to the server."""
        ...

    def down(self, reason: str) -> None:
        """Hear that the connection was lost; it is made again by :meth:`Broker.connect`."""
        ...


class Broker(Protocol):
    """One node's connection to a server. At most once: what was on the way when a connection ends may be lost."""

    where: str  # kind and hosts, for errors; never a password

    @property
    def packet_bytes(self) -> int:
        """The most bytes that one packet should have."""
        ...

    def is_prompt(self) -> bool:
        """Tell whether :meth:`carry` has no need to wait for anything with a small packet."""
        ...

    async def connect(self, session: str, desk: BrokerDesk) -> None:
        """Connect, and listen as *session*. Raises BusError."""
        ...

    async def neighbours(self) -> int:
        """Return how many other sessions are there, or at least 1 where only that some are can be known."""
        ...

    async def carry(self, batch: list[Outgoing]) -> None:
        """Send. Raises ConnectionError when the connection was lost."""
        ...

    async def probe(self, session: str) -> None:
        """Have ``desk.gone`` called when the session has no connection any more. Raises ConnectionError."""
        ...

    async def close(self) -> None:
        """Wait until the server has what was sent, and leave it; without effect when the connection was lost."""
        ...
