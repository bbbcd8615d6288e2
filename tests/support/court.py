"""A conflict that is resolved at a desk of speakers, in virtual time: the hashing dispute, unless another is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from shoal.kernel.scope import Scope
from shoal.orchestration.calling import call_at
from shoal.orchestration.pattern import Pattern
from shoal.orchestration.planning import written
from shoal.orchestration.results import AgentResult, Result
from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.conflict import Conflict, ConflictRecord, Position, Rule
from shoal.orchestration.workflow.desk import Texts
from shoal.orchestration.workflow.report import CallKind
from shoal.orchestration.workflow.resolving import Resolver
from shoal.orchestration.workflow.rules import requirements_first, security_first
from tests.support.speakers import Calls, Speaker, virtual

__all__ = ["DEVELOPER", "FAST", "RESOLVED", "SAFE", "SEED", "Court", "dispute", "reply", "stated"]

ROLES = ("Researcher", "Developer", "Reviewer")
FAST = "We should use synchronous hashing for performance"
SAFE = "Synchronous hashing is vulnerable to timing attacks"
SEED = """\
[Developer]: "We should use synchronous hashing for performance"
[Reviewer]: "Synchronous hashing is vulnerable to timing attacks"

[Orchestrator] Resolution:
1. Analyze both arguments
2. Check security requirements
3. Propose solution: async with security

Final Decision: Use bcrypt (async-compatible) with proper
timing attack protection. Developer implements, Reviewer approves.

Result: Security wins, but performance impact minimized."""


def reply(**fields: Any) -> str:
    """Return what an agent says that answers in JSON, among words."""
    return f"Here it is:\n```json\n{json.dumps(fields)}\n```"


RESOLVED = {
    "analysis": "Speed against timing attacks.",
    "proposal": "async with security",
    "decision": "Use bcrypt (async-compatible) with proper\ntiming attack protection.",
    "result": "Security wins, but performance impact minimized.",
    "winner": "Reviewer",
    "keeps_constraint": True,
}
DEVELOPER = reply(statement=FAST, evidence=["80 ms for one, 12,000 a minute for all"], tags=["performance"])
REVIEWER = reply(statement=SAFE, evidence=["CWE-208", "responses differ by 3 ms"], tags=["Security"])
SAID: dict[str, Any] = {"Developer": DEVELOPER, "Reviewer": REVIEWER, "Orchestrator": reply(**RESOLVED)}


class Table:
    """A desk with one speaker for each role."""

    def __init__(self, speakers: Mapping[str, Speaker]) -> None:
        self._speakers = speakers
        self.kinds: list[tuple[str, str, str]] = []

    async def ask(
        self,
        place: Scope,
        role: str,
        key: str,
        prompt: Texts,
        *,
        kind: CallKind,
        timeout: float | None,
        step_id: str = "",
    ) -> AgentResult:
        self.kinds.append((role, kind, step_id))
        place.check()
        text = written(place, role, prompt)
        said = await call_at(place, self._speakers[role], text, key=key, timeout=timeout)
        place.check()
        return said


class Court(Pattern[Result]):
    """Resolves one conflict; the content of its result is the record."""

    name, budget, result_type = "court", None, Result

    def __init__(
        self,
        said: Mapping[str, Any] | None = None,
        conflict: Conflict | None = None,
        *,
        calls: Calls | None = None,
        seconds: Mapping[str, float] | None = None,
        rules: Sequence[Rule] = (security_first, requirements_first),
        parties: Sequence[str] = ("Developer", "Reviewer"),
        implementer: str = "Developer",
        material: Texts = (),
        timeout: float = 300.0,
    ) -> None:
        self.calls = Calls() if calls is None else calls
        answers, takes = {**SAID, **(said or {})}, seconds or {}
        self.table = Table(
            {name: Speaker(name, a, self.calls, seconds=takes.get(name, 0.0), cost=0.25) for name, a in answers.items()}
        )
        self.conflict = dispute() if conflict is None else conflict
        self._resolver = Resolver(self.table, rules, OrchestratorConfig(conflict_timeout=timeout), ROLES)
        self._how: dict[str, Any] = {"parties": parties, "implementer": implementer, "material": material}
        self.record: ConflictRecord | None = None

    def begin(self, scope: Scope, input: Any, user_id: str, context: str) -> tuple[Callable[[], Result], Any]:
        async def work() -> None:
            self.record = await self._resolver.resolve(scope.child("c1"), self.conflict, **self._how)

        return lambda: Result(
            content=msgspec.json.encode(self.record).decode(), success=self.record is not None
        ), work()

    def resolved(self, *, seed: int = 0, shuffle: bool = False) -> ConflictRecord:
        """Resolve it in virtual time."""
        self.result = virtual(lambda clock: self.chat("go"), seed=seed, shuffle=shuffle)
        assert self.record is not None
        return self.record

    def asked(self, key: str) -> str:
        """Return what was asked once at *key*."""
        [message] = self.calls.messages(f"c1/{key}")
        return message


def dispute(*positions: Position, topic: str = "Hashing of passwords", required: bool = True) -> Conflict:
    """Return the hashing dispute, with the positions that are known."""
    requirements = ("Access token (15min)", "Secure password hashing") if required else ()
    return Conflict(
        id="C1", topic=topic, step_id="3", owner="Developer", positions=positions, requirements=requirements
    )


def stated(agent: str, statement: str, *evidence: str) -> Position:
    """Return a position."""
    return Position(agent=agent, statement=statement, evidence=evidence)
