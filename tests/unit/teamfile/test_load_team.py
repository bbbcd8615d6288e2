"""``load_team``: what it makes of a good file."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal
from shoal import Budget, TeamFile, Usage, load_team
from shoal.tomlfile.values import seconds_of
from tests.support.modules import own_modules

WHOLE = """\
[team]
name = "auth"
pattern = "orchestrator"
store = "sqlite:///./auth.db"
report = "auth-report.md"
[pattern]
max_rework = 2
task_timeout = "30min"
blocking = ["HIGH"]
[budget]
max_cost = 2.00
max_seconds = "2h"
[agents.Lead]
lead = true
role = "Plans, designs, decides"
model = "echo"
[agents.Developer]
role = "Writes code and tests"
model = "openai:gpt-5-mini"
api_key_env = "TEAM_TEST_KEY"
instances = 2
tools = ["mcp.search", "tools.py:lookup", "folder:.", "fetch:docs.python.org", "python"]
timeout = "45s"
loop = { max_tool_calls = 5 }
price = [1, 2]
[runner]
isolation = "bubblewrap"
[mcp.search]
command = ["search-server", "--stdio"]
pass_env = ["TEAM_TEST_KEY"]
"""


@pytest.fixture(autouse=True)
def modules_of_this_test(tmp_path: Path) -> Iterator[None]:
    """Forget the modules of its folder."""
    with own_modules(tmp_path):
        yield


def team(folder: Path, text: str, name: str = "team.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TeamFile:
    monkeypatch.setenv("TEAM_TEST_KEY", "sk-not-to-be-seen")
    (tmp_path / "tools.py").write_text("def lookup(word: str) -> str:\n    '''Look up.'''\n    return word\n")
    return load_team(team(tmp_path, WHOLE))


def test_it_tells_what_the_file_says(whole: TeamFile) -> None:
    assert (whole.name, whole.pattern, whole.report, whole.store) == (
        "auth",
        "orchestrator",
        "auth-report.md",
        "sqlite:///./auth.db",
    )
    assert whole.budget == Budget(max_cost=2.0, max_seconds=7200.0)
    assert list(whole.agents) == ["Lead", "Developer"]
    lead, developer = whole.agents.values()
    assert (lead.lead, lead.model, lead.instances, lead.isolation) == (True, "echo", 1, "inline")
    assert (developer.lead, developer.model, developer.instances) == (False, "openai:gpt-5-mini", 2)
    assert developer.tools == ("mcp.search", "tools.py:lookup", "folder:.", "fetch:docs.python.org", "python")


def test_the_fields_of_agents_reach_them(whole: TeamFile) -> None:
    first, second = whole._casting.members[1].agents
    assert (first.name, second.name) == ("Developer", "Developer-2")
    assert (first.role, first.timeout, first.loop.max_tool_calls) == ("Writes code and tests", 45.0, 5)
    assert first.calling.models[0].price(Usage(calls=1, input_tokens=1_000_000, output_tokens=1_000_000)) == 3 * 10**12
    assert first.specs()[0].name == "lookup"
    assert {spec.name.partition("_")[0] for spec in first.specs()} == {"lookup", "search", "read", "fetch"}


def test_a_key_is_nowhere_in_what_it_tells(whole: TeamFile) -> None:
    shown = [repr(whole), repr(whole.agents), *map(repr, whole._casting.members[1].agents), str(vars(whole))]
    assert "not-to-be-seen" not in "".join(shown)


def test_what_is_left_out_has_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOAL_STORE", raising=False)
    found = load_team(team(tmp_path, '[team]\npattern = "pipeline"\n[agents.A]\nmodel = "echo"\n', "small.toml"))
    assert (found.name, found.budget, found.report, found.store) == ("small", None, None, "sqlite:///./shoal.db")
    assert repr(found) == "<TeamFile small (pipeline): A>"


def test_a_plain_path_is_a_store_and_the_variable_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_STORE", "sqlite:///other.db")
    small = '[team]\npattern = "pipeline"\n{}[agents.A]\nmodel = "echo"\n'
    assert load_team(team(tmp_path, small.format(""))).store == "sqlite:///other.db"
    assert load_team(team(tmp_path, small.format('store = "x.db"\n'))).store == "sqlite:///x.db"


def test_another_model_takes_the_place_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    text = (
        '[team]\npattern = "pipeline"\n[agents.A]\nprovider = "openai"\nfallback = ["openai:gpt-5-mini"]\n'
        'settings = { seed = 1 }\n[agents.B]\nmodel = "anthropic:claude-haiku-4-5"\napi_key_env = "NOT_SET"\n'
    )
    with pytest.raises(shoal.errors.ConfigError):  # keys are missing
        load_team(team(tmp_path, text))
    found = load_team(team(tmp_path, text), model="echo")
    assert [each.model for each in found.agents.values()] == ["echo", "echo"]


def test_agents_without_a_model_do_with_another(tmp_path: Path) -> None:
    assert (
        load_team(team(tmp_path, '[team]\npattern = "pipeline"\n[agents.A]\n'), model="echo").agents["A"].model
        == "echo"
    )


def test_files_stand_beside_the_team_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "script.json").write_text('["said"]')
    (tmp_path / "a" / "tools.py").write_text("import near\ndef f() -> str:\n    'F.'\n    return near.WORD\n")
    (tmp_path / "a" / "near.py").write_text("WORD = 'near'\n")
    text = (
        '[team]\npattern = "pipeline"\n[agents.A]\nmodel = "scripted:script.json"\ntools = ["tools.py:f", "folder:."]\n'
    )
    monkeypatch.chdir(tmp_path)
    agent = load_team(team(tmp_path / "a", text))._casting.members[0].agents[0]
    assert agent.tools[0]() == "near"
    assert [spec.name for spec in agent.specs()] == ["f", "search_a", "read_a"]


def test_two_files_of_one_name_are_two(tmp_path: Path) -> None:
    found = []
    for word in ("one", "two"):
        (tmp_path / word).mkdir()
        (tmp_path / word / "teamtools.py").write_text(f"def f() -> str:\n    'F.'\n    return {word!r}\n")
        text = '[team]\npattern = "pipeline"\n[agents.A]\nmodel = "echo"\ntools = ["teamtools.py:f"]\n'
        found.append(load_team(team(tmp_path / word, text)))
    assert [each._casting.members[0].agents[0].tools[0]() for each in found] == ["one", "two"]


def test_functions_are_options_too(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(
        "def shorten(text):\n    return text[:3]\ndef after(messages):\n    return None\n"
    )
    agents = '[agents.A]\nmodel = "echo"\n[agents.B]\nmodel = "echo"\n'
    pipeline = load_team(
        team(tmp_path, f'[team]\npattern = "pipeline"\n[pattern.transformers]\n1 = "rules.py:shorten"\n{agents}')
    )
    assert pipeline._casting._options["transformers"][1]("abcdef") == "abc"
    turns = load_team(team(tmp_path, f'[team]\npattern = "team"\n[pattern]\nturn = "rules.py:after"\n{agents}'))
    assert turns._casting._options["turn"]([]) is None


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        *(
            (90, 90),
            (1.5, 1.5),
            ("45s", 45),
            ("30min", 1800),
            ("2h", 7200),
            ("30m", 1800),
            ("250ms", 0.25),
            ("1d", 86400),
        ),
        *(("1.5 min", 90), ("none", None), ("10sec", 10)),
    ],
)
def test_times(given: object, seconds: float | None) -> None:
    assert seconds_of(given) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "45", "1w", "1h30", "nans", "٣s٣", "9" * 30])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time: write seconds as a number, or 45s, 30min, 2h"):
        seconds_of(text)


def test_nothing_is_opened_and_no_model_library_is_loaded(tmp_path: Path) -> None:
    path = team(tmp_path, '[team]\npattern = "parallel"\nstore = "x.db"\n[agents.A]\nmodel = "echo"\n')
    code = f"import sys; from shoal import load_team; load_team({str(path)!r}); print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert os.listdir(tmp_path) == ["team.toml"]
    assert not {"pydantic_ai", "httpx2", "mcp", "openai"} & set(done.stdout.split())


def test_it_is_among_the_public_names() -> None:
    assert {"load_team", "TeamFile"} <= set(shoal.__all__)
    assert list(inspect.signature(load_team).parameters) == ["path", "model"]
