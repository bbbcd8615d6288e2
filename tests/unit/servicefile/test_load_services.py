"""Service files: what they mean, and that every fault of one is named at once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.errors import ConfigError
from shoal.kernel.agent import RestartPolicy
from shoal.kernel.limits import ResourceLimit
from shoal.servicefile import RegistryTable, load_services

CLASSES = """
from shoal.services import LoadBalancerAgent, ServiceAgent

class Worker(ServiceAgent):
    def info(self):
        return {"name": "worker", "capabilities": ["work"]}

plain = 3
"""

WHOLE = """
[runtime]
store = "teams.db"
grace = "1min"

[registry]
port = 0

[limits]
max_concurrent_agents = 20
task_timeout_seconds = "2h"

[agents.worker]
class = "workers.py:Worker"
count = 3
isolation = "thread"
options = { factor = 2, deep = { list = [1, "two"] } }

[agents.worker.restart]
max_restarts = 7
window_seconds = "2min"

[agents.router]
class = "workers.py:LoadBalancerAgent"
restart = "never"
"""

BAD = """[runtme]
[runtime]
store = 3
grace = "soon"
[registry]
port = 99999
tokns = "x"
[limits]
max_concurrent_agents = 0
max_cpu = 3
[agents.a]
class = "workers.py:Worke"
count = 0
isolation = "proces"
[agents.b]
class = "nofile.py:X"
options = 3
restart = { mode = "allways", max_restarts = "five", window_seconds = "1 fortnight", winow = 3 }
[agents.c]
klass = "x"
options = { when = 2020-01-01 }
restart = 5
[agents.d]
class = "workers.py"
count = true
[agents.e]
class = "workers.py:plain"
[agents." f"]
class = "workers.py:Worker"
"""

FAULTS = """
1: there is no table [runtme]; did you mean 'runtime'?
3: [runtime] store must be a URL such as sqlite:///./auth.db, or a path
4: [runtime] grace: 'soon' is no time: write seconds as a number, or 45s, 30min, 2h
6: [registry] port must be a whole number from 0 (any) to 65535, not 99999
7: [registry] there is no key 'tokns'; did you mean 'tokens'?
9: [limits] max_concurrent_agents: it must be a number above 0, not 0
10: [limits] there is no key 'max_cpu'
12: [agents.a] class: {folder}/workers.py has no 'Worke'; did you mean 'Worker'?
13: [agents.a] count must be a whole number from 1 to 10000, not 0
14: [agents.a] there is no isolation 'proces'; did you mean 'process'?; it is one of process, inline, thread, bubblewrap, \
gvisor, microvm, auto
16: [agents.b] class: there is no file {folder}/nofile.py
17: [agents.b] options must be a table, such as {{ path = 'data' }}, not 3
18: [agents.b.restart] there is no key 'winow'
18: [agents.b.restart] restart.mode must be on_failure, always or never, not 'allways'
18: [agents.b.restart] Expected `int`, got `str` - at `$.max_restarts`
18: [agents.b.restart] window_seconds: '1 fortnight' is no time: write seconds as a number, or 45s, 30min, 2h
19: [agents] there is no class: write class = "FILE.py:CLASS", such as "workers.py:Worker"
20: [agents.c] there is no key 'klass'; did you mean 'class'?
21: [agents.c] options.when is a date
22: [agents.c] restart must be one of on_failure, always, never, or a table, not 5
24: [agents.d] class: 'workers.py' names no class: write FILE.py:NAME
25: [agents.d] count must be a whole number from 1 to 10000, not True
27: [agents.e] class: workers.py:plain is no class of ServiceAgent
28: [agents] ' f': the name of an agent is text in one line
"""


def write(folder: Path, text: str) -> Path:
    (folder / "workers.py").write_text(CLASSES)
    file = folder / "services.toml"
    file.write_text(text)
    return file


def faults_of(folder: Path, text: str) -> tuple[str, ...]:
    file = write(folder, text)
    with pytest.raises(ConfigError) as error:
        load_services(file)
    return tuple(fault.replace(f"{file}, line ", "") for fault in error.value.faults)


def test_a_file_with_everything(tmp_path: Path) -> None:
    file = load_services(write(tmp_path, WHOLE))
    assert (file.store, file.grace) == ("sqlite:///teams.db", 60.0)
    assert file.registry == RegistryTable(host="127.0.0.1", port=0, tokens={})
    assert (file.limits.max_concurrent_agents, file.limits.task_timeout_seconds) == (20, 7200.0)
    worker, router = file.agents
    assert (worker.name, worker.agent_class.__name__, worker.count, worker.isolation) == (
        "worker", "Worker", 3, "thread",
    )  # fmt: skip
    assert worker.options == {"factor": 2, "deep": {"list": [1, "two"]}}
    assert worker.restart == RestartPolicy(max_restarts=7, window_seconds=120.0)
    assert (router.count, router.isolation, router.options) == (1, "process", {})
    assert router.restart == RestartPolicy(mode="never")


def test_without_them_there_are_no_limits_and_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOAL_STORE", raising=False)
    file = load_services(write(tmp_path, '[agents.w]\nclass = "workers.py:Worker"\n'))
    assert (file.store, file.grace, file.registry) == ("sqlite:///./shoal.db", 10.0, None)
    named = set(ResourceLimit.__struct_fields__) - {"limit_id", "name"}
    assert all(getattr(file.limits, name) is None for name in named)


def test_every_fault_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    expected = FAULTS.format(folder=tmp_path).strip().splitlines()
    assert faults_of(tmp_path, BAD) == tuple(expected)


def test_what_is_no_file_of_services(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no service file"):
        load_services(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="this is no TOML"):
        load_services(write(tmp_path, "a = = 3"))
    for text in ("", "agents = 3", "[agents]"):
        (fault,) = faults_of(tmp_path, text)
        assert "there are no agents: write [agents.NAME]" in fault
    (fault,) = faults_of(tmp_path, "[agents]\nw = 3")
    assert fault == "2: [agents] w must be a table: [agents.w], and its keys below it"


def test_what_a_file_of_classes_raises_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no disk')\n")
    (fault,) = faults_of(tmp_path, '[agents.w]\nclass = "broken.py:Worker"\n')
    assert "cannot be loaded: RuntimeError: no disk" in fault


SERVED = '[agents.w]\nclass = "workers.py:Worker"\n[registry]\n'


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_served_with_tokens_only(tmp_path: Path, host: str) -> None:
    (fault,) = faults_of(tmp_path, f'{SERVED}host = "{host}"\n')
    assert "without tokens the registry is served to this machine only" in fault
    assert "SHOAL_REGISTRY_TOKENS" in fault
    tokens = tmp_path / "tokens"
    tokens.write_text("# who\nread:one\nadmin:two\n")
    tokens.chmod(0o600)
    file = load_services(write(tmp_path, f'{SERVED}host = "{host}"\ntokens = "tokens"\n'))
    assert file.registry is not None
    assert (file.registry.host, dict(file.registry.tokens)) == (host, {"one": "read", "two": "admin"})
    assert "one" not in repr(file.registry)


def test_tokens_come_from_the_environment_where_the_file_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_REGISTRY_TOKENS", "read:one write:t:w,o")
    file = load_services(write(tmp_path, SERVED))
    assert file.registry is not None
    assert file.registry.tokens == {"one": "read", "t:w,o": "write"}


@pytest.mark.parametrize(
    ("text", "mode", "word"),
    [
        ("read:secret-1", 0o644, "others may read"),
        ("secret-1", 0o600, "line 1: this is no ROLE:TOKEN"),
        ("\nruler:secret-1", 0o600, "line 2: this is no ROLE:TOKEN"),
        ("read:", 0o600, "line 1: this is no ROLE:TOKEN"),
        ("read:secret-1 admin:secret-1", 0o600, "line 1: this token has two roles"),
        ("# nothing", 0o600, "has no tokens"),
    ],
)
def test_bad_tokens_are_told_and_not_shown(tmp_path: Path, text: str, mode: int, word: str) -> None:
    (tmp_path / "tokens").write_text(text)
    (tmp_path / "tokens").chmod(mode)
    (fault,) = faults_of(tmp_path, f'{SERVED}tokens = "tokens"\n')
    assert fault.startswith("4: [registry] tokens: ") and word in fault and "secret-1" not in fault
