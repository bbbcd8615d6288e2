"""What a tool may know of the call that it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["ToolContext"]


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Is filled in where a tool's first parameter is typed so; the model does not see that parameter.

    Attributes:
        key: of this call, the same when it is made again after a crash: what an outside service takes as idempotency key.
        run_id: the run in which it is made.
        agent_name: the agent that makes it.
        user_id: for whom.
        call_id: as the model named the call.
    """

    key: str
    run_id: str
    agent_name: str
    user_id: str
    call_id: str
    flag: Callable[[], bool] = field(default=_never, repr=False, compare=False)

    def cancelled(self) -> bool:
        """Tell whether the time is up, or the caller waits no longer. For code in a thread, which cannot be cancelled."""
        return self.flag()
