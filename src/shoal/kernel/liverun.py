"""A run that is being carried out: its steps are done once, its costs counted once, its news told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import msgspec

from shoal.errors import RunChangedError
from shoal.kernel.asking_people import Asking
from shoal.kernel.boundary import Boundary
from shoal.kernel.pen import Pen
from shoal.kernel.ports import Begun, Clock, Hold, RunWrite, RunWriter
from shoal.kernel.run import RunEventType, RunOptions, RunRecord, RunStatus, RunStep, StepFailure
from shoal.kernel.scope import NOT_RECORDED, Scope, StepOrder, Stopped, Ticket
from shoal.kernel.spending import Spending
from shoal.kernel.usage import Usage

__all__ = ["LiveRun"]


class LiveRun:
    """One life of a run, from taking it up to letting it go.

    No step begins, and none that was done returns, before it is known that the run is held still (``Pen``).

    Args:
        writer: where it is kept.
        begun: what the writer said when it was begun.
        clock: time, chance and ids.
        options: how it is carried out.
        durable: whether the writer outlives the process: then news is written, too.

    Attributes:
        recorded: the steps that were done before, and since, by key.
        root: the place of the whole run.
        pen: what it writes with.
        notes: what agents keep of this run (their conversations), by keys of their own.
        warnings: what a reader of the result should know.
    """

    def __init__(
        self, writer: RunWriter, begun: Begun, clock: Clock, *, options: RunOptions | None = None, durable: bool = False
    ) -> None:
        assert begun.hold is not None, "a finished run is not carried out"
        self.writer = writer
        self.hold: Hold = begun.hold
        self.record: RunRecord = begun.record
        self.clock = clock
        self.options = options or RunOptions()
        self.recorded: dict[str, RunStep] = {step.key: step for step in begun.steps}
        self._ahead = set(self.recorded)  # the steps of earlier lives that this one has not come to
        self.notes: dict[Any, Any] = {}
        self.warnings: list[str] = []
        self.durable = durable
        self.pen = Pen(writer, begun.hold, clock, durable=durable)
        self.feeds = self.pen.feeds
        self.feed = self.feeds.open(begun.record.run_id, begun.offset)
        self.asking = Asking(self)
        self.boundary = Boundary()
        self.root = Scope(self, vacant=True)
        self.spending = Spending(self)
        self.root.account = self.spending.root
        self.root.add(_lost_before(begun))
        self.stopping: Stopped | None = None
        self._began = clock.monotonic()
        self.partial: Callable[[], Any] | None = None  # what a pattern has finished so far, as its result
        self.ended: RunStatus | None = None  # as what this life of it has ended
        self.cancelled: str | None = None  # why somebody has cancelled it

    @cached_property
    def random(self) -> random.Random:
        """Chance that follows from the run's seed."""
        return random.Random(self.record.seed)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.record.run_id

    @property
    def usage(self) -> Usage:
        """What was used, replayed steps included."""
        return self.root.usage

    @property
    def active_seconds(self) -> float:
        """Seconds of this life without those spent waiting for people."""
        return self.clock.monotonic() - self._began - self.asking.idle()

    # -- steps

    async def step(self, scope: Scope, order: StepOrder, do: Callable[[Ticket], Awaitable[Any]]) -> RunStep:
        """Do a step once (see ``Scope.step``)."""
        key = scope.key(order.segment)
        known = self.recorded.get(key)
        if known is not None and known.input_sha256 != order.digest:
            await self.changed(key)
            known = None
        self._ahead.discard(key)
        if known is not None and known.finished_at is not None:
            return self._replay(scope, known)
        self.check(scope)
        if scope.account is not None:
            await self.spending.ask_for_time(scope)
        await self.pen.sure()
        await self.boundary.pass_by()
        ticket = await self._ticket(scope, order, key, repeated=known is not None)
        reserved = key if scope.account is not None and order.need is not None else None
        with self.boundary.step():
            blank = order.begun(key, self.clock.now())
            if order.effect != "repeat" and known is None:
                await self.pen.write(RunWrite(step=blank))
                self.recorded[key] = blank
            self.feed.tell(key, RunEventType.STEP_STARTED, order.agent_name, {"kind": order.kind, **order.note})
            return await self._do(scope, order, do, ticket, blank, reserved)

    async def _ticket(self, scope: Scope, order: StepOrder, key: str, *, repeated: bool) -> Ticket:
        need = order.need
        if scope.account is None or need is None:
            return Ticket(key, 0 if need is None else need.output_tokens, repeated=repeated)
        model = str(order.note.get("model", order.agent_name))
        try:
            await self.spending.free_above(scope)
            grant = await self.spending.reserve(scope.account, key, need, model)
            await self.boundary.pass_by()  # it may have been closed meanwhile
        except asyncio.CancelledError:  # it may have been made: the call is not
            self._let_go(key, _NOTHING)
            raise
        ticket = Ticket(key, grant.output_tokens, cheap=grant.cheap, repeated=repeated)
        ticket.lost = Usage(lost_calls=1, lost_pico=grant.amount.cost_pico)
        return ticket

    async def _do(
        self,
        scope: Scope,
        order: StepOrder,
        do: Callable[[Ticket], Awaitable[Any]],
        ticket: Ticket,
        blank: RunStep,
        reserved: str | None,
    ) -> RunStep:
        output, error = None, None
        try:
            output = await do(ticket)
        except asyncio.CancelledError:
            self._count(scope, self._let_go(reserved, ticket.lost))
            raise
        except NOT_RECORDED:  # what it called was stopped or refused: it has used nothing itself
            self._let_go(reserved, _NOTHING)
            raise
        except Exception as raised:  # noqa: BLE001  recorded, and raised below
            error = raised
        step = msgspec.structs.replace(
            blank,
            output=output,
            error=None if error is None else StepFailure.of_step(error),
            usage=ticket.usage + ticket.lost if ticket.unseen and reserved is not None else ticket.usage,
            finished_at=self.clock.now(),
        )
        self._tell_end(step, order)
        await self._record(scope, step, ticket, reserved)
        if scope.account is not None:
            await self.spending.warn(scope)
        if error is not None:
            raise error
        return step

    async def _record(self, scope: Scope, step: RunStep, ticket: Ticket, reserved: str | None) -> None:
        write = RunWrite(
            step=step,
            settle=reserved,
            lost=ticket.unseen,
            charge=scope.account if reserved is None and ticket.usage != _NOTHING else None,
            paid=ticket.paid,
            seconds=self.spending.seconds_used(),
        )
        try:
            await self.pen.write(write)
        except asyncio.CancelledError:  # it is written all the same
            self._recorded(scope, step)
            raise
        self._recorded(scope, step)

    def _recorded(self, scope: Scope, step: RunStep) -> None:
        self.recorded[step.key] = step
        self._count(scope, step.usage)

    def _let_go(self, reserved: str | None, lost: Usage) -> Usage:
        """End a reservation of which nothing is recorded; return what is lost with it, which the store counts, too."""
        if reserved is None:
            return _NOTHING
        self.pen.beside(RunWrite(settle=reserved, lost=lost != _NOTHING))
        return lost

    def _replay(self, scope: Scope, step: RunStep) -> RunStep:
        self._count(scope, step.usage)
        if step.error is not None:
            raise step.error.revive()
        return step

    def used_below(self, path: str) -> Usage:
        """Return what the recorded steps below a place have used: for one that is replayed as a whole."""
        found = [step.usage for key, step in self.recorded.items() if key.startswith(f"{path}/")]
        return sum(found, start=_NOTHING)

    def _count(self, scope: Scope, usage: Usage) -> None:
        if usage != _NOTHING:
            scope.add(usage)

    async def changed(self, key: str) -> None:
        """Say that the step *key* was recorded by another program: it is forgotten with what came after it.

        Raises RunChangedError unless the run's options are that it is done anew.
        """
        if self.options.on_change == "error":
            raise RunChangedError(self.run_id, key)
        keys = list(self.recorded)
        later = keys[keys.index(key) :]
        keep = [each for each in later if each not in self._ahead]  # of agents at work beside this one
        for each in self._ahead.intersection(later):
            del self.recorded[each]
        self._ahead.difference_update(later)
        await self.pen.written(self.writer.forget, key, keep)

    def _tell_end(self, step: RunStep, order: StepOrder) -> None:
        data: dict[str, Any] = {"kind": step.kind, **order.note}
        if step.usage.cost_pico:
            data["cost"] = step.usage.cost
        if step.usage.tokens:
            data["tokens"] = step.usage.tokens
        if step.error is None:
            self.feed.tell(step.key, RunEventType.STEP_FINISHED, step.agent_name, data)
        else:
            data["error"] = step.error.text
            self.feed.tell(step.key, RunEventType.STEP_FAILED, step.agent_name, data)

    # -- the end of it

    def check(self, scope: Scope) -> None:
        """Raise Stopped when the run, or a budget above *scope*, has come to its end; what broke the writer, if it did."""
        if self.pen.broken is not None:
            raise self.pen.broken
        if self.stopping is not None:
            raise self.stopping
        self.spending.check(scope)

    def stop(self, stopped: Stopped) -> None:
        """Let every pattern of the run end at its next step, with what is finished."""
        if self.stopping is None:
            self.stopping = stopped

    async def settle_down(self) -> None:
        """Wait until everything that was told is written: this life of the run tells nothing more."""
        await self.pen.settle_down()
        self.feeds.close()


_NOTHING = Usage()


def _lost_before(begun: Begun) -> Usage:
    """Return what earlier lives of the run have lost beside their recorded steps: calls that a crash cut off."""
    known, whole = sum((step.usage for step in begun.steps), start=_NOTHING), begun.record.usage
    return Usage(lost_calls=whole.lost_calls - known.lost_calls, lost_pico=whole.lost_pico - known.lost_pico)
