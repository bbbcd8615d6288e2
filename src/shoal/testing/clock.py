"""Virtual time: ten hours of a team pass in a moment, and the same seed gives the same run."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from shoal.kernel.clock import RealClock, epoch, from_epoch, uuid7
from shoal.testing.faults import SimulatedCrash
from shoal.testing.loop import VirtualLoop

__all__ = ["VirtualClock", "run_checked", "run_virtual"]

T = TypeVar("T")


class VirtualClock(RealClock):
    """The Clock port on a VirtualLoop: ``now()`` is *start* plus the loop's time; chance and ids follow from *seed*."""

    virtual = True

    def __init__(self, seed: int = 0, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        super().__init__(seed)
        self.seed = seed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start = epoch(start)
        self._last_id = 0

    def start_at(self, start: datetime) -> None:
        """Let the virtual time begin at *start*: for a later life of a program, on the same store."""
        self._start = epoch(start)

    def now(self) -> datetime:
        """Return the virtual present as aware UTC."""
        return from_epoch(self.micros())

    def micros(self) -> int:
        """Return the virtual present as whole microseconds since 1970."""
        return self._start + round(self.monotonic() * 1_000_000)

    def monotonic(self) -> float:
        """Return the virtual seconds since the loop began; from any thread once the loop runs."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    def every(self, seconds: float, callback: Callable[[], object], *, name: str) -> Callable[[], None]:
        """Call *callback* every *seconds* of virtual time, on the loop; returns a function that ends it."""
        loop = asyncio.get_running_loop()
        ended = False

        def beat() -> None:
            if not ended:
                callback()
                timers[0] = loop.call_later(seconds, beat)

        def stop() -> None:
            nonlocal ended
            ended = True
            timers[0].cancel()

        timers = [loop.call_later(seconds, beat)]
        return stop

    def new_id(self) -> str:
        """Return a UUID of version 7; ids made in the same virtual microsecond sort as they were made, too."""
        self._last_id = max(self.micros(), self._last_id + 1)
        return uuid7(self._last_id, self.random.getrandbits(64))


def run_virtual(
    main: Callable[[VirtualClock], Coroutine[Any, Any, T]],
    *,
    seed: int = 0,
    shuffle: bool = False,
    limit_seconds: float = 86_400.0,
) -> T:
    """Run ``main(clock)`` on a virtual loop and return its result.

    Args:
        seed: of the clock's chance and ids, and of the shuffling; the same seed gives the same run.
        shuffle: run asyncio tasks that are ready together in an order drawn from *seed*.
        limit_seconds: virtual seconds after which StuckError is raised.

    Raises:
        StuckError: it can never end; the text lists the asyncio tasks and where each waits.
        SimulatedCrash: a planned crash struck, wherever it did.
        What *main* or an asyncio task that nobody awaited raised.
    """
    clock = VirtualClock(seed)
    chance = random.Random(f"shuffle {seed}") if shuffle else None
    return run_checked(lambda: main(clock), lambda: VirtualLoop(shuffle=chance, limit_seconds=limit_seconds))


def run_checked(
    main: Callable[[], Coroutine[Any, Any, T]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run ``main()`` on a loop of its own; an error that no one awaited or retrieved is raised, too, at the end."""
    lost: list[BaseException] = []

    def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        if isinstance(error, SimulatedCrash) and isinstance(loop, VirtualLoop):
            loop.crash(error)
        else:
            error.add_note(f"Lost on the event loop: {context['message']}")
            lost.append(error)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.get_loop().set_exception_handler(note)
        result = runner.run(main())
        gc.collect()  # an asyncio task that failed says so when it is collected
    if len(lost) == 1:
        raise lost[0]
    if lost:
        raise BaseExceptionGroup("errors that nobody awaited", lost)
    return result
