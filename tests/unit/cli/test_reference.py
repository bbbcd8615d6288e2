"""The help texts: each command has one with an example and the exit codes, and the reference page says the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import typer

from shoal.cli.app import build

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "cli_reference.py"


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cli_reference", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMANDS = list(reference().commands(typer.main.get_command(build())))


def test_all_commands_are_there() -> None:
    assert {" ".join(words) for words in COMMANDS} == {
        "", "run", "up", "discover", "call", "control", "registry", "registry serve",
        "init", "chat", "agents", "events", "metrics", "export", "doctor", "version",
        "tasks", "tasks list", "tasks show", "tasks submit", "tasks cancel", "tasks wait",
        "db", "db info", "db migrate", "db prune", "nodes", "drain",
        "boxes", "boxes probe", "boxes build-image", "boxes run", "boxes exec", "boxes logs",
        "runs", "runs list", "runs show", "runs watch", "runs cancel", "runs approve", "runs deny", "runs fork",
        "runs cassette",
    }  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_has_an_example_and_the_exit_codes(words: tuple[str, ...]) -> None:
    text = reference().help_of(words)
    assert f"Example:\n    {' '.join(('shoal', *words))}" in text
    assert "Exit codes: 0 done, 1 the work failed, 2 bad usage or no such thing, 3 store" in text


def test_the_reference_page_is_what_the_commands_say() -> None:
    module = reference()
    assert module.PAGE.read_text() == module.render(), "run: python scripts/cli_reference.py"
