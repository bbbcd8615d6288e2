"""``[brief]`` of a team file: what it says reaches the run, and what is wrong with it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal import load_team
from shoal.errors import ConfigError

TEAM = '[agents.Lead]\nlead = true\nmodel = "echo"\n[agents.Worker]\nmodel = "echo"\n'
HEAD = '[team]\npattern = "orchestrator"\n'


def written(folder: Path, brief: str, head: str = HEAD, team: str = TEAM) -> Path:
    path = folder / "team.toml"
    path.write_text(f"{head}{brief}{team}")
    return path


def test_a_brief_is_told_with_the_task(tmp_path: Path) -> None:
    brief = """[brief]
context = { language = "python", since = 2026-01-31 }
requirements = ["No network"]
expected_output = { files = ["slug.py"], tests = "all passing", coverage = ">80%" }
"""
    team = load_team(written(tmp_path, brief))
    expected = {"files": ["slug.py"], "tests": "all passing", "coverage": ">80%"}
    assert team.told("Write slug()", {"language": "c"}) == (
        {
            "task": "Write slug()",
            "context": {"language": "c", "since": "2026-01-31"},
            "requirements": ["No network"],
            "expected_output": expected,
        },
        "",
    )


@pytest.mark.parametrize("brief", ["", "[brief]\n", "[brief]\nrequirements = []\n"])
def test_without_one_the_task_is_all(tmp_path: Path, brief: str) -> None:
    team = load_team(written(tmp_path, brief))
    assert team.told("Dig") == ("Dig", "")
    assert team.told("Dig", {"depth": "1 m"}) == ({"task": "Dig", "context": {"depth": "1 m"}}, "")


def test_a_context_that_is_a_text_is_a_note(tmp_path: Path) -> None:
    team = load_team(written(tmp_path, '[brief]\ncontext = "Clay below"\n'))
    assert team.told("Dig", {"depth": "1 m"})[0]["context"] == {"notes": "Clay below", "depth": "1 m"}


@pytest.mark.parametrize(
    ("brief", "fault"),
    [
        ("[brief]\nrequirement = 1\n", "line 4: [brief] there is no key 'requirement'; did you mean 'requirements'?"),
        ('[brief]\nrequirements = "x"\n', "line 4: [brief] Brief(requirements='x'): it must be a list of texts"),
        ("[brief]\ncontext = 3\n", "line 4: [brief] Brief(context=3): it must be an object"),
        ('[brief]\nexpected_output = "all"\n', "line 4: [brief] expected_output must be a table such as { tests ="),
        (
            '[brief.expected_output]\ntests = "green"\n',
            "line 4: [brief.expected_output] tests='green': it must be 'all",
        ),
        ('[brief.expected_output]\ncoverage = "lots"\n', "coverage='lots': it must be a number from 0 to 100 such as"),
        ('[brief.expected_output]\nfiles = ["../x"]\n', "line 4: [brief.expected_output] files: "),
        ("[brief.expected_output]\ntest = 1\n", "there is no key 'test'; did you mean 'tests'?"),
    ],
)
def test_what_is_wrong_with_it_is_told(tmp_path: Path, brief: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_team(written(tmp_path, brief))
    assert [fault in text for text in caught.value.faults] == [True], caught.value.faults


def test_it_is_for_an_orchestrator(tmp_path: Path) -> None:
    path = written(tmp_path, "[brief]\n", head='[team]\npattern = "team"\n', team=TEAM.replace("lead = true\n", ""))
    with pytest.raises(ConfigError, match=r"line 3: \[brief\] is for an orchestrator"):
        load_team(path)
