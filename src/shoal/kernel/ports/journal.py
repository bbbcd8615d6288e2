"""The store of steps."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol

import msgspec

from shoal.kernel.ports.tasks import Fence

__all__ = ["Journal", "Step"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded effect: done once, replayed afterwards."""

    key: str
    value: object
    digest: str | None = None
    at: datetime


class Journal(Protocol):
    """Recorded steps, by scope: ``task:ID`` or ``run:ID``."""

    def record(
        self,
        scope: str,
        key: str,
        value: object,
        *,
        now: datetime,
        digest: str | None = None,
        fence: Fence | None = None,
    ) -> Awaitable[None]:
        """Keep a step's result. With a fence, raises LeaseLostError for an old one; sets the task's deaths to 0.

        A key that is recorded already keeps its first value.
        """
        ...

    # readers
    def load(self, scope: str) -> dict[str, Step]:
        """Return all steps of the scope, in order of recording."""
        ...

    def get(self, scope: str, key: str) -> Step | None:
        """Return one step, or None."""
        ...
