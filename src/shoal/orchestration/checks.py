"""Checks that several patterns share."""

from __future__ import annotations

import math

from shoal.kernel.budget import Budget

__all__ = ["check_common", "check_count", "check_flag", "check_seconds", "check_text"]


def check_common(name: object, budget: object) -> None:
    """Raise unless these are what every pattern has: a name, and a Budget or None."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r:.80}: it must be a text")
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget must be a Budget, not {type(budget).__name__}")


def check_seconds(value: float | None, field: str) -> float | None:
    """Return *value*. Raises ValueError unless it is None or a number of seconds above 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (number and math.isfinite(value) and value > 0):
        raise ValueError(f"{field}={value!r:.80}: it must be seconds above 0, or None")
    return value


def check_count(value: int, field: str, least: int = 1) -> int:
    """Return *value*. Raises ValueError unless it is a whole number from *least*."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{field}={value!r:.80}: it must be a whole number from {least}")
    return value


def check_text(text: object, what: str = "message") -> None:
    """Raise TypeError, ValueError unless *text* is a text that says something."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if not text.strip():
        raise ValueError(f"{what} is empty")


def check_flag(value: object, field: str) -> None:
    """Raise ValueError unless *value* is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{field}={value!r:.80}: it must be True or False")
