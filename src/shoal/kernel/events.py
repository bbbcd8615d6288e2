"""The verbs on events: query, follow, export."""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from shoal.kernel.clock import as_utc
from shoal.kernel.event import Event, EventFilter, Severity
from shoal.kernel.news import News

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["FORMATS", "Events"]

FORMATS = ("jsonl", "csv", "json")
_PAGE = 500


class Events:
    """The append-only log, as readers see it."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._news = News()

    def query(
        self,
        event_type: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        severity: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        filters: EventFilter | None = None,
    ) -> list[Event]:
        """Return up to *limit* (1 to 10,000) events, newest first; every argument that is given must match."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 10_000:
            raise ValueError(f"limit must be 1 to 10000, not {limit!r:.80}")
        given = {
            "event_type": None if event_type is None else str(event_type),
            "agent_id": None if agent_id is None else self._env.store.agents.resolve(agent_id),
            "task_id": task_id,
            "severity": None if severity is None else Severity(severity),
            "since": None if since is None else as_utc(since),
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        return list(self._env.store.events.query(msgspec.structs.replace(filters or EventFilter(), **chosen), limit))

    async def follow(self, after_id: int | None = None, filters: EventFilter | None = None) -> AsyncIterator[Event]:
        """Yield every event after *after_id* (None: from now on), in order, without gap or double, as they come.

        Raises RuntimeStoppingError when the runtime stops, LeaseLostError when its node is given up.
        """
        self._env.check_running()
        mark = self._env.store.events.last_id() if after_id is None else after_id
        wanted = msgspec.structs.replace(filters or EventFilter(), oldest_first=True)
        while True:
            with self._news.expected() as news:
                newest = self._env.store.events.last_id()
                page = self._env.store.events.query(msgspec.structs.replace(wanted, after_id=mark), _PAGE)
                for event in page:
                    mark = event.event_id
                    yield event
                if len(page) < _PAGE:
                    mark = max(mark, newest)
                    if not news.done() and self._env.store.events.last_id() <= newest:
                        await news

    def wake(self) -> None:
        """Let followers look again: something was committed, or the poll is due."""
        self._news.wake()

    def close(self, why: Callable[[], Exception]) -> None:
        """End the followers with an error that *why* makes."""
        self._news.close(why)

    async def export(
        self, output_path: str | os.PathLike[str], format: str = "jsonl", filters: EventFilter | None = None
    ) -> int:
        """Write all matching events, oldest first, to a file and return how many; a failed export leaves no file."""
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r:.80}")
        events = self._env.store.events.scan(filters or EventFilter())
        return await asyncio.to_thread(_export, events, Path(output_path), format)


def _export(events: Iterator[Event], path: Path, format: str) -> int:
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.absolute().parent}")
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            number = {"jsonl": _as_lines, "csv": _as_csv, "json": _as_array}[format](events, file)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return number


def _line(event: Event) -> str:
    return msgspec.json.encode(event).decode()


def _as_lines(events: Iterator[Event], file: IO[str]) -> int:
    number = 0
    for event in events:
        file.write(_line(event) + "\n")
        number += 1
    return number


def _as_array(events: Iterator[Event], file: IO[str]) -> int:
    number = 0
    file.write("[")
    for event in events:
        file.write(("\n" if number == 0 else ",\n") + _line(event))
        number += 1
    file.write("\n]\n")
    return number


def _as_csv(events: Iterator[Event], file: IO[str]) -> int:
    writer = csv.writer(file)
    writer.writerow(Event.__struct_fields__)
    number = 0
    for event in events:
        fields = msgspec.to_builtins(event)
        fields["details"] = msgspec.json.encode(event.details).decode()
        writer.writerow([fields[name] for name in Event.__struct_fields__])
        number += 1
    return number
