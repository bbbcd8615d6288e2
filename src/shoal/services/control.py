"""Control of services: carried out by the runtime of the node that has them, so that it works in a pause and under load.

Only what the service's own code must answer enters it (``orders.py``), beside its requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import (
    AgentNotFoundError,
    AgentPauseError,
    AgentStateError,
    NoHandlerError,
    NotFound,
    RequestError,
    RequestTimeout,
    ShoalError,
)
from shoal.kernel.agent import AgentStatus
from shoal.kernel.message import AgentMessage
from shoal.services import codes
from shoal.services.directory import Directory
from shoal.services.info import AgentRecord
from shoal.services.known import Known
from shoal.services.masking import masked
from shoal.services.outsiders import merged
from shoal.services.requests import as_request_error, error_of, error_payload
from shoal.services.targets import Capability

if TYPE_CHECKING:
    from shoal.kernel.node import Node

__all__ = ["Control", "Controller", "control_address"]

CONTROL_SECONDS = 30.0
PATIENCE_SECONDS = 2.0
GRACE_SECONDS = 10.0
RECORDS = "records"
"""The order, for no service, by which a node is asked for the records of those that it has."""

Stop = Callable[[str, float], Coroutine[Any, Any, None]]


class Controller(msgspec.Struct, frozen=True):
    """The agent that controls: its id, its instance and its service."""

    uuid: str
    instance: str
    name: str


def control_address(node_id: str) -> str:
    """Return the address at which a node takes control of its services."""
    return f"services:{node_id}"


class Control:
    """Carries out control actions on services of this node, and sends those of other nodes there (``Receiver``)."""

    def __init__(self, node: Node, directory: Directory, stop: Stop) -> None:
        self._node = node
        self._env = node.env
        self._directory = directory
        self._stop = stop
        self._actions: dict[str, Callable[[Known, Any], Awaitable[Any]]] = {
            "pause": self._pause,
            "resume": self._resume,
            "status": self._status,
            "health": self._health,
            "drain": partial(self._end, "Draining"),
            "shutdown": partial(self._end, "Shutting down"),
            "update_config": self._update_config,
        }

    async def order(self, target: str | Capability, action: str, data: Any, by: Controller | None) -> Any:
        """Carry out an action and return its answer. *by* None is the operator, who may all.

        Raises RequestError: NOT_FOUND, UNAUTHORIZED, INVALID_ACTION, VALIDATION_ERROR ...
        """
        known = self._one(target)
        if known.registration is not None:
            return await self._carry_out(known, action, data, by)
        order = {"target": known.instance.agent_id, "action": action, "data": data, "by": msgspec.to_builtins(by)}
        address = control_address(known.instance.node_id or "")
        message = self._node.post.writing.question(None, address, "control", order, CONTROL_SECONDS)
        try:
            answer = await self._env.bus.request(address, message, CONTROL_SECONDS)
        except ShoalError as error:
            raise as_request_error(error) from error
        return _opened(answer.data)

    def _one(self, target: str | Capability) -> Known:
        if isinstance(target, Capability):
            found = self._directory.find(target)
            known = self._directory.get(found[0].uuid) if found else None
        else:
            known = self._directory.get(target) or next(self._directory.living(target), None)
        if known is None:
            raise NotFound(f"nobody is called {target!r:.80}")
        return known

    async def current_records(self) -> list[AgentRecord]:
        """Return the records of all nodes as those that have them know them now: their loads, health and leases, too.

        What a node does not say in time is what is known here.
        """
        known = {each.instance.agent_id: self._record(each) for each in self._directory.all()}
        nodes = {record.node for record in known.values() if record.node not in (None, self._env.node_id)}
        for found in await asyncio.gather(*(self._records_of(str(node)) for node in nodes)):
            known |= {record.uuid: record for record in found if record.uuid in known}
        return merged(list(known.values()), self._directory.outside.records())

    async def _records_of(self, node_id: str) -> list[AgentRecord]:
        order = {"target": None, "action": RECORDS, "data": None, "by": None}
        address = control_address(node_id)
        message = self._node.post.writing.question(None, address, "control", order, PATIENCE_SECONDS)
        try:
            answer = await self._env.bus.request(address, message, PATIENCE_SECONDS)
            return msgspec.convert(_opened(answer.data), list[AgentRecord])
        except ShoalError:
            return []

    def _record(self, known: Known) -> AgentRecord:
        return known.record(self._node, self._env.clock.monotonic())

    # -- from other nodes

    def offer(self, message: AgentMessage) -> None:
        """Take nothing that expects no answer (``Receiver``)."""
        return None

    def ask(self, message: AgentMessage) -> asyncio.Future[AgentMessage]:
        """Take an order of another node."""
        answer: asyncio.Future[AgentMessage] = asyncio.get_running_loop().create_future()
        self._env.spawn(self._answer(message, answer), "control of another node")
        return answer

    async def _answer(self, message: AgentMessage, answer: asyncio.Future[AgentMessage]) -> None:
        order: dict[str, Any] = message.data
        try:
            data: dict[str, Any] = {"data": await self._answer_of(order)}
        except Exception as error:  # noqa: BLE001  belongs to who gave the order
            data = {"error": error_payload(as_request_error(error))}
        if not answer.done():
            now = self._env.clock.now()
            answer.set_result(
                AgentMessage(
                    message_id=self._env.clock.new_id(),
                    sender_id=self._env.runtime_id,
                    sender_name="runtime",
                    message_type="control",
                    data=data,
                    timestamp=now,
                )
            )

    async def _answer_of(self, order: dict[str, Any]) -> Any:
        target: str | None = order["target"]
        if target is None and order["action"] == RECORDS:
            here = [known for known in self._directory.all() if known.registration is not None]
            return [msgspec.to_builtins(self._record(known)) for known in here]
        by = None if order["by"] is None else msgspec.convert(order["by"], Controller)
        known = None if target is None else self._directory.get(target)
        if known is None or known.registration is None:
            raise NotFound(f"{target!r:.80} is not here")
        return await self._carry_out(known, order["action"], order["data"], by)

    # -- here

    async def _carry_out(self, known: Known, action: str, data: Any, by: Controller | None) -> Any:
        self._check(known, by)
        carry_out = self._actions.get(action)
        if carry_out is None:
            return await self._enter(known, action, data)
        try:
            answer = await carry_out(known, data)
            self._directory.touch()
            return answer
        except (AgentStateError, AgentPauseError) as error:
            raise RequestError(codes.SERVICE_ERROR, str(error)) from error

    @staticmethod
    def _check(known: Known, by: Controller | None) -> None:
        if by is None or by.uuid == known.instance.agent_id:
            return
        for pattern in known.info["control_from"]:
            if any(fnmatchcase(name, pattern) for name in (by.uuid, by.instance, by.name)):
                return
        raise RequestError(codes.UNAUTHORIZED, f"{by.instance} may not control {known.instance.name}")

    async def _enter(self, known: Known, action: str, data: Any, seconds: float = CONTROL_SECONDS, **more: Any) -> Any:
        """Have the service's own code answer."""
        order = {"action": action, "data": data, **more}
        try:
            return _opened(await self._node.agents.control(known.instance.agent_id, order, seconds))
        except TimeoutError as error:
            raise RequestTimeout(f"{known.instance.name} did not answer {action} within {seconds:g} s") from error
        except (AgentStateError, AgentNotFoundError, NoHandlerError) as error:
            raise RequestError(codes.SERVICE_ERROR, str(error)) from error
        except ShoalError as error:
            raise as_request_error(error) from error

    async def _pause(self, known: Known, data: Any) -> str:
        await self._brought_to(AgentStatus.PAUSED, known, self._node.agents.pause)
        return "Paused"

    async def _resume(self, known: Known, data: Any) -> str:
        await self._brought_to(AgentStatus.RUNNING, known, self._node.agents.resume)
        return "Resumed"

    @staticmethod
    async def _brought_to(status: AgentStatus, known: Known, bring: Callable[[str], Awaitable[Any]]) -> None:
        if known.instance.status is status:
            return
        try:
            await bring(known.instance.agent_id)
        except AgentStateError:
            if known.instance.status is not status:  # else it came there by itself, while this waited for its turn
                raise

    async def _end(self, said: str, known: Known, data: Any) -> str:
        grace = data.get("grace", GRACE_SECONDS) if isinstance(data, Mapping) else GRACE_SECONDS
        if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not grace >= 0:
            raise RequestError(codes.VALIDATION_ERROR, f"grace must be seconds from 0, not {grace!r:.80}")
        agent_id = known.instance.agent_id
        self._env.spawn(self._stop(agent_id, float(grace)), f"end {known.instance.name}")
        return said

    async def _update_config(self, known: Known, data: Any) -> str:
        new = await self._enter(known, "update_config", data)
        if known.registration is not None:
            known.registration.config = new  # it comes back with it after a death
        return "Configuration updated"

    async def _health(self, known: Known, data: Any) -> dict[str, Any]:
        if known.instance.status is AgentStatus.PAUSED:
            return {"ok": True, "state": "paused"}
        return {"state": known.state, **await self.ask_health(known)}

    async def ask_health(self, known: Known) -> dict[str, Any]:
        """Return what the service says of its health. Raises RequestError when it does not say it in time."""
        cell = None if known.registration is None else known.registration.cell
        limit = None if cell is None else cell.inbox.limit
        share = 0.0 if cell is None or not limit else (len(cell.inbox.mailbox) + cell.inbox.parked) / limit
        found: dict[str, Any] = await self._enter(known, "health", None, PATIENCE_SECONDS, mailbox_share=share)
        return found

    async def _status(self, known: Known, data: Any) -> dict[str, Any]:
        instance, registration = known.instance, known.registration
        cell = None if registration is None else registration.cell
        config = {} if registration is None else masked(registration.config)
        own: dict[str, Any] = {"config": config, "requests": None, "errors": None}
        if cell is not None and not cell.frozen:
            try:
                own = await self._enter(known, "status", None, PATIENCE_SECONDS)
            except RequestError:  # its code does not react: what the runtime knows is true all the same
                own["answers"] = False
        now, began = self._env.clock.now(), instance.started_at
        running = 0 if cell is None else sum(entry.message is not None for entry in cell.entries.values())
        return {
            "type": "status",
            "id": instance.agent_id,
            "name": known.info["name"],
            "paused": instance.status is AgentStatus.PAUSED,
            "uptime": 0.0 if began is None or not instance.status.live else max(0.0, (now - began).total_seconds()),
            "state": known.state,
            "queued": 0 if cell is None else len(cell.inbox.mailbox) + cell.inbox.parked,
            "in_flight": running,
            "restarts": instance.restart_count,
            **own,
        }


def _opened(answer: Any) -> Any:
    """Return the data of an answer to an order, or raise its error."""
    if isinstance(answer, Mapping) and isinstance(answer.get("error"), Mapping):
        raise error_of(answer["error"])
    return answer["data"]
