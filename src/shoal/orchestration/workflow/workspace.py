"""Files that an agent works on before it hands them in, and the tools by which its model does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.fences import shortened
from shoal.kernel.scope import Scope, StepOrder, Ticket, current_scope
from shoal.orchestration.workflow.delivery import CodeRun, CodeRunner
from shoal.orchestration.workflow.paths import check_files, check_path

__all__ = ["Workspace", "can_take_tools", "with_tools"]

_FILE = "file"
_CODE = "code"
_OUTPUT_CHARS = 12_000
_LISTED = 20


class Workspace:
    """Files in memory. In a run each write and each test run is a step of its journal, at the place of the tool's call.

    Tools that a model calls at once have their turn in the order of the calls: tests run on what was written before.

    Args:
        runner: runs the tests.
        files: what is there before, text by path.
        timeout: seconds for the tests, below the time-out of a tool.

    Attributes:
        files: all there is, by path.
        written: what was written here, by path.
    """

    def __init__(self, runner: CodeRunner, files: Mapping[str, str] | None = None, timeout: float = 50.0) -> None:
        self._runner = runner
        self._timeout = timeout
        self._name = ""
        self._turn = asyncio.Lock()
        self.files = dict(files or {})
        self.written: dict[str, str] = {}

    @property
    def tools(self) -> list[Callable[..., Awaitable[str]]]:
        """What an agent takes as its tools."""
        return [self.write_file, self.read_file, self.list_files, self.run_tests]

    def begin(self, files: Mapping[str, str], handed: Mapping[str, str]) -> None:
        """Begin a piece of work: *files* are there before it, *handed* were handed in for it already."""
        self.files = {**files, **handed}
        self.written = dict(handed)

    def restore(self, place: Scope, name: str) -> None:
        """Put back what *name* has written below *place* in earlier lives of the run; from now on it is whose this is.

        Call it before each call of the agent, with the place of that call: while an earlier call is replayed, what a later
        one has written must not be there yet.
        """
        self._name = name
        above = f"{place.path}/" if place.path else ""
        for step in place.run.recorded.values():
            is_write = step.kind == _FILE and step.output is not None
            if is_write and step.agent_name == name and step.key.startswith(above):
                self._put(**msgspec.convert(step.output, dict[str, str]))

    def _put(self, path: str, content: str) -> None:
        self.files[path] = self.written[path] = content

    async def write_file(self, path: str, content: str) -> str:
        """Write a file of your workspace, in place of one that is there. What you write is handed in with your work.

        Args:
            path: relative, with "/" between its parts, as in "src/auth.py".
            content: the whole text of the file.
        """
        written = {"path": path, "content": content}

        async def write(ticket: Ticket) -> Any:
            return written

        async with self._turn:
            check_files({**self.files, path: content})
            await self._step(_FILE, digest_of(path, content), write)
            self._put(**written)
        return f"{path} is written: {len(content.splitlines())} lines"

    async def read_file(self, path: str) -> str:
        """Read a file of your workspace.

        Args:
            path: relative, as list_files shows it.
        """
        check_path(path)
        async with self._turn:
            if path not in self.files:
                raise ValueError(f"there is no file {path!r}; the files are: {_listed(self.files)}")
            return self.files[path]

    async def list_files(self) -> str:
        """List the files of your workspace, one per line, with their numbers of lines."""
        async with self._turn:
            lines = [f"{path} ({len(text.splitlines())} lines)" for path, text in sorted(self.files.items())]
        return "\n".join(lines) or "There are no files yet."

    async def run_tests(self) -> str:
        """Run the tests of your workspace (test_*.py and *_test.py) where they can harm nobody; shows how they ended.

        You get the numbers of tests, the coverage of the other Python files, and what was printed.
        """

        async def run(ticket: Ticket) -> Any:
            return msgspec.to_builtins(_short(await self._runner.run(dict(self.files), timeout=self._timeout)))

        async with self._turn:
            done = await self._step(_CODE, "", run)  # what it runs on is on record itself: later writes change nothing
        return _run_text(msgspec.convert(done, CodeRun), self._timeout)

    async def _step(self, kind: str, digest: str, do: Callable[[Ticket], Awaitable[Any]]) -> Any:
        """Do it as a step at the present place; outside of runs nothing is recorded."""
        scope = current_scope.get()
        if scope is None:
            return await do(Ticket(""))
        number = scope.ordinal(kind)
        segment = kind if number == 1 else f"{kind}.{number}"
        order = StepOrder(segment=segment, kind=kind, agent_name=self._name, digest=digest)
        return (await scope.step(order, do)).output


def can_take_tools(agent: Any) -> bool:
    """Tell whether *agent* can be had with other tools."""
    return callable(getattr(agent, "fork", None)) and isinstance(getattr(agent, "tools", None), Sequence)


def with_tools(agent: Any, space: Workspace) -> Any:
    """Return *agent* with the tools of *space* beside its own. Raises ValueError: two have one name."""
    try:
        return agent.fork(tools=[*agent.tools, *space.tools])
    except ValueError as error:
        names = ", ".join(tool.__name__ for tool in space.tools)
        raise ValueError(f"agent {agent.name!r:.80} gets the tools {names} where code is run: {error}") from error


def _listed(files: Mapping[str, str]) -> str:
    names = sorted(files)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(names[:_LISTED]) or "none") + more


def _short(run: CodeRun) -> CodeRun:
    kept = {name: shortened(getattr(run, name), _OUTPUT_CHARS) for name in ("stdout", "stderr")}
    return msgspec.structs.replace(run, **kept)


def _run_text(run: CodeRun, timeout: float) -> str:
    facts = []
    if run.timed_out:
        facts.append(f"The tests did not end within {timeout:g} s and were killed.")
    if run.fault:
        facts.append(f"They were broken off: {run.fault}.")
    tests = run.tests
    if tests is None or not (tests.total or tests.skipped):
        facts.append("No tests were run: tests are functions test_... in files test_*.py.")
    else:
        counts = {"passed": tests.passed, "failed": tests.failed, "errors": tests.errors, "skipped": tests.skipped}
        facts.append("Tests: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count))
        facts += [f"- {name}" for name in tests.failures[:_LISTED]]
        facts += [f"- and {len(tests.failures) - _LISTED} more"] if len(tests.failures) > _LISTED else []
    if run.coverage is not None:
        facts.append(f"Coverage: {run.coverage:.4g} %")
    output = [text for text in (run.stdout, run.stderr) if text.strip()]
    return "\n".join([*facts, *output])
