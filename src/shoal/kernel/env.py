"""What every room of a running node shares: clock, store, bus, settings, and who owns the asyncio tasks."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from shoal.errors import (
    BusError,
    LeaseLostError,
    RuntimeNotStartedError,
    RuntimeStateError,
    RuntimeStoppingError,
    StoreError,
)
from shoal.kernel.leasing import leasing_of
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.numbers import Numbers
from shoal.kernel.ports import Bus, Clock, Store
from shoal.kernel.run import RunStep
from shoal.kernel.settings import Settings
from shoal.kernel.trace import current_span, without_span

__all__ = ["Env", "RuntimeStatus", "give_up"]

log = logging.getLogger("shoal")

T = TypeVar("T")

LEAST_SECONDS = 0.05
"""What anything of an agent's has when the time of the node is over."""

LOOKS = 100
"""So often in the time of its lease a node looks whether it has it again."""

SETTLE_SECONDS = 0.5
"""What cancelled work of the node has at the very end; code that swallows its cancellation must not hold up a stop."""


class RuntimeStatus(StrEnum):
    """Where a runtime stands."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Env:
    """The surroundings of one node. ``lost`` is set when its lease ended: from then on it writes and sends nothing."""

    def __init__(self, *, clock: Clock, store: Store, bus: Bus, settings: Settings, limits: ResourceLimit) -> None:
        self.clock = clock
        self.store = store
        self.bus = bus
        self.settings = settings
        self.limits = limits
        self.leasing = leasing_of(store)
        self.numbers = Numbers()
        self.node_id = ""
        self.runtime_id = ""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.run_tool: Callable[..., Awaitable[Any]] | None = None  # calls a program in a child of its own
        self.export_run: Callable[[Sequence[RunStep], Path], int] | None = None  # as a cassette
        # Of agents, by rooms that the link does not know: ``room.verb`` (cell, entry, ...). A wing may carry out another's.
        self.verbs: dict[str, Callable[..., Awaitable[Any]]] = {}
        self.status = "stopped"
        self.lost = False
        self.neighbours = 0  # other nodes, when somebody looked last
        self.draining = False  # it leaves: it takes nothing new, and what it ends it does not begin again
        self.lease_until: datetime | None = None  # as far as this node knows: a frozen one learns late that it is lost
        self.lease_steady = math.inf  # by the monotonic clock: who sets the other one back prolongs no lease
        self.give_up_at: float | None = None  # monotonic: when a node that stops waits no longer for code or store
        self._owned: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run *work* as an asyncio task of this node; what it raises is logged, never lost. It is part of nobody's trace."""
        context = None if current_span.get() is None else without_span()
        task = asyncio.get_running_loop().create_task(work, name=name, context=context)
        self._owned.add(task)
        task.add_done_callback(self._ended)
        return task

    def watch(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run *work* as an asyncio task of this node whose error belongs to whoever waits for it, and to nobody else."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._owned.add(task)
        task.add_done_callback(self._watched)
        return task

    def _watched(self, task: asyncio.Task[Any]) -> None:
        self._owned.discard(task)
        if not task.cancelled():
            task.exception()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._owned.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, LeaseLostError):
            trace = None if isinstance(error, (StoreError, BusError)) else error
            log.error("%s failed: %s", task.get_name(), error, exc_info=trace)

    async def see_through(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Carry out *work* to its end, also when its caller waits no longer: nothing stays half done."""
        task = self.watch(work, name)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            mine = asyncio.current_task()
            if task.cancelled() and not (mine is not None and mine.cancelling()):
                raise RuntimeStoppingError() from None  # the node has cut it short
            if not task.done():
                task.add_done_callback(self._ended)  # nobody else hears of its error now
            raise

    async def persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Carry out a write that must not get lost: while the store refuses it, it is tried again.

        Raises StoreError when a node that stops has no more time for it.
        """
        while True:
            try:
                return await write()
            except StoreError as error:
                pause = self.settings.poll_seconds
                if self.status == "stopped" or self._over(pause):
                    raise
                log.error("the store refuses a write: %s; tried again in %g s", error, pause)
                await self.clock.sleep(pause)

    def _over(self, ahead: float = 0.0) -> bool:
        return self.give_up_at is not None and self.clock.monotonic() + ahead >= self.give_up_at

    def within(self, seconds: float) -> float:
        """Return *seconds*, or what a node that stops has left of them."""
        if self.give_up_at is None:
            return seconds
        return min(seconds, max(LEAST_SECONDS, self.give_up_at - self.clock.monotonic()))

    async def settle_down(self) -> None:
        """Cancel what is still owned, and wait for it; what does not listen is left behind after SETTLE_SECONDS."""
        mine = asyncio.current_task()
        rest: list[asyncio.Task[Any]] = []
        try:
            async with self.clock.timeout(SETTLE_SECONDS):
                while rest := [task for task in self._owned if task is not mine]:
                    for task in rest:
                        task.cancel()
                    await asyncio.wait(rest)
        except TimeoutError:
            log.error("left behind, since it does not end when it is cancelled: %s", [task.get_name() for task in rest])

    def every(self, seconds: float, pass_once: Callable[[], Coroutine[Any, Any, Any]], name: str) -> asyncio.Task[Any]:
        """Call *pass_once* every *seconds*; after one that fails the next one comes all the same. What fails again and again
        for one reason is logged once, and once more when it works again."""

        async def repeat() -> None:
            why = ""
            while True:
                await self.clock.sleep(seconds)
                before, why = why, ""
                try:
                    await pass_once()
                except LeaseLostError:
                    return
                except (StoreError, BusError) as error:
                    why = str(error)
                    if why != before:
                        log.error("%s failed: %s; it is tried each %g s", name, why, seconds)
                except Exception:  # a sweep that failed must not end the sweeping
                    log.exception("%s failed; it goes on in %g s", name, seconds)
                else:
                    if before:
                        log.warning("%s works again", name)

        return self.spawn(repeat(), name)

    def check_running(self) -> None:
        """Raise unless a verb may be carried out now, on this loop."""
        if self.status != "running":
            if self.status == "stopping":
                raise RuntimeStoppingError()
            raise RuntimeNotStartedError()
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeStateError("This runtime belongs to another event loop")
        self.check_lease(known=True)

    def check_staying(self) -> None:
        """Raise unless something may begin here: as ``check_running``, and not while the node drains."""
        self.check_running()
        if self.draining:
            raise RuntimeStoppingError("Runtime is draining")

    @property
    def staying(self) -> bool:
        """Tell whether something may begin here that nobody asks for."""
        return self.status == "running" and not (self.draining or self.lost)

    def lease_over(self) -> bool:
        """Tell whether others may be doing this node's work: they do, or it could not renew its lease in time."""
        if self.lost or self.lease_until is None:
            return self.lost
        return self.clock.now() >= self.lease_until or self.clock.monotonic() >= self.lease_steady

    def check_lease(self, *, known: bool = False) -> None:
        """Raise LeaseLostError when this node's lease is over; with *known* only when others are known to have taken it."""
        if self.lost if known else self.lease_over():
            raise self.lost_error()

    async def sure_of_lease(self) -> None:
        """Return when this node's lease is known to hold: at once, or when a heartbeat has said so.

        What a node hears of the store when it is no longer cut off may be old: others may have gone on by then. Raises
        LeaseLostError when the lease was lost.
        """
        while self.lease_over():
            self.check_lease(known=True)
            await self.clock.sleep(self.settings.lease_seconds / LOOKS)

    async def answered(self, work: Awaitable[T]) -> T:
        """Return the answer of *work* when this node's lease is known to hold; see ``sure_of_lease``."""
        answer = await work
        await self.sure_of_lease()
        return answer

    def lost_error(self) -> LeaseLostError:
        """Return the error for what this node may not do any more."""
        return LeaseLostError(f"Node {self.node_id} lost its lease: others may be doing its work now")


def give_up(env: Env, at: float) -> None:
    """Let a node that stops wait no longer for code or store than until *at*, by the monotonic clock."""
    env.give_up_at = at
    env.store.hurry(max(0.0, at - env.clock.monotonic()))
