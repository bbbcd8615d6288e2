"""The errors that code in a box meets. Names and texts are those of ``shoal.errors``; each is also a RuntimeError."""

from __future__ import annotations

from typing import Any


class BoxError(RuntimeError):
    """Something about a box, or about what it said."""

    def __init__(self, text: str = "", **about: Any) -> None:
        super().__init__(text)
        self.__dict__.update(about)


class AgentNotFoundError(BoxError, ValueError, LookupError):
    """Nobody has this name."""


class BoxNotFoundError(AgentNotFoundError):
    """The runtime has no box of that name."""


class SelfSendError(BoxError):
    """A box cannot ask itself."""


class NotAllowedError(BoxError):
    """The policy lets one box not talk to the other; it does not tell whether that exists."""


class NoHandlerError(BoxError):
    """The box asked handles no messages, so it can never answer."""


class DeadAgentError(ConnectionError, BoxError):
    """The box asked is not there to answer. ``exit_code`` and ``reason`` say how it ended, where that is known."""

    exit_code: int | None = None
    reason: str = ""


class BoxNotRunningError(DeadAgentError):
    """No program runs in the box."""


class BoxStoppedError(DeadAgentError):
    """The box was stopped before it answered."""


class ResponseTimeoutError(TimeoutError, BoxError):
    """No answer came in time; the box asked is alive."""


class RequestFailedError(BoxError):
    """The handler of the box asked raised; the text is its exception's own.

    ``error_type`` names that exception's class, ``error_message`` is its text, ``box`` says whose handler it was.
    """

    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    box: str | None = None


class PayloadError(BoxError, ValueError):
    """A value cannot be sent. ``path`` says where in it, for example ``data['items'][3]``."""

    path: str = ""


class MessageTooLargeError(PayloadError):
    """A message has ``size`` bytes when encoded, more than ``limit``."""

    size: int = 0
    limit: int = 0


class MailboxFullError(BoxError):
    """The mailbox of the box asked is full. The message went to nobody."""

    max_size: int = 0


class DeadlockError(BoxError):
    """The wait could never end: each box of ``cycle`` waits for the next."""

    cycle: tuple[str, ...] = ()


class ChainTooDeepError(BoxError):
    """A chain of calls is longer than 64, or 32 handlers of one box wait on top of each other."""

    limit: int = 64


KNOWN: dict[str, type[BoxError]] = {
    cls.__name__: cls for cls in list(globals().values()) if isinstance(cls, type) and issubclass(cls, BoxError)
}


def rebuild_error(record: dict[str, Any]) -> BoxError:
    """Return the exception that an answer carries. Only data goes into it."""
    name, text = record["type"], record.get("text", "")
    cls = KNOWN.get(name, RequestFailedError)
    error = cls.__new__(cls)
    error.args = (text,)
    traceback = record.get("traceback", "")
    if cls is RequestFailedError:
        error.__dict__.update(error_type=name, error_message=text, traceback=traceback)
    for key, value in record.get("attributes", {}).items():
        if not key.startswith("_") and not hasattr(BaseException, key):
            error.__dict__[key] = tuple(value) if isinstance(value, list) else value
    for note in record.get("notes", ()):
        error.add_note(note)
    return error
