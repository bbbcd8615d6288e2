"""Teams out of files, in real runtimes: every pattern, every isolation, a real server, and what survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal import AgentRuntime, load_team
from shoal.errors import AgentNameTakenError
from shoal.kernel.run import RunStep
from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.orchestrator import Orchestrator
from tests.llm_server import LlmServer, failing, say
from tests.support.levels import chosen, need
from tests.support.modules import own_modules

Run = Callable[..., Any]

MCP_SERVER = Path(__file__).parents[1] / "support" / "mcp_server.py"
KEY = "sk-live-0123456789abcdef"
PATTERNS = {
    "parallel": ('timeout = "45s"', ""),
    "pipeline": ("stop_on_error = false", ""),
    "supervisor": ('planner = "C"\nsynthesizer = "D"', ""),
    "debate": ('rounds = 1\nmoderator = "C"', ""),
    "team": ('turn = "round_robin"\nmax_turns = 3', ""),
    "orchestrator": ('plan = """1. Write it → Need A\\n2. Look at it → Need B"""', "lead = true"),
}
SCRIPT = {
    "A": ["a0", "a1", "a2"],
    "B": ["b0", "b1", "b2"],
    "C": ['[{"worker": "A", "task": "do it"}]', "[]", "c2"],
    "D": ["d0"],
}


@pytest.fixture(autouse=True)
def modules_of_this_test(tmp_path: Path) -> Iterator[None]:
    """Forget the modules of its folder."""
    with own_modules(tmp_path):
        yield


def write(folder: Path, pattern: str, options: str = "", agents: str = "", last: str = "", model: str = "") -> Path:
    (folder / "script.json").write_text(json.dumps(SCRIPT))
    model = model or 'model = "scripted:script.json"'
    text = f'[team]\nname = "crew"\npattern = "{pattern}"\n[pattern]\n{options}\n{agents}'
    names = ("A", "B", "C", "D") if pattern == "supervisor" else ("A", "B", "C")
    text += "".join(f'[agents.{name}]\nrole = "{name}"\n{model}\n' for name in names) if not agents else ""
    path = folder / "team.toml"
    path.write_text(text + last + "\n")
    return path


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_runs_from_a_file(run: Run, tmp_path: Path, pattern: str) -> None:
    options, last = PATTERNS[pattern]
    team = load_team(write(tmp_path, pattern, options, last=last))

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            result = await team.run(runtime, "Say something", run_id="r1", context={"language": "python"})
            assert result.error is None and result.stopped in (None, "limit")
            said = [step for step in runtime.runs.steps("r1") if step.kind == "model"]
            assert {"A", "B"} & {step.agent_name for step in said}
            again = await team.run(runtime, "Say something", run_id="r1", context={"language": "python"})
            assert msgspec.json.encode(again) == msgspec.json.encode(result)
            assert [step for step in runtime.runs.steps("r1") if step.kind == "model"] == said
            assert runtime.runs.get("r1").pattern == "crew"

    run(main)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_runs_with_echo(run: Run, tmp_path: Path, pattern: str) -> None:
    options, last = PATTERNS[pattern]
    team = load_team(write(tmp_path, pattern, options, last=last), model="echo")

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            result = await team.run(runtime, "Say something")
            assert result.error is None and result.content.strip()

    run(main)


def test_an_orchestrator_has_its_lead_its_roles_and_the_runner(run: Run, tmp_path: Path) -> None:
    need("bubblewrap")
    last = 'instances = 2\n[agents.Lead]\nlead = true\n[runner]\nisolation = "bubblewrap"'
    team = load_team(write(tmp_path, "orchestrator", 'max_rework = 1\ntask_timeout = "30min"', last=last), model="echo")

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            pattern = await team.open(runtime)
            assert isinstance(pattern, Orchestrator)
            assert (pattern.name, pattern.lead.name) == ("crew", "Lead")
            assert [(role, [agent.name for agent in agents]) for role, agents in pattern.teams.items()] == [
                *(("A", ["A"]), ("B", ["B"]), ("C", ["C", "C-2"]))
            ]
            assert pattern.config == OrchestratorConfig(max_rework=1, task_timeout=1800.0)
            assert pattern.runner is not None
            done = await pattern.runner.run({"test_x.py": "def test_x():\n    assert 1\n"})
            assert done.tests is not None and done.tests.passed == 1
            assert (await team.open(runtime)).runner is pattern.runner

    run(main)


def test_the_budget_of_the_file_holds(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "pipeline", last="[budget]\nmax_calls = 2")
    team = load_team(path)

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            result = await team.run(runtime, "Say something", run_id="r1")
            assert (result.stopped, result.usage.calls) == ("budget", 2)
            path.write_text(path.read_text().replace("max_calls = 2", "max_calls = 9"))
            result = await load_team(path).run(runtime, "Say something", run_id="r1")
            assert (result.success, result.usage.calls) == (True, 3)

    run(main)


TOOLS = """
import os
import near

