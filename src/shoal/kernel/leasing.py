"""Waiting for leases on names, and giving them back: first come, first served, on one node and among the nodes of a store.

Within a process those who want a name stand in a line of its own; the first of them stands in the store's line, with the
first ones of other processes. Who gives a name back rings the bell ``lease`` where there is a bus; who waits looks all the
same now and then, for a lost bell, a store without a bus, or a holder that died.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import msgspec

from shoal.errors import StoreError
from shoal.kernel.lines import Lines
from shoal.kernel.ports import Bus, Clock, Lease, Leases, Store

__all__ = ["LOCK_PREFIX", "Granted", "Leasing", "leasing_of", "lock_name"]

log = logging.getLogger("shoal")

BELL = "lease"
LOCK_PREFIX = "lock:"
"""Begins the names of locks, so that they cannot clash with leases of the runtime's own."""
STAND_SECONDS = 1.0
"""How long a place in the store's line is kept for one who does not ask again: he may have died."""
ASK_SECONDS = 0.4
"""How often one who waits asks again, and so keeps his place."""
PAUSE_SECONDS = (0.001, 0.004)
"""How long to wait before looking again, at first and at most."""
PAUSE_WITH_BELL_SECONDS = (0.02, 0.1)


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a wish for a name: the lease, or None and who had it when the time was over."""

    lease: Lease | None
    waited: bool
    holder: str = ""


class _Wake:
    """Wakes the one of this process who stands in the store's line for a name. From any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._rang = asyncio.Event()

    def ring(self) -> None:
        with suppress(RuntimeError):  # its loop is closed: nobody waits there
            self._loop.call_soon_threadsafe(self._rang.set)

    async def wait(self, seconds: float) -> bool:
        """Wait for it at most *seconds*; True when it came."""
        try:
            async with self._clock.timeout(seconds):
                await self._rang.wait()
        except TimeoutError:
            return False
        self._rang.clear()
        return True


class Leasing:
    """Takes, renews and gives back leases on names. From any event loop of the process.

    An *owner* is text that names one wish, never used again: two wishes of one owner would be taken for one.
    """

    def __init__(self, leases: Leases, clock: Clock) -> None:
        self._leases = leases
        self.clock = clock
        self._lines = Lines()
        self._wakes: dict[str, _Wake] = {}  # by name: only the first of a line stands in the store's
        self._ring: Callable[[str], object] | None = None

    def connect(self, bus: Bus) -> Callable[[], None]:
        """Ring and hear the bell of *bus*, which belongs to the running loop; returns an undo."""
        unhear = bus.hear(BELL, self._wake)
        self._ring = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, bus.ring, BELL)

        def undo() -> None:
            self._ring = None
            unhear()

        return undo

    async def acquire(self, name: str, owner: str, ttl: float, timeout: float | None) -> Granted:
        """Take *name* for *ttl* seconds, waiting at most *timeout* seconds for it (None: for ever; 0: not at all)."""
        begun = self.clock.monotonic()
        deadline = None if timeout is None else begun + timeout
        if not await self._lines.enter(name, self.clock, deadline):
            return self._refused(name, owner)
        try:
            return await self._stand(name, owner, ttl, deadline)
        except asyncio.CancelledError:
            with suppress(StoreError):  # a store that is closed, or gives nothing, holds nothing up
                self._withdraw(name, owner)
            raise
        finally:
            self._lines.leave(name)

    async def _stand(self, name: str, owner: str, ttl: float, deadline: float | None) -> Granted:
        waited = False
        wake = self._wakes[name] = _Wake(self.clock)
        try:
            while True:
                now = self.clock.now()
                left = None if deadline is None else deadline - self.clock.monotonic()
                stays = left is None or left > 0
                lease = await self._leases.acquire(
                    name,
                    owner,
                    now=now,
                    until=now + timedelta(seconds=ttl),
                    wait_until=now + timedelta(seconds=STAND_SECONDS) if stays else None,
                )
                if lease is not None:
                    return Granted(lease=lease, waited=waited)
                if not stays:
                    if waited:
                        await self._withdraw(name, owner)
                    return self._refused(name, owner)
                waited = True
                await self._until_free(name, owner, wake, deadline)
        finally:
            del self._wakes[name]

    async def _until_free(self, name: str, owner: str, wake: _Wake, deadline: float | None) -> None:
        """Wait until it is worth asking: the name is free for *owner*, his place must be kept, or his time is over."""
        first, longest = PAUSE_SECONDS if self._ring is None else PAUSE_WITH_BELL_SECONDS
        ends = self.clock.monotonic() + ASK_SECONDS
        if deadline is not None:
            ends = min(ends, deadline)
        pause = first
        while True:
            now = self.clock.now()
            standing = self._leases.standing(name, owner, now=now)
            left = ends - self.clock.monotonic()
            if left <= 0 or (standing.held is None and standing.ahead == 0):
                return
            if standing.held is not None:
                left = min(left, max(0.0, (standing.held.until - now).total_seconds()))
            rang = await wake.wait(min(pause, left))
            pause = first if rang else min(pause * 1.2, longest)

    def _refused(self, name: str, owner: str) -> Granted:
        held = self._leases.standing(name, owner, now=self.clock.now()).held
        holder = "others who came before" if held is None else held.owner.rpartition("#")[0] or held.owner
        return Granted(lease=None, waited=True, holder=holder)

    async def renew(self, lease: Lease, ttl: float) -> Lease:
        """Prolong to *ttl* seconds from now. Raises LeaseLostError when it ended or went to another."""
        now = self.clock.now()
        return await self._leases.renew(lease, now=now, until=now + timedelta(seconds=ttl))

    def release(self, name: str, owner: str) -> Awaitable[bool]:
        """Give a name back, or want it no longer: in the order of writes, awaited or not; False when it was not held.

        A write that is refused leaves the name to the lease's end.
        """
        return self._withdraw(name, owner)

    def _withdraw(self, name: str, owner: str) -> asyncio.Future[bool]:
        leaving = asyncio.ensure_future(self._leases.withdraw(name, owner, now=self.clock.now()))
        leaving.add_done_callback(functools.partial(self._left, name))
        return leaving

    def _left(self, name: str, leaving: asyncio.Future[bool]) -> None:
        if leaving.cancelled():
            return
        if (error := leaving.exception()) is not None:
            log.warning("the lease of %s could not be given back, and will end by itself: %s", name, error)
            return
        self._wake(name)
        if self._ring is not None and self._awaited(name):
            self._ring(name)

    def _awaited(self, name: str) -> bool:
        try:
            return self._leases.standing(name, "", now=self.clock.now()).waiting > 0
        except StoreError:  # it was closed meanwhile
            return False

    def _wake(self, name: str) -> None:
        wake = self._wakes.get(name)
        if wake is not None:
            wake.ring()


def lock_name(name: str) -> str:
    """Return a name that agents may lease. Raises ValueError for others, which are the runtime's own."""
    if not name.startswith(LOCK_PREFIX):
        raise ValueError(f"an agent may lease names that begin with {LOCK_PREFIX!r}, not {name!r:.80}")
    return name


_leasing: weakref.WeakKeyDictionary[Store, Leasing] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def leasing_of(store: Store) -> Leasing:
    """Return the leasing of an open store: one for each, since those who wait stand in its lines."""
    with _guard:
        found = _leasing.get(store)
        if found is None:
            found = _leasing[store] = Leasing(store.leases, store.clock)
        return found
