"""Not asking for a while whoever has failed again and again."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from shoal.errors import CircuitOpen, RequestError
from shoal.kernel.ports import Clock
from shoal.kernel.starting import present_clock
from shoal.services import codes

__all__ = ["CircuitBreaker", "Permit", "verdict"]

FAILURES = frozenset({codes.AGENT_DIED, codes.TIMEOUT, codes.EXECUTION_ERROR})
"""What shows that whoever was asked is not well."""

NO_ANSWER = frozenset(
    {
        codes.BULKHEAD_FULL,
        codes.CANCELLED,
        codes.CHAIN_TOO_DEEP,
        codes.CIRCUIT_OPEN,
        codes.DEADLOCK,
        codes.DRAINING,
        codes.MAILBOX_FULL,
        codes.POOL_FULL,
        codes.RATE_LIMITED,
        codes.TOO_LARGE,
        codes.TYPE_NOT_ALLOWED,
    }
)
"""What shows nothing: the request never came to the code that it was for."""


def verdict(error: BaseException | None) -> bool | None:
    """Return what the end of a call says of whoever was called: True well, False not, None nothing.

    A RequestError says it by its code: death, time-out and EXECUTION_ERROR are failures, any other answer is one. Other
    exceptions are failures; a cancellation says nothing.
    """
    if error is None:
        return True
    if isinstance(error, RequestError):
        if error.code in FAILURES:
            return False
        return None if error.code in NO_ANSWER else True
    return False if isinstance(error, Exception) else None


class Permit:
    """One call that the breaker has let pass. ``ended`` tells how it went, once."""

    __slots__ = ("_breaker", "_era", "_open")

    def __init__(self, breaker: CircuitBreaker, era: int) -> None:
        self._breaker = breaker
        self._era = era
        self._open = True

    def ended(self, well: bool | None) -> None:
        """Tell the breaker: True it went well, False it failed, None nobody knows."""
        if self._open:
            self._open = False
            self._breaker._ended(self._era, well)


class CircuitBreaker:
    """Lets calls pass until too many fail in a row; then refuses at once; then tries again (Nygard, Release It!, 2007).

    closed: calls pass. *failure_threshold* failures in a row, within *window* seconds, open it. open: calls are refused
    with CircuitOpen for *recovery_timeout* seconds. half_open: *half_open_max_calls* calls at a time may try; the first
    that goes well closes it, one that fails opens it again. What a call says that began in an earlier state counts no more.

    Args:
        failure_threshold: failures in a row.
        recovery_timeout: seconds that it stays open.
        half_open_max_calls: trials at a time.
        window: seconds within which the failures in a row must lie.
        clock: default: that of the runtime around the call.

    Raises:
        ValueError: a number is not positive.
    """

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 30.0,
        half_open_max_calls: int = 1,
        window: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        for name, value in (
            ("failure_threshold", failure_threshold),
            ("recovery_timeout", recovery_timeout),
            ("half_open_max_calls", half_open_max_calls),
            ("window", window),
        ):
            if not value > 0:
                raise ValueError(f"{name} must be positive, not {value!r}")
        self._clock = clock
        self._recovery = recovery_timeout
        self._trials_at_once = half_open_max_calls
        self._window = window
        self._failed_at: deque[float] = deque(maxlen=failure_threshold)
        self._opened_at: float | None = None  # None: closed
        self._trials = 0
        self._era = 0  # counts openings and closings: what began in another one says nothing of this one
        self._entered: dict[asyncio.Task[Any] | None, list[Permit]] = {}  # of blocks; many are within at a time

    @property
    def state(self) -> str:
        """closed, open or half_open."""
        if self._opened_at is None:
            return "closed"
        return "half_open" if self._left() <= 0 else "open"

    def allows(self) -> bool:
        """Tell whether a call would pass now."""
        if self._opened_at is None:
            return True
        return self._trials < self._trials_at_once and self._left() <= 0

    def enter(self) -> Permit:
        """Let a call pass, whose end is told to the permit. Raises CircuitOpen."""
        if self._opened_at is not None:
            self._try()
        return Permit(self, self._era)

    async def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Return ``fn(*args)``, awaited if there is something to await. Raises CircuitOpen, and what it raises."""
        permit = self.enter()
        try:
            value = fn(*args)
            value = await value if inspect.isawaitable(value) else value
        except BaseException as error:
            permit.ended(verdict(error))
            raise
        permit.ended(True)
        return value

    async def __aenter__(self) -> CircuitBreaker:
        """Let the block pass. Raises CircuitOpen."""
        permit = self.enter()
        self._entered.setdefault(asyncio.current_task(), []).append(permit)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Note how the block ended."""
        task = asyncio.current_task()
        within = self._entered[task]
        within.pop().ended(verdict(error))
        if not within:
            del self._entered[task]

    def reset(self) -> None:
        """Close it and forget all failures."""
        self._opened_at = None
        self._begin_era()

    def _left(self) -> float:
        """Return the seconds until it may be tried."""
        assert self._opened_at is not None
        return self._opened_at + self._recovery - self._now()

    def _now(self) -> float:
        return (self._clock or present_clock()).monotonic()

    def _try(self) -> None:
        left = self._left()
        if left > 0:
            raise CircuitOpen(f"it is tried again in {left:.3g} s", {"retry_after": left})
        if self._trials >= self._trials_at_once:
            raise CircuitOpen("it is being tried just now")
        self._trials += 1

    def _ended(self, era: int, well: bool | None) -> None:
        if era != self._era:
            return
        if self._opened_at is not None:
            self._trials -= 1
            if well:
                self.reset()
            elif well is False:
                self._open()
        elif well:
            self._failed_at.clear()
        elif well is False:
            self._note_failure()

    def _note_failure(self) -> None:
        now = self._now()
        self._failed_at.append(now)
        if len(self._failed_at) == self._failed_at.maxlen and now - self._failed_at[0] <= self._window:
            self._open()

    def _open(self) -> None:
        self._opened_at = self._now()
        self._begin_era()

    def _begin_era(self) -> None:
        self._failed_at.clear()
        self._trials = 0
        self._era += 1
