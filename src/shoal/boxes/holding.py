"""What holds a box to its limits, and what it takes."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from shoal.boxes.cgroups import BOX, Group, Home, find_homes, sweep
from shoal.boxes.procfs import ProcessStat, all_stats
from shoal.boxes.spec import BoxLimits
from shoal.boxes.state import note_groups
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock, Timer

if TYPE_CHECKING:
    from shoal.boxes.launch import Walls

__all__ = ["BoxUsage", "BoxWatch", "Holding", "box_homes"]

_MIB = 1 << 20
_CONTROLLERS = ("memory", "cpu", "pids", "freezer", "cpuacct")
_TOOLS = ("freezer", "cpuacct")
_SAMPLE_SECONDS = 1.0
_LEAVING = 0.005  # seconds between two looks at a group whose processes are dying
_LOOKS = 200
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'


class BoxUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What all processes of a box take: resident memory now and at most, CPU seconds so far, how many they are."""

    memory_bytes: int
    memory_peak_bytes: int
    cpu_s: float
    pids: int


@functools.cache
def box_homes() -> dict[str, Home]:
    """Return where groups of boxes can be made, and remove what dead processes left there."""
    homes = find_homes(controllers=_CONTROLLERS)
    sweep(homes)
    return homes


class Holding:
    """The groups of one box. ``held`` maps each limit to what holds it: cgroup1, cgroup2, sampling, rlimit, tmpfs, none."""

    def __init__(
        self,
        box_id: str,
        limits: BoxLimits,
        *,
        extra_pids: int = 0,
        others: Mapping[str, str] | None = None,
        homes: dict[str, Home] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make its groups, as far as this machine lets us.

        Args:
            box_id: as in ``LaunchOrder``.
            limits: what it may take.
            extra_pids: how many processes keep its walls up, which do not count as its own.
            others: what holds the limits that no group holds here.
            homes: where to make groups; None: wherever this machine allows it.
            clock: time.
        """
        owner, _, number = box_id.rpartition("-")
        self.box_id = box_id
        self.limits = limits
        self._clock = clock or RealClock()
        self._peak = 0
        self._killed = False  # for its memory
        self._crowded = False
        self.group = Group.create(
            box_homes() if homes is None else homes,
            f"shoal-{owner}-{BOX}-{number}",
            memory_mb=limits.memory_mib,
            cpu_percent=None if limits.cpus is None else limits.cpus * 100,
            pids=limits.pids + extra_pids,
            tools=_TOOLS,
        )
        if self.group.doors:
            try:
                note_groups(box_id, [os.path.dirname(door) for door in self.group.doors])
            except BaseException:
                self.group.remove()
                raise
        self.held = self._held({"memory_mib": "sampling", "pids": "none", "tmp_mib": "none", **(others or {})})

    def _held(self, others: dict[str, str]) -> dict[str, str]:
        held = {**others, "open_files": "rlimit"}
        if self.limits.cpus is not None:
            held["cpus"] = "none"
        for name, controller in (("memory_mib", "memory"), ("cpus", "cpu"), ("pids", "pids")):
            version = self.group.version(controller)
            if name in held and version is not None:
                held[name] = f"cgroup{version}"
        return held

    @property
    def sampled(self) -> bool:
        """Whether a limit of it is held by looking at its processes now and then."""
        return "sampling" in self.held.values()

    def joined(self, command: tuple[str, ...], channel: int = 0) -> tuple[str, ...]:
        """Return *command*, which first joins the groups: nothing that it does is outside.

        A *channel* other than 0 is the descriptor (3 to 9) that gets what comes as fd 0.
        """
        if not self.group.doors and not channel:
            return command
        moved = f" {channel}<&0 0</dev/null" if channel else ""
        return ("/bin/sh", "-c", _JOIN + moved, "sh", *self.group.doors, "--", *command)

    def usage(self, members: Iterable[ProcessStat]) -> BoxUsage:
        """Return what it takes; *members* are its processes, for what no group counts."""
        members = list(members)
        cpu = self.group.number(("cpuacct", 1, "cpuacct.usage"))
        micros = self.group.number(*((name, 2, "cpu.stat:usage_usec") for name in ("memory", "pids", "freezer")))
        if cpu is not None:
            seconds = cpu / 1e9
        elif micros is not None:
            seconds = micros / 1e6
        else:
            seconds = sum(stat.cpu + stat.children_cpu for stat in members)
        memory = int(sum(stat.memory_mb for stat in members) * _MIB)
        self._peak = max(self._peak, memory)
        highest = self.group.number(("memory", 1, "memory.max_usage_in_bytes"), ("memory", 2, "memory.peak"))
        return BoxUsage(
            memory_bytes=memory,
            memory_peak_bytes=max(self._peak, highest or 0),
            cpu_s=round(seconds, 6),
            pids=len(members),
        )

    def too_much(self, members: Iterable[ProcessStat]) -> bool:
        """Tell whether it has to be killed: over a limit that is sampled, or the kernel has killed in it for memory."""
        members = list(members)
        used = sum(stat.memory_mb for stat in members)
        self._peak = max(self._peak, int(used * _MIB))
        if self.held["memory_mib"] == "sampling" and used > self.limits.memory_mib:
            self._killed = True
        if self.held["pids"] == "sampling" and len(members) > self.limits.pids:
            self._crowded = True
        return self.verdict() is not None

    def verdict(self) -> str | None:
        """Return the limit for which it was killed, as in "memory limit 256 MiB", or None."""
        if not self._killed and self.group.out_of_memory() is not None:
            self._killed = True
        if self._killed:
            return f"memory limit {self.limits.memory_mib:g} MiB"
        return f"limit of {self.limits.pids} processes" if self._crowded else None

    async def remove(self) -> None:
        """Kill what is left in the groups and remove them."""
        self.verdict()  # nobody can ask the groups later
        self.group.kill()
        for _ in range(_LOOKS):
            if self.group.remove():
                return
            await self._clock.sleep(_LEAVING)


class BoxWatch:
    """Looks at all boxes once a second, and kills those over a limit. Does nothing while there are none."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._boxes: dict[Walls, Holding] = {}
        self._timer: Timer | None = None

    def add(self, walls: Walls) -> None:
        """Watch a box, if anything holds it to limits."""
        if walls.holding is None:
            return
        self._boxes[walls] = walls.holding
        if self._timer is None:
            self._timer = self._clock.call_later(_SAMPLE_SECONDS, self._look)

    def discard(self, walls: Walls) -> None:
        """Watch it no more."""
        self._boxes.pop(walls, None)
        if not self._boxes:
            self.close()

    def close(self) -> None:
        """Watch nothing more."""
        self._boxes.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._clock.call_later(_SAMPLE_SECONDS, self._look)
        stats = all_stats() if any(holding.sampled for holding in self._boxes.values()) else []
        for walls, holding in list(self._boxes.items()):
            if holding.too_much(walls.members(stats) if holding.sampled else ()):
                walls.kill()
