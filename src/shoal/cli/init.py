"""``shoal init``."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from shoal.boxes.probing import probe
from shoal.cli.firstteams import REPLIES, TEAMS, PatternName, replies_text, team_text
from shoal.errors import ConfigError

__all__ = ["init"]

_LEVELS = ("bubblewrap", "gvisor", "microvm")  # the quickest first: a first team is to be seen at work


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where it goes; made if it is not there.")] = Path(),
    pattern: Annotated[PatternName, typer.Option(help="How the team works.")] = PatternName.ORCHESTRATOR,
) -> None:
    """Write team.toml: a team to begin with, and a comment for whatever may stand in it.

    It runs as it is, with OPENAI_API_KEY. Without a key the command that is printed shows it at work: the orchestrator, a
    lead with a researcher, a developer and a reviewer, is scripted by replies.json, which is written beside it; its code is
    really run, where a sandbox works. Files that are there are left alone.

    \b
    Example:
      shoal init && shoal run team.toml "Write slug(title)" --model scripted:replies.json
      shoal init --pattern debate && shoal run team.toml "Tabs or spaces?" --model echo
    """
    team = TEAMS[pattern]
    level = asyncio.run(_level()) if team.runs_code else None
    texts = {"team.toml": team_text(pattern, folder.absolute().name or "team", level)}
    if team.runs_code:
        texts[REPLIES] = replies_text()
    _write(folder, texts)
    typer.echo(f"wrote {' and '.join(str(folder / name) for name in texts)}")
    command = f"shoal run {shlex.quote(str(folder / 'team.toml'))} {shlex.quote(team.task)}"
    model = shlex.quote(f"scripted:{folder / REPLIES}") if team.runs_code else "echo"
    typer.echo(f"  with OPENAI_API_KEY:  {command}")
    typer.echo(f"  without a key:        {command} --model {model}")
    if team.runs_code and level is None:
        typer.echo("  No sandbox works here, so its code is not run: `shoal boxes probe` says what is missing.")


async def _level() -> str | None:
    """Return the first level of boxes that works on this machine; None: none does."""
    for level in _LEVELS:
        if (await probe(level))[level].works:
            return level
    return None


def _write(folder: Path, texts: dict[str, str]) -> None:
    """Write new files. Raises ConfigError, before anything is written, if one is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in texts:
            if os.path.lexists(folder / name):
                raise FileExistsError(folder / name)
        for name, text in texts.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError as error:
        there = error.args[0] if len(error.args) == 1 else error.filename or folder
        raise ConfigError(f"{there} is there already, and is left as it is") from None
