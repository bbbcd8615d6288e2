"""Services on a terminal: a line for each table of their file, drawn in place."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from shoal.boxes.logs import visible
from shoal.cli.crew import Member
from shoal.cli.show import clip
from shoal.cli.upview import changes

__all__ = ["LiveList"]

_STYLES = {"lost": "red", "down": "yellow", "paused": "yellow", "starting": "dim", "stopping": "dim"}
_MOST_NEWS = 5


class LiveList:
    """Draws services on the terminal that standard output is."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live: Live | None = None
        self._head = ""
        self._notice = ""
        self._members: dict[str, Member] = {}
        self._news: list[str] = []
        self._ready = False

    def __enter__(self) -> Self:
        self._live = Live(
            self._frame(), console=self._console, auto_refresh=False, redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(), vertical_overflow="crop",
        )  # fmt: skip
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        live, self._live = self._live, None
        self._notice = ""
        if live is not None:
            live.update(self._frame())
            live.stop()

    def head(self, text: str) -> None:
        """Draw it above the list from now on."""
        self._head = text
        self._draw()

    def ready(self, number: int) -> None:
        """Know that an empty list is the end of it."""
        self._ready = True

    def say(self, text: str) -> str:
        """Return *text* as it is to be written over the last line drawn, where it stands until the end."""
        self._notice = text
        return text

    def show(self, members: list[Member]) -> None:
        """Draw them anew when something has changed."""
        now = {member.info.name: member for member in members}
        if now == self._members:
            return
        for name, member in now.items():
            if name in self._members and self._members[name].phase != "starting":
                self._news += [f"{name}  {text}" for text in changes(self._members[name], member)]
        self._news = self._news[-_MOST_NEWS:]
        self._members = now
        self._draw()

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._frame(), refresh=True)

    def _frame(self) -> Group:
        width, height = self._console.size
        tail = [Text(_cut(text, width), style="dim") for text in self._news]
        if self._notice:
            tail.append(Text(_cut(self._notice, width), style="bold"))
        rows = self._rows() or [("all have ended" if self._ready else "starting", "dim")]
        room = max(1, height - 2 - len(tail))
        shown = rows if len(rows) <= room else rows[: room - 1]
        lines = [Text(_cut(text, width), style=style) for text, style in shown]
        if len(shown) < len(rows):
            lines.append(Text(f"and {len(rows) - len(shown)} more", style="dim"))
        return Group(*([Text(_cut(self._head, width), style="bold")] if self._head else []), *lines, *tail)

    def _rows(self) -> list[tuple[str, str]]:
        names = max((len(name) for name in self._members), default=0)
        return [
            (
                f"{name:<{names}}  {member.phase:<8}  {f'pid {member.info.pid}' if member.info.pid else '':<11}"
                + (f"  restart {member.info.restarts}" if member.info.restarts else ""),
                _STYLES.get(member.phase, ""),
            )
            for name, member in self._members.items()
        ]


def _cut(text: str, width: int) -> str:
    return clip(visible(text), width)
