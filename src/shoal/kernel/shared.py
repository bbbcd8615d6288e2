"""The runtime's side of the shared store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shoal.kernel.news import News
from shoal.kernel.payload import checked
from shoal.kernel.ports import SharedValue

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["Shared"]


class Shared:
    """Small durable values with versions; ``changes`` waits for them."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._news = News()

    def get(self, key: str) -> SharedValue | None:
        """Return the entry, or None."""
        _check_key(key)
        return self._env.store.kv.get(key, now=self._env.clock.now())

    def keys(self, prefix: str) -> Sequence[str]:
        """Return the keys that begin with *prefix*."""
        return self._env.store.kv.keys(prefix, now=self._env.clock.now())

    def by(self, who: str) -> Callable[[str, dict[str, Any]], Awaitable[Any]]:
        """Return the way by which a SharedStore of *who* carries out its verbs."""

        async def call(verb: str, args: dict[str, Any]) -> Any:
            self._env.check_running()
            match verb:
                case "shared_get":
                    return self.get(**args)
                case "shared_keys":
                    return self.keys(**args)
                case "shared_set":
                    return await self.set(**args, by=who)
                case "shared_delete":
                    return await self.delete(**args)
                case _:
                    return await self.changes(**args)

        return call

    async def set(
        self,
        key: str,
        value: Any,
        *,
        by: str | None = None,
        ttl_seconds: float | None = None,
        expected_version: int | None = None,
    ) -> int:
        """Store a value and return its version."""
        _check_key(key)
        if ttl_seconds is not None and not ttl_seconds > 0:
            raise ValueError(f"ttl_seconds must be above 0, or None, not {ttl_seconds!r:.80}")
        copy, _ = checked(value, "value", self._env.settings.max_payload_bytes)
        now = self._env.clock.now()
        version = await self._env.store.kv.set(
            key,
            copy,
            now=now,
            by=by,
            expires_at=None if ttl_seconds is None else now + timedelta(seconds=ttl_seconds),
            expected=expected_version,
            node_id=self._env.node_id,
        )
        self._env.bus.ring("shared")
        return version

    async def delete(self, key: str, expected_version: int | None) -> bool:
        """Remove a key; False when there was none."""
        _check_key(key)
        env = self._env
        gone = await env.store.kv.delete(key, now=env.clock.now(), expected=expected_version, node_id=env.node_id)
        self._env.bus.ring("shared")
        return gone

    async def changes(self, prefix: str, after: int | None) -> tuple[list[SharedValue], int]:
        """Return what changed since change number *after*, waiting for it; None = the newest number, at once."""
        kv = self._env.store.kv
        if after is None:
            return [], kv.changes(prefix, -1)[1]
        while True:
            with self._news.expected() as news:
                changes, mark = kv.changes(prefix, after)
                if changes:
                    return changes, mark
                await news

    def wake(self) -> None:
        """Let the waiting look again: a bell rang, or the poll is due."""
        self._news.wake()

    def close(self, why: Callable[[], Exception]) -> None:
        """End the waiting with an error that *why* makes."""
        self._news.close(why)


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not 0 < len(key) <= 500:
        raise ValueError(f"a key must be text of 1 to 500 characters, not {key!r:.80}")
