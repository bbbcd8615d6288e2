"""The team of the seed's document, made of speakers: it builds a user authentication API, and is corrected once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from shoal.orchestration.workflow.brief import Brief
from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.orchestrator import Orchestrator
from tests.support.speakers import Calls, Speaker

__all__ = [
    "AUTH",
    "BRIEF",
    "ISSUES",
    "PLAN",
    "TRACE",
    "Answers",
    "auth_team",
    "files_reply",
    "lead_of",
    "team_of",
    "title_in",
]

AUTH = "Build user authentication API"
BRIEF = Brief(
    AUTH,
    context={"project": "auth-api", "language": "python", "framework": "fastapi"},
    requirements=("Access token (15min)", "Refresh token (7 days)", "Rate limiting", "Secure password hashing"),
)
PLAN: list[dict[str, Any]] = [
    {
        "title": "Analyze requirements",
        "owner": "Researcher",
        "task": "Research best practices for JWT authentication",
        "context": "Python, FastAPI, 2024 standards",
    },
    {"title": "Design architecture", "owner": "self", "depends_on": [1]},
    {
        "title": "Implement code",
        "owner": "Developer",
        "task": "Implement JWT authentication API",
        "context": "FastAPI, use python-jose, include refresh tokens",
        "depends_on": [1, 2],
    },
    {"title": "Write tests", "owner": "Developer", "depends_on": [3]},
    {
        "title": "Security review",
        "owner": "Reviewer",
        "task": "Security review of authentication API",
        "context": "Check for vulnerabilities",
        "depends_on": [4],
        "reviews": [3, 4],
    },
    {"title": "Performance check", "owner": "Developer", "depends_on": [5]},
    {"title": "Final review", "owner": "Reviewer", "depends_on": [6], "reviews": [3, 4]},
]
ISSUES = [
    {"severity": "HIGH", "title": "Missing rate limiting"},
    {"severity": "MEDIUM", "title": "Token expiry too long"},
    {"severity": "MEDIUM", "title": "No refresh token rotation"},
]
APPROVED = json.dumps({"score": 98, "approved": True, "resolved": ["R1", "R2", "R3"]})

TRACE = """\
[Orchestrator] Received task: Build user authentication API

[Orchestrator] → [Researcher]:
  Task: Research best practices for JWT authentication
  Context: Python, FastAPI, 2024 standards

[Researcher] → [Orchestrator]:
  Output:
  - JWT best practices summary
  - Security considerations
  - Recommended libraries: python-jose, passlib
  - Sample implementation pattern

[Orchestrator] → [Developer]:
  Task: Implement JWT authentication API
  Context: FastAPI, use python-jose, include refresh tokens
  Input: Researcher's findings

[Developer] → [Orchestrator]:
  Output:
  - auth_api.py (500 lines)
  - test_auth.py (150 lines)
  - Requirements: python-jose, passlib

[Orchestrator] → [Reviewer]:
  Task: Security review of authentication API
  Context: Check for vulnerabilities
  Input: Developer's code

[Reviewer] → [Orchestrator]:
  Output:
  - Security score: 85/100
  - Issues found:
    * Missing rate limiting (HIGH)
    * Token expiry too long (MEDIUM)
    * No refresh token rotation (MEDIUM)
  - Recommendations included

[Orchestrator] → [Developer]:
  Task: Fix security issues
  Context: Address reviewer's findings

[Developer] → [Orchestrator]:
  Output:
  - Updated auth_api.py
  - Added rate limiting
  - Fixed token expiry

[Reviewer] → [Orchestrator]:
  Output:
  - Security score: 98/100
  - All issues resolved
  - Approved for merge

[Orchestrator] → Final Output:
  - Aggregated results
  - Final report
  - Ready for deployment"""
"""The document's trace of that team."""

Answers = Mapping[str, Any]
"""What is said for which task, as its title stands in the message: a text, an error, or a function of the prompt."""


def files_reply(files: Mapping[str, str], **words: Any) -> str:
    """Return the reply that hands *files* in."""
    blocks = [f"FILE: {path}\n```\n{text}```\n" for path, text in files.items()]
    return "\n".join([*blocks, json.dumps({"summary": "done", **words})])


def _lines(number: int) -> str:
    return "".join(f"# line {count}\n" for count in range(1, number + 1))


def title_in(prompt: str) -> str:
    """Return the description of the task that *prompt* gives."""
    found = re.search(r'"description": "([^"]*)"', prompt)
    return "" if found is None else found[1]


def lead_of(plan: Any, calls: Calls | None = None, **more: Any) -> Speaker:
    """Return a lead: his plan, what he says of his own steps, and a summary. *more*: of the speaker."""
    planned = plan if isinstance(plan, str) else json.dumps(plan)

    def answer(prompt: str) -> Any:
        if prompt.startswith("You lead a team."):
            return planned
        if prompt.startswith("Your team has finished."):
            return "It is built."
        return "- Tokens, hashing, storage"

    return Speaker("Lead", answer, calls, **more)


def team_of(
    plan: Any,
    roles: Mapping[str, Any],
    *,
    calls: Calls | None = None,
    config: OrchestratorConfig | None = None,
    cost: float | None = None,
    **more: Any,
) -> Orchestrator:
    """Return a team whose *roles* are speakers, lists of agents, or ``Answers``, by the title of their task.

    ``""`` answers what has no answer of its own.
    """
    made = {
        role: given if isinstance(given, (list, Speaker)) else Speaker(role, _by_title(given), calls, cost=cost)
        for role, given in roles.items()
    }
    lead = more.pop("lead", None) or lead_of(plan, calls, cost=cost)
    return Orchestrator(lead, made, config=config or OrchestratorConfig(), **more)


def _by_title(answers: Answers) -> Callable[[str], Any]:
    def answer(prompt: str) -> Any:
        said = answers.get(title_in(prompt), answers.get("", "- done"))
        return said(prompt) if callable(said) else said

    return answer


def auth_team(calls: Calls | None = None, **more: Any) -> Orchestrator:
    """Return the team of the document."""
    developer = {
        "Implement JWT authentication API": files_reply(
            {"auth_api.py": _lines(500), "test_auth.py": _lines(150)},
            outputs=["Requirements: python-jose, passlib"],
        ),
        "Write tests": "- Tests cover login, expiry and refresh",
        "Fix security issues": files_reply(
            {"auth_api.py": _lines(520)},
            outputs=["Added rate limiting", "Fixed token expiry"],
            resolved=["R1", "R2", "R3"],
        ),
        "Performance check": "- 2 ms a login",
    }
    researcher = {
        "": "- JWT best practices summary\n- Security considerations\n"
        "- Recommended libraries: python-jose, passlib\n- Sample implementation pattern"
    }

    def review(prompt: str) -> str:
        if "R1 HIGH [open]" in prompt:
            return APPROVED
        if "R1 HIGH [resolved]" in prompt:
            return json.dumps({"score": 98, "approved": True})
        return json.dumps({"score": 85, "issues": ISSUES, "recommendations": ["Limit logins by address"]})

    reviewer = {"Security review of authentication API": review, "Final review": review}
    roles = {"Researcher": researcher, "Developer": developer, "Reviewer": reviewer}
    return team_of(PLAN, roles, calls=calls, **more)
