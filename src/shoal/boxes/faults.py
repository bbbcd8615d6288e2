"""Errors that cross between a runtime and a child: as records on the wire, as exceptions on either side."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal import errors
from shoal.boxes.guest.faults import TRACEBACK_LIMIT, describe_error
from shoal.boxes.wire import ErrorRecord

__all__ = ["RemoteError", "rebuild_error", "to_record"]


class RemoteError(errors.ShoalError):
    """What an agent raised in its own process. Its class is known by name only.

    ``error_type`` is that name, ``error_bases`` the names of the class and all its bases, ``traceback_text`` the end of
    the traceback in the process, ``error_attributes`` what else it carried.
    """

    def __init__(self, record: ErrorRecord) -> None:
        self.error_type = record.type
        self.error_bases = record.bases or (record.type,)
        self.traceback_text = record.traceback
        self.error_attributes = record.attributes
        super().__init__(record.text)


def to_record(error: BaseException, origin: str | None = None) -> ErrorRecord:
    """Return *error* as a record; one that crossed before keeps its first class, traceback and origin."""
    record = msgspec.convert(describe_error(error), ErrorRecord)
    origin = getattr(error, "_origin", origin)
    if isinstance(error, RemoteError):
        return msgspec.structs.replace(
            record,
            type=error.error_type,
            bases=error.error_bases,
            traceback=error.traceback_text,
            attributes=error.error_attributes,
            origin=origin,
        )
    return msgspec.structs.replace(record, origin=origin) if origin else record


def rebuild_error(record: ErrorRecord) -> Exception:
    """Return the exception of *record*: a class of ``shoal.errors`` by its name, with its attributes, else RemoteError.

    Only data goes into it; nothing that came over the wire is called.
    """
    cls = getattr(errors, record.type, None)
    error: Exception
    if isinstance(cls, type) and issubclass(cls, errors.ShoalError):
        error = cls.__new__(cls)
        error.args = (record.text,)
        for name, value in record.attributes.items():
            if not name.startswith("_"):
                error.__dict__[name] = _frozen(value)
        error.__dict__["traceback_text"] = record.traceback
    else:
        error = RemoteError(record)
    error.__dict__["_origin"] = record.origin
    for note in record.notes:
        error.add_note(note[:TRACEBACK_LIMIT])
    return error


def _frozen(value: Any) -> Any:
    # Sequences in attributes of errors are tuples.
    return tuple(value) if isinstance(value, list) else value
