"""``shoal run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shoal.cli import taskrun, teamrun
from shoal.cli.ending import in_loop
from shoal.cli.options import Json, Store, input_of, seconds, url_of
from shoal.cli.taskrun import Job
from shoal.cli.teamrun import Given
from shoal.cli.views import standard_error
from shoal.errors import ConfigError
from shoal.kernel.agent import Isolation
from shoal.loading import load
from shoal.observe.log import configure_logging

__all__ = ["run"]

_OF_AGENTS, _OF_TEAMS = "An agent: ", "A team or pattern: "
_ISOLATION = (
    f"{_OF_AGENTS}where its code runs; auto: behind the strongest walls that this machine has (`shoal boxes probe`)."
    "  [default: inline]"
)
_INPUTS = 'An agent: one task each, a JSON object, or text for {"message": TEXT}. A team or pattern: the task, once.'

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="FILE.toml, a team file, or FILE.py:NAME, an agent or pattern.")
]
RunId = Annotated[str | None, typer.Option(metavar="ID", help=f"{_OF_TEAMS}the id of the run; a known one goes on.")]
Dollars = Annotated[
    float | None, typer.Option(metavar="USD", help=f"{_OF_TEAMS}what it may cost; else what its file says.")
]
Context = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help=f"{_OF_TEAMS}what everybody is told. Repeatable.")
]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="A team file: the model of all its agents, as echo.")]
_REPORT = f"{_OF_TEAMS}.md or .json.  [default: what its file says, else report-RUN_ID.md]"
ReportFile = Annotated[Path | None, typer.Option(metavar="FILE", help=_REPORT)]
EventsFile = Annotated[Path | None, typer.Option(metavar="FILE", help=f"{_OF_TEAMS}its events, a line of JSON each.")]
Concurrency = Annotated[
    int | None, typer.Option(min=1, help=f"{_OF_AGENTS}how many tasks it works on at a time.  [default: 1]")
]
Timeout = Annotated[str | None, typer.Option(metavar="TIME", help=f"{_OF_AGENTS}for each attempt, as 90s or 10m.")]
Retries = Annotated[
    int | None, typer.Option(min=0, help=f"{_OF_AGENTS}how often a task is tried again after an error.")
]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help=f"{_OF_AGENTS}register it under this name.  [default: NAME]")
]


def run(
    target: Target,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help=_INPUTS)],
    run_id: RunId = None,
    budget: Dollars = None,
    context: Context = None,
    model: Model = None,
    report: ReportFile = None,
    events: EventsFile = None,
    plain: Annotated[bool, typer.Option("--plain", help=f"{_OF_TEAMS}a line for each event, no live view.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help=f"{_OF_TEAMS}approve what it asks.")] = False,
    isolation: Annotated[Isolation | None, typer.Option(help=_ISOLATION)] = None,
    concurrency: Concurrency = None,
    timeout: Timeout = None,
    retries: Retries = None,
    name: Name = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Run a team or a pattern on a task, or an agent on one task for each INPUT.

    A team or pattern: its run id is printed first, and the same --run-id goes on with a run that was killed, stopped by
    a budget, or waits. On a terminal the run is drawn in place, else each event is a line; --json prints the report
    instead. The report is written for a failed or stopped run, too; files that agents hand in go to a folder named after
    the run beside it. What has to be approved is asked on the terminal; where nobody can be asked, the command ends with
    4. Whether a tool call that a crash hid was done is nothing that --yes answers. Exit codes beside those below: 3 the
    budget is spent, 4 waits for an approval.

    An agent: it is registered, gets a task for each INPUT, and each result is printed as it ends. With --json a line for
    each task: index (from 0, in the order given), task_id, status, output, error_type, error_message, seconds. Ends
    with 1 when a task did not complete. Tasks that an earlier run was killed over are still in the store: they are
    executed as well, without being shown.

    Ctrl-C cancels what has not ended, keeps what is finished, and gives the rest cancel_grace_seconds (5) to clean up;
    once more ends at once. Code that does not end when it is told to, as a plain function that blocks, is named on
    standard error and left.

    \b
    Example:
      shoal run hello.py:Greeter '{"name": "Alice"}' '{"name": "Bob"}' --concurrency 2
      shoal run team.toml "Build user authentication API" --budget 2
    """
    of_agents = {
        "isolation": isolation, "concurrency": concurrency, "timeout": timeout, "retries": retries, "name": name,
    }  # fmt: skip
    given = Given(
        run_id=run_id, context=_context(context), report=report, events=events, json=json, plain=plain, yes=yes
    )
    if target.endswith(".toml"):
        _refuse(of_agents, "an agent, not of a team file")
        job = teamrun.of_file(Path(target), _one(inputs), given, model=model, store=store)
    else:
        _refuse({"model": model}, "a team file; the models of FILE.py:NAME are in the file")
        source = _loaded(target)
        if not teamrun.is_pattern(source):
            _refuse({**_of_teams(given), "budget": budget}, "a team or pattern, not of an agent")
            return _run_agent(source, inputs, of_agents, target, store, json)
        _refuse(of_agents, "an agent, not of a pattern")
        job = teamrun.of_pattern(source, _one(inputs), given, store=store)
    configure_logging("WARNING", stream=standard_error())
    job = job.within(budget)
    return in_loop(lambda interruption: teamrun.carry_out(job, interruption))


def _loaded(target: str) -> Any:
    if ".py:" not in target:
        raise ConfigError(
            f"{target[:200]!r} is no team file, and names no agent or pattern",
            note="Write FILE.toml, as team.toml, or FILE.py:NAME, as hello.py:Greeter.",
        )
    return load(target)


def _of_teams(given: Given) -> dict[str, Any]:
    """Return what an agent has no use for, by the names of the options; None: it was not given."""
    found = {"run-id": given.run_id, "report": given.report, "events": given.events, "context": given.context or None}
    return found | {"plain": given.plain or None, "yes": given.yes or None}


def _run_agent(
    source: Any, inputs: list[str], options: dict[str, Any], target: str, store: str | None, json: bool
) -> int:
    job = Job(
        url=url_of(store),
        name=options["name"] or target.rpartition(":")[2],
        source=source,
        inputs=[input_of(text) for text in inputs],
        isolation=None if options["isolation"] is None else str(options["isolation"]),
        concurrency=options["concurrency"] or 1,
        timeout_seconds=None if options["timeout"] is None else seconds(options["timeout"]),
        max_retries=options["retries"] or 0,
        json=json,
    )
    configure_logging("WARNING")
    return in_loop(lambda interruption: taskrun.carry_out(job, interruption))


def _refuse(options: dict[str, Any], whose: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"--{name} is an option of {whose}")


def _one(inputs: list[str]) -> str:
    if len(inputs) != 1:
        raise ConfigError(f"a team or pattern takes one task, not {len(inputs)}", note="Put it in quotes.")
    if not inputs[0].strip():
        raise ConfigError("the task is empty", note="Say what is wanted.")
    return inputs[0]


def _context(pairs: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--context {pair[:80]!r} is no KEY=VALUE", note="Write --context language=python.")
        found[key.strip()] = value
    return found
