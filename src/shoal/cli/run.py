"""``shoal run``."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import msgspec
import typer

from shoal.cli.ending import INTERRUPTED, Interruption, end_now, left_behind, name_pool
from shoal.cli.options import Json, Store, input_of, seconds, url_of
from shoal.cli.show import line, text_of
from shoal.errors import ConfigError, nearest
from shoal.kernel.agent import Isolation
from shoal.kernel.clock import RealClock
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.task import Task, TaskSpec, TaskStatus
from shoal.observe.log import configure_logging
from shoal.runtime import AgentRuntime

__all__ = ["Job", "load", "run"]

_ISOLATION = (
    "Where its code runs; auto: behind the strongest walls that this machine has (`shoal boxes probe`)."
    "  [default: inline]"
)
_PATIENCE_SECONDS = 1.0
"""What the end may take before it is said what is waited for."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run."""

    url: str
    name: str
    source: Any
    inputs: list[dict[str, Any]]
    isolation: str | None
    concurrency: int
    timeout_seconds: float | None
    max_retries: int
    json: bool


def run(
    target: Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="A class, object or function in a file.")],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help='One task each: a JSON object; any other text is {"message": TEXT}.'),
    ],
    isolation: Annotated[Isolation | None, typer.Option(help=_ISOLATION)] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="How many tasks it works on at a time.")] = 1,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="For each attempt, as 90s or 10m.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a task is tried again after an error.")] = 0,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Register it under this name.  [default: NAME]")
    ] = None,
    store: Store = None,
    json: Json = False,
) -> int:
    """Register an agent, submit a task for each INPUT, and print each result as it ends.

    With --json a line for each task: index (from 0, in the order given), task_id, status, output, error_type,
    error_message, seconds. Ends with 1 when a task did not complete. Tasks that an earlier run was killed over are
    still in the store: they are executed as well, without being shown.

    Ctrl-C cancels what has not ended and gives it cancel_grace_seconds (5) to clean up; once more ends at once. Code
    that does not end when it is told to, as a plain function that blocks, is named on standard error and left.

    \b
    Example:
      shoal run hello.py:Greeter '{"name": "Alice"}' '{"name": "Bob"}' --concurrency 2
    """
    source = load(target)
    job = Job(
        url=url_of(store),
        name=name or target.rpartition(":")[2],
        source=source,
        inputs=[input_of(text) for text in inputs],
        isolation=None if isolation is None else str(isolation),
        concurrency=concurrency,
        timeout_seconds=None if timeout is None else seconds(timeout),
        max_retries=retries,
        json=json,
    )
    configure_logging("WARNING")
    with Interruption() as interruption, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(_run(job, interruption))
        except asyncio.CancelledError:  # by Ctrl-C, before there was anything to cancel
            return INTERRUPTED


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def load(target: str) -> Any:
    """Return what ``FILE.py:NAME`` names; the file's folder is searched for what it imports, as Python does.

    Raises:
        ConfigError: there is no such file or name, or the file raised.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise ConfigError(f"{target[:80]!r} names no agent", note="Write FILE.py:NAME, as hello.py:Greeter.")
    path = Path(place)
    if not path.is_file():
        raise ConfigError(f"there is no file {place[:200]}", note="Write FILE.py:NAME, as hello.py:Greeter.")
    module = _import(path)
    found: Any = module
    for word in name.split("."):
        if not hasattr(found, word):
            known = [known for known in vars(found) if not known.startswith("_")]
            raise ConfigError(f"{place} has no {name[:80]!r}{nearest(word, known)}")
        found = getattr(found, word)
    return found


def _import(path: Path) -> ModuleType:
    sys.path.insert(0, str(path.resolve().parent))
    name = path.stem if path.stem not in sys.modules and path.stem.isidentifier() else f"shoal_run_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file", note="Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{path} cannot be loaded: {type(error).__name__}: {error}",
            note=f"{_where(error, path)}--debug shows more.",
        ) from error
    return module


def _where(error: BaseException, path: Path) -> str:
    frame, number = error.__traceback__, None
    while frame is not None:
        if Path(frame.tb_frame.f_code.co_filename).resolve() == path.resolve():
            number = frame.tb_lineno
        frame = frame.tb_next
    return "" if number is None else f"Raised in line {number}. "


async def _run(job: Job, interruption: Interruption) -> int:
    interruption.cancels_this()
    name_pool()
    runtime = AgentRuntime(store=job.url, resource_limits=ResourceLimit(max_task_queue_size=None))
    await runtime.start()
    try:
        code = await _work(job, runtime, interruption)
    finally:
        interruption.ending = True
        await _stop(runtime, quiet=interruption.heard)
    if left := await left_behind(runtime.settings.cancel_grace_seconds):
        end_now(code, left)
    return code


async def _work(job: Job, runtime: AgentRuntime, interruption: Interruption) -> int:
    agent_id = await runtime.register_agent(
        job.name,
        job.source,
        isolation=job.isolation,  # type: ignore[arg-type]
        max_concurrent_tasks=job.concurrency,
    )
    await runtime.start_agent(agent_id)
    spec = TaskSpec(name=job.name, agent=agent_id, timeout_seconds=job.timeout_seconds, max_retries=job.max_retries)
    ids = await runtime.submit_tasks([msgspec.structs.replace(spec, input_data=given) for given in job.inputs])
    order = {task_id: index for index, task_id in enumerate(ids)}
    interruption.standing = lambda: _standing(runtime, order)
    failed = 0
    try:
        with _progress(len(ids), shown=not job.json) as advance:
            async for task in runtime.as_completed(ids):
                _show(order.pop(task.task_id), task, job.json)
                failed += task.status is not TaskStatus.COMPLETED
                advance()
    except asyncio.CancelledError:
        await runtime.tasks.cancel_many(list(order), "Interrupted")
        for task_id, index in order.items():  # it may have ended in that moment
            task = runtime.get_task_status(task_id)
            if job.json or task.status is not TaskStatus.CANCELLED:
                _show(index, task, job.json)
        return INTERRUPTED
    if failed and not job.json:
        print(f"{failed} of {len(ids)} failed", file=sys.stderr)
    return 1 if failed else 0


def _standing(runtime: AgentRuntime, order: dict[str, int]) -> tuple[int, int]:
    running = len(order.keys() & set(runtime.tasks.executing()))
    return running, len(order) - running


async def _stop(runtime: AgentRuntime, *, quiet: bool) -> None:
    """Stop, which is bounded: what was told to end has its grace, and is left then."""

    def say() -> None:
        print("waiting for what still runs; Ctrl-C ends it now", file=sys.stderr, flush=True)

    timer = None if quiet else RealClock().call_later(_PATIENCE_SECONDS, say)
    try:
        await runtime.stop()
    finally:
        if timer is not None:
            timer.cancel()


@contextlib.contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show how many have ended, on a terminal; the results are printed above."""
    if not (shown and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        bar = progress.add_task("tasks", total=total)
        yield lambda: progress.advance(bar)


def _show(index: int, task: Task, json: bool) -> None:
    took = None
    if task.started_at is not None and task.completed_at is not None:
        took = (task.completed_at - task.started_at).total_seconds()
    if json:
        line(
            {"index": index, "task_id": task.task_id, "status": task.status, "output": task.output_data}
            | {"error_type": task.error_type, "error_message": task.error_message, "seconds": took}
        )
        return
    result = (
        _result(task) if task.status is TaskStatus.COMPLETED else f"{task.error_type or ''}: {task.error_message or ''}"
    )
    print(f"[{index}] {task.status}{'' if took is None else f' in {took:.3f} s'}: {result}", flush=True)


def _result(task: Task) -> str:
    output = task.output_data
    if isinstance(output, dict) and set(output) == {"content"}:
        return text_of(output["content"])
    return text_of(output)
