"""``shoal init``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from shoal.errors import ConfigError

__all__ = ["TEMPLATE", "init"]

TEMPLATE = """\
# A team of agents. Run it:             shoal run team.toml "Build a user authentication API"
# without a model and without a key:    shoal run team.toml "Build a user authentication API" --model echo

[team]
name = {name}
pattern = "supervisor"              # parallel, pipeline, supervisor, debate, team, orchestrator
# store = "sqlite:///./shoal.db"    # where runs are kept, so that they go on after a crash
# report = "report.md"              # .md or .json; default report-RUN_ID.md

[pattern]                           # how it works; times are seconds or 45s, 30min, 2h
planner = "Planner"                 # who plans, and who brings together what was found: agents of this file
synthesizer = "Editor"
worker_timeout = "5min"

[budget]                            # of a run; it stops there, and the same --run-id goes on with a larger one
max_cost = 1.00                     # USD
max_calls = 40

# Each agent: a language model with a role. Keys come from the provider's own environment variable (OPENAI_API_KEY,
# ANTHROPIC_API_KEY ...), or from the one named by api_key_env; never write a key in here.

[agents.Planner]
role = "You plan the work of a small team: who does what, so that nothing is done twice."
model = "openai:gpt-5-mini"

[agents.Editor]
role = "You bring together what a team has found into one clear answer."
model = "openai:gpt-5-mini"

[agents.Researcher]
role = "You find out what is known, and what others got wrong. You name your sources."
model = "openai:gpt-5-mini"
tools = ["folder:."]                # also: mcp.NAME, FILE.py:NAME, fetch:HOST, python (with a table [runner])

[agents.Developer]
role = "You design and write code, with tests."
model = "openai:gpt-5-mini"
# instances = 2                     # two of them: Developer and Developer-2
# isolation = "process"             # inline, thread, process, bubblewrap, gvisor, microvm, auto

# [runner]                          # where code of agents runs; left out: it is not run
# isolation = "auto"

# [mcp.search]                      # tools of a server: tools = ["mcp.search"]
# command = ["search-server", "--stdio"]
"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where it goes; made if it is not there.")] = Path(),
) -> None:
    """Write team.toml: a team to begin with, and a comment for whatever may stand in it.

    It runs as it is: with --model echo without any key, else with OPENAI_API_KEY. A file that is there is left alone.

    \b
    Example:
      shoal init && shoal run team.toml "What is a lease?" --model echo
    """
    path = folder / "team.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.replace("{name}", json.dumps(folder.absolute().name or "team", ensure_ascii=False)))
    except FileExistsError:
        there = path if path.exists() else folder
        raise ConfigError(f"{there} is there already, and is left as it is") from None
    typer.echo(f"wrote {path}")
