"""Starting a run without a runtime: in memory, with the same steps, costs, budgets and news."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from shoal.kernel.ambient import current_ambient
from shoal.kernel.budget import Budget
from shoal.kernel.carrying import Runnable, carry
from shoal.kernel.clock import RealClock
from shoal.kernel.journal import MemoryRuns
from shoal.kernel.liverun import LiveRun
from shoal.kernel.ports import Clock, RunOrder
from shoal.kernel.run import RunOptions, RunRecord
from shoal.kernel.runhandle import RunHandle

__all__ = ["check_given", "live_in_memory", "new_record", "present_clock", "start_in_memory"]

R = TypeVar("R")

_real = RealClock()


def present_clock() -> Clock:
    """Return the clock of the runtime around this code, the real one where there is none."""
    ambient = current_ambient.get()
    return _real if ambient is None else ambient.clock


def new_record(name: str, input: Any, clock: Clock, **fields: Any) -> RunRecord:
    """Return the record of a new run; *fields* that are None are drawn."""
    run_id = fields.pop("run_id", None) or clock.new_id()
    seed = fields.pop("seed", None)
    if seed is None:
        seed = clock.random.getrandbits(32)
    return RunRecord(run_id=run_id, pattern=name, input=input, seed=seed, started_at=clock.now(), **fields)


def check_given(budget: object, context: object, user_id: object) -> None:
    """Raise TypeError unless these are a Budget or None, and texts."""
    if budget is not None and not isinstance(budget, Budget):
        raise TypeError(f"budget must be a Budget, not {type(budget).__name__}")
    for name, value in (("context", context), ("user_id", user_id)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text, not {type(value).__name__}")


def live_in_memory(name: str, *, budget: Budget | None = None, options: RunOptions | None = None) -> LiveRun:
    """Return a run that is kept in memory only."""
    clock = present_clock()
    chosen = options or RunOptions()
    record = new_record(name, None, clock, budget=budget, seed=chosen.seed, label=chosen.label)
    writer = MemoryRuns()
    begun = writer.begin(RunOrder(record=record, node_id="memory"), now=record.started_at).result()
    return LiveRun(writer, begun, clock, options=chosen)


def start_in_memory(
    runnable: Runnable[R],
    input: Any,
    *,
    budget: Budget | None = None,
    user_id: str = "default",
    context: str = "",
) -> RunHandle[R]:
    """Start a run in memory and return the handle on it. Raises TypeError: a budget, or a text, is none."""
    check_given(budget, context, user_id)
    live = live_in_memory(runnable.name, budget=budget)
    work = asyncio.get_running_loop().create_task(
        carry(live, runnable, input, user_id=user_id, context=context), name=f"run {runnable.name}"
    )
    handle: RunHandle[R] = RunHandle(live.run_id, live.clock)
    handle.began(live)
    handle.worked_by(work)
    return handle
