"""The one table of the verbs that a busy node calls all the time: what they may do together, and beside other nodes.

A verb that is not here is carried out by itself, at its place in the order of the calls, while no other node writes.
That is right whatever it does. Those that are here run beside those of other nodes, where the database has several
writers; each line says why that is right. What all of them rest on:

- No verb of the other kind is under way: no rescue, no cancel, no pause, nobody joins or leaves. So what a verb reads of
  a node, of its own attempts and of its own runs stays as it is, though it takes no lock for it.
- Ids of events and numbers of commits are given at the end, from where on transactions take turns (``Driver.seal``).
- Two that wait for each other, and two that insert the same key, are told so by the database: the group of one of them
  is undone and written again while no other node writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from shoal.kernel.ports import Hold, Outcome, RunWrite, Settlement
from shoal.kernel.task import Task
from shoal.store.sql import begun_mail, events, journal, mail, posted, run_steps, tasks
from shoal.store.sql.claim import claim, claim_alone, look_for_one
from shoal.store.sql.enqueue import enqueue, enqueue_alone
from shoal.store.sql.operations import Operation
from shoal.store.sql.settle import settle, settle_alone, settle_many
from shoal.store.sql.transaction import Params, Sole

__all__ = ["HOT", "Hot", "runs_beside"]


class Hot(msgspec.Struct, frozen=True):
    """How a verb meets its neighbours in a group, and those of other nodes.

    Neighbours that have a ``rank`` are carried out in its order, each rank in the order of the calls. With ``many``,
    those of one verb are carried out as one: it returns what each is answered. ``beside`` tells by its arguments
    whether a call may run beside those of other nodes; None: every one may. ``alone`` says how a call without neighbours
    can be one statement, None when this one cannot; it is given the rows of ``look``, if there is one, which says what
    must be looked at before, or None as well.
    """

    rank: int | None = None
    many: Callable[..., list[Any]] | None = None
    beside: Callable[..., bool] | None = None
    alone: Callable[..., Sole | None] | None = None
    look: Callable[..., tuple[str, Params] | None] | None = None


def runs_beside(operation: Operation[Any]) -> bool:
    """Tell whether an operation may run beside what other nodes write."""
    hot = HOT.get(operation.fn)
    return hot is not None and (hot.beside is None or hot.beside(*operation.args))


def _waits_for_nothing(new: Sequence[Task], now: datetime, max_pending: int | None) -> bool:
    return not any(task.dependencies for task in new)


def _ends_well(settlement: Settlement, now: datetime) -> bool:
    return settlement.outcome is Outcome.COMPLETED and not settlement.returns


def _costs_nothing(hold: Hold, write: RunWrite, row: object, now: datetime) -> bool:
    return write.charge is None and write.settle is None and not write.warned


HOT: dict[Callable[..., Any], Hot] = {
    # Ranks. What an attempt records and submits comes before its end; new rows change nothing that is there, and what
    # is settled after them finds its dependents. Ends of different attempts have in common the tasks that wait for
    # them, which are released together. A claim finds all that has become ready.
    #
    # Beside. New tasks, when they wait for nothing: else another node could end what they wait for between the look and
    # the write. A parent is only looked for, and whoever cancels it is alone. The limit of the queue is held up to what
    # other nodes submit at that moment.
    enqueue: Hot(rank=2, beside=_waits_for_nothing, alone=enqueue_alone),
    # Rows of attempts of this node. Dependents that two nodes release at once are counted down one after the other.
    # Failures run along chains, so they are alone.
    settle: Hot(rank=3, many=settle_many, beside=_ends_well, alone=settle_alone),
    # Rows that another node is giving away are passed over; what is not locked is looked at again when it is written.
    claim: Hot(rank=4, alone=claim_alone, look=look_for_one),
    # Rows of one attempt, which its node alone writes.
    journal.record: Hot(rank=0, many=journal.record_many),
    tasks.progress: Hot(),
    tasks.checkpoint: Hot(),
    # Rows of one run, which its holder alone writes; accounts belong to several, so whatever touches one is alone.
    run_steps.write_run: Hot(beside=_costs_nothing),
    # New rows; the same message twice is found by its key.
    posted.put: Hot(rank=1, many=posted.put_many),
    # Rows of one recipient; those that another transaction has taken are passed over.
    mail.take: Hot(),
    # One row, which its node alone holds.
    begun_mail.begin: Hot(),
    mail.ack: Hot(rank=5, many=mail.ack_many),
    events.append: Hot(),
}
