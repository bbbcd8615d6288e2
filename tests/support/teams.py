"""Team files of tests, with models that need no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "TOOLS", "team_file", "write_team"]

TOOLS = """
import os, time
from pathlib import Path
from shoal import tool

@tool(approval=True)
def drop(table: str) -> str:
    "Drop a table."
    return f"dropped {table}"

async def wait(word):
    import asyncio
    with Path("calls.log").open("a") as log:
        log.write(f"{word}\\\\n")
    while not Path("GO").exists():
        await asyncio.sleep(0.02)
    return f"held {word}"

@tool
async def hold(word: str) -> str:
    "Wait until there is a file GO."
    return await wait(word)

@tool(effect="once")
async def once(word: str) -> str:
    "Wait until there is a file GO; never done twice."
    return await wait(word)

@tool
async def noisy(word: str) -> str:
    "Print and log."
    import logging
    print("printed " + word)
    logging.getLogger("shoal").warning("logged %s", word)
    return word

@tool(timeout=600)
def block(word: str) -> str:
    "Sleep."
    time.sleep(600)
    return word
""".replace("\\\\n", "\\n")

RESULTS = {
    "parallel": "ParallelResult", "pipeline": "PipelineResult", "supervisor": "SupervisorResult",
    "debate": "DebateResult", "team": "TeamResult", "orchestrator": "WorkflowReport",
}  # fmt: skip
"""What each pattern of team files returns, by the name in ``shoal.orchestration``."""


def team_file(
    pattern: str, agents: Mapping[str, Mapping[str, Any]], *, options: str = "", budget: str = "", team: str = ""
) -> str:
    """Return the text of a team file; values are written as TOML by way of JSON."""
    lines = ["[team]", f'pattern = "{pattern}"', team, "[pattern]", options, "[budget]", budget]
    for name, fields in agents.items():
        lines += [f"[agents.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
    return "\n".join(lines) + "\n"


def write_team(
    folder: Path, pattern: str, script: Mapping[str, Sequence[Any]], *, tools: Sequence[str] = (), **others: Any
) -> Path:
    """Write a team of the agents of *script*, which say what stands there, with its tools; return its path.

    The lead of an orchestrator is called Lead.
    """
    (folder / "script.json").write_text(json.dumps(script))
    (folder / "tools.py").write_text(TOOLS)
    agents: dict[str, dict[str, Any]] = {
        name: {"model": "scripted:script.json", "tools": [f"tools.py:{tool}" for tool in tools]} for name in script
    }
    if pattern == "orchestrator":
        agents["Lead"]["lead"] = True
    path = folder / "team.toml"
    path.write_text(team_file(pattern, agents, **others))
    return path
