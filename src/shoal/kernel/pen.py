"""What writes a run, and knows whether the run is held still: only who holds it may go on with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from shoal.errors import LeaseLostError
from shoal.kernel.feeds import Feeds
from shoal.kernel.ports import Clock, Hold, RunWrite, RunWriter
from shoal.kernel.stillness import ALWAYS, Good, good_until, renewed

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["Pen"]

T = TypeVar("T")


class Pen:
    """Writes one life of a run, with its hold.

    An answer of the store is no leave to go on: it may be an old one, and others may have taken the run up since. Anybody
    may do that when the lease of the node that holds it has ended, also of a node that renews it a moment later. So a hold
    is known to be good only until the end that the lease had when the last write was begun which the store took with it
    (Gray and Cheriton 1989: a lease is counted from the request, not from its answer). After that, the lease has to be
    renewed, and the store is asked once more with the hold. Whoever goes on after a write waits for that; what ends a run,
    or lets something go, does not.

    Runs in memory, and those of tasks, are bound to no lease here: of these the link sees to it (``Env.answered``).

    Args:
        writer: where the run is kept.
        hold: the proof of carrying it out.
        clock: time.
        durable: whether news is written, too.

    Attributes:
        feeds: the news that wait to be written.
        broken: why nothing more is written, if so.
    """

    def __init__(self, writer: RunWriter, hold: Hold, clock: Clock, *, durable: bool) -> None:
        self._writer = writer
        self._hold = hold
        self._clock = clock
        self._env: Env | None = None
        self._good = ALWAYS  # so long nobody else takes the run up
        self._writing: set[asyncio.Task[None]] = set()
        self.feeds = Feeds(writer, clock, self._flush if durable else None)
        self.broken: BaseException | None = None

    def bound_to(self, env: Env, good: Good) -> None:
        """Say which node carries the run out, and until when its lease was good as it asked for the run."""
        self._env = env
        self._good = good

    # -- for whoever goes on afterwards

    async def write(self, write: RunWrite) -> None:
        """Write, with the news that wait; return as ``sure`` does."""
        await self._answered(partial(self._write, write))

    async def written(self, verb: Callable[..., Awaitable[T]], *given: Any) -> T:
        """Call a verb of the writer that takes the hold; return its answer as ``sure`` does."""
        return await self._answered(lambda: verb(self._hold, *given, now=self._clock.now()))

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        good = ALWAYS if self._env is None else good_until(self._env)
        try:
            answer = await ask()
        except LeaseLostError as error:
            self.broken = error
            raise
        self._good = good
        await self.sure()
        return answer

    async def sure(self) -> None:
        """Return when the run is known to be held: at once, or when lease and store have said so.

        Raises LeaseLostError when it is not: then nothing more of this life counts.
        """
        env = self._env
        if env is None:
            return
        try:
            while env.lost or self._good.is_over(env.clock):
                await renewed(env)
                good = good_until(env)
                await self._writer.write(self._hold, RunWrite(), now=self._clock.now())
                self._good = good
        except LeaseLostError as error:
            self.broken = error
            raise

    # -- beside the work, and at its end

    def beside(self, write: RunWrite) -> None:
        """Write beside the work; ``settle_down`` waits for it."""
        task: asyncio.Task[None] = asyncio.ensure_future(self._write(write))
        self._writing.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self.broken is None:
            self.broken = error

    async def settle_down(self) -> None:
        """Wait until everything that was told is written."""
        while self._writing:
            await asyncio.wait(self._writing)
        await self._write(RunWrite())

    def _flush(self) -> None:
        self.beside(RunWrite())

    async def _write(self, write: RunWrite) -> None:
        with self.feeds.taken() as events:
            write = msgspec.structs.replace(write, events=events)
            if write != _NOTHING:
                await self._writer.write(self._hold, write, now=self._clock.now())


_NOTHING = RunWrite()
