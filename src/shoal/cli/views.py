"""Which view of a run is right here, and how its events come to all who want them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TextIO, cast

import msgspec

from shoal.cli.plainview import PlainView
from shoal.kernel.run import RunEvent

__all__ = ["Follower", "View", "events_file", "standard_error", "view_of"]


class View(Protocol):
    """Shows a run by its events, while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def take(self, event: RunEvent) -> None:
        """Take the next event."""
        ...

    def say(self, text: str) -> str:
        """Return how a line is to be written to the terminal from outside of the view, which keeps it too, if it can."""
        ...

    def paused(self) -> AbstractContextManager[Any]:
        """Leave the terminal to somebody else meanwhile."""
        ...


class _Lines:
    """A line for each event, or nothing at all."""

    def __init__(self, plain: PlainView | None) -> None:
        self._plain = plain

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._plain is not None and not isinstance(error, BrokenPipeError):
            self._plain.flush()

    def take(self, event: RunEvent) -> None:
        if self._plain is not None:
            self._plain.take(event)

    def say(self, text: str) -> str:
        return f"{text}\n"

    def paused(self) -> AbstractContextManager[Any]:
        return nullcontext()


def view_of(run_id: str, *, plain: bool, quiet: bool = False) -> View:
    """Return what shows a run: drawn in place on a terminal, else, or with *plain*, as lines; with *quiet* not at all."""
    if quiet:
        return _Lines(None)
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return _Lines(PlainView(lambda line: print(line, flush=True)))
    from shoal.cli.liveview import LiveView  # what draws is loaded where something is drawn
    from shoal.cli.runview import RunView

    return LiveView(RunView(run_id))


class _StandardError(io.TextIOBase):
    """Standard error as it is at each moment: what is logged while a view is drawn stands above it."""

    def write(self, text: str) -> int:
        """Write *text*."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Write what waits."""
        sys.stderr.flush()


def standard_error() -> TextIO:
    """Return standard error for what is logged while a view is drawn."""
    return cast(TextIO, _StandardError())


class Follower:
    """Gives the events of a run to all who take them. Whoever cannot any more gets none, and does not hinder the others.

    Attributes:
        errors: why somebody could not.
    """

    def __init__(self, *takers: Callable[[RunEvent], object]) -> None:
        self._takers = list(takers)
        self.errors: list[Exception] = []

    async def follow(self, events: AsyncIterator[RunEvent]) -> None:
        """Give them all there is, until the end."""
        async for event in events:
            for take in tuple(self._takers):
                try:
                    take(event)
                except Exception as error:  # noqa: BLE001  raised by whoever started it, when all is done
                    self._takers.remove(take)
                    self.errors.append(error)


@contextmanager
def events_file(path: Path | None) -> Iterator[Callable[[RunEvent], object]]:
    """Open *path* anew and give what writes each event into it as a line of JSON, at once; None: it goes nowhere."""
    if path is None:
        yield lambda event: None
        return
    with path.open("wb", buffering=0) as file:
        yield lambda event: file.write(msgspec.json.encode(event) + b"\n")
