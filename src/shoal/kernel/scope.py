"""A place in a run: what is done there has keys that begin with its path, and counts for it and all above it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import (
    ApprovalRequiredError,
    BudgetExceededError,
    LeaseLostError,
    RunChangedError,
    StoreError,
    UnpricedModelError,
)
from shoal.kernel.budget import Budget, Need
from shoal.kernel.run import Effect, RunEventType, RunStep, StopReason
from shoal.kernel.usage import Usage

if TYPE_CHECKING:
    from shoal.kernel.liverun import LiveRun

__all__ = ["NOT_RECORDED", "Scope", "StepOrder", "Stopped", "Ticket", "current_scope", "segment_of"]


_NOTHING = Usage()


class Stopped(Exception):
    """A pattern is to end now, with what is finished. Patterns turn it into ``stopped=reason``.

    ``cause``: the error that it is for whoever is no pattern.
    """

    def __init__(self, reason: StopReason, error: str = "", cause: Exception | None = None) -> None:
        self.reason: StopReason = reason
        self.error = error
        self.cause = cause
        super().__init__(error or reason)


NOT_RECORDED = (
    *(Stopped, RunChangedError, LeaseLostError, StoreError),
    *(BudgetExceededError, UnpricedModelError, ApprovalRequiredError),
)
"""What another program, a larger budget, a store or somebody to ask would change: it is no outcome of the step."""


class StepOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A step to be done once.

    segment: its place below the scope.
    digest: SHA-256 of what goes in.
    need: what it may use at most; None: it is charged what it used, afterwards.
    effect: what becomes of it when a crash hides its result; other than ``repeat``, the intent is recorded first.
    note: what its events tell beside its kind.
    """

    segment: str
    kind: str
    agent_name: str = ""
    digest: str = ""
    need: Need | None = None
    effect: Effect = "repeat"
    note: dict[str, Any] = {}

    def begun(self, key: str, now: datetime) -> RunStep:
        """Return the record of the step at its begin."""
        return RunStep(key=key, kind=self.kind, agent_name=self.agent_name, input_sha256=self.digest, started_at=now)


class Ticket:
    """A step under way, in the hands of what does it.

    ``usage`` is what it used, to be set by what does it, also when it fails. ``unseen``: its end was not seen, so that
    what was reserved is ``lost``. ``repeated``: an earlier attempt was begun, and a crash hid how it ended. ``paid``: what
    of the usage the run of whoever was asked has charged to the same account.
    """

    __slots__ = ("cheap", "key", "lost", "output_tokens", "paid", "repeated", "unseen", "usage")

    def __init__(self, key: str, output_tokens: int = 0, *, cheap: bool = False, repeated: bool = False) -> None:
        self.key = key
        self.output_tokens = output_tokens
        self.cheap = cheap
        self.repeated = repeated
        self.usage = self.lost = self.paid = _NOTHING
        self.unseen = False


class Scope:
    """A place in a run.

    Attributes:
        run: the run.
        path: its place, segments joined by ``/``; the root's is empty.
        usage: of all that was done in it, replayed or not.
        room: whose conversations the agents here go on with: those of the nearest place above that was made a room of its
            own (``as_room``); empty: those of the run.
        set_aside: the key of a step under way here for which a call is reserved that it does not make itself when agents
            are asked within it: they reserve their own.
    """

    __slots__ = ("_names", "_ordinals", "_vacant", "account", "parent", "path", "room", "run", "set_aside", "usage")

    def __init__(self, run: LiveRun, path: str = "", parent: Scope | None = None, *, vacant: bool = False) -> None:
        self.run = run
        self.path = path
        self.parent = parent
        self.account: str | None = None if parent is None else parent.account
        self.room: str = "" if parent is None else parent.room
        self.usage = Usage()
        self.set_aside = ""
        self._names: dict[str, int] = {}
        self._ordinals: dict[str, int] = {}
        self._vacant = vacant

    # -- places

    def child(self, segment: str) -> Scope:
        """Return the place *segment* below this one, for one agent or pattern."""
        return Scope(self.run, self.key(segment), self, vacant=True)

    def as_room(self) -> Scope:
        """Return this place, where agents begin conversations of their own: what is said beside it changes nothing here."""
        self.room = self.path
        return self

    def settle_in(self, name: str) -> Scope:
        """Return the place for an agent or pattern called *name* that is entered now.

        A place that was made for it is taken by the first who comes; whoever comes later, or uninvited, gets one below,
        named after it, which nobody had before.
        """
        if self._vacant:
            self._vacant = False
            return self
        name = segment_of(name)
        while True:
            number = self._names[name] = self._names.get(name, 0) + 1
            segment = name if number == 1 else f"{name}#{number}"
            if self.claim(segment):
                break
        place = self.child(segment)
        place._vacant = False
        return place

    def claim(self, segment: str) -> bool:
        """Take a place below this one; False: it is somebody's already, whose steps would be taken for those here."""
        taken: set[str] = self.run.notes.setdefault(("places", self.path), set())
        if segment in taken:
            return False
        taken.add(segment)
        return True

    def key(self, segment: str) -> str:
        """Return the key of *segment* here. Slashes of names become ``%2F``."""
        return f"{self.path}/{segment}" if self.path else segment

    def ordinal(self, kind: str) -> int:
        """Count: 1 for the first of *kind* here."""
        self._ordinals[kind] = number = self._ordinals.get(kind, 0) + 1
        return number

    @contextmanager
    def entered(self) -> Iterator[Scope]:
        """Make this the present place for what is called within."""
        token = current_scope.set(self)
        try:
            yield self
        finally:
            current_scope.reset(token)

    # -- what is done here

    async def step(self, order: StepOrder, do: Callable[[Ticket], Awaitable[Any]]) -> RunStep:
        """Do a step once, and return its record; afterwards the record is returned and nothing is done.

        *do* returns a JSON value. What it raises is recorded and raised, the same on replay; a cancellation is not
        recorded.

        Raises:
            BudgetExceededError, UnpricedModelError: nothing was done. RunChangedError: it was recorded with another input.
        """
        return await self.run.step(self, order, do)

    def recorded(self, segment: str) -> RunStep | None:
        """Return the record of a step that was done."""
        step = self.run.recorded.get(self.key(segment))
        return step if step is not None and step.finished_at is not None else None

    def replayed(self, order: StepOrder) -> RunStep | None:
        """Return the record that ``step`` is going to give for *order*; None when it is to be done."""
        step = self.recorded(order.segment)
        return step if step is not None and step.input_sha256 == order.digest else None

    def add(self, usage: Usage) -> None:
        """Count *usage* here and in all places above."""
        scope: Scope | None = self
        while scope is not None:
            scope.usage += usage
            scope = scope.parent

    def tell(self, kind: RunEventType, agent_name: str = "", **data: Any) -> None:
        """Tell news of this place to those who follow the run."""
        self.run.feed.tell(self.path, kind, agent_name, data)

    # -- money

    async def open_budget(self, budget: Budget) -> None:
        """Give this place a budget of its own, below the one above it."""
        self.account = await self.run.spending.open(self.path, self.account, budget)

    def check(self) -> None:
        """Raise Stopped when the run, or a budget above this place, has come to its end."""
        self.run.check(self)


current_scope: ContextVar[Scope | None] = ContextVar("shoal_scope", default=None)
"""The place in a run where this asyncio task or thread is at work."""


def segment_of(name: str) -> str:
    """Return *name* as one segment of a path."""
    return name.replace("%", "%25").replace("/", "%2F")
