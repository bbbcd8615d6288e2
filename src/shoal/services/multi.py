"""``MultiAgentProcess``: many services in one process, started and ended together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from shoal.errors import AgentError, InfoError
from shoal.kernel.agent import RestartPolicy
from shoal.kernel.supervision import RestartWindow
from shoal.services.agent import ServiceAgent
from shoal.services.lasting import Failure, Lasting, check_grace, end_within
from shoal.services.signals import Signals

if TYPE_CHECKING:
    from shoal.runtime import AgentRuntime

__all__ = ["MultiAgentProcess"]

log = logging.getLogger("shoal.services")

GRACE_SECONDS = 10.0
_ISOLATIONS = ("inline", "thread", "process", "bubblewrap", "gvisor", "microvm", "auto")


class MultiAgentProcess:
    """Services in the process of one runtime. One that fails is started again, as its policy says; the others go on.

    Args:
        runtime: on which they live, started before ``start_all``.
        isolation: where the code of each runs: ``inline`` on the runtime's loop, ``thread`` in a thread and a loop of its
            own, or a level with a process.

    Raises ValueError: there is no such isolation.
    """

    def __init__(
        self,
        runtime: AgentRuntime,
        *,
        isolation: Literal["inline", "thread", "process", "bubblewrap", "gvisor", "microvm", "auto"] = "inline",
    ) -> None:
        if isolation not in _ISOLATIONS:
            raise ValueError(f"isolation must be one of {', '.join(_ISOLATIONS)}, not {isolation!r:.80}")
        self._runtime = runtime
        self._isolation: Any = isolation
        self._agents: list[ServiceAgent] = []
        self._waiting: list[ServiceAgent] = []  # for their start
        self._living: dict[str, ServiceAgent] = {}  # by agent id
        self._again: set[asyncio.Task[None]] = set()  # starts that are tried again
        self._lasting: Lasting | None = None
        self._lock = asyncio.Lock()
        self._over = asyncio.Event()

    @property
    def agents(self) -> tuple[ServiceAgent, ...]:
        """The services that were added, in order."""
        return tuple(self._agents)

    def add_agent(
        self, agent: type[ServiceAgent] | ServiceAgent, options: Mapping[str, Any] | None = None
    ) -> ServiceAgent:
        """Add a service for the next ``start_all``, and return it.

        Args:
            agent: a class, which is made as ``agent(config=options)``, or an object.
            options: for a class.

        Raises:
            InfoError: what is wrong with its ``info()``. ValueError: options for an object, or an object added twice.
        """
        if isinstance(agent, type) and issubclass(agent, ServiceAgent):
            agent = agent(config=dict(options or {}))
        elif options is not None:
            raise ValueError("options are for a class: an object has its config")
        if not isinstance(agent, ServiceAgent):
            raise InfoError(f"{agent!r:.80} is no ServiceAgent")
        if any(agent is other for other in self._agents):
            raise ValueError(f"{type(agent).__name__} was added already: make one object for each")
        _ = agent.inner.info
        self._agents.append(agent)
        self._waiting.append(agent)
        return agent

    async def start_all(self) -> Self:
        """Start what was added, in order, and return this. One that fails is logged, and tried again by its policy."""
        services = self._runtime.services
        if self._lasting is None:
            self._lasting = Lasting(services, self._failed, self._gone)
        self._over.clear()
        async with self._lock:
            while self._waiting:
                agent = self._waiting[0]
                started = await self._started(agent)
                self._waiting.remove(agent)
                if not started:
                    again = services.node.env.spawn(self._start_again(agent), f"start of {_name(agent)}")
                    self._again.add(again)
                    again.add_done_callback(self._again.discard)
        return self

    async def _started(self, agent: ServiceAgent) -> bool:
        assert self._lasting is not None
        mark = self._lasting.mark()
        try:
            record = await self._runtime.services.start(agent, isolation=self._isolation)
        except AgentError as error:
            log.error("Agent %s failed: %s", _name(agent), error)
            return False
        self._living[record.uuid] = agent
        self._lasting.add(record.uuid, mark)
        return True

    async def _start_again(self, agent: ServiceAgent) -> None:
        clock, window = self._runtime.services.node.env.clock, RestartWindow(RestartPolicy())
        while (pause := window.next_delay(clock.monotonic())) is not None:
            await clock.sleep(pause)
            if await self._started(agent):
                return
        log.error("Agent %s stays failed: it was started too often", _name(agent))

    def _failed(self, agent_id: str, failure: Failure) -> None:
        log.error("Agent %s failed: %s", _name(self._living[agent_id]), failure.text)

    def _gone(self, agent_id: str) -> None:
        """Hear that one has ended: it was stopped, or shut itself down."""
        self._living.pop(agent_id, None)
        if not self._living and not self._waiting and not self._again:
            self._over.set()

    async def stop_all(self, grace: float = GRACE_SECONDS) -> None:
        """End all: what they have accepted is done within *grace* seconds, or CANCELLED. Twice does nothing.

        Raises ValueError: *grace* is negative.
        """
        check_grace(grace)
        for again in self._again:
            again.cancel()
        async with self._lock:
            if self._again:
                await asyncio.wait(list(self._again))
            ends = [end_within(self._runtime.services, agent_id, grace) for agent_id in self._living]
            results = await asyncio.gather(*ends, return_exceptions=True)
        self._over.set()
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise errors[0]

    async def wait_for_shutdown(self) -> None:
        """Wait for SIGINT or SIGTERM, then end all, and return; a second signal ends this process at once.

        Returns also when all have ended otherwise. Raises RuntimeError outside of the main thread.
        """
        with Signals(self._over):
            await self._over.wait()
            await self.stop_all()


def _name(agent: ServiceAgent) -> str:
    return agent.inner.info.name
