"""How long work stands still when a node is killed (SIGKILL). The lease is two seconds.

A node on the same machine is known to be dead as soon as its process is gone; one on another machine, when its lease ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.common import percentile, run
from benchmarks.engines import Engines, engines
from benchmarks.measurement import Bound, Entry, Measurement
from benchmarks.node_rounds import WAIT_SECONDS, marked, until_marked
from benchmarks.nodes_tasks import runtime_on
from benchmarks.sides import Side, Sides, say, until_alone

if TYPE_CHECKING:
    from shoal.runtime import AgentRuntime

LEASE_SECONDS = 2.0
_NEW_USER, _NEW_NAMES = 0x10000000, 0x04000000


def deaths(kills: int, machines: bool) -> dict[str, float]:
    """Return how long it takes until a task whose node was killed begins on another node."""
    with nodes_of("working", machines) as fleet:
        return fleet.took(kills, lambda number: run(_death(fleet, number)))


async def _death(fleet: Fleet, number: int) -> float:
    from shoal.client import Client

    file = str(fleet.folder / f"marks-{number}")
    async with Client(store=fleet.store, bus=fleet.bus) as client:
        task = await client.submit_task("work", {"file": file})
        first = (await asyncio.to_thread(until_marked, file, lambda _: True))["pid"]
        killed = await fleet.kill(first)
        mark = await asyncio.to_thread(until_marked, file, lambda mark: mark["pid"] != first)
        (await client.wait_for_task(task, WAIT_SECONDS)).result()
    return float(mark["at"]) - killed


def working(**where: Any) -> None:
    """Be a node with an agent that hangs in its first attempt at a task, until killed."""
    run(_working(**where))


async def _working(**where: Any) -> None:
    from benchmarks.ours import begin
    from shoal.runtime import Task

    async def work(task: Task) -> None:
        marked(str(task.input_data["file"]), pid=os.getpid())
        await asyncio.sleep(600 if task.attempt == 1 else 0)

    async with _node(**where) as here:
        await begin(here, f"worker-{os.getpid()}", work)
        say(pid=os.getpid())
        await until_alone()


def singletons(kills: int, machines: bool) -> dict[str, float]:
    """Return how long it takes until an agent that lives on one node answers again after that node was killed."""
    with nodes_of("standing_by", machines) as fleet:
        return fleet.took(kills, lambda _: run(_singleton(fleet)))


async def _singleton(fleet: Fleet) -> float:
    async with _node(fleet.store, fleet.bus) as asking:
        first = await answer(asking)
        killed = await fleet.kill(first)
        while await answer(asking) == first:
            pass
        return time.monotonic() - killed


async def answer(asking: AgentRuntime) -> int:
    """Ask until there is an answer, and return whose it is."""
    from shoal.errors import ShoalError

    for _ in range(int(WAIT_SECONDS / 0.01)):
        try:
            return int((await asking.request("only", "who", {}, timeout_seconds=0.2)).data)
        except ShoalError:
            await asyncio.sleep(0.01)
    raise TimeoutError(f"nobody answered for {WAIT_SECONDS:g} s")


def standing_by(**where: Any) -> None:
    """Be a node of those that would have the one agent, until killed."""
    run(_standing_by(**where))


async def _standing_by(**where: Any) -> None:
    from benchmarks.ours import begin
    from shoal.runtime import AgentMessage, BaseAgent

    class Only(BaseAgent):
        async def on_message(self, message: AgentMessage) -> int:
            return os.getpid()

    async with _node(**where) as here:
        await begin(here, "only", Only, singleton=True)
        say(pid=os.getpid())
        await until_alone()


class Fleet:
    """Two nodes; for each that is killed another begins."""

    def __init__(self, servers: Engines, sides: Sides, function: str, machines: bool) -> None:
        self.store, self.bus, self.folder = servers.store, servers.bus, servers.folder
        self._sides = sides
        self._function = function
        self._machines = machines
        self._numbers = itertools.count()
        self._nodes: dict[int, Side] = {}

    def begin(self) -> None:
        """Start a node, and wait until it is there."""
        machine = f"machine-{next(self._numbers)}" if self._machines else None
        side = self._sides.start(self._function, store=self.store, bus=self.bus, machine=machine)
        self._nodes[side.told()["pid"]] = side

    async def kill(self, pid: int) -> float:
        """Kill a node at a moment that nobody knows before; return when."""
        await asyncio.sleep(random.random() * LEASE_SECONDS / 4)  # somewhere between two heartbeats
        killed = time.monotonic()
        self._nodes.pop(pid).process.send_signal(signal.SIGKILL)
        return killed

    def took(self, kills: int, one: Callable[[int], float]) -> dict[str, float]:
        """Return the median and the longest of so many kills."""
        seconds = []
        for number in range(kills):
            while len(self._nodes) < 2:
                self.begin()
            time.sleep(LEASE_SECONDS / 2)  # let both have seen each other
            seconds.append(one(number))
        return {"p50_s": percentile(seconds, 0.5), "max_s": max(seconds)}


@contextmanager
def nodes_of(function: str, machines: bool) -> Iterator[Fleet]:
    """Give a fleet of nodes that are each the *function* of this module; with *machines* each as on a machine of its own."""
    with engines() as servers, Sides(__name__) as sides:
        yield Fleet(servers, sides, function, machines)


def _node(store: str, bus: str, machine: str | None = None) -> AgentRuntime:
    if machine is not None:
        _be_on(machine)
    return runtime_on(store, bus, lease_seconds=LEASE_SECONDS)


def _be_on(machine: str) -> None:
    """Give this process a host name of its own, so that for the other nodes it is on another machine."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NAMES if os.geteuid() == 0 else _NEW_NAMES | _NEW_USER) != 0:
        raise RuntimeError(f"needs a host name of its own: {os.strerror(ctypes.get_errno())}")
    socket.sethostname(machine)


def _ours(function: str, kills: int) -> tuple[Entry, ...]:
    return tuple(
        Entry(who, f"benchmarks.nodes_failover:{function}", {"kills": kills, "machines": machines}, note)
        for who, machines, note in (
            ("shoal", True, "as on another machine: known by its lease; bus through NATS"),
            ("shoal, same machine", False, "known by its process; bus through NATS"),
        )
    )


_TIMES = {"p50_s": "s (median)", "max_s": "s at most"}

MEASUREMENTS = (
    Measurement(
        name="nodes-death",
        what="a node is killed in the midst of a task, lease 2 s: until the task begins on another",
        figures=_TIMES,
        entries=(
            *_ours("deaths", 5),
            Entry(
                "ray", "benchmarks.peers.ray_nodes_:deaths", {"kills": 4},
                "not durable: a remote task with retries, its worker killed, same machine",
            ),
        ),
        bounds=(
            Bound("max_s", "floor", most=LEASE_SECONDS + 1),
            Bound("max_s", "goal", most=1, of="shoal, same machine"),
        ),
        quick={"kills": 1},
        runs=1,
    ),
    Measurement(
        name="nodes-singleton",
        what="the node that has the one agent of a name is killed, lease 2 s: until the agent answers on another",
        figures=_TIMES,
        entries=(
            *_ours("singletons", 5),
            Entry(
                "ray", "benchmarks.peers.ray_nodes_:actors", {"kills": 4},
                "an actor with restarts, its process killed, same machine",
            ),
        ),
        bounds=(
            Bound("max_s", "floor", most=LEASE_SECONDS + 1),
            Bound("max_s", "goal", most=1, of="shoal, same machine"),
        ),
        quick={"kills": 1},
        runs=1,
    ),
)  # fmt: skip
