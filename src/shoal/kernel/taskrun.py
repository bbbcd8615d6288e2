"""The run inside a task: what patterns do in ``execute_task`` is journaled with the task, so a retried attempt replays."""

from __future__ import annotations

import asyncio
from datetime import datetime

import msgspec

from shoal.errors import LeaseLostError
from shoal.kernel.ambient import AgentAmbient, current_ambient
from shoal.kernel.context import current_invocation
from shoal.kernel.linkruns import LinkRuns
from shoal.kernel.liverun import LiveRun
from shoal.kernel.ports import Begun, RunEnd, RunOrder
from shoal.kernel.run import RunStatus
from shoal.kernel.scope import Scope, current_scope
from shoal.kernel.starting import live_in_memory, new_record
from shoal.kernel.task import Task

__all__ = ["ACCOUNT", "RunOfTask", "in_task", "present_place", "present_scope", "run_of"]

ACCOUNT = "shoal_account"
"""The key of a task's metadata that names the account of the budget for which it works."""


def run_of(task_id: str) -> str:
    """Return the id of the run inside a task."""
    return f"task:{task_id}"


class RunOfTask:
    """The run of one attempt of a task, begun when it is first asked for."""

    def __init__(self, ambient: AgentAmbient, invocation_id: str, task: Task) -> None:
        self._begun = asyncio.ensure_future(_begin(ambient, invocation_id, task))

    async def live(self) -> LiveRun:
        """Return the run. Raises LeaseLostError when the attempt is not the present one."""
        return await asyncio.shield(self._begun)

    async def over(self, error: BaseException | None) -> None:
        """The attempt has ended: so has this life of its run."""
        if not self._begun.done():
            self._begun.cancel()
        if self._begun.cancelled() or self._begun.exception() is not None:
            return
        live = self._begun.result()
        if live.pen.broken is not None:
            return
        ended = RunEnd(status=RunStatus.COMPLETED)
        if error is not None:
            ended = RunEnd(status=RunStatus.INTERRUPTED, error=str(error) or type(error).__name__)
        try:
            await live.settle_down()
            await live.writer.end(live.hold, ended, now=live.clock.now())
        except LeaseLostError:
            return  # another attempt has it now


async def _begin(ambient: AgentAmbient, invocation_id: str, task: Task) -> LiveRun:
    clock = ambient.clock
    account = task.metadata.get(ACCOUNT)
    record = new_record(
        "task",
        None,
        clock,
        run_id=run_of(task.task_id),
        parent_account=account if isinstance(account, str) else None,
        seed=0,
    )
    writer = LinkRuns(ambient.link, invocation_id)
    begun = await writer.begin(RunOrder(record=record, node_id=""), now=record.started_at)
    if task.retry_count:
        begun = await _without_failures(writer, begun, now=clock.now())
    live = LiveRun(writer, begun, clock, durable=True)
    live.root.settle_in("task")  # several patterns may be run in it: each gets a place below
    return live


async def _without_failures(writer: LinkRuns, begun: Begun, *, now: datetime) -> Begun:
    """Forget the steps that failed: a task that is retried after an error is to try them again, and keep the others."""
    assert begun.hold is not None, "a task's run is always taken up"
    kept = {step.key: step for step in begun.steps if step.error is None}
    for step in begun.steps:
        if step.error is not None:
            await writer.forget(begun.hold, step.key, tuple(kept), now=now)
    return msgspec.structs.replace(begun, steps=tuple(kept.values()))


def in_task() -> bool:
    """Tell whether this code is part of the execution of a task."""
    invocation = current_invocation.get()
    return isinstance(current_ambient.get(), AgentAmbient) and invocation is not None and invocation.task is not None


async def present_scope(name: str) -> Scope:
    """Return the place for what is called *name* and entered now.

    In a run it is below the present place; in ``execute_task`` in the run of the task; else in a new run in memory.
    """
    return (await present_place(name)).settle_in(name)


async def present_place(name: str) -> Scope:
    """Return the present place itself, for what makes places of its own below it.

    Outside of any run it is that of a new run in memory, called *name*.
    """
    scope = current_scope.get()
    if scope is not None:
        return scope
    ambient, invocation = current_ambient.get(), current_invocation.get()
    if isinstance(ambient, AgentAmbient) and invocation is not None and invocation.task is not None:
        run = ambient.runs.get(invocation.invocation_id)
        if run is None:
            run = ambient.runs[invocation.invocation_id] = RunOfTask(ambient, invocation.invocation_id, invocation.task)
        assert isinstance(run, RunOfTask)
        return (await run.live()).root
    return live_in_memory(name).root
