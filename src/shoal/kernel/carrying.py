"""Carrying a run out, from taking it up to its end."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, TypeVar

import msgspec

from shoal.errors import (
    ApprovalRequiredError,
    BudgetExceededError,
    IsolationUnavailableError,
    LeaseLostError,
    MissingExtraError,
    RunChangedError,
    StoreError,
    UnpricedModelError,
)
from shoal.kernel.event import EventType, Fact
from shoal.kernel.liverun import LiveRun
from shoal.kernel.ports import RunEnd
from shoal.kernel.run import RunEventType, RunStatus, StepFailure, StopReason
from shoal.kernel.scope import Scope, Stopped

__all__ = ["Runnable", "carry", "end_of", "end_of_failure", "let_go", "result_from"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_MAY_GO_ON = (
    *(RunChangedError, BudgetExceededError, UnpricedModelError, ApprovalRequiredError),
    *(IsolationUnavailableError, MissingExtraError),
)
"""After these a run is not finished: the same id goes on with another program, a larger budget, somebody to ask, or on a
machine that has what is missing."""


class Runnable(Protocol[R_co]):
    """What can be run: a pattern, or an agent behind the face of one."""

    @property
    def name(self) -> str:
        """By which a store finds what to go on with."""
        ...

    async def carry_out(self, scope: Scope, input: Any, *, user_id: str, context: str) -> R_co:
        """Do the work at *scope*. It sets ``scope.run.partial`` when it is the first there."""
        ...

    def decode_result(self, data: Any) -> R_co:
        """Return a result that was stored as a JSON value."""
        ...


async def carry(live: LiveRun, runnable: Runnable[R], input: Any, *, user_id: str, context: str) -> R:
    """Carry a run out and write its end.

    Returns its result. Raises what makes a result impossible; the run can go on then, but for what an agent itself raised.
    """
    started: dict[str, Any] = {"pattern": runnable.name}
    if live.record.budget is not None:
        started["budget"] = msgspec.to_builtins(live.record.budget)
    live.feed.tell("", RunEventType.RUN_STARTED, "", started)
    try:
        await live.pen.sure()
        with live.root.entered():
            result = await runnable.carry_out(live.root, input, user_id=user_id, context=context)
    except asyncio.CancelledError:
        result = await _cut_short(live)
    except (LeaseLostError, StoreError):
        live.feed.close()
        raise
    except Stopped as stopped:
        await _end(live, RunEnd(status=_status(stopped.reason, False), error=stopped.error, stopped=stopped.reason))
        raise stopped.cause or stopped from None
    except Exception as error:
        await _end(live, end_of_failure(error))
        raise
    await _end(live, end_of(result))
    return result


async def _cut_short(live: LiveRun) -> Any:
    """Return the partial result of a run that somebody cancelled; one that was only cut short can go on."""
    if live.cancelled is None:
        await _end(live, RunEnd(status=RunStatus.INTERRUPTED))
        raise asyncio.CancelledError
    mine = asyncio.current_task()
    if mine is not None:
        mine.uncancel()
    if live.partial is None:
        await _end(live, RunEnd(status=RunStatus.CANCELLED, stopped="cancelled", error=live.cancelled))
        raise asyncio.CancelledError
    return msgspec.structs.replace(live.partial(), stopped="cancelled", success=False, error=live.cancelled)


def end_of(result: Any) -> RunEnd:
    """Return the end that *result* makes of a run."""
    stopped: StopReason | None = getattr(result, "stopped", None)
    success = bool(getattr(result, "success", True))
    return RunEnd(
        status=_status(stopped, success),
        result={"value": msgspec.to_builtins(result, enc_hook=_plain)},
        error=getattr(result, "error", None),
        stopped=stopped,
    )


def _plain(value: Any) -> Any:
    """Return what a result holds that is no record of ours: models of pydantic say themselves what they are in JSON."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"{type(value).__name__} has no JSON form")
    return dump(mode="json")


def end_of_failure(error: Exception) -> RunEnd:
    """Return the end of a run whose agent raised: the same id raises the like of it again."""
    failure = StepFailure.of_step(error)
    final = not isinstance(error, _MAY_GO_ON)
    return RunEnd(
        status=RunStatus.FAILED if final else RunStatus.INTERRUPTED,
        result={"failure": msgspec.to_builtins(failure)} if final else None,
        error=failure.text,
        stopped="error",
    )


def result_from(runnable: Runnable[R], stored: Any) -> R:
    """Return the recorded result of a finished run, or raise what its agent raised."""
    if "failure" in stored:
        raise msgspec.convert(stored["failure"], StepFailure).revive()
    return runnable.decode_result(stored["value"])


def _status(stopped: StopReason | None, success: bool) -> RunStatus:
    match stopped:
        case "waiting":
            return RunStatus.WAITING
        case "budget":
            return RunStatus.INTERRUPTED
        case "cancelled":
            return RunStatus.CANCELLED
        case _:
            return RunStatus.COMPLETED if success else RunStatus.FAILED


async def let_go(live: LiveRun) -> None:
    """End this life of a run of which nothing was carried out."""
    await _end(live, RunEnd(status=RunStatus.INTERRUPTED))


async def _end(live: LiveRun, ended: RunEnd) -> None:
    """Write the end of a run, whoever is cancelled meanwhile: a run that nobody carries out is held by nobody."""
    ending = asyncio.ensure_future(_written_end(live, ended))
    cut_short = False
    while not ending.done():
        try:
            await asyncio.wait([ending])
        except asyncio.CancelledError:
            cut_short = live.cancelled is None  # else it is the end that was asked for
    ending.result()
    if cut_short:
        raise asyncio.CancelledError


async def _written_end(live: LiveRun, ended: RunEnd) -> None:
    """Write the end. Once the store has taken it, it is the last word, whenever one hears of it: no lease is waited for."""
    live.ended = ended.status
    data: dict[str, Any] = {"status": str(ended.status), "stopped": ended.stopped, "cost": live.usage.cost}
    live.feed.tell("", RunEventType.RUN_FINISHED, "", data)
    try:
        await live.settle_down()
        fact = Fact(event_type=EventType.RUN_FINISHED, run_id=live.run_id, details=data)
        ended = msgspec.structs.replace(ended, seconds=live.record.seconds + live.active_seconds, facts=(fact,))
        await live.writer.end(live.hold, ended, now=live.clock.now())
    finally:
        live.feed.close()
