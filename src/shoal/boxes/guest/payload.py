"""What may be sent: JSON of at most 128 levels that comes back equal, tuples as lists."""

from __future__ import annotations

import json
import math
from typing import Any

from .errors import MessageTooLargeError, PayloadError

MAX_DEPTH = 128
_LEAST, _MOST = -(2**63), 2**64 - 1
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode


def encode(value: object, where: str, limit: int) -> bytes:
    """Return *value* as JSON.

    Args:
        value: what is to be sent.
        where: its name in error texts, for example ``data``.
        limit: the most bytes it may have.

    Raises:
        PayloadError: something in it is not JSON; ``path`` and the text say where.
        MessageTooLargeError: it has more than *limit* bytes.
    """
    if not _is_plain(value, MAX_DEPTH):
        # Either something is wrong, and now it is said where, or it is only of a class of the user's own.
        _find_fault(value, where, MAX_DEPTH)
    raw = _encode(value).encode()
    if len(raw) > limit:
        raise MessageTooLargeError(
            f"{where} has {len(raw)} bytes, the limit is {limit}", path=where, size=len(raw), limit=limit
        )
    return raw


def check_text(text: object, where: str) -> str:
    """Return *text* when it is a str that can be sent. Raises TypeError, PayloadError."""
    if not isinstance(text, str):
        raise TypeError(f"{where} is a str, not {type(text).__name__}")
    _find_fault(text, where, MAX_DEPTH)
    return text


def _is_plain(value: Any, levels: int) -> bool:
    kind = type(value)
    if kind is str:
        return bool(value.isascii()) or _is_utf8(value)
    if kind is int:
        return bool(_LEAST <= value <= _MOST)
    if value is None or kind is bool:
        return True
    if kind is float:
        return bool(value - value == 0.0)  # neither infinite nor NaN
    if levels == 0:
        return False
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not (key.isascii() or _is_utf8(key)) or not _is_plain(item, levels - 1):
                return False
        return True
    if kind is list or kind is tuple:
        return all(_is_plain(item, levels - 1) for item in value)
    return False


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _find_fault(value: object, path: str, levels: int) -> None:
    """Raise PayloadError for the first thing in *value* that cannot be sent."""
    match value:
        case None | bool():
            return
        case str():
            if not _is_utf8(value):
                raise _fault(path, "text with a lone surrogate is not JSON")
        case int():
            if not _LEAST <= value <= _MOST:
                raise _fault(path, "an integer beyond 64 bits")
        case float():
            if not math.isfinite(value):
                raise _fault(path, f"{value} is not a finite number")
        case list() | tuple() | dict() if levels == 0:
            raise _fault(path[:200], f"nested deeper than {MAX_DEPTH} levels, or contains itself")
        case list() | tuple():
            for place, item in enumerate(value):
                _find_fault(item, f"{path}[{place}]", levels - 1)
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise _fault(path, f"the key {key!r:.80} is not text")
                _find_fault(key, f"{path} (a key)", levels - 1)
                _find_fault(item, f"{path}[{key!r:.80}]", levels - 1)
        case _:
            raise _fault(path, f"{type(value).__name__} is not JSON")


def _fault(path: str, text: str) -> PayloadError:
    return PayloadError(f"{path}: {text}", path=path)
