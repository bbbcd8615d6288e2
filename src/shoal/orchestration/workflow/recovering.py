"""What is done when an agent fails at a step: five actions on record, in their order, and somebody else takes over."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.ports import Clock
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.orchestration.answers import cancelled_from_outside
from shoal.orchestration.calling import TIMEOUT
from shoal.orchestration.results import AgentResult
from shoal.orchestration.workflow.board import Board, Card
from shoal.orchestration.workflow.brief import LEAD
from shoal.orchestration.workflow.durations import timeout_text
from shoal.orchestration.workflow.logbook import Logbook
from shoal.orchestration.workflow.recovery import ActionKind, Recovery, RecoveryAction
from shoal.orchestration.workflow.roles import Instance

__all__ = ["HEALTHY", "UNKNOWN", "Recovering", "health_of", "reason_of"]

HEALTHY, UNKNOWN = "healthy", "unknown"


class Recovering:
    """The recovery of one failure at *place*, the place of the step *card*.

    Args:
        key: of this failure, at the place.
        failed: who failed.
        reason: why.
    """

    def __init__(
        self, board: Board, logbook: Logbook, card: Card, place: Scope, *, key: str, failed: Instance, reason: str
    ) -> None:
        self._board = board
        self._logbook = logbook
        self._card = card
        self._place = place
        self._key = key
        self._index = len(logbook.recoveries)
        logbook.recoveries.append(
            Recovery(step_id=card.step.id, agent=failed.role, instance=failed.name, reason=reason)
        )
        self._failed = failed

    @property
    def record(self) -> Recovery:
        """It as the report has it."""
        return self._logbook.recoveries[self._index]

    def _change(self, **changes: Any) -> None:
        self._logbook.recoveries[self._index] = msgspec.structs.replace(self.record, **changes)

    def _act(self, kind: ActionKind, text: str, **details: Any) -> None:
        at = self._place.run.clock.now()
        self._change(actions=(*self.record.actions, RecoveryAction(kind=kind, text=text, at=at, details=details)))
        self._logbook.enter(
            f"{self._place.path}:{self._key}:{kind}",
            kind,
            at=at,
            sender=LEAD,
            step_id=self._card.step.id,
            instance=self._failed.name,
            output=(text,),
        )

    async def check(self, others: list[Instance], seconds: float) -> list[str]:
        """Ask how the one who failed is, and those who could take over; return the names of those who are not well."""
        place, clock = self._place, self._place.run.clock

        async def look(ticket: Ticket) -> Any:
            asked = [self._failed, *others]
            found = await asyncio.gather(*(health_of(each.agent, seconds, clock) for each in asked))
            return dict(zip((each.name for each in asked), found, strict=True))

        names = [self._failed.name, *(each.name for each in others)]
        order = StepOrder(segment=f"{self._key}:health", kind="health", digest=digest_of(names))
        health: Mapping[str, str] = msgspec.convert((await place.step(order, look)).output, dict[str, str])
        of_failed = health[self._failed.name]
        self._act(
            "health_check", f"Checked the health of {self._failed.name}: {of_failed}", health=of_failed, of=dict(health)
        )
        return [name for name, state in health.items() if state not in (HEALTHY, UNKNOWN)]

    def reassign(self, backup: Instance, message_id: str) -> None:
        """Say who takes over, and do what follows from that."""
        card = self._card
        self._change(backup=backup.name)
        self._act(
            "reassigned",
            f"Re-assigned the task from {self._failed.name} to {backup.name}",
            instance=backup.name,
            message_id=message_id,
        )
        after = [self._board.cards[each] for each in self._board.plan.dependents(card.step.id)]
        owners = list(dict.fromkeys(other.step.owner for other in after))
        card.delays.append(f"step {card.step.id} ({card.step.title}) is late: it was given to another {backup.role}")
        told = (
            f"Told {', '.join(owners)} of the delay" if owners else "Nobody waits for this step: nobody had to be told"
        )
        self._act("delay_notified", told, owners=owners, steps=[other.step.id for other in after])
        self._adjust(len(after))
        self._act("logged", f"Logged for monitoring: {self.record.reason}", reason=self.record.reason)

    def _adjust(self, others: int) -> None:
        """Move the due times by what is known of the delay; ``ended`` makes them exact."""
        card, timeline = self._card, self._board.timeline
        timeline.delay(card.step.id, card.step.estimate_seconds or 0.0)
        due = timeline.due()[card.step.id]
        self._act(
            "timeline_adjusted", f"Adjusted the due times of this step and {others} after it", due_at=due.isoformat()
        )

    def ended(self, result: str, seconds: float) -> None:
        """Say how it ended, and by how much the step is late."""
        self._change(result=result, delay_seconds=seconds)

    def nobody(self) -> None:
        """Say that nobody could take over."""
        self._act("logged", f"Logged for monitoring: {self.record.reason}", reason=self.record.reason)
        self._change(result="No backup agent: escalated")


def reason_of(said: AgentResult, seconds: float) -> str:
    """Return why an agent failed, in words."""
    if said.error == TIMEOUT:
        return timeout_text(seconds)
    kind = said.error_type or "Error"
    return f"{kind}: {said.error}" if said.error and said.error != kind else kind


async def health_of(agent: Any, seconds: float, clock: Clock) -> str:
    """Return how an agent says it is: ``healthy``, or a word of its own; ``unknown`` when it does not tell.

    It is asked by its ``health()``, which may be async, and return a text, True or False, or an object with ``status``; no
    model is called. What it raises, and a silence of *seconds*, is no health: ``unhealthy``.
    """
    ask = getattr(agent, "health", None)
    if not callable(ask):
        return UNKNOWN
    try:
        async with clock.timeout(seconds):
            told = ask()
            if inspect.isawaitable(told):
                told = await told
    except asyncio.CancelledError as error:
        if cancelled_from_outside():
            raise
        return _unwell(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is: it is not well
        return _unwell(error)
    return _word(told)


def _unwell(error: BaseException) -> str:
    return f"unhealthy: {type(error).__name__}"


def _word(told: Any) -> str:
    if isinstance(told, dict):
        told = told.get("status", told.get("healthy"))
    elif not isinstance(told, (str, bool)):
        told = getattr(told, "status", told)
    if isinstance(told, bool):
        return HEALTHY if told else "unhealthy"
    word = str(told) if told is not None else UNKNOWN
    return HEALTHY if word.lower() in ("healthy", "ok", "running") else word
