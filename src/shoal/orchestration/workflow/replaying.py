"""What earlier lives of a run have recorded of its times: a report after a restart tells when things really happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from shoal.kernel.liverun import LiveRun
from shoal.kernel.run import RunStep
from shoal.kernel.scope import Scope

__all__ = ["Past", "Span", "own_steps"]

_OWN = re.compile(r"s[^/]*/(?:c\d+/)?[^/]*")
"""The keys, below an orchestrator, of what it does at its steps and their conflicts; agents have longer ones."""


def own_steps(scope: Scope, kind: str) -> Iterator[RunStep]:
    """Yield what an orchestrator at *scope* has on record of a kind; orchestrators among its agents have their own."""
    above = f"{scope.path}/" if scope.path else ""
    for key, step in scope.run.recorded.items():
        if (
            step.kind == kind
            and key.startswith(above)
            and _OWN.fullmatch(key, len(above))
            and step.finished_at is not None
        ):
            yield step


class Span(NamedTuple):
    """When something began and ended."""

    began: datetime
    ended: datetime

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0.0, (self.ended - self.began).total_seconds())


class Past:
    """The steps that were recorded when this life of a run began."""

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._known = len(run.recorded)
        self._spans: dict[str, Span] = {}
        for step in run.recorded.values():
            ended = step.finished_at or step.started_at
            path = step.key
            while path:
                known = self._spans.get(path)
                self._spans[path] = (
                    Span(step.started_at, ended)
                    if known is None
                    else Span(min(known.began, step.started_at), max(known.ended, ended))
                )
                path = path.rpartition("/")[0]

    def span(self, path: str) -> Span | None:
        """Return the time of all that was recorded at and below a place; None if nothing was."""
        return self._spans.get(path)

    def began(self, path: str, now: datetime) -> datetime:
        """Return when what is done at a place began: *now*, if no earlier life has begun it."""
        known = self._spans.get(path)
        return now if known is None else known.began

    def ended(self, path: str, now: datetime) -> datetime:
        """Return when what was done at a place ended: *now*, unless this life has only replayed it."""
        known = self._spans.get(path)
        return now if known is None or self._went_on(path) else known.ended

    def _went_on(self, path: str) -> bool:
        recorded = self._run.recorded
        new = islice(reversed(recorded), len(recorded) - self._known)
        return any(key == path or key.startswith(f"{path}/") for key in new)
