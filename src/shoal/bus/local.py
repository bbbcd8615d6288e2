"""The local bus: within one process by plain calls, and by Unix sockets to the other nodes on the same store."""

from __future__ import annotations

from pathlib import Path

from shoal.bus.bells import Bells
from shoal.bus.node import NodeBus
from shoal.bus.peers import Peers
from shoal.bus.seats import Seats
from shoal.kernel.ports import Clock

__all__ = ["LocalBus"]


class LocalBus(NodeBus):
    """The bus of ``local://``."""

    def __init__(self, clock: Clock, folder: Path | None = None) -> None:
        """*folder* is where the nodes on one store meet; None keeps the bus within this object."""

        def others(seats: Seats, bells: Bells) -> Peers | None:
            return Peers(folder, seats, bells, clock) if folder is not None else None

        super().__init__(clock, others)
