"""Holding children to their limits of memory, CPU time and CPU share.

Memory is resident memory of all processes of the child together. A control group holds it, and the CPU share, where one
can be made; all limits are sampled as well, because a group neither warns nor knows CPU time, and its count leaves out
what the child had before it joined. Without a group the CPU share is held by stopping and continuing the process group.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import msgspec

from shoal.boxes.cgroups import Group, Home, find_homes, group_prefix, sweep
from shoal.boxes.launch import Walls
from shoal.boxes.procfs import Taken, all_stats, taken_by
from shoal.errors import ResourceLimitExceededError
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.ports import Clock, Timer

__all__ = ["LimitKeeper", "LimitWarning", "Limited"]

SAMPLE_SECONDS = 0.25
DUTY_SECONDS = 0.1
WARN_AT = 0.8
_NOISE = 0.001  # seconds below what clock ticks can tell


class LimitWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A child took 80 % of a limit. ``resource_type``: memory_mb or cpu_seconds."""

    agent_id: str
    resource_type: str
    current: float
    limit: float


class Limited:
    """One child that is held to limits."""

    def __init__(
        self,
        walls: Walls,
        limits: ResourceLimit,
        group: Group,
        on_warning: Callable[[str, float, float], None],
    ) -> None:
        self.walls = walls
        self.group = group
        self.error: ResourceLimitExceededError | None = None
        self._limits = limits
        self._on_warning = on_warning
        self._warned: set[str] = set()
        self._percent = None if "cpu" in group.held else limits.max_cpu_percent_per_agent
        self._budget = 0.0  # CPU seconds that it may still take before it is stopped
        self._seen_cpu: float | None = None
        self._stopped = False
        self.frozen = False

    def _signal(self, number: int) -> None:
        if number == signal.SIGKILL:
            self.walls.kill()
        else:
            self.walls.signal(number)

    @property
    def on_duty(self) -> bool:
        """Whether its CPU share is held by stopping and continuing."""
        return self._percent is not None

    def sampled(self, taken: Taken, seconds: float) -> None:
        """Judge what it takes now, *seconds* after the sample before."""
        limits = self._limits
        if self.error is None and self.verdict() is not None:
            self._signal(signal.SIGKILL)  # the kernel killed one of its processes; it dies whole
        self._judge("memory_mb", taken.memory_mb, limits.max_memory_per_agent_mb)
        self._judge("cpu_seconds", taken.cpu_seconds, limits.max_cpu_time_per_agent_seconds)
        if self._percent is not None and self.error is None and not self.frozen:
            self._share(taken.cpu_seconds, seconds, self._percent)

    def _judge(self, resource_type: str, current: float, limit: float | None) -> None:
        if limit is None or self.error is not None:
            return
        if current > limit:
            self.error = ResourceLimitExceededError(resource_type, round(current, 2), limit)
            self._signal(signal.SIGKILL)
        elif current >= WARN_AT * limit and resource_type not in self._warned:
            self._warned.add(resource_type)
            self._on_warning(resource_type, round(current, 2), limit)

    def _share(self, cpu: float, seconds: float, percent: float) -> None:
        allowed = seconds * percent / 100
        used = cpu - self._seen_cpu if self._seen_cpu is not None else allowed
        self._seen_cpu = cpu
        # What was not used is kept for one turn only; what was used too much is paid back in full.
        self._budget = min(self._budget + allowed, allowed) - used
        stop = self._budget < -_NOISE
        if stop != self._stopped:
            self._stopped = stop
            self._signal(signal.SIGSTOP if stop else signal.SIGCONT)

    def thaw(self) -> None:
        """Continue after a freeze; the share's own stop ends with it."""
        self.frozen = False
        self.walls.thaw()
        if self._stopped:
            self._stopped = False
            self._signal(signal.SIGCONT)

    def verdict(self) -> ResourceLimitExceededError | None:
        """Return the limit that it was killed for, whoever did it, or None."""
        peak = self.group.out_of_memory()
        limit = self._limits.max_memory_per_agent_mb
        if self.error is None and peak is not None and limit is not None:
            self.error = ResourceLimitExceededError("memory_mb", round(peak, 2), limit)
        return self.error


class LimitKeeper:
    """Samples all limited children in one pass, and keeps nothing running while there are none."""

    def __init__(self, clock: Clock, homes: dict[str, Home] | None = None) -> None:
        """Make groups below *homes* (default: where this machine allows it, found when first needed)."""
        self._clock = clock
        self._homes = homes
        self._children: set[Limited] = set()
        self._leftover: list[Group] = []
        self._timer: Timer | None = None
        self._last = 0.0

    def hold(self, walls: Walls, limits: ResourceLimit, on_warning: Callable[[str, float, float], None]) -> Limited:
        """Begin to hold a started child; ``on_warning(resource_type, current, limit)`` is called once for each at 80 %.

        A box has joined its own groups before it began; a plain process joins groups that are made now.
        """
        group = self._group(walls, limits) if walls.holding is None else walls.holding.group
        child = Limited(walls, limits, group, on_warning)
        self._children.add(child)
        if self._timer is None:
            self._last = self._clock.monotonic()
            self._schedule()
        return child

    def _group(self, walls: Walls, limits: ResourceLimit) -> Group:
        if self._homes is None:
            self._homes = find_homes()
            sweep(self._homes)
        assert walls.pid is not None, "a child is held once it is started"
        group = Group.create(
            self._homes,
            f"{group_prefix()}-{walls.pid}",
            memory_mb=limits.max_memory_per_agent_mb,
            cpu_percent=limits.max_cpu_percent_per_agent,
        )
        group.add(walls.pid)
        return group

    def let_go(self, child: Limited) -> None:
        """Stop holding a child that has ended, and remove its groups; a box removes its own."""
        self._children.discard(child)
        if child.walls.holding is None and not child.group.remove():
            self._leftover.append(child.group)  # a process in it is still dying: the next sample tries again

    def close(self) -> None:
        """Stop sampling and remove what groups are left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sweep()

    def _schedule(self) -> None:
        duty = any(child.on_duty for child in self._children)
        self._timer = self._clock.call_later(DUTY_SECONDS if duty else SAMPLE_SECONDS, self._sample)

    def _sample(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        seconds, self._last = now - self._last, now
        try:
            stats = all_stats()
            for child in list(self._children):
                child.sampled(taken_by(child.walls.members(stats)), seconds)
            self._sweep()
        finally:
            if self._children or self._leftover:
                self._schedule()

    def _sweep(self) -> None:
        self._leftover = [group for group in self._leftover if not group.remove()]
