"""The verbs on the queue: hold it, and see where a task stands."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from shoal.kernel.agent import AgentInstance, AgentStatus
from shoal.kernel.limits import Capacity
from shoal.kernel.ports import target_of
from shoal.kernel.task import QueuePosition, Task

if TYPE_CHECKING:
    from shoal.kernel.cells import Cells
    from shoal.kernel.env import Env
    from shoal.kernel.load import Load
    from shoal.kernel.registration import Registration
    from shoal.kernel.scheduler import Scheduler

__all__ = ["Queue"]


class Queue:
    """The queue as a whole. Its pause is kept in the store and holds for all nodes."""

    def __init__(
        self, env: Env, scheduler: Scheduler, cells: Cells, registrations: Mapping[str, Registration], load: Load
    ) -> None:
        self._env = env
        self._scheduler = scheduler
        self._cells = cells
        self._registrations = registrations
        self._load = load

    async def pause(self) -> None:
        """Let no task be claimed, on any node; running ones go on."""
        self._env.check_running()
        await self._env.store.tasks.pause_queue(True, now=self._env.clock.now())

    async def resume(self) -> None:
        """Let tasks be claimed again."""
        self._env.check_running()
        await self._env.store.tasks.pause_queue(False, now=self._env.clock.now())
        self._scheduler.kick()
        self._env.bus.ring("tasks", here=False)

    def status(self) -> dict[str, int | bool | None]:
        """Return how many tasks stand where."""
        tasks = self._env.store.tasks
        counts = tasks.counts()
        return {
            **{f"{name}_count": counts[name] for name in ("pending", "running", "completed", "failed", "cancelled")},
            "queue_paused": tasks.queue(now=self._env.clock.now()).paused,
            "max_size": self._env.limits.max_task_queue_size,
            "ready_count": counts["ready"],
            "blocked_count": counts["blocked"],
        }

    def position(self, task_id: str) -> QueuePosition:
        """Return where a pending task stands. Raises ValueError when it is not pending.

        Ahead of a task for certain agents are only those that these agents may take, too.
        """
        task = self._env.store.tasks.get(task_id)
        takers = [a for a in self._env.store.agents.search() if _takes(a.agent_id, a.capabilities, a.groups, task)]
        position = self._env.store.tasks.position(task_id, now=self._env.clock.now(), targets=_rivals(task, takers))
        reason = position.reason
        if reason == "ready":
            reason = _why_not(takers)
        eta = self._eta(task, position.ahead) if reason == "ready" else None
        return msgspec.structs.replace(position, reason=reason, eta_seconds=eta)

    def _eta(self, task: Task, ahead: int) -> float | None:
        """Return when a lane comes free for the task, if every attempt takes the mean of the last of its target."""
        durations = self._env.store.tasks.durations(target_of(task))
        if not durations:
            return None
        mean = sum(durations) / len(durations)
        now = self._env.clock.now()
        lanes: list[float] = []
        word = target_of(task)
        for registration in self._registrations.values():
            cell = registration.cell
            if cell is None or word not in registration.targets:
                continue
            busy = [(now - (a.task.started_at or now)).total_seconds() for a in cell.attempts.values()]
            lanes += [max(0.0, mean - elapsed) for elapsed in busy]
            lanes += [0.0] * (registration.options.max_concurrent_tasks - len(busy))
        if not lanes:
            return None
        heapq.heapify(lanes)
        for _ in range(ahead):
            heapq.heapreplace(lanes, lanes[0] + mean)
        return lanes[0]

    def capacity(self) -> Capacity:
        """Return what is in use and what is left."""
        limits = self._env.limits
        alive = [r for r in self._cells.alive if r.cell is not None]
        most = limits.max_concurrent_agents
        counts = self._env.store.tasks.counts()
        pending, room = counts["pending"], limits.max_task_queue_size
        used, total = self._load.memory()
        busy = self._load.too_high(self._env.settings.launch_memory_limit, self._env.settings.launch_cpu_limit)
        taken = self._cells.places.taken
        full = most is not None and taken >= most
        return Capacity(
            agents_running=taken,
            agents_queued=self._cells.places.queued,
            agents_limit=most,
            agents_available=None if most is None else max(0, most - taken),
            tasks_pending=pending,
            tasks_limit=room,
            tasks_available=None if room is None else max(0, room - pending),
            slots_busy=sum(len(r.cell.attempts) for r in alive if r.cell is not None),
            slots_total=sum(r.options.max_concurrent_tasks for r in alive),
            memory_used_mb=used,
            memory_total_mb=total,
            cpu_load=self._load.cpu_share,
            can_start_agent=not full and busy is None,
            reason=f"all {most} places are taken" if full else busy,
        )


def _why_not(takers: Sequence[AgentInstance]) -> str:
    if any(agent.status is AgentStatus.RUNNING for agent in takers):
        return "ready"
    return "agent_paused" if any(agent.status is AgentStatus.PAUSED for agent in takers) else "no_agent"


def _rivals(task: Task, takers: Sequence[AgentInstance]) -> list[str] | None:
    """Return the target words of all tasks that the takers of a task may take; None = every word."""
    if not target_of(task) or not takers:
        return None
    words = {"", target_of(task)}
    for agent in takers:
        words.add(f"agent:{agent.agent_id}")
        words.update(f"capability:{word.casefold()}" for word in agent.capabilities)
        words.update(f"group:{group}" for group in agent.groups)
    return sorted(words)


def _takes(agent_id: str, capabilities: tuple[str, ...], groups: tuple[str, ...], task: Task) -> bool:
    if task.agent is not None:
        return task.agent == agent_id
    if task.capability is not None:
        return task.capability in (word.casefold() for word in capabilities)
    return task.group is None or task.group in groups
