"""What boxes send, as the host sees it: JSON that it checks and does not decode."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.errors import PayloadError

__all__ = ["MAX_DEPTH", "check_raw", "decoded"]

MAX_DEPTH = 128


def check_raw(data: msgspec.Raw) -> None:
    """Raise PayloadError for what is not UTF-8, or is nested deeper than 128 levels."""
    text = bytes(data)
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise PayloadError(f"data is not UTF-8: {error}", path="data") from None
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise PayloadError(f"data is nested deeper than {MAX_DEPTH} levels", path="data")


def decoded(data: msgspec.Raw) -> Any:
    """Return the value of what a box sent. Raises PayloadError, also for numbers of thousands of digits."""
    check_raw(data)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise PayloadError(f"data cannot be read: {error}", path="data") from None


def _depth(text: bytes) -> int:
    """Return how deep JSON is nested: brackets outside of strings."""
    deepest = depth = 0
    # A string ends at a quote that no backslash precedes: pairs of backslashes and escaped quotes are taken out first.
    for place, piece in enumerate(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')):
        if place % 2:
            continue
        for letter in piece:
            if letter in b"[{":
                depth += 1
                deepest = max(deepest, depth)
            elif letter in b"]}":
                depth -= 1
    return deepest
