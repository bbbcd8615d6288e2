"""The handle on a run: its result, its news, its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Generic, TypeVar

from shoal.kernel.bounded import end
from shoal.kernel.liverun import LiveRun
from shoal.kernel.ports import Clock
from shoal.kernel.run import RunEvent, RunRecord, RunStatus
from shoal.kernel.usage import Usage

__all__ = ["RunHandle"]

R = TypeVar("R")

Past = Callable[[str, int], AsyncIterator[RunEvent]]
"""``past(run_id, after)`` yields the news of a run that nobody carries out here."""


class RunHandle(Generic[R]):
    """A run under way. ``await handle`` gives its result; who is cancelled while he waits for it cancels the run.

    Attributes:
        id: of the run.
    """

    def __init__(self, run_id: str, clock: Clock, past: Past | None = None) -> None:
        self.id = run_id
        self._clock = clock
        self._past = past
        self._live: LiveRun | None = None
        self._record: RunRecord | None = None
        self._begun = asyncio.Event()
        self._work: asyncio.Task[R] | None = None

    # -- for whoever carries the run out

    def worked_by(self, work: asyncio.Task[R]) -> None:
        """Say which asyncio task carries the run out."""
        self._work = work
        work.add_done_callback(self._over)

    def began(self, live: LiveRun) -> None:
        """Say that the run was taken up."""
        self._live = live
        self._begun.set()

    def was_finished(self, record: RunRecord) -> None:
        """Say that the run was finished before."""
        self._record = record
        self._begun.set()

    def _over(self, work: asyncio.Task[R]) -> None:
        self._begun.set()
        if not work.cancelled():
            work.exception()  # whoever awaits the handle gets it; whoever does not has chosen not to hear of it

    @property
    def work(self) -> asyncio.Task[R] | None:
        """The asyncio task that carries the run out."""
        return self._work

    # -- for whoever has started it

    @property
    def live(self) -> LiveRun | None:
        """The run as it is carried out here; None before it was taken up, and for one that was finished before."""
        return self._live

    @property
    def done(self) -> bool:
        """Whether this life of the run is over."""
        return self._work is not None and self._work.done()

    @property
    def status(self) -> RunStatus:
        """Where it stands."""
        if self._record is not None:
            return self._record.status
        if self._live is not None and self._live.ended is not None:
            return self._live.ended
        if self._live is None or self.done:
            return RunStatus.INTERRUPTED if self.done else RunStatus.RUNNING
        return RunStatus.WAITING if self._live.asking.waiting else RunStatus.RUNNING

    @property
    def usage(self) -> Usage:
        """What it used so far, replayed steps included."""
        if self._record is not None:
            return self._record.usage
        return Usage() if self._live is None else self._live.usage

    def __await__(self) -> Generator[Any, None, R]:
        return self._result().__await__()

    async def _result(self) -> R:
        assert self._work is not None, "worked_by comes first"
        try:
            return await asyncio.shield(self._work)
        except asyncio.CancelledError:
            if not self._work.done():
                await end([self._work], self._clock)
            raise

    async def begun(self) -> None:
        """Wait until it was taken up, or could not be."""
        await self._begun.wait()

    async def events(self, after: int = 0) -> AsyncIterator[RunEvent]:
        """Yield its news after an offset, as they come, until it ends. A slow reader does not slow it."""
        await self.begun()
        if self._live is not None:
            source = self._live.feed.follow(after)
        elif self._past is not None:
            source = self._past(self.id, after)
        else:
            return
        async for event in source:
            yield event

    async def cancel(self, reason: str = "") -> None:
        """Cancel it; its result is then what was finished, with ``stopped="cancelled"``. The same id goes on."""
        await self.begun()
        if self._live is None or self._work is None or self._work.done():
            return
        self._live.cancelled = reason or "cancelled"
        self._work.cancel()
        await asyncio.wait([self._work])

    def partial(self) -> R | None:
        """Return what is finished so far, in the form of the result; None before there is anything."""
        work = self._work
        if work is not None and work.done() and not work.cancelled() and work.exception() is None:
            return work.result()
        if self._live is None or self._live.partial is None:
            return None
        found: R = self._live.partial()
        return found
