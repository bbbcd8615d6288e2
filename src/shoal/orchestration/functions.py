"""Functions of the caller's within a pattern (transformers, routers, turns): done once in a run, in bounded time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from shoal.kernel.asking_people import digest_of
from shoal.kernel.bounded import OutOfTime, bounded
from shoal.kernel.liverun import LiveRun
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.kernel.usage import Usage
from shoal.orchestration.answers import cancelled_from_outside
from shoal.orchestration.calling import TIMEOUT

__all__ = ["Function"]


class Function:
    """A function at the place *segment* of *scope*, whose result is recorded. Agents that it calls have places below it.

    Args:
        kind: of the step: ``transform`` or ``route``.
        function: what is called; it may be async.
        digest: of what it is given, where that is no JSON value.
    """

    def __init__(
        self, scope: Scope, segment: str, kind: str, function: Callable[..., Any], *, digest: str | None = None
    ) -> None:
        self._scope = scope
        self._segment = segment
        self._kind = kind
        self._function = function
        self._digest = digest
        self._place = scope.child(segment)

    @property
    def usage(self) -> Usage:
        """What the agents that it called have used."""
        return self._place.usage

    async def text_of(self, *given: Any, timeout: float | None = None) -> str:
        """Return the text that it makes of *given*. Raises what it raises, TypeError when it makes no text."""
        made = await self.result_of(*given, allowed=(str,), timeout=timeout)
        assert isinstance(made, str), "allowed"
        return made

    async def result_of(self, *given: Any, allowed: tuple[type, ...], timeout: float | None = None) -> Any:
        """Return what it makes of *given*: one of the types *allowed*, which JSON has, too.

        Raises what it raises, TypeError when it makes something else, TimeoutError after *timeout* seconds.
        """
        run, place = self._scope.run, self._place

        async def apply(ticket: Ticket) -> Any:
            with place.entered():
                made = await self._called(given, timeout)
            place.check()  # what came of a refused budget is not its result: with a larger one it is done again
            if not isinstance(made, allowed):
                expected = " or ".join("None" if kind is type(None) else kind.__name__ for kind in allowed)
                raise TypeError(f"the function at {self._segment} returned {type(made).__name__}, expected {expected}")
            return made

        digest = digest_of(*given) if self._digest is None else self._digest
        order = StepOrder(segment=self._segment, kind=self._kind, digest=digest)
        replayed = self._scope.replayed(order) is not None
        try:
            return (await self._scope.step(order, apply)).output
        finally:
            if replayed and place.path in _with_steps_below(run):
                place.add(run.used_below(place.path))

    async def _called(self, given: tuple[Any, ...], timeout: float | None) -> Any:
        try:
            made = self._function(*given)
            return await self._in_time(made, timeout) if inspect.isawaitable(made) else made
        except asyncio.CancelledError:
            if cancelled_from_outside():
                raise
            raise RuntimeError(f"the function at {self._segment} was cancelled from within") from None

    async def _in_time(self, made: Any, timeout: float | None) -> Any:
        async def awaited() -> Any:
            return await made

        try:
            run, path = self._scope.run, self._place.path
            name = f"{self._kind} {self._segment}"
            return await bounded(awaited(), timeout, run.clock, name=name, idle=lambda: run.asking.idle(path))
        except OutOfTime:
            raise TimeoutError(TIMEOUT) from None


def _with_steps_below(run: LiveRun) -> set[str]:
    """Return the places below which this life of the run has found steps; most functions have none."""
    found: set[str] | None = run.notes.get(_PARENTS)
    if found is None:
        found = run.notes[_PARENTS] = set()
        for key in run.recorded:
            while "/" in key and (key := key.rpartition("/")[0]) not in found:
                found.add(key)
    return found


_PARENTS = "places with steps below"
