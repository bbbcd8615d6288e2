"""Keeping a lease while its lock is held."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Protocol, TypeVar

from shoal.errors import LeaseLostError, ShoalError
from shoal.kernel.clock import RealClock

if TYPE_CHECKING:
    from shoal.kernel.ports import Clock, Timer
    from shoal.llm.locks.ledger import Holding, Owner
    from shoal.llm.locks.places import Place

__all__ = ["Renewal", "renew_in_thread", "renew_on_loop", "run_alone"]

log = logging.getLogger("shoal")

T = TypeVar("T")


class Renewal(Protocol):
    """Renews until it is ended."""

    def end(self) -> None:
        """Renew no more."""
        ...


def run_alone(work: Coroutine[object, object, T]) -> T:
    """Run *work* on an event loop of its own, and leave the thread's as it is."""
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(work)
        try:
            return loop.run_until_complete(task)
        except BaseException:  # Ctrl-C, or the thread is interrupted: what was asked for must not stay behind
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
            raise
    finally:
        loop.close()


async def _keep(place: Place, holding: Holding, ttl: float) -> None:
    """Renew once. A lease that is lost is noted; a store that refuses is asked again, while the lease lasts."""
    if _has_ended(holding.owner):  # it never released the lock, and nobody else can
        holding.lost = True
        return
    asked = place.clock.monotonic()
    try:
        holding.lease = await place.keep(holding.lease, ttl)
        holding.ends = asked + ttl
    except LeaseLostError:
        holding.lost = True
    except ShoalError as error:
        log.warning("the lease of %s could not be renewed: %s", holding.lease.name, error)


def _has_ended(owner: Owner) -> bool:
    return owner.done() if isinstance(owner, asyncio.Task) else not owner.is_alive()


class _LoopRenewal:
    """Renews on the event loop of the asyncio task that holds the lock."""

    __slots__ = ("_clock", "_context", "_ended", "_holding", "_loop", "_place", "_task", "_timer", "_ttl")

    def __init__(self, place: Place, holding: Holding, ttl: float) -> None:
        self._place = place
        self._holding = holding
        self._ttl = ttl
        self._loop = asyncio.get_running_loop()
        self._clock = _clock_of(self._loop, place.clock)
        self._context = contextvars.copy_context()
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer = self._clock.call_later(ttl / 3, self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._renew(), name="renew a lock", context=self._context)

    async def _renew(self) -> None:
        await _keep(self._place, self._holding, self._ttl)
        if not self._ended and not self._holding.lost:
            self._timer = self._clock.call_later(self._ttl / 3, self._begin)

    def end(self) -> None:
        """Renew no more; a renewal under way comes before the release in the order of writes."""
        self._ended = True
        self._timer.cancel()


def renew_on_loop(place: Place, holding: Holding, ttl: float) -> Renewal:
    """Renew a lease of *ttl* seconds in good time, on the loop that runs here."""
    return _LoopRenewal(place, holding, ttl)


class _ThreadRenewal:
    """Renews in a thread of its own, for a thread that holds the lock and may be busy."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.end = stop


def renew_in_thread(place: Place, holding: Holding, ttl: float) -> Renewal:
    """Renew a lease of *ttl* seconds in good time, beside the thread that runs here."""
    context = contextvars.copy_context()

    def beat() -> None:
        if holding.lost:
            renewal.end()
        else:
            context.run(run_alone, _keep(place, holding, ttl))

    renewal = _ThreadRenewal(RealClock().every(ttl / 3, beat, name="shoal-lock-renewal"))
    return renewal


_clocks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, RealClock] = weakref.WeakKeyDictionary()


def _clock_of(loop: asyncio.AbstractEventLoop, clock: Clock) -> Clock:
    """Return a clock whose timers are this loop's alone."""
    if clock.virtual:
        return clock
    own = _clocks.get(loop)
    if own is None:
        own = _clocks[loop] = RealClock()
    return own
