"""Resolving a conflict: the sides are heard, rules say who is right, and the lead decides within what they say."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.failure import Failure
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.orchestration.calling import CONTROL
from shoal.orchestration.together import together
from shoal.orchestration.workflow.brief import LEAD
from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.conflict import Conflict, ConflictRecord, Position, Rule, Ruling
from shoal.orchestration.workflow.conflictprompts import position_prompt, resolution_prompt
from shoal.orchestration.workflow.conflictreplies import (
    Resolution,
    read_position,
    read_resolution,
    why_unusable,
    winner_of,
)
from shoal.orchestration.workflow.desk import Desk, Texts
from shoal.orchestration.workflow.prompts import again
from shoal.orchestration.workflow.rules import tagged

__all__ = ["Resolver"]

BY_LEAD = "lead"
UNOPPOSED = "unopposed"
"""The rule of a conflict in which only one position was taken."""

NOTHING = "Nothing is changed"
"""What is decided where nobody took a position, and the lead does not decide either."""


class _Ruled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the rules said, as it is recorded."""

    ruling: Ruling | None = None
    warnings: tuple[str, ...] = ()


class Resolver:
    """Resolves the conflicts of a team.

    Args:
        desk: asks its agents.
        rules: in order; the first that rules decides. What they said is recorded: a resumed run does not ask them again.
        config: its ``conflict_timeout`` is for each position, and for each answer of the lead.
        roles: the roles of the team, beside the lead.
    """

    def __init__(self, desk: Desk, rules: Sequence[Rule], config: OrchestratorConfig, roles: Collection[str]) -> None:
        self._desk = desk
        self._rules = tuple(rules)
        self._timeout = config.conflict_timeout
        self._roles = (*roles, LEAD)

    async def resolve(
        self, place: Scope, conflict: Conflict, *, parties: Sequence[str], implementer: str, material: Texts = ()
    ) -> ConflictRecord:
        """Hear the sides and decide, at *place*, which no other conflict has.

        A side without a statement or evidence is asked for them, alone: it does not see what the others say. One that does
        not answer keeps the statement that it came with; without any it has no position. Then the rules are asked. A
        rule that fails, or says what is no ruling, is a warning and has nothing to say. If none rules and only one
        position was taken, that one stands. Else the lead decides.

        The lead writes analysis, proposal and decision within the ruling (``why_unusable`` tells whether he keeps to it).
        What cannot be used is sent back once, with the reason; then the winning statement is the decision. When there is
        no ruling and the lead does not decide either, what stood before stands: the first position that is not the
        implementer's.

        Args:
            conflict: its positions are those that are known; they may lack evidence.
            parties: the roles that take sides, in the order in which they are shown.
            implementer: whose work it is; he implements what is decided.
            material: what the sides should look at, such as the work.

        Raises:
            ValueError: two positions from one role; a role that is not there.
            Stopped: a budget or the run came to its end.
        """
        sides = self._checked(conflict, parties, implementer)
        conflict, notes = await self._heard(place, conflict, sides, material)
        ruling = await self._ruled(place, conflict)
        made = await self._written(place, conflict, ruling, notes)
        record = self._record(conflict, ruling, made, implementer, notes)
        return await _decided(place, record)

    def _checked(self, conflict: Conflict, parties: Sequence[str], implementer: str) -> list[str]:
        authors = [position.agent for position in conflict.positions]
        for author in authors:
            if authors.count(author) > 1:
                raise ValueError(f"two positions from {author!r:.80}: each side of a conflict has one")
        sides = list(dict.fromkeys([*parties, *authors]))
        for role in [*sides, implementer]:
            if role not in self._roles:
                raise ValueError(f"conflict {conflict.id}: {role!r:.80} is not one of {', '.join(self._roles)}")
        if not sides:
            raise ValueError(f"conflict {conflict.id} has no sides: it needs roles that take a position")
        return sides

    # -- the positions

    async def _heard(
        self, place: Scope, conflict: Conflict, sides: Sequence[str], material: Texts
    ) -> tuple[Conflict, list[str]]:
        """Return the conflict with all positions that were taken, and what is to be known of the others."""
        known = {position.agent: position for position in conflict.positions}
        heard = await together([self._hear(place, conflict, role, known.get(role), material) for role in sides])
        place.check()
        positions = tuple(position for position, _ in heard if position is not None)
        notes = [note for _, note in heard if note]
        if len(positions) == 1:
            notes.append(f"Only {positions[0].agent} took a position")
        return msgspec.structs.replace(conflict, positions=positions), notes

    async def _hear(
        self, place: Scope, conflict: Conflict, role: str, known: Position | None, material: Texts
    ) -> tuple[Position | None, str]:
        """Return the position of one side and a note; ask it where something is missing."""
        stated = known if known is not None and known.statement.strip() else None
        if stated is not None and stated.evidence:
            return stated, ""
        said = await self._desk.ask(
            place,
            role,
            f"pos:{role}",
            position_prompt(conflict, role, known, material),
            kind="position",
            timeout=self._timeout,
            step_id=conflict.step_id,
        )
        if not said.success:
            return stated, f"{role} did not answer: {said.error}"
        read = read_position(role, said.content)
        position = _joined(known or Position(agent=role, statement=""), read)
        if not position.statement:
            return None, f"{role} took no position"
        return position, "" if position.evidence else f"{role} gave no evidence"

    # -- the rules

    async def _ruled(self, place: Scope, conflict: Conflict) -> Ruling | None:
        """Return what the rules say of it, once for all lives of the run."""

        async def ask_rules(ticket: Ticket) -> Any:
            return msgspec.to_builtins(self._ask_rules(conflict))

        order = StepOrder(segment="ruling", kind="rule", digest=digest_of(msgspec.to_builtins(conflict)))
        ruled = msgspec.convert((await place.step(order, ask_rules)).output, _Ruled)
        place.run.warnings.extend(ruled.warnings)
        if ruled.ruling is None and len(conflict.positions) == 1:
            return Ruling(rule=UNOPPOSED, winner=conflict.positions[0].agent, reason="no other position was taken")
        return ruled.ruling

    def _ask_rules(self, conflict: Conflict) -> _Ruled:
        warnings: list[str] = []
        for rule in self._rules:
            name = str(getattr(rule, "__name__", type(rule).__name__))
            try:
                ruling = _checked_ruling(rule(conflict), conflict, name)
            except CONTROL:
                raise
            except Exception as error:  # noqa: BLE001  what a rule does wrong is data
                text = Failure.brief(error).text
                warnings.append(f"conflict {conflict.id}: rule {name} has nothing to say: {text}")
                continue
            if ruling is not None:
                return _Ruled(ruling=ruling, warnings=tuple(warnings))
        return _Ruled(warnings=tuple(warnings))

    # -- the decision

    async def _written(
        self, place: Scope, conflict: Conflict, ruling: Ruling | None, notes: list[str]
    ) -> Resolution | None:
        """Return what the lead has decided; None: nothing that can be used, and *notes* say why."""
        winner = "" if ruling is None else ruling.winner
        losing = [position.statement for position in conflict.positions if position.agent != winner]
        sides = [position.agent for position in conflict.positions]
        prompt: Texts = resolution_prompt(conflict, ruling, notes)
        parts = prompt
        for key in ("resolve", "resolve.2"):
            said = await self._desk.ask(
                place, LEAD, key, parts, kind="resolution", timeout=self._timeout, step_id=conflict.step_id
            )
            place.check()
            if not said.success:
                notes.append(f"{LEAD} did not decide: {said.error}")
                return None
            made = read_resolution(said.content)
            problem = why_unusable(made, ruling, losing, sides)
            if not problem:
                return made
            notes.append(f"{'Sent back' if key == 'resolve' else 'Not used'}: {problem}")
            parts = again(prompt, LEAD, said.content, problem, "Answer again with the JSON object only.")
        return None

    def _record(
        self, conflict: Conflict, ruling: Ruling | None, made: Resolution | None, implementer: str, notes: list[str]
    ) -> ConflictRecord:
        positions = tuple(tagged(position) for position in conflict.positions)
        sides = [position.agent for position in positions]
        if ruling is not None:
            winner = ruling.winner
        elif made is not None:
            winner = winner_of(made, sides)
        else:
            winner = next((side for side in sides if side != implementer), "")
        statement = next((position.statement for position in positions if position.agent == winner), "")
        made = made or Resolution(decision=statement or NOTHING)
        approvers = (winner, LEAD, *sides, *self._roles)
        return ConflictRecord(
            id=conflict.id,
            topic=conflict.topic,
            step_id=conflict.step_id,
            positions=positions,
            requirements=conflict.requirements,
            rule=BY_LEAD if ruling is None else ruling.rule,
            winner=winner,
            analysis=made.analysis or ("" if ruling is None else ruling.reason),
            proposal=made.proposal or made.decision,
            decision=made.decision,
            implementer=implementer,
            approver=next(role for role in approvers if role and role != implementer),
            dissent=tuple(position for position in positions if position.agent != winner),
            result=made.result or (f"The position of {winner} stands" if winner else NOTHING),
            notes=tuple(notes),
        )


