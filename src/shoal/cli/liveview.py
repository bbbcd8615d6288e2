"""A run on a terminal, drawn in place: a line for each agent, the last messages, the text that comes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from shoal.cli.runview import AgentLine, RunView
from shoal.kernel.clock import RealClock
from shoal.kernel.run import RunEvent

__all__ = ["LiveView"]

DRAW_SECONDS = 0.25
"""How often it is drawn at most: what changes in between is drawn together."""

TICK_SECONDS = 1.0
"""How often it is drawn when nothing happens, for the times in it."""

_STYLES = {"failed": "red", "interrupted": "yellow", "asks": "bold yellow", "done": "green", "stopped": "dim"}
_MOST_NAME, _TAIL_LINES = 20, 3


class LiveView:
    """Draws a run on the terminal that standard output is. ``with`` begins and ends it; ``take`` each event.

    Args:
        view: what is shown.
        clock: times, and when it is drawn.
    """

    def __init__(self, view: RunView, clock: RealClock | None = None, console: Console | None = None) -> None:
        self.view = view
        self._clock = clock or RealClock()
        self._console = console or Console(highlight=False)
        self._live: Live | None = None
        self._timer: Any = None
        self._soon = False  # whether it is drawn in a moment
        self.notice = ""  # a line at its end, until something else is to be said

    def __enter__(self) -> LiveView:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.notice = ""
        self._end()

    def _begin(self) -> None:
        on_terminal = sys.stdout.isatty(), sys.stderr.isatty()
        self._live = Live(
            self._frame(), console=self._console, auto_refresh=False, redirect_stdout=on_terminal[0],
            redirect_stderr=on_terminal[1], vertical_overflow="crop",
        )  # fmt: skip
        self._live.start()
        self._plan(TICK_SECONDS)

    def _end(self) -> None:
        live, self._live = self._live, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._soon = None, False
        if live is not None:
            live.update(self._frame())
            live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to somebody else meanwhile, below what was drawn last."""
        self._end()
        try:
            yield
        finally:
            self._begin()

    def take(self, event: RunEvent) -> None:
        """Take the next event; it is drawn a moment later."""
        self.view.take(event)
        if self._live is not None and not self._soon:
            self._soon = True
            self._plan(DRAW_SECONDS)

    def say(self, text: str) -> str:
        """Return *text* as it is to be written over the last line drawn, where it stands until the end."""
        self.notice = text
        return text

    # -- when

    def _plan(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(seconds, self._draw)

    def _draw(self) -> None:
        self._soon = False
        if self._live is not None:
            self._live.update(self._frame(), refresh=True)
            self._plan(TICK_SECONDS)

    # -- what

    def _frame(self) -> Group:
        width, height = self._console.size
        lines = [self._head(width)]
        tail = self._tail(width)
        messages = [_cut(f"  {said}", width) for said in self.view.messages]
        room = max(1, height - 4 - len(messages) - len(tail))
        lines += self._agents(width, room)
        if messages:
            lines += [Text(), *messages]
        return Group(*lines, *tail)

    def _head(self, width: int) -> Text:
        view, now = self.view, self._clock.now()
        money = f"${view.cost:.4f}"
        if view.max_cost:
            money += f" ({view.cost / view.max_cost:.0%} of ${view.max_cost:.2f})"
        status = view.status + (f" ({view.stopped})" if view.stopped and view.stopped != view.status else "")
        words = [f"run {view.run_id}", view.pattern, status, _time(view.elapsed(now)), money]
        return _cut("  ".join(word for word in words if word), width, "bold")

    def _agents(self, width: int, room: int) -> list[Text]:
        now, agents = self._clock.now(), list(self.view.agents.values())
        shown = agents
        if len(agents) > room:  # those at work first
            shown = sorted(agents, key=lambda line: not line.busy)[: max(1, room - 1)]
        name = min(_MOST_NAME, max((cell_len(line.name) for line in shown), default=0))
        lines = [self._agent(line, name, width, line.busy_seconds(now)) for line in shown]
        if len(shown) < len(agents):
            lines.append(_cut(f"  and {len(agents) - len(shown)} more", width, "dim"))
        return lines

    @staticmethod
    def _agent(line: AgentLine, name: int, width: int, seconds: float) -> Text:
        numbers = f"  {_time(seconds):>7}  {line.tokens:>9,} tokens  ${line.cost:.4f}"
        state = set_cell_size(" ".join(line.state.split()), 14)
        left = f"  {set_cell_size(line.name, name)}  {state}  "
        work = max(0, width - cell_len(left) - cell_len(numbers) - 1)
        text = f"{left}{set_cell_size(' '.join(line.work.split()), work)}{numbers}"
        return _cut(text, width, _STYLES.get(line.state, "" if line.busy else "dim"))

    def _tail(self, width: int) -> list[Text]:
        """Return what stands at the end: the text that comes, questions, the notice."""
        lines: list[Text] = []
        if (streaming := self.view.streaming) is not None:
            who, text = streaming
            last = [line for line in text.splitlines() if line.strip()][-_TAIL_LINES:]
            lines += [Text(), *(_cut(f"  {who}│ {line[-(width * 2) :]}", width, "italic") for line in last)]
        lines += [
            _cut(f"  waits for a person: {asked}", width, "bold yellow") for asked in self.view.questions.values()
        ]
        if self.notice:
            lines.append(_cut(self.notice, width, "bold"))
        return lines


def _cut(text: str, width: int, style: str = "") -> Text:
    """Return *text* as one line that fits; what is longer ends with an ellipsis."""
    text = text.replace("\t", " ")
    if cell_len(text) > width:
        text = set_cell_size(text, max(0, width - 1)) + "…"
    return Text(text, style=style, no_wrap=True, end="\n")


def _time(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
