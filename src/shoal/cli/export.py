"""``shoal export``."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shoal.cli.events import Agent, Least, Since, TaskId, Type, filters_of
from shoal.cli.options import Json, Store, url_of
from shoal.cli.show import document
from shoal.client import Client
from shoal.kernel.event import EventType, Severity

__all__ = ["Format", "export"]


class Format(StrEnum):
    """What is written."""

    JSONL = "jsonl"
    CSV = "csv"
    JSON = "json"


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write; a file that is there is replaced.")],
    format: Annotated[Format, typer.Option(help="A JSON object a line, CSV, or one JSON array.")] = Format.JSONL,
    type: Type = None,
    agent: Agent = None,
    task: TaskId = None,
    severity: Least = None,
    since: Since = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Write all events that match to FILE, oldest first. One that fails leaves no file.

    \b
    Example:
      shoal export failures.csv --format csv --severity error --since 7d
    """
    number = asyncio.run(_export(url_of(store), file, format, (type, agent, task, severity, since)))
    if json:
        document({"file": str(file), "format": format, "events": number})
    else:
        print(f"{number} events written to {file}")


async def _export(
    url: str,
    file: Path,
    format: Format,
    wanted: tuple[EventType | None, str | None, str | None, Severity | None, str | None],
) -> int:
    async with Client(store=url, read_only=True) as client:
        return await client.events.export(file, str(format), filters_of(client, *wanted))
