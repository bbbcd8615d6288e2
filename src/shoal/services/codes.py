"""The words by which a request, a control action or the registry says what went wrong. Services may use their own, too."""

from __future__ import annotations

__all__ = [
    "AGENT_DIED",
    "AGENT_EXISTS",
    "ALL",
    "BULKHEAD_FULL",
    "CANCELLED",
    "CHAIN_TOO_DEEP",
    "CIRCUIT_OPEN",
    "DEADLOCK",
    "DRAINING",
    "EXECUTION_ERROR",
    "INVALID_ACTION",
    "INVALID_FORMAT",
    "INVALID_OPERATION",
    "MAILBOX_FULL",
    "MISSING_FIELD",
    "NOT_A_SERVER",
    "NOT_FOUND",
    "NO_WORKERS",
    "POOL_FULL",
    "RATE_LIMITED",
    "REGISTRY_UNAVAILABLE",
    "SERVICE_ERROR",
    "TIMEOUT",
    "TOO_LARGE",
    "TYPE_NOT_ALLOWED",
    "UNAUTHORIZED",
    "VALIDATION_ERROR",
    "WORKER_ERROR",
]

AGENT_DIED = "AGENT_DIED"
"""Who was asked died before it answered."""
AGENT_EXISTS = "AGENT_EXISTS"
"""A service of this exclusive name is alive."""
BULKHEAD_FULL = "BULKHEAD_FULL"
"""As many requests as allowed run and wait; nothing was sent."""
CANCELLED = "CANCELLED"
"""The request was given up before it was done."""
CHAIN_TOO_DEEP = "CHAIN_TOO_DEEP"
"""A chain of requests is too long."""
CIRCUIT_OPEN = "CIRCUIT_OPEN"
"""Too many requests failed there; nothing was sent."""
DEADLOCK = "DEADLOCK"
"""The wait could never end: a circle of agents waits for each other."""
DRAINING = "DRAINING"
"""The service finishes what it has and takes nothing new."""
EXECUTION_ERROR = "EXECUTION_ERROR"
"""The service's own code failed."""
INVALID_ACTION = "INVALID_ACTION"
"""There is no such control action."""
INVALID_FORMAT = "INVALID_FORMAT"
"""What came is no request."""
INVALID_OPERATION = "INVALID_OPERATION"
"""The service does not know this operation."""
MAILBOX_FULL = "MAILBOX_FULL"
"""As many requests wait there as may."""
MISSING_FIELD = "MISSING_FIELD"
"""The request lacks something."""
NOT_A_SERVER = "NOT_A_SERVER"
"""Who was asked answers no requests."""
NOT_FOUND = "NOT_FOUND"
"""Nobody has this address."""
NO_WORKERS = "NO_WORKERS"
"""Nobody is there for this work."""
POOL_FULL = "POOL_FULL"
"""The pool runs and keeps as many as it may."""
RATE_LIMITED = "RATE_LIMITED"
"""Too many requests from there in this second."""
REGISTRY_UNAVAILABLE = "REGISTRY_UNAVAILABLE"
"""The directory could not be asked."""
SERVICE_ERROR = "SERVICE_ERROR"
"""The service says no, for a reason of its own."""
TIMEOUT = "TIMEOUT"
"""No answer came in time."""
TOO_LARGE = "TOO_LARGE"
"""The request or its answer is larger than a message may be."""
TYPE_NOT_ALLOWED = "TYPE_NOT_ALLOWED"
"""A service of type server asks nobody."""
UNAUTHORIZED = "UNAUTHORIZED"
"""Who asks may not."""
VALIDATION_ERROR = "VALIDATION_ERROR"
"""The request does not fit the service's schema; the details list every violation."""
WORKER_ERROR = "WORKER_ERROR"
"""The worker to which the request was forwarded gave no good answer."""

ALL: frozenset[str] = frozenset(__all__) - {"ALL"}
"""All of them."""
