"""What runs in a child. Importing any of it needs the standard library only.

In a box this directory is the module ``shoal_guest``, also named ``boxlite_runtime``: what programs talk to others with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import (
        AgentNotFoundError,
        BoxError,
        BoxNotFoundError,
        BoxNotRunningError,
        BoxStoppedError,
        ChainTooDeepError,
        DeadAgentError,
        DeadlockError,
        MailboxFullError,
        MessageTooLargeError,
        NoHandlerError,
        NotAllowedError,
        PayloadError,
        RequestFailedError,
        ResponseTimeoutError,
        SelfSendError,
    )
    from .sdk import (
        BOX_NAME,
        apublish_event,
        asend_message,
        log,
        on_event,
        on_message,
        publish_event,
        run_forever,
        send_message,
        stop,
        stopping,
    )

__all__ = [
    "AgentNotFoundError",
    "BOX_NAME",
    "BoxError",
    "BoxNotFoundError",
    "BoxNotRunningError",
    "BoxStoppedError",
    "ChainTooDeepError",
    "DeadAgentError",
    "DeadlockError",
    "MailboxFullError",
    "MessageTooLargeError",
    "NoHandlerError",
    "NotAllowedError",
    "PayloadError",
    "RequestFailedError",
    "ResponseTimeoutError",
    "SelfSendError",
    "apublish_event",
    "asend_message",
    "log",
    "on_event",
    "on_message",
    "publish_event",
    "run_forever",
    "send_message",
    "stop",
    "stopping",
]


def __getattr__(name: str) -> Any:
    # Looked up when asked for: whoever only needs the frames imports nothing else.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.endswith("Error"):
        from . import errors

        return getattr(errors, name)
    from . import sdk

    return getattr(sdk, name)
