"""``ServiceAgent``: an agent that says what it can do, is found by that, answers requests, and may ask others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from shoal.errors import InfoError, RequestError
from shoal.kernel.context import AgentContext
from shoal.kernel.message import AgentMessage
from shoal.kernel.starting import present_clock
from shoal.services import asking, codes, orders, serving
from shoal.services.balancer import Attempt
from shoal.services.current import Current, current_request, wait_in_thread
from shoal.services.info import AgentInfo, AgentRecord
from shoal.services.masking import masked
from shoal.services.requests import RequestHeader
from shoal.services.retrying import Outcome
from shoal.services.targets import plain_target, read_records, read_words

if TYPE_CHECKING:
    from shoal.runtime import AgentRuntime

__all__ = ["ServiceAgent"]

T = TypeVar("T")


class ServiceAgent:
    """A service: the base of agents that find, ask and replace each other.

    A subclass says who it is (``info``) and answers requests (``process_request``). Hooks are looked up by name:
    ``on_start``, ``on_stop``, ``on_pause() -> dict``, ``on_resume(state)``, ``on_error(error, payload)``,
    ``on_config(old, new)``; methods marked by ``@control_action`` are its own control actions.

    Attributes:
        concurrency: how many requests run at once.
        mailbox: how many may wait.
        request_timeout: seconds that a request of its own has when the call does not say it.
        config: what it was started with, and what ``update_config`` made of it.
        context: its way to the runtime (publish, broadcast, steps of tasks ...).
    """

    concurrency: int = 1
    mailbox: int = 1000
    request_timeout: float = 30.0
    context: AgentContext
    config: dict[str, Any]
    _inner: serving.Inner | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make a service; its ``config`` is there also when a constructor does not call this class's."""
        agent = super().__new__(cls)
        config = kwargs.get("config", args[0] if args else None)
        agent.config = dict(config) if isinstance(config, Mapping) else {}
        return agent

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self.config = dict(config or {})

    on_message = serving.on_message
    execute_task = serving.execute_task
    on_control = orders.on_control

    # -- what a subclass says

    def info(self) -> AgentInfo | dict[str, Any]:
        """Say who it is: an AgentInfo, or a dict with its keys. Every service has one of its own."""
        raise InfoError(f"{type(self).__qualname__} has no info()")

    def process_request(self, payload: dict[str, Any]) -> Any:
        """Answer a request: return a dict, or call ``send_response``. ``def`` runs in a thread, ``async def`` on the loop.

        Raise RequestError to answer with an error; what else is raised is EXECUTION_ERROR.
        """
        text = f"{type(self).__qualname__} answers no requests: it has no process_request"
        raise RequestError(codes.INVALID_OPERATION, text)

    def health(self) -> Any:
        """Return whether it is well: a bool, or a dict with ``ok``. May be a coroutine function."""
        return orders.default_health(self)

    # -- the present request

    @property
    def header(self) -> RequestHeader | None:
        """The header of the request that this code answers."""
        current = current_request.get()
        return None if current is None else current.header

    def send_response(self, fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Answer the current request at once. Raises AlreadyAnsweredError, PayloadError."""
        self._current().respond({**(fields or {}), **more})

    def send_error(self, message: str, code: str = codes.SERVICE_ERROR, details: Any = None) -> None:
        """Answer the current request with an error, at once. Raises AlreadyAnsweredError."""
        self._current().fail(RequestError(code, message, details))

    @staticmethod
    def _current() -> Current:
        current = current_request.get()
        if current is None:
            raise RuntimeError("there is no request to answer here: call it within process_request")
        return current

    def wait_for(self, awaitable: Awaitable[T]) -> T:
        """Wait for *awaitable* in a synchronous ``process_request``, whose thread this holds up.

        Raises what it raises; RuntimeError on an event loop, where ``await`` is the way.
        """
        current = self._current()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return wait_in_thread(awaitable, current.loop, self.context)
        if asyncio.iscoroutine(awaitable):
            awaitable.close()
        raise RuntimeError("wait_for is for synchronous code: use await here")

    # -- asking others

    async def send_request(
        self,
        target: Any,
        payload: dict[str, Any],
        *,
        timeout: float | None = None,
        key: Any = None,
        idempotent: bool = False,
    ) -> dict[str, Any]:
        """Ask another service and return its answer.

        Args:
            target: an id, an instance, a service's name (one of its instances), an AgentRecord or a Capability.
            payload: a dict of JSON values.
            timeout: seconds for all attempts together; default ``request_timeout``.
            key: for balancers that choose by key.
            idempotent: it may be sent to another instance also when it may have run already.

        Raises:
            RequestError: with a code of ``shoal.services.codes``.
            ValueError: the timeout is not positive.
        """
        self.check_asks()
        asking.check_payload(payload)
        balancer = self.inner.balancer
        reply = await balancer.call(target, payload, timeout=timeout, key=key, idempotent=idempotent)
        return reply.data

    async def discover_agents(
        self,
        capabilities: str | Sequence[str],
        *,
        type: str | None = None,
        version: str | None = None,
        healthy: bool = True,
        include_self: bool = False,
    ) -> list[AgentRecord]:
        """Return the running services that have all these capabilities, by registration; none are an empty list.

        Raises RegistryUnavailableError: the directory cannot be asked.
        """
        args = {"capabilities": read_words(capabilities), "type": type, "version": version, "healthy": healthy}
        found = read_records(await self.context._call("services.discover", args))
        return [each for each in found if include_self or each.uuid != self.context.agent_id]

    async def send_control(self, target: Any, action: str, data: Any = None) -> Any:
        """Control another service that names this one in its ``control_from``; see ``runtime.services.control``."""
        args = {"target": plain_target(target), "action": action, "data": data}
        return await self.context._call("services.control", args)

    async def find_instances(self, target: Any) -> Sequence[AgentRecord]:
        """Return the instances that *target* means, for a LoadBalancer of this agent."""
        self.check_asks()
        plain, copies, clock = plain_target(target), self.inner.copies, present_clock()
        kept = copies.get(str(plain), clock.monotonic())
        if kept is None:
            found = await self.context._call("services.find", {"target": plain})
            kept = read_records(found)
            if kept is not found:  # they came over a wire, and are not asked for each time
                copies.keep(str(plain), clock.monotonic(), kept)
        return kept

    async def ask_instance(self, record: AgentRecord, payload: Any, attempt: Attempt) -> Outcome:
        """Send one request to one instance, for a LoadBalancer of this agent."""
        context = self.context
        send = context.request if record.address is None else self._ask_outside
        outcome = await asking.ask(send, present_clock(), context.agent_id, record, payload, attempt)
        if outcome.error is not None and not outcome.own:
            self.inner.copies.forget()
        return outcome

    async def _ask_outside(self, recipient: str, message_type: str, data: Any, seconds: float) -> AgentMessage:
        """Ask an agent that no node has: the runtime knows the way."""
        answer = await self.context._call("services.ask", {"recipient": recipient, "data": data, "seconds": seconds})
        return answer if isinstance(answer, AgentMessage) else msgspec.convert(answer, AgentMessage)

    def check_asks(self) -> None:
        """Raise RequestError (TYPE_NOT_ALLOWED) when it is a server: these ask nobody."""
        if not self.inner.info.type.asks:
            raise RequestError(codes.TYPE_NOT_ALLOWED, f"{self.inner.info.name} is a server: it sends no requests")

    # -- its life

    async def run(self, runtime: AgentRuntime, register: str = "wait") -> None:
        """Register, serve until it is shut down, withdraw.

        Args:
            runtime: on which it lives.
            register: ``wait`` (RegistryUnavailableError after three tries) or ``background`` (keeps trying).
        """
        await runtime.services.run(self, register)

    async def shutdown(self, grace: float = 10.0) -> None:
        """End this agent when what it has accepted is done, or cut it short after *grace* seconds. Returns at once."""
        await self.send_control(self.context.agent_id, "shutdown", {"grace": grace})

    async def pause(self) -> None:
        """Hold this agent: what comes is stored. Pausing twice changes nothing."""
        await self.send_control(self.context.agent_id, "pause")

    async def resume(self) -> None:
        """Let this agent go on. Called from outside of its own code, which stands still."""
        await self.send_control(self.context.agent_id, "resume")

    def status(self) -> dict[str, Any]:
        """Return what the agent knows of itself, also before it runs; ``control(..., "status")`` knows more."""
        inner, context = self.inner, getattr(self, "context", None)
        return {
            "type": "status",
            "id": None if context is None else context.agent_id,
            "name": inner.info.name,
            "paused": False,
            "config": masked(self.config),
            "uptime": 0.0,
            "state": "stopped" if context is None else "running",
            "queued": 0,
            "in_flight": 0,
            "requests": inner.requests,
            "errors": inner.errors,
            "restarts": 0,
        }

    @property
    def registered(self) -> bool:
        """Tell whether it has been registered."""
        return getattr(self, "context", None) is not None

    @property
    def record(self) -> AgentRecord | None:
        """What the directory says of it, as far as the agent knows; None before it runs."""
        if not self.registered:
            return None
        info, now = self.inner.info, present_clock().now()
        return AgentRecord(
            uuid=self.context.agent_id,
            name=info.name,
            instance=self.context.name,
            type=info.type,
            capabilities=info.capabilities,
            version=info.version,
            node=self.context.node_id,
            metadata=info.metadata,
            registered_at=now,
            last_seen=now,
        )

    @property
    def logger(self) -> logging.Logger:
        """The logger ``shoal.agent.INSTANCE``."""
        name = self.context.name if self.registered else type(self).__name__
        return logging.getLogger(f"shoal.agent.{name}")

    @property
    def inner(self) -> serving.Inner:
        """What the service keeps for its own serving. Raises InfoError."""
        if self._inner is None:
            self._inner = serving.Inner(self)
        return self._inner

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what is made anew where the service arrives."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_inner", "context")}
