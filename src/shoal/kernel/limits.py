"""Resource limits: what agents and queues may take. None means no limit."""

from __future__ import annotations

import math

import msgspec

from shoal.errors import ConfigError

__all__ = ["Capacity", "ResourceLimit", "check_limits"]


class ResourceLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a runtime, or of one agent.

    Memory is resident memory in MB (1 MB is 1 MiB), times are seconds, ``max_cpu_percent_per_agent`` is percent of one
    core. A memory or CPU limit makes the agent a process, because only a process can be held to one.
    ``max_task_queue_size`` counts pending tasks only.
    """

    limit_id: str = "00000000-0000-0000-0000-000000000000"
    name: str = "default"
    max_concurrent_agents: int | None = 10
    max_memory_per_agent_mb: float | None = None
    max_cpu_time_per_agent_seconds: float | None = None
    max_cpu_percent_per_agent: float | None = None
    max_task_queue_size: int | None = 1000
    message_queue_max_size: int | None = 1000
    task_timeout_seconds: float | None = 3600
    error_threshold: int | None = None

    def needs_process(self) -> bool:
        """Tell whether only a process can be held to these."""
        return (
            self.max_memory_per_agent_mb is not None
            or self.max_cpu_time_per_agent_seconds is not None
            or self.max_cpu_percent_per_agent is not None
        )

    def validate(self) -> None:
        """Raise ConfigError naming every field that is not None or above zero."""
        faults = []
        for field in self.__struct_fields__[2:]:
            value = getattr(self, field)
            good = value is None or (
                isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
            )
            if not good:
                faults.append(f"resource_limits.{field} must be above 0 or None, not {value!r:.80}")
        if faults:
            raise ConfigError(faults)


def check_limits(limits: object) -> None:
    """Raise ConfigError unless *limits* is None or a ResourceLimit whose fields are good."""
    if isinstance(limits, ResourceLimit):
        limits.validate()
    elif limits is not None:
        raise ConfigError(f"resource_limits must be a ResourceLimit, not {type(limits).__name__}")


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What is in use and what is left, now. Memory in MB; ``cpu_load`` 0 to 1 of all cores."""

    agents_running: int
    agents_queued: int
    agents_limit: int | None
    agents_available: int | None
    tasks_pending: int
    tasks_limit: int | None
    tasks_available: int | None
    slots_busy: int
    slots_total: int
    memory_used_mb: float
    memory_total_mb: float
    cpu_load: float
    can_start_agent: bool
    reason: str | None = None