def _joined(known: Position, read: Position) -> Position:
    """Return what a side came with, and what it answered where that says more."""
    return Position(
        agent=known.agent,
        statement=read.statement or known.statement.strip(),
        evidence=read.evidence or known.evidence,
        tags=read.tags or known.tags,
    )


def _checked_ruling(ruling: object, conflict: Conflict, name: str) -> Ruling | None:
    """Return what a rule said. Raises TypeError, ValueError when it is no ruling on this conflict."""
    if inspect.iscoroutine(ruling):
        ruling.close()
        raise TypeError("a rule must not be async")
    if ruling is None:
        return None
    if not isinstance(ruling, Ruling):
        raise TypeError(f"it returned {type(ruling).__name__}, expected Ruling or None")
    fields = msgspec.structs.asdict(ruling)
    if not all(isinstance(value, str) for value in fields.values()):
        raise TypeError("it returned a Ruling with fields that are no texts")
    sides = [position.agent for position in conflict.positions]
    if ruling.winner not in sides:
        raise ValueError(
            f"it returned the winner {ruling.winner!r:.80}, who is not one of {', '.join(sides) or 'no sides'}"
        )
    return msgspec.structs.replace(ruling, rule=ruling.rule or name)


async def _decided(place: Scope, record: ConflictRecord) -> ConflictRecord:
    """Return the record with the time of its decision: the same in all lives of the run."""

    async def stamp(ticket: Ticket) -> Any:
        return msgspec.to_builtins(place.run.clock.now())

    order = StepOrder(segment="decided", kind="conflict", digest=digest_of(msgspec.to_builtins(record)))
    at = msgspec.convert((await place.step(order, stamp)).output, datetime)
    return msgspec.structs.replace(record, decided_at=at)
