"""A research team that is ready to use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal.orchestration.members import Models

if TYPE_CHECKING:
    from shoal.orchestration.supervisor import Supervisor

__all__ = ["create_research_team"]

_MEMBERS = (
    ("Researcher", 0.3, "You find facts: what is known, how sure it is, and where it comes from."),
    ("Analyst", 0.4, "You see what facts mean: patterns, causes, consequences, and what does not fit."),
    ("Writer", 0.6, "You write clearly for readers who have not seen the material: structure, plain words, no filler."),
    ("Critic", 0.3, "You look for what is wrong or missing: errors, gaps, bias, claims without support."),
)
ITERATIONS = 2


def create_research_team(
    provider: str | None = None, api_key: str | None = None, *, model: Any = None, base_url: str | None = None
) -> Supervisor:
    """Return a supervisor of a Researcher, an Analyst, a Writer and a Critic, whom a planner chooses in two iterations.

    Args:
        provider: of the model, such as ``"openai"``.
        api_key: default the provider's own environment variable.
        model: a name, a Model, or ``fn(agent_name)`` that gives one of these, also for ``Planner`` and ``Synthesizer``;
            default the provider's.
        base_url: any OpenAI-compatible server.

    Raises:
        ConfigError, MissingExtraError: no such provider, no key, no extra.
    """
    from shoal.orchestration.supervisor import PLANNER, SYNTHESIZER, Supervisor, SupervisorConfig

    models = Models(provider, api_key, model, base_url)
    return Supervisor(
        workers={name: models.agent(name, temperature, role) for name, temperature, role in _MEMBERS},
        planner=models.agent("Planner", 0.3, PLANNER),
        synthesizer=models.agent("Synthesizer", 0.5, SYNTHESIZER),
        config=SupervisorConfig(max_iterations=ITERATIONS),
    )
