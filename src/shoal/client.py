"""``Client``: the verbs on a store from outside of any node; it executes nothing and is nobody's neighbour.

An ``AgentRuntime`` would do as well, but it is a node: it joins with a lease, writes ``runtime_started``, takes over
from dead nodes, kills their orphans and beats. A client that comes and goes for one verb opens the store and the bus, and
no more. Its verbs are those of ``AgentRuntime``, with their checks: it is the rooms of a node that was never started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from shoal.bus import open_bus
from shoal.config import bus_url, load_config, meeting_place, on_server, shown, store_file, store_url
from shoal.errors import ConfigError, RuntimeNotStartedError
from shoal.kernel.clock import RealClock
from shoal.kernel.env import Env
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.maintenance import LOOK_ALL_THE_SAME
from shoal.kernel.node import Node
from shoal.kernel.ports import Clock, Store
from shoal.kernel.ports import Node as NodeRecord
from shoal.kernel.verbs import Verbs
from shoal.llm.exporting import export_steps
from shoal.store import open_store as build_store

if TYPE_CHECKING:
    from shoal.services.services import Services

__all__ = ["Client", "OpeningStore", "open_store"]

READER_POLL_SECONDS = 0.1
"""How often a client that only reads, and so hears no bell, looks whether something was committed."""


class Client(Verbs):
    """Submit, cancel, wait and look from outside. ``async with`` opens and closes it.

    What it submits rings the bell of the nodes on the same store, so that it starts at once. It belongs to the event
    loop that opened it.

    Args:
        storage_path: the SQLite file; default ``SHOAL_STORE``, else ``./shoal.db``. It must be there.
        store: the store by URL instead of *storage_path*.
        bus: the bus by URL; default ``SHOAL_BUS``, else ``local://``, and for a store in PostgreSQL the same server.
        resource_limits: ``max_task_queue_size`` holds for what is submitted here.
        read_only: look, wait and follow, without a bus: the store is not written, nothing is created.
        clock: time, chance and ids; default the real ones.

    Raises:
        ConfigError: an argument is wrong, or there is no such store.
    """

    def __init__(
        self,
        storage_path: str | Path | None = None,
        *,
        store: str | None = None,
        bus: str | None = None,
        resource_limits: ResourceLimit | None = None,
        read_only: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.url = store_url(storage_path, store)
        self.read_only = read_only
        self._clock: Clock = clock or RealClock()
        self._settings = load_config(None)
        self._limits = resource_limits or ResourceLimit()
        self._limits.validate()
        self._bus_url = "local://" if read_only else bus_url(bus, self.url)
        build_store(self.url)  # before the bus: where one URL is for both, the fault is the store's
        open_bus(self._bus_url, clock=self._clock)
        self._rooms: Node | None = None
        self._undo: list[Callable[[], object]] = []
        self._polls = 0
        self._behind = False  # something was committed at which it has not looked yet

    async def open(self) -> None:
        """Open the store, and the bus unless it only reads. Raises StoreError, ConfigError (no such store)."""
        _check_there(self.url)
        store = build_store(self.url, durability=self._settings.durability, read_only=self.read_only, clock=self._clock)
        folder = None if self.read_only else meeting_place(self.url)
        bus = open_bus(self._bus_url, clock=store.clock, folder=folder)
        store.ring_on(bus.wire if self._bus_url == self.url else None)
        env = Env(clock=store.clock, store=store, bus=bus, settings=self._settings, limits=self._limits)
        env.node_id = env.runtime_id = f"client-{self._clock.new_id()}"
        env.loop = asyncio.get_running_loop()
        env.export_run = export_steps
        await store.open()
        try:
            await bus.start(env.node_id)
        except BaseException:
            await store.close()
            raise
        env.status = "running"
        rooms = self._rooms = Node(env, {}, name=env.node_id)
        self._undo = [
            store.on_commit(rooms.events.wake),
            store.on_commit(rooms.runs.running.wake),
            bus.hear("ended", rooms.tasks.waiting.heard),
        ]
        env.every(READER_POLL_SECONDS if self.read_only else self._settings.poll_seconds, self._poll, "poll")

    async def _poll(self) -> None:
        """Hear of what others committed without a bell, or with one that was lost."""
        rooms, store = self._here, self._here.env.store
        self._polls += 1
        if await store.aside(store.changed) or self._polls % LOOK_ALL_THE_SAME == 0:
            self._behind = True
        if self._behind:
            rooms.events.wake()
            rooms.runs.running.wake()
            await rooms.tasks.waiting.look()
            self._behind = False  # else the store was away meanwhile: the next poll looks

    async def close(self) -> None:
        """Write what was accepted, and leave. Twice does nothing."""
        rooms, self._rooms = self._rooms, None
        if rooms is None:
            return
        rooms.env.status = "stopped"
        while self._undo:
            self._undo.pop()()
        await rooms.env.settle_down()
        rooms.end_waits(_not_open)
        await rooms.env.bus.stop()
        await rooms.env.store.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _here(self) -> Node:
        if self._rooms is None:
            raise _not_open()
        return self._rooms

    @property
    def services(self) -> Services:
        """Services: those of all nodes on the store are found, asked and controlled; none is started here."""
        from shoal.services.services import services_of

        return services_of(self._here)

    # -- beside the verbs of every caller

    def list_nodes(self) -> list[NodeRecord]:
        """Return the running nodes; one whose lease has ended may be dead."""
        return self.store.leases.nodes()

    async def drain_node(self, node_id: str, seconds: float = 30.0) -> bool:
        """Tell a node to end what it does within *seconds* and to leave; it may be on any machine.

        Returns when it is told; False: there is no such node any more, or it was told before. Its record goes when it has
        left. Raises ValueError: *seconds* is negative.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            raise ValueError(f"seconds must be a number from 0, not {seconds!r:.80}")
        told = await self.store.leases.drain(node_id, seconds=float(seconds), now=self.store.clock.now())
        self._here.env.bus.ring("drain", node_id)
        return told

    async def prune(self, before: datetime) -> dict[str, int]:
        """Remove all finished tasks, events, dead letters and lost nodes older than *before*; return how many of each."""
        gone: dict[str, int] = {}
        while True:
            piece = await self.store.prune(before)
            for name, number in piece.items():
                gone[name] = gone.get(name, 0) + number
            if not any(piece.values()):
                return gone


