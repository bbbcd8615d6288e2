"""The process of the team: one, which may be killed at any moment and started again on the same store."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from agents import Analyst, Member, Reader, Writer
from files import language_of
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from shoal import AgentRuntime, ResourceLimit, TaskSpec

__all__ = ["main", "task_specs"]

STAGES = ("read", "analyse", "write")
LIMITS = ResourceLimit(max_task_queue_size=None)
SOURCES_FIRST = {"Python": "high", "Markdown": "medium"}


def task_specs(files: list[str]) -> list[TaskSpec]:
    """Return all tasks: read and analyse each file, find the links, write the report.

    Each has an idempotency key: submitted again after a crash, the same batch stores nothing twice.
    """
    specs = []
    for path in files:
        priority = SOURCES_FIRST.get(language_of(path) or "", "low")
        given: dict[str, Any] = {"input_data": {"path": path}, "priority": priority, "max_retries": 2}
        read = f"read {path}"
        specs.append(_spec(read, capability="read", **given))
        specs.append(_spec(f"analyse {path}", agent="analyst", dependencies=[read], **given))
    analyses = [f"analyse {path}" for path in files]
    specs.append(_spec("link", agent="writer", dependencies=analyses))
    specs.append(_spec("write", agent="writer", dependencies=[*analyses, "link"]))
    return specs


def _spec(key: str, **given: Any) -> TaskSpec:
    return TaskSpec(name=key.partition(" ")[0], key=key, idempotency_key=key, **given)


async def main(plan: dict[str, Any]) -> int:
    """Do what is left of the plan; return how many tasks did not complete."""
    async with AgentRuntime(plan["store"], LIMITS, {"max_payload_mb": 64}) as runtime:
        await start_team(runtime, plan)
        specs = task_specs(plan["files"])
        task_ids = await runtime.submit_tasks(specs)
        return await watch(runtime, task_ids, ["write" if spec.name == "link" else spec.name for spec in specs])


async def start_team(runtime: AgentRuntime, plan: dict[str, Any]) -> None:
    """Register and start the agents."""
    team: list[tuple[str, type[Member], dict[str, Any]]] = [
        ("reader-1", Reader, {"capabilities": ["read"], "max_concurrent_tasks": 2}),
        ("reader-2", Reader, {"capabilities": ["read"], "max_concurrent_tasks": 2}),
        ("reader-3", Reader, {"capabilities": ["read"], "isolation": "thread"}),
        ("analyst", Analyst, {"isolation": "process"}),
        ("writer", Writer, {}),
    ]
    for name, agent, options in team:
        await runtime.register_agent(name, agent, plan["config"], **options)
        await runtime.start_agent(name)


async def watch(runtime: AgentRuntime, task_ids: list[str], stages: list[str]) -> int:
    """Show the progress until all tasks have ended."""
    failed = 0
    stage = dict(zip(task_ids, stages, strict=True))
    columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars = {name: progress.add_task(name, total=stages.count(name)) for name in STAGES}
        async for task in runtime.as_completed(task_ids):
            progress.advance(bars[stage[task.task_id]])
            if task.status != "completed":
                failed += 1
                progress.console.print(f"{task.idempotency_key}: {task.error_type}: {task.error_message}", markup=False)
    return failed


if __name__ == "__main__":
    try:
        from uvloop import run  # faster where it is installed
    except ImportError:
        from asyncio import run
    failed = run(main(json.loads(Path(sys.argv[1]).read_text())))
    sys.exit(1 if failed else 0)
