"""The store of runs: their steps, budgets, news and questions."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from shoal.kernel.budget import Account, Budget, Grant, Need
from shoal.kernel.event import Fact
from shoal.kernel.ports.tasks import Fence
from shoal.kernel.run import Approval, Decision, RunEvent, RunRecord, RunStatus, RunStep, StopReason
from shoal.kernel.usage import Usage

__all__ = ["Begun", "Hold", "RunEnd", "RunOrder", "RunStore", "RunWrite", "RunWriter"]


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Proof of carrying a run out. ``token`` rises with every holder; an old one writes nothing (LeaseLostError)."""

    run_id: str
    node_id: str
    token: int


class RunOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run to be begun, or gone on with.

    ``record`` says what it would be if it is new; of one that is known, pattern and input must be equal, and a budget
    that is not None replaces the old one. ``fence``: it belongs to a task's attempt, which must be the present one.
    """

    record: RunRecord
    node_id: str
    fence: Fence | None = None


class Begun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run that was begun. ``result`` is that of a finished one, which nobody holds (``hold`` is None).

    ``steps`` are in order of recording, intents included, none of a finished run; an intent that becomes a result takes
    its place at the end. ``offset`` is that of its last event.
    """

    record: RunRecord
    hold: Hold | None
    steps: tuple[RunStep, ...] = ()
    offset: int = 0
    result: object = None


