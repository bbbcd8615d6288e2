"""Control groups for children, version 1 or 2, always below the runtime's own group. Where they are not ours to write,
``Group.create`` gives a group that holds nothing, and sampling does the work."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from shoal.boxes.procfs import started_at

__all__ = ["Group", "Home", "find_homes", "group_prefix", "sweep"]

_PERIOD_US = 100_000
_MARK = "shoal"


class Home(msgspec.Struct, frozen=True):
    """Where child groups of one controller can be made: the runtime's own group, and the version."""

    path: Path
    version: int


def find_homes(proc: Path = Path("/proc/self"), controllers: tuple[str, ...] = ("memory", "cpu")) -> dict[str, Home]:
    """Return, by controller, the runtime's own group where it may have children."""
    homes = {}
    with contextlib.suppress(OSError):
        own = dict(_own_groups((proc / "cgroup").read_text()))
        for line in (proc / "mountinfo").read_text().splitlines():
            home = _home(line, own, controllers)
            homes.update({name: place for name, place in home.items() if name not in homes})
    return homes


def group_prefix() -> str:
    """Return how this process names its groups: by its pid and start, so that others can tell whether it lives."""
    return f"{_MARK}-{os.getpid()}-{started_at(os.getpid())}"


def sweep(homes: dict[str, Home]) -> None:
    """Remove groups that processes left which are gone; what is still in use stays."""
    for home in homes.values():
        for path in home.path.glob(f"{_MARK}-*-*-*"):
            _, pid, started, *_ = path.name.split("-")
            if pid.isdigit() and str(started_at(int(pid))) != started:
                _remove(path)


def _own_groups(text: str) -> list[tuple[str, str]]:
    """Return (controller, path) pairs; version 2 has the empty controller."""
    pairs = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        pairs += [(name, path) for name in controllers.split(",")]
    return pairs


def _home(line: str, own: dict[str, str], controllers: tuple[str, ...]) -> dict[str, Home]:
    before, _, after = line.partition(" - ")
    fields, (kind, _, options) = before.split(), after.split()[:3]
    root, mount = fields[3], Path(fields[4])
    if kind == "cgroup2" and "" in own:
        path = mount / os.path.relpath(own[""], root)
        return {name: Home(path, 2) for name in controllers if _delegated(path, name)}
    if kind == "cgroup":
        named = set(options.split(","))
        found = {name: mount / os.path.relpath(own[name], root) for name in controllers if name in named & own.keys()}
        return {name: Home(path, 1) for name, path in found.items() if os.access(path, os.W_OK)}
    return {}


def _delegated(path: Path, controller: str) -> bool:
    """Tell whether children of a version 2 group can be limited; a group with processes of its own as a rule cannot."""
    try:
        active = (path / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False
    return controller in active and os.access(path, os.W_OK)


class Group:
    """The groups of one child, one for each controller that is held. Empty when the machine gives none."""

    def __init__(self, places: dict[str, Home]) -> None:
        self._places = places

    @classmethod
    def create(
        cls, homes: dict[str, Home], name: str, *, memory_mb: float | None = None, cpu_percent: float | None = None
    ) -> Group:
        """Make a group *name* for each limit that can be held here; the others stay with sampling."""
        places: dict[str, Home] = {}
        group = cls(places)
        wanted = {"memory": memory_mb, "cpu": cpu_percent}
        for controller, home in homes.items():
            value = wanted.get(controller)
            if value is None:
                continue
            place = Home(home.path / name, home.version)
            try:
                place.path.mkdir(exist_ok=True)
                for file, text in _settings(controller, home.version, value).items():
                    (place.path / file).write_text(text)
            except OSError:
                _remove(place.path)
            else:
                places[controller] = place
        return group

    @property
    def held(self) -> frozenset[str]:
        """Which limits it holds: memory, cpu."""
        return frozenset(self._places)

    def add(self, pid: int) -> None:
        """Move a process in; a group that will not have it is given up."""
        for controller, place in list(self._places.items()):
            try:
                (place.path / "cgroup.procs").write_text(str(pid))
            except OSError:
                _remove(place.path)
                del self._places[controller]

    def out_of_memory(self) -> float | None:
        """Return the highest use in MB if the kernel has killed in it for memory, else None."""
        place = self._places.get("memory")
        if place is None:
            return None
        events, peak = (
            ("memory.oom_control", "memory.max_usage_in_bytes")
            if place.version == 1
            else ("memory.events", "memory.peak")
        )
        try:
            counts = dict(line.split() for line in (place.path / events).read_text().splitlines())
            used = int((place.path / peak).read_text())
        except (OSError, ValueError):
            return None
        return used / (1 << 20) if int(counts.get("oom_kill", 0)) else None

    def remove(self) -> bool:
        """Remove it; False when a process is still in it."""
        for controller, place in list(self._places.items()):
            if _remove(place.path):
                del self._places[controller]
        return not self._places


def _settings(controller: str, version: int, value: float) -> dict[str, str]:
    if controller == "memory":
        size = str(int(value * (1 << 20)))
        return {"memory.limit_in_bytes": size} if version == 1 else {"memory.max": size, "memory.swap.max": "0"}
    quota = str(max(1000, int(value / 100 * _PERIOD_US)))
    if version == 1:
        return {"cpu.cfs_period_us": str(_PERIOD_US), "cpu.cfs_quota_us": quota}
    return {"cpu.max": f"{quota} {_PERIOD_US}"}


def _remove(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
