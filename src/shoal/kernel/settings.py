"""The settings of one runtime. ``shoal.config`` loads and checks them; the kernel only reads them."""

from __future__ import annotations

import msgspec

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a runtime behaves. Durations are seconds, sizes MB (1 MB is 1 MiB).

    durability: ``full`` (fsync of each group of commits) or ``normal`` (a power cut may lose the last moments; a crash
        of the program does not).
    auto_recover: False lets tasks that a crash interrupted end as failed.
    enable_metrics: histograms, and samples per agent.
    log_level: level of the loggers under ``shoal``, where the program has set none.
    lease_seconds: how long a node that fell silent is still believed to be alive.
    poll_seconds: what a lost wake-up costs at most.
    starvation_after_seconds: a ready task that waits longer gets every tenth claim.
    launch_memory_limit, launch_cpu_limit: share of the machine in use (0 to 1) above which launches wait; None = never.
    launch_gate: ``process`` (launches with a process of their own) or ``all``.
    launch_max_delay_seconds: how long a launch waits for a quieter machine.
    cancel_grace_seconds: what cancelled work has to clean up.
    hook_timeout_seconds: what a hook may take (on_stop 5).
    message_ttl_seconds: how long a message waits in a mailbox.
    max_payload_mb: the largest input, output, state or message, encoded.
    message_events: ``durable``, ``all`` or ``off``: which messages leave events.
    max_interruptions, max_agent_deaths: losses in a row without a new step or checkpoint after which a task fails.
    retention_days: finished tasks, events and dead letters are removed after that; None = never.
    threads: how many threads synchronous code may use.
    warm_processes: spare processes kept ready, from the first process agent on.
    """

    durability: str = "full"
    auto_recover: bool = True
    enable_metrics: bool = False
    log_level: str = "INFO"
    lease_seconds: float = 10
    poll_seconds: float = 1
    starvation_after_seconds: float = 300
    launch_memory_limit: float | None = 0.9
    launch_cpu_limit: float | None = None
    launch_gate: str = "process"
    launch_max_delay_seconds: float = 30
    cancel_grace_seconds: float = 5
    hook_timeout_seconds: float = 30
    message_ttl_seconds: float = 60
    max_payload_mb: float = 10
    message_events: str = "durable"
    max_interruptions: int = 25
    max_agent_deaths: int = 3
    retention_days: float | None = 30
    threads: int = 32
    warm_processes: int = 1

    @property
    def max_payload_bytes(self) -> int:
        """The largest payload in bytes."""
        return int(self.max_payload_mb * 1024 * 1024)
