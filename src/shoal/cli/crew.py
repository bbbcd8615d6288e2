"""The services of a service file, running: what ``shoal up`` starts, watches and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from shoal.errors import InfoError, ShoalError
from shoal.kernel.clock import RealClock
from shoal.runtime import AgentRuntime
from shoal.servicefile import ServiceFile, ServiceTable
from shoal.services.manager import AgentProcessManager
from shoal.services.processes import ProcessInfo

__all__ = ["Crew", "Member", "Stage"]

LOOK_SECONDS = 0.1


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One instance as it is now. ``table`` is what the file calls it."""

    table: str
    info: ProcessInfo

    @property
    def phase(self) -> str:
        """Its state, but ``down`` when it has failed and is started again, ``lost`` when it has failed and stays so."""
        if self.info.state != "failed":
            return self.info.state
        return "down" if self.info.comes_back else "lost"


class Stage(Protocol):
    """Shows services."""

    def show(self, members: list[Member]) -> None:
        """Take how they are now."""
        ...

    def ready(self, number: int) -> None:
        """Hear that so many have been started, and that no other will be."""
        ...


class _Manager(AgentProcessManager):
    """Services at any level. Those inline and in threads live in this process, by the same names and rules."""

    levels = (*AgentProcessManager.levels, "inline", "thread")


class Crew:
    """All services of a file on one runtime. One that cannot be started, or dies, hinders no other.

    Args:
        runtime: on which they live.
        file: what is to run.
        stage: what shows how they are.
        complain: hears why one could not be started.
    """

    def __init__(
        self, runtime: AgentRuntime, file: ServiceFile, stage: Stage, complain: Callable[[str], object]
    ) -> None:
        self._runtime = runtime
        self._stage = stage
        self._complain = complain
        self._managers = [
            (table, _Manager(runtime, isolation=table.isolation, restart=table.restart, grace=file.grace))  # type: ignore[arg-type]
            for table in file.agents
        ]
        self.failed = False  # whether one could not be started, or was lost, before all of them were to end
        self._ending = False

    async def run(self, asked: asyncio.Event) -> None:
        """Start all of them, and show how they are until *asked* is set, or none is left that lives or comes back.

        Raises LeaseLostError: this process was frozen too long, and others have taken its services for dead.
        """
        ready = False
        starting = asyncio.create_task(self._start_all(), name="start of the services")
        try:
            while not asked.is_set():
                members = self._shown()
                self._runtime.services.node.env.check_lease(known=True)
                if starting.done() and not ready:
                    ready = True
                    self._stage.ready(len(members))
                if ready and all(member.phase == "lost" for member in members):
                    break
                await _wait(asked.wait())
        finally:
            self._ending = True
            if not starting.done():
                starting.cancel()
            await asyncio.wait([starting])
        if not starting.cancelled():
            starting.result()

    async def _start_all(self) -> None:
        starts = [self._start(table, manager) for table, manager in self._managers for _ in range(table.count)]
        found = await asyncio.gather(*starts)
        for fault in dict.fromkeys(found):
            if fault is not None:
                name, text = fault
                count = found.count(fault)
                self._complain(f"{name}: {f'{count} of them ' if count > 1 else ''}could not be started: {text}")

    async def _start(self, table: ServiceTable, manager: AgentProcessManager) -> tuple[str, str] | None:
        try:
            await manager.start_agent_process(table.agent_class, 1, table.options, name=table.name)
        except Exception as error:  # noqa: BLE001  the service's own code may raise anything, and the others go on
            if self._ending:  # that is why
                return None
            self.failed = True
            return table.name, " ".join([_reason(error), *getattr(error, "__notes__", ())])
        return None

    def _shown(self) -> list[Member]:
        """Show all instances that were started and have not ended in order, in the order of the file; return them."""
        found = [
            Member(table=table.name, info=info)
            for table, manager in self._managers
            for info in manager.processes.values()
        ]
        self.failed = self.failed or (not self._ending and any(member.phase == "lost" for member in found))
        self._stage.show(found)
        return found

    async def stop(self) -> None:
        """Drain all of them within the grace of the file and end them, and show how they are meanwhile."""
        stops = asyncio.gather(*(manager.stop_all_processes() for _, manager in self._managers))
        while not stops.done():
            self._shown()
            await _wait(asyncio.shield(stops))
        stops.result()
        self._shown()


def _reason(error: Exception) -> str:
    if isinstance(error, InfoError):
        return f"what info() says cannot be: {'; '.join(error.faults)}"
    return str(error) if isinstance(error, ShoalError) else f"{type(error).__name__}: {error}"


async def _wait(what: Awaitable[object]) -> None:
    """Wait for *what*, and not longer than until the next look."""
    try:
        async with RealClock().timeout(LOOK_SECONDS):
            await what
    except TimeoutError:
        return
