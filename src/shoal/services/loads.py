"""How busy services are, told among nodes by a bell: as long as there is something to tell, and never by a write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from shoal.services.known import Known

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["Loads"]

BELL = "services.load"
TELL_SECONDS = 0.5
IN_A_NOTE = 50
"""So many loads stand in one note: what carries bells may take no more than some thousand characters."""


class Loads:
    """Tells other nodes the loads of this one's services, and hears theirs.

    What lasts is told again each time, and what is not heard again is soon believed no more: so a lost bell does no harm.
    """

    def __init__(self, env: Env, known: Mapping[str, Known]) -> None:
        self._env = env
        self._known = known
        self._told: set[str] = set()  # whose load was not 0 when it was told last
        self._begun = False

    def listen(self) -> Callable[[], None]:
        """Hear other nodes; returns an undo."""
        return self._env.bus.hear(BELL, self._heard)

    def begin(self) -> None:
        """Begin to tell; again does nothing."""
        if not self._begun:
            self._begun = True
            self._env.every(TELL_SECONDS, self.tell, "loads of services")

    async def tell(self) -> None:
        """Tell the loads that are not 0, or were not when they were told last."""
        now = self._env.clock.monotonic()
        loads = {agent_id: load for agent_id, load in self._here(now) if load or agent_id in self._told}
        self._told = {agent_id for agent_id, load in loads.items() if load}
        words = [f"{agent_id} {load:.4g}" for agent_id, load in loads.items()]
        for start in range(0, len(words), IN_A_NOTE):
            self._env.bus.ring(BELL, " ".join(words[start : start + IN_A_NOTE]))

    def _here(self, now: float) -> Iterator[tuple[str, float]]:
        for agent_id, known in self._known.items():
            if known.registration is not None:
                yield agent_id, known.load(now)

    def _heard(self, note: str) -> None:
        words, now = note.split(" "), self._env.clock.monotonic()
        for agent_id, load in zip(words[::2], words[1::2], strict=False):
            known = self._known.get(agent_id)
            if known is not None and known.registration is None:
                known.told = (float(load), now)
