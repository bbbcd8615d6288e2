"""Agents at once on the same message, or each on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from shoal.errors import nearest
from shoal.kernel.asking_people import digest_of
from shoal.kernel.bounded import OutOfTime, end, in_time
from shoal.kernel.budget import Budget
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.orchestration.agents import check_agents, name_of
from shoal.orchestration.calling import CANCELLED, TIMEOUT, Call, Cancelled, budget_over, time_left, unfinished
from shoal.orchestration.checks import check_common, check_count, check_flag, check_seconds, check_text
from shoal.orchestration.pattern import Pattern
from shoal.orchestration.results import AgentResult, ParallelResult
from shoal.orchestration.together import results_of

__all__ = ["Fan", "ParallelAgents", "parallel_chat"]

OTHERS = "default"
"""The key of ``chat_different`` under which stands what the agents are asked that have no message of their own."""

_DECIDED = "fail_fast"
"""The segment under which it is recorded whom a failure has cancelled."""


@dataclass(eq=False)
class ParallelAgents(Pattern[ParallelResult]):
    """Agents that work at once.

    Args:
        agents: whose results stand in this order.
        timeout: seconds for each agent, from when it begins. None: no limit.
        fail_fast: whether the first failure cancels the others.
        allow_duplicate_instances: whether one agent may be there twice; the second is then called ``name#2``.
        max_concurrency: how many work at the same time, None: all.
        name, budget: see ``Pattern``.

    Raises:
        ValueError, TypeError: what is wrong, and what is allowed.
    """

    result_type = ParallelResult

    agents: Iterable[Any]
    timeout: float | None = 120.0
    fail_fast: bool = False
    allow_duplicate_instances: bool = False
    max_concurrency: int | None = None
    _: KW_ONLY
    name: str = "Parallel"
    budget: Budget | None = None

    def __post_init__(self) -> None:
        again: Literal["number", "refuse"] = "number" if self.allow_duplicate_instances else "refuse"
        self.agents = check_agents(self.agents, pattern="ParallelAgents", again=again)
        check_seconds(self.timeout, "timeout")
        check_flag(self.fail_fast, "fail_fast")
        check_flag(self.allow_duplicate_instances, "allow_duplicate_instances")
        check_common(self.name, self.budget)
        if self.max_concurrency is not None:
            check_count(self.max_concurrency, "max_concurrency")

    async def run(
        self, message: str, user_id: str = "default", *, context: str = "", budget: Budget | None = None
    ) -> ParallelResult:
        """Ask all agents *message* and return every answer. Errors of agents are data."""
        return await self._run(message, user_id, context, budget)

    async def chat_different(
        self, messages: Mapping[str, str], user_id: str = "default", *, budget: Budget | None = None
    ) -> ParallelResult:
        """Ask each agent its own message, by name; ``default`` is for the rest. Who has none is left out.

        Raises ValueError for a name that no agent has, before any call.
        """
        self.check_messages(messages)
        return await self._run(dict(messages), user_id, "", budget)

    def check_input(self, input: Any) -> None:
        """Raise unless it is a message, or messages by name."""
        if isinstance(input, Mapping):
            self.check_messages(input)
        else:
            check_text(input)

    def check_messages(self, messages: Any) -> None:
        """Raise unless these are messages for agents that are there."""
        if not isinstance(messages, Mapping):
            raise TypeError(f"messages must be a dict of agent name to message, not {type(messages).__name__}")
        if not messages:
            raise ValueError("messages is empty: it has no message for any agent")
        known = [name_of(agent) for agent in self.agents]
        for name, message in messages.items():
            if name not in known and name != OTHERS:
                raise ValueError(f"no agent {name!r:.80} among {', '.join(known)}{nearest(str(name), known)}")
            check_text(message, f"the message for {name!r}")

    def begin(
        self, scope: Scope, input: Any, user_id: str, context: str
    ) -> tuple[Callable[[], ParallelResult], Coroutine[Any, Any, None]]:
        """Begin with nothing done."""
        own = input if isinstance(input, Mapping) else {}
        others = own.get(OTHERS) if isinstance(input, Mapping) else input
        messages: dict[int, str] = {}
        for index, agent in enumerate(self.agents):
            message = own.get(name_of(agent), others)
            if message is not None:
                messages[index] = f"{context}\n\n{message}" if context else message
        fan = Fan(self, scope, user_id, messages)
        return fan.result, fan.work()


class Fan:
    """One run of agents at once, at *scope*: *messages* by the index of the agent."""

    def __init__(self, pattern: ParallelAgents, scope: Scope, user_id: str, messages: Mapping[int, str]) -> None:
        self._pattern = pattern
        self._scope = scope
        self._user_id = user_id
        self._messages = messages
        most = pattern.max_concurrency
        self._places = None if most is None else asyncio.Semaphore(most)
        self._calls = {
            index: Call(scope, agent, key=f"{index}:{name_of(agent)}", index=index)
            for index, agent in enumerate(pattern.agents)
            if index in messages
        }
        self._done: dict[int, AgentResult] = {}
        self._over = False

    def result(self) -> ParallelResult:
        """Return the answers so far; before the end, with those under way that have something."""
        found = dict(self._done)
        if not self._over:
            found.update((said.index, said) for said in unfinished(self._scope))
        made = ParallelResult(results=tuple(found[index] for index in sorted(found)))
        failed = made.failed
        success = bool(made.successful) and not (self._pattern.fail_fast and failed) and self._over
        content = made.to_context()
        if not self._over and not content:
            content = "\n\n".join(said.content for said in failed if said.content)
        first = next((said for said in failed if said.error != CANCELLED), None)
        error = f"{first.agent_name}: {first.error}" if first is not None and not success else None
        return ParallelResult(results=made.results, content=content, success=success, error=error)

    async def work(self) -> None:
        """Ask them."""
        self._scope.check()
        cancelled = self._cancelled_before()
        for index in cancelled:
            self._done[index] = await self._calls[index].cut_short(Cancelled(CANCELLED))
        await self._ask([index for index in self._calls if index not in cancelled], decided=bool(cancelled))
        self._scope.check()  # an agent may have come to the end of the budget
        self._over = True

    def _cancelled_before(self) -> list[int]:
        """Return whom a failure has cancelled in an earlier life of the run."""
        step = self._scope.recorded(_DECIDED)
        found: Any = [] if step is None else step.output
        return list(found)

    async def _ask(self, indices: list[int], *, decided: bool) -> None:
        clock, timeout = self._scope.run.clock, self._pattern.timeout
        limit, idle = time_left(self._scope, timeout) if self._places is None else (None, None)
        loop = asyncio.get_running_loop()
        tasks = {i: loop.create_task(self._ask_one(i), name=self._calls[i].title) for i in indices}
        fail_fast = self._pattern.fail_fast and not decided
        ended = True
        try:
            await in_time(lambda: self._wait(tasks.values(), fail_fast=fail_fast), limit, clock, idle)
            late = [index for index in indices if index not in self._done]
            if late:
                await self._decide(late)
        except OutOfTime:
            late = [index for index in indices if index not in self._done]
            ended = False
        finally:
            left = [task for task in tasks.values() if not task.done()]
            if left:
                await end(left, clock)
        if not ended and limit != timeout:
            await budget_over(self._scope)
        for index in late:  # whoever has answered since then has not answered, as on replay
            reason = Cancelled(CANCELLED) if ended else TimeoutError(TIMEOUT)
            self._done[index] = await self._calls[index].cut_short(reason)

    async def _wait(self, tasks: Iterable[asyncio.Task[None]], *, fail_fast: bool) -> None:
        """Wait until all have ended, or with *fail_fast* until one has failed."""
        waiting = set(tasks)
        until = asyncio.FIRST_COMPLETED if fail_fast else asyncio.FIRST_EXCEPTION
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=until)
            results_of(done)
            if fail_fast and not all(said.success for said in self._done.values()):
                return

    async def _ask_one(self, index: int) -> None:
        call, message = self._calls[index], self._messages[index]
        if self._places is None:
            said = await call.attempt(message, self._user_id)
        else:
            async with self._places:
                said = await call.ask(message, timeout=self._pattern.timeout, user_id=self._user_id)
        self._done[index] = said

    async def _decide(self, cancelled: list[int]) -> None:
        """Record whom the failure cancels, so that replay gives the same whoever is quicker then."""

        async def decision(ticket: Ticket) -> Any:
            return cancelled

        await self._scope.step(StepOrder(segment=_DECIDED, kind="call", digest=digest_of(_DECIDED)), decision)


async def parallel_chat(
    agents: Iterable[Any], message: str, user_id: str = "default", timeout: float | None = 120.0
) -> ParallelResult:
    """Ask *agents* one message at once and return every answer; see ``ParallelAgents``."""
    return await ParallelAgents(agents, timeout=timeout).chat(message, user_id)
