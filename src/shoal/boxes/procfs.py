"""What the kernel says of processes, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

__all__ = [
    "ProcessStat",
    "Taken",
    "all_stats",
    "descendants",
    "read_stat",
    "session_members",
    "started_at",
    "taken_by",
]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class ProcessStat(msgspec.Struct, frozen=True):
    """One line of /proc/PID/stat. ``started`` is in clock ticks since boot; CPU times are in seconds.

    ``children_cpu`` is what children took that have ended and were waited for.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    started: int
    cpu: float
    children_cpu: float
    memory_mb: float


class Taken(msgspec.Struct):
    """What all processes of one session take together."""

    memory_mb: float = 0.0
    cpu_seconds: float = 0.0


def read_stat(pid: int | str) -> ProcessStat | None:
    """Return what the kernel says of a process, None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            line = file.read(2048)
    except OSError:
        return None
    # The name stands in brackets and may hold anything, brackets too.
    fields = line[line.rfind(b")") + 2 :].split()
    return ProcessStat(
        pid=int(pid),
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        started=int(fields[19]),
        cpu=(int(fields[11]) + int(fields[12])) / _TICKS,
        children_cpu=(int(fields[13]) + int(fields[14])) / _TICKS,
        memory_mb=int(fields[21]) * _PAGE_MB,
    )


def started_at(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 when there is none. Pid and start name it."""
    stat = read_stat(pid)
    return 0 if stat is None else stat.started


def session_members(session: int) -> list[ProcessStat]:
    """Return the processes of a session that are alive."""
    return [stat for stat in all_stats() if stat.session == session and stat.state not in "ZX"]


def all_stats() -> list[ProcessStat]:
    """Return every process that can be seen."""
    stats = (read_stat(name) for name in os.listdir("/proc") if name.isdigit())
    return [stat for stat in stats if stat is not None]


def descendants(root: int, stats: Iterable[ProcessStat]) -> list[ProcessStat]:
    """Return the processes below *root* that are alive, parents before their children."""
    children: dict[int, list[ProcessStat]] = {}
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat)
    found = list(children.get(root, ()))
    for stat in found:
        found += children.get(stat.pid, ())
    return [stat for stat in found if stat.state not in "ZX"]


def taken_by(members: Iterable[ProcessStat]) -> Taken:
    """Return what these processes take together."""
    taken = Taken()
    for stat in members:
        taken.memory_mb += stat.memory_mb
        taken.cpu_seconds += stat.cpu + stat.children_cpu
    return taken
