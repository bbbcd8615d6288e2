"""A run as lines, one for each event: for logs, pipes and readers that are no terminal."""

from __future__ import annotations

from collections.abc import Callable

from shoal.boxes.logs import visible
from shoal.cli.show import clip, local, text_of
from shoal.kernel.run import RunEvent, RunEventType

__all__ = ["PlainView"]

_WIDE = 200
"""How many characters of an event's data are shown; --json and --events give all."""

_ELSEWHERE = ("key", "seq", "at")  # of an entry of a trace: the line begins with a number and the time


class PlainView:
    """Prints each event as a line; of a text that comes in pieces, each line of it, or as much as is wide enough."""

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._pieces: dict[str, tuple[RunEvent, str]] = {}  # by place: the first piece that was not shown, and the text

    def take(self, event: RunEvent) -> None:
        """Print an event."""
        if event.type == RunEventType.TEXT:
            self._gather(event)
            return
        self.flush(event.path)
        said = {key: value for key, value in event.data.items() if key not in _ELSEWHERE and value != event.type}
        self._show(_line(event, text_of(said) if said else ""))

    def _gather(self, event: RunEvent) -> None:
        first, text = self._pieces.pop(event.path, (event, ""))
        text += str(event.data.get("text", ""))
        *whole, rest = text.split("\n")
        for line in whole:
            if line.strip():
                self._show(_line(first, line))
            first = event
        while len(rest) > _WIDE:
            self._show(_line(first, rest[:_WIDE]))
            first, rest = event, rest[_WIDE:]
        if rest:
            self._pieces[event.path] = (first, rest)

    def flush(self, path: str | None = None) -> None:
        """Print what came of a text at *path*, or everywhere, and has no end yet."""
        for place in [path] if path else list(self._pieces):
            found = self._pieces.pop(place, None)
            if found is not None:
                self._show(_line(*found))


def _line(event: RunEvent, data: str) -> str:
    words = [str(event.offset), local(event.at), event.type, event.path, event.agent_name, clip(data, _WIDE)]
    return visible("  ".join(word for word in words if word)).replace("\n", " ")
