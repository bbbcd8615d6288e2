"""Every end of a cell, in one place: told to stop, failed, dead, to be built anew, or left paused by its node."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import LeaseLostError, StoreError
from shoal.kernel.agent import AgentStatus, AgentVerb, Isolation
from shoal.kernel.attempt import Ending
from shoal.kernel.event import Fact
from shoal.kernel.hooks import run_on_stop
from shoal.kernel.status import advance, advance_surely

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.env import Env
    from shoal.kernel.places import Places
    from shoal.kernel.post import Post
    from shoal.kernel.registration import Registration
    from shoal.kernel.scheduler import Scheduler

__all__ = ["Departure", "Departures"]


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """How a cell ends.

    last: the verb that the store hears when it has ended; None leaves its status as it is.
    code_gone: its code has ended or is given up: askers hear of it first, on_stop does not run.
    work_seconds: what its attempts have before they are told to end.
    """

    last: AgentVerb | None
    code_gone: bool = False
    work_seconds: float = 0.0
    error_message: str | None = None
    details: dict[str, object] | None = None
    facts: tuple[Fact, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return what the last verb carries."""
        given = {"error_message": self.error_message, "details": self.details, "facts": self.facts}
        return {name: value for name, value in given.items() if value}


class Departures:
    """Ends cells. Whoever calls holds the registration's lock."""

    def __init__(self, env: Env, post: Post, scheduler: Scheduler, places: Places) -> None:
        self._env = env
        self._post = post
        self._scheduler = scheduler
        self._places = places

    async def depart(self, registration: Registration, cell: Cell, how: Departure) -> bool:
        """End a cell; False when it is no longer its agent's, because somebody was quicker.

        Raises:
            StoreError: the store refuses to hear that it is to stop; it goes on as before. What comes after that first
                word is tried until the store takes it.
        """
        if registration.cell is not cell:
            return False
        if how.last is AgentVerb.STOPPED:
            await self._announce(registration, cell)
        self.close(cell, code_gone=how.code_gone)
        killed = not await self.finish_work(cell, how.work_seconds)
        if not how.code_gone and not (killed and registration.options.isolation != Isolation.INLINE):
            await run_on_stop(cell)
        await self._bury(registration, cell, "died" if how.error_message else "stopped")
        if how.last is not None:
            await advance_surely(self._env, registration, how.last, **how.fields())
        self._places.fill_soon()
        return True

    def close(self, cell: Cell, *, code_gone: bool) -> None:
        """Let a cell take nothing more. When its code is gone, whoever waits for an answer hears it at once."""
        cell.closing = True
        self._scheduler.remove(cell)
        if code_gone:
            self._post.remove(cell, self._post.dead(cell))
        else:
            cell.inbox.asks.refuse_waiting(self._post.dead(cell, began=False))

    async def _announce(self, registration: Registration, cell: Cell) -> None:
        """Tell the store that an agent is stopping; while it does not hear, nothing has begun."""
        if registration.instance.status is AgentStatus.STOPPING:
            return
        was_closing, cell.closing = cell.closing, True
        self._scheduler.remove(cell)
        write = advance if self._env.status == "running" else advance_surely
        try:
            await write(self._env, registration, AgentVerb.STOP, keep_state=self._moves(registration))
        except StoreError:
            cell.closing = was_closing
            self._scheduler.add(cell)
            raise

    async def begin_drain(self, registration: Registration, cell: Cell) -> None:
        """Let a cell take nothing new, and tell the store that it is stopping. Raises what ``advance`` raises."""
        cell.drained = asyncio.get_running_loop().create_future()
        self._scheduler.remove(cell)
        try:
            await advance(self._env, registration, AgentVerb.STOP, keep_state=self._moves(registration))
        except BaseException:
            cell.drained = None
            self._scheduler.add(cell)
            raise

    def _moves(self, registration: Registration) -> bool:
        """Tell whether an agent goes on elsewhere: a singleton whose node leaves."""
        return registration.options.singleton and not self._env.staying

    async def finish_work(self, cell: Cell, seconds: float, grace: float | None = None) -> bool:
        """Let what runs end by itself within *seconds*, then cancel it; what has not ended after *grace* is given up.

        What was already told to end has its grace, and no more. Returns False when code was given up.
        """
        grace = self._env.settings.cancel_grace_seconds if grace is None else grace
        under_way = [e for e in cell.entries.values() if e.asyncio_task is not None]
        running = {e.asyncio_task for e in under_way if e.asyncio_task is not None}
        if not cell.paused and seconds > 0:
            await self._ended({e.asyncio_task for e in under_way if e.asyncio_task and not e.stopping}, seconds)
        for attempt in list(cell.attempts.values()):
            attempt.end(Ending.INTERRUPTED)
        for entry in list(cell.entries.values()):
            if entry.attempt is None and entry.asyncio_task is not None:
                entry.asyncio_task.cancel()
        cell.handle.release()
        if await self._ended(running, self._env.within(grace)):
            return True
        cell.handle.kill()
        for entry in list(cell.entries.values()):
            if entry.attempt is None:
                cell.abandon(entry)
        given_up = {self._env.watch(a.give_up(), f"give up {a.task.name}") for a in list(cell.attempts.values())}
        await self._ended(given_up, self._env.within(grace))
        return False

    async def _ended(self, tasks: Collection[asyncio.Task[Any]], seconds: float) -> bool:
        if tasks and not all(task.done() for task in tasks):
            try:
                async with self._env.clock.timeout(seconds):
                    await asyncio.wait(tasks)
            except TimeoutError:
                return all(task.done() for task in tasks)
        return True

    async def _bury(self, registration: Registration, cell: Cell, reason: str) -> None:
        """End what is left of a cell: its code, its address, its mail."""
        env = self._env
        cell.closing = cell.dead = True
        if cell.drained is not None and not cell.drained.done():
            cell.drained.set_result(None)
        registration.cell = None
        self._places.leave(registration)
        self._scheduler.remove(cell)
        self._post.remove(cell, self._post.dead(cell))  # before the code ends: its askers hear at once
        await cell.handle.stop(env.within(env.settings.cancel_grace_seconds))
        self._post.undelivered.abandoned(cell, reason)
        try:
            await env.persist(lambda: env.store.mail.release(cell.agent_id, env.node_id, now=env.clock.now()))
        except LeaseLostError:
            return  # whoever rescued this node has given it back
