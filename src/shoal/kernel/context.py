"""What an agent sees of the runtime: the same verbs in every isolation."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import msgspec

from shoal.kernel.budget import Account, Grant
from shoal.kernel.leasing import Granted
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Begun, Invocation, Lease, Link, SharedValue, Step
from shoal.kernel.run import Approval, RunEvent
from shoal.kernel.shared_store import SharedStore
from shoal.kernel.task import Task

__all__ = ["RESULTS", "TAKING", "AgentContext", "Metrics", "convert_result", "current_invocation"]

current_invocation: ContextVar[Invocation | None] = ContextVar("shoal_invocation", default=None)
"""The entry into the agent's code that is under way in this asyncio task or thread."""

current_step: ContextVar[str | None] = ContextVar("shoal_step", default=None)
"""The key of the step that is under way: what it submits or sends durably gets its id from it, so a repeat is the
same."""

RESULTS: dict[str, Any] = {
    "send_message": str,
    "broadcast_message": int,
    "publish": int,
    "receive_messages": list[AgentMessage],
    "wait_for_response": AgentMessage,
    "request": AgentMessage,
    "run_begin": Begun,
    "run_reserve": Grant,
    "run_ask": Approval,
    "run_approval": Approval,
    "run_decide": Approval,
    "run_account": Account,
    "run_cancel_asked": str | None,
    "run_told": list[RunEvent],
    "step_load": Step | None,
    "step_record": Step,
    "submit_task": str,
    "wait_for_task": Task,
    "dependencies": dict[str, Task],
    "lease_acquire": Granted,
    "lease_renew": Lease,
    "run_tool": Any,
    "shared_get": SharedValue | None,
    "shared_set": int,
    "shared_delete": bool,
    "shared_keys": list[str],
    "shared_changes": tuple[list[SharedValue], int],
}
"""The type of each verb's result, for those who receive it over a wire; a verb that is not listed returns None."""

TAKING = frozenset({"receive_messages", "wait_for_response"})
"""The verbs that take mail. Who carries their result keeps it until the agent has it, or else gives it back."""


