"""The programs with which orchestration was first described run as they were written, but for the name of the package."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal import Agent, MessageStore, ThreadSafeMessageStore, UserContextStore, open_store
from shoal.llm import ModelRequest, ToolCall, scripted
from shoal.orchestration import Debate, ParallelAgents, Pipeline, Supervisor, SupervisorConfig
from shoal.orchestration.supervisor import create_research_team
from tests.examples.orchestration_snippets import (
    COMBINING,
    CONFIG,
    COSTS,
    DEBATE,
    ERRORS,
    EXPERT_PANEL,
    INSTANCES,
    PARALLEL,
    PIPELINE,
    PROS_AND_CONS,
    QUICK_START,
    RESEARCH_TEAM,
    SHARED_USER,
    STORES,
    SUPERVISOR,
    TIMEOUTS,
    TOOLS,
    TRANSFORMERS,
)
from tests.support.debaters import ballot
from tests.support.speakers import Said, virtual

pytestmark = pytest.mark.spec("O1")
Run = Callable[..., Any]
Names = dict[str, Any]


def answer(name: str, message: str) -> str:
    """Return what the agent *name* says: a plan, a ballot, or its name around the message."""
    if "Plan who does what" in message:
        plan = [{"worker": "Researcher", "task": "find"}, {"worker": "Writer", "task": "write"}]
        return "[]" if "What they have done so far" in message else json.dumps(plan)
    if "POSITION:" in message:
        return ballot(f"{name} has a view.", "agreed", "Optimist, Researcher, Advocate, Expert_1, policy")
    return f"{name}: {message.splitlines()[-1]}"


class Speaking:
    """An agent of nobody's framework. *kind*: it answers a ``str``, or an object with ``content`` and ``cost``."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self._kind = kind

    async def chat(self, message: str) -> Any:
        """Answer."""
        text = answer(self.name, message)
        return Said(text, cost=0.5) if self._kind == "content" else text


def model_of_all() -> Any:
    """Return a scripted model that says for each agent what ``answer`` says."""

    def says(request: ModelRequest) -> str:
        return answer(request.agent_name, request.messages[-1].content)

    return scripted({"": says}, cost=0.5)


KINDS = ("str", "content", "model")