def where(word: str) -> str:
    '''Where it runs.'''
    return f"{near.up(word)} {os.getpid()} {os.environ.get('TEAM_TEST_KEY')}"
"""


def isolated(folder: Path, level: str) -> Path:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "note.txt").write_text("the word is plum\n")
    (folder / "tools.py").write_text(TOOLS)
    (folder / "near.py").write_text("def up(word):\n    return word.upper()\n")
    calls = [
        {"name": "where", "arguments": {"word": "abc"}},
        {"name": "search_docs", "arguments": {"text": "PLUM"}},
        {"name": "read_docs", "arguments": {"path": "../tools.py"}},
    ]
    SCRIPT["A"] = [{"tool_calls": calls}, "done", "again"]  # type: ignore[list-item]
    agents = (
        f'[agents.A]\nmodel = "scripted:script.json"\nisolation = "{level}"\ntools = ["tools.py:where", "folder:docs"]\n'
        f'[agents.B]\nmodel = "echo"\nisolation = "{level}"\ninstances = 2\n[agents.C]\nmodel = "echo"\n'
    )
    try:
        return write(folder, "parallel", agents=agents)
    finally:
        SCRIPT["A"] = ["a0", "a1", "a2"]


@pytest.mark.parametrize("level", chosen("thread", "process", "bubblewrap", long=("gvisor",)))
def test_agents_run_where_the_file_says(run: Run, tmp_path: Path, level: str) -> None:
    if level not in ("thread", "process"):
        need(level)
    team = load_team(isolated(tmp_path, level))

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            result = await team.run(runtime, "hello", run_id="r1")
            assert [(each.agent_name, each.success) for each in result.results] == [
                *(("A", True), ("B", True), ("B-2", True), ("C", True))
            ], result
            assert [str(runtime.agents.get(name).isolation) for name in ("A", "B", "B-2")] == [level] * 3
            used = [
                each for task in runtime.runs.list() for each in runtime.runs.steps(task.run_id) if each.kind == "tool"
            ]
            told = told_by(used, name=True)
            assert told["where"].startswith("ABC ") and told["where"].endswith(" None")
            assert (told["where"].split()[1] == str(os.getpid())) == (level == "thread")
            assert told["search_docs"] == "note.txt:1: the word is plum"
            assert "a path is relative" in told["read_docs"]
            again = await team.run(runtime, "hello once more", run_id="r2")  # the same agents
            assert again.success
            await runtime.restart()
            assert (await team.run(runtime, "and after a restart", run_id="r3")).success

    run(main)


def test_a_team_that_cannot_be_opened_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    team = load_team(isolated(tmp_path, "thread"))

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            other = await runtime.register_agent("B-2", lambda task: {})
            with pytest.raises(AgentNameTakenError):
                await team.open(runtime)
            assert [agent.name for agent in runtime.list_agents()] == ["B-2"]
            await runtime.unregister_agent(other)
            assert (await team.run(runtime, "hello")).success

    run(main)


def test_walls_that_are_not_there_are_told_before_any_call(tmp_path: Path) -> None:
    (tmp_path / "node.py").write_text(NODE)
    command = [sys.executable, "node.py"]
    nowhere = {**os.environ, "PATH": str(tmp_path / "nowhere")}
    runner = '[agents.A]\nmodel = "scripted:script.json"\ntools = ["python"]\n[runner]\nisolation = "bubblewrap"\n'
    plan = 'plan = "1. Write it → Need B"'
    makers: list[Callable[[], Path]] = [
        lambda: isolated(tmp_path, "bubblewrap"),
        lambda: write(tmp_path, "pipeline", agents=runner),
        lambda: write(tmp_path, "orchestrator", plan, last='lead = true\n[runner]\nisolation = "bubblewrap"'),
    ]
    for make in makers:
        path = make()
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=nowhere, check=False
        )
        assert "shoal.errors.setup.IsolationUnavailableError: " in done.stderr, (path.read_text(), done.stderr)
        assert "bwrap" in done.stderr and done.stdout == ""


def test_the_python_tools_run_in_a_box(run: Run, tmp_path: Path) -> None:
    need("bubblewrap")
    files = {
        "calc.py": "def add(a, b):\n    return a + b\n",
        "test_calc.py": "from calc import add\n\ndef test_add():\n    assert add(1, 2) == 3\n",
    }
    calls = [
        {"name": "run_python", "arguments": {"code": "import os, sys; print(sys.argv, os.path.exists('team.toml'))"}},
        {"name": "run_pytest", "arguments": {"files": files}},
        {"name": "run_python", "arguments": {"code": "x", "files": {"../x": "y"}}},
    ]
    agents = '[agents.A]\nmodel = "scripted:s.json"\ntools = ["python"]\n[runner]\nisolation = "bubblewrap"\n'
    path = write(tmp_path, "pipeline", agents=agents)
    (tmp_path / "s.json").write_text(json.dumps([{"tool_calls": calls}, "done"]))
    team = load_team(path)

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            result = await team.run(runtime, "Calculate", run_id="r1")
            assert result.success, result.error
            told = told_by([step for step in runtime.runs.steps("r1") if step.kind == "tool"])
            first, tests, refused = told["tool1"], told["tool2"], told["tool3"]
            assert first == "exit code 0\n--- stdout\n['main.py'] False\n"
            assert tests.startswith("1 passed, 0 failed, 0 errors, 0 skipped\ncoverage 100 %\nexit code 0")
            assert refused.startswith("Error: ") and "../x" in refused

    run(main)


@pytest.mark.spec("W21")
@pytest.mark.parametrize("level", ["inline", "process", "bubblewrap"])
@pytest.mark.parametrize("behaviour", ["answer", "refusal"])
def test_a_key_is_in_no_result_event_or_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, behaviour: str
) -> None:
    if level == "bubblewrap":
        need(level)
    monkeypatch.setenv("TEAM_TEST_KEY", KEY)
    answer = say("fine") if behaviour == "answer" else failing("unauthorized", message=f"wrong key {KEY}")
    with LlmServer(answer) as server:
        agents = (
            f'[agents.A]\nmodel = "gpt-5-mini"\nprice = [1.0, 2.0]\nbase_url = "{server.base_url}"\nretries = 0\n'
            f'api_key_env = "TEAM_TEST_KEY"\nisolation = "{level}"\n'
        )
        team = load_team(write(tmp_path, "pipeline", agents=agents))

        async def main() -> None:
            async with AgentRuntime(tmp_path / "shoal.db") as runtime:
                result = await team.run(runtime, "hello", run_id="r1")
                assert result.success == (behaviour == "answer")
                shown = [repr(result), repr(team.agents), repr(runtime.runs.get("r1"))]
                shown += [repr(event) async for event in runtime.runs.events("r1")]
                shown += [repr(event) for event in runtime.query_events(limit=1000)]
                shown += [repr(agent) for agent in runtime.list_agents()]
                assert KEY not in "".join(shown)

        run(main)
        assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes(), file


def told_by(steps: list[RunStep], *, name: bool = False) -> dict[str, str]:
    """Return what tools said, by their names, else by their places in the reply."""
    found = {}
    for step in steps:
        place, _, tool = step.key.rpartition("/")[2].partition(":")
        assert isinstance(step.output, dict)
        found[tool if name else place] = step.output["content"]
    return found


def test_tools_of_a_server_and_of_a_host(run: Run, tmp_path: Path) -> None:
    with LlmServer(say("fine")) as server:
        calls = [
            {"name": "add", "arguments": {"a": 1, "b": 2}},
            {"name": "fetch_127_0_0_1", "arguments": {"url": "/nowhere"}},
        ]
        agents = (
            f'[agents.A]\nmodel = "scripted:s.json"\ntools = ["mcp.sums", "fetch:{server.url}"]\n'
            f"[mcp.sums]\ncommand = {json.dumps([sys.executable, str(MCP_SERVER)])}\n"
        )
        path = write(tmp_path, "pipeline", agents=agents)
        (tmp_path / "s.json").write_text(json.dumps([{"tool_calls": calls}, "done"]))
        team = load_team(path)

        async def main() -> None:
            async with AgentRuntime(tmp_path / "shoal.db") as runtime:
                result = await team.run(runtime, "Calculate", run_id="r1")
                assert result.success, result.error
                told = told_by([step for step in runtime.runs.steps("r1") if step.kind == "tool"])
                assert told["tool1"] == "3"
                assert told["tool2"].startswith(f"404 Not Found {server.url}/nowhere")
            for each in team._casting.members[0].agents:
                await each.toolbox.aclose()

        run(main)


NODE = """
import asyncio, sys
from shoal import AgentRuntime, load_team

