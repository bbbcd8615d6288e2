"""What code in a box talks to others with: the functions of ``shoal_guest``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import BoxError

if TYPE_CHECKING:
    from .box import Box

F = TypeVar("F", bound=Callable[..., Any])

BOX_NAME = ""
"""The name of this box."""
_box: Box | None = None


def enter(box: Box) -> None:
    """Let the functions of this module speak for *box*."""
    global BOX_NAME, _box
    BOX_NAME, _box = box.name, box


def _here() -> Box:
    if _box is None:
        raise BoxError("this works in a box only: in functions given to `@box.task` and the like, or in a script of it")
    return _box


def send_message(target: str, data: Any, timeout: float | None = 30.0) -> Any:
    """Ask another box, or ``host``, and return its answer.

    While this thread waits, it handles messages that belong to the same chain of calls. Any thread may send.

    Args:
        target: the name of a box, or ``host``.
        data: JSON: None, bool, int of 64 bits, finite float, str, list, tuple, dict with str keys, at most 128 levels.
        timeout: seconds to wait; None: as long as it takes. Death, stop and circles of waits end the wait all the same.

    Raises:
        BoxNotFoundError, BoxNotRunningError, NoHandlerError, NotAllowedError, SelfSendError: it cannot be asked.
        PayloadError, MessageTooLargeError: *data*, or the answer, cannot be sent.
        MailboxFullError: too many messages wait there.
        RequestFailedError: its handler raised.
        ResponseTimeoutError: no answer within *timeout*.
        DeadAgentError, BoxStoppedError: it ended before it answered.
        DeadlockError, ChainTooDeepError: the wait could never end; too many calls on top of each other.
    """
    return _here().requests.send(target, data, timeout)


async def asend_message(target: str, data: Any, timeout: float | None = 30.0) -> Any:
    """Do as ``send_message``, in a coroutine: other coroutines of the loop go on meanwhile."""
    return await _here().requests.send_async(target, data, timeout)


def publish_event(event: str, data: Any = None) -> int:
    """Tell all who subscribed to *event*; returns how many took it. Raises PayloadError, NotAllowedError."""
    return _here().requests.publish(event, data)


async def apublish_event(event: str, data: Any = None) -> int:
    """Do as ``publish_event``, in a coroutine."""
    return await _here().requests.publish_async(event, data)


def on_message(handler: F) -> F:
    """Have *handler* ``(sender, data)`` answer messages. Of several the first that does not raise answers."""
    _here().handlers.add([handler], [])
    return handler


def on_event(name: str) -> Callable[[F], F]:
    """Have the decorated function ``(data)`` called for the event *name*; ``prefix*`` is any that begins so."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"on_event takes the name of an event, as in @on_event('done'); got {name!r:.80}")

    def register(handler: F) -> F:
        _here().handlers.add([], [(name, handler)])
        return handler

    return register


def run_forever() -> None:
    """Handle messages and events until ``stop()`` is called or the box is stopped. In the main thread only."""
    _here().run_forever()


def stop() -> None:
    """End the loop that handles messages: after the present answer is sent nothing more is taken."""
    _here().stop()


def stopping() -> bool:
    """Tell whether this box is to end: a task that runs long looks at this now and then."""
    return _here().stopping


def log(text: str, level: str = "info", **fields: Any) -> None:
    """Write a line to the log of this box; *fields* are JSON. Raises PayloadError."""
    _here().log(text, level, fields)
