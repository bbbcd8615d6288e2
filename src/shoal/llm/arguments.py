"""What is checked of arguments before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from shoal.kernel.payload import checked

__all__ = ["amount", "json_object", "text"]


def text(value: object, name: str, *, least: int = 1, most: int | None = 500) -> str:
    """Return *value* if it is text of *least* to *most* characters (None: any number) that can be stored."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}")
    if len(value) < least or (most is not None and len(value) > most):
        raise ValueError(f"{name} must have {least} to {most} characters, not {len(value)}")
    checked(value, name)
    return value


def amount(value: object, name: str) -> int:
    """Return *value* if it is a whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if not 0 <= value < 2**62:
        raise ValueError(f"{name} must be from 0, not {value}")
    return value


def json_object(value: object, name: str) -> dict[str, Any]:
    """Return *value* as it will be read again, if it is a dict of JSON values."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict, not {type(value).__name__}")
    return cast("dict[str, Any]", checked(dict(value), name)[0])
