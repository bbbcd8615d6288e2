"""What a box answers to its host: ``ExecResult``, ``BoxStats``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

__all__ = ["BoxStats", "ExecResult"]


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a command in a box ended. Output that is no UTF-8 has backslash escapes; ``truncated``: there was more of it."""

    exit_code: int
    stdout: str
    stderr: str
    duration_ms: float
    truncated: bool = False


class BoxStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a box is doing and has taken.

    ``cpu_s`` and ``uptime_s`` are seconds, ``memory_bytes`` is resident memory of all its processes. ``mailbox`` counts what
    waits to be handed over, ``in_flight`` its own open requests. ``rtt_ms``: the last ping. ``limits`` says what holds each
    limit: cgroup1, cgroup2, sampling, rlimit, vm, none. Level ``process`` protects nobody from hostile code.
    """

    state: str
    isolation: str
    pid: int | None
    incarnation: int
    uptime_s: float
    cpu_s: float
    memory_bytes: int
    memory_peak_bytes: int
    pids: int
    sent: int
    received: int
    events_out: int
    events_in: int
    late_replies: int
    dropped_events: int
    mailbox: int
    in_flight: int
    last_seen: datetime | None
    rtt_ms: float | None
    limits: Mapping[str, str]
