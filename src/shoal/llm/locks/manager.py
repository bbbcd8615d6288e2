"""``get_lock`` and ``LockManager``: which place a lock is kept in."""

from __future__ import annotations

from collections.abc import Callable

from shoal.llm.connections import Connection, check_connection, store_of
from shoal.llm.locks.ledger import LockStats
from shoal.llm.locks.lock import Lock
from shoal.llm.locks.places import Place, place_here, place_of

__all__ = ["LockManager", "get_lock"]

TTL_SECONDS = 30.0


def get_lock(namespace: str, key: object, timeout: float | None = None, *, ttl: float = TTL_SECONDS) -> Lock:
    """Return a lock on ``namespace:key``, for ``async with``, or for ``with`` where no event loop runs.

    It is kept in the store of the runtime whose code asks for it, and holds among all nodes there; outside of a runtime it
    holds on this machine, for this user. Among those who wait, who came first is first.

    Args:
        namespace: what kind of thing it guards, for example ``file``.
        key: which one of them; what is no text is turned into it by ``str``.
        timeout: seconds to wait for it; None: for ever. LockTimeoutError when it was not free in time.
        ttl: seconds after which a holder that died has it no more. It is renewed while it is held.

    Raises:
        ValueError: an argument is wrong.
    """
    return Lock(namespace, key, timeout, ttl, place_here)


class LockManager:
    """Locks of one place, and their numbers.

    Args:
        store: a runtime or an open store; None: where the code that uses it keeps its locks, as ``get_lock``.
    """

    def __init__(self, store: Connection | None = None) -> None:
        if store is not None:
            check_connection(store)
        self._place: Callable[[], Place] = place_here if store is None else lambda: place_of(store_of(store))

    def lock(self, namespace: str, key: object, timeout: float | None = None, *, ttl: float = TTL_SECONDS) -> Lock:
        """Return a lock, as ``get_lock``."""
        return Lock(namespace, key, timeout, ttl, self._place)

    def stats(self, namespace: str | None = None) -> LockStats:
        """Return what happened in this process to the locks of this place: those of a namespace, or all."""
        return self._place().ledger.stats(namespace)

    async def cleanup(self, max_age_seconds: float = 3600) -> int:
        """Remove what is left of locks that nobody has had for so long, and return how many; their tokens never fall.

        This is also done every hour by whoever releases a lock, and in a runtime after its retention.
        """
        if isinstance(max_age_seconds, bool) or not isinstance(max_age_seconds, (int, float)) or max_age_seconds < 0:
            raise ValueError(f"max_age_seconds must be seconds from 0, not {max_age_seconds!r:.80}")
        return await self._place().clean(max_age_seconds)
