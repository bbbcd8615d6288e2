"""Debates that are ready to use."""

from __future__ import annotations

from typing import Any

import pytest

from shoal import Agent
from shoal.errors import ConfigError
from shoal.llm.doubles import scripted
from shoal.orchestration.debate import Debate, create_expert_panel, create_pros_cons_debate
from tests.support.debaters import ballot
from tests.support.speakers import virtual


def _model(*names: str) -> Any:
    says = {name: [ballot(f"{name} {n}", name) for n in range(3)] for name in names}
    return scripted({**says, "Moderator": ["all in all"]}, cost=0.5)


@pytest.mark.spec("O1")
def test_pros_and_cons() -> None:
    names = {"Advocate": 0.6, "Critic": 0.6, "Pragmatist": 0.5}
    asked: list[str] = []
    model = _model(*names)

    def model_of(name: str) -> Any:
        asked.append(name)
        return model

    debate = create_pros_cons_debate(provider="openai", api_key="...", model=model_of)
    assert isinstance(debate, Debate) and debate.rounds == 2
    assert asked == list(names)
    agents: list[Any] = list(debate.agents)
    assert all(isinstance(agent, Agent) and agent.role for agent in agents)
    assert {agent.name: agent.temperature for agent in agents} == names
    assert debate.moderator.name == "Moderator" and debate.moderator.role != agents[0].role
    result = virtual(lambda clock: debate.run("Remote work: permanent or temporary?"))
    assert (result.conclusion, len(result.messages), result.total_cost) == ("all in all", 9, 5.0)
    assert create_pros_cons_debate("openai", "...", 5, model=model).rounds == 5


@pytest.mark.spec("O1")
@pytest.mark.parametrize("number", [2, 3, 7])
def test_a_panel_of_experts(number: int) -> None:
    roles = [f"Expert of field {n}" for n in range(number)]
    names = [f"Expert_{n}" for n in range(1, number + 1)]
    panel = create_expert_panel("anthropic", roles, "...", 1, model=_model(*names))
    agents: list[Any] = list(panel.agents)
    assert [(agent.name, agent.role, agent.temperature) for agent in agents] == [
        (name, role, 0.5) for name, role in zip(names, roles, strict=True)
    ]
    result = virtual(lambda clock: panel.run("Impact of universal basic income"))
    assert (result.conclusion, len(result.messages)) == ("all in all", 2 * number)


@pytest.mark.spec("O50")
@pytest.mark.parametrize(
    ("roles", "kind", "text"),
    [
        ("Economist", TypeError, "expert_roles must be a list of texts, one for each expert"),
        (["Economist", 3], TypeError, "expert_roles must be a list of texts, one for each expert"),
        (["Economist", ""], TypeError, "expert_roles must be a list of texts, one for each expert"),
        (None, TypeError, "expert_roles must be a list of texts, one for each expert"),
        (["Economist"], ValueError, "Debate needs at least 2 agents, got 1"),
        ([], ValueError, "Debate needs at least 2 agents, got 0"),
    ],
)
def test_bad_roles(roles: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        create_expert_panel("openai", roles, model=_model())
    assert str(caught.value) == text


@pytest.mark.spec("O1")
def test_real_models_of_one_provider() -> None:
    pytest.importorskip("pydantic_ai")
    debate = create_pros_cons_debate(provider="openai", api_key="sk-...")
    every: list[Any] = [*debate.agents, debate.moderator]
    assert {(agent.provider, agent.api_key) for agent in every} == {("openai", "sk-...")}
    with pytest.raises(ConfigError):
        create_pros_cons_debate(provider="opnai", api_key="sk-...")
