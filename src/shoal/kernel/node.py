"""One running node: its rooms, put together; its start, its sweeps, its end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from shoal.errors import DeadAgentError, LeaseLostError, RuntimeStoppingError
from shoal.kernel.agents import Agents
from shoal.kernel.cell import Cell
from shoal.kernel.cells import Cells
from shoal.kernel.draining import Draining
from shoal.kernel.env import Env
from shoal.kernel.event import EventType, Fact
from shoal.kernel.events import Events
from shoal.kernel.groups import Groups
from shoal.kernel.heartbeat import Heartbeat
from shoal.kernel.launches import LaunchGate
from shoal.kernel.link import CellLink
from shoal.kernel.load import Load, MachineProbe, QuietProbe
from shoal.kernel.maintenance import Maintenance
from shoal.kernel.metrics import metrics
from shoal.kernel.ports import Child, Clock, Host
from shoal.kernel.ports import Node as NodeRecord
from shoal.kernel.post import Post
from shoal.kernel.queue import Queue
from shoal.kernel.registration import Registration
from shoal.kernel.running import NodeAmbient
from shoal.kernel.runs import Runs
from shoal.kernel.scheduler import Scheduler
from shoal.kernel.shared import Shared
from shoal.kernel.stillness import Stillness
from shoal.kernel.submission import Submission
from shoal.kernel.takeover import Takeover, process_start, this_boot
from shoal.kernel.tasks import Tasks
from shoal.kernel.waiting import Waiting
from shoal.kernel.watchdog import Watchdog

__all__ = ["Node"]

log = logging.getLogger("shoal")


class Node:
    """The rooms of one runtime, and the order in which they open and close."""

    def __init__(
        self,
        env: Env,
        hosts: Mapping[str, Host],
        *,
        name: str,
        load: Load | None = None,
        kill_orphan: Callable[[int, int], bool] | None = None,
    ) -> None:
        self.env = env
        self.name = name
        self.load = load or Load(QuietProbe() if env.clock.virtual else MachineProbe())
        self.registrations: dict[str, Registration] = {}
        self.hosts = hosts
        self._started = 0.0
        self._joined = False
        self._undo: list[Callable[[], object]] = []
        self.rooms: dict[str, Any] = {}  # what wings keep with a node, by names of their own
        waiting = Waiting(env)
        self.scheduler = Scheduler(env, waiting)
        self.post = Post(env)
        self.shared = Shared(env)
        self.tasks = Tasks(env, waiting, self.scheduler, Submission(env, self.registrations, self.post.resolve))
        link, gate = partial(CellLink, env, self.tasks, self.shared), LaunchGate(env, self.load)
        self.cells = Cells(env, self.post, self.scheduler, hosts, link, gate)
        self.agents = Agents(env, self.cells, self.registrations, self.tasks)
        self.agents.standbys.busy = lambda: (self.load.cpu_share, self.cells.places.taken)
        self.groups = Groups(env, self.agents, self.registrations, self.scheduler)
        self.queue = Queue(env, self.scheduler, self.cells, self.registrations, self.load)
        self.events = Events(env)
        self.runs = Runs(env, NodeAmbient(env))
        self.takeover = Takeover(env, self.scheduler, self.post, kill_orphan)
        self.draining = Draining(self)
        self.maintenance = Maintenance(env, self, waiting)
        self._heartbeat = Heartbeat(env, self.agents.standbys.busy, self._lose)
        self._watchdog = Watchdog(env)
        self._stillness = Stillness(env, lambda: self.cells.alive)

    def at_end(self, undo: Callable[[], object]) -> None:
        """Have *undo* called when the node ends."""
        self._undo.append(undo)

    async def start(self) -> None:
        """Open store and bus, take over from dead nodes of this host, and begin to work."""
        env = self.env
        clock = env.clock
        await env.store.open()
        await env.bus.start(env.node_id)
        await self.takeover.look()  # a crashed namesake has given up its name
        await self.takeover.outlast(self.name)
        now = clock.now()
        env.lease_steady = clock.monotonic() + env.settings.lease_seconds
        record = self._record(clock)
        await env.store.leases.join(record, now=now)
        self._joined = True
        env.lease_until = record.lease_until
        self._undo += [self._heartbeat.start(), env.store.on_commit(self._committed)]
        self._hear()
        self._started = clock.monotonic()
        await env.store.events.append(
            [Fact(event_type=EventType.RUNTIME_STARTED, node_id=env.node_id, details={"runtime_id": env.runtime_id})],
            now=now,
        )
        self.load.sample()
        self.maintenance.start()
        self._stillness.start()
        if not env.clock.virtual:  # there no code can hold up time
            self._undo.append(self._watchdog.start())
        self.scheduler.accepting = True

    def _record(self, clock: Clock) -> NodeRecord:
        now = clock.now()
        return NodeRecord(
            node_id=self.env.node_id,
            runtime_id=self.env.runtime_id,
            name=self.name,
            host=this_boot(),
            pid=os.getpid(),
            pid_started=process_start(os.getpid()) or 0,
            started_at=now,
            lease_until=now + timedelta(seconds=self.env.settings.lease_seconds),
        )

    def _hear(self) -> None:
        env, hear = self.env, self.env.bus.hear
        waiting = self.tasks.waiting
        self._undo += [
            hear("tasks", lambda _: self.scheduler.kick()),
            hear("ended", waiting.heard),
            hear("cancel", lambda task_id: self.scheduler.cancelled(task_id)),
            hear("mail", self.post.mail_waits),
            hear("groups", lambda _: self.groups.look()),
            hear("shared", lambda _: self.shared.wake()),
            hear("runs", lambda _: env.spawn(self.runs.look(), "look at runs")),
            hear("gone", self._heard_gone),
            hear("drain", self.draining.heard),
            hear("agents", self.agents.standbys.heard),
            hear("nodes", lambda _: self.look_around(env.store.leases.nodes())),
            self.env.leasing.connect(self.env.bus),
            *self.post.asking.hear(),
        ]

    def _heard_gone(self, note: str) -> None:
        agent_id, reason, code = [*note.split(" "), "", ""][:3]
        error = DeadAgentError(
            f"Agent {agent_id} is gone ({reason})",
            reason=reason,
            exit_code=int(code) if code else None,
            agent_id=agent_id,
        )
        self.post.asking.gone(agent_id, error)

    def look_around(self, nodes: Sequence[NodeRecord]) -> None:
        """Look at the records of all nodes: whether this one is to leave, and whether others have left."""
        self.draining.look(nodes)
        self.agents.standbys.look(nodes)

    def _committed(self) -> None:
        self.events.wake()
        self.shared.wake()
        self.runs.running.wake()

    # -- being alive

    def _lose(self) -> None:
        """Stop all effects: others may be doing this node's work now.

        The node does not come back by itself: until it is stopped, its verbs raise LeaseLostError.
        """
        env = self.env
        if env.lost or env.status != "running":
            return
        env.lost = True
        log.error("node %s lost its lease: it stops all effects", env.node_id)
        self.scheduler.accepting = False
        self.end_waits(env.lost_error)
        for registration in self.cells.alive:
            cell = registration.cell
            if cell is not None:
                self._silence(cell)
                self.post.remove(cell, DeadAgentError(f"Agent {cell.name!r} was lost", reason="node_lost"))
        env.spawn(_noted(env, EventType.LEASE_LOST), "lease lost")

    # -- the end

    async def stop(self, timeout: float, grace: float) -> None:
        """Take no more, let what runs finish within *timeout* seconds and clean up in *grace*, give back
        the rest, close. A step that fails keeps none after it from being done; the first error is raised at the end."""
        self.scheduler.accepting = False
        self.maintenance.stop()
        errors: list[BaseException] = []
        if not self.env.lost:
            await self._step(errors, self.runs.running.shut(grace))
            await self._step(errors, self.cells.shut_all(timeout, grace))
            await self._step(errors, self.agents.forget_passing())
        if not self.env.lost:
            await self._step(errors, _noted(self.env, EventType.RUNTIME_STOPPED))
        await self._step(errors, self._let_go())
        await self._step(errors, self.close())
        if errors:
            raise errors[0]

    async def _step(self, errors: list[BaseException], step: Awaitable[object]) -> None:
        try:
            await step
        except LeaseLostError:
            log.error("node %s lost its lease before it had stopped", self.env.node_id)
            self.env.lost = True
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  raised when all steps are done
            errors.append(error)

    async def _let_go(self) -> None:
        """End what an orderly stop has not ended: the lease is lost, or the store refuses. Nothing is written."""
        for registration in self.cells.alive:
            if registration.cell is not None:
                self._silence(registration.cell)
                await registration.cell.handle.stop(0.0)

    @staticmethod
    def _silence(cell: Cell) -> None:
        """End the code of a cell at once; what it still tries has no effect."""
        cell.closing = cell.dead = True
        cell.handle.kill()
        for entry in list(cell.entries.values()):
            if entry.asyncio_task is not None:
                entry.asyncio_task.cancel()

    async def close(self) -> None:
        """Close what is open, also after a start that failed half-way. The store is closed whatever else fails."""
        errors: list[BaseException] = []
        while self._undo:
            self._undo.pop()()
        await self._step(errors, self.env.settle_down())
        for host in dict.fromkeys(self.hosts.values()):
            await self._step(errors, host.close())
        if self._joined:
            await self._step(errors, self._sign_off())
        self.end_waits(RuntimeStoppingError)  # whoever follows events has heard the last one
        await self._step(errors, self.env.bus.stop())
        await self._step(errors, self.env.store.close())
        if errors:
            raise errors[0]

    async def _sign_off(self) -> None:
        env = self.env
        await env.store.leases.leave(env.node_id, now=env.clock.now())
        env.bus.ring("nodes", env.node_id)

    def end_waits(self, why: Callable[[], Exception]) -> None:
        """Let nobody wait for what this node will not tell."""
        self.tasks.waiting.close(why)
        self.events.close(why)
        self.shared.close(why)
        self.runs.running.news.close(why)

    async def adopt(self, child: Child) -> None:
        """Remember a child process, so that whoever finds this node dead can end it."""
        await self.env.store.leases.adopt(child)

    async def disown(self, pid: int) -> None:
        """Forget a child process that was reaped."""
        await self.env.store.leases.disown(self.env.node_id, pid)

    def metrics(self) -> dict[str, int | float]:
        """Return this node's numbers."""
        return metrics(self.env, self.cells, self.load, len(self.registrations), self._started)


async def _noted(env: Env, event_type: EventType) -> None:
    await env.store.events.append([Fact(event_type=event_type, node_id=env.node_id)], now=env.clock.now())
