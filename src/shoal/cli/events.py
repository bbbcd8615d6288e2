"""``shoal events``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from shoal.cli.options import Json, Store, moment, url_of
from shoal.cli.show import document, line, local, table, text_of
from shoal.client import Client
from shoal.kernel.event import Event, EventFilter, EventType, Severity

__all__ = ["Agent", "Least", "Since", "TaskId", "Type", "events", "filters_of"]

Type = Annotated[EventType | None, typer.Option("--type", metavar="TYPE", help="Only this type, as task_failed.")]
Agent = Annotated[str | None, typer.Option(metavar="NAME", help="Only of this agent, by name or id.")]
TaskId = Annotated[str | None, typer.Option("--task", metavar="ID", help="Only of this task.")]
Least = Annotated[
    Severity | None, typer.Option("--severity", help="Only of this severity or above.", show_choices=True)
]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only from then on: 10m, 2h, 7d, or ISO 8601.")]


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens; ends with Ctrl-C.")] = False,
    type: Type = None,
    agent: Agent = None,
    task: TaskId = None,
    severity: Least = None,
    since: Since = None,
    after: Annotated[int | None, typer.Option(metavar="ID", min=0, help="Only those after this event id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many; --follow begins with them.")] = 20,
    store: Store = None,
    json: Json = False,
) -> None:
    """Show events, oldest first; with --follow also what comes, without gap or double.

    For people, agents are shown by name, and what is empty as `-`, so that each line has the same columns.
    To go on later where this ended, give --follow the last id with --after: all that came since is shown first.

    \b
    Example:
      shoal events --follow --severity warning --json
    """
    asyncio.run(_events(url_of(store), (type, agent, task, severity, since, after), limit, follow, json))


def filters_of(
    client: Client,
    type: EventType | None,
    agent: str | None,
    task: str | None,
    severity: Severity | None,
    since: str | None,
    after: int | None = None,
) -> EventFilter:
    """Return what the options ask for. Raises AgentNotFoundError, ConfigError."""
    return EventFilter(
        event_type=None if type is None else str(type),
        agent_id=None if agent is None else client.get_agent_status(agent).agent_id,
        task_id=task,
        min_severity=severity,
        since=None if since is None else moment(since),
        after_id=after,
    )


async def _events(
    url: str,
    wanted: tuple[EventType | None, str | None, str | None, Severity | None, str | None, int | None],
    limit: int,
    follow: bool,
    json: bool,
) -> None:
    async with Client(store=url, read_only=True) as client:
        filters = filters_of(client, *wanted)
        if not follow:
            _show_all(client.events.query(limit=limit, filters=filters)[::-1], _Names(client), json)
            return
        names = _Names(client)
        mark = filters.after_id
        if mark is None:  # the newest ones first, then on from there
            mark = client.store.events.last_id()
            before = [event for event in client.events.query(limit=limit, filters=filters) if event.event_id <= mark]
            for event in before[::-1]:
                _show(event, names, json)
        async for event in client.events.follow(mark, filters):
            _show(event, names, json)


class _Names:
    """The names of agents by id; of one registered meanwhile too."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, str] = {}

    def of(self, agent_id: str | None) -> str | None:
        """Return an agent's name, or the id of one that is no longer known."""
        if agent_id is not None and agent_id not in self._known:
            self._known |= {agent.agent_id: agent.name for agent in self._client.list_agents()}
            self._known.setdefault(agent_id, agent_id)
        return None if agent_id is None else self._known[agent_id]


def _show_all(found: list[Event], names: _Names, json: bool) -> None:
    if json:
        document(found)
        return
    columns = ("id", "time", "severity", "type", "agent", "task", "details")
    table(columns, [_cells(event, names) for event in found], empty="no events")


def _cells(event: Event, names: _Names) -> tuple[object, ...]:
    details = text_of(event.details) if event.details else ""
    return (
        event.event_id,
        local(event.timestamp),
        event.severity,
        event.event_type,
        names.of(event.agent_id),
        event.task_id,
        details,
    )


def _show(event: Event, names: _Names, json: bool) -> None:
    if json:
        line(msgspec.to_builtins(event))
    else:
        print("  ".join("-" if cell in (None, "") else str(cell) for cell in _cells(event, names)), flush=True)
