"""The store of shared values."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

__all__ = ["KV", "SharedValue"]


class SharedValue(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the shared store. Versions count from 1; ``deleted`` only in what ``watch`` yields."""

    key: str
    value: Any
    version: int
    updated_at: datetime
    updated_by: str | None = None
    deleted: bool = False


class KV(Protocol):
    """Small shared values with versions."""

    def set(
        self,
        key: str,
        value: object,
        *,
        now: datetime,
        by: str | None = None,
        expires_at: datetime | None = None,
        expected: int | None = None,
        node_id: str | None = None,
    ) -> Awaitable[int]:
        """Store a value and return its version. With *expected* raises VersionConflictError unless that is the version.

        *expected* 0 means that the key must not exist. A deleted or expired key starts again at 1. Raises LeaseLostError
        when *node_id*, the writer's, was lost.
        """
        ...

    def delete(
        self, key: str, *, now: datetime, expected: int | None = None, node_id: str | None = None
    ) -> Awaitable[bool]:
        """Remove a key; False when there was none. Raises VersionConflictError and LeaseLostError as ``set``."""
        ...

    # readers
    def get(self, key: str, *, now: datetime) -> SharedValue | None:
        """Return the entry, or None when it is not there or expired."""
        ...

    def keys(self, prefix: str, *, now: datetime) -> Sequence[str]:
        """Return the keys that begin with *prefix*, sorted."""
        ...

    def changes(self, prefix: str, after: int) -> tuple[list[SharedValue], int]:
        """Return the newest of each key changed (or deleted) since change number *after*, and the newest number."""
        ...
