"""What the suites of runs share: short forms of the verbs, and records to write."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shoal.kernel.budget import Amount, Budget, Need
from shoal.kernel.ports import Begun, Hold, RunEnd, RunOrder, RunWrite, Store
from shoal.kernel.run import Approval, RunEvent, RunRecord, RunStatus, RunStep
from shoal.kernel.usage import Usage
from shoal.testing.store_queue_frame import NOW

__all__ = ["amounts", "begin", "done", "end", "hold_of", "intent", "need", "news", "order", "question", "write"]


def order(run_id: str, node_id: str = "n1", **fields: Any) -> RunOrder:
    """Return an order for a run; ``fence`` goes into the order, all else into the record."""
    fence = fields.pop("fence", None)
    record = RunRecord(run_id=run_id, **{"pattern": "Pipeline", "input": {"text": "go"}, "started_at": NOW, **fields})
    return RunOrder(record=record, node_id=node_id, fence=fence)


async def begin(store: Store, run_id: str, node_id: str = "n1", *, now: datetime = NOW, **fields: Any) -> Begun:
    """Begin a run, or take it up."""
    return await store.runs.begin(order(run_id, node_id, **fields), now=now)


async def hold_of(store: Store, run_id: str, node_id: str = "n1", **fields: Any) -> Hold:
    """Begin a run and return the hold."""
    hold = (await begin(store, run_id, node_id, **fields)).hold
    assert hold is not None
    return hold


def intent(key: str, **fields: Any) -> RunStep:
    """Return a step whose end is not known."""
    known = {"kind": "model", "agent_name": "Writer", "input_sha256": "00ff", "started_at": NOW}
    return RunStep(key=key, **{**known, **fields})


def done(
    key: str, output: object = "text", *, calls: int = 1, tokens: int = 10, pico: int = 100, **more: Any
) -> RunStep:
    """Return a step with a result, which used that much."""
    usage = Usage(calls=calls, input_tokens=tokens, cost_pico=pico)
    return intent(key, **{"output": output, "usage": usage, "finished_at": NOW, **more})


def news(run_id: str, *offsets: int) -> tuple[RunEvent, ...]:
    """Return events with these offsets."""
    return tuple(
        RunEvent(offset=offset, run_id=run_id, path="0:Writer", type="text", data={"text": f"#{offset}"}, at=NOW)
        for offset in offsets
    )


def need(calls: int = 1, tokens: int = 10, pico: int = 100) -> Need:
    """Return the worst case of a call without any output that could be lowered."""
    return Need(calls=calls, input_tokens=tokens, input_pico=pico)


def question(run_id: str, approval_id: str = "q1", **fields: Any) -> Approval:
    """Return a question that nobody has decided."""
    return Approval(
        id=approval_id, run_id=run_id, step="0:Writer/tool1", tool="send", sha256="00ff", asked_at=NOW, **fields
    )


async def write(store: Store, hold: Hold, step: RunStep | None = None, *, now: datetime = NOW, **fields: Any) -> None:
    """Write a step."""
    await store.runs.write(hold, RunWrite(step=step, **fields), now=now)


async def end(
    store: Store, hold: Hold, status: RunStatus = RunStatus.COMPLETED, *, now: datetime = NOW, **fields: Any
) -> None:
    """End a run."""
    await store.runs.end(hold, RunEnd(status=status, **fields), now=now)


async def amounts(store: Store, account_id: str) -> tuple[Amount, Amount, Amount]:
    """Return what an account has spent, holds and has lost."""
    account = await store.runs.account(account_id)
    return account.spent, account.held, account.lost


LIMITS = Budget(max_cost=1e-9, max_tokens=1000, max_calls=10)
"""A budget of 1,000 units of cost, 1,000 tokens and 10 calls."""