class RunWrite(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one transaction writes of a run: a step, and the news up to it.

    step: None: only news. With ``finished_at`` None it is an intent, whose usage does not count.
    settle: the reservation (the key under which ``reserve`` made it) that ends: the step's usage is spent, or, when
        ``lost``, the whole reservation is. Without a step nothing is spent. When the step had its result already, the
        reservation is lost: what it paid for is not in the journal. One that has ended already is left alone.
    lost: the usage of a step counts what was lost (``lost_calls``, ``lost_pico``) itself; where no step is recorded,
        the usage of the run gets it from the reservation.
    charge: the account that the usage is charged to without a reservation (a foreign agent that told its cost); and all
        above it. RunNotFoundError when there is none.
    paid: what of that was charged to the account before, by the run of whoever was asked.
    facts: events of the store, in the same transaction.
    events: each belongs to the feed that its ``run_id`` names: this run, or a stream of it.
    seconds: the run's active time until now, that of earlier lives included; a lower figure than the known one is none.
    warned: accounts, and the share of ``warn_at`` that was told of each.
    """

    step: RunStep | None = None
    events: tuple[RunEvent, ...] = ()
    settle: str | None = None
    lost: bool = False
    charge: str | None = None
    paid: Usage = Usage()
    facts: tuple[Fact, ...] = ()
    seconds: float | None = None
    warned: tuple[tuple[str, float], ...] = ()


class RunEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of a run, or of this life of it: its status, its result (a JSON value), its last news.

    ``interrupted`` and ``waiting`` let the hold go; so does every other one. What is still reserved is lost.
    seconds: the run's active time until now, that of earlier lives included; a lower figure than the known one is none.
    """

    status: RunStatus
    result: object = None
    error: str | None = None
    stopped: StopReason | None = None
    seconds: float = 0.0
    events: tuple[RunEvent, ...] = ()
    facts: tuple[Fact, ...] = ()


class RunWriter(Protocol):
    """What carries out a run needs of a store. Every verb with a hold raises LeaseLostError for an old one."""

    def begin(self, order: RunOrder, *, now: datetime) -> Awaitable[Begun]:
        """Create a run, or take up one that nobody carries out.

        Taking up raises the token, makes it ``running``, and turns what is still reserved by it into lost (``lost_calls``
        and ``lost_pico`` of its usage count it). The account ``run_id`` is made when there is a budget, below
        ``parent_account``; a new budget of a known run replaces the limits of that account. The node that carries it out
        may begin it anew. ``run_started`` is written each time, but for a finished run.

        Raises:
            RunActiveError: another node, whose lease holds, carries it out.
            LeaseLostError: the order's fence, or the lease of its node, is lost.
            RunConflictError: another pattern or input under this id. RunNotFoundError: no account ``parent_account``.
        """
        ...

    def write(self, hold: Hold, write: RunWrite, *, now: datetime) -> Awaitable[None]:
        """Record a step with its news. A key that has a result keeps its first one; an intent becomes its result."""
        ...

    def open_account(
        self, hold: Hold, account_id: str, parent: str | None, budget: Budget, *, now: datetime
    ) -> Awaitable[None]:
        """Make the account of a part's budget; one that is there keeps what it has spent and gets these limits."""
        ...

    def reserve(self, hold: Hold, account_id: str, key: str, need: Need, *, now: datetime) -> Awaitable[Grant]:
        """Reserve *need* in the account and all above it, under *key*; see ``kernel.budget.grant``.

        A key that is still reserved by this run is settled as lost first: an earlier attempt was not seen to its end.
        """
        ...

    def ask(self, hold: Hold, approval: Approval, events: Sequence[RunEvent], *, now: datetime) -> Awaitable[Approval]:
        """Ask a person (``approval_asked``); the run is ``waiting``.

        One that was asked already under this id is returned as it stands; if it is decided, the run goes on. *events* are
        told in any case.
        """
        ...

    def decide(self, approval_id: str, decision: Decision, by: str, note: str, *, now: datetime) -> Awaitable[Approval]:
        """Decide a question, once (``approval_given``): one that is decided is returned with its first decision.

        Raises ApprovalNotFoundError.
        """
        ...

    def resume(self, hold: Hold, events: Sequence[RunEvent], *, now: datetime) -> Awaitable[None]:
        """Let a run that was ``waiting`` be ``running`` again."""
        ...

    def forget(self, hold: Hold, key: str, keep: Sequence[str] = (), *, now: datetime) -> Awaitable[None]:
        """Remove a step and all that were recorded after it, but for those to *keep*; what they cost stays spent.

        Nothing for an unknown step.
        """
        ...

    def end(self, hold: Hold, end: RunEnd, *, now: datetime) -> Awaitable[None]:
        """End the run, or this life of it."""
        ...

    # readers: awaited, since the store may be at the other end of a wire
    def approval(self, approval_id: str) -> Awaitable[Approval]:
        """Return one question. Raises ApprovalNotFoundError."""
        ...

    def account(self, account_id: str) -> Awaitable[Account]:
        """Return the account of a budget. Raises RunNotFoundError."""
        ...

    def cancel_asked(self, run_id: str) -> Awaitable[str | None]:
        """Return the reason for which somebody asked to cancel the run; None: nobody did."""
        ...


class RunStore(RunWriter, Protocol):
    """Runs in the store. It writes in one transaction each; events of the store (``run_started`` …) are in it."""

    def ask_cancel(self, run_id: str, reason: str, *, now: datetime) -> Awaitable[RunRecord]:
        """Ask that a run be cancelled; one that nobody carries out is cancelled at once (``run_finished``).

        Nothing changes in one that has ended. Returns it as it stands. Raises RunNotFoundError.
        """
        ...

    def fork(self, run_id: str, before: str, new_id: str, *, now: datetime) -> Awaitable[RunRecord]:
        """Make a run with the results of another that were recorded before the step *before*, ready to go on.

        Its usage is that of these steps, as in the result of the other; its budget, a new one of the same size, is not
        charged for them. It has no news, no intents and no account above.

        Raises RunNotFoundError for an unknown run or step, RunConflictError when *new_id* is known.
        """
        ...

    def delete(self, run_id: str, *, now: datetime) -> Awaitable[None]:
        """Remove a run with all it has, its streams too. Raises RunNotFoundError, RunActiveError."""
        ...

    # readers
    def get(self, run_id: str) -> RunRecord:
        """Return one run. Raises RunNotFoundError."""
        ...

    def search(
        self, *, status: RunStatus | None = None, pattern: str | None = None, limit: int = 100
    ) -> list[RunRecord]:
        """Return runs, newest first."""
        ...

    def unheld(self, patterns: Sequence[str], *, now: datetime) -> list[RunRecord]:
        """Return runs of these patterns that can be gone on with, and that no living node carries out, oldest first.

        Those are left out that were stopped (by a budget, an error …), that wait for a question which nobody has decided
        in time, and forks that were never begun: somebody has to ask for these.
        """
        ...

    def steps(self, run_id: str) -> list[RunStep]:
        """Return its steps in order of recording. Raises RunNotFoundError."""
        ...

    def result(self, run_id: str) -> object:
        """Return the recorded result as a JSON value, None when it has none."""
        ...

    def events(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[RunEvent]:
        """Return the news of a run, or of a stream of one, after an offset, in order."""
        ...

    def approvals(self, run_id: str | None = None, *, undecided: bool = True) -> list[Approval]:
        """Return questions, oldest first."""
        ...
