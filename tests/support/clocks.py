"""Machines whose wall clocks are wrong."""

from __future__ import annotations

from datetime import datetime, timedelta

from shoal.kernel.clock import RealClock

__all__ = ["WrongClock"]


class WrongClock(RealClock):
    """A machine whose wall clock is *ahead* seconds ahead; it may be set meanwhile."""

    def __init__(self, ahead: float) -> None:
        super().__init__()
        self.ahead = ahead

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)

    def micros(self) -> int:
        return super().micros() + round(self.ahead * 1_000_000)
