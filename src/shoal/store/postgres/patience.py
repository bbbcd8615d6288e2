"""How long whoever writes waits for a server that is away, or that does not answer."""

from __future__ import annotations

import math

from shoal.kernel.clock import RealClock

__all__ = ["Patience"]

_SECONDS = 10.0  # whoever waits is told then that the server is away
_REST_SECONDS = 2.0  # in which a server answers that is there, though the time is over
_LEAST_SECONDS = 0.5  # the same for each of the words that come later still
_MOST_SECONDS = 60.0  # beyond what any statement may take


class Patience:
    """Each write has its own, until all of them together have to ``hurry``."""

    def __init__(self) -> None:
        self._now = RealClock().monotonic
        self._ends = math.inf
        self.hurried = False

    def hurry(self, seconds: float) -> None:
        """Let all writes together wait for *seconds* from now; those that come later are tried once. From any thread; the
        last call counts."""
        self._ends = self._now() + seconds
        self.hurried = True

    def begin(self) -> float:
        """Return when a write begins, for ``is_over``."""
        return self._now()

    def is_over(self, begun: float) -> bool:
        """Tell whether a write that began at *begun* is tried no more."""
        return self._now() > min(begun + _SECONDS, self._ends)

    @property
    def rest(self) -> float:
        """For how many seconds an answer that is waited for now may still be waited for."""
        return min(_MOST_SECONDS, max(_LEAST_SECONDS, self._ends + _REST_SECONDS - self._now()))
