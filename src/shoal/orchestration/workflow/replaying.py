"""What earlier lives of a run have recorded of its times: a report after a restart tells when things really happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple

from shoal.kernel.liverun import LiveRun
from shoal.kernel.run import RunStep
from shoal.kernel.scope import Scope

__all__ = ["Past", "own_steps"]

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


class _Span(NamedTuple):
    """When something began and ended."""

    began: datetime
    ended: datetime


class Past:
    """The steps that were recorded when this life of a run began."""

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._known = dict(run.recorded)
        self._spans: dict[str, _Span] = {}
        for step in run.recorded.values():
            ended = step.finished_at or step.started_at
            path = step.key
            while path:
                known = self._spans.get(path)
                self._spans[path] = (
                    _Span(step.started_at, ended)
                    if known is None
                    else _Span(min(known.began, step.started_at), max(known.ended, ended))
                )
                path = path.rpartition("/")[0]

    def began(self, path: str, now: datetime) -> datetime:
        """Return when what is done at a place began: *now*, if no earlier life has begun it."""
        known = self._spans.get(path)
        return now if known is None else known.began

    def ended(self, path: str, now: datetime) -> datetime:
        """Return when what was done at a place ended: *now*, unless this life has only replayed it."""
        known = self._spans.get(path)
        return now if known is None or self._went_on(path) else known.ended

    def _went_on(self, path: str) -> bool:
        recorded = self._run.recorded  # in the order of recording: what is new, or was done anew, stands at its end
        new = takewhile(lambda key: recorded[key] is not self._known.get(key), reversed(recorded))
        return any(key == path or key.startswith(f"{path}/") for key in new)
