"""An agent that works on tasks, as ``shoal run`` runs it: registered, started, given one task for each input."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from shoal.cli.ending import INTERRUPTED, Interruption, in_runtime
from shoal.cli.show import line, text_of
from shoal.kernel.task import Task, TaskSpec, TaskStatus
from shoal.runtime import AgentRuntime

__all__ = ["Job", "carry_out"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run."""

    url: str
    name: str
    source: Any
    inputs: list[dict[str, Any]]
    isolation: str | None
    concurrency: int
    timeout_seconds: float | None
    max_retries: int
    json: bool


async def carry_out(job: Job, interruption: Interruption) -> int:
    """Run the agent on its inputs, print what comes of each, and return the exit code."""
    return await in_runtime(job.url, interruption, lambda runtime: _work(job, runtime, interruption))


async def _work(job: Job, runtime: AgentRuntime, interruption: Interruption) -> int:
    agent_id = await runtime.register_agent(
        job.name,
        job.source,
        isolation=job.isolation,  # type: ignore[arg-type]
        max_concurrent_tasks=job.concurrency,
    )
    await runtime.start_agent(agent_id)
    spec = TaskSpec(name=job.name, agent=agent_id, timeout_seconds=job.timeout_seconds, max_retries=job.max_retries)
    ids = await runtime.submit_tasks([msgspec.structs.replace(spec, input_data=given) for given in job.inputs])
    order = {task_id: index for index, task_id in enumerate(ids)}
    interruption.standing = lambda: _standing(runtime, order)
    failed = 0
    try:
        with _progress(len(ids), shown=not job.json) as advance:
            async for task in runtime.as_completed(ids):
                _show(order.pop(task.task_id), task, job.json)
                failed += task.status is not TaskStatus.COMPLETED
                advance()
    except asyncio.CancelledError:
        await runtime.tasks.cancel_many(list(order), "Interrupted")
        for task_id, index in order.items():  # it may have ended in that moment
            task = runtime.get_task_status(task_id)
            if job.json or task.status is not TaskStatus.CANCELLED:
                _show(index, task, job.json)
        return INTERRUPTED
    if failed and not job.json:
        print(f"{failed} of {len(ids)} failed", file=sys.stderr)
    return 1 if failed else 0


def _standing(runtime: AgentRuntime, order: dict[str, int]) -> tuple[int, int]:
    running = len(order.keys() & set(runtime.tasks.executing()))
    return running, len(order) - running


@contextlib.contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show how many have ended, on a terminal; the results are printed above."""
    if not (shown and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        bar = progress.add_task("tasks", total=total)
        yield lambda: progress.advance(bar)


def _show(index: int, task: Task, json: bool) -> None:
    took = None
    if task.started_at is not None and task.completed_at is not None:
        took = (task.completed_at - task.started_at).total_seconds()
    if json:
        line(
            {"index": index, "task_id": task.task_id, "status": task.status, "output": task.output_data}
            | {"error_type": task.error_type, "error_message": task.error_message, "seconds": took}
        )
        return
    result = (
        _result(task) if task.status is TaskStatus.COMPLETED else f"{task.error_type or ''}: {task.error_message or ''}"
    )
    print(f"[{index}] {task.status}{'' if took is None else f' in {took:.3f} s'}: {result}", flush=True)


def _result(task: Task) -> str:
    output = task.output_data
    if isinstance(output, dict) and set(output) == {"content"}:
        return text_of(output["content"])
    return text_of(output)
