"""Errors as data: how an error crosses to another node and comes back as the same class."""

from __future__ import annotations

from typing import Any

import msgspec

import shoal.errors as errors
from shoal.errors import GroupError, RequestFailedError, ShoalError

__all__ = ["Fault", "error_of", "fault_of"]

_CLASSES: dict[str, type[ShoalError]] = {
    name: kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, ShoalError)
}
_TEXT_LIMIT = 20_000
_PLAIN = (str, int, float, bool, type(None))


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """An error on the wire. ``failures`` are those of a GroupError, by agent."""

    type: str
    text: str
    attributes: dict[str, Any] = {}
    failures: dict[str, Fault] = {}


def fault_of(error: BaseException) -> Fault:
    """Return *error* as data. What is no error of Shoal becomes a RequestFailedError that names it."""
    name = type(error).__name__
    if _CLASSES.get(name) is not type(error):
        text = str(error)[:_TEXT_LIMIT]
        failed = RequestFailedError(f"{name}: {text}", error_type=name, error_message=text)
        return Fault("RequestFailedError", str(failed), vars(failed))
    failures = error.failures if isinstance(error, GroupError) else {}
    attributes = {key: value for key, value in vars(error).items() if _travels(value)}
    return Fault(
        name,
        str(error)[:_TEXT_LIMIT],
        attributes,
        {agent: fault_of(failure) for agent, failure in failures.items()},
    )


def error_of(fault: Fault) -> ShoalError:
    """Return the error that *fault* tells of; a class that is not known here becomes a RequestFailedError."""
    kind = _CLASSES.get(fault.type)
    if kind is None:
        return RequestFailedError(f"{fault.type}: {fault.text}", error_type=fault.type, error_message=fault.text)
    error = kind.__new__(kind)
    error.args = (fault.text,)
    for key, value in fault.attributes.items():
        # The errors of Shoal keep sequences as tuples; only Python's own list of notes is a list.
        vars(error)[key] = tuple(value) if isinstance(value, list) and key != "__notes__" else value
    if isinstance(error, GroupError):
        error.failures = {agent: error_of(failure) for agent, failure in fault.failures.items()}
    return error


def _travels(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, _PLAIN) for each in value)
    return isinstance(value, _PLAIN)
