"""Teams of agents over scripted models, whose real calls are counted in a file across kills."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from shoal import Agent, AgentRuntime
from shoal.kernel.usage import Usage
from shoal.llm.doubles import scripted
from shoal.llm.model import Model, ModelRequest, ToolCall
from shoal.orchestration import Brief, Orchestrator, OrchestratorConfig
from tests.support.workteam import APPROVED, BRIEF, ISSUES, PLAN, files_reply

COST_PICO = 1_234_567
COST = COST_PICO / 1e12
USED = Usage(calls=1, input_tokens=11, output_tokens=7)

Replies = Mapping[str, list[Any]]
Says = Callable[[ModelRequest], Any]


class Setting(NamedTuple):
    """Where a team is at work: its runtime, and the file that gets a line for each real call of a model."""

    runtime: AgentRuntime
    log: Path


class Made(NamedTuple):
    """A team, and its task."""

    team: Orchestrator
    task: Brief


def model_of(log: Path, replies: Replies, latency: float = 0.0) -> Model:
    return scripted(
        {name: list(said) for name, said in replies.items()}, cost=COST, usage=USED, log=log, latency=latency
    )


def made(
    setting: Setting,
    replies: Replies,
    roles: Mapping[str, Any],
    task: Brief = BRIEF,
    *,
    latency: float = 0.0,
    **more: Any,
) -> Made:
    """Return the team of the agents that *replies* names: the lead, and by role one name or several."""
    model = model_of(setting.log, replies, latency)

    def agent(name: str) -> Agent[Any]:
        return Agent(name=name, model=model, role=f"You are {name}.")

    crew = {
        role: [agent(name) for name in ([names] if isinstance(names, str) else names)] for role, names in roles.items()
    }
    return Made(Orchestrator(agent("Lead"), crew, **more), task)


def planned(plan: Any, *own: Any) -> list[Any]:
    """Return what a lead says: the plan, what he does himself, and the summary."""
    return [json.dumps(plan), *own, "It is built."]


THREE = {"Researcher": "Researcher", "Developer": "Developer", "Reviewer": "Reviewer"}


def auth_replies(*fixes: Any) -> Replies:
    """Return what is said when the task of the document is worked on."""
    return {
        "Lead": planned(PLAN, "- Tokens, hashing, storage"),
        "Researcher": ["- JWT best practices summary\n- Security considerations"],
        "Developer": [
            files_reply({"auth_api.py": "x = 1\n" * 5, "test_auth.py": "y = 1\n"}, outputs=["Requirements: passlib"]),
            "- Tests cover login, expiry and refresh",
            *(fixes or [files_reply({"auth_api.py": "x = 2\n" * 5}, outputs=["Added rate limiting"])]),
            "- 2 ms a login",
        ],
        "Reviewer": [
            json.dumps({"score": 85, "issues": ISSUES, "recommendations": ["Limit logins by address"]}),
            APPROVED,
            json.dumps({"score": 98, "approved": True}),
        ],
    }


def auth(setting: Setting) -> Made:
    return made(setting, auth_replies(), THREE)


def slow(setting: Setting) -> Made:
    return made(setting, auth_replies(), THREE, latency=0.1)


def approved(setting: Setting) -> Made:
    return made(setting, auth_replies(), THREE, config=OrchestratorConfig(approve=("plan", "final")))


def dispute(setting: Setting) -> Made:
    """The developer disputes an issue: a conflict is decided between two reviews."""
    replies = dict(
        auth_replies(
            files_reply(
                {"auth_api.py": "x = 2\n" * 5},
                disputed=[{"issue": "R2", "statement": "15 minutes are asked for", "evidence": ["the requirements"]}],
            )
        )
    )
    replies["Reviewer"] = [
        replies["Reviewer"][0],
        json.dumps({"statement": "5 minutes is the practice", "evidence": ["a standard"]}),
        json.dumps({"score": 97, "approved": True, "resolved": ["R1", "R3"]}),
        json.dumps({"score": 98, "approved": True}),
    ]
    resolution = {
        "winner": "Developer",
        "analysis": "Both have a point.",
        "proposal": "Keep it.",
        "decision": "15 minutes stay",
        "result": "Conflict resolved",
        "keeps_constraint": True,
    }
    replies["Lead"] = planned(PLAN, "- Tokens, hashing, storage", json.dumps(resolution))
    return made(setting, replies, THREE)


# -- independent steps, and reviews beside each other


def beside(setting: Setting) -> Made:
    """Three parts at once by two writers, two reviews of them at once, both of which send something back."""
    plan = [
        *({"id": f"w{number}", "title": f"Part {number}", "owner": "Writer"} for number in range(3)),
        {"id": "style", "title": "Style review", "owner": "Stylist", "reviews": ["w0", "w1"]},
        {"id": "facts", "title": "Facts review", "owner": "Checker", "reviews": ["w2"]},
    ]

    def write(request: ModelRequest) -> str:
        asked = request.messages[-1].content
        found = re.search(r'"description": "Part (\d)"', asked)
        part = found[1] if found is not None else ("2" if "Facts" in asked or "facts" in asked else "0")
        mended = "mended " if "Open issues" in asked else ""
        return files_reply({f"part{part}.md": f"{mended}text {part}\n"})

    replies: Replies = {
        "Lead": planned(plan),
        "Ann": [write] * 5,
        "Ben": [write] * 5,
        "Stylist": [
            json.dumps({"score": 80, "issues": [{"severity": "LOW", "title": "A typo"}]}),
            lambda request: json.dumps({"score": 95, "approved": True, "resolved": _ids(request)}),
        ],
        "Checker": [
            json.dumps({"score": 80, "issues": [{"severity": "HIGH", "title": "A typo"}]}),
            lambda request: json.dumps({"score": 95, "approved": True, "resolved": _ids(request)}),
        ],
    }
    roles = {"Writer": ["Ann", "Ben"], "Stylist": "Stylist", "Checker": "Checker"}
    return made(setting, replies, roles, task=Brief("Write a text"))


def _ids(request: ModelRequest) -> list[str]:
    return re.findall(r"- (R\d+) ", request.messages[-1].content.split("All issues so far:")[-1])


# -- agents that fail


class Silent:
    """An agent that never answers, and costs nothing."""

    name = "Silent"

    async def health(self) -> str:
        return "healthy"

    async def chat(self, message: str) -> str:
        return str(await asyncio.get_running_loop().create_future())


def silent(setting: Setting) -> Made:
    """The first developer says nothing, the second takes over."""
    plan = [
        {"title": "Implement code", "owner": "Developer"},
        {"title": "Write docs", "owner": "Writer", "depends_on": [1]},
    ]
    replies: Replies = {
        "Lead": planned(plan),
        "Backup": [files_reply({"a.py": "x = 1\n"})],
        "Writer": ["- done"],
    }
    model = model_of(setting.log, replies)
    lead, backup, writer = (Agent(name=name, model=model) for name in replies)
    team = Orchestrator(
        lead, {"Developer": [Silent(), backup], "Writer": writer}, config=OrchestratorConfig(task_timeout=0.6)
    )
    return Made(team, Brief("Build it"))


TEAMS: dict[str, Callable[[Setting], Made]] = {
    "auth": auth,
    "slow": slow,
    "approved": approved,
    "dispute": dispute,
    "beside": beside,
    "silent": silent,
}


def tool(name: str, number: int = 0, **arguments: Any) -> ToolCall:
    return ToolCall(call_id=f"{name}{number}", name=name, arguments=json.dumps(arguments))
