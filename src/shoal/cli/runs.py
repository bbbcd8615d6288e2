"""``shoal runs``: list, show, watch, cancel, approve, deny, fork, cassette."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from shoal.cli.asking import whoever
from shoal.cli.costs import cost_rows, money
from shoal.cli.options import EPILOG, SETTINGS, Json, Store, url_of
from shoal.cli.show import clip, document, facts, line, local, table, text_of
from shoal.cli.views import view_of
from shoal.client import Client
from shoal.kernel.run import Approval, RunRecord, RunStatus, RunStep

__all__ = ["app", "approve", "cancel", "cassette", "deny", "fork", "list_", "show", "watch"]

_HELP = """Look at runs, decide what they ask, cancel and fork them.

\b
Example:
  shoal runs list --status waiting
"""

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, context_settings=SETTINGS, help=_HELP)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run.")]
Question = Annotated[
    str | None, typer.Argument(metavar="APPROVAL", help="The id of a question; default: the only one.")
]
By = Annotated[str | None, typer.Option(metavar="WHO", help="Who decides; default: the user of this terminal.")]
Note = Annotated[
    str, typer.Option(metavar="TEXT", help="For the record; to a question of the kind outcome: what it did.")
]
Denial = Annotated[str, typer.Option(metavar="TEXT", help="Why; the model reads it.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it stands in the run.")]


@app.command("list", epilog=EPILOG)
def list_(
    status: Annotated[RunStatus | None, typer.Option(help="Only those in this state.")] = None,
    pattern: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this pattern.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 20,
    store: Store = None,
    json: Json = False,
) -> None:
    """List runs, newest first, with what they cost and what they wait for.

    \b
    Example:
      shoal runs list --status waiting
    """

    async def search() -> tuple[Sequence[RunRecord], Sequence[Approval]]:
        async with Client(store=url_of(store), read_only=True) as client:
            return client.runs.list(status, pattern, limit), client.runs.approvals()

    found, asked = asyncio.run(search())
    if json:
        document(list(found))
        return
    waiting = {approval.run_id: approval.id for approval in asked}
    rows = [
        (
            run.run_id,
            run.pattern,
            run.status,
            run.label,
            run.usage.calls,
            money(run.usage),
            local(run.started_at),
            waiting.get(run.run_id, ""),
        )
        for run in found
    ]
    columns = ("id", "pattern", "status", "label", "calls", "cost", "started", "asks")
    table(columns, rows, empty="no runs")


@app.command("show", epilog=EPILOG)
def show(run_id: RunId, store: Store = None, json: Json = False) -> None:
    """Show a run: where it stands, its steps, its questions, and its cost by agent and model.

    \b
    Example:
      shoal runs show research-1
    """

    async def look() -> tuple[RunRecord, Sequence[RunStep], Sequence[Approval]]:
        async with Client(store=url_of(store), read_only=True) as client:
            return client.runs.get(run_id), client.runs.steps(run_id), client.runs.approvals(run_id, undecided=False)

    run, steps, asked = asyncio.run(look())
    if json:
        document({"run": run, "steps": list(steps), "approvals": list(asked)})
        return
    facts(_facts(run))
    table(("step", "kind", "agent", "cost", "outcome"), [_step(step) for step in steps], empty="no steps")
    if asked:
        rows = [(a.id, a.kind, a.agent_name, a.tool, clip(text_of(a.arguments), 60), _decision(a)) for a in asked]
        table(("question", "kind", "agent", "tool", "arguments", "decision"), rows, empty="")
    table(("agent", "model", "calls", "input", "output", "cost"), cost_rows(steps), empty="no costs")


def _facts(run: RunRecord) -> dict[str, object]:
    return {
        "run": run.run_id,
        "pattern": run.pattern,
        "status": run.status if run.stopped is None else f"{run.status} ({run.stopped})",
        "label": run.label,
        "input": clip(text_of(run.input), 200),
        "error": run.error,
        "node": run.node_id,
        "started": local(run.started_at),
        "finished": local(run.finished_at) if run.finished_at else None,
        "cost": money(run.usage),
        "lost": f"{run.usage.lost_calls} calls, at most ${run.usage.lost_pico / 1e12:.6f}"
        if run.usage.lost_calls
        else None,
    }


def _step(step: RunStep) -> tuple[object, ...]:
    outcome = "under way" if step.finished_at is None else clip(text_of(step.output), 60)
    if step.error is not None:
        outcome = clip(step.error.text, 60)
    return step.key, step.kind, step.agent_name, money(step.usage), outcome


def _decision(asked: Approval) -> str:
    if asked.decision is None:
        return "waits"
    by = f" by {asked.decided_by}" if asked.decided_by else ""
    return clip(f"{asked.decision}{by}{': ' if asked.note else ''}{asked.note}", 60)


@app.command("watch", epilog=EPILOG)
def watch(
    run_id: RunId,
    after: Annotated[int, typer.Option(min=0, help="Only news after this offset.")] = 0,
    plain: Annotated[bool, typer.Option("--plain", help="A line for each event, also on a terminal.")] = False,
    store: Store = None,
    json: Json = False,
) -> None:
    """Follow the news of a run until it ends, on whichever node it runs: drawn in place on a terminal, else as lines.

    \b
    Example:
      shoal runs watch research-1
    """

    async def follow() -> None:
        async with Client(store=url_of(store), read_only=True) as client:
            events = client.runs.events(run_id, after)
            if json:
                async for event in events:
                    line(msgspec.to_builtins(event))
                return
            client.runs.get(run_id)  # before anything is drawn
            with view_of(run_id, plain=plain) as view:
                async for event in events:
                    view.take(event)

    asyncio.run(follow())


@app.command("cancel", epilog=EPILOG)
def cancel(run_id: RunId, reason: Reason = "", store: Store = None) -> None:
    """Cancel a run; what it has done is kept, and the same id goes on later.

    \b
    Example:
      shoal runs cancel research-1 --reason "wrong question"
    """

    async def end() -> bool:
        async with Client(store=url_of(store)) as client:
            return await client.runs.cancel(run_id, reason)

    typer.echo(f"run {run_id} {'is being cancelled' if asyncio.run(end()) else 'had already ended'}")


@app.command("approve", epilog=EPILOG)
def approve(run_id: RunId, approval: Question = None, by: By = None, note: Note = "", store: Store = None) -> int:
    """Say yes to what a run asks. Ends with 1 when it was denied, or had expired, before.

    \b
    Example:
      shoal runs approve research-1
    """
    return _decide(store, run_id, approval, by, note, yes=True)


@app.command("deny", epilog=EPILOG)
def deny(run_id: RunId, approval: Question = None, by: By = None, reason: Denial = "", store: Store = None) -> int:
    """Say no to what a run asks. Ends with 1 when it was approved, or had expired, before.

    \b
    Example:
      shoal runs deny research-1 --reason "not on production"
    """
    return _decide(store, run_id, approval, by, reason, yes=False)


def _decide(store: str | None, run_id: str, approval: str | None, by: str | None, note: str, *, yes: bool) -> int:
    """Decide a question; ends with 1 when somebody has decided it otherwise before."""

    async def decide() -> tuple[Approval, bool]:
        async with Client(store=url_of(store)) as client:
            client.runs.get(run_id)
            chosen = approval or _only(client.runs.approvals(run_id), run_id)
            verb = client.runs.approve if yes else client.runs.deny
            asked = client.runs.approvals(run_id, undecided=False)
            known = any(each.id == chosen and each.decision is not None for each in asked)
            return await verb(chosen, by or whoever(), note), known

    decided, known = asyncio.run(decide())
    wanted = "approved" if yes else "denied"
    who = f" by {decided.decided_by}" if decided.decided_by else ""
    if decided.decision != wanted:
        print(f"shoal: {decided.id} was {decided.decision}{who} before: that stands", file=sys.stderr)
        return 1
    typer.echo(f"{decided.id}: {'already ' if known else ''}{decided.decision}{who}")
    return 0


def _only(asked: Sequence[Approval], run_id: str) -> str:
    if len(asked) == 1:
        return asked[0].id
    if not asked:
        raise ValueError(f"run {run_id} asks nothing")
    ids = ", ".join(approval.id for approval in asked)
    raise ValueError(f"run {run_id} asks {len(asked)} things, say which: {ids}")


@app.command("fork", epilog=EPILOG)
def fork(
    run_id: RunId,
    before: Annotated[str, typer.Option(metavar="STEP", help="The first step that is not kept.")],
    store: Store = None,
) -> None:
    """Make a new run with the steps before one, and print its id: run it with another prompt or model.

    \b
    Example:
      shoal runs fork research-1 --before 1:Writer/model1
    """

    async def make() -> str:
        async with Client(store=url_of(store)) as client:
            return await client.runs.fork(run_id, before)

    typer.echo(asyncio.run(make()))


@app.command("cassette", epilog=EPILOG)
def cassette(
    run_id: RunId,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The cassette to write.")],
    store: Store = None,
) -> None:
    """Write the model's replies of a run as a cassette, so that the run can be repeated without a network.

    \b
    Example:
      shoal runs cassette research-1 tests/research.jsonl
    """

    async def write() -> Any:
        async with Client(store=url_of(store), read_only=True) as client:
            return await client.runs.cassette(run_id, path)

    typer.echo(f"{asyncio.run(write())} replies in {path}")
