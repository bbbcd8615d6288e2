"""What agents answer, of whatever make they are: a text, an object with ``content``, a handoff, a result of a pattern."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.budget import Need
from shoal.kernel.failure import Failure, as_ordinary
from shoal.kernel.run import Handoff
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.kernel.usage import Usage, pico_of
from shoal.orchestration.agents import ask
from shoal.orchestration.results import AgentResult, Result

__all__ = ["Answer", "answer_at", "cancelled_from_outside", "sound"]

NOT_FINISHED = "not finished"

_CHAT = "chat"
"""The segment at an agent's place under which the answer of one that is no agent of Shoal is recorded."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer in the form in which it is recorded. ``nested``: agents that it called have steps of their own."""

    content: str = ""
    output: Any = None
    handoff: Handoff | None = None
    success: bool = True
    error: str | None = None
    error_type: str | None = None
    nested: bool = False

    @classmethod
    def of(cls, answer: Any, name: str, *, foreign: bool = False) -> Answer:
        """Read what *name* answered; of a foreign agent, ``output`` may be anything, and is left out.

        Raises TypeError when it is no answer.
        """
        if isinstance(answer, str):
            return cls(content=sound(answer))
        if isinstance(answer, Handoff):
            return cls(content=sound(answer.message), handoff=_sound_handoff(answer))
        content = getattr(answer, "content", None)
        if not isinstance(content, str):
            raise TypeError(f"{name} returned {type(answer).__name__}, expected str or an object with .content")
        handoff = getattr(answer, "handoff", None)
        failed = getattr(answer, "success", True) is False
        error = getattr(answer, "error", None)
        return cls(
            content=sound(content),
            output=_output_of(answer) if isinstance(answer, Result) or not foreign else None,
            handoff=_sound_handoff(handoff) if isinstance(handoff, Handoff) else None,
            success=not failed,
            error=(str(error) if error else f"{name} did not succeed") if failed else None,
            error_type=getattr(answer, "error_type", None) if failed and isinstance(answer, AgentResult) else None,
        )

    @classmethod
    def failed(cls, error: Exception) -> Answer:
        """Read an error as that of whoever raised it."""
        failure = Failure.brief(error)
        return cls(success=False, error=failure.message or failure.error_type, error_type=failure.error_type)

    @classmethod
    def of_unfinished(cls, result: Result) -> Answer:
        """Read the result of a pattern that is still under way."""
        output = msgspec.to_builtins(result)
        return cls(content=result.content, output=output, success=False, error=NOT_FINISHED)


def sound(text: str) -> str:
    """Return *text* with lone surrogates, which no store can hold, replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _sound_handoff(handoff: Handoff) -> Handoff:
    return Handoff(sound(handoff.to), sound(handoff.message), sound(handoff.reason), handoff.from_agent)


def _output_of(answer: Any) -> Any:
    """Return what was answered beside the content, as a JSON value; of a pattern its whole result."""
    output = answer if isinstance(answer, Result) else getattr(answer, "output", None)
    if output is None:
        return None
    dump = getattr(output, "model_dump", None)  # a pydantic model
    return dump(mode="json") if callable(dump) else msgspec.to_builtins(output)


async def answer_at(place: Scope, agent: Any, name: str, message: str, user_id: str) -> Answer:
    """Ask at *place*. An agent of Shoal makes steps of its own; what is none answers in one step."""
    if getattr(agent, "journaled", False):
        return Answer.of(await ask(agent.chat, message, user_id), name)
    order = StepOrder(segment=_CHAT, kind="chat", agent_name=name, digest=digest_of(name, message), need=Need())
    replayed = place.replayed(order)
    try:
        step = await place.step(order, lambda ticket: _ask_foreign(place, agent, name, message, user_id, ticket))
    finally:
        if replayed is not None and _was_nested(replayed.output):
            place.add(_used_within(place))
    return msgspec.convert(step.output, Answer)


def _was_nested(output: Any) -> bool:
    return output is None or bool(output.get("nested"))


def _used_within(place: Scope) -> Usage:
    """Return what agents have used that the agent at *place* called within its one step."""
    own, below = place.key(_CHAT), f"{place.path}/"
    found = (step.usage for key, step in place.run.recorded.items() if key.startswith(below) and key != own)
    return sum(found, start=Usage())


async def _ask_foreign(place: Scope, agent: Any, name: str, message: str, user_id: str, ticket: Ticket) -> Any:
    before = place.usage
    place.set_aside = ticket.key
    answer = None
    try:
        answer = await ask(agent.chat, message, user_id)
    except asyncio.CancelledError:
        if cancelled_from_outside():
            raise
        raise RuntimeError(f"{name} was cancelled from within") from None
    except SystemExit as error:
        raise as_ordinary(error) from error
    finally:
        nested = place.usage != before or not place.set_aside
        place.set_aside = ""
        ticket.usage = Usage() if nested else _usage_of(answer)
        if nested:
            ticket.lost = Usage()  # what was cut off within it has been counted there
    if nested:
        place.check()  # what came of a refused budget is not its answer: with a larger one it is asked again
    read = Answer.of(answer, name, foreign=True)
    return msgspec.to_builtins(msgspec.structs.replace(read, nested=nested))


def cancelled_from_outside() -> bool:
    """Tell whether the present asyncio task is being cancelled: else what it runs has raised CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _usage_of(answer: Any) -> Usage:
    """Return what one call has cost, if it tells."""
    cost = getattr(answer, "cost", None)
    if isinstance(cost, (int, float)) and not isinstance(cost, bool) and math.isfinite(cost) and cost >= 0:
        return Usage(calls=1, cost_pico=pico_of(cost))
    return Usage(calls=1, unpriced_calls=1)
