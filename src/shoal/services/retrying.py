"""Whether a request that got no good answer is sent to another instance: a decision on facts, without state."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.errors import RequestError
from shoal.services import codes
from shoal.services.breaker import FAILURES, verdict

__all__ = ["ELSEWHERE", "Outcome", "may_retry", "wellness"]

ELSEWHERE = frozenset(
    {
        codes.AGENT_DIED,
        codes.BULKHEAD_FULL,
        codes.CANCELLED,
        codes.CIRCUIT_OPEN,
        codes.DRAINING,
        codes.MAILBOX_FULL,
        codes.NOT_FOUND,
        codes.POOL_FULL,
        codes.RATE_LIMITED,
        codes.TIMEOUT,
    }
)
"""What another instance may do better. What the request itself is to blame for, no other one will."""


_OF_OTHERS = FAILURES - {codes.EXECUTION_ERROR}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt at one instance ended.

    Attributes:
        data: the answer, when there is one.
        error: why there is none.
        own: the error is the answer of the agent asked.
        began: the agent may have begun with the request.
    """

    data: dict[str, Any] | None = None
    error: RequestError | None = None
    own: bool = False
    began: bool = False


def may_retry(outcome: Outcome, *, idempotent: bool, attempt: int, retries: int) -> bool:
    """Tell whether the request may be sent to another instance.

    An agent's own error is its answer, unless it says ``retryable``. What surely did not run may always run elsewhere;
    what may have run only when running it twice does no harm.

    Args:
        outcome: how the attempt ended.
        idempotent: running it twice does no harm.
        attempt: which attempt it was, from 1.
        retries: so many more attempts than one there may be.
    """
    error = outcome.error
    if error is None or attempt > retries:
        return False
    if outcome.own:
        return error.retryable
    return error.code in ELSEWHERE and (idempotent or not outcome.began)


def wellness(outcome: Outcome) -> bool | None:
    """Return what an attempt says of the instance asked, for its circuit breaker (``breaker.verdict``).

    What the agent itself has not answered says something only when it is a failure. The death or the lateness of another
    one, which the agent tells in its answer, is not its own.
    """
    error = outcome.error
    if error is not None and not outcome.own and error.code not in FAILURES:
        return None
    if error is not None and outcome.own and error.code in _OF_OTHERS:
        return True
    return verdict(error)
