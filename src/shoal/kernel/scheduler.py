"""Ready tasks to free lanes, by priority. Claims are batched: what becomes free or ready in one turn is one claim."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from shoal.errors import LeaseLostError, StoreError
from shoal.kernel.attempt import Attempt, Ending
from shoal.kernel.cell import Cell
from shoal.kernel.ports import Bell, Claim, Fence, Outcome, Settled, Settlement
from shoal.kernel.room import Room
from shoal.kernel.stillness import renewed
from shoal.kernel.task import Task, TaskStatus
from shoal.kernel.waiting import Waiting, end_note

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["Scheduler"]

log = logging.getLogger("shoal")

FAIR_EVERY = 10
"""Every so many claims the oldest ready task comes first, if it has been ready for long: no task starves."""


FEW_ATTEMPTS, FEW_NODES = 4, 8
"""With at most so many attempts under way here, and so many other nodes, all of a task is told at its end. Every node and
every client hears of it, and most do not wait for it, so among many that would be more than the reading that it saves."""


DOUBT_SECONDS = 60.0
"""So long after a claim that was refused a node looks whether it came about all the same: its connection may have been lost
before the answer, and what is on its way through a network may come late."""


class Scheduler:
    """The claims of one node, and the attempts that came of them."""

    def __init__(self, env: Env, waiting: Waiting) -> None:
        self._env = env
        self._waiting = waiting
        self._cells: dict[str, Cell] = {}  # those that take part
        self._room = Room()  # as it was at the last claim, which may be reading it in this moment
        self._touched: dict[str, bool] = {}  # agents whose room may have changed since; True: a lane came free
        self._claiming = False
        self._again = False  # something became ready while a claim was under way
        self._freed: set[str] = set()  # agents of which a lane came free while a claim was under way
        self._scheduled = False
        self._claims = 0
        self._waited: list[Fence] = []  # retries whose wait is over, whatever the wall clock says
        self._turns: dict[str, int] = {}  # by agent: claims that gave it tasks since the oldest ready one came first
        self._due = False  # for one of them it is time that the oldest comes first
        self._held: set[tuple[str, int]] = set()  # what was given to this node, until it has recorded what came of it
        self._doubt_until = 0.0  # monotonic
        self.attempts: dict[str, Attempt] = {}  # by task id, on this node
        self.cancels: dict[str, asyncio.Future[None]] = {}  # by task id: cancels that are on their way to the store
        self.accepting = False

    # -- who takes part

    def add(self, cell: Cell) -> None:
        """Offer a cell's lanes from now on."""
        self._cells[cell.agent_id] = cell
        self.touch(cell.agent_id, came_free=True)
        self.kick()

    def remove(self, cell: Cell) -> None:
        """Offer its lanes no longer."""
        if self._cells.get(cell.agent_id) is cell:
            del self._cells[cell.agent_id]
            self._turns.pop(cell.agent_id, None)
            self.touch(cell.agent_id)

    def touch(self, agent_id: str, *, came_free: bool = False) -> None:
        """Look at an agent's room again before the next claim; those that are idle longest are served first."""
        if came_free:
            self._touched.pop(agent_id, None)
        self._touched[agent_id] = came_free or self._touched.get(agent_id, False)

    # -- claiming

    def kick(self) -> None:
        """Claim now what fits. Called right after a submit, the claim joins the submit's group of commits."""
        if self._claiming:
            self._again = True
        elif self.accepting and not self._env.lease_over():
            self._look_again()
            if self._room:
                self._claiming = True
                now = self._env.clock.now()
                fair = self._is_fair()
                starved = now - timedelta(seconds=self._env.settings.starvation_after_seconds) if fair else None
                waited, self._waited = self._waited, []
                claim = self._env.store.tasks.claim(
                    self._env.node_id, self._room, now=now, starved_before=starved, waited=waited
                )
                self._env.spawn(self._claimed(claim, fair, waited), "claim")  # type: ignore[arg-type]

    def _look_again(self) -> None:
        """Bring the room up to date. Only those that were touched are looked at."""
        for agent_id, came_free in self._touched.items():
            cell = self._cells.get(agent_id)
            slots = [] if cell is None else cell.slots()
            self._room.put(agent_id, slots, at_end=came_free)
            if slots and self._turns.get(agent_id, 0) >= FAIR_EVERY - 1:
                self._due = True
        self._touched.clear()

    def _is_fair(self) -> bool:
        """Count a claim; tell whether it is the tenth of the node, or the tenth that gives one of its agents tasks.

        Of one of them, too: the claims of agents that take turns fall on the same places of the node's count for ever.
        """
        self._claims += 1
        due, self._due = self._due, False
        return due or self._claims % FAIR_EVERY == 0

    def kick_soon(self) -> None:
        """Claim at the end of this turn of the loop, once for all that became free in it."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._kick_scheduled)

    def _kick_scheduled(self) -> None:
        self._scheduled = False
        self.kick()

    async def _claimed(self, claim: asyncio.Future[list[Claim]], fair: bool, waited: list[Fence]) -> None:
        claims: list[Claim] = []
        try:
            given_here = await claim
            await renewed(self._env)  # else others may be doing what was given here long ago
            claims = given_here
        except LeaseLostError:
            return
        except StoreError as error:
            self._waited += waited
            self._again = True
            self._doubt_until = self._env.clock.monotonic() + DOUBT_SECONDS
            log.error("no tasks can be claimed: %s; tried again in %g s", error, self._env.settings.poll_seconds)
            await self._env.clock.sleep(self._env.settings.poll_seconds)
        finally:
            self._claiming = False
            taken = Counter(given.agent_id for given in claims)
            again = self._again or any(self._room.is_full(agent_id, taken[agent_id]) for agent_id in self._freed)
            self._again = False
            self._freed.clear()
            for agent_id in taken.keys() & self._cells.keys():
                self._turns[agent_id] = 0 if fair else self._turns.get(agent_id, 0) + 1
            for given in claims:
                self._begin(given)
            if again:
                self.kick()

    def _begin(self, claim: Claim) -> None:
        cell = self._cells.get(claim.agent_id)
        self.touch(claim.agent_id)
        if cell is None or cell.paused or cell.closing or not self.accepting:
            self._hold(claim, self._env.spawn(self._give_back(claim), "give back a claim"))
            return
        self._note_wait(claim.task)
        attempt = Attempt(self, cell, claim.task)
        cell.attempts[claim.task.task_id] = attempt
        self.attempts[claim.task.task_id] = attempt
        attempt.entry.asyncio_task = self._env.spawn(attempt.run(), f"{cell.name}: {claim.task.name}")
        self._hold(claim, attempt.entry.asyncio_task)

    def _hold(self, claim: Claim, until: asyncio.Task[None]) -> None:
        held = (claim.task.task_id, claim.task.attempt)
        self._held.add(held)
        until.add_done_callback(lambda _: self._held.discard(held))

    def _note_wait(self, task: Task) -> None:
        """Keep how long the task waited for its first attempt, from its submission or ``not_before``."""
        if task.attempt == 1 and task.started_at is not None:
            since = max(task.created_at, task.not_before or task.created_at)
            self._env.numbers.observe("queue_wait_seconds", max(0.0, (task.started_at - since).total_seconds()))

    async def _give_back(self, claim: Claim) -> None:
        fence = Fence(claim.task.task_id, self._env.node_id, claim.task.attempt)
        settlement = Settlement(
            fence=fence, agent_id=claim.agent_id, outcome=Outcome.INTERRUPTED, error_message="Its agent was not there"
        )
        await self._env.persist(lambda: self._env.store.tasks.settle(settlement, now=self._env.clock.now()))
        self.touch(claim.agent_id)
        self.kick()

    # -- what attempts report

    def attempt_left(self, attempt: Attempt) -> None:
        """Free the attempt's lane, and claim for it."""
        cell, task_id = attempt.cell, attempt.task.task_id
        had_room = cell.has_room
        cell.leave(attempt.entry)
        if cell.attempts.get(task_id) is attempt:
            del cell.attempts[task_id]
        if self.attempts.get(task_id) is attempt:
            del self.attempts[task_id]
        self.touch(cell.agent_id, came_free=True)
        if self._claiming:
            self._freed.add(cell.agent_id)
        elif not had_room:  # else a claim has found nothing for it since
            self.kick_soon()

    def end_bell(self, task_id: str, task: Task | None = None) -> Bell:
        """Return the bell that tells the other nodes that a task has ended: with all of it, when little goes on here."""
        worth_telling = len(self.attempts) <= FEW_ATTEMPTS and self._env.neighbours <= FEW_NODES
        return Bell("ended", end_note(task_id, task if worth_telling else None))

    def settled(self, settled: Settled, settlement: Settlement, task: Task | None, bell: Bell | None) -> None:
        """Tell the waiters, count, and wake whoever can go on. *task* is the one that has completed, *bell* tells of it."""
        if not settled.applied:
            return
        numbers = self._env.numbers
        for ended in settled.ended:
            if task is not None and ended.task_id == task.task_id:
                self.task_ended(ended.task_id, ended.status, task, bell)
            else:
                self.task_ended(ended.task_id, ended.status)
        if settlement.outcome is Outcome.RETRY:
            numbers.count("retried_tasks")
            assert settlement.not_before is not None
            wait = (settlement.not_before - self._env.clock.now()).total_seconds()
            self._env.clock.call_later(wait, partial(self._wait_is_over, settlement.fence, settlement.not_before))
        if settled.promoted or settlement.outcome is Outcome.INTERRUPTED:
            self.kick()
            self._env.bus.ring("tasks", here=False)

    def _wait_is_over(self, fence: Fence, not_before: datetime) -> None:
        """Claim a retry. It waits for a duration, which a wall clock that was set back meanwhile does not measure."""
        if self._env.clock.now() < not_before:
            self._waited.append(fence)
        self.kick()

    def task_ended(self, task_id: str, status: TaskStatus, task: Task | None = None, bell: Bell | None = None) -> None:
        """Note that a task has ended, here and on the other nodes."""
        self._env.numbers.count(f"{status}_tasks")
        if task is not None and task.started_at is not None and task.completed_at is not None:
            seconds = (task.completed_at - task.started_at).total_seconds()
            self._env.numbers.observe("task_duration_seconds", seconds)
        self._waiting.ended(task_id, task)
        (bell or self.end_bell(task_id)).ring_by(self._env.bus)

    # -- ended elsewhere

    @contextmanager
    def cancelling(self, task_id: str) -> Iterator[None]:
        """Let an attempt of this task that has not begun yet wait until it is known whether it was cancelled."""
        decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.cancels[task_id] = decided
        try:
            yield
        finally:
            decided.set_result(None)
            if self.cancels.get(task_id) is decided:
                del self.cancels[task_id]

    def cancelled(self, task_id: str) -> Attempt | None:
        """End the attempt of a task that was cancelled, if it runs here."""
        attempt = self.attempts.get(task_id)
        if attempt is not None:
            attempt.end(Ending.CANCELLED)
        return attempt

    async def look(self) -> None:
        """Look in the store whether running tasks of this node were cancelled from elsewhere."""
        if self.attempts:
            found = await self._env.store.tasks.find(list(self.attempts))
            for task_id, task in found.items():
                if task.status is TaskStatus.CANCELLED:
                    self.cancelled(task_id)
        if self._env.clock.monotonic() < self._doubt_until and not self._claiming:
            await self._look_for_forgotten()

    async def _look_for_forgotten(self) -> None:
        """Give back what this node was given by a claim of which it heard an error only."""
        store, claims, held = self._env.store, self._claims, set(self._held)
        running = await store.aside(lambda: store.tasks.search(status=TaskStatus.RUNNING, limit=10_000))
        if self._claims != claims:
            return  # what was given meanwhile is among them
        for task in running:
            agent_id = task.assigned_agent_id
            if agent_id in self._cells and (task.task_id, task.attempt) not in held:
                claim = Claim(task, agent_id)
                self._hold(claim, self._env.spawn(self._give_back(claim), "give back a claim"))
