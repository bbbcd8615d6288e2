"""A team or a pattern, as ``shoal run`` runs it: one run, shown as it goes, with a report at its end."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from shoal.boxes.logs import visible
from shoal.cli.asking import Asker, can_ask, question_text
from shoal.cli.costs import money
from shoal.cli.ending import INTERRUPTED, Interruption, in_runtime
from shoal.cli.options import url_of
from shoal.cli.reports import Report, check_writable, file_name, files_folder, write_files
from shoal.cli.show import clip
from shoal.cli.views import Follower, events_file, view_of
from shoal.config import shown
from shoal.errors import ConfigError, LeaseLostError, RunActiveError, RunConflictError, StoreError
from shoal.kernel.budget import Budget
from shoal.kernel.clock import RealClock
from shoal.kernel.run import Approval, RunOptions, RunRecord
from shoal.kernel.runhandle import RunHandle
from shoal.runtime import AgentRuntime

__all__ = ["Given", "TeamJob", "carry_out", "is_pattern", "of_file", "of_pattern"]

FAILED, BUDGET_SPENT, WAITS = 1, 3, 4
_NO_RUN = (RunConflictError, RunActiveError, LeaseLostError, StoreError)  # after these there is nothing to report of


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about a run."""

    run_id: str | None
    context: dict[str, str]
    report: Path | None
    events: Path | None
    json: bool
    plain: bool
    yes: bool