def _not_open() -> RuntimeNotStartedError:
    return RuntimeNotStartedError("Client not open")


def _check_there(url: str) -> None:
    if on_server(url):
        return  # the server says so itself
    file = store_file(url)
    if file is None:
        raise ConfigError(
            f"{shown(url)} cannot be reached from outside: a store in memory belongs to the runtime that opened it",
            note="Give that runtime a file: AgentRuntime('shoal.db').",
        )
    if not file.exists():
        raise ConfigError(
            f"there is no store at {file.absolute()}",
            note="A runtime creates it when it starts. Name another with --store or SHOAL_STORE, or start a runtime.",
        )


class OpeningStore:
    """A store that is about to be opened: ``await`` it, or ``async with`` it and have it closed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __await__(self) -> Generator[Any, None, Store]:
        return self._open().__await__()

    async def _open(self) -> Store:
        await self._store.open()
        return self._store

    async def __aenter__(self) -> Store:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._store.close()


def open_store(url: str, *, durability: str = "full") -> OpeningStore:
    """Open the store at *url*, for what takes one: conversations, locks.

    ``store = await open_store(url)`` is closed by ``await store.close()``, that of ``async with open_store(url)`` by itself.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://HOST/DATABASE``, which are created when they are not there, or
            ``sqlite://:memory:``.
        durability: ``full``: what is acknowledged survives a power cut; ``normal``: it survives the end of the process.

    Raises:
        ConfigError: unknown scheme or durability, or no file is named.
        StoreError: it cannot be opened; a foreign or newer file is left untouched.
    """
    return OpeningStore(build_store(url, durability=durability))
