"""One invocation that is under way: what it is, and what it waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Invocation

if TYPE_CHECKING:
    from shoal.kernel.attempt import Attempt
    from shoal.kernel.cell import Cell

__all__ = ["Entry"]


class Entry:
    """An invocation of a cell, from its start to its end or its abandonment."""

    __slots__ = (
        "asyncio_task",
        "attempt",
        "cell",
        "invocation",
        "message",
        "stopping",
        "stored",
        "waits_for",
        "waits_for_task",
    )

    def __init__(self, cell: Cell, invocation: Invocation, attempt: Attempt | None) -> None:
        self.cell = cell
        self.invocation = invocation
        self.attempt = attempt
        self.message: AgentMessage | None = None  # what it handles
        self.asyncio_task: asyncio.Task[Any] | None = None
        self.stopping = False
        self.stored = False  # a pause has brought its message to the disk, where it is until the handler ends
        self.waits_for: AgentMessage | None = None  # the request whose answer it waits for
        self.waits_for_task: str | None = None
