"""``AgentRuntime``: keeps agents running, gives them durable tasks, carries their messages, records what happened.

This file chooses the backends: store and bus by URL, hosts by isolation level. What the verbs do stands in the rooms of
the kernel, to which they forward.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from shoal.bus import open_bus
from shoal.config import Config, bus_url, load_config, meeting_place, output_folder, store_url
from shoal.errors import ConfigError, RuntimeNotStartedError, RuntimeStateError
from shoal.kernel.agent import AgentInstance, AgentProtocol, AgentSource, AgentStatus, BaseAgent, RestartPolicy
from shoal.kernel.agents import AgentOptions, Agents
from shoal.kernel.budget import Budget
from shoal.kernel.carrying import Runnable
from shoal.kernel.clock import RealClock
from shoal.kernel.context import AgentContext
from shoal.kernel.env import Env, RuntimeStatus
from shoal.kernel.event import Event, EventFilter, EventType, Severity
from shoal.kernel.groups import Groups
from shoal.kernel.inline import InlineHost
from shoal.kernel.limits import Capacity, ResourceLimit, check_limits
from shoal.kernel.load import Load
from shoal.kernel.message import AgentMessage, DeadLetter
from shoal.kernel.node import Node
from shoal.kernel.ports import Bus, Clock, Host, SharedValue, Store
from shoal.kernel.post import Post
from shoal.kernel.remote import RemoteAgent
from shoal.kernel.run import RunOptions
from shoal.kernel.runhandle import RunHandle
from shoal.kernel.running import NodeAmbient
from shoal.kernel.runs import RunGiven
from shoal.kernel.shared_store import SharedStore
from shoal.kernel.task import QueuePosition, RetryPolicy, Task, TaskSpec, TaskStatus
from shoal.kernel.thread import ThreadHost
from shoal.kernel.threads import DaemonPool
from shoal.kernel.verbs import Verbs
from shoal.llm.exporting import export_steps
from shoal.serving import Leaving
from shoal.store import open_store

if TYPE_CHECKING:
    from shoal.llm import ChatStream
    from shoal.orchestration.workflow.delivery import CodeRunner
    from shoal.services.services import Services

__all__ = [
    "AgentContext",
    "AgentInstance",
    "AgentMessage",
    "AgentProtocol",
    "AgentRuntime",
    "AgentStatus",
    "BaseAgent",
    "Capacity",
    "Config",
    "DeadLetter",
    "Event",
    "EventFilter",
    "EventType",
    "QueuePosition",
    "ResourceLimit",
    "RestartPolicy",
    "RetryPolicy",
    "RuntimeStatus",
    "Severity",
    "SharedStore",
    "SharedValue",
    "Task",
    "TaskSpec",
    "TaskStatus",
]

R = TypeVar("R")


class AgentRuntime(Verbs, Leaving):
    """A running node. ``async with`` starts and stops it; it belongs to the event loop that started it.

    Args:
        storage_path: the SQLite file; default ``SHOAL_STORE``, else ``./shoal.db``.
        resource_limits: limits of the runtime, and of agents that have none of their own.
        config: keys of ``Config``; over ``SHOAL_*`` variables, over ``shoal.toml``.
        store: the store by URL instead of *storage_path*: ``sqlite:///FILE``, ``sqlite://:memory:`` or
            ``postgresql://USER:PASSWORD@HOST/DATABASE?schema=NAME``.
        bus: the bus by URL; default ``SHOAL_BUS``, else ``local://``, and for a store in PostgreSQL the same server.
        node: this node's unique name; default made up.
        clock: time, chance and ids; default the real ones.

    Raises:
        ConfigError: every fault of the arguments, at once. Nothing is opened before ``start``.
    """

    def __init__(
        self,
        storage_path: str | Path | None = None,
        resource_limits: ResourceLimit | None = None,
        config: Config | Mapping[str, object] | None = None,
        *,
        store: str | None = None,
        bus: str | None = None,
        node: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock: Clock = clock or RealClock()
        faults: list[str] = []
        self.settings: Config = _collect(faults, lambda: load_config(config)) or Config()
        self.url: str = _collect(faults, lambda: store_url(storage_path, store)) or "sqlite://:memory:"
        self._limits = resource_limits or ResourceLimit()
        _collect(faults, lambda: check_limits(resource_limits))
        if node is not None and not 1 <= len(node) <= 100:
            faults.append(f"node must be text of 1 to 100 characters, not {node[:80]!r}")
        self._bus_url = bus_url(bus, self.url)
        sound = _collect(faults, lambda: open_store(self.url))
        if sound or self._bus_url != self.url:  # the fault of one that is both is told once
            _collect(faults, lambda: open_bus(self._bus_url, clock=self._clock))
        if faults:
            raise ConfigError(faults)
        self.runtime_id = self._clock.new_id()
        self.node_id = self.runtime_id  # of one life: what a crashed namesake held must not look like this node's own
        self._name = node or self.node_id
        self._node: Node | None = None
        self._env: Env | None = None
        self._status = RuntimeStatus.STOPPED

    # -- life

    @property
    def status(self) -> RuntimeStatus:
        """Where this runtime stands."""
        return self._status

    async def start(self) -> None:
        """Open store and bus, take over what crashed nodes left, and begin to work. A failed start undoes itself."""
        if self._status is not RuntimeStatus.STOPPED:
            raise RuntimeStateError(f"cannot start a runtime that is {self._status}")
        self._status = RuntimeStatus.STARTING
        earlier = self._node
        try:
            self._node = self._build()
            await self._node.start()
            self._hear_of_drains(self._node)
            if earlier is not None:
                await self._node.agents.names.adopt(earlier.agents.names)
                if any("service" in each.options.metadata for each in self._node.registrations.values()):
                    _ = self.services  # its verbs are there before it is started
        except BaseException:
            self._set(RuntimeStatus.STOPPED)
            if self._node is not None:
                await self._node.close()
                self._node = None
            raise
        self._set(RuntimeStatus.RUNNING)

    def _build(self) -> Node:
        store = open_store(self.url, durability=self.settings.durability, inline=self._clock.virtual, clock=self._clock)
        folder = None if self._clock.virtual else meeting_place(self.url)
        bus = open_bus(self._bus_url, clock=store.clock, folder=folder)
        store.ring_on(bus.wire if self._bus_url == self.url else None)
        return self._assemble(store, bus)

    def _assemble(self, store: Store, bus: Bus) -> Node:
        env = Env(clock=store.clock, store=store, bus=bus, settings=self.settings, limits=self._limits)
        env.node_id, env.runtime_id, env.loop = self.node_id, self.runtime_id, asyncio.get_running_loop()
        logger = logging.getLogger("shoal")
        if logger.level == logging.NOTSET:  # whoever has set one knows what he wants
            logger.setLevel(self.settings.log_level)
        self._env = env
        pool = DaemonPool(self.settings.threads)
        hosts: dict[str, Host] = {"inline": InlineHost(env.clock, pool), "thread": ThreadHost(env.clock, pool)}
        hosts |= self._child_hosts(env)
        from shoal.boxes.reaper import kill_orphan
        from shoal.boxes.toolrunner import ToolRunner

        env.run_tool, env.export_run = ToolRunner(hosts, env, NodeAmbient(env).call).call, export_steps
        self._set(self._status)
        return Node(env, hosts, name=self._name, load=self._load(), kill_orphan=kill_orphan)

    def _load(self) -> Load | None:
        return None  # the machine's own; in virtual time that of a quiet one

    def _child_hosts(self, env: Env) -> dict[str, Host]:
        from shoal.hosts import child_hosts  # who only looks at a store loads no part of what starts processes

        return child_hosts(env)

    def _set(self, status: RuntimeStatus) -> None:
        self._status = status
        if self._env is not None:
            self._env.status = str(status)

    async def restart(self) -> None:
        """Stop, and start again with the same agents: those that were running run again."""
        cells = [registration.cell for registration in self._here.cells.alive]
        names = [cell.name for cell in cells if cell is not None and not cell.paused]
        await self.stop()
        await self.start()
        for name in names:
            await self.start_agent(name)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.stop()

    # -- nouns

    @property
    def _here(self) -> Node:
        if self._node is None or self._status is RuntimeStatus.STOPPED:
            raise RuntimeNotStartedError()
        return self._node

    @property
    def agents(self) -> Agents:
        """The verbs on agents."""
        return self._here.agents

    @property
    def groups(self) -> Groups:
        """The verbs on groups."""
        return self._here.groups

    @property
    def mail(self) -> Post:
        """The verbs on messages."""
        return self._here.post

    @property
    def shared(self) -> SharedStore:
        """Small durable values shared by all."""
        return SharedStore(self._here.shared.by("runtime"))

    @property
    def services(self) -> Services:
        """Services: agents that are found by what they can do, asked and controlled."""
        from shoal.services.services import services_of

        return services_of(self._here)

    # -- runs

    @overload
    def run(self, pattern: Runnable[R], input: Any, **given: Unpack[RunGiven]) -> RunHandle[R]: ...

    @overload
    def run(self, pattern: object, input: Any, **given: Unpack[RunGiven]) -> RunHandle[Any]: ...

    def run(
        self,
        pattern: Any,
        input: Any,
        *,
        run_id: str | None = None,
        budget: Budget | None = None,
        context: str = "",
        user_id: str = "default",
        options: RunOptions | None = None,
    ) -> RunHandle[Any]:
        """Start a run of a pattern or an agent, or go on with one, and return the handle on it; ``await`` it.

        Its input is on disk before its first step, and what is recorded is never done again: the same id gives the result
        of a finished run, and goes on with one that was killed, cancelled, or stopped by a budget or an approval.

        Args:
            pattern: a pattern, or anything that can ``chat``.
            input: what it is run on, a JSON value, or a record, which is stored as one.
            run_id: 1 to 200 characters without ``/``; default made up.
            budget: what it may use; of a known run, the new limits.
            context: stands before the input, or goes to patterns that take one.
            user_id: for whom.
            options: see ``shoal.orchestration.RunOptions``.

        Raises:
            PayloadError: the input is no JSON value. TypeError, ValueError: *pattern* cannot be run.
            Awaiting the handle: RunActiveError (another node carries it out), RunConflictError (another pattern or input),
            RunChangedError (the program has changed), what an agent raised.
        """
        from shoal.orchestration.solo import runnable

        given: dict[str, Any] = {"run_id": run_id, "budget": budget, "context": context, "user_id": user_id}
        return self._here.runs.start(runnable(pattern), input, options=options, **given)

    def stream(self, stream_id: str, after: int = 0) -> ChatStream[Any]:
        """Return an answer under way, read from the offset *after* on (``ChatStream.id``), on whichever node it comes.

        Reading it raises RunNotFoundError.
        """
        from shoal.llm.streams import read_stream

        return read_stream(stream_id, lambda: self._here.runs.events(stream_id, after))

    def agent(self, name_or_id: str, timeout: float | None = None) -> RemoteAgent:
        """Return a proxy by which patterns chat with a registered agent, wherever it runs.

        Args:
            name_or_id: of the agent.
            timeout: seconds for each answer, None: no limit.

        Raises AgentNotFoundError.
        """
        return RemoteAgent(self._here, name_or_id, timeout)

    def code_runner(self, isolation: str = "auto", network: bool = False, memory_mib: float = 512) -> CodeRunner:
        """Return what runs code of others in fresh boxes, until this runtime stops (see ``BoxRunner``).

        Args:
            isolation: a level of boxes; ``auto`` is the strongest that works here, and never ``process``.
            network: whether the code may use the host's network.
            memory_mib: what all processes of a box may take.

        Raises:
            ValueError, ConfigError, BoxSpecError: there can be no such boxes; whether there are, its ``check`` tells.
        """
        from shoal.coderunners import code_runner

        return code_runner(self._here.env, isolation, network, memory_mib)

    # -- agents

    async def register_agent(
        self,
        name: str,
        agent_class: AgentSource,
        config: dict[str, Any] | None = None,
        **options: Unpack[AgentOptions],
    ) -> str:
        """Make an agent known under a unique *name* and return its id.

        Args:
            name: 1 to 100 characters. A known name that is not alive is taken up again, with its id and state.
            agent_class: a class, object or function (see ``AgentSource``).
            config: a JSON object for its constructor.
            options: see ``AgentOptions``: isolation, capabilities, group, restart, metadata, concurrency, limits …

        Raises:
            AgentNameTakenError: an agent of that name is alive.
            ConfigError: what is wrong with name, source or options.
        """
        return await self._here.agents.register(name, agent_class, config, **options)

    async def unregister_agent(self, agent_id: str) -> None:
        """Forget a stopped or failed agent and what it printed, and cancel the tasks that target it."""
        from shoal.boxes.keeping import forget_output

        forget_output(output_folder(self.url), await self._here.agents.unregister(agent_id))

    async def start_agent(self, agent_id: str) -> None:
        """Bring an agent to life. Raises AgentLimitError (it is queued then), AgentStartError, ProcessError."""
        await self._here.agents.start(agent_id)

    async def stop_agent(self, agent_id: str, graceful: bool = True, timeout_seconds: float = 5.0) -> None:
        """End an agent; its running tasks have *timeout_seconds*, then they go back to the queue."""
        await self._here.agents.stop(agent_id, graceful, timeout_seconds)

    async def pause_agent(self, agent_id: str, timeout_seconds: float = 5.0) -> None:
        """Hold an agent; its state is on disk when this returns. Raises AgentStateError, AgentPauseError."""
        await self._here.agents.pause(agent_id, timeout_seconds)

    async def resume_agent(self, agent_id: str) -> None:
        """Let a paused agent go on from where it was held. Raises AgentStateError, AgentStartError."""
        await self._here.agents.resume(agent_id)

    # -- capacity

    def get_capacity(self) -> Capacity:
        """Return what is in use and what is left."""
        return self._here.queue.capacity()

    # -- groups

    async def create_group(self, name: str, agents: Sequence[str] = ()) -> None:
        """Create a group."""
        await self._here.groups.create(name, agents)

    async def delete_group(self, name: str) -> None:
        """Delete a group; its agents stay."""
        await self._here.groups.delete(name)

    async def add_to_group(self, group: str, agent_id: str) -> None:
        """Put an agent in a group."""
        await self._here.groups.add(group, agent_id)

    async def remove_from_group(self, group: str, agent_id: str) -> None:
        """Take an agent out of a group."""
        await self._here.groups.remove(group, agent_id)

    def list_groups(self) -> dict[str, list[str]]:
        """Return the members' ids by group."""
        return self._here.groups.list()

    # -- messages from outside any agent

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
        """Send to agents, by id or name, as ``runtime``; return the message's id. See ``AgentContext.send_message``."""
        self._here.env.check_running()
        given: dict[str, Any] = {"correlation_id": correlation_id, "ttl_seconds": ttl_seconds, "durable": durable}
        return await self._here.post.send(None, recipient_ids, message_type, data, **given)

    async def request(
        self, recipient: str, message_type: str, data: Any, timeout_seconds: float | None = 30.0
    ) -> AgentMessage:
        """Ask an agent and return its answer. See ``AgentContext.request``."""
        self._here.env.check_running()
        return await self._here.post.asking.request(None, recipient, message_type, data, timeout_seconds)

    async def publish(self, topic: str, data: Any) -> int:
        """Send to the subscribers of this moment; return how many took it."""
        self._here.env.check_running()
        return await self._here.post.publish(None, topic, data)

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return messages that could not be delivered, newest first."""
        return self._here.env.store.mail.dead_letters(limit)

    async def redeliver(self, message_id: str) -> None:
        """Deliver a dead letter once more, durably."""
        await self._here.post.undelivered.redeliver(message_id)

    # -- metrics

    def get_metrics(self) -> dict[str, int | float]:
        """Return this node's numbers since its start; every key always."""
        return self._here.metrics()

    def export_prometheus_metrics(self) -> str:
        """Return the same numbers, and histograms, as Prometheus text. Raises MissingExtraError without ``monitoring``."""
        from shoal.observe.prometheus import prometheus_text

        return prometheus_text(self._here.metrics(), self._here.env.numbers)


def _collect(faults: list[str], check: Any) -> Any:
    """Return what *check* returns; a ConfigError of it is added to *faults* instead of raised."""
    try:
        return check()
    except ConfigError as error:
        faults.extend(error.faults)
        return None
