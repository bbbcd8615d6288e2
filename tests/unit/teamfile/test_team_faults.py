"""Faults of team files: all at once, each with its line or key and the nearest known name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shoal import load_team
from shoal.errors import ConfigError
from shoal.kernel.budget import Budget
from shoal.teamfile.agents import AGENT_KEYS
from shoal.teamfile.patterns import PATTERNS
from shoal.tomlfile.faults import is_secret
from tests.support.modules import own_modules

KEY = "sk-live-0123456789abcdef"
AGENTS = '[agents.A]\nmodel = "echo"\n[agents.B]\nmodel = "echo"\n[agents.C]\nmodel = "echo"\n'


@pytest.fixture(autouse=True)
def modules_of_this_test(tmp_path: Path) -> Iterator[None]:
    """Forget the modules of its folder."""
    with own_modules(tmp_path):
        yield


def faults_of(folder: Path, text: str, **more: str) -> tuple[str, ...]:
    """Return the faults of a team file, without its path."""
    path = folder / "team.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_team(path, **more)
    assert all(fault.startswith(str(path)) for fault in caught.value.faults)
    return tuple(fault.removeprefix(str(path)).lstrip(", :") for fault in caught.value.faults)


MANY = f"""\
[team]
pattern = "debat"
stor = "x.db"
report = "report.txt"
[patern]
rounds = 1
[budget]
max_cots = 1
max_calls = "many"
[agents.Lead]
rolle = "Leads"
model = "echo"
api_key = "{KEY}"
[agents.Worker]
model = "opnai:gpt-5-mini"
tools = ["mcp.serch", "tools.py:f", "folder:nowhere"]
timeout = "soon"
isolation = "bubblewarp"
instances = 0
[agents.Other]
[mcp.search]
comand = ["x"]
"""


@pytest.mark.spec("W21")
def test_every_fault_is_told_at_once_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    found = faults_of(tmp_path, MANY)
    text = "\n".join(found)
    for part in (
        "line 2: [team] there is no pattern 'debat'; did you mean 'debate'?; it is one of parallel, pipeline",
        "line 3: [team] there is no key 'stor'; did you mean 'store'?",
        "line 4: [team] report='report.txt': it must be a path that ends in .md or .json",
        "line 5: there is no table [patern]; did you mean 'pattern'?",
        "line 8: [budget] there is no key 'max_cots'; did you mean 'max_cost'?",
        "line 9: [budget] max_calls: Expected `int | null`, got `str`",
        "line 11: [agents.Lead] there is no key 'rolle'; did you mean 'role'?",
        "line 13: [agents.Lead] api_key: a key is not written here: set it in the environment",
        "line 15: [agents.Worker] unknown provider 'opnai'; did you mean 'openai'?",
        "line 16: [agents.Worker] tools: there is no server [mcp.serch]; did you mean 'search'?",
        f"line 16: [agents.Worker] tools: there is no file {tmp_path}/tools.py",
        f"line 16: [agents.Worker] tools: there is no folder {tmp_path}/nowhere",
        "line 17: [agents.Worker] 'soon' is no time: write seconds as a number, or 45s, 30min, 2h",
        "line 18: [agents.Worker] isolation='bubblewarp': it must be one of inline, thread, process",
        "line 19: [agents.Worker] instances=0: it must be a whole number from 1 to 100",
        "line 20: [agents] agent 'Other' has no model: give it model = \"provider:name\"",
        "line 22: [mcp.search] there is no key 'comand'; did you mean 'command'?",
    ):
        assert part in text
    assert len(found) == 17, text
    assert KEY not in text


def test_they_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    lines = [int(fault.split(":")[0].removeprefix("line ")) for fault in faults_of(tmp_path, MANY)]
    assert lines == sorted(lines)


@pytest.mark.spec("W21")
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[team\n", "this is no TOML: Expected ']' at the end of a table declaration (at line 1, column 6)"),
        (f"[agents.A]\napi_key = {KEY}\n", "this is no TOML: Invalid value (at line 2, column 11)"),
        ("x = 1\nx = 2\n", "this is no TOML: Cannot overwrite a value (at line 2, column 6)"),
        (AGENTS, "there is no pattern in [team]: it is one of parallel, pipeline"),
        (f"[team]\n{AGENTS}", "line 1: there is no pattern in [team]: it is one of parallel, pipeline"),
        ('[team]\npattern = "team"\n', "there are no agents: write a table [agents.NAME] for each"),
        ('team = 3\n[agents.A]\nmodel = "echo"\n', "line 1: team must be a table"),
        (
            f'[team]\npattern = "team"\n[pattern]\nentry = "D"\n{AGENTS}',
            "line 4: [pattern] entry: there is no agent 'D'",
        ),
        (
            f'[team]\npattern = "debate"\n[pattern]\nmoderator = "Bb"\n{AGENTS}',
            "line 4: [pattern] moderator: there is no agent 'Bb'; did you mean 'B'?; there are: A, B, C",
        ),
        (f'[team]\npattern = "supervisor"\n[pattern]\nplanner = 3\n{AGENTS}', "planner: there is no agent '3'"),
        (f'[team]\npattern = "debate"\n[pattern]\nrounds = -1\n{AGENTS}', "line 4: [pattern] rounds=-1: it must be"),
        (
            f'[team]\npattern = "debate"\n[pattern]\nround = 1\n{AGENTS}',
            "line 4: [pattern] there is no key 'round'; did you mean 'rounds'?",
        ),
        (
            f'[team]\npattern = "pipeline"\n[pattern]\ntransformers = {{ 7 = "x.py:f" }}\n{AGENTS}',
            "transformers: there is no file",
        ),
        (
            f'[team]\npattern = "supervisor"\n[pattern]\nmin_successful_workers = 9\n{AGENTS}',
            "min_successful_workers=9: there are 3 workers",
        ),
        (
            f'[team]\npattern = "orchestrator"\n[pattern]\nblocking = ["HI"]\n{AGENTS}lead = true\n',
            "line 4: [pattern] blocking: 'HI' is not one of HIGH, MEDIUM, LOW",
        ),
        (
            f'[team]\npattern = "orchestrator"\n[pattern]\non_failure = "go"\n{AGENTS}lead = true\n',
            "line 4: [pattern] on_failure: 'go' is not one of stop, continue",
        ),
        (f'[team]\npattern = "orchestrator"\n{AGENTS}', "no agent leads: an orchestrator needs one with lead = true"),
        (
            f'[team]\npattern = "orchestrator"\n{AGENTS}lead = true\n[agents.D]\nmodel = "echo"\nlead = true\n',
            "line 12: [agents.D] lead: 'C' leads already, and there is one lead",
        ),
        (
            f'[team]\npattern = "debate"\n{AGENTS}lead = true\n',
            "line 9: [agents.C] lead: only an orchestrator has a lead",
        ),
        (
            f'[team]\npattern = "orchestrator"\n{AGENTS}lead = true\ninstances = 2\n',
            "line 10: [agents.C] instances: the lead 'C' is one agent",
        ),
        (
            '[team]\npattern = "orchestrator"\n[agents.A]\nmodel = "echo"\nlead = true\n[agents.self]\nmodel = "echo"\n',
            "role name 'self' is taken by the lead",
        ),
        ('[team]\npattern = "orchestrator"\n[agents.A]\nmodel = "echo"\nlead = true\n', "needs at least one role"),
        ('[team]\npattern = "team"\n[agents.A]\nmodel = "echo"\n', "Team needs at least 2 agents, got 1"),
        (
            '[team]\npattern = "team"\n[agents.A]\nmodel = "echo"\ninstances = 2\n[agents.A-2]\nmodel = "echo"\n',
            "line 6: [agents] 'A-2' is also the name of an instance of 'A'",
        ),
        (
            f'[team]\npattern = "team"\n{AGENTS}handoffs = ["A", "Bee"]\n',
            "line 9: [agents.C] handoffs: there is no agent 'Bee'",
        ),
        (f'[team]\npattern = "team"\n{AGENTS}name = "X"\n', "name: an agent's name is that of its table, [agents.C]"),
        (f'[team]\npattern = "team"\n{AGENTS}output_type = "int"\n', "output_type can be given in Python only"),
        (f'[team]\npattern = "team"\n{AGENTS}tools = ["python"]\n', "'python' runs code by the runner: say in a table"),
        (f'[team]\npattern = "team"\n{AGENTS}tools = ["pyton"]\n', "'pyton' names no tool; did you mean 'python'?"),
        (f'[team]\npattern = "team"\n{AGENTS}tools = ["fetch:a/b"]\n', "'a/b' is no host"),
        (f'[team]\npattern = "team"\n{AGENTS}tools = ["bad.py:f"]\n', "cannot be loaded: ZeroDivisionError"),
        (f'[team]\npattern = "team"\n{AGENTS}tools = ["good.py:g"]\n', "has no 'g'; did you mean 'gg'?"),
        (
            f'[team]\npattern = "team"\n{AGENTS}tools = ["good.py:number"]\n',
            "good.py:number is int: a tool is a function",
        ),
        (f'[team]\npattern = "team"\n{AGENTS}tools = ["good.py:gg", "good.py:gg"]\n', "'good.py:gg' is there twice"),
        (f'[team]\npattern = "team"\n[runner]\n{AGENTS}', "[runner] is for an orchestrator and for the tool 'python'"),
        (
            f'[team]\npattern = "team"\n[runner]\nisolation = "docker"\n{AGENTS}tools = ["python"]\n',
            "line 4: [runner] isolation='docker': it must be one of auto, microvm, gvisor, bubblewrap, process",
        ),
        (
            f'[team]\npattern = "team"\n[runner]\n{AGENTS}tools = ["python"]\nisolation = "process"\n',
            "tools: 'python' is for agents that are inline, not in process",
        ),
        (
            f'[team]\npattern = "team"\n{AGENTS}[agents.D]\nmodel = "openai:gpt-5-mini"\nisolation = "bubblewrap"\n',
            "isolation='bubblewrap': the environment's keys are not there: name its key with api_key_env",
        ),
        (
            f'[team]\npattern = "team"\n{AGENTS}isolation = "bubblewrap"\nfallback = ["openai:gpt-5-mini"]\n',
            "line 9: [agents.C] isolation='bubblewrap': other models have no key there",
        ),
        (f'[team]\npattern = "team"\nstore = "postgre://x"\n{AGENTS}', "line 3: [team] store: "),
        (
            f'[team]\npattern = "team"\n{AGENTS}settings = {{ a = {{ api_key = "{KEY}" }} }}\n',
            "settings.a.api_key: a key",
        ),
        (
            f'[team]\npattern = "team"\n[mcp.s]\ncommand = ["x"]\nenv = {{ S_TOKEN = "{KEY}" }}\n{AGENTS}',
            "S_TOKEN is not",
        ),
        (f'[team]\npattern = "team"\n[mcp.s]\ncommand = ["x"]\npass_env = ["NOT_SET"]\n{AGENTS}', "NOT_SET is not set"),
        (f'[team]\npattern = "team"\n[mcp.s]\n{AGENTS}', "MCPTools needs command=[...] or url=..., one of the two"),
        (
            f'[team]\npattern = "team"\n{AGENTS}api_key_env = "{KEY}"\n',
            "it must be the name of an environment variable",
        ),
        (f'[team]\npattern = "team"\n{AGENTS}api_key_env = "NOT_SET"\n', "the environment variable NOT_SET is not set"),
        (
            f'[team]\npattern = "team"\n{AGENTS}apikey = "{KEY}"\n',
            "there is no key 'apikey'; did you mean 'api_key_env'?",
        ),
        (f'[team]\npattern = "team"\n{AGENTS}OPENAI_API_KEY = "{KEY}"\n', "there is no key 'OPENAI_API_KEY'"),
    ],
)
def test_each_fault_says_what_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, fault: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "bad.py").write_text("1 / 0\n")
    (tmp_path / "good.py").write_text("number = 3\ndef gg() -> str:\n    'G.'\n    return ''\n")
    found = faults_of(tmp_path, text)
    assert fault in "\n".join(found)
    assert KEY not in "\n".join(found)


def test_a_missing_key_names_the_variable_and_what_a_file_can_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    text = '[team]\npattern = "pipeline"\n[agents.A]\nmodel = "anthropic:claude-haiku-4-5"\n'
    (fault,) = faults_of(tmp_path, text)
    assert fault == (
        "line 4: [agents.A] provider 'anthropic' has no key: set the environment variable ANTHROPIC_API_KEY, "
        "or name another with api_key_env"
    )


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *(("api_key", True), ("OPENAI_API_KEY", True), ("Authorization", True), ("x-api-key", True), ("S_TOKEN", True)),
        *(("password", True), ("client_secret", True), ("key", True), ("search_key", True), ("apikey", True)),
        *(("max_tokens", False), ("openai_prompt_cache_key", False), ("monkey", False), ("tokenizer", False)),
        *(("keyboard", False), ("token_limit", False), ("seed", False)),
    ],
)
def test_what_is_taken_for_a_secret(name: str, secret: bool) -> None:
    assert is_secret(name) == secret


def test_a_bad_model_in_place_of_all_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "team.toml"
    path.write_text(f'[team]\npattern = "team"\n{AGENTS}')
    with pytest.raises(ConfigError, match=r"the model 'ecko' that is to take the place of all: .* names no provider"):
        load_team(path, model="ecko")


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no team file") as caught:
        load_team(tmp_path / "team.toml")
    assert "`shoal init` writes one." in caught.value.__notes__
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_team(tmp_path)
    (tmp_path / "team.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read: 'utf-8' codec"):
        load_team(tmp_path / "team.toml")


_VALUES = st.sampled_from(
    [
        *('"x"', '""', "-1", "0", "true", "1.5", "nan", "inf", "[]", '["x"]', "[1]", "{}", "{ a = 1 }", "2020-01-01"),
        *('[["x"]]', '"45s"', '"none"', '"tools.py:f"', "[{ a = 1 }]", '"\\u0000"', "99999999999999999999999"),
        *('"mcp.s"', '"folder:/"'),
    ]
)
_TABLES = {
    "team": ("name", "store", "report"),
    "budget": Budget.__struct_fields__,
    "agents.A": AGENT_KEYS,
    "runner": ("isolation", "network", "memory_mib"),
    "mcp.s": ("command", "url", "env", "pass_env", "include", "exclude", "timeout", "approval"),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), pattern=st.sampled_from(sorted(PATTERNS)))
def test_whatever_stands_there_nothing_else_is_raised(tmp_path: Path, data: st.DataObject, pattern: str) -> None:
    lines: dict[str, list[str]] = {name: [] for name in (*_TABLES, "pattern")}
    keys = [(table, key) for table, known in _TABLES.items() for key in known]
    keys += [("pattern", key) for key in PATTERNS[pattern].options]
    for table, key in data.draw(st.lists(st.sampled_from(keys), max_size=6, unique=True)):
        lines[table].append(f"{key} = {data.draw(_VALUES)}")
    lines["team"].append(f'pattern = "{pattern}"')
    lines["agents.B"] = ['model = "echo"']
    text = "".join(f"[{table}]\n" + "".join(f"{line}\n" for line in some) for table, some in lines.items())
    path = tmp_path / "team.toml"
    path.write_text(text)
    try:
        load_team(path)
    except ConfigError as error:
        assert all(fault.startswith(str(path)) for fault in error.faults)
