"""How requests enter a service's code, and how their answers leave it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from shoal.errors import InfoError, PayloadError, RequestError, ValidationFailed
from shoal.kernel.ambient import AgentAmbient, current_ambient
from shoal.kernel.message import AgentMessage
from shoal.kernel.payload import checked
from shoal.kernel.starting import present_clock
from shoal.kernel.trace import Entered, new_span
from shoal.services import codes
from shoal.services.asking import REFUSED, deadline_passed
from shoal.services.balancer import LoadBalancer
from shoal.services.current import Current, current_request
from shoal.services.info import AgentInfo, AgentRecord
from shoal.services.requests import Envelope, RequestHeader, error_payload, execution_error, open_envelope
from shoal.services.schema import Schema

if TYPE_CHECKING:
    from shoal.kernel.task import Task
    from shoal.services.agent import ServiceAgent

__all__ = ["Copies", "Inner", "call_hook", "execute_task", "on_message", "run_own"]

logger = logging.getLogger("shoal.services")
COPY_SECONDS = 0.25
MOST_COPIES = 1000
LAST = 20
"""Of so many of the last requests the default ``health`` counts the failures."""


class Copies:
    """Who was found for a target, as far as it is young: an agent in a process of its own does not ask each time.

    A request that fails there ends it, so that who has gone is asked once at most.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, list[AgentRecord]]] = {}

    def get(self, target: str, now: float) -> list[AgentRecord] | None:
        """Return what was found, if it may still be used."""
        kept = self._kept.get(target)
        return kept[1] if kept is not None and now - kept[0] < COPY_SECONDS else None

    def keep(self, target: str, now: float, found: list[AgentRecord]) -> None:
        """Keep what was found; none is not kept."""
        if len(self._kept) >= MOST_COPIES:
            self._kept.clear()
        if found:
            self._kept[target] = (now, found)

    def forget(self) -> None:
        """Use none of it any more: a request has failed."""
        self._kept.clear()


class Inner:
    """What a service keeps beside its own attributes. Made when it is first needed, since code need not call
    ``super().__init__``."""

    def __init__(self, agent: ServiceAgent) -> None:
        self.info = AgentInfo.of(agent.info())
        faults: list[str] = []
        self.request = _schema("request_schema", self.info.request_schema, faults)
        self.response = _schema("response_schema", self.info.response_schema, faults)
        self.control = _schema("control_schema", self.info.control_schema, faults)
        if faults:
            raise InfoError(faults)
        self.balancer = LoadBalancer(agent)
        self.copies = Copies()
        self.requests = 0
        self.errors = 0
        self.malformed = 0
        self.last: deque[bool] = deque(maxlen=LAST)
        self.changing = asyncio.Lock()  # held by a change of the config
        self.mailbox_share = 0.0  # how full the mailbox was when the runtime last said so

    def count(self, well: bool) -> None:
        """Count a request that was handled."""
        self.requests += 1
        self.errors += not well
        self.last.append(well)


def _schema(name: str, kind: Any, faults: list[str]) -> Schema | None:
    if kind is None:
        return None
    try:
        return Schema(kind)
    except ValueError as error:
        faults.append(f"{name}: {error}")
        return None


async def on_message(self: ServiceAgent, message: AgentMessage) -> dict[str, Any] | None:
    """Answer a request; what is none is answered with an error where it can be."""
    inner = self.inner
    if message.message_type == "event":
        return None
    try:
        envelope = open_envelope(message.data)
        if message.message_type != "request" or envelope.header.type != "request":
            raise RequestError(codes.INVALID_FORMAT, f"a message of type {message.message_type!r} is no request")
    except RequestError as error:
        inner.malformed += 1
        self.context.metrics.count("malformed")
        return _refusal(_header_of(self, message), error) if message.sender_id else None
    header = envelope.header
    refused = _refused(inner, header, envelope.payload)
    if refused is not None:
        return _refusal(header, refused)
    clock = present_clock()
    current = Current(self.context, clock, envelope.payload, message, header)
    current_request.set(current)
    with Entered(clock, f"request {inner.info.name}", header.span or new_span(clock), {"instance": self.context.name}):
        await _process(self, current)
    if current.sending is not None:
        await current.sending
        return None
    return current.data()


