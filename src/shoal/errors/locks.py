"""Errors of locks."""

from __future__ import annotations

from shoal.errors.root import ShoalError

__all__ = ["LockError", "LockNotOwnedError", "LockTimeoutError"]


class LockError(ShoalError):
    """Something about one lock. ``namespace`` and ``key`` name it."""

    def __init__(self, text: str, *, namespace: str = "", key: str = "", note: str | None = None) -> None:
        self.namespace = namespace
        self.key = key
        super().__init__(text, note=note)


class LockTimeoutError(LockError, TimeoutError):
    """The lock was not free within ``timeout`` seconds. ``holder`` says who had it then."""

    def __init__(self, namespace: str, key: str, timeout: float, holder: str) -> None:
        self.timeout = timeout
        self.holder = holder
        super().__init__(
            f"{namespace}:{key[:200]} not free after {timeout:g} s, held by {holder}",
            namespace=namespace,
            key=key,
            note="Wait longer (timeout=), or look what the holder does: a lock whose holder died is free when its"
            " lease has ended.",
        )


class LockNotOwnedError(LockError, RuntimeError):
    """Who releases the lock, or asks for its token, does not hold it. The holder, if there is one, keeps it."""

    def __init__(self, namespace: str, key: str, owner: str, holder: str) -> None:
        super().__init__(
            f"{namespace}:{key[:200]} is held by {holder}, not by {owner}",
            namespace=namespace,
            key=key,
            note="A lock belongs to the asyncio task, or the thread, that took it: release it there.",
        )
