"""Events: facts that happened. Each is written in the transaction of its fact, and only there."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

__all__ = ["SEVERITY", "Event", "EventFilter", "EventType", "Fact", "Severity"]


class Severity(StrEnum):
    """How much a reader should care."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventType(StrEnum):
    """What happened."""

    AGENT_REGISTERED = "agent_registered"
    AGENT_UNREGISTERED = "agent_unregistered"
    AGENT_QUEUED = "agent_queued"
    AGENT_STARTED = "agent_started"
    AGENT_PAUSED = "agent_paused"
    AGENT_RESUMED = "agent_resumed"
    AGENT_STOPPED = "agent_stopped"
    AGENT_FAILED = "agent_failed"
    AGENT_RESTARTED = "agent_restarted"
    AGENT_HOOK_FAILED = "agent_hook_failed"
    AGENT_ERROR_THRESHOLD = "agent_error_threshold"
    AGENT_CHECKPOINTED = "agent_checkpointed"
    TASK_ENQUEUED = "task_enqueued"
    TASK_ASSIGNED = "task_assigned"
    TASK_STARTED = "task_started"
    TASK_PROGRESS = "task_progress"
    TASK_CHECKPOINTED = "task_checkpointed"
    TASK_COMPLETED = "task_completed"
    TASK_FAILED = "task_failed"
    TASK_CANCELLED = "task_cancelled"
    TASK_TIMEOUT = "task_timeout"
    TASK_RETRYING = "task_retrying"
    TASK_INTERRUPTED = "task_interrupted"
    TASK_UNROUTABLE = "task_unroutable"
    QUEUE_FULL = "queue_full"
    QUEUE_PAUSED = "queue_paused"
    QUEUE_RESUMED = "queue_resumed"
    MESSAGE_SENT = "message_sent"
    MESSAGE_RECEIVED = "message_received"
    MESSAGE_EXPIRED = "message_expired"
    MESSAGE_REJECTED = "message_rejected"
    MESSAGE_DEAD_LETTERED = "message_dead_lettered"
    GROUP_CHANGED = "group_changed"
    RESOURCE_LIMIT_WARNING = "resource_limit_warning"
    RESOURCE_LIMIT_EXCEEDED = "resource_limit_exceeded"
    LAUNCH_DELAYED = "launch_delayed"
    LOOP_BLOCKED = "loop_blocked"
    DEADLOCK_DETECTED = "deadlock_detected"
    RUNTIME_STARTED = "runtime_started"
    RUNTIME_STOPPED = "runtime_stopped"
    NODE_DRAINING = "node_draining"
    NODE_LOST = "node_lost"
    LEASE_LOST = "lease_lost"
    ORPHAN_KILLED = "orphan_killed"
    RUN_STARTED = "run_started"
    RUN_FINISHED = "run_finished"
    APPROVAL_ASKED = "approval_asked"
    APPROVAL_GIVEN = "approval_given"
    BUDGET_EXHAUSTED = "budget_exhausted"
    LOOP_DETECTED = "loop_detected"
    SERVICE_JOINED = "service_joined"
    SERVICE_CHANGED = "service_changed"
    SERVICE_LEFT = "service_left"


_ERRORS = {
    EventType.AGENT_FAILED,
    EventType.AGENT_HOOK_FAILED,
    EventType.AGENT_ERROR_THRESHOLD,
    EventType.TASK_FAILED,
    EventType.TASK_TIMEOUT,
    EventType.RESOURCE_LIMIT_EXCEEDED,
    EventType.DEADLOCK_DETECTED,
    EventType.NODE_LOST,
    EventType.LEASE_LOST,
}
_WARNINGS = {
    EventType.AGENT_RESTARTED,
    EventType.TASK_RETRYING,
    EventType.TASK_INTERRUPTED,
    EventType.TASK_UNROUTABLE,
    EventType.QUEUE_FULL,
    EventType.MESSAGE_EXPIRED,
    EventType.MESSAGE_REJECTED,
    EventType.MESSAGE_DEAD_LETTERED,
    EventType.RESOURCE_LIMIT_WARNING,
    EventType.LAUNCH_DELAYED,
    EventType.LOOP_BLOCKED,
    EventType.ORPHAN_KILLED,
    EventType.BUDGET_EXHAUSTED,
    EventType.LOOP_DETECTED,
}

SEVERITY: dict[str, Severity] = {
    str(kind): Severity.ERROR if kind in _ERRORS else Severity.WARNING if kind in _WARNINGS else Severity.INFO
    for kind in EventType
}
"""The severity of each event type; one that is not listed is info."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One fact. ``event_id`` rises strictly in the order of commits, over restarts and nodes."""

    event_id: int
    timestamp: datetime
    event_type: str
    severity: Severity
    agent_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    node_id: str | None = None
    details: dict[str, object] = {}


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """An event before the store gave it an id and a time: what a verb or a caller says has happened."""

    event_type: str
    agent_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    node_id: str | None = None
    details: dict[str, object] = {}


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a reader wants; every field that is set must match."""

    event_type: str | None = None
    agent_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    node_id: str | None = None
    severity: Severity | None = None
    min_severity: Severity | None = None
    since: datetime | None = None
    until: datetime | None = None
    after_id: int | None = None
    oldest_first: bool = False
