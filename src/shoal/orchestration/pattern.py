"""What every pattern shares: a name, a budget, a place in the run, and an end that keeps what is finished."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from shoal.kernel.budget import Budget
from shoal.kernel.runhandle import RunHandle
from shoal.kernel.scope import Scope, Stopped, current_scope, segment_of
from shoal.kernel.starting import start_in_memory
from shoal.kernel.taskrun import in_task, present_scope
from shoal.orchestration.calling import note_progress
from shoal.orchestration.checks import check_text
from shoal.orchestration.results import Result

__all__ = ["Pattern", "Progress", "check_text"]

R = TypeVar("R", bound=Result)


class Progress(Generic[R]):
    """What a pattern has finished so far: ``partial()`` is it as a result."""

    def __init__(self, scope: Scope, make: Callable[[], R]) -> None:
        self.scope = scope
        self._make = make
        self._began = scope.run.clock.monotonic()

    def partial(self) -> R:
        """Return the result as it would be now."""
        seconds = self.scope.run.clock.monotonic() - self._began
        return msgspec.structs.replace(
            self._make(),
            usage=self.scope.usage,
            run_id=self.scope.run.run_id,
            total_duration_ms=seconds * 1000,
            warnings=tuple(self.scope.run.warnings),
        )


class Pattern(ABC, Generic[R]):
    """A way to compose agents. It holds no state of a run: one object serves many at once.

    ``name`` is that of the pattern in results, keys and the store; ``budget`` its share within a larger run.
    """

    result_type: ClassVar[type[Any]]
    journaled: ClassVar[bool] = True  # its agents make steps of their own
    name: str
    budget: Budget | None

    # -- what a pattern says of itself

    @abstractmethod
    def begin(self, scope: Scope, input: Any, user_id: str, context: str) -> tuple[Callable[[], R], Any]:
        """Return a function that makes the result of what is finished so far, and the coroutine that does the work.

        The work ends normally, or raises Stopped. While it is under way, the function tells of nested patterns that are,
        too (``calling.unfinished``).
        """

    def check_input(self, input: Any) -> None:
        """Raise unless it can work on *input*."""
        check_text(input)

    # -- running it

    def start(
        self, input: Any, user_id: str = "default", *, context: str = "", budget: Budget | None = None
    ) -> RunHandle[R]:
        """Start a run in memory and return the handle on it: ``await`` it, follow its events, cancel it."""
        self.check_input(input)
        return start_in_memory(self, input, budget=budget, user_id=user_id, context=context)

    async def _run(self, input: Any, user_id: str, context: str, budget: Budget | None) -> R:
        """Run it where it is called: in the run around, if there is one, else in one in memory."""
        self.check_input(input)
        if current_scope.get() is None and not in_task():
            return await self.start(input, user_id, context=context, budget=budget)
        scope = await present_scope(self.name)
        if budget is not None:
            scope = await self._share(scope, budget)
        return await self._at(scope, input, user_id, context)

    async def carry_out(self, scope: Scope, input: Any, *, user_id: str, context: str) -> R:
        """Do the work of a run (``Runnable``)."""
        self.check_input(input)
        return await self._at(scope.settle_in(self.name), input, user_id, context)

    async def _at(self, scope: Scope, input: Any, user_id: str, context: str) -> R:
        if self.budget is not None:
            scope = await self._share(scope, self.budget)
        make, work = self.begin(scope, input, user_id, context)
        progress = Progress(scope, make)
        run = scope.run
        if run.partial is None:
            run.partial = progress.partial
        note_progress(scope, progress.partial)
        try:
            with scope.entered():
                await work
        except Stopped as stopped:
            return self._stopped(progress, stopped)
        return progress.partial()

    async def _share(self, scope: Scope, budget: Budget) -> Scope:
        """Return the same place under a budget of its own, whose account is another one than that of the place itself.

        The account of the whole run is its caller's; and a pattern may have a budget, and be run with one.
        """
        share = Scope(scope.run, scope.path, scope)
        parent = scope.account
        above = None if scope.parent is None else scope.parent.account
        path = scope.path if scope.path and parent == above else scope.key(segment_of(self.name))
        share.account = await scope.run.spending.open(path, parent, budget)
        return share

    @staticmethod
    def _stopped(progress: Progress[R], stopped: Stopped) -> R:
        return msgspec.structs.replace(
            progress.partial(), success=False, stopped=stopped.reason, error=stopped.error or stopped.reason
        )

    def decode_result(self, data: Any) -> R:
        """Return a result that was stored (``Runnable``)."""
        found: R = msgspec.convert(data, self.result_type)
        return found

    async def chat(self, message: str, user_id: str = "default") -> R:
        """Run it on *message*: so patterns are agents of other patterns."""
        return await self._run(message, user_id, "", None)
