"""The verbs on tasks: submit, wait, cancel, look."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from shoal.errors import TaskNotFoundError, WaitTimeoutError, nearest
from shoal.kernel.ports import Bell, Cancelled
from shoal.kernel.submission import Submission, check_acyclic, check_timeout
from shoal.kernel.task import RetryPolicy, Task, TaskSpec, TaskStatus

if TYPE_CHECKING:
    from shoal.kernel.entry import Entry
    from shoal.kernel.env import Env
    from shoal.kernel.scheduler import Scheduler
    from shoal.kernel.waiting import Waiting

__all__ = ["TaskOptions", "Tasks", "check_options"]


class TaskOptions(TypedDict, total=False):
    """Further options of ``submit_task``; at most one of agent, capability, group, and of not_before, delay_seconds."""

    agent: str | None
    capability: str | None
    group: str | None
    on_dependency_failure: Literal["fail", "run"]
    retry: RetryPolicy | None
    idempotency_key: str | None
    not_before: datetime | None
    delay_seconds: float | None
    metadata: Mapping[str, object]


def check_options(given: Mapping[str, object], known: type[Any], verb: str) -> None:
    """Raise TypeError for an option that *known* (a TypedDict) does not have, naming the nearest one it has."""
    names = known.__annotations__
    for name in given:
        if name not in names:
            raise TypeError(f"{verb} has no option {name!r}{nearest(name, names)}")


class Tasks:
    """Everything a caller does with tasks."""

    def __init__(self, env: Env, waiting: Waiting, scheduler: Scheduler, submission: Submission) -> None:
        self._env = env
        self.waiting = waiting
        self._scheduler = scheduler
        self._submission = submission

    # -- submit

    async def submit(
        self,
        name: str,
        input_data: Mapping[str, Any] | None = None,
        priority: int | str = 50,
        dependencies: Sequence[str] | None = None,
        timeout_seconds: float | None = None,
        max_retries: int = 0,
        *,
        parent: Task | None = None,
        **options: Unpack[TaskOptions],
    ) -> str:
        """Store one task and return its id; when this returns, it is on disk."""
        self._env.check_running()
        check_options(options, TaskOptions, "submit_task")
        spec = {
            "name": name,
            "input_data": input_data,
            "priority": priority,
            "dependencies": dependencies or (),
            "timeout_seconds": timeout_seconds,
            "max_retries": max_retries,
            **options,
        }
        return (await self._enqueue([self._submission.task(spec, parent, {})]))[0]

    async def submit_many(self, specs: Sequence[TaskSpec]) -> list[str]:
        """Store several tasks, all or none, in one transaction; return their ids in order."""
        self._env.check_running()
        keys: dict[str, str] = {}
        for spec in specs:
            if spec.key is not None:
                if spec.key in keys:
                    raise ValueError(f"the key {spec.key[:80]!r} stands twice in one batch")
                keys[spec.key] = self._env.clock.new_id()
        check_acyclic(specs, keys)
        tasks = []
        for spec in specs:
            fields = {field: getattr(spec, field) for field in spec.__struct_fields__ if field != "key"}
            tasks.append(self._submission.task(fields, None, keys, keys.get(spec.key or "")))
        return await self._enqueue(tasks) if tasks else []

    async def _enqueue(self, tasks: list[Task]) -> list[str]:
        env = self._env
        bell, limit = Bell("tasks"), env.limits.max_task_queue_size
        stored = env.store.tasks.enqueue(tasks, now=env.clock.now(), max_pending=limit, bell=bell)
        self._scheduler.kick()
        ids = await self.waiting.submitted(tasks, stored)
        if fresh := sum(task.task_id == task_id for task, task_id in zip(tasks, ids, strict=True)):
            env.numbers.count("total_tasks", fresh)
            bell.ring_by(env.bus)
        return ids

    # -- wait

    async def wait(self, task_id: str, timeout_seconds: float | None = None) -> Task:
        """Wait until the task has ended, whichever way, and return it.

        Raises WaitTimeoutError; RuntimeStoppingError when the runtime stops, LeaseLostError when its node is given up.
        """
        self._env.check_running()
        check_timeout(timeout_seconds)
        future = self.waiting.wait(task_id)
        if timeout_seconds is None:
            return await future
        try:
            async with self._env.clock.timeout(timeout_seconds):
                return await future
        except TimeoutError:
            raise WaitTimeoutError([task_id], timeout_seconds) from None

    async def wait_in(self, entry: Entry | None, task_id: str) -> Task:
        """Wait inside an attempt: meanwhile its lane is lent to tasks of its own family."""
        future = self.waiting.wait(task_id)
        if entry is None or future.done():
            return await future
        entry.waits_for_task = task_id
        self._scheduler.touch(entry.cell.agent_id)
        self._scheduler.kick()
        try:
            return await future
        finally:
            entry.waits_for_task = None
            self._scheduler.touch(entry.cell.agent_id)

    async def wait_many(
        self,
        task_ids: Sequence[str],
        timeout_seconds: float | None = None,
        return_when: Literal["all", "any", "failure"] = "all",
    ) -> list[Task]:
        """Wait for all, for the first, or until one has not completed; return those that have ended, in the
        order asked."""
        self._env.check_running()
        check_timeout(timeout_seconds)
        if return_when not in ("all", "any", "failure"):
            raise ValueError(f"return_when must be all, any or failure, not {return_when!r:.80}")
        futures = {task_id: self.waiting.wait(task_id) for task_id in dict.fromkeys(task_ids)}
        try:
            async with self._env.clock.timeout(timeout_seconds):
                await _until(list(futures.values()), return_when)
        except TimeoutError:
            pending = [task_id for task_id, future in futures.items() if not future.done()]
            raise WaitTimeoutError(pending, timeout_seconds) from None
        finally:
            ended = {task_id: future for task_id, future in futures.items() if future.done()}
            for future in futures.values():
                future.cancel()
        return [ended[task_id].result() for task_id in task_ids if task_id in ended]

    async def as_completed(self, task_ids: Sequence[str], timeout_seconds: float | None = None) -> AsyncIterator[Task]:
        """Yield the tasks as they end."""
        self._env.check_running()
        check_timeout(timeout_seconds)
        deadline = None if timeout_seconds is None else self._env.clock.monotonic() + timeout_seconds
        futures = {self.waiting.wait(task_id): task_id for task_id in dict.fromkeys(task_ids)}
        try:
            pending = set(futures)
            while pending:
                left = None if deadline is None else max(0.0, deadline - self._env.clock.monotonic())
                try:
                    async with self._env.clock.timeout(left):
                        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                except TimeoutError:
                    raise WaitTimeoutError([futures[future] for future in pending], timeout_seconds) from None
                for future in sorted(done, key=lambda f: f.result().completed_at or f.result().created_at):
                    yield future.result()
        finally:
            for future in futures:
                future.cancel()

    # -- cancel

    async def cancel(self, task_id: str, reason: str | None = None) -> bool:
        """Cancel a task with its children; True when it ended as cancelled, False when it had already ended.

        Committed first, then acted upon; returns when what ran on this node has ended.
        """
        return (await self.cancel_many([task_id], reason))[0]

    async def cancel_many(self, task_ids: Sequence[str], reason: str | None = None) -> list[bool]:
        """Cancel several tasks together, each with its children; return for each whether it ended as cancelled.

        None of them begins because another ends: those that wait are cancelled before those that run, and what depends
        on another one of them before that one. Raises TaskNotFoundError before any is cancelled.
        """
        self._env.check_running()
        ordered = await self._dependents_first(task_ids) if len(task_ids) > 1 else task_ids
        with contextlib.ExitStack() as deciding:
            for task_id in ordered:
                deciding.enter_context(self._scheduler.cancelling(task_id))
            now = self._env.clock.now()
            done = [self._env.store.tasks.cancel(task_id, reason, now=now) for task_id in ordered]  # before any claim
            results = await asyncio.gather(*done)
        ended = tuple(end for cancelled in results for end in cancelled.ended)
        await self.stop_cancelled(
            Cancelled(
                applied=any(cancelled.applied for cancelled in results),
                stopped=tuple(end for cancelled in results for end in cancelled.stopped),
                ended=ended,
                promoted=any(cancelled.promoted for cancelled in results),
            )
        )
        gone = {end.task_id for end in ended if end.status is TaskStatus.CANCELLED}
        return [task_id in gone for task_id in task_ids]

    async def _dependents_first(self, task_ids: Sequence[str]) -> list[str]:
        found = await self._env.store.tasks.find(list(task_ids))
        for task_id in task_ids:
            if task_id not in found:
                raise TaskNotFoundError(task_id)
        graph = {task_id: [other for other in task.dependencies if other in found] for task_id, task in found.items()}
        order = reversed(list(TopologicalSorter(graph).static_order()))
        return sorted(order, key=lambda task_id: found[task_id].status is TaskStatus.RUNNING)

    def executing(self) -> list[str]:
        """Return the ids of the tasks that this node executes now."""
        return list(self._scheduler.attempts)

    async def stop_cancelled(self, cancelled: Cancelled) -> None:
        """End the attempts of tasks that were cancelled, tell the waiters, and claim what became ready."""
        running: list[asyncio.Task[Any]] = []
        for ended in cancelled.stopped:
            attempt = self._scheduler.cancelled(ended.task_id)
            if attempt is None:
                self._env.bus.ring("cancel", ended.task_id)
            elif attempt.entry.asyncio_task is not None and attempt.entry.asyncio_task is not asyncio.current_task():
                running.append(attempt.entry.asyncio_task)
        for ended in cancelled.ended:
            self._scheduler.task_ended(ended.task_id, ended.status)
        if cancelled.promoted:
            self._scheduler.kick()
        if running:
            limit = self._env.settings.cancel_grace_seconds + 1
            try:
                async with self._env.clock.timeout(limit):
                    await asyncio.wait(running)
            except TimeoutError:
                return  # abandoned: its agent is being built anew

    # -- look

    def get(self, task_id: str) -> Task:
        """Return the task."""
        return self._env.store.tasks.get(task_id)

    def search(
        self,
        status: TaskStatus | str | None = None,
        limit: int = 100,
        name: str | None = None,
        agent_id: str | None = None,
    ) -> list[Task]:
        """Return tasks, newest first."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 10_000:
            raise ValueError(f"limit must be 1 to 10000, not {limit!r:.80}")
        agent = None if agent_id is None else self._env.store.agents.resolve(agent_id)
        wanted = None if status is None else TaskStatus(status)
        return self._env.store.tasks.search(status=wanted, limit=limit, name=name, agent_id=agent)


async def _until(futures: list[asyncio.Future[Task]], return_when: str) -> None:
    if not futures:
        return
    if return_when == "all":
        await asyncio.wait(futures)
        return
    pending = set(futures)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if return_when == "any" or any(f.result().status is not TaskStatus.COMPLETED for f in done):
            return
