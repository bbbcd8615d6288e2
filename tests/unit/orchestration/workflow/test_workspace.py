"""The files of an agent at work: what its tools say, what of it is on record, and what is there again after a death."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from shoal import Agent
from shoal.kernel.scope import Scope
from shoal.llm.doubles import scripted
from shoal.llm.model import ToolCall
from shoal.orchestration.calling import call
from shoal.orchestration.workflow.delivery import CodeRun
from shoal.orchestration.workflow.delivery import TestResult as Tests
from shoal.orchestration.workflow.orchestrator import Orchestrator
from shoal.orchestration.workflow.workspace import Workspace
from tests.support.replay import Lives, check_every_death
from tests.support.speakers import Calls

WRONG, RIGHT = "def f():\n    return 1\n", "def f():\n    return 2\n"
TEST = "from a import f\n\n\ndef test_f():\n    assert f() == 2\n"


class Judge:
    """A runner that looks whether ``a.py`` is right, and counts its runs."""

    def __init__(self, calls: Calls | None = None) -> None:
        self.runs: list[dict[str, str]] = []
        self._calls = calls

    async def run(
        self, files: Mapping[str, str], command: Sequence[str] | None = None, timeout: float = 300.0
    ) -> CodeRun:
        self.runs.append(dict(files))
        if self._calls is not None:
            self._calls.made.append((self._calls.life, f"tests of {files['a.py']!r}", ""))
        if files.get("a.py") == RIGHT:
            return CodeRun(exit_code=0, stdout="1 passed", tests=Tests(passed=1), coverage=200 / 3)
        return CodeRun(exit_code=1, stdout="x" * 50_000, tests=Tests(failed=1, failures=("test_f",)), coverage=100.0)


def test_what_the_tools_say() -> None:
    async def main() -> None:
        judge = Judge()
        space = Workspace(judge, {"README.md": "read me\n"})
        assert [each.__name__ for each in space.tools] == ["write_file", "read_file", "list_files", "run_tests"]
        assert await space.write_file("a.py", WRONG) == "a.py is written: 2 lines"
        assert await space.write_file("test_a.py", TEST) == "test_a.py is written: 5 lines"
        assert await space.list_files() == "README.md (1 lines)\na.py (2 lines)\ntest_a.py (5 lines)"
        assert await space.read_file("README.md") == "read me\n"
        told = await space.run_tests()
        assert told.startswith("Tests: 1 failed\n- test_f\nCoverage: 100 %\nxxx") and len(told) < 13_000
        await space.write_file("a.py", RIGHT)
        assert await space.run_tests() == "Tests: 1 passed\nCoverage: 66.67 %\n1 passed"
        assert space.written == {"a.py": RIGHT, "test_a.py": TEST}
        assert judge.runs[-1] == space.files == {"README.md": "read me\n", **space.written}

    asyncio.run(main())


@pytest.mark.parametrize("path", ["../a.py", "/etc/passwd", "a\\b", "README.md/x", ""])
def test_a_path_that_leads_outside_is_refused(path: str) -> None:
    async def main() -> None:
        space = Workspace(Judge(), {"README.md": ""})
        with pytest.raises(ValueError, match="the path"):
            await space.write_file(path, "x")
        with pytest.raises(ValueError, match=r"the path|there is no file"):
            await space.read_file(path)
        assert space.files == {"README.md": ""} and not space.written

    asyncio.run(main())


def test_a_file_that_is_too_large_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"'a\.py' has 1048577 bytes"):
            await Workspace(Judge()).write_file("a.py", "x" * ((1 << 20) + 1))

    asyncio.run(main())


def test_a_tool_that_is_called_as_one_of_these_is_named_before_anything_is_done() -> None:
    async def read_file(path: str) -> str:
        """Read a file of another place."""
        return path

    own = Agent(name="Developer", model="echo", tools=[read_file])
    lead = Agent(name="Lead", model="echo")
    with pytest.raises(
        ValueError, match=r"agent 'Developer' gets the tools write_file, read_file.*two tools are named"
    ):
        Orchestrator(lead, {"Developer": [own]}, runner=Judge())
    assert Orchestrator(lead, {"Developer": [own]}).runner is None


FACTS = [
    (CodeRun(timed_out=True, tests=Tests(passed=2, errors=1, failures=("late",))), "The tests did not end within 50 s"),
    (CodeRun(fault="memory limit 512 MiB", tests=Tests(errors=1)), "They were broken off: memory limit 512 MiB."),
    (CodeRun(exit_code=5, tests=Tests()), "No tests were run"),
]


@pytest.mark.parametrize(("run", "said"), FACTS)
def test_how_runs_end_is_told(run: CodeRun, said: str) -> None:
    class Ends(Judge):
        async def run(self, *given: Any, **more: Any) -> CodeRun:
            return run

    async def main() -> None:
        assert said in await Workspace(Ends()).run_tests()

    asyncio.run(main())


def _wants(number: int, name: str, **arguments: Any) -> ToolCall:
    return ToolCall(call_id=f"c{number}", name=name, arguments=msgspec.json.encode(arguments).decode())


SCRIPT: list[ToolCall | str] = [
    _wants(1, "write_file", path="a.py", content=WRONG),
    _wants(2, "write_file", path="test_a.py", content=TEST),
    _wants(3, "run_tests"),
    _wants(4, "write_file", path="a.py", content=RIGHT),
    _wants(5, "run_tests"),
    "It is done.",
]


class Coding:
    """A pattern of one agent that writes, runs, mends, runs."""

    name = "coding"

    def __init__(self, calls: Calls) -> None:
        self._space = Workspace(Judge(calls))
        self._agent = Agent(name="Coder", model=scripted(SCRIPT), tools=self._space.tools)

    async def carry_out(self, scope: Scope, input: Any, *, user_id: str, context: str) -> dict[str, Any]:
        """Let it work; returns what it says and the files."""
        self._space.restore(scope.child("work"), "Coder")
        said = await call(self._agent, input, key="work")
        return {"content": said.content, "error": said.error, "files": self._space.written}

    def decode_result(self, data: Any) -> Any:
        """Return it as it is."""
        return data


def test_a_program_that_dies_anywhere_has_its_files_again() -> None:
    whole = Lives(Coding, "work")
    result = whole.live().result
    assert result == {"content": "It is done.", "error": None, "files": {"a.py": RIGHT, "test_a.py": TEST}}
    kinds = [step.kind for step in whole.runs.steps("the-run")]
    assert (kinds.count("file"), kinds.count("code")) == (3, 2)
    assert check_every_death(Coding, "work") > 20


def test_a_recorded_test_run_is_not_repeated() -> None:
    lives = Lives(Coding, "work")
    points = lives.live().points
    runs = [number for number, point in enumerate(points, 1) if "code" in point and point.endswith("recorded")]
    assert len(runs) == 2
    for at in runs:
        again = Lives(Coding, "work")
        assert again.live(at).result is None
        assert again.live().result is not None
        assert len(again.calls.made) == 2, f"after {points[at - 1]}"


def test_nobody_gets_the_files_of_another() -> None:
    lives = Lives(Coding, "work")
    lives.live()
    steps = {step.key: step for step in lives.runs.steps("the-run")}

    class Run:
        recorded = steps

    for path, name, there in (
        ("work", "Coder", 2),
        ("work", "Coder-2", 0),
        ("wor", "Coder", 0),
        ("work/x", "Coder", 0),
    ):
        space = Workspace(Judge())
        space.restore(Scope(Run(), path), name)  # type: ignore[arg-type]
        assert len(space.files) == there, (path, name)
