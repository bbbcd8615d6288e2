"""The team on a real provider: only where a model is named, and its key is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = os.environ.get("SHOAL_TEST_PROVIDER_MODEL", "")
"""Such as ``openai:gpt-5-mini``; its key is read from the provider's own variable."""

TEAM = """
[team]
name = "first"
pattern = "orchestrator"

[pattern]
max_rework = 2
task_timeout = "5min"

[agents.Lead]
lead = true
role = "Plans, designs, decides. Your plans have at most four steps, the last of them a review."

[agents.Developer]
role = "Writes code and tests"

[agents.Reviewer]
role = "Reviews code"
"""


@pytest.mark.spec("W23")
@pytest.mark.skipif(not MODEL, reason="opt-in, it costs money: SHOAL_TEST_PROVIDER_MODEL=provider:name, and its key")
def test_a_team_on_a_real_provider_stays_below_its_budget(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text(TEAM)
    shoal = str(Path(sys.executable).with_name("shoal"))
    command = [shoal, "run", "team.toml", "Write a function that adds two numbers, with a test"]
    options = ["--model", MODEL, "--budget", "0.50", "--run-id", "real", "--report", "report.json", "--plain"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode in (0, 1, 3), done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["plan"], done.stdout
    assert 0 < report["total_cost"] < 0.50
