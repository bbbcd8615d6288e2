"""Nodes on one store in virtual time, that are killed, cut off from each other, late with replies, or lose their lease."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from shoal import AgentRuntime
from shoal.bus.connection import Connection
from shoal.bus.folder import remove
from shoal.bus.local import LocalBus
from shoal.bus.peers import Peers
from shoal.errors import ResponseTimeoutError, StoreError
from shoal.kernel.message import AgentMessage
from shoal.kernel.node import Node
from shoal.kernel.ports import Clock, Exit
from shoal.runtime import RuntimeStatus
from shoal.store import open_store
from shoal.store.sqlite.store import SqliteStore
from shoal.testing.clock import VirtualClock, run_checked
from shoal.testing.loop import VirtualLoop

__all__ = ["SimulatedNode", "die", "run_simulated"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
LEASE_SECONDS = 4.0


class _Loop(VirtualLoop):
    """Virtual time without threads: what would run in one runs at once, so that a seed gives the same run always."""

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def run_simulated(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], seed: int, *, shuffle: bool) -> T:
    """Run ``main(clock)``; with *shuffle* in an order of asyncio tasks that is drawn from *seed*."""
    clock = VirtualClock(seed)
    chance = random.Random(f"shuffle {seed}") if shuffle else None
    return run_checked(lambda: main(clock), lambda: _Loop(shuffle=chance, limit_seconds=600))


class StormyBus(LocalBus):
    """The bus of a node, whose connections to others break, and on which answers may come late."""

    def __init__(self, clock: Clock, folder: Path) -> None:
        super().__init__(clock, folder)
        self.clock = clock
        self.lateness: Callable[[], float] = lambda: 0.0

    async def request(self, address: str, message: AgentMessage, timeout: float | None) -> AgentMessage:
        begun = self.clock.monotonic()
        answer = await super().request(address, message, timeout)
        late = self.lateness()
        if late:
            left = late if timeout is None else timeout - (self.clock.monotonic() - begun)
            await self.clock.sleep(max(0.0, min(late, left)))
            if left < late:
                raise ResponseTimeoutError(f"No answer from {address!r}: it comes too late")
        return answer

    @property
    def connections(self) -> list[Connection]:
        """Those to other nodes."""
        return list(self._peers._all) if isinstance(self._peers, Peers) else []

    def cut(self) -> None:
        """Break the connections; they are made again when the nodes look for each other."""
        for connection in self.connections:
            connection.abort()

    def vanish(self) -> None:
        """End as with the process: nobody is told anything."""
        peers, self._peers = self._peers, None
        self._bells.close()
        if isinstance(peers, Peers):
            assert peers._server is not None and peers._timer is not None
            peers._server.close()
            peers._timer.cancel()
            remove(peers._path)
            for connection in list(peers._all):
                connection.abort()
            for task in list(peers._tasks._tasks):
                task.cancel()

    @property
    def waiting(self) -> list[str]:
        """What is open: questions at its seats, and on its connections."""
        found = [
            f"{address} has {len(seat.asks)} asks" for address, seat in self._seats.by_address.items() if seat.asks
        ]
        for connection in self.connections:
            found += [f"a question to {address} is open" for address, _ in connection._open.values()]
            found += [f"a question of {connection.node} is served" for _ in connection.serving]
        return found


class SimulatedNode(AgentRuntime):
    """A node that can end as its process would."""

    def __init__(self, folder: Path, clock: Clock, name: str) -> None:
        settings = {"durability": "normal", "lease_seconds": LEASE_SECONDS, "log_level": "CRITICAL"}
        super().__init__(folder / "shoal.db", config=settings, node=name, clock=clock)
        self.name = name
        self.folder = folder
        self.alive = False  # it has joined, and was not ended
        self.silent = False  # its heartbeats do not come to the store
        self.lost_at: float | None = None
        self.simulated_bus: StormyBus
        self.simulated_store: SqliteStore

    def _build(self) -> Node:
        store = open_store(self.url, durability="normal", inline=True, clock=self._clock)
        assert isinstance(store, SqliteStore)
        self.simulated_store = store
        self.simulated_bus = StormyBus(self._clock, self.folder / "bus")
        beat = store.leases.heartbeat

        def heartbeat(*args: Any, **named: Any) -> bool:
            if self.silent:
                raise StoreError("it does not come to the store")
            return beat(*args, **named)

        store.leases.heartbeat = heartbeat  # type: ignore[method-assign]
        return self._assemble(store, self.simulated_bus)

    @property
    def here(self) -> Node:
        """The node itself."""
        assert self._node is not None
        return self._node

    def owns(self, agent_id: str) -> bool:
        """Tell whether it has the agent, as far as it knows itself."""
        registration = self.here.registrations.get(agent_id)
        return (
            self.alive and not self.here.env.lease_over() and registration is not None and registration.cell is not None
        )

    async def stop(self, graceful: bool = True, timeout_seconds: float = 30.0) -> None:
        """End in order."""
        await super().stop(graceful, timeout_seconds)
        self._forget()

    def _forget(self) -> None:
        """Hold nothing by the store, which is kept by who lives as long as it."""
        vars(self.simulated_store.leases).pop("heartbeat", None)

    async def kill(self) -> None:
        """End at once: nothing is written, sent or told any more."""
        self.alive = False
        self._forget()
        node, env = self.here, self.here.env
        self.simulated_store.database.crash()
        self.simulated_bus.vanish()
        self._set(RuntimeStatus.STOPPED)
        env.lost = True
        while node._undo:
            node._undo.pop()()
        for registration in node.registrations.values():
            if registration.cell is not None:
                registration.cell.handle.kill()
        while rest := [task for task in env._owned if not task.done()]:
            for task in rest:
                task.cancel()
            await asyncio.wait(rest)
        for address in list(self.simulated_bus._by_address):
            self.simulated_bus.detach(address)


def die(node: SimulatedNode, agent_id: str) -> bool:
    """End an agent's code as its process would; False when it has none."""
    registration = node.here.registrations.get(agent_id)
    cell = None if registration is None else registration.cell
    if cell is None or cell.handle.exited.done():
        return False
    cell.handle.exited.set_result(Exit(reason="died", exit_code=-9))
    for entry in list(cell.entries.values()):
        if entry.asyncio_task is not None:
            entry.asyncio_task.cancel()  # its code goes no step further
    cell.handle.kill()
    return True
