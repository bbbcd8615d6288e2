"""``shoal tasks``: list, show, submit, cancel, wait."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from shoal.cli.nodes import is_gone
from shoal.cli.options import EPILOG, SETTINGS, Json, Store, input_of, seconds, url_of
from shoal.cli.show import clip, document, facts, local, table, text_of
from shoal.client import Client
from shoal.kernel.task import Task, TaskStatus
from shoal.kernel.tasks import TaskOptions

__all__ = ["Until", "app", "cancel", "list_", "show", "submit", "wait"]

_HELP = """Look at tasks, and give and take them.

\b
Example:
  shoal tasks list --status pending
"""

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=SETTINGS,
    help=_HELP,
)

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of tasks.")]


Input = Annotated[
    str | None, typer.Argument(metavar="INPUT", help='A JSON object; any other text is {"message": TEXT}.')
]
Agent = Annotated[str | None, typer.Option(metavar="NAME", help="Only this agent may run it.")]
Capability = Annotated[str | None, typer.Option(metavar="WORD", help="Any agent that can do this.")]
After = Annotated[list[str] | None, typer.Option(metavar="ID", help="Only after this task; may be repeated.")]
Group = Annotated[str | None, typer.Option(metavar="NAME", help="Any member of this group.")]


class Until(StrEnum):
    """When a wait ends."""

    ALL = "all"
    ANY = "any"
    FAILURE = "failure"


@app.command("list", epilog=EPILOG)
def list_(
    status: Annotated[TaskStatus | None, typer.Option(help="Only those in this state.")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this name.")] = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only those given to this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 20,
    store: Store = None,
    json: Json = False,
) -> None:
    """List tasks, newest first.

    \b
    Example:
      shoal tasks list --status failed --limit 50
    """

    async def search() -> tuple[list[Task], dict[str, str]]:
        async with Client(store=url_of(store), read_only=True) as client:
            names = {agent.agent_id: agent.name for agent in client.list_agents()}
            return client.tasks.search(status, limit, name, agent), names

    found, names = asyncio.run(search())
    if json:
        document(found)
        return
    columns = ("id", "name", "status", "prio", "try", "agent", "created", "took", "result")
    table(columns, [_row(task, names) for task in found], empty="no tasks")


def _row(task: Task, names: dict[str, str]) -> tuple[object, ...]:
    agent_id = task.assigned_agent_id or task.agent
    return (
        task.task_id,
        clip(task.name, 30),
        task.status,
        task.priority,
        task.attempt or "",
        names.get(agent_id or "", agent_id or task.capability or task.group),
        local(task.created_at),
        _took(task),
        clip(_outcome(task)),
    )


def _outcome(task: Task) -> str | None:
    """Return what came of a task, or how far it is; a cancelled one has no result but a reason, if one was given."""
    if task.status is TaskStatus.COMPLETED:
        return text_of(task.output_data)
    return task.error_message or (None if task.done else task.progress_note)


def _took(task: Task) -> str:
    if task.started_at is None or task.completed_at is None:
        return ""
    return f"{(task.completed_at - task.started_at).total_seconds():.3f} s"


@app.command("show", epilog=EPILOG)
def show(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")],
    store: Store = None,
    json: Json = False,
) -> None:
    """Show all that is known of one task, with its recorded steps; of a pending one also why it does not run yet.

    A running task whose node is gone runs no more: the next node to start takes it over.

    \b
    Example:
      shoal tasks show 0199d0a4-7d6c-7b3e-9a51-0c8b5a2f6e11
    """

    shown = asyncio.run(_read(url_of(store), task_id))
    if json:
        document(shown)
        return
    if not shown["retry"].max_retries:
        del shown["retry"]
    if shown["status"] is TaskStatus.COMPLETED:
        shown["output_data"] = text_of(shown["output_data"])  # null is a result, too
    shown["node"] = "gone: it runs no more" if shown.pop("node_gone") else None
    facts(shown | {f"step {step['key']}": text_of(step["value"]) for step in shown.pop("steps")})


async def _read(url: str, task_id: str) -> dict[str, Any]:
    async with Client(store=url, read_only=True) as client:
        task = client.tasks.get(task_id)
        shown = {name: getattr(task, name) for name in task.__struct_fields__}
        known = {agent.agent_id: agent for agent in client.list_agents()}
        shown["agent_name"], shown["node_gone"] = None, False
        if agent := known.get(task.assigned_agent_id or task.agent or ""):
            shown["agent_name"] = agent.name
            gone = is_gone(agent, client.list_nodes(), client.store.clock.now())
            shown["node_gone"] = gone and task.status is TaskStatus.RUNNING
        steps = client.store.journal.load(f"task:{task_id}").values()
        shown["steps"] = [{"key": step.key, "value": step.value, "at": step.at} for step in steps]
        if task.status is TaskStatus.PENDING:
            shown["queue_position"] = msgspec.to_builtins(client.queue.position(task_id))
        return shown


@app.command("submit", epilog=EPILOG)
def submit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The task's name.")],
    input: Input = None,
    agent: Agent = None,
    capability: Capability = None,
    group: Group = None,
    priority: Annotated[str, typer.Option(help="0 (first) to 100, or high, medium, low.")] = "50",
    after: After = None,
    delay: Annotated[str | None, typer.Option(metavar="TIME", help="Not before so long from now, as 10m.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="For each attempt, as 90s.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often it is tried again after an error.")] = 0,
    key: Annotated[str | None, typer.Option(metavar="TEXT", help="Idempotency key: submitted once.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end and show it, as `tasks wait` does.")] = False,
    store: Store = None,
    json: Json = False,
) -> int:
    """Store a task, ring the bell of the running nodes, and print its id. It is on disk when this returns.

    Without a target any running agent may take it. Nothing is lost when none runs: it waits.

    \b
    Example:
      shoal tasks submit resize '{"path": "a.png"}' --capability images --wait
    """
    options: TaskOptions = {"agent": agent, "capability": capability, "group": group, "idempotency_key": key}
    options["delay_seconds"] = None if delay is None else seconds(delay)

    async def give() -> int:
        async with Client(store=url_of(store)) as client:
            task_id = await client.tasks.submit(
                name,
                None if input is None else input_of(input),
                int(priority) if priority.lstrip("-").isdigit() else priority,
                after or (),
                None if timeout is None else seconds(timeout),
                retries,
                **options,
            )
            if wait:
                return _show_ended(await client.tasks.wait_many([task_id]), json, many=False)
            if json:
                document({"task_id": task_id})
            else:
                print(task_id)
            return 0

    return asyncio.run(give())


@app.command("cancel", epilog=EPILOG)
def cancel(
    ids: Ids,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Kept as the task's error message.")] = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Cancel tasks together, with their children. Ends with 1 when one of them had already ended.

    A running one is told to end by its node, at once where its bell is heard, at worst a second later.

    \b
    Example:
      shoal tasks cancel 0199d0a4-7d6c-7b3e-9a51-0c8b5a2f6e11 --reason "wrong file"
    """

    async def take() -> list[dict[str, object]]:
        async with Client(store=url_of(store)) as client:
            cancelled = await client.tasks.cancel_many(ids, reason)
            return [
                {"task_id": task_id, "cancelled": ended, "status": client.tasks.get(task_id).status}
                for task_id, ended in zip(ids, cancelled, strict=True)
            ]

    done = asyncio.run(take())
    if json:
        document(done)
    else:
        for each in done:
            print(
                f"{each['task_id']}  {'cancelled' if each['cancelled'] else 'had already ended: ' + str(each['status'])}"
            )
    return 0 if all(each["cancelled"] for each in done) else 1


@app.command("wait", epilog=EPILOG)
def wait(
    ids: Ids,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="Give up after so long, as 90s.")] = None,
    until: Annotated[
        Until, typer.Option(help="All have ended, the first has, or the first that did not complete.")
    ] = Until.ALL,
    store: Store = None,
    json: Json = False,
) -> int:
    """Wait until tasks have ended and show how. Ends with 1 when one did not complete, or the time is over.

    \b
    Example:
      shoal tasks wait $(shoal tasks submit resize '{"path": "a.png"}') --timeout 5m
    """
    limit = None if timeout is None else seconds(timeout)

    async def hear() -> int:
        async with Client(store=url_of(store)) as client:
            return _show_ended(await client.tasks.wait_many(ids, limit, str(until)), json, many=True)  # type: ignore[arg-type]

    return asyncio.run(hear())


def _show_ended(tasks: list[Task], json: bool, *, many: bool) -> int:
    if json:
        document(tasks if many else tasks[0])
    else:
        for task in tasks:
            print(f"{task.task_id}  {task.status}  {_outcome(task) or ''}".rstrip())
    return 0 if all(task.status is TaskStatus.COMPLETED for task in tasks) else 1
