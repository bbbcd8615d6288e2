"""``shoal init``, and how ``shoal run`` answers a team file with faults: the real command."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from shoal import load_team
from shoal.cli.firstteams import TEAMS, PatternName, team_text
from shoal.teamfile.patterns import PATTERNS
from tests.support.command import environment, refused, said, shoal

TASK = "Write a function slug(title) for the addresses of pages"


def test_the_first_team_is_seen_at_work_by_one_command_without_a_key(tmp_path: Path) -> None:
    """The command is the one that is printed. Its code is run where a sandbox works."""
    done = shoal(tmp_path, "init", "my team")
    wrote, keyed, tried, *more = done.stdout.splitlines()
    assert (done.returncode, wrote) == (0, "wrote my team/team.toml and my team/replies.json"), done.stderr
    folder = tmp_path / "my team"
    whole = tomllib.loads((folder / "team.toml").read_text())
    assert whole["team"]["name"] == "my team" and whole["team"]["pattern"] == "orchestrator"
    assert ("runner" in whole) is (not more), more
    words = shlex.split(tried.partition(":")[2])
    assert words == [*shlex.split(keyed.partition(":")[2]), "--model", "scripted:my team/replies.json"]
    report = said(shoal(tmp_path, *words[1:], "--run-id", "first", "--json"))
    assert (report["success"], report["tests"]["passed"], report["coverage"]) == (True, 3, 100)
    assert report["ready"] is ("runner" in whole)
    assert report["steps"][2]["review_scores"] == [82, 97]
    assert [issue["status"] for issue in report["issues"]] == ["resolved"]
    assert {path.name for path in (tmp_path / "first").iterdir()} == {"slug.py", "test_slug.py"}
    done = shoal(folder, "run", "team.toml", TASK, variables=environment() | {"OPENAI_API_KEY": "", "COLUMNS": "200"})
    refused(done, 2, "[agents.Lead] provider 'openai' has no key", "OPENAI_API_KEY")


def test_without_a_sandbox_the_team_says_so_and_works(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    nothing = environment() | {"PATH": str(tmp_path / "bin")}
    done = shoal(tmp_path, "init", variables=nothing)
    assert done.stdout.splitlines()[-1].startswith("  No sandbox works here, so its code is not run"), done.stdout
    assert "runner" not in tomllib.loads((tmp_path / "team.toml").read_text())
    done = shoal(tmp_path, "run", "team.toml", TASK, "--model", "scripted:replies.json", "--json", variables=nothing)
    report = said(done)
    assert (report["success"], report["ready"], report["tests"]["source"]) == (True, False, "claimed")
    done = shoal(tmp_path, "run", "team.toml", TASK, "--model", "scripted:replies.json", variables=nothing)
    assert done.stdout.splitlines()[-2] == "Not ready: the tests were not run: their numbers are claimed"


@pytest.mark.parametrize("pattern", [name for name in PATTERNS if name != "orchestrator"])
def test_each_pattern_has_a_first_team_that_runs_with_echo(tmp_path: Path, pattern: str) -> None:
    done = shoal(tmp_path, "init", "--pattern", pattern)
    wrote, _, tried = done.stdout.splitlines()
    assert (done.returncode, wrote) == (0, "wrote team.toml"), done.stderr
    words = shlex.split(tried.partition(":")[2])
    assert words[-2:] == ["--model", "echo"]
    assert said(shoal(tmp_path, *words[1:], "--json"))["success"] is True


def test_every_pattern_of_a_team_file_has_a_first_team() -> None:
    assert set(TEAMS) == set(PATTERNS) == set(PatternName)


def test_a_pattern_that_there_is_not_is_refused(tmp_path: Path) -> None:
    refused(shoal(tmp_path, "init", "--pattern", "debat"), 2, "'debat' is not one of 'orchestrator', 'supervisor'")
    assert not list(tmp_path.iterdir())


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
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "replies.json").write_text("mine")
    refused(shoal(tmp_path, "init", "half"), 2, "half/replies.json is there already")
    assert [path.name for path in (tmp_path / "half").iterdir()] == ["replies.json"]


@pytest.mark.parametrize("name", ['a "quoted" one', "tab\tand\\", "ümläut", "[x]"])
def test_the_name_of_any_folder_can_stand_in_the_file(tmp_path: Path, name: str) -> None:
    assert shoal(tmp_path, "init", name).returncode == 0
    assert tomllib.loads((tmp_path / name / "team.toml").read_text())["team"]["name"] == name


_COMMENTED = re.compile(r"# ((?:[a-z_]+ = |\[[a-z.]+\]).*)")


@pytest.mark.parametrize("pattern", PatternName)
@pytest.mark.parametrize("level", ["bubblewrap", None])
def test_whatever_it_shows_as_a_comment_can_be_taken_in(
    tmp_path: Path, pattern: PatternName, level: str | None
) -> None:
    """A line that is commented out is one that the file may have."""
    lines = team_text(pattern, "x", level).splitlines()
    taken_in = [found[1] if (found := _COMMENTED.fullmatch(line)) else line for line in lines]
    assert len([line for line in taken_in if line not in lines]) >= 4
    path = tmp_path / "team.toml"
    path.write_text("\n".join(taken_in) + "\n")
    team = load_team(path, model="echo")
    assert (team.name, team.pattern, team.report) == ("x", pattern, "report.md")


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
    assert len(done.stderr.splitlines()) == 6, "a line for each fault"
    assert [path.name for path in tmp_path.iterdir()] == ["team.toml"]
    refused(
        shoal(tmp_path, "run", "nowhere.toml", "Go"), 2, "there is no team file nowhere.toml", "`shoal init` writes one"
    )
    (tmp_path / "team.toml").write_text(f"[agents.A]\napi_key = {key}\n")
    done = shoal(tmp_path, "run", "team.toml", "Go")
    refused(done, 2, "this is no TOML: Invalid value (at line 2, column 11)")
    assert key not in done.stderr
