"""Held, and going on: pause and resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoal.errors import AgentPauseError, AgentStartError, PayloadError
from shoal.kernel.agent import AgentVerb
from shoal.kernel.departure import Departure, Departures
from shoal.kernel.env import LOOKS, Env
from shoal.kernel.hooks import run_hook
from shoal.kernel.payload import checked
from shoal.kernel.status import advance

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.registration import Registration
    from shoal.kernel.scheduler import Scheduler

__all__ = ["Holding"]


class Holding:
    """Pauses and resumes cells. Whoever calls holds the registration's lock."""

    def __init__(self, env: Env, scheduler: Scheduler, departures: Departures) -> None:
        self._env = env
        self._scheduler = scheduler
        self._departures = departures

    async def pause(self, registration: Registration, cell: Cell, timeout: float) -> None:
        """Hold a running agent, then bring state, mail and status to the disk."""
        if cell.handle.exited.done():
            raise AgentPauseError(
                f"Agent {cell.name!r} could not be paused: it has just died", agent_id=cell.agent_id, name=cell.name
            )
        await self._stillness_over(cell)
        self._scheduler.remove(cell)
        cell.time.hold()  # from here on: a time-out cannot reach code that is held already
        state: dict[str, object] | None = None
        frozen = False
        try:
            frozen = not await cell.hold(timeout)
            if not frozen:
                state = await self._paused_state(cell)
            await cell.inbox.quiet()
        except BaseException:
            self._go_on(cell)
            raise
        cell.paused = True
        cell.frozen = frozen
        held, mail = cell.inbox.close_for_pause()
        details: dict[str, object] = {"state_saved": not frozen}
        try:
            await advance(self._env, registration, AgentVerb.PAUSE, state=state, held=held, mail=mail, details=details)
        except BaseException:
            self._go_on(cell)
            cell.inbox.reopen(mail)
            raise

    async def _stillness_over(self, cell: Cell) -> None:
        """Return when nothing holds the cell: its node may be waiting to hear whether its lease holds."""
        while cell.time.held and not cell.handle.exited.done():
            self._env.check_lease(known=True)
            await self._env.clock.sleep(self._env.settings.lease_seconds / LOOKS)

    def _go_on(self, cell: Cell) -> None:
        """Let a cell go on that was held."""
        cell.paused = cell.frozen = False
        cell.handle.release()
        cell.time.go_on()
        self._scheduler.add(cell)

    async def _paused_state(self, cell: Cell) -> dict[str, object]:
        try:
            state = await run_hook(cell, "on_pause")
            state = {} if state is None and "on_pause" not in cell.abilities.hooks else state
            if not isinstance(state, dict):
                raise PayloadError(f"on_pause of {cell.name!r} returned {type(state).__name__}, not a dict")
            copy, _ = checked(state, "on_pause()", self._env.settings.max_payload_bytes)
        except Exception as error:
            raise AgentPauseError(
                f"Agent {cell.name!r} could not be paused: {error}", agent_id=cell.agent_id, name=cell.name
            ) from error
        assert isinstance(copy, dict)
        return copy

    async def resume(self, registration: Registration, cell: Cell) -> None:
        """Let a paused agent go on; mail that came meanwhile is there, in order."""
        if not cell.frozen:
            try:
                state = self._env.store.agents.saved_state(cell.agent_id) or {}
                await run_hook(cell, "on_resume", state)
            except Exception as error:
                text = f"Agent {cell.name!r} could not be resumed: {type(error).__name__}: {error}"
                failed = Departure(last=AgentVerb.RESUME_FAILED, error_message=text[:1000])
                await self._departures.depart(registration, cell, failed)
                raise AgentStartError(text, agent_id=cell.agent_id, name=cell.name) from error
        await advance(self._env, registration, AgentVerb.RESUME)
        self._go_on(cell)
        cell.inbox.open()
        await cell.inbox.catch_up()
