"""How patterns call agents: at a place of their own, in bounded time, with their cost; errors are data."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from shoal.errors import BudgetExceededError, LeaseLostError, RunChangedError, StoreError
from shoal.kernel.bounded import OutOfTime, bounded
from shoal.kernel.run import RunStep
from shoal.kernel.scope import Scope, StepOrder, Stopped, Ticket, segment_of
from shoal.kernel.taskrun import present_place
from shoal.orchestration.agents import checked_agent, name_of
from shoal.orchestration.answers import Answer, answer_at, cancelled_from_outside
from shoal.orchestration.checks import check_seconds, check_text
from shoal.orchestration.results import AgentResult

__all__ = [
    "CANCELLED",
    "CONTROL",
    "TIMEOUT",
    "Call",
    "Cancelled",
    "budget_over",
    "call",
    "call_at",
    "check_refused",
    "cut_short",
    "note_progress",
    "time_left",
    "unfinished",
]

TIMEOUT, CANCELLED = "Timeout", "Cancelled"

CONTROL = (Stopped, RunChangedError, LeaseLostError, StoreError)
"""What nobody turns into data: the run itself ends, or cannot go on."""

_CUT = "call"
"""The segment at an agent's place under which it is recorded that it was cut short."""


class Cancelled(Exception):
    """An agent was cancelled: by the pattern that called it, or from within."""


async def call(
    agent: Any, message: str, *, key: str, timeout: float | None = None, user_id: str = "default"
) -> AgentResult:
    """Ask an agent as patterns do: as steps of the run around, in bounded time, with its cost.

    Args:
        agent: anything with ``name`` and ``chat``, or a function with a name.
        message: what it is asked.
        key: its place in the run, below the present one: a word of its own for each call, the same whenever the program
            runs (a position, a round; never time or chance).
        timeout: seconds, None: no limit.
        user_id: for whom.

    Returns:
        What became of it. Errors of the agent are data; ``error == "Timeout"`` when it took too long.

    Raises:
        ValueError: the message is empty, or the key was used at this place already. TypeError: it is no agent.
    """
    asked = checked_agent(agent, "agent")
    check_text(message)
    if not isinstance(key, str) or not key:
        raise ValueError(f"key must be text that names the place of the call, not {key!r:.80}")
    check_seconds(timeout, "timeout")
    scope = await present_place("call")
    if not scope.claim(segment_of(key)):
        raise ValueError(f"key {key!r:.80} was used here already: each call needs a key of its own")
    scope.check()
    return await call_at(scope, asked, message, key=key, timeout=timeout, user_id=user_id)


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
    return await Call(scope, agent, key=key, index=index).ask(message, timeout=timeout, user_id=user_id)


