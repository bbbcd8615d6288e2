"""The verbs on runs: start or go on with one, look at them, decide what they ask, cancel, fork, delete."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

import msgspec

from shoal.kernel.ambient import Ambient
from shoal.kernel.budget import Budget
from shoal.kernel.carrying import Runnable
from shoal.kernel.payload import checked
from shoal.kernel.run import ENDED, Approval, RunEvent, RunOptions, RunRecord, RunStatus, RunStep
from shoal.kernel.runhandle import RunHandle
from shoal.kernel.running import Running
from shoal.kernel.starting import check_given, new_record
from shoal.kernel.taskrun import run_of

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["RunGiven", "Runs"]

R = TypeVar("R")

_PAGE = 500


class RunGiven(TypedDict, total=False):
    """What ``runtime.run`` takes by name, for type checkers."""

    run_id: str | None
    budget: Budget | None
    context: str
    user_id: str
    options: RunOptions | None


class Runs:
    """Runs of this store, those of other nodes included."""

    def __init__(self, env: Env, ambient: Ambient) -> None:
        self._env = env
        self.running = Running(env, ambient)

    # -- starting

    def start(
        self,
        runnable: Runnable[R],
        input: Any,
        *,
        run_id: str | None = None,
        budget: Budget | None = None,
        context: str = "",
        user_id: str = "default",
        options: RunOptions | None = None,
    ) -> RunHandle[R]:
        """Start a run, or go on with it, and return the handle on it; its input is on disk before its first step.

        Awaiting the handle raises RunActiveError when another node carries it out, RunConflictError when it was begun with
        another pattern or input.

        Raises:
            PayloadError: the input is no JSON value. TypeError: a budget, the options, or a text are none.
        """
        env = self._env
        env.check_staying()
        check_given(budget, context, user_id)
        chosen = RunOptions() if options is None else options
        if not isinstance(chosen, RunOptions):
            raise TypeError(f"options must be RunOptions, not {type(chosen).__name__}")
        value = msgspec.to_builtins(input) if isinstance(input, msgspec.Struct) else input
        copy, _ = checked(value, "input", env.settings.max_payload_bytes)
        record = new_record(
            runnable.name,
            copy,
            env.clock,
            run_id=_checked_id(run_id),
            budget=budget,
            context=context,
            user_id=user_id,
            seed=chosen.seed,
            label=chosen.label,
        )
        return self.running.start(runnable, record, chosen, self.events)

    # -- without a caller

    def register(self, name: str, factory: Callable[[], Runnable[Any]]) -> None:
        """Make the pattern *name* known: its interrupted runs are taken up without a caller."""
        if not isinstance(name, str) or not name:
            raise ValueError(f"the name of a pattern must be text, not {name!r:.80}")
        if not callable(factory):
            raise TypeError(f"factory must be a function that makes the pattern, not {type(factory).__name__}")
        self.running.makers[name] = factory
        self.running.take_up(self.events)

    async def look(self) -> None:
        """Hear of what others committed: cancel what they asked to cancel, take up what nobody carries out."""
        self.running.wake()
        await self.running.cancel_asked()
        await self.running.end_refused()
        self.running.take_up(self.events)

    # -- looking

    def get(self, run_id: str) -> RunRecord:
        """Return a run as it is stored. Raises RunNotFoundError."""
        return self._env.store.runs.get(run_id)

    def list(
        self, status: RunStatus | str | None = None, pattern: str | None = None, limit: int = 100
    ) -> Sequence[RunRecord]:
        """Return runs, newest first."""
        wanted = None if status is None else RunStatus(status)
        return self._env.store.runs.search(status=wanted, pattern=pattern, limit=limit)

    def steps(self, run_id: str) -> Sequence[RunStep]:
        """Return its steps in order of recording. Raises RunNotFoundError."""
        return self._env.store.runs.steps(run_id)

    def result(self, run_id: str) -> Any:
        """Return the recorded result of a finished run as a JSON value; None when it has none, or raised.

        Raises RunNotFoundError.
        """
        stored: Any = self._env.store.runs.result(run_id)
        return stored.get("value") if isinstance(stored, dict) else None

    async def events(self, run_id: str, after: int = 0) -> AsyncIterator[RunEvent]:
        """Yield the news of a run, or of a stream of one, after an offset, until its end; on whichever node it runs.

        Of a run that was started here a moment ago, they come when it has begun. Raises RunNotFoundError.
        """
        owner = run_id.split("/", 1)[0]
        here = self.running.get(owner)
        if here is not None:
            await here.begun()
        self.get(owner)
        if here is not None and here.live is not None and run_id == owner:
            async for event in here.live.feed.follow(after):
                yield event
            return
        while True:
            with self.running.news.expected() as news:
                over = self.get(owner).node_id is None
                page = self._env.store.runs.events(run_id, after=after, limit=_PAGE)
                for event in page:
                    after = event.offset
                    yield event
                if not page:
                    if over:
                        return
                    await news

    # -- deciding

    def approvals(self, run_id: str | None = None, *, undecided: bool = True) -> Sequence[Approval]:
        """Return the questions of a run, or of all, oldest first; with *undecided*, those that nobody has decided yet."""
        return self._env.store.runs.approvals(run_id, undecided=undecided)

    async def approve(self, approval_id: str, by: str, note: str = "") -> Approval:
        """Say yes. Of a question that is decided, the first decision is returned. Raises ApprovalNotFoundError."""
        return await self._decide(approval_id, "approved", by, note)

    async def deny(self, approval_id: str, by: str, reason: str = "") -> Approval:
        """Say no, with a reason that the model reads. Of a question that is decided, the first decision is returned."""
        return await self._decide(approval_id, "denied", by, reason)

    async def _decide(self, approval_id: str, decision: Literal["approved", "denied"], by: str, note: str) -> Approval:
        if not by:
            raise ValueError("by must say who decides")
        decided = await self._env.store.runs.decide(approval_id, decision, by, note, now=self._env.clock.now())
        self._ring()
        return decided

    def _ring(self) -> None:
        self.running.wake()
        self._env.bus.ring("runs")

    # -- ending

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        """Cancel a run on whichever node it runs; the same id goes on later. False: it had already ended.

        Raises RunNotFoundError.
        """
        here = self.running.get(run_id)
        if here is not None:
            await here.cancel(reason)
            return True
        if self.get(run_id).status in ENDED:
            return False
        await self._env.store.runs.ask_cancel(run_id, reason or "cancelled", now=self._env.clock.now())
        self._ring()
        return True

    async def delete(self, run_id: str) -> None:
        """Remove a run with all it has. Raises RunNotFoundError, RunActiveError."""
        await self._env.store.runs.delete(run_id, now=self._env.clock.now())

    async def cassette(self, run_id: str, path: str | os.PathLike[str]) -> int:
        """Write the replies of a run's model calls to a cassette, for ``recorded:FILE``; return how many.

        Raises RunNotFoundError, CassetteError.
        """
        export = self._env.export_run
        assert export is not None, "whoever puts the rooms together says how"
        return await asyncio.to_thread(export, self.steps(run_id), Path(path))

    async def fork(self, run_id: str, before: str) -> str:
        """Return the id of a new run with the steps that were recorded before the step *before*, ready to go on.

        Run it with ``runtime.run(pattern, input, run_id=...)``, with another prompt or model if you like: its input is
        that of the first run. Raises RunNotFoundError.
        """
        new_id = self._env.clock.new_id()
        await self._env.store.runs.fork(run_id, before, new_id, now=self._env.clock.now())
        return new_id


def _checked_id(run_id: str | None) -> str | None:
    if run_id is None:
        return None
    if not isinstance(run_id, str) or not 1 <= len(run_id) <= 200 or "/" in run_id:
        raise ValueError(f"run_id must be text of 1 to 200 characters without '/', not {run_id!r:.80}")
    checked(run_id, "run_id")
    if run_id.startswith(run_of("")):
        raise ValueError(f"run_id {run_id!r:.80} is that of a task's own run: choose one without {run_of('')!r}")
    return run_id
