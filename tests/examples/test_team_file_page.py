"""The team file of the how-to page loads as it stands, and the reference has every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shoal import Budget, load_team
from shoal.teamfile.agents import AGENT_KEYS
from shoal.teamfile.patterns import PATTERNS
from tests.examples.programs import ROOT
from tests.support.modules import own_modules

PAGE = ROOT / "docs" / "how-to" / "team-files.md"
REFERENCE = ROOT / "docs" / "reference" / "team-file.md"


def test_the_whole_file_loads_and_says_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    for variable in ("OPENAI_API_KEY", "TEAM_ANTHROPIC_KEY", "SEARCH_TOKEN"):
        monkeypatch.setenv(variable, "a-key")
    (tmp_path / "docs").mkdir()
    (tmp_path / "tools.py").write_text("def lookup(word: str) -> str:\n    'Look up.'\n    return word\n")
    (tmp_path / "team.toml").write_text(text)
    with own_modules(tmp_path):
        team = load_team(tmp_path / "team.toml")
    assert (team.name, team.pattern, team.report) == ("auth", "orchestrator", "auth-report.md")
    assert team.budget == Budget(max_cost=2.0, max_seconds=7200.0)
    assert list(team.agents) == ["Lead", "Researcher", "Developer", "Reviewer"]
    assert (team.agents["Developer"].instances, team.agents["Reviewer"].isolation) == (2, "process")


def test_every_key_is_in_the_reference() -> None:
    text = REFERENCE.read_text()
    keys = {*AGENT_KEYS, *(key for form in PATTERNS.values() for key in form.options)}
    assert {key for key in keys if f"| `{key}` |" not in text} == set()
