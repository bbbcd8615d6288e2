"""Errors as data, so that they can cross from one process to another without pickling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["TRACEBACK_LIMIT", "clean", "describe_error"]

TRACEBACK_LIMIT = 8 * 1024


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return *error* as JSON data: type, text, the end of its traceback, the names of its bases, attributes, notes."""
    import traceback

    try:
        text = str(error)
    except Exception as raised:  # noqa: BLE001 - an error whose text cannot be made is still an error to report
        text = f"<its text could not be made: {type(raised).__name__}>"
    return {
        "type": type(error).__name__,
        "text": clean(text)[:TRACEBACK_LIMIT],
        "traceback": clean("".join(traceback.format_exception(error)))[-TRACEBACK_LIMIT:],
        "bases": [cls.__name__ for cls in type(error).__mro__ if cls not in (object, BaseException)],
        "attributes": _attributes(vars(error)) if hasattr(error, "__dict__") else {},
        "notes": [clean(str(note)) for note in getattr(error, "__notes__", ())],
    }


def clean(text: str) -> str:
    """Return *text* with escapes for what is not Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        if name.startswith("_"):
            continue
        try:
            raw = json.dumps(value, allow_nan=False, ensure_ascii=False, default=_plain)
        except (TypeError, ValueError, RecursionError):
            raw = json.dumps(clean(repr(value)[:200]))
        if len(raw) <= TRACEBACK_LIMIT:
            kept[name] = json.loads(raw.encode("utf-8", "replace"))
    return kept


def _plain(value: Any) -> str:
    return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else repr(value)[:200]
