"""How patterns call agents: at a place of their own, in bounded time, with their cost; errors are data."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import msgspec

from shoal.errors import LeaseLostError, RunChangedError, StoreError
from shoal.kernel.asking_people import digest_of
from shoal.kernel.bounded import OutOfTime, bounded
from shoal.kernel.budget import Need
from shoal.kernel.failure import Failure
from shoal.kernel.run import Handoff
from shoal.kernel.scope import Scope, StepOrder, Stopped, Ticket, segment_of
from shoal.kernel.taskrun import present_scope
from shoal.kernel.usage import Usage, pico_of
from shoal.orchestration.agents import name_of
from shoal.orchestration.results import AgentResult

__all__ = ["CANCELLED", "TIMEOUT", "call", "call_at", "cut_short"]

TIMEOUT, CANCELLED = "Timeout", "Cancelled"

_CUT = "call"
"""The segment at an agent's place under which it is recorded that it was cut short."""

_CONTROL = (Stopped, RunChangedError, LeaseLostError, StoreError)
"""What nobody turns into data: the run itself ends, or cannot go on."""


async def call(
    agent: Any, message: str, *, key: str | None = None, timeout: float | None = None, user_id: str = "default"
) -> AgentResult:
    """Ask an agent as patterns do: as steps of the run around, in bounded time, with its cost.

    Args:
        agent: anything with ``name`` and ``chat``.
        message: what it is asked.
        key: its place in the run; default its name.
        timeout: seconds, None: no limit.
        user_id: for whom.

    Returns:
        What became of it. Errors of the agent are data; ``error == "Timeout"`` when it took too long.
    """
    scope = await present_scope("call")
    return await call_at(scope, agent, message, key=key or name_of(agent), timeout=timeout, user_id=user_id)


async def call_at(
    scope: Scope,
    agent: Any,
    message: str,
    *,
    key: str,
    timeout: float | None = None,
    user_id: str = "default",
    index: int = 0,
) -> AgentResult:
    """Ask an agent at the place *key* below *scope*; see ``call``."""
    place = scope.child(segment_of(key))
    name = name_of(agent)
    clock = scope.run.clock
    began = clock.monotonic()
    ended = place.recorded(_CUT)
    if ended is not None and ended.error is not None:  # it was cut short, and is so again
        return _failed(place, name, ended.error.revive(), index, 0.0)
    left = scope.run.spending.seconds_left(scope)
    limit = left if timeout is None else timeout if left is None else min(timeout, left)
    try:
        with place.entered():
            answer = await bounded(_ask(place, agent, name, message, user_id), limit, clock, name=f"call {name}")
    except OutOfTime:
        if timeout is None or (left is not None and left < timeout):
            scope.check()  # the time of a budget is over
        await cut_short(place, name, TimeoutError(TIMEOUT))
        return _failed(place, name, TimeoutError(TIMEOUT), index, clock.monotonic() - began)
    except _CONTROL:
        raise
    except Exception as error:  # noqa: BLE001  an agent's error is data
        return _failed(place, name, error, index, clock.monotonic() - began)
    seconds = clock.monotonic() - began
    content, output = answer
    return AgentResult(
        agent_name=name, content=content, index=index, duration_ms=seconds * 1000, usage=place.usage, output=output
    )


def _failed(place: Scope, name: str, error: Exception, index: int, seconds: float) -> AgentResult:
    kind = Failure.of(error).error_type
    return AgentResult(
        agent_name=name,
        success=False,
        error=str(error) or kind,
        error_type=kind,
        index=index,
        duration_ms=seconds * 1000,
        usage=place.usage,
    )


async def cut_short(place: Scope, name: str, error: Exception) -> None:
    """Record that an agent was given no more time: replay gives the same, though its steps may all be there."""

    async def raise_it(ticket: Ticket) -> None:
        raise error

    with contextlib.suppress(type(error)):
        await place.step(StepOrder(segment=_CUT, kind="call", agent_name=name), raise_it)


async def _ask(place: Scope, agent: Any, name: str, message: str, user_id: str) -> tuple[str, Any]:
    """Return content and output. What is no agent of Shoal answers in one step."""
    if getattr(agent, "journaled", False):
        answer = await agent.chat(message, user_id=user_id)
        return _content(answer, name), _plain(getattr(answer, "output", None))
    order = StepOrder(segment="chat", kind="chat", agent_name=name, digest=digest_of(name, message), need=Need())

    async def ask_once(ticket: Ticket) -> Any:
        ticket.usage = Usage(calls=1, unpriced_calls=1)
        answer = await _chat(agent, message, user_id)
        cost = getattr(answer, "cost", None)
        if isinstance(cost, (int, float)) and not isinstance(cost, bool):
            ticket.usage = Usage(calls=1, cost_pico=pico_of(cost))
        handoff = answer if isinstance(answer, Handoff) else getattr(answer, "handoff", None)
        if isinstance(handoff, Handoff):
            said = "" if isinstance(answer, Handoff) else _content(answer, name)
            return {"content": said, "handoff": msgspec.to_builtins(handoff)}
        return {"content": _content(answer, name)}

    step = await place.step(order, ask_once)
    output: Any = step.output
    return output["content"], output.get("handoff")


async def _chat(agent: Any, message: str, user_id: str) -> Any:
    chat = agent.chat
    options = {"user_id": user_id} if _takes_user(chat) else {}
    if inspect.iscoroutinefunction(chat):
        return await chat(message, **options)
    answer = chat(message, **options)
    return await answer if inspect.isawaitable(answer) else answer


def _takes_user(chat: Any) -> bool:
    try:
        return "user_id" in inspect.signature(chat).parameters
    except (TypeError, ValueError):  # it has no signature: the message is all it can be given
        return False


def _content(answer: Any, name: str) -> str:
    if isinstance(answer, str):
        return answer
    content = getattr(answer, "content", None)
    if isinstance(content, str):
        return content
    raise TypeError(f"{name} returned {type(answer).__name__}, expected str or an object with .content")


def _plain(output: Any) -> Any:
    return None if output is None else msgspec.to_builtins(output)
