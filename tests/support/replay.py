"""A program that dies anywhere in a run and goes on with it: as by ``kill -9``, with what was recorded, and nothing else.

Lives share one ``MemoryRuns``; each has a virtual loop, agents and a pattern of its own. Dying, nothing more is written
and the loop stops where it stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from shoal.kernel.ambient import current_ambient
from shoal.kernel.budget import Budget
from shoal.kernel.carrying import Runnable, carry
from shoal.kernel.done import Done
from shoal.kernel.journal import MemoryRuns
from shoal.kernel.liverun import LiveRun
from shoal.kernel.ports import Clock, RunOrder, RunWrite
from shoal.kernel.run import RunEvent, RunRecord, RunStep
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.kernel.starting import new_record
from shoal.testing.clock import VirtualClock, run_virtual
from shoal.testing.faults import SimulatedCrash
from shoal.testing.loop import VirtualLoop
from tests.support.speakers import AtClock, Calls

__all__ = ["Life", "Lives", "check_every_death", "check_many_deaths", "without_times"]

RUN = "the-run"
Make = Callable[[Calls], Runnable[Any]]


class _Death:
    """Strikes when the *at*-th point of a life is passed: before a step is done, after it, after its record. 0: never."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.passed: list[str] = []
        self.struck = False

    async def point(self, name: str) -> None:
        self.passed.append(name)
        self.left -= 1
        if self.left == 0:
            self.struck = True
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.crash(SimulatedCrash(name))
        if self.struck:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError
            await asyncio.get_running_loop().create_future()


class _Journal:
    """The journal as a life sees it: once it is dead, nothing reaches it."""

    def __init__(self, runs: MemoryRuns, death: _Death) -> None:
        self._runs = runs
        self._death = death

    async def write(self, *args: Any, **kwargs: Any) -> None:
        write: RunWrite = args[1]
        if self._death.struck:
            return
        await self._runs.write(*args, **kwargs)
        if write.step is not None and write.step.finished_at is not None:
            await self._death.point(f"{write.step.key} recorded")

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._runs, verb) if not self._death.struck else lambda *args, **kwargs: Done(None)


class _MortalRun(LiveRun):
    death: _Death

    async def step(self, scope: Scope, order: StepOrder, do: Callable[[Ticket], Awaitable[Any]]) -> RunStep:
        key = scope.key(order.segment)

        async def mortal(ticket: Ticket) -> Any:
            await self.death.point(f"{key} before")
            try:
                output = await do(ticket)
            except Exception:
                await self.death.point(f"{key} called")
                raise
            await self.death.point(f"{key} called")
            return output

        return await super().step(scope, order, mortal)


@dataclass
class Life:
    """One life: its result, None if it died; the points it passed; what it told, if it lived to the end."""

    result: Any
    points: list[str]
    events: list[RunEvent]


class Lives:
    """The lives of one run."""

    def __init__(self, make: Make, input: str, *, budget: Budget | None = None, context: str = "") -> None:
        self.calls = Calls()
        self.runs = MemoryRuns()
        self._make = make
        self._input = input
        self.budget = budget
        self._context = context

    def live(self, die_at: int = 0, *, shuffle: bool = False) -> Life:
        """Live until the end, or until the *die_at*-th point is passed."""
        death = _Death(die_at)
        self.calls.life += 1
        try:
            result, events = run_virtual(lambda clock: self._main(clock, death), seed=self.calls.life, shuffle=shuffle)
        except SimulatedCrash:
            result, events = None, []
        return Life(result, death.passed, events)

    async def _main(self, clock: VirtualClock, death: _Death) -> tuple[Any, list[RunEvent]]:
        current_ambient.set(AtClock(clock))
        pattern = self._make(self.calls)
        record = self._record(pattern.name, clock)
        begun = self.runs.begin(RunOrder(record=record, node_id="memory"), now=clock.now()).result()
        live = _MortalRun(_Journal(self.runs, death), begun, clock)
        live.death = death
        result = await carry(live, pattern, self._input, user_id="default", context=self._context)
        return result, [event async for event in live.feed.follow()]

    def _record(self, name: str, clock: Clock) -> RunRecord:
        return new_record(name, self._input, clock, run_id=RUN, seed=7, budget=self.budget, context=self._context)

    @property
    def steps(self) -> dict[str, Any]:
        """What was recorded: error or output, by key."""
        return {
            step.key: (step.input_sha256, step.output if step.error is None else step.error.text)
            for step in self.runs.steps(RUN)
            if step.finished_at is not None
        }


def without_times(result: Any) -> Any:
    """Return a result as a JSON value without durations, and without calls whose end was not seen."""
    return _stripped(msgspec.to_builtins(result))


_ITS_OWN = (
    *("duration_ms", "total_duration_ms", "replayed", "lost_calls", "lost_pico"),
    *("at", "started_at", "finished_at", "due_at", "decided_at", "seconds", "delay_seconds"),
    *("avg_decomposition_time", "avg_research_time", "avg_coding_time", "avg_review_time", "avg_time"),
)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        plain = {k: _stripped(v) for k, v in value.items() if k not in _ITS_OWN}
        return {k: v for k, v in plain.items() if (k, v) != ("usage", {})}
    if isinstance(value, (list, tuple)):
        return [_stripped(item) for item in value]
    return value


def check_every_death(
    make: Make, input: str, *, budget: Budget | None = None, context: str = "", shuffle: bool = False
) -> int:
    """Let a program die once, at every point of a run in turn, and go on; return at how many points it died.

    The result is that of an undisturbed run (see ``without_times``), what is recorded is the same, and no recorded call is
    made again. *make* builds the pattern with its speakers, as a program does when it starts.
    """
    whole = Lives(make, input, budget=budget, context=context)
    expected = without_times(whole.live(shuffle=shuffle).result)
    deaths = 0
    while True:
        lives = Lives(make, input, budget=budget, context=context)
        first = lives.live(deaths + 1, shuffle=shuffle)
        if first.result is not None:
            return deaths
        deaths += 1
        before = dict(lives.steps)
        last = lives.live(shuffle=shuffle)
        where = f"died at point {deaths}: {first.points[-1]}"
        assert without_times(last.result) == expected, where
        assert lives.steps == whole.steps, where
        _check_calls(lives, before, whole, where)


def check_many_deaths(make: Make, input: str, points: list[int], **options: Any) -> None:
    """Let a program die again and again, each life after that many points, and then go on to the end."""
    whole = Lives(make, input, **options)
    expected = without_times(whole.live().result)
    lives = Lives(make, input, **options)
    done: dict[str, Any] = {}
    for point in points:
        if lives.live(point).result is not None:
            break
        assert done.items() <= lives.steps.items(), "nothing that was recorded is lost"
        done = dict(lives.steps)
    else:
        assert without_times(lives.live().result) == expected
    assert lives.steps == whole.steps


def _check_calls(lives: Lives, before: dict[str, Any], whole: Lives, where: str) -> None:
    again = lives.calls.places(life=2)
    for place in again:
        assert f"{place}/chat" not in before, f"{where}: {place} was recorded, and called again"
    first = lives.calls.places(life=1)
    for place in set(first + again):
        at_once = whole.calls.places().count(place)
        assert at_once <= (first + again).count(place) <= at_once + 1, f"{where}: calls of {place}"
