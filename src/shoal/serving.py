"""How a runtime ends: told to stop, drained, or by a signal."""

from __future__ import annotations

import asyncio
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from shoal.kernel.env import RuntimeStatus
from shoal.kernel.node import Node
from shoal.kernel.settings import Settings

__all__ = ["Leaving", "until_signalled"]

log = logging.getLogger("shoal")

Step = Callable[[], Coroutine[Any, Any, None]]


class Leaving(ABC):
    """The ends of a runtime."""

    settings: Settings
    _status: RuntimeStatus
    _told: asyncio.Event | None = None  # it is to leave: by a signal, or by an order from elsewhere
    _drain_task: asyncio.Task[None] | None = None

    @property
    @abstractmethod
    def _here(self) -> Node:
        """The rooms; raises RuntimeNotStartedError while there are none."""

    @abstractmethod
    def _set(self, status: RuntimeStatus) -> None: ...

    def _hear_of_drains(self, node: Node) -> None:
        """Listen for orders to drain, from now to the end of this life."""
        self._told, self._drain_task = asyncio.Event(), None
        node.draining.told = self._told_to_drain

    def _told_to_drain(self, seconds: float) -> None:
        """Do what another process has ordered; a program that drains in a way of its own hears it in place of this."""
        self._begin_drain(seconds)
        if self._told is not None:
            self._told.set()

    async def stop(self, graceful: bool = True, timeout_seconds: float = 30.0) -> None:
        """Take no more, give what runs *timeout_seconds*, put the rest back in the queue, close. Twice does nothing.

        Returns within *timeout_seconds* + 6 s; with ``graceful=False`` within 2 s; in both cases up to 7 s later when the
        store does not answer. Raises StoreError: it has not heard of all of that; other nodes find this one gone.
        """
        if self._status in (RuntimeStatus.STOPPED, RuntimeStatus.STOPPING):
            return
        node = self._here
        self._set(RuntimeStatus.STOPPING)
        try:
            if graceful:
                await node.stop(timeout_seconds, self.settings.cancel_grace_seconds)
            else:
                await node.stop(0.0, min(0.5, self.settings.cancel_grace_seconds))
        finally:
            self._set(RuntimeStatus.STOPPED)

    async def drain(self, timeout_seconds: float = 30.0) -> None:
        """Leave so that nothing is lost or done twice, and stop: the other nodes go on.

        At once it claims no tasks, begins nothing, and is ``draining`` in the store: its singletons move as they end. Then
        runs end the steps they are at and are handed over, and agents end what they have accepted, services their requests.
        What is not done within *timeout_seconds* goes back in the queue. Paused agents stay paused, with their mail. Who
        calls it again waits for the same end.

        Args:
            timeout_seconds: what all of this may take; it returns at most 12 s later.
        """
        if self._status is RuntimeStatus.RUNNING or self._drain_task is not None:
            await asyncio.shield(self._begin_drain(timeout_seconds))

    def _begin_drain(self, seconds: float) -> asyncio.Task[None]:
        if self._drain_task is None:
            self._drain_task = asyncio.create_task(self._drain(seconds), name="drain")
            self._drain_task.add_done_callback(_told_of)
        return self._drain_task

    async def _drain(self, seconds: float) -> None:
        node = self._here
        clock = node.env.clock
        deadline = clock.monotonic() + seconds
        await node.draining.begin(seconds)
        await node.draining.finish(max(0.0, deadline - clock.monotonic()))
        await self.stop(timeout_seconds=max(0.0, deadline - clock.monotonic()))

    async def serve(self) -> None:
        """Work until SIGINT, SIGTERM or an order to drain comes, then drain; a second signal stops at once."""
        assert self._told is not None, "a runtime that was started"
        await until_signalled(self.drain, self._hurry, self._told)

    async def _hurry(self) -> None:
        """Stop at once, though an end is under way."""
        if self._drain_task is not None:
            self._drain_task.cancel()
            await asyncio.wait([self._drain_task])
        self._set(RuntimeStatus.RUNNING)
        await self.stop(graceful=False)


def _told_of(drain: asyncio.Task[None]) -> None:
    if not drain.cancelled() and (error := drain.exception()) is not None:
        log.error("the drain of this node failed: %s", error, exc_info=error)  # it may be that nobody waits for it


async def until_signalled(stop: Step, hurry: Step, told: asyncio.Event) -> None:
    """Wait for SIGINT, SIGTERM or *told*, then carry out *stop*; at a second signal give that up and carry out *hurry*."""
    loop = asyncio.get_running_loop()
    second = asyncio.Event()

    def heard() -> None:
        (second if told.is_set() else told).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, heard)
    try:
        await told.wait()
        stopping = asyncio.create_task(stop(), name="stop")
        again = asyncio.create_task(second.wait(), name="second signal")
        await asyncio.wait([stopping, again], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait([stopping])
            await hurry()
        again.cancel()
        await asyncio.wait([again])
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
