"""``runtime.services``: services are started, found, asked and controlled here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import AgentNotFoundError, AgentStateError, RegistryUnavailableError, RuntimeStateError, StoreError
from shoal.kernel.agent import RestartPolicy
from shoal.kernel.ambient import current_ambient
from shoal.kernel.running import NodeAmbient
from shoal.services import asking
from shoal.services.agent import ServiceAgent
from shoal.services.agentverbs import AgentVerbs
from shoal.services.balancer import Attempt, LoadBalancer, Reply
from shoal.services.checkup import Checkup
from shoal.services.control import GRACE_SECONDS, Control, control_address
from shoal.services.directory import Directory
from shoal.services.info import AgentRecord
from shoal.services.introducing import Isolation, described_by, plain_info
from shoal.services.known import SERVICE
from shoal.services.lasting import check_grace
from shoal.services.news import News
from shoal.services.outsiders import merged
from shoal.services.registry import serve_registry
from shoal.services.retrying import Outcome
from shoal.services.targets import plain_target, read_target, read_words
from shoal.services.watcherverbs import WatcherVerbs

if TYPE_CHECKING:
    from shoal.kernel.message import AgentMessage
    from shoal.kernel.node import Node
    from shoal.services.http.server import HttpServing

__all__ = ["Services", "services_of"]

ROOM = "services"
TRIES = 3
TRY_SECONDS = 1.0
LONGEST_TRY_SECONDS = 30.0
NAME_DIGITS = 8


def services_of(node: Node) -> Services:
    """Return the services of a node, which has them from the first time on that somebody asks."""
    found = node.rooms.get(ROOM)
    if found is None:
        found = node.rooms[ROOM] = Services(node)
    assert isinstance(found, Services)
    return found


class Services:
    """The services of one runtime, and through it those of all nodes on its store."""

    request_timeout = 30.0

    def __init__(self, node: Node) -> None:
        self.node = node
        self._env = env = node.env
        self.directory = Directory(node)
        self.control_of = Control(node, self.directory, self._end)
        self._checkup = Checkup(node, self.directory, self.control_of)
        self._balancer = LoadBalancer(self)
        self._ambient = NodeAmbient(env)
        self._gone: dict[str, list[asyncio.Future[None]]] = {}
        self._verbs = AgentVerbs(node, self.directory, self.control_of)
        env.verbs |= self._verbs.by_name() | WatcherVerbs(self).by_name()
        env.bus.attach(control_address(env.node_id), self.control_of)
        node.at_end(lambda: env.bus.detach(control_address(env.node_id)))
        node.at_end(env.bus.hear("agents", self._changed))
        node.at_end(env.bus.hear("agents", News(node, self.directory).changed))
        node.at_end(self._checkup.listen())

    # -- life

    async def start(
        self,
        agent: type[ServiceAgent] | ServiceAgent,
        config: Mapping[str, Any] | None = None,
        isolation: Isolation = "inline",
        *,
        instance: str | None = None,
        restart: RestartPolicy | None = None,
        title: str = "",
    ) -> AgentRecord:
        """Start a service and return its record.

        Args:
            agent: a class, made with *config*, or an object.
            config: a JSON object.
            isolation: where its code runs.
            instance: its unique name; default made up of the service's name.
            restart: what happens after a death; default ``RestartPolicy()``.
            title: what a process of its own is called in lists of processes.

        Raises:
            InfoError: what is wrong with its ``info()``; nothing was started.
            AgentNameTakenError: it is exclusive, and an instance is alive.
            AgentStartError, ProcessError, ConfigError, AgentLimitError: it could not be started, and is not known.
        """
        described = described_by(agent, given := dict(config or {}))
        info = described.inner.info
        self.directory.check_free(info)
        agents = self.node.agents
        agent_id = await agents.register(
            instance or (info.name if info.exclusive else f"{info.name}/{self._env.clock.new_id()[-NAME_DIGITS:]}"),
            agent,
            given or described.config,
            isolation=isolation,
            capabilities=info.capabilities if info.type.answers else (),
            metadata={SERVICE: plain_info(info, described.concurrency)},
            max_concurrent_tasks=described.concurrency,
            max_concurrent_messages=described.concurrency,
            limits=msgspec.structs.replace(self._env.limits, message_queue_max_size=described.mailbox),
            restart=restart or RestartPolicy(),
            title=title,
            passing=instance is None,
        )
        try:
            if info.exclusive:
                await self.directory.outside.claim(info.name, agent_id)
            await agents.start(agent_id)
        except BaseException:
            await self._env.see_through(self._end(agent_id, 0.0), "a service that did not start")
            raise
        known = self.directory.look(agent_id)
        if known is None:
            raise AgentNotFoundError(agent_id)
        self._checkup.begin()
        return known.record(self.node, self._env.clock.monotonic())

    async def stop(self, instance: str, grace: float = GRACE_SECONDS) -> None:
        """Drain a service: what it has accepted is done within *grace* seconds, or CANCELLED; then it is gone.

        Returns when it is gone; of another node, when that has begun. One that is not there is no error.
        Raises ValueError: *grace* is negative, or *instance* is the name of a service, which may have several.
        """
        check_grace(grace)
        known = self.directory.get(instance)
        if known is None and any(self.directory.living(instance)):
            raise ValueError(f"{instance!r} is a service, not an instance: stop the instance of each of its records")
        if known is not None and known.registration is None:
            await self.control(known.instance.agent_id, "shutdown", {"grace": grace})
        elif known is not None:
            await self._end(known.instance.agent_id, grace)

    async def _end(self, agent_id: str, grace: float) -> None:
        agents = self.node.agents
        try:
            if grace > 0:
                await agents.drain(agent_id, grace)
            else:
                await agents.stop(agent_id, graceful=False)
            await agents.unregister(agent_id)
        except RuntimeStateError:
            return  # the runtime ends all that it has
        except (AgentNotFoundError, AgentStateError):
            if agent_id in self.node.registrations:
                raise  # else somebody has ended it meanwhile
        self._forget(agent_id)

    async def run(self, agent: ServiceAgent, register: str = "wait") -> None:
        """Register a service, return when it is gone. See ``ServiceAgent.run``."""
        if register not in ("wait", "background"):
            raise ValueError(f"register must be wait or background, not {register!r:.80}")
        record = await self._registered(agent, always=register == "background")
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone.setdefault(record.uuid, []).append(gone)
        if record.uuid not in self.node.registrations:
            return
        try:
            await gone
        except asyncio.CancelledError:
            await self._env.see_through(self._end(record.uuid, GRACE_SECONDS), f"end {record.instance}")
            raise

    async def _registered(self, agent: ServiceAgent, *, always: bool) -> AgentRecord:
        attempt = 1
        while True:
            try:
                return await self.start(agent)
            except (StoreError, RegistryUnavailableError) as error:
                if attempt >= TRIES and not always:
                    raise RegistryUnavailableError(str(error), attempts=attempt) from error
                longer = min(TRY_SECONDS * 2 ** (attempt - 1), LONGEST_TRY_SECONDS)
                await self._env.clock.sleep(longer if always else TRY_SECONDS)
                attempt += 1

    # -- who is there

    def records(self) -> list[AgentRecord]:
        """Return all services of all nodes, clients and those that do not run among them, by registration."""
        node, now = self.node, self._env.clock.monotonic()
        return merged([known.record(node, now) for known in self.directory.all()], self.directory.outside.records())

    async def discover(
        self,
        capabilities: str | Sequence[str],
        *,
        type: str | None = None,
        version: str | None = None,
        healthy: bool = True,
    ) -> list[AgentRecord]:
        """Return the running services that have all these capabilities. See ``ServiceAgent.discover_agents``."""
        return self.directory.discover(read_words(capabilities), type=type, version=version, healthy=healthy)

    # -- asking and controlling

    async def request(
        self,
        target: Any,
        payload: dict[str, Any],
        *,
        timeout: float | None = None,
        key: Any = None,
        idempotent: bool = False,
    ) -> dict[str, Any]:
        """Ask a service and return its answer. See ``ServiceAgent.send_request``."""
        reply = await self.call(target, payload, timeout=timeout, key=key, idempotent=idempotent)
        return reply.data

    async def call(
        self,
        target: Any,
        payload: dict[str, Any],
        *,
        timeout: float | None = None,
        key: Any = None,
        idempotent: bool = False,
    ) -> Reply:
        """Ask a service and return its answer with who gave it. See ``LoadBalancer.call``."""
        self._env.check_running()
        asking.check_payload(payload)
        plain_target(target)
        token = current_ambient.set(self._ambient)
        try:
            return await self._balancer.call(target, payload, timeout=timeout, key=key, idempotent=idempotent)
        finally:
            current_ambient.reset(token)

    async def find_instances(self, target: Any) -> Sequence[AgentRecord]:
        """Return the instances that *target* means, for a LoadBalancer of this runtime."""
        return self.directory.find(read_target(plain_target(target)))

    async def ask_instance(self, record: AgentRecord, payload: Any, attempt: Attempt) -> Outcome:
        """Send one request to one instance, for a LoadBalancer of this runtime."""
        send = self._send if record.address is None else self._verbs.ask_outside
        outcome = await asking.ask(send, self._env.clock, self._env.runtime_id, record, payload, attempt)
        if outcome.error is not None and not outcome.own:
            self.directory.look(record.uuid)
        return outcome

    async def _send(self, recipient: str, message_type: str, data: Any, seconds: float) -> AgentMessage:
        return await self.node.post.asking.request(None, recipient, message_type, data, seconds)

    async def control(self, target: Any, action: str, data: Any = None) -> Any:
        """Carry out a control action on a service and return its answer.

        Args:
            target: an id, an instance, a service's name, a record or a Capability.
            action: pause, resume, status, update_config, shutdown, drain, health, or one of its own.
            data: of the action; ``update_config`` takes ``{"config": {...}}``.

        Raises:
            RequestError: NOT_FOUND, INVALID_ACTION, VALIDATION_ERROR, or what the service's code raises.
        """
        self._env.check_running()
        return await self.control_of.order(read_target(plain_target(target)), action, data, None)

    async def serve_http(self, host: str, port: int, tokens: Mapping[str, str] | None = None) -> HttpServing:
        """Serve the registry (``registry_app``) until the runtime ends; return when it listens, with its ``url``.

        Args:
            host: a name or an IP address; without tokens loopback only.
            port: 0 is any that is free.
            tokens: ``read``, ``write`` or ``admin`` by token.

        Raises:
            ConfigError: host and tokens do not go together, or one of them cannot be.
            MissingExtraError: the extra ``http`` is not installed.
            OSError: the port is taken, or the host unknown.
        """
        return await serve_registry(self, host, port, tokens)

    # -- news

    def _changed(self, agent_id: str) -> None:
        if agent_id in self._gone and agent_id not in self.node.registrations:
            self._forget(agent_id)
        self.directory.look(agent_id)

    def _forget(self, agent_id: str) -> None:
        self.directory.drop(agent_id)
        for gone in self._gone.pop(agent_id, ()):
            if not gone.done():
                gone.set_result(None)
