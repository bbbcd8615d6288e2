"""The verbs of ``AgentContext``, carried out for one agent. The host in between may be a loop, a thread or a wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shoal.errors import DeadAgentError, LeaseLostError, NoHandlerError, WaitTimeoutError
from shoal.kernel.context import current_invocation
from shoal.kernel.entry import Entry
from shoal.kernel.leasing import Granted, lock_name
from shoal.kernel.message import AgentMessage, check_topic
from shoal.kernel.payload import checked
from shoal.kernel.ports import Lease, Step
from shoal.kernel.redelivery import put_back
from shoal.kernel.runlink import RUN_VERBS
from shoal.kernel.shared import Shared
from shoal.kernel.task import Task

if TYPE_CHECKING:
    from shoal.kernel.attempt import Attempt
    from shoal.kernel.cell import Cell
    from shoal.kernel.env import Env
    from shoal.kernel.tasks import Tasks

__all__ = ["CellLink"]

PROGRESS_EVERY_SECONDS = 1.0


class CellLink:
    """What the context of one agent talks to (``Link``). ``cell`` is set when the agent has been constructed."""

    __slots__ = ("_env", "_shared", "_tasks", "cell")

    def __init__(self, env: Env, tasks: Tasks, shared: Shared) -> None:
        self._env = env
        self._tasks = tasks
        self._shared = shared
        self.cell: Cell | None = None

    def call(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Carry out a verb.

        Raises LeaseLostError for an invocation that was given up, or a node that lost its lease.
        """
        return self._env.answered(self._carry_out(verb, invocation_id, args))

    def _carry_out(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Awaitable[Any]:
        cell = self.cell
        self._env.check_lease()
        if cell is None or cell.dead:
            raise DeadAgentError("This agent is not running", reason="not_running")
        if invocation_id in cell.void:
            raise LeaseLostError("This attempt was given up: it cannot settle, send or write")
        entry = cell.entries.get(invocation_id or "")
        if verb in RUN_VERBS:
            return RUN_VERBS[verb](cell, entry, **args)
        carry_out = _VERBS.get(verb)
        if carry_out is not None:
            return carry_out(self, cell, entry, **args)
        of_wing = self._env.verbs.get(verb)
        if of_wing is None:
            raise ValueError(f"unknown verb {verb[:80]!r}")
        return of_wing(cell, entry, **args)

    def is_stopping(self) -> bool:
        """Tell whether the present work is to end."""
        cell = self.cell
        if cell is None:
            return False
        invocation = current_invocation.get()
        return cell.closing or self._env.status != "running" or (invocation is not None and cell.stops(invocation))

    def give_back(self, invocation_id: str | None, taken: AgentMessage | list[AgentMessage]) -> None:
        """Put mail back that the agent was given and never had (``RuntimeLink``)."""
        cell = self.cell
        if cell is None:
            return
        messages = taken if isinstance(taken, list) else [taken]
        entry = cell.entries.get(invocation_id or "")
        if invocation_id in cell.void:  # its durable mail was given back with the attempt
            messages = [message for message in messages if not message.durable]
        elif entry is not None and entry.attempt is not None:
            ids = {message.message_id for message in messages}
            entry.attempt.pulled = [message for message in entry.attempt.pulled if message.message_id not in ids]
        put_back(cell, messages)

    def metric(self, kind: str, name: str, value: float) -> None:
        """Note a number of the agent's own."""
        note = self._env.numbers.count if kind == "count" else self._env.numbers.observe
        note(f"agent_{name}", value)

    # -- messages

    async def _send_message(
        self, cell: Cell, entry: Entry | None, *, step: str | None = None, durable: bool = False, **args: Any
    ) -> str:
        message_id = None
        if durable and step is not None and entry is not None and entry.attempt is not None:
            message_id = f"{entry.attempt.task.task_id}/{step}/{self._ordinal(entry.attempt, step)}"
        recipients, kind, data = args.pop("recipient_ids"), args.pop("message_type"), args.pop("data")
        return await cell.post.send(cell, recipients, kind, data, durable=durable, message_id=message_id, **args)

    async def _broadcast(self, cell: Cell, entry: Entry | None, **args: Any) -> int:
        return await cell.post.broadcast(cell, args["message_type"], args["data"], args.get("group"))

    async def _publish(self, cell: Cell, entry: Entry | None, topic: str, data: Any) -> int:
        return await cell.post.publish(cell, topic, data)

    async def _subscribe(self, cell: Cell, entry: Entry | None, topic: str) -> None:
        check_topic(topic, pattern=True)
        cell.env.bus.subscribe(cell.agent_id, topic)

    async def _unsubscribe(self, cell: Cell, entry: Entry | None, topic: str) -> None:
        cell.env.bus.unsubscribe(cell.agent_id, topic)

    async def _receive(
        self, cell: Cell, entry: Entry | None, block: bool, timeout_seconds: float | None, limit: int | None
    ) -> list[AgentMessage]:
        inbox = cell.inbox
        await inbox.catch_up()
        messages = inbox.mailbox.get(limit)
        if block and not messages:
            try:
                with cell.time.limit(timeout_seconds):
                    while not messages:
                        await inbox.mailbox.wait()
                        messages = inbox.mailbox.get(limit)
            except TimeoutError:
                messages = []
        inbox.pump()  # there is room again
        for message in messages:
            cell.post.received(cell, message)
            if message.durable and entry is not None and entry.attempt is not None:
                entry.attempt.pulled.append(message)
        return messages

    async def _wait_for_response(
        self, cell: Cell, entry: Entry | None, correlation_id: str, timeout_seconds: float | None
    ) -> AgentMessage:
        message = await cell.post.asking.wait_for_response(cell, correlation_id, timeout_seconds)
        if message.durable and entry is not None and entry.attempt is not None:
            entry.attempt.pulled.append(message)
        return message

    def _request(self, cell: Cell, entry: Entry | None, **args: Any) -> Awaitable[AgentMessage]:
        outside = entry or cell.outside()
        return cell.post.asking.request(
            outside, args["recipient"], args["message_type"], args["data"], args["timeout_seconds"]
        )

    async def _reply(self, cell: Cell, entry: Entry | None, message: AgentMessage, data: Any) -> None:
        if not message.sender_id:
            raise NoHandlerError("This message has no sender who could be answered")
        await cell.post.asking.reply(cell, message, data)

    async def _ack(self, cell: Cell, entry: Entry | None, message_id: str) -> None:
        await cell.env.store.mail.ack(cell.agent_id, [message_id], now=cell.env.clock.now())

    # -- the present task

    @staticmethod
    def _attempt(entry: Entry | None, verb: str) -> Attempt:
        if entry is None or entry.attempt is None:
            raise RuntimeError(f"{verb} belongs to a task: call it inside execute_task")
        return entry.attempt

    @staticmethod
    def _ordinal(attempt: Attempt, step: str) -> int:
        attempt.ordinals[step] = number = attempt.ordinals.get(step, 0) + 1
        return number

    async def _checkpoint(self, cell: Cell, entry: Entry | None, state: Any) -> None:
        copy, _ = checked(dict(state), "state", cell.env.settings.max_payload_bytes)
        assert isinstance(copy, dict)
        now = cell.env.clock.now()
        if entry is not None and entry.attempt is not None:
            entry.attempt.stepped = True
            await cell.env.store.tasks.checkpoint(entry.attempt.fence, copy, now=now)
            entry.attempt.note(checkpoint=copy)
        else:
            await cell.env.store.agents.checkpoint(cell.agent_id, cell.env.node_id, copy, now=now)

    async def _progress(self, cell: Cell, entry: Entry | None, fraction: float, note: str) -> None:
        attempt = self._attempt(entry, "progress")
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 <= fraction <= 1:
            raise ValueError(f"fraction must be 0 to 1, not {fraction!r:.80}")
        now = cell.env.clock.monotonic()
        if now - attempt.last_progress >= PROGRESS_EVERY_SECONDS or fraction == 1:
            attempt.last_progress = now
            await cell.env.store.tasks.progress(attempt.fence, float(fraction), note, now=cell.env.clock.now())
            attempt.note(progress=float(fraction), progress_note=note)

    async def _step_load(self, cell: Cell, entry: Entry | None, key: str) -> Step | None:
        if not isinstance(key, str) or not 0 < len(key) <= 500:
            raise ValueError(f"a step's key must be text of 1 to 500 characters, not {key!r:.80}")
        attempt = self._attempt(entry, "step")
        attempt.ordinals[key] = 0
        if attempt.task.attempt == 1 and key not in attempt.recorded:
            return None  # a first attempt has nothing recorded but what it recorded itself
        return cell.env.store.journal.get(f"task:{attempt.task.task_id}", key)

    async def _step_record(self, cell: Cell, entry: Entry | None, key: str, value: Any) -> Step:
        attempt = self._attempt(entry, "step")
        copy, _ = checked(value, f"step {key!r}", cell.env.settings.max_payload_bytes)
        attempt.stepped = True
        attempt.recorded.add(key)
        now = cell.env.clock.now()
        scope = f"task:{attempt.task.task_id}"
        await cell.env.store.journal.record(scope, key, copy, now=now, fence=attempt.fence)
        return Step(key=key, value=copy, at=now)

    async def _dependencies(self, cell: Cell, entry: Entry | None) -> dict[str, Task]:
        return await cell.env.store.tasks.find(self._attempt(entry, "dependencies").task.dependencies)

    # -- other tasks

    async def _submit_task(
        self, cell: Cell, entry: Entry | None, *, step: str | None, options: Mapping[str, Any], **args: Any
    ) -> str:
        attempt = None if entry is None else entry.attempt
        chosen = dict(options)
        if attempt is not None and step is not None and "idempotency_key" not in chosen:
            chosen["idempotency_key"] = f"{attempt.task.task_id}/{step}/{self._ordinal(attempt, step)}"
        return await self._tasks.submit(parent=None if attempt is None else attempt.task, **args, **chosen)

    async def _wait_for_task(
        self, cell: Cell, entry: Entry | None, task_id: str, timeout_seconds: float | None
    ) -> Task:
        try:
            with cell.time.limit(timeout_seconds):
                return await self._tasks.wait_in(entry, task_id)
        except TimeoutError:
            raise WaitTimeoutError([task_id], timeout_seconds) from None

    # -- the shared store

    async def _shared_get(self, cell: Cell, entry: Entry | None, key: str) -> Any:
        return self._shared.get(key)

    async def _shared_set(self, cell: Cell, entry: Entry | None, key: str, value: Any, **args: Any) -> int:
        return await self._shared.set(key, value, by=cell.name, **args)

    async def _shared_delete(self, cell: Cell, entry: Entry | None, key: str, expected_version: int | None) -> bool:
        return await self._shared.delete(key, expected_version)

    async def _shared_keys(self, cell: Cell, entry: Entry | None, prefix: str) -> Sequence[str]:
        return self._shared.keys(prefix)

    async def _shared_changes(self, cell: Cell, entry: Entry | None, prefix: str, after: int | None) -> Any:
        return await self._shared.changes(prefix, after)

    # -- leases on names

    async def _lease_acquire(
        self, cell: Cell, entry: Entry | None, name: str, owner: str, ttl: float, timeout: float | None
    ) -> Granted:
        return await self._env.leasing.acquire(lock_name(name), owner, ttl, timeout)

    async def _lease_renew(
        self, cell: Cell, entry: Entry | None, name: str, owner: str, token: int, ttl: float
    ) -> Lease:
        held = Lease(name=lock_name(name), owner=owner, token=token, until=self._env.clock.now())
        return await self._env.leasing.renew(held, ttl)

    async def _lease_release(self, cell: Cell, entry: Entry | None, name: str, owner: str, settled: bool) -> None:
        given = self._env.leasing.release(lock_name(name), owner)
        if settled:
            await given


_VERBS: dict[str, Callable[..., Awaitable[Any]]] = {
    "send_message": CellLink._send_message,
    "broadcast_message": CellLink._broadcast,
    "publish": CellLink._publish,
    "subscribe": CellLink._subscribe,
    "unsubscribe": CellLink._unsubscribe,
    "receive_messages": CellLink._receive,
    "wait_for_response": CellLink._wait_for_response,
    "request": CellLink._request,
    "reply": CellLink._reply,
    "ack": CellLink._ack,
    "checkpoint": CellLink._checkpoint,
    "progress": CellLink._progress,
    "step_load": CellLink._step_load,
    "step_record": CellLink._step_record,
    "dependencies": CellLink._dependencies,
    "submit_task": CellLink._submit_task,
    "wait_for_task": CellLink._wait_for_task,
    "lease_acquire": CellLink._lease_acquire,
    "lease_renew": CellLink._lease_renew,
    "lease_release": CellLink._lease_release,
    "shared_get": CellLink._shared_get,
    "shared_set": CellLink._shared_set,
    "shared_delete": CellLink._shared_delete,
    "shared_keys": CellLink._shared_keys,
    "shared_changes": CellLink._shared_changes,
}
