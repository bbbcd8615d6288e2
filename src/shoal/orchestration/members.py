"""The agents of ready-made teams: one for each name and role, all with models from one source."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Models"]


class Models(NamedTuple):
    """Where the models of a ready-made team come from.

    provider, api_key, base_url: see ``Agent``; they are for models that are named, and not for a ``Model`` itself.
    model: a name, a ``Model``, or ``fn(agent_name)`` that gives one of these; None: the provider's default.
    """

    provider: str | None = None
    api_key: str | None = None
    model: Any = None
    base_url: str | None = None

    def agent(self, name: str, temperature: float, role: str) -> Any:
        """Return an agent of the team. Raises ConfigError, MissingExtraError: it can have no model."""
        from shoal.llm import Agent

        model = self.model(name) if callable(self.model) and not hasattr(self.model, "request") else self.model
        agent: Any = Agent
        if not isinstance(model, str) and model is not None:
            return agent(name=name, role=role, temperature=temperature, model=model)
        where = {"provider": self.provider, "api_key": self.api_key, "base_url": self.base_url}
        return agent(name=name, role=role, temperature=temperature, model=model, **where)