@pytest.fixture(params=KINDS)
def agent(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Make agents of one kind."""
    kind = request.param
    return lambda name: Agent(name=name, role=name, model=model_of_all()) if kind == "model" else Speaking(name, kind)


@pytest.fixture
def all_scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a scripted model stand for every provider's."""
    monkeypatch.setattr("shoal.llm.agent.open_model", lambda *args, **options: model_of_all())


def perform(program: str, names: Names) -> str:
    """Run *program*, which may await, with *names*, which it changes; return what it prints."""
    code = compile(program, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def main(clock: Any) -> None:
        made = eval(code, names)
        if isawaitable(made):
            await made

    with redirect_stdout(io.StringIO()) as printed:
        virtual(main)
    return printed.getvalue()


def three(agent: Callable[[str], Any]) -> Names:
    return {"researcher": agent("Researcher"), "writer": agent("Writer"), "editor": agent("Editor")}


def test_quick_start(all_scripted: None) -> None:
    names: Names = {}
    perform(QUICK_START, names)
    assert [names[word].name for word in ("researcher", "writer", "editor")] == ["Researcher", "Writer", "Editor"]
    assert perform(PARALLEL, names).startswith("Researcher: Researcher: Analyze AI trends...\n")


def test_parallel(agent: Any) -> None:
    names = three(agent)
    assert perform(PARALLEL, names).splitlines() == [
        f"{n}: {n}: Analyze AI trends..." for n in ("Researcher", "Writer", "Editor")
    ]
    assert names["context"].startswith('<results><agent name="Researcher">Researcher: Analyze AI trends</agent>')


def test_supervisor(agent: Any) -> None:
    names = three(agent)
    printed = perform(SUPERVISOR, names)
    result = names["result"]
    assert (result.success, result.successful_workers, result.iterations) == (True, ["Researcher", "Writer"], 1)
    assert "Task: find" in printed and result.content in printed and "WorkerTask(" in printed


def test_pipeline(agent: Any) -> None:
    names = three(agent)
    printed = perform(PIPELINE, names)
    assert [line.split(":")[0] for line in printed.splitlines()] == ["Researcher", "Writer", "Editor"]
    assert names["result"].content == "Editor: Writer: Researcher: Write about AI in healthcare"
    perform(TRANSFORMERS, names)
    result = virtual(lambda clock: names["pipeline"].run("x"))
    assert result.steps[1].input == "Write an article based on:\\nResearcher: x"
    assert result.steps[2].input.startswith("Edit and improve:\\nWriter: Write an article based on:")


def test_debate(agent: Any) -> None:
    names = {word: agent(word.capitalize()) for word in ("optimist", "pessimist", "pragmatist")}
    printed = perform(DEBATE, names)
    result = names["result"]
    assert (len(result.messages), result.rounds_completed, result.consensus_reached) == (12, 3, True)
    assert f"{result.conclusion}\nTrue\n## Round 0\n\n**Optimist**: Optimist has a view." in printed


def test_ready_made_debates(all_scripted: None) -> None:
    names: Names = {}
    perform(PROS_AND_CONS, names)
    assert [each.name for each in names["debate"].agents] == ["Advocate", "Critic", "Pragmatist"]
    assert (len(names["result"].messages), names["result"].consensus_reached) == (9, True)
    perform(EXPERT_PANEL, names)
    panel = names["panel"]
    assert [(each.name, each.role[:9]) for each in panel.agents] == [
        ("Expert_1", "Economist"), ("Expert_2", "Sociologi"), ("Expert_3", "Technolog"),
    ]  # fmt: skip
    assert names["result"].success


def test_research_team(all_scripted: None) -> None:
    names: Names = {}
    perform(RESEARCH_TEAM, names)
    assert list(names["team"].workers) == ["Researcher", "Analyst", "Writer", "Critic"]
    assert names["result"].success and names["result"].successful_workers == ["Researcher", "Writer"]


def test_combining(agent: Any) -> None:
    experts = {f"{word}_expert": agent(word) for word in ("policy", "industry", "ethics")}
    analysts = {f"{word}_analyst": agent(word) for word in ("technical", "market")}
    names = {
        "Debate": Debate, "ParallelAgents": ParallelAgents, "Pipeline": Pipeline, **experts, **analysts,
        "research_team": create_research_team(model=model_of_all()),
        "researcher": agent("Researcher"), "synthesizer": agent("Synthesizer"),
    }  # fmt: skip
    perform(COMBINING, names)
    assert names["research_result"].success and names["debate_result"].consensus_reached
    result = virtual(lambda clock: names["pipeline"].run("x"))
    found = "1. [technical]: technical: Researcher: x\n\n2. [market]: market: Researcher: x"
    assert result.steps[1].input == f"Analysis:\n{found}\n\nSynthesize:"
    assert result.content == "Synthesizer: Synthesize:"


def test_configuration_and_time_outs(agent: Any) -> None:
    names: Names = {"Supervisor": Supervisor, "Pipeline": Pipeline, "Debate": Debate, "ParallelAgents": ParallelAgents}
    perform(CONFIG, names)
    assert names["config"] == SupervisorConfig()
    perform(TIMEOUTS, {**names, "agents": [agent("A"), agent("B")], "workers": {"A": agent("A")}})


def test_costs(agent: Any) -> None:
    names: Names = {"supervisor": Supervisor({"Researcher": agent("Researcher"), "Writer": agent("Writer")})}
    printed = perform(COSTS, names)
    calls = {"Speaking": 4, "Agent": 5}[type(agent("x")).__name__]
    usage = names["result"].usage
    assert usage.calls == calls
    assert printed.startswith(f"Total cost: ${(calls - usage.unpriced_calls) / 2:.4f}\nDuration: 0")


def test_errors(agent: Any) -> None:
    async def broken(message: str) -> str:
        raise RuntimeError("no connection")

    names: Names = {"parallel": ParallelAgents([agent("A"), broken]), "agents": [agent("A"), agent("B")],
                    "Pipeline": Pipeline, "SupervisorConfig": SupervisorConfig}  # fmt: skip
    assert perform(ERRORS, names) == "broken failed: no connection\n"
    assert names["pipeline"].stop_on_error is False and names["config"].min_successful_workers == 2


def test_instances() -> None:
    wrong, _, right = INSTANCES.partition("# RIGHT")
    names: Names = {"Agent": Agent, "ParallelAgents": ParallelAgents}
    with pytest.raises(ValueError, match="agent 'Assistant' is listed twice \\(0, 1\\): fork\\(\\) it"):
        perform(wrong, names)
    perform(f"# RIGHT{right}", names)
    assert [each.name for each in names["parallel"].agents] == ["Researcher", "Writer", "Analyst"]


def test_shared_user(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_store(f"sqlite:///{tmp_path}/users.db") as conn:
            store = MessageStore(conn)

            def remembers(name: str, updates: str) -> Agent[Any]:
                call = ToolCall(call_id="1", name="remember", arguments=f'{{"updates": {updates}}}')
                return Agent(name=name, model=scripted([call, "noted"]), user_context=True, store=store)

            names = {"agent1": remembers("One", '{"name": "Phil"}'), "agent2": remembers("Two", '{"city": "London"}')}
            await eval(compile(SHARED_USER, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            assert await UserContextStore(conn).get("default") == {"name": "Phil", "city": "London"}

    run(main)


def test_tools(run: Run, tmp_path: Path) -> None:
    written: list[tuple[str, str]] = []

    async def write_file(path: str, content: str) -> None:
        written.append((path, content))

    by_decorator, _, by_hand = TOOLS.partition("# Option 2")
    names: Names = {"Tool": shoal.Tool, "write_file": write_file}

    async def main() -> None:
        exec(by_decorator, names)
        decorated = names["MyTool"]
        exec(f"# Option 2{by_hand}", names)
        assert isinstance(decorated, type) and issubclass(decorated, shoal.Tool)
        assert await decorated().execute("r1", {}) is None
        await names["MyTool"]().execute(f"{tmp_path}/a", content="text")
        call = {"tool_calls": [{"name": "MyTool", "arguments": {"file_path": "b", "content": "from a model"}}]}
        said = await Agent(model=scripted([call, "done"]), tools=[names["MyTool"]()]).chat("write")
        assert (said.content, said.tool_calls[0].success) == ("done", True)

    run(main)
    assert written == [(f"{tmp_path}/a", "text"), ("b", "from a model")]


def test_stores(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_store(f"sqlite:///{tmp_path}/messages.db") as conn:
            names: Names = {"MessageStore": MessageStore, "conn": conn}
            exec(STORES, names)
            assert isinstance(names["store"], ThreadSafeMessageStore)
            await names["store"].add("t", "user", "hello")
            assert [message.content for message in await names["store"].get_recent("t")] == ["hello"]

    run(main)
