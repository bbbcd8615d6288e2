"""Control groups for children, version 1 or 2, always below the runtime's own group. Where they are not ours to write,
``Group.create`` gives a group that holds nothing, and sampling does the work."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable
from pathlib import Path

import msgspec

from shoal.boxes.procfs import started_at

__all__ = ["BOX", "Group", "Home", "find_homes", "group_prefix", "remove_groups", "sweep"]

BOX = "box"
"""The word after the prefix in the names of groups whose processes end with their runtime."""
_PERIOD_US = 100_000
_MARK = "shoal"
_KILL_ROUNDS = 100
_DEATH_MS = 1000
_NEVER_DELEGATED = ("cpuacct",)  # version 2 counts in every group


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
    """Remove groups that processes left which are gone. What runs in the group of a box is killed, others stay in use."""
    of_boxes = []
    for home in homes.values():
        for path in home.path.glob(f"{_MARK}-*-*-*"):
            _, pid, started, *rest = path.name.split("-")
            if pid.isdigit() and str(started_at(int(pid))) != started:
                if rest[0] == BOX:
                    of_boxes.append(str(path))
                else:
                    _remove(path)
    remove_groups(of_boxes)


def remove_groups(paths: Iterable[str]) -> None:
    """Kill what is left in groups of boxes whose runtime is gone, wait until it is dead, and remove them."""
    found = {
        place: Group({"freezer": Home(place, 2 if (place / "cgroup.freeze").exists() else 1)})
        for place in map(Path, paths)
    }
    groups = [group for group in found.values() if not group.foreign]
    dying = {pid for group in groups for pid in group.processes()}
    for group in groups:
        group.kill()
    _await_deaths(dying)
    for place in found:
        _remove(place)


def _await_deaths(pids: Iterable[int]) -> None:
    with contextlib.ExitStack() as opened:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                fd = os.pidfd_open(pid)
                opened.callback(os.close, fd)
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                poller.poll(_DEATH_MS)


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
    if controller == "freezer":  # in version 2 every group can be frozen
        return os.access(path / "cgroup.procs", os.W_OK)
    if controller in _NEVER_DELEGATED:
        return False
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
        cls,
        homes: dict[str, Home],
        name: str,
        *,
        memory_mb: float | None = None,
        cpu_percent: float | None = None,
        pids: int | None = None,
        tools: tuple[str, ...] = (),
    ) -> Group:
        """Make a group *name* for each limit that can be held here, the others stay with sampling; and for *tools*,
        controllers that limit nothing (freezer, cpuacct)."""
        places: dict[str, Home] = {}
        group = cls(places)
        wanted = {"memory": memory_mb, "cpu": cpu_percent, "pids": pids, **dict.fromkeys(tools, 0)}
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
        """Which controllers it has: memory, cpu, pids, freezer, cpuacct."""
        return frozenset(self._places)

    def version(self, controller: str) -> int | None:
        """Return 1 or 2, None when it has no such controller."""
        place = self._places.get(controller)
        return None if place is None else place.version

    @property
    def doors(self) -> tuple[str, ...]:
        """The files that a process writes its number into to join."""
        return tuple(dict.fromkeys(str(place.path / "cgroup.procs") for place in self._places.values()))

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

    def processes(self) -> list[int]:
        """Return the processes in it."""
        for place in self._places.values():
            with contextlib.suppress(OSError):
                # Who is in another process namespace is shown as 0, and 0 is this process's own group to a signal.
                return [pid for line in (place.path / "cgroup.procs").read_text().split() if (pid := int(line))]
        return []

    @property
    def foreign(self) -> bool:
        """Whether processes of another process namespace are in it: nobody here can tell whether their runtime lives."""
        for place in self._places.values():
            with contextlib.suppress(OSError):
                return "0" in (place.path / "cgroup.procs").read_text().split()
        return False

    def freeze(self, still: bool) -> bool:
        """Let everything in it stand still, or go on; False when it cannot."""
        place = self._places.get("freezer")
        if place is None:
            return False
        file, words = ("freezer.state", ("THAWED", "FROZEN")) if place.version == 1 else ("cgroup.freeze", ("0", "1"))
        try:
            (place.path / file).write_text(words[still])
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End every process in it, frozen or not."""
        for place in self._places.values():
            if place.version == 2:
                with contextlib.suppress(OSError):  # older than Linux 5.14
                    (place.path / "cgroup.kill").write_text("1")
        for _ in range(_KILL_ROUNDS):  # who forks meanwhile is found in the next round
            left = self.processes()
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                break
            self.freeze(False)  # version 1: a frozen process does not even die

    def number(self, *candidates: tuple[str, int, str]) -> int | None:
        """Return the first number there is of (controller, version, file): where a file has words, ``file:word``."""
        for controller, version, file in candidates:
            place = self._places.get(controller)
            if place is None or place.version != version:
                continue
            name, _, word = file.partition(":")
            try:
                text = (place.path / name).read_text()
                return int(dict(line.split() for line in text.splitlines())[word] if word else text)
            except (OSError, ValueError, KeyError):
                continue
        return None

    def remove(self) -> bool:
        """Remove it; False when a process is still in it."""
        for controller, place in list(self._places.items()):
            if _remove(place.path):
                del self._places[controller]
        return not self._places


def _settings(controller: str, version: int, value: float) -> dict[str, str]:
    if controller in ("freezer", "cpuacct"):
        return {}
    if controller == "pids":
        return {"pids.max": str(int(value))}
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
