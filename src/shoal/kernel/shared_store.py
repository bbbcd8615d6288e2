"""The shared store, as agents and callers see it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from shoal.errors import VersionConflictError
from shoal.kernel.ports import SharedValue

__all__ = ["SharedStore"]


class SharedStore:
    """Small durable values with versions, shared by all agents and nodes. Values are JSON; versions count from 1."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[str, dict[str, Any]], Any]) -> None:
        self._call = call

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value of *key*, or *default*."""
        entry = await self.get_entry(key)
        return default if entry is None else entry.value

    async def get_entry(self, key: str) -> SharedValue | None:
        """Return the value of *key* with its version, or None."""
        entry: SharedValue | None = await self._call("shared_get", {"key": key})
        return entry

    async def set(self, key: str, value: Any, ttl_seconds: float | None = None) -> int:
        """Store *value* and return its version; it is gone *ttl_seconds* later."""
        version: int = await self._call("shared_set", {"key": key, "value": value, "ttl_seconds": ttl_seconds})
        return version

    async def delete(self, key: str, expected_version: int | None = None) -> bool:
        """Remove *key*; False when it was not there. Raises VersionConflictError."""
        gone: bool = await self._call("shared_delete", {"key": key, "expected_version": expected_version})
        return gone

    async def keys(self, prefix: str = "") -> list[str]:
        """Return the keys that begin with *prefix*, sorted."""
        found: list[str] = await self._call("shared_keys", {"prefix": prefix})
        return found

    async def compare_and_set(self, key: str, value: Any, expected_version: int) -> int:
        """Store *value* if *key* has that version (0: must not exist). Raises VersionConflictError."""
        args = {"key": key, "value": value, "expected_version": expected_version}
        version: int = await self._call("shared_set", args)
        return version

    async def update(self, key: str, fn: Callable[[Any], Any], default: Any = None) -> Any:
        """Store ``fn(value)`` and return it; called again with the newer value when another writer came first."""
        while True:
            entry = await self.get_entry(key)
            value = fn(default if entry is None else entry.value)
            if inspect.isawaitable(value):
                value = await value
            try:
                await self.compare_and_set(key, value, 0 if entry is None else entry.version)
            except VersionConflictError:
                continue
            return value

    async def watch(self, prefix: str = "") -> AsyncIterator[SharedValue]:
        """Yield the newest of each key under *prefix* that changes from now on; a deleted one has ``deleted`` set."""
        _, mark = await self._call("shared_changes", {"prefix": prefix, "after": None})
        while True:
            changes, mark = await self._call("shared_changes", {"prefix": prefix, "after": mark})
            for change in changes:
                yield change
