"""How busy the machine is, and whether a launch should wait for a quieter moment."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Protocol

__all__ = ["Load", "LoadProbe", "MachineProbe", "QuietProbe"]

WINDOW = 5
"""Means are taken over so many samples, one a second."""


class LoadProbe(Protocol):
    """Measures the machine."""

    def memory(self) -> tuple[float, float]:
        """Return used and total memory in MB, of the control group where that is less."""
        ...

    def cpu(self) -> float:
        """Return the share of all cores in use since the last call, 0 to 1."""
        ...


class MachineProbe:
    """Reads /proc and the control group's limit."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def memory(self) -> tuple[float, float]:
        """Return used and total memory in MB."""
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total = int(fields["MemTotal"].split()[0]) / 1024
        used = total - int(fields["MemAvailable"].split()[0]) / 1024
        group = _group_memory()
        return group if group is not None and group[1] < total else (used, total)

    def cpu(self) -> float:
        """Return the share of all cores in use since the last call."""
        numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        idle, total = float(numbers[3] + numbers[4]), float(sum(numbers))
        last, self._last = self._last, (idle, total)
        if last is None or total <= last[1]:
            return 0.0
        return 1 - (idle - last[0]) / (total - last[1])


class QuietProbe:
    """A machine that is never busy: what virtual time runs on."""

    def memory(self) -> tuple[float, float]:
        """Return nothing used of 1 GB."""
        return 0.0, 1024.0

    def cpu(self) -> float:
        """Return that no core is in use."""
        return 0.0


def _group_memory() -> tuple[float, float] | None:
    for used, limit in (
        ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.max"),
        ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ):
        if os.path.exists(limit):
            text = Path(limit).read_text().strip()
            if text != "max":
                return int(Path(used).read_text()) / 2**20, int(text) / 2**20
    return None


class Load:
    """Means of the last five seconds. ``sample`` is called once a second."""

    def __init__(self, probe: LoadProbe) -> None:
        self._probe = probe
        self._memory: deque[float] = deque(maxlen=WINDOW)
        self._cpu: deque[float] = deque(maxlen=WINDOW)

    def sample(self) -> None:
        """Take one sample."""
        used, total = self._probe.memory()
        self._memory.append(used / total if total else 0.0)
        self._cpu.append(self._probe.cpu())

    def memory(self) -> tuple[float, float]:
        """Return used and total memory in MB, now."""
        return self._probe.memory()

    @property
    def memory_share(self) -> float:
        """Mean share of memory in use."""
        return _mean(self._memory)

    @property
    def cpu_share(self) -> float:
        """Mean share of all cores in use."""
        return _mean(self._cpu)

    def too_high(self, memory_limit: float | None, cpu_limit: float | None) -> str | None:
        """Return what is above its limit, as a sentence, or None."""
        if memory_limit is not None and self.memory_share > memory_limit:
            return f"memory use {self.memory_share:.0%} is above {memory_limit:.0%}"
        if cpu_limit is not None and self.cpu_share > cpu_limit:
            return f"CPU use {self.cpu_share:.0%} is above {cpu_limit:.0%}"
        return None


def _mean(samples: deque[float]) -> float:
    return sum(samples) / len(samples) if samples else 0.0