class TeamJob(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run, and where what comes of it goes.

    ``open`` makes the pattern, in a runtime that runs; ``told`` the input and the context with which it is run.
    """

    url: str
    open: Callable[[AgentRuntime], Awaitable[Any]]
    told: Callable[[], tuple[Any, str]]
    run_id: str
    budget: Budget | None
    report: Path
    given: Given

    def within(self, max_cost: float | None) -> TeamJob:
        """Return it with another limit of its cost, in USD; None: with that which it has. Raises ValueError."""
        if max_cost is None:
            return self
        budget = msgspec.structs.replace(self.budget or Budget(), max_cost=max_cost)
        return msgspec.structs.replace(self, budget=budget)


def is_pattern(source: object) -> bool:
    """Tell whether *source* is a pattern: it carries out runs, and is no agent, which works on tasks."""
    if isinstance(source, type) or not callable(getattr(source, "carry_out", None)):
        return False
    models = sys.modules.get("shoal.llm.agent")  # whoever made an agent of it has loaded it
    return models is None or not isinstance(source, models.Agent)


def of_pattern(pattern: Any, task: str, given: Given, *, store: str | None) -> TeamJob:
    """Return the job of a pattern that a file of Python has made."""

    async def opened(runtime: AgentRuntime) -> Any:
        return pattern

    return _job(opened, lambda: _told(pattern, task, given.context), given, url=url_of(store))


def of_file(path: Path, task: str, given: Given, *, model: str | None, store: str | None) -> TeamJob:
    """Return the job of a team file. Raises ConfigError: every fault of it."""
    from shoal.teamfile import load_team

    team = load_team(path, model=model)
    url = team.store if store is None else url_of(store)
    told = partial(team.told, task, given.context)
    return _job(team.open, told, given, url=url, budget=team.budget, report=team.report)


def _job(
    opened: Callable[[AgentRuntime], Awaitable[Any]], told: Callable[[], tuple[Any, str]], given: Given, *, url: str,
    budget: Budget | None = None, report: str | None = None,
) -> TeamJob:  # fmt: skip
    run_id = RealClock().new_id() if given.run_id is None else given.run_id
    if not run_id.strip():
        raise ConfigError("--run-id is empty", note="Leave it out for a new id.")
    path = given.report or Path(report or f"report-{file_name(run_id)}.md")
    check_writable(path, (".md", ".json"))
    if (folder := files_folder(path, run_id)).exists():
        check_writable(folder / "any")
    if given.events is not None:
        check_writable(given.events)
    return TeamJob(url=url, open=opened, told=told, run_id=run_id, budget=budget, report=path, given=given)


async def carry_out(job: TeamJob, interruption: Interruption) -> int:
    """Run it, show it, write its report, and return the exit code."""
    return await in_runtime(job.url, interruption, lambda runtime: _TeamRun(job, runtime, interruption).work())


class _TeamRun:
    """One run, from its begin to its report."""

    def __init__(self, job: TeamJob, runtime: AgentRuntime, interruption: Interruption) -> None:
        self._job = job
        self._given = job.given
        self._runtime = runtime
        self._interruption = interruption
        self._out = sys.stderr if job.given.json else sys.stdout
        self._somebody = can_ask()
        self._stuck: Approval | None = None  # what nobody here can decide
        self._giving_up: asyncio.Future[None] | None = None
        self._interrupted = False

    async def work(self) -> int:
        """Carry it out."""
        print(f"run {visible(self._job.run_id)}", file=self._out, flush=True)
        handle = await self._begin(await self._job.open(self._runtime))
        view = view_of(self._job.run_id, plain=self._given.plain, quiet=self._given.json)
        with view, events_file(self._given.events) as write:
            asker = Asker(
                self._runtime.runs, self._job.run_id, ask=self._somebody, yes=self._given.yes, leave=view.paused,
                stuck=lambda asked: self._give_up(asked, handle),
            )  # fmt: skip
            self._interruption.saying = lambda: view.say(f"stopping run {self._job.run_id}; once more to end now")
            follower = Follower(view.take, write, asker.take)
            following = asyncio.ensure_future(follower.follow(handle.events()))
            asking = asyncio.ensure_future(asker.work())
            await self._until_end(handle, asking)
            await following
        code = self._end(handle)
        if asking.done() and not asking.cancelled():
            asking.result()  # why nobody could be asked
        for error in follower.errors:
            raise error
        return code

    async def _begin(self, pattern: Any) -> RunHandle[Any]:
        """Start it, and see that it is this run. Raises what keeps it from being one."""
        given, job = self._given, self._job
        task, context = job.told()
        handle = self._runtime.run(
            pattern, task, run_id=job.run_id, budget=job.budget, context=context,
            options=RunOptions(on_wait="wait" if self._somebody or given.yes else "return"),
        )  # fmt: skip
        await handle.begun()
        work = handle.work
        if work is not None and work.done() and not work.cancelled():
            error = work.exception()
            if isinstance(error, RunConflictError):
                error.add_note(_difference(self._runtime.runs.get(job.run_id), task))
            if isinstance(error, RunActiveError):
                error.add_note(f"On the command line: shoal runs watch {job.run_id}, shoal runs cancel {job.run_id}.")
            if isinstance(error, _NO_RUN):
                raise error
        return handle

    async def _until_end(self, handle: RunHandle[Any], asking: asyncio.Future[None]) -> None:
        assert handle.work is not None, "it was started"
        try:
            await asyncio.wait([handle.work, asking], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._interrupted = True
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        if not handle.work.done():
            await handle.cancel("interrupted" if self._interrupted else "nobody can be asked")
        asking.cancel()
        await asyncio.wait([asking])
        if self._giving_up is not None:
            await self._giving_up

    def _give_up(self, asked: Approval, handle: RunHandle[Any]) -> None:
        """End the run: what it asks next can only be decided by a person, and there is none."""
        self._stuck = asked
        self._giving_up = asyncio.ensure_future(handle.cancel("waits for a person"))

    # -- its end

    def _end(self, handle: RunHandle[Any]) -> int:
        """Write the report, say how it ended, and return the exit code."""
        runs, run_id = self._runtime.runs, self._job.run_id
        record = runs.get(run_id)
        result = _result(handle, record)
        report = Report(record, runs.steps(run_id), result)
        report.write(self._job.report)
        files = getattr(result, "files", None) or {}
        folder = files_folder(self._job.report, run_id)
        lost = write_files(folder, files) if files else []
        for fault in lost:
            _say(f"a file that was handed in is not written: {fault}", "")
        if self._given.json:
            print(report.to_json(), end="", flush=True)
        else:
            self._print(record, result, folder, len(files) - len(lost))
        return self._code(result)

    def _print(self, record: RunRecord, result: Any, folder: Path, files: int) -> None:
        content = str(getattr(result, "content", result))
        if content.strip():
            print(f"\n{visible(content.rstrip())}\n")
        handed_in = f", {files} file{'s' * (files > 1)} in {folder}" if files else ""
        if getattr(result, "success", False) and hasattr(result, "not_ready"):  # else standard error says why
            from shoal.orchestration.workflow.reporttext import ready_text

            print(visible(ready_text(result.ready, result.not_ready)))
        print(f"report in {self._job.report}{handed_in}; {money(record.usage)}", flush=True)

    def _code(self, result: Any) -> int:
        """Say on standard error why it did not succeed, and what can be done, and return the exit code."""
        stopped, error = getattr(result, "stopped", None), getattr(result, "error", None)
        again = f"--run-id {shlex.quote(self._job.run_id)}"
        if self._stuck is not None or stopped == "waiting":
            self._say_what_waits(again)
            return WAITS
        if self._interrupted and stopped == "cancelled":
            _say("interrupted", f"The same command with {again} goes on.")
            return INTERRUPTED
        if stopped == "budget":
            _say(f"stopped: {error}", f"The same command with {again} and a larger --budget goes on.")
            return BUDGET_SPENT
        if getattr(result, "success", True):
            return 0
        _say(f"{f'stopped ({stopped})' if stopped else 'failed'}: {error}", "")
        return FAILED

    def _say_what_waits(self, again: str) -> None:
        url, run_id = self._job.url, shlex.quote(self._job.run_id)
        store = "" if url == url_of(None) else f" --store {shlex.quote(shown(url))}"
        for asked in self._runtime.runs.approvals(self._job.run_id):
            _say(
                f"waits for an approval: {question_text(asked)}",
                f"`shoal runs approve {run_id} {shlex.quote(asked.id)}{store}`, or deny; "
                f"then the same command with {again} goes on.",
            )


def _say(text: str, note: str) -> None:
    print(f"shoal: {visible(' '.join(text.split()))}", file=sys.stderr)
    if note:
        print(f"  {note}", file=sys.stderr)


def _told(pattern: Any, task: str, context: Mapping[str, str]) -> tuple[Any, str]:
    """Return what a pattern is run on, and the context beside it: one that reads a brief gets both in it."""
    reports = sys.modules.get("shoal.orchestration.workflow.report")
    if context and reports is not None and getattr(pattern, "result_type", None) is reports.WorkflowReport:
        return {"task": task, "context": dict(context)}, ""
    return task, "\n".join(f"{key}: {value}" for key, value in context.items())


def _difference(record: RunRecord, given: Any) -> str:
    """Return the task of a run that was begun with another input, and what else can be the other input."""
    before, now = _words_of(record.input), _words_of(given)
    also = " The [brief] of its file, or its --context, was another." if before == now else ""
    return f"Its task was: {clip(before, 500)}{also}"


def _words_of(given: Any) -> str:
    return str(given.get("task") if isinstance(given, dict) else given)


def _result(handle: RunHandle[Any], record: RunRecord) -> Any:
    """Return what the run returned, or, where it raised, what is known of its end."""
    work = handle.work
    assert work is not None and work.done(), "it has ended"
    error = None if work.cancelled() else work.exception()
    if error is None and not work.cancelled():
        return work.result()
    if isinstance(error, _NO_RUN):
        raise error
    from shoal.orchestration.results import Result

    text = record.error or (str(error) if error else "cancelled")
    return Result(
        success=False, error=text, stopped=record.stopped or "error", usage=record.usage, run_id=record.run_id
    )
