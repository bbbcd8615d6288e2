"""One execution of a task, as a value that goes through small steps: claimed, admitted, executed, settled."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import (
    DeadAgentError,
    LeaseLostError,
    PayloadError,
    ResourceLimitExceededError,
    TaskInterruptedError,
    TaskTimeoutError,
)
from shoal.kernel.ending import PROMPT_SECONDS, ended_within, enforce, run_bounded
from shoal.kernel.event import EventType, Fact
from shoal.kernel.failure import Failure
from shoal.kernel.message import AgentMessage
from shoal.kernel.owntime import OwnTimer
from shoal.kernel.payload import checked
from shoal.kernel.ports import Bell, Exit, Fence, Outcome, Settled, Settlement
from shoal.kernel.redelivery import again, fetch_when_due, with_mail
from shoal.kernel.task import Task, completed

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.scheduler import Scheduler

__all__ = ["Attempt", "Ending"]


class Ending(StrEnum):
    """Why an attempt is ended from outside."""

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Attempt:
    """One execution of *task* in *cell*."""

    def __init__(self, scheduler: Scheduler, cell: Cell, task: Task) -> None:
        self.env = cell.env
        self.scheduler = scheduler
        self.cell = cell
        self.task = task
        self.fence = Fence(task.task_id, self.env.node_id, task.attempt)
        self.entry = cell.enter("execute_task", task, attempt=self)
        self.ending: Ending | None = None
        self.stepped = False  # it recorded a step or checkpoint: losses before this attempt no longer count
        self.pulled: list[AgentMessage] = []  # durable messages that it took
        self.recorded: set[str] = set()  # steps that it recorded
        self.ordinals: dict[str, int] = {}  # by step: how many tasks and messages it has made so far
        self.last_progress = float("-inf")
        self._settled = False
        self._running = False
        self._code_ended = False
        self._left = False
        self._raised: BaseException | None = None  # what on_error is to hear of
        self._timer: OwnTimer | None = None

    # -- the way of an attempt

    async def run(self) -> None:
        """Execute and settle. What the agent's code raises becomes the task's error; nothing escapes."""
        self._running = True
        try:
            settlement = await self._execute()
        except BaseException:  # a bug of ours, or the end of the loop: the lane must come free all the same
            self._leave()
            raise
        finally:
            self._disarm()
            self._code_ended = True
        if self._raised is not None and self.ending is None:
            await self._tell(self._raised)
        await self.settle(settlement)
        self._leave()
        if self.ending is Ending.CANCELLED and not self.cell.closing:
            for message in self.pulled:  # it is not settled: what ends with a cell is given back with the cell
                await again(self.cell, message, "its task was cancelled")

    async def _tell(self, error: BaseException) -> None:
        """Let the agent hear of its error, in bounded time; nothing that happens here changes the outcome."""
        if "on_error" not in self.cell.abilities.hooks:
            return
        settings = self.env.settings
        entry = self.cell.enter("on_error", error, attempt=self)
        try:
            await run_bounded(entry, settings.hook_timeout_seconds, settings.cancel_grace_seconds)
        except asyncio.CancelledError:
            return  # it is ended from outside in this moment; its outcome is decided
        except Exception as second:  # noqa: BLE001  the first error is the one that is kept
            self.cell.post.hook_failed(self.cell, "on_error", Failure.of(second))
        finally:
            self.cell.leave(entry)

    async def _execute(self) -> Settlement:
        try:
            if (cancel := self.scheduler.cancels.get(self.task.task_id)) is not None:
                await asyncio.wait([cancel])
            if self.ending is None:
                self._arm()
                output = await self.cell.handle.invoke(self.entry.invocation)
                self._check_deadline()
                if self.ending is not Ending.TIMEOUT:
                    output, _ = checked(output, "output_data", self.env.settings.max_payload_bytes)
                    return self._settlement(Outcome.COMPLETED, output=output)
        except asyncio.CancelledError as error:
            if self.ending is None and not self.cell.handle.exited.done():
                if not _cancelled_from_outside():  # the agent's own: it awaited something that was cancelled
                    return self._failed(error)
                self.ending = Ending.INTERRUPTED  # the node itself goes down
        except TaskInterruptedError as error:
            return self._asked_again(error)
        except Exception as error:  # noqa: BLE001  whatever the agent's code raises belongs to the task
            return self._failed(error)
        return self._ended_settlement()

    def _ended_settlement(self) -> Settlement:
        if self.ending is Ending.TIMEOUT:
            seconds = self.task.timeout_seconds or self.env.limits.task_timeout_seconds
            fact = Fact(
                event_type=EventType.TASK_TIMEOUT,
                task_id=self.task.task_id,
                agent_id=self.cell.agent_id,
                node_id=self.env.node_id,
                details={"timeout_seconds": seconds, "attempt": self.task.attempt},
            )
            return self._error(Failure.of(TaskTimeoutError(seconds)), facts=(fact,))
        if self.cell.handle.exited.done():
            return self._died(self.cell.handle.exited.result())
        return self._interrupted("The attempt was stopped")

    def _failed(self, error: BaseException) -> Settlement:
        if self.ending is Ending.TIMEOUT:
            return self._ended_settlement()
        if self.cell.handle.exited.done():
            return self._died(self.cell.handle.exited.result())
        if isinstance(error, LeaseLostError) and self.env.lease_over():
            return self._interrupted("Its node lost its lease")
        failure = Failure.of(error)
        if not isinstance(error, (PayloadError, LeaseLostError)):
            self._raised = error
        return self._error(failure, retriable="PayloadError" not in failure.bases)

    def _died(self, exit: Exit) -> Settlement:
        if isinstance(exit.error, ResourceLimitExceededError):
            return self._error(Failure.of(exit.error))
        if exit.reason == "stopped" or self.cell.closing:
            return self._interrupted("Its agent was stopped")
        deaths = (0 if self.stepped else self.task.deaths) + 1
        if deaths >= self.env.settings.max_agent_deaths:
            error = DeadAgentError(
                f"Agent {self.cell.name!r} died {deaths} times in a row on this task (exit code {exit.exit_code})",
                reason="died",
                exit_code=exit.exit_code,
            )
            return self._error(Failure.of(error), retriable=False)
        return self._settlement(
            Outcome.INTERRUPTED,
            died=True,
            error_message=f"Agent {self.cell.name!r} died (exit code {exit.exit_code})",
        )

    def _asked_again(self, error: TaskInterruptedError) -> Settlement:
        """Put the task back because its agent asks for it, as often as a task may lose its node in a row."""
        asked = (0 if self.stepped else self.task.interruptions) + 1
        if asked >= self.env.settings.max_interruptions:
            return self._error(Failure.of(error), retriable=False)
        return self._settlement(Outcome.INTERRUPTED, error_message=str(error), lost=True)

    def _interrupted(self, text: str) -> Settlement:
        return self._settlement(Outcome.INTERRUPTED, error_message=text)

    def _error(self, failure: Failure, *, retriable: bool = True, facts: tuple[Fact, ...] = ()) -> Settlement:
        policy = self.task.retry
        retry = retriable and policy.allows(failure.bases, self.task.retry_count)
        wait = policy.delay(self.task.retry_count, self.env.clock.random.random()) if retry else 0.0
        return self._settlement(
            Outcome.RETRY if retry else Outcome.FAILED,
            error_type=failure.error_type,
            error_message=failure.message,
            not_before=self.env.clock.now() + timedelta(seconds=wait) if retry else None,
            facts=facts,
        )

    def note(self, **changes: Any) -> None:
        """Keep what was written of the task, so that it is known at its end without a look."""
        self.task = msgspec.structs.replace(self.task, **changes)

    def _settlement(self, outcome: Outcome, **fields: Any) -> Settlement:
        name, since = self.task.name, self.task.started_at
        agent_id = self.cell.agent_id
        return Settlement(fence=self.fence, agent_id=agent_id, outcome=outcome, name=name, started_at=since, **fields)

    async def settle(self, settlement: Settlement) -> None:
        """Record the outcome, once; the lane is offered again in the same group of commits."""
        if self._settled:
            return
        self._settled = True
        if self.ending is Ending.CANCELLED:  # recorded when it was cancelled
            return
        try:
            settlement, settled, task, bell = await self.env.persist(lambda: self._record(settlement))
        except (UnicodeError, ValueError) as error:  # what cannot be stored must not keep the task running for ever
            failed = self._error(Failure.of(error), retriable=False)
            settlement, settled, task, bell = await self.env.persist(lambda: self._record(failed))
        if settled.applied and settlement.outcome is not Outcome.INTERRUPTED:
            self.cell.count_result(settlement.outcome is not Outcome.COMPLETED)
        for given in settlement.returns:
            fetch_when_due(self.cell, given)
        self.scheduler.settled(settled, settlement, task, bell)

    async def _record(self, settlement: Settlement) -> tuple[Settlement, Settled, Task | None, Bell | None]:
        now = self.env.clock.now()
        if self.pulled:
            settlement = with_mail(self.cell, settlement, self.pulled)
        is_done = settlement.outcome is Outcome.COMPLETED
        task = completed(self.task, settlement.output, now) if is_done else None
        bell = None if task is None else self.scheduler.end_bell(task.task_id, task)
        done = self.env.store.tasks.settle(settlement, now=now, bell=bell)
        if self._code_ended:
            self._leave()
        return settlement, await done, task, bell

    def _leave(self) -> None:
        """Free the lane, once. Right after the settlement is on its way: the next claim joins its group of commits."""
        if not self._left:
            self._left = True
            self.scheduler.attempt_left(self)

    # -- ended from outside

    def end(self, ending: Ending) -> None:
        """Begin to end it. A time-out is recorded soon, also when the code does not listen; a cancel already was."""
        if self.ending is not None or self._settled:
            return
        self.ending = ending
        self.entry.stopping = True
        self._disarm()
        if self.cell.paused:
            self.cell.handle.release()
        if self._running and self.entry.asyncio_task is not None:  # else it sees the ending before it begins
            self.entry.asyncio_task.cancel()
            self.env.spawn(self._enforce(), f"end {self.task.name}")

    async def give_up(self) -> None:
        """Put the task back although its code has not ended; what that still does is void."""
        self.cell.give_up(self.entry)
        await self.settle(self._interrupted("The attempt was stopped"))
        self._leave()

    async def _enforce(self) -> None:
        grace = self.env.settings.cancel_grace_seconds
        coming_to_a_hold = self.cell.time.held and not self.cell.paused
        if coming_to_a_hold:  # its code hears of nothing until it is there
            async with self.cell.registration.lock:
                if self.cell.paused:
                    self.cell.handle.release()
        if self.ending is Ending.TIMEOUT and not await ended_within(self.entry, PROMPT_SECONDS):
            self.cell.give_up(self.entry)
            self.cell.handle.interrupt(self.entry.invocation.invocation_id)
            await self.settle(self._ended_settlement())
        await enforce(self.entry, grace)
        if self.cell.paused:
            async with self.cell.registration.lock:  # nobody resumes it meanwhile
                if self.cell.paused and not self.cell.dead:
                    self.cell.frozen = not await self.cell.hold(grace) or self.cell.frozen

    # -- time

    def _arm(self) -> None:
        seconds = self.task.timeout_seconds or self.env.limits.task_timeout_seconds
        if seconds is not None:
            self._timer = self.cell.time.timer(seconds, lambda: self.end(Ending.TIMEOUT))

    def _check_deadline(self) -> None:
        """Let the time-out count that could not strike because this attempt held the loop."""
        if self.ending is None and self._timer is not None and self._timer.over:
            self.ending = Ending.TIMEOUT

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
