"""The team: a lead, a researcher, a developer with a second one who can take over, and a reviewer."""

from __future__ import annotations

from typing import Any

from shoal import Agent
from shoal.orchestration import Brief, CodeRunner, Orchestrator

__all__ = ["BRIEF", "build_team"]

BRIEF = Brief(
    "Build user authentication API",
    context={"project": "auth-api", "language": "python", "framework": "fastapi"},
    requirements=("Access token (15min)", "Refresh token (7 days)", "Rate limiting", "Secure password hashing"),
)

ROLES = {
    "Lead": "You plan, design and decide. Tests run where there is no network: plan for the standard library.",
    "Researcher": "You look up what is known, and say how sure it is.",
    "Developer": "You write code and its tests (auth_api.py, test_auth.py), whole files, standard library only.",
    "Reviewer": "You judge the work of others: its security first, then its quality.",
}


def build_team(model: Any, runner: CodeRunner | None = None) -> Orchestrator:
    """Return the team.

    Args:
        model: of all its agents: ``provider:name``, or a scripted one.
        runner: runs the code that is handed in; None: what the developer says of its tests counts, as claimed.
    """
    lead, researcher, developer, reviewer = (Agent(name=name, role=role, model=model) for name, role in ROLES.items())
    roles = {
        "Researcher": researcher,
        "Developer": [developer, developer.fork(name="Second Developer")],
        "Reviewer": reviewer,
    }
    return Orchestrator(lead, roles, runner=runner)