class Call:
    """One call of an agent, at the place *key* below *scope*: it can be cut short while it is under way."""

    def __init__(self, scope: Scope, agent: Any, *, key: str, index: int = 0) -> None:
        self.agent = agent
        self.name = name_of(agent)
        self.place = scope.child(segment_of(key))
        self.index = index
        self._under_way: dict[str, Call] = scope.run.notes.setdefault((_UNDER_WAY, scope.path), {})
        self._clock = scope.run.clock
        self._began = self._clock.monotonic()
        self._asked = False

    async def ask(self, message: str, *, timeout: float | None = None, user_id: str = "default") -> AgentResult:
        """Ask, and return what became of it."""
        limit, idle = time_left(self.place, timeout)
        try:
            return await bounded(self.attempt(message, user_id), limit, self._clock, name=self.title, idle=idle)
        except OutOfTime:
            if limit != timeout:
                await budget_over(self.place)
            return await self.cut_short(TimeoutError(TIMEOUT))

    @property
    def title(self) -> str:
        """How its asyncio task is called."""
        return f"call {self.name}"

    async def attempt(self, message: str, user_id: str) -> AgentResult:
        """Ask without a limit of time, in an asyncio task that whoever made it may cancel, and then cut short."""
        self._began = self._clock.monotonic()
        self._asked = True
        ended = self.place.recorded(_CUT)
        if ended is not None:
            return self._replayed_cut(ended)
        self._under_way[self.place.path] = self
        try:
            with self.place.entered():
                answer = await answer_at(self.place, self.agent, self.name, message, user_id)
        except CONTROL:
            raise
        except asyncio.CancelledError:
            if cancelled_from_outside():
                raise  # it stays under way: whoever asks for the partial result sees what it has finished
            answer = Answer.failed(Cancelled(f"{self.name} was cancelled from within"))
        except Exception as error:  # noqa: BLE001  an agent's error is data
            answer = Answer.failed(error)
        self._leave()
        return self._result(answer)

    def _leave(self) -> None:
        self._under_way.pop(self.place.path, None)
        self.place.run.notes.pop((_PROGRESS, self.place.path), None)

    async def cut_short(self, error: Exception) -> AgentResult:
        """Record that it was given no more time, and return that as its result. What it was doing has ended before."""
        self._leave()
        ended = self.place.recorded(_CUT)
        if ended is not None:
            return self._replayed_cut(ended)
        if not self._asked:  # it was in an earlier life of the run, which ended before this was recorded
            self.place.add(self.place.run.used_below(self.place.path))
        await cut_short(self.place, self.name, error)
        return self._result(Answer.failed(error))

    def so_far(self) -> AgentResult | None:
        """Return what a pattern that is under way here has finished; None for one who has nothing to show yet."""
        progress = self.place.run.notes.get((_PROGRESS, self.place.path))
        if progress is None:
            return None
        return self._result(Answer.of_unfinished(progress()))

    def _replayed_cut(self, step: RunStep) -> AgentResult:
        assert step.error is not None, "it is recorded as an error"
        self.place.add(self.place.run.used_below(self.place.path))
        return self._result(Answer.failed(step.error.revive()))

    def _result(self, answer: Answer) -> AgentResult:
        return AgentResult(
            agent_name=self.name,
            content=answer.content,
            success=answer.success,
            error=answer.error,
            error_type=answer.error_type,
            index=self.index,
            duration_ms=(self._clock.monotonic() - self._began) * 1000,
            usage=self.place.usage,
            output=answer.output,
            handoff=answer.handoff,
        )


def time_left(scope: Scope, timeout: float | None) -> tuple[float | None, Callable[[], float]]:
    """Return the seconds that a time-out and the budgets above *scope* leave (None: no limit), and what tells of seconds
    spent waiting for people since, which do not count: here for a time-out, anywhere in the run for a budget.
    """
    run = scope.run
    left = run.spending.seconds_left(scope)
    if left is None or (timeout is not None and timeout <= left):
        return timeout, lambda: run.asking.idle(scope.path)
    return left, run.asking.idle


def check_refused(scope: Scope, said: AgentResult) -> None:
    """Raise Stopped when *said* tells of nothing but a call that a budget above *scope* did not allow."""
    if said.error_type == BudgetExceededError.__name__:
        scope.check()


async def budget_over(scope: Scope) -> None:
    """Raise Stopped: the time of a budget is over. The timer may have been early by the precision of its clock."""
    await scope.run.clock.sleep(scope.run.spending.seconds_left(scope) or 0.0)
    scope.check()


async def cut_short(place: Scope, name: str, error: Exception) -> None:
    """Record that an agent was given no more time: replay gives the same, though its steps may all be there."""

    async def raise_it(ticket: Ticket) -> None:
        raise error

    with contextlib.suppress(type(error)):
        await place.step(StepOrder(segment=_CUT, kind="call", agent_name=name), raise_it)


# -- what is under way

_UNDER_WAY, _PROGRESS = "under way", "progress"


def note_progress(scope: Scope, partial: Any) -> None:
    """Let those above *scope* see what the pattern there has finished: ``partial()`` is it as a result."""
    scope.run.notes[_PROGRESS, scope.path] = partial


def unfinished(scope: Scope) -> list[AgentResult]:
    """Return what the patterns that are called from *scope*, and still under way, have finished so far."""
    calls: dict[str, Call] = scope.run.notes.get((_UNDER_WAY, scope.path), {})
    return [found for each in calls.values() if (found := each.so_far()) is not None]
