"""Bad settings of supervisors are refused before anything is called; the ready-made team."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.llm.agent import Agent
from shoal.llm.doubles import scripted
from shoal.orchestration import Supervisor, SupervisorConfig, WorkerSelectionMode
from shoal.orchestration.supervisor import create_research_team
from tests.support.speakers import Calls, Speaker, virtual
from tests.unit.orchestration.test_supervisor import plan


@pytest.mark.spec("O50")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "fast"}, "mode='fast': it must be one of all, selective, sequential"),
        ({"mode": None}, "mode=None: it must be one of all, selective, sequential"),
        ({"max_iterations": 0}, "max_iterations=0: it must be a whole number from 1"),
        ({"max_workers_per_step": True}, "max_workers_per_step=True: it must be a whole number from 1"),
        ({"min_successful_workers": -1}, "min_successful_workers=-1: it must be a whole number from 1"),
        ({"planning_timeout": -1}, "planning_timeout=-1: it must be seconds above 0, or None"),
        ({"worker_timeout": 0}, "worker_timeout=0: it must be seconds above 0, or None"),
        ({"synthesis_timeout": "1"}, "synthesis_timeout='1': it must be seconds above 0, or None"),
        ({"allow_replanning": 1}, "allow_replanning=1: it must be True or False"),
        ({"require_all_workers": "no"}, "require_all_workers='no': it must be True or False"),
        ({"include_reasoning": None}, "include_reasoning=None: it must be True or False"),
        ({"include_worker_outputs": 0}, "include_worker_outputs=0: it must be True or False"),
        ({"on_bad_plan": "stop"}, "on_bad_plan='stop': it must be 'all' or 'fail'"),
    ],
)
def test_bad_config(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        SupervisorConfig(**options)
    assert str(caught.value) == text


@pytest.mark.spec("O10")
def test_modes_are_words_or_members() -> None:
    for mode in WorkerSelectionMode:
        assert SupervisorConfig(mode=mode).mode is SupervisorConfig(mode=mode.value).mode is mode
    assert [mode.name for mode in WorkerSelectionMode] == ["ALL", "SELECTIVE", "SEQUENTIAL"]
    config = SupervisorConfig()
    assert (config.mode, config.max_workers_per_step, config.max_iterations) == (WorkerSelectionMode.SELECTIVE, 5, 3)


_W = Speaker("Writer")


@pytest.mark.spec("O50", "O5")
@pytest.mark.parametrize(
    ("workers", "options", "kind", "text"),
    [
        ([_W], {}, TypeError, "workers must be a dict of name to agent, not list"),
        ({}, {}, ValueError, "Supervisor needs at least 1 agent, got 0"),
        ({"A": None}, {}, TypeError, "agent 0 (NoneType) has no async chat(message)"),
        ({"A": _W, "B": {}}, {}, TypeError, "agent 1 (dict) has no async chat(message)"),
        ({"A": lambda text: text}, {}, ValueError,
         "agent 0 is a function without a name: give it a name: as_agent(fn, name=…)"),
        ({3: _W}, {}, ValueError, "the name of a worker must be text in one line, not 3"),
        ({"": _W}, {}, ValueError, "the name of a worker must be text in one line, not ''"),
        ({"A\nB": _W}, {}, ValueError, "the name of a worker must be text in one line, not 'A\\nB'"),
        ({"A": _W, "B": Speaker("B"), "C": _W}, {}, ValueError,
         "agent 'Writer' is listed twice (0, 2): fork() it, or allow_duplicate_instances=True"),
        ({"A": _W, "B": Speaker("Writer")}, {}, ValueError, "agent names must be unique in Supervisor: 'Writer'"),
        ({"A": _W}, {"planner": 3}, TypeError, "the planner (int) has no async chat(message)"),
        ({"A": _W}, {"synthesizer": 3}, TypeError, "the synthesizer (int) has no async chat(message)"),
        ({"A": _W}, {"config": {}}, TypeError, "config must be a SupervisorConfig, not dict"),
        ({"A": _W}, {"config": SupervisorConfig(min_successful_workers=2)}, ValueError,
         "min_successful_workers=2: there are 1 workers"),
        ({"A": _W}, {"loop": 3}, TypeError, "loop must be LoopLimits, not int"),
    ],
)  # fmt: skip
def test_bad_supervisors(workers: Any, options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        Supervisor(workers, **options)
    assert str(caught.value) == text


@pytest.mark.spec("O50")
@pytest.mark.parametrize(
    ("verb", "given", "kind", "text"),
    [
        ("run", "", ValueError, "message is empty"),
        ("run", 3, TypeError, "message must be a str, not int"),
        ("chat", " ", ValueError, "message is empty"),
        ("research", "", ValueError, "topic is empty"),
        ("analyze", None, TypeError, "content must be a str, not NoneType"),
        ("create", "\n", ValueError, "description is empty"),
    ],
)
def test_bad_tasks(verb: str, given: Any, kind: type[Exception], text: str) -> None:
    calls = Calls()
    pattern = Supervisor({"A": Speaker("A", None, calls)}, config=SupervisorConfig(mode="all"))
    with pytest.raises(kind) as caught:
        virtual(lambda clock: getattr(pattern, verb)(given))
    assert (str(caught.value), len(calls)) == (text, 0)


def test_functions_with_a_name_are_workers() -> None:
    def shout(text: str) -> str:
        return text.upper()

    pattern = Supervisor({"Shouter": shout}, config=SupervisorConfig(mode="all"))
    result = virtual(lambda clock: pattern.run("hey"))
    assert (result.content, result.worker_results[0].worker_name) == ("**Shouter**:\nTASK: HEY", "Shouter")


@pytest.mark.spec("O1")
def test_the_research_team() -> None:
    members = {"Researcher": 0.3, "Analyst": 0.4, "Writer": 0.6, "Critic": 0.3}
    asked: list[str] = []

    def model(name: str) -> Any:
        asked.append(name)
        return scripted({"Planner": [plan("Researcher", "Critic"), "[]"], "Synthesizer": ["done"],
                         "Researcher": ["facts"], "Critic": ["gaps"]}, cost=0.5)  # fmt: skip

    team = create_research_team("openai", "sk-...", model=model)
    assert {name: agent.temperature for name, agent in team.workers.items()} == members
    assert [agent.name for agent in team.workers.values()] == list(members)
    assert all(isinstance(agent, Agent) and agent.role for agent in team.workers.values())
    assert asked == [*members, "Planner", "Synthesizer"]
    config = team.config
    assert config is not None and (config.mode, config.max_iterations) == (WorkerSelectionMode.SELECTIVE, 2)
    result = virtual(lambda clock: team.run("quantum computing"))
    assert (result.content, result.total_cost, result.iterations) == ("done", 2.5, 1)
    assert [r.output for r in result.worker_results] == ["facts", "gaps"]


@pytest.mark.spec("O1")
def test_the_research_team_of_one_provider() -> None:
    pytest.importorskip("pydantic_ai")
    team = create_research_team(provider="openai", api_key="sk-...")
    assert len(team.workers) == 4
    assert {(agent.provider, agent.api_key) for agent in [*team.workers.values(), team.planner]} == {
        ("openai", "sk-...")
    }
    assert (team.planner.temperature, team.synthesizer.temperature) == (0.3, 0.5)
