"""Limits that nothing on this machine holds: refused when they were asked for, told otherwise."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.boxes.spec import BoxLimits
from shoal.errors import LimitUnavailableError

__all__ = ["check_limits"]

_DEFAULTS = BoxLimits()


def check_limits(level: str, limits: BoxLimits, held: Mapping[str, str]) -> list[str]:
    """Return a text for each of *limits* that nothing holds, as *held* (a limit to what holds it) tells.

    At level process only for those that were asked for: nobody expects walls of a plain process.

    Raises:
        LimitUnavailableError: one of them was asked for, that is: is not the default, and ``best_effort`` is False.
    """
    loose = [name for name, by in held.items() if by == "none"]
    asked = [name for name in loose if getattr(limits, name) != getattr(_DEFAULTS, name)]
    if asked and not limits.best_effort:
        words = ", ".join(f"{name}={getattr(limits, name):g}" for name in asked)
        raise LimitUnavailableError(
            f"nothing holds {words} at level {level} on this machine",
            note="Leave it out, use another level or control groups that may be written, or say best_effort=True.",
        )
    told = asked if level == "process" else loose
    return [f"nothing holds {name}={getattr(limits, name):g} at level {level} on this machine" for name in told]
