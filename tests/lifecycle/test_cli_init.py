"""``shoal init``, and how ``shoal run`` answers a team file with faults: the real command."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from shoal.cli.init import TEMPLATE
from shoal.teamfile.agents import AGENT_KEYS
from shoal.teamfile.patterns import PATTERNS
from tests.support.command import environment, refused, said, shoal


def test_what_it_writes_runs_as_it_is(tmp_path: Path) -> None:
    done = shoal(tmp_path, "init", "my team")
    assert (done.returncode, done.stdout) == (0, "wrote my team/team.toml\n"), done.stderr
    folder = tmp_path / "my team"
    assert tomllib.loads((folder / "team.toml").read_text())["team"]["name"] == "my team"
    report = said(shoal(folder, "run", "team.toml", "What is a lease?", "--model", "echo", "--json"))
    assert report["success"] is True and "Researcher" in report["content"]
    keyed = environment() | {"OPENAI_API_KEY": "", "COLUMNS": "200"}
    done = shoal(folder, "run", "team.toml", "What is a lease?", variables=keyed)
    refused(done, 2, "line 24: [agents.Planner] provider 'openai' has no key", "OPENAI_API_KEY")


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text("mine")
    refused(shoal(tmp_path, "init"), 2, "team.toml is there already")
    assert (tmp_path / "team.toml").read_text() == "mine"
    (tmp_path / "file").touch()
    refused(shoal(tmp_path, "init", "file"), 2, "file is there already")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "team.toml").symlink_to(tmp_path / "nowhere")
    refused(shoal(tmp_path, "init", "link"), 2, "is there already")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ['a "quoted" one', "tab\tand\\", "ümläut", "[x]"])
def test_the_name_of_any_folder_can_stand_in_the_file(tmp_path: Path, name: str) -> None:
    assert shoal(tmp_path, "init", name).returncode == 0
    assert tomllib.loads((tmp_path / name / "team.toml").read_text())["team"]["name"] == name


def test_whatever_it_shows_as_a_comment_is_there(tmp_path: Path) -> None:
    """The commented lines are keys that a team file knows."""
    lines = TEMPLATE.replace("{name}", '"x"').splitlines()
    bare = [
        line.removeprefix("# ") for line in lines if line.startswith("# ") and ("=" in line or line.startswith("# ["))
    ]
    keys = {line.partition("=")[0].strip() for line in bare if "=" in line and ":" not in line.partition("=")[0]}
    assert {"store", "report", "instances", "isolation", "command"} <= keys
    assert {"instances", "isolation"} <= set(AGENT_KEYS)
    assert all(pattern in TEMPLATE for pattern in PATTERNS)


@pytest.mark.spec("W21")
def test_faults_end_the_command_with_2_and_nothing_is_started(tmp_path: Path) -> None:
    key = "sk-live-0123456789abcdef"
    (tmp_path / "team.toml").write_text(
        f'[team]\npattern = "pipelin"\n[agents.A]\nmodle = "echo"\napi_key = "{key}"\ntools = ["tools.py:f", "mcp.x"]\n'
    )
    done = shoal(tmp_path, "run", "team.toml", "Go")
    refused(
        done,
        2,
        *("line 2: [team] there is no pattern 'pipelin'; did you mean 'pipeline'?", "there is no key 'modle'; did you"),
        *(
            "line 5: [agents.A] api_key: a key is not written here",
            "there is no server [mcp.x]",
            "agent 'A' has no model",
        ),
        "line 6: [agents.A] tools: there is no file",
    )
    assert key not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["team.toml"]
    refused(
        shoal(tmp_path, "run", "nowhere.toml", "Go"), 2, "there is no team file nowhere.toml", "`shoal init` writes one"
    )
    (tmp_path / "team.toml").write_text(f"[agents.A]\napi_key = {key}\n")
    done = shoal(tmp_path, "run", "team.toml", "Go")
    refused(done, 2, "this is no TOML: Invalid value (at line 2, column 11)")
    assert key not in done.stderr
