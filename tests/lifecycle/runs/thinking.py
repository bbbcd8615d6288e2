"""Patterns of agents over scripted models, whose real calls are counted in a file across kills."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from shoal import Agent
from shoal.kernel.usage import Usage
from shoal.llm.doubles import scripted
from shoal.llm.model import Model, ModelRequest, ToolCall
from shoal.orchestration import Debate, ParallelAgents, Pipeline, Supervisor, Team

COST_PICO = 1_234_567
COST = COST_PICO / 1e12
USED = Usage(calls=1, input_tokens=11, output_tokens=7)

Reply = Callable[[ModelRequest], Any]


def said(request: ModelRequest) -> str:
    """Return a text that tells what was asked, so that equal results are those of equal prompts."""
    asked = msgspec.json.encode((request.system, request.messages, request.tools), order="deterministic")
    return f"{request.agent_name}{request.ordinal}:{hashlib.sha256(asked).hexdigest()[:12]}"


async def speak(request: ModelRequest) -> str:
    """Answer after a moment that is another one for each agent, so that they do not end in their order."""
    await asyncio.sleep(int(hashlib.sha256(request.agent_name.encode()).hexdigest()[:2], 16) / 256 * 0.004)
    return said(request)


def voting(position: str, agrees: str, confidence: int) -> Reply:
    async def vote(request: ModelRequest) -> str:
        text = await speak(request)
        return f"{text}\nPOSITION: {position}\nAGREES WITH: {agrees}\nCONFIDENCE: {confidence}"

    return vote


def planning(*plans: list[tuple[str, str]]) -> list[Reply]:
    def plan(items: list[tuple[str, str]]) -> Reply:
        tasks = json.dumps([{"worker": worker, "task": task} for worker, task in items])
        return lambda request: f"{said(request)} plans {tasks}"

    return [plan(items) for items in plans]


def handing(to: str) -> Reply:
    def hand(request: ModelRequest) -> ToolCall:
        arguments = json.dumps({"message": f"go on, {to}: {said(request)}", "reason": "you know how"})
        return ToolCall(call_id=f"c{request.ordinal}", name=f"transfer_to_{to}", arguments=arguments)

    return hand


def model_of(log: Path, replies: dict[str, list[Reply]]) -> Model:
    return scripted(replies, cost=COST, usage=USED, log=log)


def agents_of(log: Path, replies: dict[str, list[Reply]], **options: Any) -> list[Agent[Any]]:
    model = model_of(log, replies)
    return [Agent(name=name, model=model, role=f"You are {name}.", **options) for name in replies]


def panel(log: Path) -> ParallelAgents:
    return ParallelAgents(agents_of(log, {name: [speak] for name in ("Ada", "Bob", "Cyd")}), name="panel")


def debate(log: Path) -> Debate:
    replies: dict[str, list[Reply]] = {
        "Optimist": [voting("yes", "none", 70)] * 3,
        "Pessimist": [voting("no", "none", 60), voting("no", "none", 50), voting("well, yes", "Optimist", 40)],
        "Realist": [voting("maybe", "none", 30), *[voting("yes", "Optimist", 80)] * 2],
        "Moderator": [speak],
    }
    *agents, moderator = agents_of(log, replies)
    return Debate(agents, moderator, rounds=2, threshold=0.6, name="debate")


def supervisor(log: Path) -> Supervisor:
    replies: dict[str, list[Reply]] = {
        "Planner": planning([("finder", "find"), ("writer", "draft")], [("writer", "write it again")], []),
        "finder": [speak],
        "writer": [speak, speak],
        "Synthesizer": [speak],
    }
    planner, finder, writer, synthesizer = agents_of(log, replies)
    return Supervisor({"finder": finder, "writer": writer}, planner, synthesizer, name="supervisor")


def team(log: Path) -> Team:
    def lookup(word: str) -> str:
        """Look a word up."""
        return f"{word} means {word}"

    asks: Reply = lambda request: ToolCall(call_id="l", name="lookup", arguments='{"word": "shoal"}')  # noqa: E731
    replies: dict[str, list[Reply]] = {"Front": [handing("Maker")], "Maker": [asks, handing("Checker")]}
    model = model_of(log, {**replies, "Checker": [handing("Maker")], "Maker": [*replies["Maker"], speak]})
    agents = [Agent(name=name, model=model, tools=[lookup]) for name in ("Front", "Maker", "Checker")]
    return Team(agents, name="team")


def nested(log: Path) -> Pipeline:
    return Pipeline([panel(log), debate(log), supervisor(log)], step_timeout=None, name="nested")


THINKING: dict[str, Callable[[Path], Any]] = {
    "debate": debate,
    "supervisor": supervisor,
    "team": team,
    "nested": nested,
}
