"""Where locks are kept: the store of the runtime around the code, an open store, or files of this machine."""

from __future__ import annotations

import asyncio
import threading
import weakref
from datetime import timedelta
from typing import Protocol

from shoal.kernel.ambient import Ambient, current_ambient
from shoal.kernel.leasing import Granted, leasing_of
from shoal.kernel.lines import Lines
from shoal.kernel.ports import Clock, Lease, Store
from shoal.llm.locks.files import files_here
from shoal.llm.locks.ledger import Ledger

__all__ = ["AmbientPlace", "Place", "StorePlace", "place_here", "place_of"]

CLEAN_EVERY_SECONDS = 3600.0


class Place(Protocol):
    """Where locks are kept. ``leased``: what is held ends by itself, unless it is renewed."""

    clock: Clock
    ledger: Ledger
    leased: bool

    async def take(self, name: str, owner: str, ttl: float, timeout: float | None) -> Granted:
        """Take a name for a wish of its own, *owner*."""
        ...

    async def keep(self, lease: Lease, ttl: float) -> Lease:
        """Prolong. Raises LeaseLostError."""
        ...

    async def drop(self, lease: Lease, *, settled: bool) -> None:
        """Give it back; *settled*: return when that is on disk, else when it is certain to be done."""
        ...

    async def clean(self, max_age_seconds: float) -> int:
        """Remove what is left of names that nobody has had for so long; return how many."""
        ...


class StorePlace:
    """Leases in an open store."""

    leased = True

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._leases = store.leases
        self._leasing = leasing_of(store)
        self.clock: Clock = self._leasing.clock
        self.ledger = ledger
        self._cleaned = self.clock.monotonic()

    async def take(self, name: str, owner: str, ttl: float, timeout: float | None) -> Granted:
        """Take a name."""
        return await self._leasing.acquire(name, owner, ttl, timeout)

    async def keep(self, lease: Lease, ttl: float) -> Lease:
        """Prolong."""
        return await self._leasing.renew(lease, ttl)

    async def drop(self, lease: Lease, *, settled: bool) -> None:
        """Give it back. The write has its place in the order of writes; only who leaves his event loop waits for it."""
        given = self._leasing.release(lease.name, lease.owner)
        if settled:
            await given
        now = self.clock.monotonic()
        if now - self._cleaned > CLEAN_EVERY_SECONDS:
            self._cleaned = now
            await self.clean(CLEAN_EVERY_SECONDS)

    async def clean(self, max_age_seconds: float) -> int:
        """Remove names that nobody has had for so long."""
        return await self._leases.forget(self.clock.now() - timedelta(seconds=max_age_seconds))


class AmbientPlace:
    """Leases in the store of the runtime whose code this is, wherever the store is."""

    leased = True

    def __init__(self, ambient: Ambient, ledger: Ledger, lines: Lines) -> None:
        self.clock = ambient.clock
        self.ledger = ledger
        self._ambient = ambient
        self._lines = lines

    async def take(self, name: str, owner: str, ttl: float, timeout: float | None) -> Granted:
        """Take a name. Only the first of this process asks for it: a runtime takes few calls of a child at once."""
        begun = self.clock.monotonic()
        deadline = None if timeout is None else begun + timeout
        contended = self._lines.occupied(name)
        if not await self._lines.enter(name, self.clock, deadline):
            return Granted(lease=None, waited=True, holder=self.ledger.holder(name))
        try:
            granted = await self._ask(name, owner, ttl, deadline)
        finally:
            self._lines.leave(name)
        return Granted(lease=granted.lease, waited=contended or granted.waited, holder=granted.holder)

    async def _ask(self, name: str, owner: str, ttl: float, deadline: float | None) -> Granted:
        left = None if deadline is None else max(0.0, deadline - self.clock.monotonic())
        args = {"name": name, "owner": owner, "ttl": ttl, "timeout": left}
        try:
            granted: Granted = await self._ambient.call("lease_acquire", args)
        except asyncio.CancelledError:  # it may have been given meanwhile
            await asyncio.shield(self._release(name, owner, settled=True))
            raise
        return granted

    async def keep(self, lease: Lease, ttl: float) -> Lease:
        """Prolong."""
        args = {"name": lease.name, "owner": lease.owner, "token": lease.token, "ttl": ttl}
        renewed: Lease = await self._ambient.call("lease_renew", args)
        return renewed

    async def drop(self, lease: Lease, *, settled: bool) -> None:
        """Give it back, also when whoever does it is cancelled meanwhile."""
        await asyncio.shield(self._release(lease.name, lease.owner, settled=settled))

    async def _release(self, name: str, owner: str, *, settled: bool) -> None:
        await self._ambient.call("lease_release", {"name": name, "owner": owner, "settled": settled})

    async def clean(self, max_age_seconds: float) -> int:
        """Leave that to the runtime, which does so after its retention."""
        return 0


# The agents of one runtime have an ambient each, and its clock in common.
_runtimes: weakref.WeakKeyDictionary[Clock, tuple[Ledger, Lines]] = weakref.WeakKeyDictionary()
_stores: weakref.WeakKeyDictionary[Store, StorePlace] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def place_here() -> Place:
    """Return where the code that runs here keeps its locks."""
    ambient = current_ambient.get()
    if ambient is None:
        return files_here()
    with _guard:
        found = _runtimes.get(ambient.clock)
        if found is None:
            found = _runtimes[ambient.clock] = (Ledger(), Lines())
    return AmbientPlace(ambient, *found)


def place_of(store: Store) -> Place:
    """Return the place in an open store: one for each."""
    with _guard:
        place = _stores.get(store)
        if place is None:
            place = _stores[store] = StorePlace(store, Ledger())
        return place
