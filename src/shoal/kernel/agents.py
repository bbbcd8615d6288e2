"""The verbs on agents: register, start, pause, resume, stop; and what happens when one dies."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypedDict, Unpack

import msgspec

from shoal.errors import (
    AgentLimitError,
    AgentNameTakenError,
    AgentNotFoundError,
    AgentStateError,
)
from shoal.kernel.agent import AgentInstance, AgentStatus, AgentVerb, RestartPolicy
from shoal.kernel.behaviour import check_source
from shoal.kernel.cells import Cells
from shoal.kernel.hooks import hand_over
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.payload import checked
from shoal.kernel.registering import Registering
from shoal.kernel.registration import Order, Registration, check_name, live_view, read_options
from shoal.kernel.status import advance
from shoal.kernel.tasks import Tasks, check_options

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["AgentOptions", "Agents"]


class AgentOptions(TypedDict, total=False):
    """Options of ``register_agent``. Without ``isolation`` an agent is inline, or a process when it has hard limits.

    ``box`` is a ``BoxSpec``: more about the walls of an agent at level bubblewrap, gvisor or microvm.
    ``title`` is what a process of its own is called in lists of processes. One that is ``passing`` is unregistered when
    its node ends in order: its name was made up, so that nobody would ask for it again. A ``singleton`` may be registered
    on any number of nodes: it lives on one, the others stand by, and one of them takes it up when that one ends.
    """

    isolation: Literal["inline", "thread", "process", "bubblewrap", "gvisor", "microvm", "auto"] | None
    capabilities: tuple[str, ...] | list[str]
    group: str | tuple[str, ...] | list[str] | None
    restart: RestartPolicy
    metadata: Mapping[str, object]
    max_concurrent_tasks: int
    max_concurrent_messages: int
    limits: ResourceLimit | None
    error_threshold: int | None
    box: Any
    title: str
    passing: bool
    singleton: bool


class Agents:
    """Everything a caller does with agents."""

    def __init__(self, env: Env, cells: Cells, registrations: dict[str, Registration], tasks: Tasks) -> None:
        self._env = env
        self._cells = cells
        self._registrations = registrations
        self._tasks = tasks
        env.verbs["agent.told_to_end"] = self.told_to_end
        self.names = Registering(env, registrations, self.start)
        self.standbys = self.names.standbys

    # -- known or not

    async def register(
        self, name: str, source: Any, config: Mapping[str, Any] | None = None, **options: Unpack[AgentOptions]
    ) -> str:
        """Make an agent known under a unique name and return its id; a known name that is not alive is
        taken up again."""
        env = self._env
        env.check_staying()
        check_options(options, AgentOptions, "register_agent")
        check_name(name)
        check_source(source)
        chosen = read_options(options, env.limits, self._cells.hosts, env.settings.max_payload_bytes)
        level = await self._cells.hosts[chosen.isolation].check(source, chosen.box)
        chosen = msgspec.structs.replace(chosen, isolation=sys.intern(level))
        copy, _ = checked(dict(config or {}), "config", env.settings.max_payload_bytes)
        held = next((r for r in self._registrations.values() if r.name == name), None)
        if held is not None:
            since = held.instance.created_at.isoformat(timespec="seconds")
            raise AgentNameTakenError(name, node_id=env.node_id, since=since, agent_id=held.agent_id)
        assert isinstance(copy, dict)
        return await self.names.register(Order(name=name, source=source, config=copy, options=chosen))

    async def unregister(self, address: str) -> str:
        """Forget a stopped or failed agent; its tasks are cancelled, its mail becomes dead letters. Returns its id."""
        self._env.check_running()
        agent_id = self._env.store.agents.resolve(address)
        if self.standbys.forget(address):
            return agent_id
        cancelled = await self._env.store.agents.unregister(agent_id, now=self._env.clock.now())
        registration = self._registrations.pop(agent_id, None)
        if registration is not None:
            self._cells.restarts.forget(registration)
            self._cells.restarts.given_up(agent_id)
            self._cells.places.fill_soon()
        await self._tasks.stop_cancelled(cancelled)
        self._env.bus.ring("agents", agent_id)
        return agent_id

    async def forget_passing(self) -> None:
        """Unregister the passing agents that are stopped, at the end of the node."""
        for registration in list(self._registrations.values()):
            if registration.options.passing and registration.instance.status is AgentStatus.STOPPED:
                try:
                    await self._env.store.agents.unregister(registration.agent_id, now=self._env.clock.now())
                except AgentStateError:  # it was about to start: the end of the node stops it, and it stays known
                    continue
                self._env.bus.ring("agents", registration.agent_id)

    def _mine(self, address: str) -> Registration:
        """Return the registration of an agent of this node."""
        registration = self._registrations.get(address)
        if registration is None:
            registration = next((r for r in self._registrations.values() if r.name == address), None)
        if registration is None:
            known = self._env.store.agents.get(address)  # AgentNotFoundError names the nearest
            raise AgentNotFoundError(f"{known.name} (registered on node {known.node_id}, not on this one)")
        return registration

    # -- life

    async def start(self, address: str) -> None:
        """Bring an agent to life; when no place is free it is queued, and AgentLimitError says so."""
        self._env.check_staying()
        if self.standbys.want(address, alive=True):
            return
        registration = self._mine(address)
        await self._env.see_through(self._start(registration), f"start {registration.name}")

    async def _start(self, registration: Registration) -> None:
        places = self._cells.places
        if registration.cell is None and not registration.lock.locked():
            await places.gate.wait(registration)
        async with registration.lock:
            self._env.check_running()
            if registration.cell is not None:
                return
            self._cells.restarts.forget(registration)
            if registration.instance.status is not AgentStatus.STARTING:  # else the store cut an earlier start short
                await advance(self._env, registration, AgentVerb.START, limit=places.limit_for(registration))
            if registration.instance.status is AgentStatus.QUEUED:
                limit = self._env.limits.max_concurrent_agents or 0
                places.queue(registration)
                raise AgentLimitError(limit, agent_id=registration.agent_id, name=registration.name)
            places.unqueue(registration)
            await self._cells.launch(registration)

    async def stop(self, address: str, graceful: bool = True, timeout_seconds: float = 5.0) -> None:
        """End an agent: running tasks have *timeout_seconds*, then they go back to the queue; on_stop runs."""
        self._env.check_running()
        if self.standbys.want(address, alive=False):
            return
        registration = self._mine(address)
        self._cells.restarts.forget(registration)
        timeout = timeout_seconds if graceful else 0.0
        await self._env.see_through(self._stop(registration, timeout), f"stop {registration.name}")

    async def _stop(self, registration: Registration, timeout: float) -> None:
        async with registration.lock:
            if registration.cell is not None:
                await self._cells.shut(registration, timeout)
                return
            self._cells.restarts.given_up(registration.agent_id)
            if registration.instance.status not in (AgentStatus.STOPPED, AgentStatus.FAILED):
                if registration.instance.status is not AgentStatus.STOPPING:
                    await advance(self._env, registration, AgentVerb.STOP)
                self._cells.places.unqueue(registration)
                if registration.instance.status is AgentStatus.STOPPING:
                    await advance(self._env, registration, AgentVerb.STOPPED)
        self._cells.places.fill_soon()

    async def drain(self, address: str, grace_seconds: float = 10.0) -> None:
        """End an agent when it has done what it was asked before: new requests are refused, tasks that wait go elsewhere.

        What is not done within *grace_seconds* is cut short: who waits for it gets DeadAgentError with reason cancelled.
        A stop meanwhile ends the wait.
        """
        self._env.check_running()
        registration = self._mine(address)
        self._cells.restarts.forget(registration)
        await self._env.see_through(self._drain(registration, grace_seconds), f"drain {registration.name}")

    async def _drain(self, registration: Registration, grace: float) -> None:
        async with registration.lock:
            cell = await self._cells.begin_drain(registration)
        if cell is not None:
            await self._cells.drained(cell, grace)
            async with registration.lock:
                self._cells.restarts.forget(registration)  # it may have died meanwhile
        await self._stop(registration, 0.0)

    async def told_to_end(self, cell: Any, entry: object) -> None:
        """Begin to drain an agent whose process was told to end (SIGTERM): a verb of its link. It is not started again."""
        if self._env.status == "running":  # else it ends anyhow
            self._env.spawn(self.drain(cell.agent_id), f"drain {cell.name}")

    async def control(self, address: str, order: Mapping[str, Any], timeout_seconds: float = 30.0) -> Any:
        """Hand an order to an agent's ``on_control`` and return its answer: beside its tasks and messages, also in a pause.

        Raises AgentStateError when it is not alive or stands frozen, NoHandlerError, TimeoutError, what the hook raises.
        """
        self._env.check_running()
        registration = self._mine(address)
        cell = registration.cell
        if cell is None or cell.closing or cell.frozen:
            self._refuse(registration, "control")
        return await hand_over(cell, order, timeout_seconds)

    async def pause(self, address: str, timeout_seconds: float = 5.0) -> None:
        """Hold an agent at its next safe point; its state, mail and status are on disk when this returns."""
        self._env.check_running()
        registration = self._mine(address)
        await self._env.see_through(self._pause(registration, timeout_seconds), f"pause {registration.name}")

    async def _pause(self, registration: Registration, timeout: float) -> None:
        async with registration.lock:
            self._env.check_running()
            self._check_status(registration, AgentStatus.RUNNING, "pause")
            await self._cells.pause(registration, timeout)

    async def resume(self, address: str) -> None:
        """Let a paused agent go on from exactly where it was held."""
        self._env.check_running()
        registration = self._mine(address)
        if registration.cell is None and registration.instance.status is AgentStatus.PAUSED:
            await self.start(address)  # paused when its node died: it comes back with its saved state
        else:
            await self._env.see_through(self._resume(registration), f"resume {registration.name}")

    async def _resume(self, registration: Registration) -> None:
        async with registration.lock:
            self._env.check_running()
            self._check_status(registration, AgentStatus.PAUSED, "resume")
            await self._cells.resume(registration)

    def _check_status(self, registration: Registration, needed: AgentStatus, verb: str) -> None:
        if registration.instance.status is not needed:
            self._refuse(registration, verb)

    @staticmethod
    def _refuse(registration: Registration, verb: str) -> NoReturn:
        status = registration.instance.status
        article = "an" if status[0] in "aeiou" else "a"
        raise AgentStateError(
            f"cannot {verb} {article} {status} agent",
            status=status,
            operation=verb,
            agent_id=registration.agent_id,
            name=registration.name,
        )

    # -- look

    def get(self, address: str) -> AgentInstance:
        """Return what is known of an agent, with what only its node knows when that is this one."""
        return self._live(self._env.store.agents.get(address))

    def search(
        self, status: AgentStatus | str | None = None, capability: str | None = None, group: str | None = None
    ) -> list[AgentInstance]:
        """Return agents in order of registration."""
        wanted = None if status is None else AgentStatus(status)
        return [self._live(a) for a in self._env.store.agents.search(status=wanted, capability=capability, group=group)]

    def _live(self, instance: AgentInstance) -> AgentInstance:
        if instance.agent_id in self.standbys:
            return msgspec.structs.replace(instance, standby=True)
        return live_view(instance, self._registrations.get(instance.agent_id), self._env.clock.now())
