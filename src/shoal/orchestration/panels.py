"""Debates that are ready to use: pros and cons, and a panel of experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shoal.orchestration.members import Models

if TYPE_CHECKING:
    from shoal.orchestration.debate import Debate

__all__ = ["create_expert_panel", "create_pros_cons_debate"]

_SPEAKERS = (
    ("Advocate", 0.6, "You argue for the proposal: its benefits, its chances, and how its risks can be handled."),
    ("Critic", 0.6, "You argue against the proposal: its risks, its costs, and what is overlooked."),
    ("Pragmatist", 0.5, "You weigh both sides, and say what would work in practice, under which conditions."),
)


def create_pros_cons_debate(
    provider: str | None = None,
    api_key: str | None = None,
    rounds: int = 2,
    *,
    model: Any = None,
    base_url: str | None = None,
) -> Debate:
    """Return a debate between an Advocate, a Critic and a Pragmatist.

    Args:
        provider: of the model, such as ``"openai"``.
        api_key: default the provider's own environment variable.
        rounds: of replies.
        model: a name, a Model, or ``fn(agent_name)`` that gives one of these; default the provider's.
            The first speaker's also moderates.
        base_url: any OpenAI-compatible server.

    Raises:
        ConfigError, MissingExtraError: no such provider, no key, no extra.
    """
    return _debate(_SPEAKERS, Models(provider, api_key, model, base_url), rounds)


def create_expert_panel(
    provider: str | None = None,
    expert_roles: Sequence[str] = (),
    api_key: str | None = None,
    rounds: int = 2,
    *,
    model: Any = None,
    base_url: str | None = None,
) -> Debate:
    """Return a debate between experts, one for each role, called Expert_1 and so on.

    Args:
        expert_roles: what each is an expert for, at least two.
        provider, api_key, rounds, model, base_url: see ``create_pros_cons_debate``.

    Raises:
        TypeError: a role is no text. ValueError: there are fewer than two.
    """
    listed = isinstance(expert_roles, Sequence) and not isinstance(expert_roles, str)
    if not listed or not all(isinstance(role, str) and role for role in expert_roles):
        raise TypeError("expert_roles must be a list of texts, one for each expert")
    speakers = [(f"Expert_{number}", 0.5, role) for number, role in enumerate(expert_roles, start=1)]
    return _debate(speakers, Models(provider, api_key, model, base_url), rounds)


def _debate(speakers: Sequence[tuple[str, float, str]], models: Models, rounds: int) -> Debate:
    from shoal.orchestration.debate import Debate

    return Debate([models.agent(name, temperature, role) for name, temperature, role in speakers], rounds=rounds)