def _refused(inner: Inner, header: RequestHeader, payload: dict[str, Any]) -> RequestError | None:
    if not inner.info.type.answers:
        return RequestError(codes.NOT_A_SERVER, f"{inner.info.name} is a client: it answers no requests")
    if deadline_passed(header, present_clock()):
        return RequestError(codes.TIMEOUT, "its time was over before its turn came")
    if inner.request is not None:
        try:
            inner.request.convert(payload)
        except ValidationFailed as error:
            return error
    return None


def _header_of(agent: ServiceAgent, message: AgentMessage) -> RequestHeader:
    return RequestHeader(
        from_uuid=message.sender_id,
        to_uuid=agent.context.agent_id,
        event_uuid=message.correlation_id or message.message_id,
        type="request",
        timestamp=present_clock().micros(),
    )


def _refusal(header: RequestHeader, error: RequestError) -> dict[str, Any]:
    """Return the answer to what the service's code has not seen."""
    payload = {**error_payload(error), REFUSED: True}
    return Envelope(header.reply(present_clock().micros()), payload, failed=True).to_data()


async def _process(agent: ServiceAgent, current: Current) -> None:
    """Run ``process_request`` and see to it that *current* is answered."""
    inner = agent.inner
    try:
        value = await run_own(agent.process_request, current.payload)
        if not current.answered:
            current.answer = _checked(inner, value)
    except Exception as error:
        await call_hook(agent, "on_error", error, current.payload)
        if current.answered:  # who asked has an answer already
            agent.logger.exception("process_request of %s failed after it had answered", agent.context.name)
        else:
            current.error = execution_error(error)
            if not isinstance(error, RequestError):
                agent.logger.exception("process_request of %s failed", agent.context.name)
    inner.count(current.error is None)


def _checked(inner: Inner, value: Any) -> dict[str, Any]:
    """Return what ``process_request`` returned as an answer. Raises RequestError: it cannot be one."""
    if value is None:
        return {}
    if inspect.iscoroutine(value):
        value.close()
        text = f"process_request returned {value.__qualname__}() without waiting for it: an await is missing"
        raise RequestError(codes.EXECUTION_ERROR, text)
    if not isinstance(value, dict):
        raise RequestError(codes.EXECUTION_ERROR, f"process_request must return a dict or None, not {value!r:.80}")
    try:
        copy, _ = checked(value, "process_request()")
    except PayloadError as error:
        raise RequestError(codes.EXECUTION_ERROR, str(error)) from None
    assert isinstance(copy, dict)
    if inner.response is not None:
        try:
            inner.response.convert(copy)
        except ValidationFailed as error:
            text = f"the answer does not fit response_schema: {error.message}"
            raise RequestError(codes.EXECUTION_ERROR, text, error.details) from None
    return copy


async def execute_task(self: ServiceAgent, task: Task) -> dict[str, Any]:
    """Process the input of a task as a request. Raises RequestError when that is the answer."""
    payload = dict(task.input_data)
    if self.inner.request is not None:
        self.inner.request.convert(payload)
    current = Current(self.context, present_clock(), payload)
    token = current_request.set(current)
    try:
        value = await run_own(self.process_request, payload)
    finally:
        current_request.reset(token)
    if current.error is not None:
        raise current.error
    return current.answer if current.answer is not None else _checked(self.inner, value)


async def run_own(fn: Any, *args: Any) -> Any:
    """Run a function of the agent's own: a coroutine function on the loop, another where it may block."""
    if inspect.iscoroutinefunction(fn):
        return await fn(*args)
    ambient = current_ambient.get()
    if isinstance(ambient, AgentAmbient):
        value = await ambient.run_sync(fn, *args)
    else:
        value = await asyncio.to_thread(fn, *args)
    return await value if inspect.isawaitable(value) else value


async def call_hook(agent: ServiceAgent, name: str, *args: Any) -> Any:
    """Call a hook of the agent if it has it; an error of ``on_error`` itself is logged."""
    hook = getattr(agent, name, None)
    if not callable(hook):
        return None
    try:
        return await run_own(hook, *args)
    except Exception:
        if name != "on_error":
            raise
        agent.logger.exception("on_error of %s failed", type(agent).__name__)
        return None