class Metrics:
    """An agent's own numbers, in the runtime's metrics and its Prometheus text."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def count(self, name: str, n: float = 1) -> None:
        """Add *n* to the counter *name*."""
        self._link.metric("count", name, n)

    def observe(self, name: str, value: float) -> None:
        """Put *value* in the histogram *name*."""
        self._link.metric("observe", name, value)


class AgentContext:
    """An agent's way to its runtime. ``task`` is the task of the invocation that is under way, if it is one."""

    __slots__ = ("__weakref__", "_link", "agent_id", "name", "node_id", "runtime_id")

    def __init__(self, link: Link, *, agent_id: str, name: str, runtime_id: str, node_id: str) -> None:
        self._link = link
        self.agent_id = agent_id
        self.name = name
        self.runtime_id = runtime_id
        self.node_id = node_id

    def _call(self, verb: str, args: dict[str, Any]) -> Any:
        invocation = current_invocation.get()
        return self._link.call(verb, None if invocation is None else invocation.invocation_id, args)

    @property
    def shared(self) -> SharedStore:
        """Small durable values shared by all agents and nodes."""
        return SharedStore(self._call)

    @property
    def metrics(self) -> Metrics:
        """The agent's own numbers."""
        return Metrics(self._link)

    @property
    def logger(self) -> logging.Logger:
        """The logger ``shoal.agent.NAME``."""
        return logging.getLogger(f"shoal.agent.{self.name}")

    @property
    def task(self) -> Task | None:
        """The task that is being executed, or None."""
        invocation = current_invocation.get()
        return None if invocation is None else invocation.task

    def is_stopping(self) -> bool:
        """Tell whether the present work is to end soon: it was cancelled, or the agent or its runtime stops."""
        return self._link.is_stopping()

    # -- messages

    async def send_message(
        self,
        recipient_ids: Sequence[str],
        message_type: str,
        data: Any,
        correlation_id: str | None = None,
        *,
        ttl_seconds: float | None = None,
        durable: bool = False,
    ) -> str:
        """Send *data* to agents, by id or unique name, and return the message's id.

        Args:
            recipient_ids: a list; all get it, or none.
            message_type: 1 to 50 letters, digits or underscores.
            data: a JSON value of at most ``max_payload_mb`` encoded.
            correlation_id: what an answer refers to.
            ttl_seconds: how long it may wait (default: ``message_ttl_seconds``; durable: 7 days).
            durable: return when it is on disk, deliver it at least once, deduplicated by id; also to stopped agents.

        Raises:
            AgentNotFoundError, DeadAgentError, MailboxFullError, PayloadError, MessageTooLargeError.
        """
        args = {
            "recipient_ids": recipient_ids,
            "message_type": message_type,
            "data": data,
            "correlation_id": correlation_id,
            "ttl_seconds": ttl_seconds,
            "durable": durable,
            "step": current_step.get(),
        }
        message_id: str = await self._call("send_message", args)
        return message_id

    async def broadcast_message(self, message_type: str, data: Any, *, group: str | None = None) -> int:
        """Send *data* to all running or paused agents (of *group*) but this one; return how many mailboxes took it."""
        args = {"message_type": message_type, "data": data, "group": group}
        reached: int = await self._call("broadcast_message", args)
        return reached

    async def publish(self, topic: str, data: Any) -> int:
        """Send *data* to the subscribers of *topic* at this moment, at most once; return how many took it."""
        taken: int = await self._call("publish", {"topic": topic, "data": data})
        return taken

    async def subscribe(self, topic: str) -> None:
        """Get what is published under *topic*: words by dots, ``*`` for one word, a last ``>`` for the rest."""
        await self._call("subscribe", {"topic": topic})

    async def unsubscribe(self, topic: str) -> None:
        """End a subscription."""
        await self._call("unsubscribe", {"topic": topic})

    async def receive_messages(
        self, block: bool = False, timeout_seconds: float | None = None, limit: int | None = None
    ) -> list[AgentMessage]:
        """Take the messages that wait, in order, at most *limit*.

        With *block* wait for the first one, at most *timeout_seconds*; an empty list when none came.
        """
        args = {"block": block, "timeout_seconds": timeout_seconds, "limit": limit}
        messages: list[AgentMessage] = await self._call("receive_messages", args)
        return messages

    async def wait_for_response(self, correlation_id: str, timeout_seconds: float | None = 30.0) -> AgentMessage:
        """Wait for the message that answers *correlation_id*, also one that came before; other mail stays in order.

        Raises:
            ResponseTimeoutError: none came in time.
            DeadAgentError: the agent asked has died.
        """
        args = {"correlation_id": correlation_id, "timeout_seconds": timeout_seconds}
        message: AgentMessage = await self._call("wait_for_response", args)
        return message

    async def request(
        self, recipient: str, message_type: str, data: Any, timeout_seconds: float | None = 30.0
    ) -> AgentMessage:
        """Ask an agent, by id or unique name, and return its answer.

        Raises:
            DeadAgentError: it is not there, or died; within 1 s of the death.
            NoHandlerError: it has no ``on_message``.
            RequestFailedError: its handler raised.
            ResponseTimeoutError, DeadlockError, ChainTooDeepError, MailboxFullError.
        """
        args = {"recipient": recipient, "message_type": message_type, "data": data, "timeout_seconds": timeout_seconds}
        answer: AgentMessage = await self._call("request", args)
        return answer

    async def reply(self, message: AgentMessage, data: Any) -> None:
        """Answer *message*: its sender gets *data*, with type ``response`` and the same correlation."""
        await self._call("reply", {"message": message, "data": data})

    async def ack(self, message: AgentMessage) -> None:
        """Acknowledge a durable message: it will not be delivered again."""
        await self._call("ack", {"message_id": message.message_id})

    # -- the present task

    async def checkpoint(self, state: Mapping[str, Any]) -> None:
        """Keep *state*: a task's next attempt finds it in ``task.checkpoint``; outside a task,
        ``on_resume`` gets it."""
        await self._call("checkpoint", {"state": state})

    async def progress(self, fraction: float, note: str = "") -> None:
        """Show how far the task is, 0 to 1."""
        await self._call("progress", {"fraction": fraction, "note": note})

    async def step(self, key: str, fn: Callable[..., Any], *args: Any) -> Any:
        """Run ``fn(*args)`` once per task and *key*; afterwards return its recorded result.

        A crash before the result is recorded runs it again, at most once per crash. An error is raised and not recorded.
        *fn* may be a coroutine function; a plain one runs where it is called, so it should not block.

        Returns:
            The result as JSON gives it back (tuples as lists), the same at first and on replay.
        """
        done: Step | None = await self._call("step_load", {"key": key})
        if done is not None:
            return done.value
        token = current_step.set(key)
        try:
            value = fn(*args)
            if inspect.isawaitable(value):
                value = await value
        finally:
            current_step.reset(token)
        recorded: Step = await self._call("step_record", {"key": key, "value": value})
        return recorded.value

    async def dependencies(self) -> dict[str, Task]:
        """Return the tasks that this task waited for, by id."""
        found: dict[str, Task] = await self._call("dependencies", {})
        return found

    # -- other tasks

    async def submit_task(
        self,
        name: str,
        input_data: Mapping[str, Any] | None = None,
        priority: int | str = 50,
        dependencies: Sequence[str] | None = None,
        timeout_seconds: float | None = None,
        max_retries: int = 0,
        **options: Any,
    ) -> str:
        """Submit a child of the present task, cancelled with it; options as ``AgentRuntime.submit_task``.

        Inside a ``step`` it is submitted once, however often the step runs.
        """
        args = {
            "name": name,
            "input_data": input_data,
            "priority": priority,
            "dependencies": dependencies,
            "timeout_seconds": timeout_seconds,
            "max_retries": max_retries,
            "options": options,
            "step": current_step.get(),
        }
        task_id: str = await self._call("submit_task", args)
        return task_id

    async def wait_for_task(self, task_id: str, timeout_seconds: float | None = None) -> Task:
        """Wait until the task has ended, whichever way, and return it. Raises WaitTimeoutError, DeadlockError."""
        task: Task = await self._call("wait_for_task", {"task_id": task_id, "timeout_seconds": timeout_seconds})
        return task


def convert_result(verb: str, value: Any) -> Any:
    """Turn the JSON form of a verb's result back into its type; that of a wing's verb (``wing.verb``) stays JSON."""
    kind = Any if "." in verb else RESULTS.get(verb)
    return None if kind is None else msgspec.convert(value, kind)
