"""A registered agent as one that can chat: inline, in a process, in a box or on another node."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import (
    AgentStateError,
    BudgetExceededError,
    DeadAgentError,
    ResponseTimeoutError,
    RunNotFoundError,
    WaitTimeoutError,
)
from shoal.kernel.agent import AgentStatus
from shoal.kernel.ambient import AgentAmbient, current_ambient
from shoal.kernel.asking_people import digest_of
from shoal.kernel.budget import Refusal
from shoal.kernel.run import RunEventType
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.kernel.task import TaskStatus
from shoal.kernel.taskrun import ACCOUNT, present_scope, run_of
from shoal.kernel.usage import Usage

if TYPE_CHECKING:
    from shoal.kernel.node import Node
    from shoal.kernel.task import Task

__all__ = ["ChatAnswer", "RemoteAgent"]

LOOK_SECONDS = 0.25
"""How often the one who waits looks whether the agent has died with the task."""


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent answered, and what it used."""

    content: str
    usage: Usage = Usage()
    output: Any = None

    @property
    def cost(self) -> float:
        """In USD."""
        return self.usage.cost

    def __str__(self) -> str:
        return self.content


class RemoteAgent:
    """A proxy for a registered agent (``AgentRuntime.agent``).

    In a run with a journal, what it is asked is a task that is submitted once per step: a restarted caller finds the
    finished work. Elsewhere it is a request.
    """

    journaled = True

    def __init__(self, node: Node, name: str, timeout: float | None) -> None:
        self.name = node.agents.get(name).name
        self._node = node
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"runtime.agent({self.name!r})"

    async def chat(self, message: str, user_id: str = "default") -> ChatAnswer:
        """Ask it and return its answer.

        Raises:
            DeadAgentError: it is not there, or died with the question; within 1 s of the death.
            RequestFailedError, TaskError classes: it raised. ResponseTimeoutError: it did not answer in time.
        """
        scope = await present_scope(self.name)
        await self._count_refused(scope)
        order = StepOrder(
            segment="remote", kind="chat", agent_name=self.name, digest=digest_of(self.name, message, user_id)
        )

        async def ask(ticket: Ticket) -> Any:
            answer = await self._ask(scope, ticket, {"message": message, "user_id": user_id})
            return msgspec.to_builtins(answer)

        step = await scope.step(order, ask)
        return msgspec.convert(step.output, ChatAnswer)

    async def health(self) -> str:
        """Return ``healthy``, or how it stands otherwise, as the directory knows it; the agent is not asked."""
        status = self._node.agents.get(self.name).status
        return "healthy" if status in (AgentStatus.RUNNING, AgentStatus.PAUSED) else str(status)

    async def _ask(self, scope: Scope, ticket: Ticket, data: dict[str, Any]) -> ChatAnswer:
        if scope.run.durable:
            try:
                return await self._by_task(scope, ticket, data)
            except AgentStateError:  # it takes no tasks: its handler of messages is asked
                pass
        answer = await self._by_request(data)
        ticket.usage = answer.usage
        return answer

    async def _by_request(self, data: dict[str, Any]) -> ChatAnswer:
        ambient = current_ambient.get()
        if isinstance(ambient, AgentAmbient):
            args = {"recipient": self.name, "message_type": "chat", "data": data, "timeout_seconds": self._timeout}
            answer = await ambient.call("request", args)
        else:
            answer = await self._node.post.asking.request(None, self.name, "chat", data, self._timeout)
        return _answer(self.name, answer.data)

    async def _by_task(self, scope: Scope, ticket: Ticket, data: dict[str, Any]) -> ChatAnswer:
        number, task_id = await self._submit(scope, ticket.key, data)
        task = await self._wait(task_id)
        used = self._used_in(task)
        if _refused(task):
            await self._count_refusal(scope, number, used)
            raise scope.run.spending.refused_elsewhere(self._refusal_in(task))
        ticket.usage = ticket.paid = used
        answer = _answer(self.name, task.result())
        if answer.usage is _UNTOLD and used != Usage():
            answer = msgspec.structs.replace(answer, usage=used)
        ticket.usage = answer.usage.at_least(used)
        return answer

    async def _count_refused(self, scope: Scope) -> None:
        """Count what was used before a budget refused more, or the run was cancelled, in earlier lives of it."""
        number = 1
        while (known := scope.recorded(_refusal(number))) is not None:
            await self._count_refusal(scope, number, known.usage)
            number += 1

    async def _count_refusal(self, scope: Scope, number: int, used: Usage) -> None:
        async def count(ticket: Ticket) -> None:
            ticket.usage = ticket.paid = used

        await scope.step(StepOrder(segment=_refusal(number), kind="chat", agent_name=self.name), count)

    async def _submit(self, scope: Scope, key: str, data: dict[str, Any]) -> tuple[int, str]:
        """Submit the question as a task, or find the one that was submitted before; return which one, and its id."""
        tasks = self._node.tasks
        metadata = {} if scope.account is None else {ACCOUNT: scope.account}
        self._alive()
        now = self._node.env.clock.now()
        number = 1
        while True:
            task_id = await tasks.submit(
                "chat",
                data,
                agent=self.name,
                idempotency_key=_short(f"{scope.run.run_id}/{key}" + f"#{number}" * (number > 1)),
                metadata=metadata,
                timeout_seconds=self._timeout,
            )
            task = tasks.get(task_id)
            asked_anew = _refused(task) or task.status is TaskStatus.CANCELLED  # a larger budget, a run that goes on
            if not asked_anew or task.created_at >= now:
                return number, task_id
            if scope.recorded(_refusal(number)) is None:
                await self._count_refusal(scope, number, self._used_in(task))
            number += 1

    def _used_in(self, task: Task) -> Usage:
        """Return what the run of a task has used, and charged to the account for which it worked."""
        try:
            return self._node.env.store.runs.get(run_of(task.task_id)).usage
        except RunNotFoundError:  # its agent knows no runs
            return Usage()

    def _refusal_in(self, task: Task) -> Refusal | None:
        told = self._node.env.store.runs.events(run_of(task.task_id))
        spent = [event.data for event in told if event.type == RunEventType.BUDGET_EXHAUSTED]
        return msgspec.convert(spent[-1], Refusal) if spent else None

    async def _wait(self, task_id: str) -> Task:
        """Wait for the answer; who is cancelled meanwhile cancels the question, unless the whole node ends."""
        try:
            return await self._answered(task_id)
        except asyncio.CancelledError:
            env = self._node.env
            if env.status == "running" and not env.lost:
                env.spawn(self._node.tasks.cancel(task_id, "whoever asked was cancelled"), f"cancel task {task_id}")
            raise

    async def _answered(self, task_id: str) -> Task:
        tasks, clock = self._node.tasks, self._node.env.clock
        began = clock.monotonic()
        while True:
            try:
                return await tasks.wait(task_id, LOOK_SECONDS)
            except WaitTimeoutError:
                task = tasks.get(task_id)
            try:
                if task.deaths or task.interruptions:
                    raise DeadAgentError(f"Agent {self.name!r} died with the question", reason="died", name=self.name)
                if not task.attempt:
                    self._alive()
                if self._timeout is not None and clock.monotonic() - began > self._timeout + 1:
                    raise ResponseTimeoutError(f"Agent {self.name!r} did not answer within {self._timeout:g} s")
            except (DeadAgentError, ResponseTimeoutError) as error:
                await tasks.cancel(task_id, str(error))
                raise

    def _alive(self) -> None:
        instance = self._node.agents.get(self.name)
        if instance.status in (AgentStatus.STOPPED, AgentStatus.FAILED, AgentStatus.STOPPING):
            raise DeadAgentError(f"Agent {self.name!r} is {instance.status}", reason="not_running", name=self.name)


_UNTOLD = Usage(calls=1, unpriced_calls=1)
_LONGEST_KEY = 500


def _refusal(number: int) -> str:
    return f"refused{number}"


def _refused(task: Task) -> bool:
    return task.done and task.error_type == BudgetExceededError.__name__


def _short(key: str) -> str:
    """Return a key that a task may have; places of deeply nested patterns are longer."""
    return key if len(key) <= _LONGEST_KEY else f"{key[:100]}:{digest_of(key)}"


def _answer(name: str, data: Any) -> ChatAnswer:
    if isinstance(data, str):
        return ChatAnswer(content=data, usage=_UNTOLD)
    if isinstance(data, dict) and isinstance(data.get("content"), str):
        usage = data.get("usage")
        return ChatAnswer(
            content=data["content"],
            usage=_UNTOLD if usage is None else msgspec.convert(usage, Usage),
            output=data.get("output"),
        )
    raise TypeError(f"{name} returned {type(data).__name__}, expected str or a dict with content")
