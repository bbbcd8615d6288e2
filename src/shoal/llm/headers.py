"""The one header of our own."""

from __future__ import annotations

import hashlib

__all__ = ["idempotency_key"]

LONGEST = 255


def idempotency_key(key: str) -> str:
    """Return the value of ``Idempotency-Key``: the step's key, the same for every attempt of the step.

    So a provider that keeps such keys can tell a second attempt from a second call, and makes the work once. What is
    no printable ASCII, or too long for a header, is sent as its SHA-256.
    """
    if key.isascii() and key.isprintable() and len(key) <= LONGEST and key.strip() == key:
        return key
    return f"sha256-{hashlib.sha256(key.encode()).hexdigest()}"
