"""Seconds as people write them."""

from __future__ import annotations

__all__ = ["delay_text", "duration_text", "limit_text", "timeout_text"]

_MINUTE, _HOUR = 60, 3600


def duration_text(seconds: float) -> str:
    """Return *seconds* as ``2.3s`` below a minute, ``15m`` or ``5m 30s`` below an hour, then ``2h 10m``.

    What rounds up to a minute or an hour is one: 59.96 is ``1m``.
    """
    tenths = round(seconds * 10)
    if tenths < _MINUTE * 10:
        return f"{tenths / 10:g}s"
    whole = round(seconds)
    if whole < _HOUR:
        return _joined([(whole // _MINUTE, "m"), (whole % _MINUTE, "s")])
    minutes = round(seconds / _MINUTE)
    return _joined([(minutes // 60, "h"), (minutes % 60, "m")])


def limit_text(seconds: float) -> str:
    """Return a time limit in full: ``30min``, ``1min 30s``, ``2h``, ``0.5s``."""
    if seconds < _MINUTE or seconds != int(seconds):
        return f"{seconds:g}s"
    minutes, rest = divmod(int(seconds), _MINUTE)
    return _joined([(minutes // 60, "h"), (minutes % 60, "min"), (rest, "s")])


def timeout_text(seconds: float) -> str:
    """Return why an agent that did not answer within *seconds* was given up: ``Timeout (agent took >30min)``."""
    return f"Timeout (agent took >{limit_text(seconds)})"


def delay_text(seconds: float) -> str:
    """Return a delay in words: ``5 minutes``, ``1 hour 1 minute``, ``1 minute 30 seconds``, ``2.5 seconds``."""
    tenths = round(seconds * 10)
    if tenths < _MINUTE * 10:
        return _counted(tenths / 10, "second")
    minutes, rest = divmod(round(seconds), _MINUTE)
    parts = [(minutes // 60, "hour"), (minutes % 60, "minute"), (rest, "second")]
    return " ".join(_counted(count, word) for count, word in parts if count)


def _joined(parts: list[tuple[int, str]]) -> str:
    return " ".join(f"{count}{unit}" for count, unit in parts if count)


def _counted(count: float, word: str) -> str:
    return f"{count:g} {word}" if count == 1 else f"{count:g} {word}s"
