"""Errors that cross between a runtime and a child: as records on the wire, as exceptions on either side."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal import errors
from shoal.boxes.guest.faults import TRACEBACK_LIMIT, describe_error
from shoal.boxes.wire import ErrorRecord
from shoal.kernel.failure import RemoteError

__all__ = ["program_error", "rebuild_error", "remote_error", "to_record"]


def remote_error(record: ErrorRecord) -> RemoteError:
    """Return what an agent raised in its own process; its class is known by name only, its attributes come as data."""
    error = RemoteError(record.type, record.text, bases=record.bases, traceback_text=record.traceback)
    error.__dict__["error_attributes"] = record.attributes
    return error


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
            attributes=error.__dict__.get("error_attributes", {}),
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
            if not name.startswith("_") and not hasattr(BaseException, name):
                error.__dict__[name] = _frozen(value)
        error.__dict__["traceback_text"] = record.traceback
    else:
        error = remote_error(record)
    error.__dict__["_origin"] = record.origin
    for note in record.notes:
        error.add_note(note[:TRACEBACK_LIMIT])
    return error


def program_error(box: str, record: ErrorRecord) -> errors.BoxProgramError:
    """Return the error of a program that could not be unpacked in its box."""
    error = errors.BoxProgramError(f"the program could not be unpacked in box {box!r}: {record.type}: {record.text}")
    error.__cause__ = rebuild_error(record)
    return error


def _frozen(value: Any) -> Any:
    # Sequences in attributes of errors are tuples.
    return tuple(value) if isinstance(value, list) else value
