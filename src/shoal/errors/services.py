"""Errors of services: requests that were not answered as hoped, and what keeps a service from serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.errors.agents import AgentNotFoundError, DeadAgentError
from shoal.errors.data import PayloadError, QueueFullError
from shoal.errors.messages import ChainTooDeepError, DeadlockError, MessageError, ResponseTimeoutError
from shoal.errors.root import ShoalError
from shoal.errors.setup import ConfigError

__all__ = [
    "AgentDied",
    "AlreadyAnsweredError",
    "BadPayload",
    "ChainTooDeep",
    "CircuitOpen",
    "Deadlock",
    "InfoError",
    "NotFound",
    "PoolFullError",
    "RegistryUnavailableError",
    "RequestError",
    "RequestTimeout",
    "ValidationFailed",
]


class InfoError(ConfigError):
    """What a service says of itself cannot be. ``faults`` names every fault; the service is not started."""


class AlreadyAnsweredError(MessageError, RuntimeError):
    """The request has its answer; the second one was not sent."""

    def __init__(self, text: str = "The request is answered; a second answer is not sent") -> None:
        super().__init__(text, note="Call send_response or send_error once, and return None afterwards.")


class PoolFullError(QueueFullError):
    """The pool runs and keeps as many as it may. The work was not taken."""

    def __init__(self, queue_name: str, max_size: int) -> None:
        super().__init__(queue_name, max_size, f"Pool {queue_name!r} at capacity")


class RegistryUnavailableError(ShoalError, ConnectionError):
    """The directory could not be asked. ``attempts`` tells how often it was tried."""

    def __init__(self, text: str = "The registry cannot be reached", *, attempts: int = 1) -> None:
        self.attempts = attempts
        super().__init__(text, note="Nothing was registered or changed; what is running goes on with what it knows.")


class RequestError(MessageError):
    """A request got no good answer. Raised by a service, it is the answer.

    Args:
        code: one of ``shoal.services.codes``, or the service's own word.
        message: for people.
        details: a JSON value for programs.
        retryable: the same request may be sent again, also to another instance.
    """

    def __init__(self, code: str, message: str = "", details: Any = None, retryable: bool = False) -> None:
        self.code = code
        self.message = message
        self.details = details
        self.retryable = retryable
        # Its subclasses are agents' errors, too, whose constructors take other arguments.
        ShoalError.__init__(self, f"{code}: {message}" if message else code)


class RequestTimeout(RequestError, ResponseTimeoutError):
    """TIMEOUT: no answer came in time; the agent asked is alive."""

    def __init__(self, message: str = "", details: Any = None, retryable: bool = False) -> None:
        super().__init__("TIMEOUT", message, details, retryable)


class AgentDied(RequestError, DeadAgentError):
    """AGENT_DIED: who was asked died before it answered.

    ``details`` may have reason, exit_code, began (false: it surely had not), agent_id and name: attributes, too.
    """

    def __init__(self, message: str = "", details: Any = None, retryable: bool = False) -> None:
        known = _known(details)
        self.reason = str(known.get("reason", "died"))
        self.exit_code = known.get("exit_code")
        self.began = known.get("began") is not False
        self.agent_id = known.get("agent_id")
        self.name = known.get("name")
        super().__init__("AGENT_DIED", message, details, retryable)


class NotFound(RequestError, AgentNotFoundError):
    """NOT_FOUND: nobody has this address. ``details`` may have name and agent_id, which are attributes, too."""

    def __init__(self, message: str = "", details: Any = None, retryable: bool = False) -> None:
        known = _known(details)
        self.agent_id = known.get("agent_id")
        self.name = known.get("name")
        super().__init__("NOT_FOUND", message, details, retryable)


class Deadlock(RequestError, DeadlockError):
    """DEADLOCK: each agent of ``cycle`` (in ``details``) waits for the next."""

    def __init__(self, message: str = "", details: Any = None, retryable: bool = False) -> None:
        cycle = _known(details).get("cycle")
        self.cycle = tuple(map(str, cycle)) if isinstance(cycle, (list, tuple)) else ()
        super().__init__("DEADLOCK", message, details, retryable)


class ChainTooDeep(RequestError, ChainTooDeepError):
    """CHAIN_TOO_DEEP: a chain of requests is longer than ``limit`` (in ``details``)."""

    def __init__(self, message: str = "", details: Any = None, retryable: bool = False) -> None:
        limit = _known(details).get("limit")
        self.limit = limit if isinstance(limit, int) else 64
        super().__init__("CHAIN_TOO_DEEP", message, details, retryable)


class BadPayload(RequestError, PayloadError):
    """INVALID_FORMAT or TOO_LARGE: the payload cannot be sent, so it was not. ``path`` (in ``details``) says where."""

    def __init__(self, code: str, message: str = "", details: Any = None, retryable: bool = False) -> None:
        self.path = str(_known(details).get("path", ""))
        super().__init__(code, message, details, retryable)


class CircuitOpen(RequestError):
    """CIRCUIT_OPEN: too many requests failed there; nothing was sent."""

    def __init__(self, message: str = "", details: Any = None, retryable: bool = False) -> None:
        super().__init__("CIRCUIT_OPEN", message, details, retryable)


class ValidationFailed(RequestError, ValueError):
    """VALIDATION_ERROR: ``details`` lists every violation of the schema as ``{"path": ..., "message": ...}``."""

    def __init__(
        self, message: str = "", details: Sequence[Mapping[str, str]] | None = None, retryable: bool = False
    ) -> None:
        violations = [dict(violation) for violation in details or ()]
        super().__init__("VALIDATION_ERROR", message, violations, retryable)


def _known(details: Any) -> Mapping[str, Any]:
    return details if isinstance(details, Mapping) else {}
