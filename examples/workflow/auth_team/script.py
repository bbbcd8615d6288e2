"""What the scripted models of the team say: a plan, a design, code that runs, and two judgements of it.

Each answer is found by what is asked, not by who asks: a second developer says what the first one would have said.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from shoal.llm import scripted

__all__ = ["CALLS", "script"]

HERE = Path(__file__).parent
COST = 0.01
CALLS = 11

PLAN = [
    {
        "title": "Analyze requirements",
        "owner": "Researcher",
        "task_type": "research",
        "task": "Research best practices for JWT authentication",
        "context": "Python, FastAPI, 2024 standards",
    },
    {
        "title": "Design architecture",
        "owner": "self",
        "task_type": "design",
        "depends_on": [1],
        "task": "Design the authentication API",
        "context": "One module, no network where its tests run",
    },
    {
        "title": "Implement code",
        "owner": "Developer",
        "task_type": "implementation",
        "depends_on": [1, 2],
        "task": "Implement JWT authentication API",
        "context": "ASGI for FastAPI, standard library only, include refresh tokens",
        "expected_output": {"files": ["auth_api.py", "test_auth.py"], "tests": "all passing"},
    },
    {
        "title": "Write tests",
        "owner": "Developer",
        "task_type": "testing",
        "depends_on": [3],
        "task": "Write the tests of the authentication API",
        "context": "Accounts, tokens, and what HTTP refuses",
        "expected_output": {"files": ["test_auth.py"], "tests": "all passing", "coverage": ">80%"},
    },
    {
        "title": "Security review",
        "owner": "Reviewer",
        "task_type": "review",
        "depends_on": [4],
        "reviews": [3, 4],
        "task": "Security review of authentication API",
        "context": "Check for vulnerabilities",
    },
    {
        "title": "Performance check",
        "owner": "Developer",
        "task_type": "check",
        "depends_on": [5],
        "task": "Check the performance of the authentication API",
        "context": "What a request waits for",
    },
    {
        "title": "Final review",
        "owner": "Reviewer",
        "task_type": "review",
        "depends_on": [5, 6],
        "reviews": [3, 4],
        "task": "Final review of the authentication API",
        "context": "Is it ready?",
    },
]


def script(log: str | os.PathLike[str] | None = None, latency: float = 0.0) -> Any:
    """Return the model of all agents of the team.

    Args:
        log: a file that gets a line for each real call.
        latency: seconds before each answer.
    """
    said = {
        r"You lead a team": json.dumps(PLAN, indent=1),
        **_asked_to("Research best practices", _research()),
        **_asked_to("Design the", _design()),
        **_asked_to("Implement JWT", _implementation()),
        **_asked_to("Write the tests", _tests()),
        **_asked_to("Security review", _first_review(), besides="R1 HIGH"),
        **_asked_to("Fix security issues", _fix()),
        **_asked_to("Security review of", _second_review()),
        **_asked_to("Check the performance", _performance()),
        **_asked_to("Final review", _final_review()),
        r"Write the summary": _summary(),
    }
    return scripted(said, cost=COST, log=log, latency=latency)


def _asked_to(description: str, reply: str, besides: str = "") -> dict[str, str]:
    """Return *reply* by the description of the task in the message, unless *besides* stands after it."""
    without = rf"(?![\s\S]*{re.escape(besides)})" if besides else ""
    return {rf'"description": "{re.escape(description)}{without}': reply}


def _hand_in(folder: str, names: tuple[str, ...], **said: Any) -> str:
    files = [f"FILE: {name}\n````python\n{(HERE / folder / name).read_text()}````" for name in names]
    return "\n\n".join([*files, json.dumps(said, indent=1)])


def _research() -> str:
    said = {
        "summary": "Short-lived access tokens, refresh tokens for one use, a slow hash, and a limit on attempts.",
        "outputs": [
            "JWT best practices summary",
            "Security considerations",
            "Recommended libraries: python-jose, passlib",
            "Sample implementation pattern",
        ],
        "recommendations": ["Where nothing can be installed, hmac and hashlib.scrypt do the same"],
    }
    return json.dumps(said, indent=1)


def _design() -> str:
    said = {
        "summary": "One module auth_api.py: a service without I/O, and an ASGI application of it that FastAPI mounts.",
        "outputs": [
            "A service without I/O, with a clock of the caller's: its tests need not wait",
            "Tokens signed by HMAC-SHA256, passwords hashed by scrypt: the standard library is enough",
            "An ASGI application on top, for app.mount in FastAPI",
        ],
    }
    return json.dumps(said, indent=1)


def _implementation() -> str:
    return _hand_in(
        "first",
        ("auth_api.py", "test_auth.py"),
        summary="Accounts, access tokens and refresh tokens, over ASGI.",
        outputs=["Requirements: none beyond the standard library"],
        tests="4 passing",
    )


def _tests() -> str:
    said = {"summary": "Tests of accounts, tokens and HTTP.", "outputs": ["14 tests"]}
    return _hand_in("tested", ("test_auth.py",), **said, tests="14 passing", coverage="95%")  # more than it claims


def _first_review() -> str:
    def issue(severity: str, title: str) -> dict[str, str]:
        return {"severity": severity, "title": title, "file": "auth_api.py"}

    said = {
        "score": 85,
        "approved": False,
        "issues": [
            issue("HIGH", "Missing rate limiting"),
            issue("MEDIUM", "Token expiry too long"),
            issue("MEDIUM", "No refresh token rotation"),
        ],
        "recommendations": ["Count failed logins by account and address", "Withdraw a login whose token comes twice"],
        "facts": {"checked": 4, "correct": 4},
    }
    return json.dumps(said, indent=1)


def _fix() -> str:
    return _hand_in(
        "fixed",
        ("auth_api.py", "test_auth.py"),
        summary="All three are mended, and each has tests.",
        outputs=["Added rate limiting", "Fixed token expiry", "Refresh tokens rotate: each is good for one use"],
        resolved=["R1", "R2", "R3"],
        tests="19 passing",
        coverage="95%",
    )


def _second_review() -> str:
    return json.dumps({"score": 98, "approved": True, "resolved": ["R1", "R2", "R3"]}, indent=1)


def _performance() -> str:
    said = {
        "summary": "Nothing that takes long is done while others wait.",
        "outputs": [
            "Passwords are hashed in threads: the event loop stays free",
            "No lock is held while a password is hashed",
            "A token is checked by one HMAC, without a look-up",
        ],
    }
    return json.dumps(said, indent=1)


def _final_review() -> str:
    return json.dumps({"score": 98, "approved": True}, indent=1)


def _summary() -> str:
    return (
        "The authentication API is there: accounts, access tokens of 15 minutes, refresh tokens of 7 days that are good for "
        "one use, limits on attempts, and passwords hashed by scrypt. The review found three issues; all are closed. "
        "Accounts live in memory: put a database behind the service before it goes into production."
    )
