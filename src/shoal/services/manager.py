"""``AgentProcessManager``: services in processes of their own, which are started again when they die.

It is a face of the kernel's supervision: each child is an agent of the runtime at a level that has a process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shoal.errors import AgentNameTakenError, AgentNotFoundError, AgentStateError, InfoError
from shoal.kernel.agent import AgentStatus, RestartPolicy
from shoal.kernel.payload import checked
from shoal.kernel.registration import check_name, restart_policy
from shoal.services.agent import ServiceAgent
from shoal.services.known import SERVICE
from shoal.services.lasting import Failure, Lasting, check_grace, end_within
from shoal.services.processes import Child, ProcessInfo
from shoal.services.signals import Signals

if TYPE_CHECKING:
    from shoal.kernel.registration import Registration
    from shoal.runtime import AgentRuntime
    from shoal.services.info import AgentRecord

__all__ = ["AgentProcessManager"]

log = logging.getLogger("shoal.services.manager")

GRACE_SECONDS = 10.0
_NEVER = RestartPolicy(mode="never")


class AgentProcessManager:
    """Starts services in processes of their own, starts again what dies, and ends them all.

    Its processes end with this one, within a second, whatever ends it. Their names are kept in the runtime's store, with
    what they saved: the manager that comes after a killed one takes them up.

    Args:
        runtime: on which they live, started before the first of them.
        isolation: a level that has processes: process, bubblewrap, gvisor, microvm or auto.
        restart: when and how often what died is started again, unless a start says otherwise.
        grace: seconds that a stop lets accepted requests have.
        supervise: False: nothing is started again before ``monitor_processes``.

    Raises ValueError, ConfigError: what is wrong with these.
    """

    levels: tuple[str, ...] = ("process", "bubblewrap", "gvisor", "microvm", "auto")

    def __init__(
        self,
        runtime: AgentRuntime,
        *,
        isolation: Literal["process", "bubblewrap", "gvisor", "microvm", "auto"] = "process",
        restart: RestartPolicy | None = None,
        grace: float = GRACE_SECONDS,
        supervise: bool = True,
    ) -> None:
        if isolation not in self.levels:
            raise ValueError(f"isolation must be one of {', '.join(self.levels)}, not {isolation!r:.80}")
        self._runtime = runtime
        self._isolation: Any = isolation
        self._restart = restart_policy(restart)
        self._grace = check_grace(grace)
        self._supervise = supervise
        self._children: dict[str, Child] = {}
        self._by_id: dict[str, Child] = {}
        self._stopped: set[str] = set()  # names that were ours: to stop one again is no error
        self._lasting: Lasting | None = None
        self._over = asyncio.Event()

    @property
    def processes(self) -> dict[str, ProcessInfo]:
        """The processes that were started and not stopped, by name."""
        services = self._runtime.services
        return {name: child.info(services) for name, child in self._children.items()}

    # -- starting

    async def start_agent_process(
        self,
        agent_class: type[ServiceAgent],
        count: int = 1,
        options: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        restart: RestartPolicy | None = None,
    ) -> list[str]:
        """Start processes, and return their names when all are registered.

        Args:
            agent_class: made in each process as ``agent_class(options)``; one of a script will do.
            count: how many, from 1.
            options: a JSON object.
            name: they are called ``name_0``, ``name_1`` ... instead of by their class.
            restart: for these, instead of the manager's.

        Raises:
            ValueError: *count*. InfoError: *agent_class* is no service, or what is wrong with its ``info()``.
            ConfigError, PayloadError: *name* cannot be, or the class or the options cannot travel.
            AgentStartError, ProcessError: one did not come up. AgentLimitError: there is no place for all.
            AgentStateError: one was stopped meanwhile.
            Whatever it raises, none of these processes is left.
        """
        if not (isinstance(agent_class, type) and issubclass(agent_class, ServiceAgent)):
            raise InfoError(f"{agent_class!r:.80} is no class of ServiceAgent")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"count must be a whole number from 1, not {count!r:.80}")
        services = self._runtime.services
        given, _ = checked(dict(options or {}), "options", services.node.env.settings.max_payload_bytes)
        assert isinstance(given, dict)
        policy = self._restart if restart is None else restart_policy(restart)
        if self._lasting is None:
            self._lasting = Lasting(services, self._failed, self._gone)
        self._over.clear()
        if name is not None:
            check_name(name)
        word = name or agent_class.__name__.lower()
        children = [self._add(Child(word, agent_class, given, policy)) for _ in range(count)]
        try:
            await asyncio.gather(*(child.starting for child in children if child.starting is not None))
        except BaseException as error:
            stopped = next((child.name for child in children if child.ending is not None), None)
            await services.node.env.see_through(self._undo(children), "processes that did not all start")
            if isinstance(error, asyncio.CancelledError) and stopped is not None:
                raise AgentStateError(f"{stopped} was stopped while it started", operation="start") from None
            raise
        return [child.name for child in children]

    def _add(self, child: Child) -> Child:
        """Take the next free name, and begin to start it."""
        child.name = self._free_name(child.word)
        self._children[child.name] = child
        self._stopped.discard(child.name)
        child.starting = self._runtime.services.node.env.watch(self._start(child), f"start of {child.name}")
        return child

    def _free_name(self, word: str) -> str:
        number = 0
        while (name := f"{word}_{number}") in self._children or not self._is_free(name):
            number += 1
        return name

    def _is_free(self, name: str) -> bool:
        """Tell whether nobody has this name, or a service that is on no node: that one is taken up again."""
        try:
            found = self._runtime.services.node.env.store.agents.get(name)
        except AgentNotFoundError:
            return True
        return found.node_id is None and SERVICE in found.metadata

    async def _start(self, child: Child) -> None:
        assert self._lasting is not None
        mark = self._lasting.mark()
        record = await self._started(child)
        child.agent_id = record.uuid
        self._by_id[record.uuid] = child
        self._lasting.add(record.uuid, mark)
        log.info("Started %s as process %s (%s)", child.agent_class.__name__, record.pid, child.name)

    async def _started(self, child: Child) -> AgentRecord:
        while True:
            try:
                return await self._runtime.services.start(
                    child.agent_class,
                    child.options,
                    self._isolation,
                    instance=child.name,
                    restart=child.policy if self._supervise else _NEVER,
                    title=f"shoal_{child.name}",
                )
            except AgentNameTakenError as error:
                if error.name != child.name:  # another instance of an exclusive service
                    raise
                # Another manager took the name a moment before.
                del self._children[child.name]
                child.name = self._free_name(child.word)
                self._children[child.name] = child

    async def _undo(self, children: list[Child]) -> None:
        """End what else was started together with one that failed."""
        await asyncio.gather(*(self._end(child, 0.0) for child in children), return_exceptions=True)

    # -- watching over them

    def monitor_processes(self) -> None:
        """Turn supervision on: what has died is started again now, what dies later as its policy says."""
        if self._supervise:
            return
        self._supervise = True
        for child in self._by_id.values():
            registration = self._registration(child)
            if registration is not None:
                self._supervise_now(registration, child.policy)

    def _supervise_now(self, registration: Registration, policy: RestartPolicy) -> None:
        registration.options = msgspec.structs.replace(registration.options, restart=policy)
        restarts = self._runtime.services.node.cells.restarts
        restarts.forget(registration)
        if registration.cell is None and registration.instance.status is AgentStatus.FAILED:
            restarts.by_policy(registration)

    def _registration(self, child: Child) -> Registration | None:
        return None if child.agent_id is None else self._runtime.services.node.registrations.get(child.agent_id)

    def _failed(self, agent_id: str, failure: Failure) -> None:
        child = self._by_id[agent_id]
        child.failure = failure
        log.error("Agent %s failed: %s", child.name, failure.text)

    def _gone(self, agent_id: str) -> None:
        """Hear that one has ended in order: it was stopped, or shut itself down."""
        child = self._by_id.pop(agent_id, None)
        if child is not None:
            self._forget(child)

    def _forget(self, child: Child) -> None:
        if self._children.get(child.name) is child:
            del self._children[child.name]
            self._stopped.add(child.name)
        if not self._children:
            self._over.set()

    # -- ending

    async def stop_process(self, name: str) -> int | None:
        """End one process as ``stop_all_processes`` does, and return its exit code; None when it never had a process.

        One that was stopped before is no error. Raises AgentNotFoundError: there never was one of this name.
        """
        child = self._children.get(name)
        if child is not None:
            return await self._end(child, self._grace)
        if name not in self._stopped:
            raise AgentNotFoundError(name)
        return None

    async def stop_all_processes(self, grace: float | None = None) -> dict[str, int]:
        """End all processes, and return their exit codes by name.

        Each is told to end: it takes no new requests, has *grace* seconds for those it has accepted, and runs ``on_stop``.
        The rest gets CANCELLED, and what does not end then is killed (exit code -9). One that is dead keeps the exit
        code with which it died. Without processes it does nothing.

        Args:
            grace: seconds; None: the manager's.

        Raises ValueError: *grace* is negative.
        """
        seconds = self._grace if grace is None else check_grace(grace)
        children = list(self._children.values())
        codes = await asyncio.gather(*(self._end(child, seconds) for child in children))
        if not self._children:
            self._over.set()
        return {child.name: code for child, code in zip(children, codes, strict=True) if code is not None}

    async def _end(self, child: Child, grace: float) -> int | None:
        """End a process; who comes second waits for the same end."""
        if child.ending is None:
            env = self._runtime.services.node.env
            child.ending = env.watch(self._ended(child, grace), f"end of {child.name}")
        return await asyncio.shield(child.ending)

    async def _ended(self, child: Child, grace: float) -> int | None:
        starting = child.starting
        if starting is not None and not starting.done():
            if not starting.cancelling():  # a second time would cut short what undoes the start
                starting.cancel()
            await asyncio.wait([starting])
        exit = None
        try:
            if child.agent_id is not None:
                exit = await end_within(self._runtime.services, child.agent_id, grace)
        except BaseException:
            child.ending = None  # it can be told again
            raise
        self._forget(child)
        failed = None if child.failure is None else child.failure.exit_code
        code = failed if exit is None or exit.exit_code is None else exit.exit_code
        log.info("Stopped process %s (exit code %s)", child.name, code)
        return code

    async def wait_for_shutdown(self) -> None:
        """Wait for SIGINT or SIGTERM, then end all processes, and return; a second signal ends this one at once, and with
        it all others.

        Returns also when all were stopped otherwise. Raises RuntimeError outside of the main thread.
        """
        with Signals(self._over):
            await self._over.wait()
            await self.stop_all_processes()
