"""Changing a part of a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["merged"]


def merged(value: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return *value* with *changes* in it: objects merge, all else (lists too) replaces, None removes.

    The rules of JSON Merge Patch (RFC 7396). Neither argument is changed.
    """
    result = dict(value) if isinstance(value, Mapping) else {}
    for key, change in changes.items():
        if change is None:
            result.pop(key, None)
        elif isinstance(change, Mapping):
            result[key] = merged(result.get(key), change)
        else:
            result[key] = change
    return result
