"""Errors of capacity, data and leases."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors.root import ShoalError

__all__ = [
    "LeaseLostError",
    "MailboxFullError",
    "MessageTooLargeError",
    "PayloadError",
    "PayloadTooLargeError",
    "QueueFullError",
    "VersionConflictError",
]


_LIMITS = {"tasks": "ResourceLimit.max_task_queue_size", "mailbox": "ResourceLimit.message_queue_max_size"}


class QueueFullError(ShoalError, RuntimeError):
    """The queue holds as many as it may. Nothing was stored."""

    def __init__(self, queue_name: str, max_size: int, text: str = "Task queue at capacity") -> None:
        self.queue_name = queue_name
        self.max_size = max_size
        limit = _LIMITS.get(queue_name, "the limit")
        super().__init__(
            text, note=f"The queue {queue_name!r} holds at most {max_size}; wait for some to end, or raise {limit}."
        )


class MailboxFullError(QueueFullError):
    """The mailbox of each of ``recipients`` is full. The message went to nobody."""

    def __init__(self, recipients: Sequence[str], max_size: int) -> None:
        self.recipients: tuple[str, ...] = tuple(recipients)
        super().__init__("mailbox", max_size, f"Mailbox of {', '.join(map(repr, recipients))} is full ({max_size})")


class PayloadError(ShoalError, ValueError):
    """A value cannot be stored or sent. ``path`` says where in it, for example ``input_data.items[3]``."""

    def __init__(self, text: str, *, path: str = "") -> None:
        self.path = path
        super().__init__(
            text, note="Values are JSON: None, bool, int of 64 bits, finite float, str, list, dict with str keys."
        )


class PayloadTooLargeError(PayloadError):
    """A value is larger than ``limit`` bytes when encoded."""

    def __init__(self, size: int, limit: int, *, path: str = "value") -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"{path} has {size} bytes, the limit is {limit}", path=path)


class MessageTooLargeError(PayloadTooLargeError):
    """A message is larger than ``limit`` bytes when encoded."""


class VersionConflictError(ShoalError, RuntimeError):
    """The key has another version than the writer expected (0 = does not exist)."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        self.key = key
        self.expected = expected
        self.actual = actual
        super().__init__(f"{key!r} has version {actual}, expected {expected}")


class LeaseLostError(ShoalError, RuntimeError):
    """This node's or holder's lease ended, so somebody else may do its work now. Nothing was written."""
