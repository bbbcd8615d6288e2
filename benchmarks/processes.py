"""What this process and all that it started take, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.common import proportional_kb

_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 1, 11, 12, 13, 14  # after "pid (name) "


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def descendants() -> list[int]:
    """Return the pids of all that this process started, and of what these started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_fields(int(entry.name))[_PARENT])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found: list[int] = []
    front = {os.getpid()}
    while front:
        front = {pid for pid, parent in parents.items() if parent in front}
        found += front
    return found


def memory_kb(pid: int) -> float:
    """Return its proportional memory in KB, 0 when it has ended."""
    try:
        return proportional_kb(pid)
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return 0.0


def cpu_seconds() -> float:
    """Return what this process and its descendants have used of processors, in seconds."""
    total = 0
    for pid in [os.getpid(), *descendants()]:
        try:
            fields = _fields(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(fields[place]) for place in (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM))
    return total / _TICKS
