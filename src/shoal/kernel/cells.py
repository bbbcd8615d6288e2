"""The life of cells: what happens to an agent, one thing after the other, each carried through to its end.

Each intention (start, pause, resume, stop, died, rebuild) is an asyncio task of the node that holds the agent's lock while
it works. The lock is fair, so it is the agent's queue of intentions; an idle agent holds no asyncio task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from shoal.errors import DeadAgentError
from shoal.kernel.agent import AgentVerb
from shoal.kernel.departure import Departure, Departures
from shoal.kernel.env import give_up
from shoal.kernel.event import EventType, Fact
from shoal.kernel.holding import Holding
from shoal.kernel.hooks import STOP_HOOK_SECONDS
from shoal.kernel.launching import Launching
from shoal.kernel.places import Places
from shoal.kernel.ports import Exit, Host
from shoal.kernel.restarts import Restarts

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.env import Env
    from shoal.kernel.launches import LaunchGate
    from shoal.kernel.link import CellLink
    from shoal.kernel.post import Post
    from shoal.kernel.registration import Registration
    from shoal.kernel.scheduler import Scheduler

__all__ = ["Cells"]

LAST_SECONDS = 0.5
"""What the ends of all agents have together after their time; what has not ended then is cut off."""


class Cells:
    """Brings registered agents to life on this node and ends them; each step is one transaction with its event."""

    def __init__(
        self,
        env: Env,
        post: Post,
        scheduler: Scheduler,
        hosts: Mapping[str, Host],
        link: Callable[[], CellLink],
        gate: LaunchGate,
    ) -> None:
        self._env = env
        self._post = post
        self._scheduler = scheduler
        self.hosts = hosts
        self.places = Places(env, gate, self.launch)
        self.restarts = Restarts(env, self.places, self.launch, post.lapse)
        self._launching = Launching(env, post, hosts, link, self.places.fill_soon)
        self._departures = Departures(env, post, scheduler, self.places)
        self._holding = Holding(env, scheduler, self._departures)
        self._cut_short: set[asyncio.Task[Any]] = set()  # launches, pauses and resumes under way

    @property
    def alive(self) -> list[Registration]:
        """Return the agents that live on this node, in order of start."""
        return self.places.alive

    # -- intentions of callers, who hold the registration's lock

    async def launch(self, registration: Registration) -> None:
        """Bring a starting agent to life. Raises what ``Launching.launch`` raises."""
        self.places.starting += 1
        try:
            with self._under_way():
                cell = await self._launching.launch(registration, self)
        finally:
            self.places.starting -= 1
        registration.cell = cell
        self.places.enter(registration)
        cell.starting = False
        cell.inbox.open()
        self._scheduler.add(cell)
        cell.handle.exited.add_done_callback(cell.code_ended)

    async def pause(self, registration: Registration, timeout: float) -> None:
        """Hold a running agent, then bring state, mail and status to the disk."""
        assert registration.cell is not None
        with self._under_way():
            await self._holding.pause(registration, registration.cell, timeout)

    async def resume(self, registration: Registration) -> None:
        """Let a paused agent go on; mail that came meanwhile is there, in order."""
        assert registration.cell is not None
        with self._under_way():
            await self._holding.resume(registration, registration.cell)

    async def begin_drain(self, registration: Registration) -> Cell | None:
        """Let an agent take nothing new; None when there is nothing to wait for. Raises what ``advance`` raises."""
        cell = registration.cell
        if cell is None or cell.closing:
            return None
        if cell.paused:
            await self.resume(registration)  # what it has accepted is in the store
        if cell.drained is None:
            await self._departures.begin_drain(registration, cell)
        return cell

    async def drained(self, cell: Cell, grace: float) -> None:
        """Return when a draining cell has nothing left; what is left after *grace* seconds is refused."""
        assert cell.drained is not None
        cell.look_drained()
        try:
            async with self._env.clock.timeout(self._env.within(grace)):
                await asyncio.shield(cell.drained)
        except TimeoutError:
            cell.inbox.asks.fail(partial(_cut_short, cell))

    async def shut(self, registration: Registration, timeout: float = 0.0) -> None:
        """End a living agent: its attempts have *timeout* seconds, then the grace to clean up, and go back to
        the queue."""
        cell = registration.cell
        if cell is None:
            return
        try:
            await self._departures.depart(registration, cell, Departure(last=AgentVerb.STOPPED, work_seconds=timeout))
        finally:
            if registration.cell is cell and cell.handle.exited.done():  # it died while the store refused the stop
                self.code_ended(cell)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """Let a stop of the node cut short what is done here."""
        mine = asyncio.current_task()
        assert mine is not None
        self._cut_short.add(mine)
        try:
            yield
        finally:
            self._cut_short.discard(mine)

    # -- intentions of nobody: what has happened to an agent

    def _spawn(self, work: Any, name: str) -> None:
        self._env.spawn(work, name)

    def code_ended(self, cell: Cell) -> None:
        """Hear that a cell's host has ended; unless it was told to, the agent has died."""
        self._spawn(self._gone(cell), f"end of {cell.name}")

    async def _gone(self, cell: Cell) -> None:
        registration = cell.registration
        if cell.closing or registration.cell is not cell:
            return
        exit = cell.handle.exited.result()
        details: dict[str, object] = {"reason": exit.reason, "process_exit_code": exit.exit_code}
        if exit.stderr_tail:
            details["stderr_tail"] = exit.stderr_tail[-2000:]
        text = str(exit.error or f"Agent {cell.name!r} died (exit code {exit.exit_code})")
        await self._died(cell, text, details=details, facts=_limit_facts(cell, exit))

    async def _died(
        self, cell: Cell, text: str, *, details: dict[str, object] | None = None, facts: tuple[Fact, ...] = ()
    ) -> None:
        registration = cell.registration
        cell.kept = cell.paused
        self._departures.close(cell, code_gone=True)
        await self._departures.finish_work(cell, 0.0)  # whoever holds the lock: its tasks hear of the death at once
        async with registration.lock:
            died = Departure(
                last=AgentVerb.DIED, code_gone=True, error_message=text[:1000], details=details, facts=facts
            )
            if await self._departures.depart(registration, cell, died):
                self.restarts.by_policy(registration)
            elif cell.kept:
                self._post.lapse(cell.agent_id)

    def rebuild(self, cell: Cell) -> None:
        """Build an agent anew whose code did not end when it was told to."""
        if cell.registration.cell is cell and not cell.closing:
            cell.closing = True
            self._scheduler.remove(cell)
            self._spawn(self._rebuilt(cell), f"rebuild {cell.name}")

    async def _rebuilt(self, cell: Cell) -> None:
        registration = cell.registration
        text = "Its code did not end when it was told to"
        self._departures.close(cell, code_gone=True)
        async with registration.lock:
            died = Departure(last=AgentVerb.DIED, code_gone=True, error_message=text)
            if await self._departures.depart(registration, cell, died):
                await self.restarts.now(registration)

    def too_many_errors(self, cell: Cell) -> None:
        """Let an agent fail of which as many attempts in a row have failed as may."""
        if cell.registration.cell is cell and not cell.closing:
            cell.closing = True
            self._scheduler.remove(cell)
            self._spawn(self._failed_too_often(cell), f"error threshold of {cell.name}")

    async def _failed_too_often(self, cell: Cell) -> None:
        errors = cell.consecutive_errors
        fact = Fact(
            event_type=EventType.AGENT_ERROR_THRESHOLD,
            agent_id=cell.agent_id,
            node_id=self._env.node_id,
            details={"consecutive_errors": errors},
        )
        async with cell.registration.lock:
            failed = Departure(last=AgentVerb.DIED, error_message=f"{errors} attempts in a row failed", facts=(fact,))
            await self._departures.depart(cell.registration, cell, failed)

    # -- the end of the node

    async def shut_all(self, timeout: float, grace: float) -> None:
        """End all agents: their work has *timeout* seconds together, then *grace* together.

        Then on_stop runs in reverse order of start; what is left of STOP_HOOK_SECONDS (at most *grace*) is for all of
        them, and those whose turn has not come when it is over end at once. What begins to live is cut short.

        Raises:
            StoreError: the store refused to hear of an end until the time was over; the others have ended.
        """
        clock, hooks = self._env.clock, min(grace, STOP_HOOK_SECONDS)
        last = clock.monotonic() + timeout + hooks
        give_up(self._env, last)
        self.restarts.forget_all()
        cut_short = list(self._cut_short)
        for task in cut_short:
            task.cancel()
        alive = [(registration, registration.cell) for registration in reversed(self.alive)]
        for _, cell in alive:
            if cell is not None:
                cell.closing = True
        await asyncio.gather(
            *(self._departures.finish_work(cell, timeout, grace) for _, cell in alive if cell is not None)
        )
        deadline = min(last, clock.monotonic() + hooks)
        give_up(self._env, deadline)
        ends = []
        for registration, _ in alive:
            end = self._env.watch(self._leave(registration), f"end of {registration.name}")
            ends.append(end)
            await self._wait([end], deadline - clock.monotonic())
        await self._wait([*ends, *cut_short], max(0.0, deadline - clock.monotonic()) + LAST_SECONDS)
        for end in ends:
            if end.done() and not end.cancelled():
                end.result()

    async def _wait(self, tasks: list[asyncio.Task[Any]], seconds: float) -> None:
        if tasks:
            try:
                async with self._env.clock.timeout(max(0.0, seconds)):
                    await asyncio.wait(tasks)
            except TimeoutError:
                return  # nobody waits for it any longer

    async def _leave(self, registration: Registration) -> None:
        """End a cell with its node; a paused agent stays paused in the store, with its state and mail."""
        async with registration.lock:
            cell = registration.cell
            if cell is not None:
                last = None if cell.paused else AgentVerb.STOPPED
                await self._departures.depart(registration, cell, Departure(last=last))


def _cut_short(cell: Cell, began: bool) -> DeadAgentError:
    text = f"Agent {cell.name!r} drained, and its time was over"
    return DeadAgentError(text, reason="cancelled", agent_id=cell.agent_id, name=cell.name, began=began)


def _limit_facts(cell: Cell, exit: Exit) -> tuple[Fact, ...]:
    if exit.reason != "limit" or exit.error is None:
        return ()
    details: dict[str, object] = {
        "resource_type": exit.error.resource_type,
        "current": exit.error.current,
        "limit": exit.error.limit,
    }
    return (Fact(event_type=EventType.RESOURCE_LIMIT_EXCEEDED, agent_id=cell.agent_id, details=details),)
