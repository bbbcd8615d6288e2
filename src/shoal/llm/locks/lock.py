"""One lock: taken, held, renewed, given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from shoal.errors import LeaseLostError, LockNotOwnedError, LockTimeoutError
from shoal.kernel.leasing import LOCK_PREFIX
from shoal.llm.locks.ledger import Holding, Owner, describe, present_owner
from shoal.llm.locks.places import Place
from shoal.llm.locks.renewal import Renewal, renew_in_thread, renew_on_loop, run_alone

__all__ = ["Lock"]

LEAST_TTL_SECONDS = 0.05
MOST_TTL_SECONDS = 86_400.0


class Lock:
    """A lock on ``namespace:key``, as ``get_lock`` returns it. ``async with``, or ``with`` where no event loop runs.

    It belongs to the asyncio task, or the thread, that took it, which may take it again; its child asyncio tasks may not.
    One object may be used many times, and by many at once.
    """

    __slots__ = ("_holding", "_name", "_place", "key", "namespace", "timeout", "ttl")

    def __init__(
        self, namespace: str, key: object, timeout: float | None, ttl: float, place: Callable[[], Place]
    ) -> None:
        if not isinstance(namespace, str) or not namespace:
            raise ValueError(f"namespace must be text of at least one character, not {namespace!r:.80}")
        if timeout is not None and not _is_number(timeout, 0.0, float("inf")):
            raise ValueError(f"timeout must be seconds from 0, or None to wait for ever, not {timeout!r:.80}")
        if not _is_number(ttl, LEAST_TTL_SECONDS, MOST_TTL_SECONDS):
            raise ValueError(f"ttl must be seconds from {LEAST_TTL_SECONDS:g} to {MOST_TTL_SECONDS:g}, not {ttl!r:.80}")
        self.namespace = namespace
        self.key = str(key)
        self.timeout = timeout
        self.ttl = float(ttl)
        escaped = namespace.replace("%", "%25").replace(":", "%3A")
        self._name = f"{LOCK_PREFIX}{escaped}:{self.key}"
        self._place = place
        self._holding: Holding | None = None  # of whoever took it last through this object

    @property
    def token(self) -> int:
        """The fencing token: higher than that of every holder before.

        Raises LockNotOwnedError when nobody took this lock through this object, LeaseLostError when its lease has ended.
        """
        holding = self._holding
        if holding is None or not holding.depth:
            raise LockNotOwnedError(self.namespace, self.key, describe(present_owner()), "nobody of this process")
        if _has_ended(holding):
            raise self._lost()
        return holding.lease.token

    async def acquire(self) -> Self:
        """Take it; wait for it at most ``timeout`` seconds. Raises LockTimeoutError."""
        await self._acquire(present_owner(), renew_on_loop)
        return self

    async def release(self) -> None:
        """Give it back, as often as it was taken.

        Raises LockNotOwnedError when another has it, or nobody, and LeaseLostError when the lease ended before: then
        another may have had it meanwhile.
        """
        await self._release(present_owner(), settled=False)

    async def __aenter__(self) -> Self:
        return await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.release()
        except LeaseLostError as lost:
            if error is None:
                raise
            error.add_note(str(lost))

    def __enter__(self) -> Self:
        _refuse_loop()
        run_alone(self._acquire(present_owner(), renew_in_thread))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            run_alone(self._release(present_owner(), settled=True))
        except LeaseLostError as lost:
            if error is None:
                raise
            error.add_note(str(lost))

    # -- the same for asyncio tasks and threads

    async def _acquire(self, owner: Owner, renew: Callable[[Place, Holding, float], Renewal]) -> None:
        place = self._place()
        held = place.ledger.find(owner, self._name)
        if held is not None:
            if held.lost:
                raise self._lost()
            held.depth += 1
            self._holding = held
            return
        wish = f"{describe(owner)}#{place.clock.new_id()}"
        begun = place.clock.monotonic()
        granted = await place.take(self._name, wish, self.ttl, self.timeout)
        now = place.clock.monotonic()
        lease = granted.lease
        if lease is None:
            place.ledger.give_up(self.namespace, now - begun)
            raise LockTimeoutError(self.namespace, self.key, self.timeout or 0.0, granted.holder)
        holding = self._holding = Holding(owner=owner, place=place, lease=lease, since=now)
        if place.leased:
            holding.ends = now + (lease.until - place.clock.now()).total_seconds()
            holding.renewal = renew(place, holding, self.ttl)
        place.ledger.put(self.namespace, holding, now - begun, granted.waited)

    async def _release(self, owner: Owner, *, settled: bool) -> None:
        ledger = self._place().ledger
        holding = ledger.find(owner, self._name)
        if holding is None:
            raise LockNotOwnedError(self.namespace, self.key, describe(owner), ledger.holder(self._name))
        holding.depth -= 1
        if holding.depth:
            return
        if holding.renewal is not None:
            holding.renewal.end()
        holding.lost = _has_ended(holding)
        ledger.drop(self.namespace, holding, holding.place.clock.monotonic() - holding.since)
        await holding.place.drop(holding.lease, settled=settled)
        if holding.lost:
            raise self._lost()

    def _lost(self) -> LeaseLostError:
        return LeaseLostError(
            f"the lease of {self.namespace}:{self.key[:200]} ended while it was held: another may have had the lock since",
            note="What was done under it may clash with what another did. A longer ttl, or an event loop that is not"
            " blocked for so long, keeps it.",
        )


def _has_ended(holding: Holding) -> bool:
    """Tell whether others may hold it: also when nobody here could notice, for this process stood still.

    By either clock: others go by the wall's, which may be set forward.
    """
    clock = holding.place.clock
    return holding.lost or clock.monotonic() >= holding.ends or clock.now() >= holding.lease.until


def _is_number(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _refuse_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("`with` would block the event loop that runs here: write `async with get_lock(...)`")
