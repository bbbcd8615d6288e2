"""Write docs/reference/cli.md from the help texts of the command ``shoal``: ``python scripts/cli_reference.py``."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from shoal.cli import main
from shoal.cli.app import build

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"

_TOP = """# The command `shoal`

This page is what `--help` says; `python scripts/cli_reference.py` writes it.

Commands that only look (`nodes`, `agents`, `tasks list`, `tasks show`, `events`, `metrics`, `export`, `db info`, `doctor`)
write nothing to the store and create none. They work beside a running runtime, and after it has crashed.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the work failed: a task did not complete, a run failed, a task had already ended, a wait was over its time |
| 2 | bad usage, or no such thing: file, name, id, store |
| 3 | store trouble: not a store, a newer schema, not writable, a full disk; `run`: the budget of a run is spent |
| 4 | `run`: a run waits for an approval, and nobody can be asked; `call`, `control`: an error was the answer |
| 5 | `call`, `control`: no answer in time |
| 130 | interrupted with Ctrl-C; `up`, `registry serve`: a second Ctrl-C, or 143 for a second SIGTERM |
"""


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group of commands, in the order of the help text."""
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*words, name))


def help_of(words: tuple[str, ...]) -> str:
    """Return what ``shoal WORDS --help`` prints in a terminal 80 columns wide."""
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "80"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            main([*words, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return printed.getvalue().rstrip() + "\n"


def render() -> str:
    """Return the whole page."""
    shown = commands(typer.main.get_command(build()))
    return _TOP + "".join(f"\n## `{' '.join(('shoal', *w))}`\n\n```text\n{help_of(w)}```\n" for w in shown)


if __name__ == "__main__":
    PAGE.write_text(render())
