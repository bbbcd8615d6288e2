"""What the parts of one run of an orchestrator share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shoal.kernel.scope import Scope, segment_of
from shoal.orchestration.workflow.board import Board
from shoal.orchestration.workflow.brief import Brief
from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.conflict import ConflictRecord
from shoal.orchestration.workflow.delivery import CodeRunner
from shoal.orchestration.workflow.ledger import Ledger
from shoal.orchestration.workflow.logbook import Logbook
from shoal.orchestration.workflow.resolving import Resolver
from shoal.orchestration.workflow.review import Issue
from shoal.orchestration.workflow.staff import Staff

__all__ = ["Job", "StepFailed"]


class StepFailed(Exception):
    """A step of the plan has failed; its text says why."""


class Job(msgspec.Struct, kw_only=True, eq=False):
    """One run of an orchestrator."""

    scope: Any  # Scope
    brief: Brief
    config: OrchestratorConfig
    roles: Mapping[str, Sequence[Any]]
    runner: CodeRunner | None
    board: Board
    logbook: Logbook
    staff: Staff
    resolver: Resolver
    ledger: Ledger

    def place_of(self, step_id: str) -> Scope:
        """Return the place of a step, where its agents have conversations of their own."""
        place: Scope = self.scope.child(segment_of(f"s{step_id}"))
        return place.as_room()

    def issues_for(self, step_id: str) -> tuple[Issue, ...]:
        """Return the issues that reviews up to a step have found: those beside it are no business of it."""
        return self.ledger.seen(self.board.up_to(step_id))

    def decisions_for(self, step_id: str) -> list[ConflictRecord]:
        """Return the conflicts that were decided before a step, in the order of the work, and at it."""
        places = {each: place for place, each in enumerate(self.board.up_to(step_id))}
        found = [record for record in self.logbook.conflicts if record.step_id in places]
        return sorted(found, key=lambda record: places[record.step_id])
