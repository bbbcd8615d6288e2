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
    found_in: dict[str, str] = {}

    def place_of(self, step_id: str) -> Scope:
        """Return the place of a step, where its agents have conversations of their own."""
        place: Scope = self.scope.child(segment_of(f"s{step_id}"))
        return place.as_room()

    def issues_for(self, step_id: str) -> list[Issue]:
        """Return the issues that reviews up to a step have found: those beside it are no business of it."""
        seen = {*self.board.before(step_id), step_id}
        return [issue for issue in self.ledger.issues if self.found_in.get(issue.id) in seen]

    def decisions_for(self, step_id: str) -> list[ConflictRecord]:
        """Return the conflicts that were decided at a step, and before it."""
        seen = {*self.board.before(step_id), step_id}
        return [record for record in self.logbook.conflicts if record.step_id in seen]
