"""What ``shoal up`` shows of its services: a line for each change, or on a terminal a list that is kept up to date."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Protocol, Self

from shoal.boxes.logs import visible
from shoal.cli.crew import Member, Stage
from shoal.services.processes import ProcessInfo

__all__ = ["Lines", "UpView", "changes", "view_of"]


class UpView(Stage, Protocol):
    """Shows services, while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def head(self, text: str) -> None:
        """Say where they are, once."""
        ...

    def say(self, text: str) -> str:
        """Return how a line is to be written to the terminal from outside of the view."""
        ...


def view_of(*, plain: bool) -> UpView:
    """Return a list on a terminal, else, or with *plain*, lines."""
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return Lines()
    from shoal.cli.uplist import LiveList  # what draws is loaded where something is drawn

    return LiveList()


class Lines:
    """A line for each change of an instance."""

    def __init__(self) -> None:
        self._before: dict[str, Member] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def head(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)

    def ready(self, number: int) -> None:
        """Print it."""
        if number:
            print(f"ready: {number} service{'' if number == 1 else 's'}; Ctrl-C ends", flush=True)

    def say(self, text: str) -> str:
        """Return it as a line."""
        return f"{text}\n"

    def show(self, members: list[Member]) -> None:
        """Print what has changed."""
        now = {member.info.name: member for member in members}
        for name, member in now.items():
            for text in changes(self._before.get(name), member):
                print(f"{visible(name)}  {visible(text)}", flush=True)
        for name in [name for name in self._before if name not in now]:
            print(f"{visible(name)}  has ended", flush=True)
        self._before = now


def changes(before: Member | None, member: Member) -> list[str]:
    """Return what has happened to an instance since it was *before*, None: it was not there."""
    info, phase = member.info, member.phase
    known = None if before is None else before.phase
    again = before is not None and info.restarts > before.info.restarts
    said = []
    if again and known != "down":  # it was quicker than anybody looked
        said.append(_death(info))
    if phase == known and not again:
        return said
    if phase == "down":
        said.append(f"{_death(info)}; it is started again")
    elif phase == "lost":
        said.append(f"{_death(info)}; it is not started again")
    elif phase == "running":
        where = "" if info.pid is None else f"  pid {info.pid}"
        if known in (None, "starting", "down") or again:
            said.append(f"runs again{where}  restart {info.restarts}" if info.restarts else f"runs{where}")
        else:
            said.append("goes on")
    elif phase not in ("starting", "stopped"):  # the one is no news yet, the other soon is
        said.append({"stopping": "ends"}.get(phase, f"is {phase}"))
    return said


def _death(info: ProcessInfo) -> str:
    text, *output = (info.last_error or "failed").strip().splitlines()
    if info.exit_code is None:
        return text
    how = f"signal {-info.exit_code}" if info.exit_code < 0 else f"exit code {info.exit_code}"
    return f"died ({how}): {output[-1].strip()}" if output else f"died ({how})"
