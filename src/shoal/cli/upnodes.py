"""``shoal up --nodes``: the services of a file on several nodes of this machine, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.boxes.logs import visible
from shoal.cluster.process import guarded
from shoal.errors import ConfigError
from shoal.kernel.agent import RestartPolicy
from shoal.kernel.clock import RealClock
from shoal.kernel.supervision import RestartWindow
from shoal.servicefile import ServiceFile, ServiceTable

if TYPE_CHECKING:
    from shoal.cluster import LocalServers

__all__ = ["Nodes", "check_number", "part_of", "up_nodes"]

MOST = 64
LAST_WORDS_SECONDS = 1.0
_SHOAL = "import sys; from shoal.cli import main; sys.exit(main())"
_LEFT = (0, 1, 2)
"""Exit codes of a node that has ended by itself: it has left, or none of its services runs, or it was asked wrongly."""


def part_of(file: ServiceFile, part: str) -> ServiceFile:
    """Return what the node *part*, as ``2/3``, has of a file: every third instance, and the registry if it is the first.

    Raises ConfigError: there is no such part.
    """
    place, _, count = part.partition("/")
    if not (place.isdigit() and count.isdigit() and 1 <= int(place) <= int(count)):
        raise ConfigError(f"--part must be one of N, such as 2/3, not {part!r:.80}")
    return msgspec.structs.replace(
        file,
        agents=_share(file.agents, int(place) - 1, int(count)),
        registry=file.registry if int(place) == 1 else None,
    )


def _share(tables: Sequence[ServiceTable], place: int, count: int) -> tuple[ServiceTable, ...]:
    found, first = [], 0
    for table in tables:
        mine = sum(number % count == place for number in range(first, first + table.count))
        first += table.count
        if mine:
            found.append(msgspec.structs.replace(table, count=mine))
    return tuple(found)


def check_number(number: int, file: ServiceFile) -> None:
    """Raise ConfigError unless the services of *file* can be spread over so many nodes."""
    services = sum(table.count for table in file.agents)
    most = min(MOST, services)
    if not 1 <= number <= most:
        raise ConfigError(f"--nodes must be from 1 to {most} here ({services} services), not {number}")


class Nodes:
    """Node processes that carry out ``shoal up`` with a part of the file each.

    One that dies is started again; one that was drained stays away. They end with this process, whatever ends it.

    Args:
        words: what follows ``shoal up`` for each of them.
        number: how many.
        variables: over this process's environment.
        say: hears of each line, with the name of its node before it.
    """

    def __init__(
        self, words: Sequence[str], number: int, variables: Mapping[str, str], say: Callable[[str], object]
    ) -> None:
        self._words = words
        self._number = number
        self._environment = {**os.environ, **variables}
        self._say = say
        self._clock = RealClock()
        self._living: dict[int, Process] = {}
        self._ending = asyncio.Event()
        embedded = "SHOAL_STORE" in variables
        self._stem = "node" if embedded else f"{socket.gethostname()[:60]}-{os.getpid()}"

    async def run(self, asked: asyncio.Event) -> int:
        """Keep them alive until *asked* is set, or all have left; drain them, and return the highest exit code."""
        keeping = asyncio.gather(*(self._keep(place) for place in range(1, self._number + 1)))
        waiting = asyncio.ensure_future(asked.wait())
        both: list[asyncio.Future[Any]] = [waiting, keeping]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            self._ending.set()
            for process in self._living.values():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            return max(await keeping)
        finally:
            waiting.cancel()
            keeping.cancel()
            await asyncio.wait(both)

    def kill(self) -> None:
        """End them at once."""
        self._ending.set()
        for process in self._living.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _keep(self, place: int) -> int:
        name = f"{self._stem}-{place}"
        window = RestartWindow(RestartPolicy())
        while True:
            code = await self._life(place, name)
            if self._ending.is_set() or code in _LEFT:
                self._say(f"{name}  has left" if code == 0 else f"{name}  has ended with exit code {code}")
                return code
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            pause = window.next_delay(self._clock.monotonic())
            if pause is None:
                self._say(f"{name}  died ({how}); it is not started again")
                return 1
            self._say(f"{name}  died ({how}); it is started again")
            await self._clock.sleep(pause)

    async def _life(self, place: int, name: str) -> int:
        if self._ending.is_set():
            return 0
        words = ["up", *self._words, "--plain", "--part", f"{place}/{self._number}", "--name", name]
        # A session of its own: Ctrl-C in a terminal goes to this process, which drains its nodes.
        process = await asyncio.create_subprocess_exec(
            *guarded([sys.executable, "-c", _SHOAL, *words], signal.SIGKILL),
            stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, env=self._environment, start_new_session=True,
        )  # fmt: skip
        self._living[place] = process
        reading = asyncio.ensure_future(self._read(process, name))
        try:
            if self._ending.is_set():
                process.send_signal(signal.SIGTERM)
            else:
                self._say(f"{name}  runs  pid {process.pid}")
            code = await process.wait()
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(LAST_WORDS_SECONDS):
                    await asyncio.wait([reading])
            return code
        finally:
            del self._living[place]
            reading.cancel()
            await asyncio.wait([reading])
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _read(self, process: Process, name: str) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._say(f"{name}  {visible(line.decode(errors='replace').rstrip())}")


async def up_nodes(
    file: ServiceFile, number: int, words: Sequence[str], data: Path | None, asked: asyncio.Event
) -> int:
    """Carry out ``shoal up --nodes``; with *data*, on servers of its own, which have their files there."""
    if data is None:
        _print(f"{file.path}  {number} nodes  no servers: a store is named by the file, --store or SHOAL_STORE")
        return await Nodes(words, number, {}, _print).run(asked)
    from shoal.cluster import LocalServers

    async with LocalServers(data) as servers:
        _print(f"{file.path}  {number} nodes  data {servers.folder}")
        _print(f"PostgreSQL  port {servers.postgres.port}  pid {servers.postgres.process.pid}")
        _print(f"NATS  port {servers.nats.port}  pid {servers.nats.process.pid}")
        _print(f"other commands reach them after: . {servers.folder / 'env'}")
        nodes = Nodes(words, number, {"SHOAL_STORE": servers.store, "SHOAL_BUS": servers.bus}, _print)
        keeping = asyncio.create_task(_keep(servers, nodes, asked), name="servers")
        try:
            code = await nodes.run(asked)
            if keeping.done():
                keeping.result()
                return 1
            return code
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])


async def _keep(servers: LocalServers, nodes: Nodes, asked: asyncio.Event) -> None:
    """Start servers again that have died; end the nodes when one is given up."""
    try:
        await servers.keep(_print)
    finally:
        asked.set()
        if not servers.postgres.process.lives:
            nodes.kill()  # there is nobody to whom they could hand over anything


def _print(text: str) -> None:
    print(text, flush=True)