async def main():
    async with AgentRuntime("shoal.db") as runtime:
        result = await load_team("team.toml").run(runtime, "hello", run_id="r1")
        print(result.content)

asyncio.run(main())
"""
SLOW = """
import os, time

def slow(word: str) -> str:
    '''Take a while.'''
    with open("calls.log", "a") as log:
        log.write("slow\\n")
    while not os.path.exists("go"):
        time.sleep(0.01)
    return "slow " + word
"""


def test_a_killed_run_with_an_agent_in_a_process_goes_on(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(SLOW)
    (tmp_path / "node.py").write_text(NODE)
    calls = [{"tool_calls": [{"name": "slow", "arguments": {"word": "x"}}]}, "b done"]
    agents = (
        '[agents.A]\nmodel = "scripted:script.json"\n'
        '[agents.B]\nmodel = "scripted:b.json"\nisolation = "process"\ntools = ["tools.py:slow"]\n'
    )
    write(tmp_path, "pipeline", agents=agents)
    (tmp_path / "b.json").write_text(json.dumps(calls))
    command = [sys.executable, "node.py"]
    first = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    try:
        log, end = tmp_path / "calls.log", time.monotonic() + 60
        while not log.exists():
            assert first.poll() is None and time.monotonic() < end
            time.sleep(0.01)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    (tmp_path / "go").touch()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert again.stdout == "b done\n"
