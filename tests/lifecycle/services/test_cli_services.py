"""``shoal discover``, ``call`` and ``control`` beside a running ``shoal up``: on its store, and over its registry."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import GUARD_SECONDS, SHOAL, begin, environment, refused, said, shoal
from tests.support.upping import Up, up

CLASSES = """
import asyncio, os
from shoal.services import RequestError, ServiceAgent, control_action

class Worker(ServiceAgent):
    concurrency = 4
    def info(self):
        return {
            "name": "worker", "type": "server", "capabilities": ["work", "[red]\\x1b]0;x\\x07"],
            "control_schema": {"type": "object", "properties": {"factor": {"type": "number"}}},
        }
    async def process_request(self, payload):
        if "fail" in payload:
            raise RequestError(payload["fail"], "\\x1b[31mno\\n good", {"n": [1, 2]})
        while "file" in payload and not os.path.exists(payload["file"]):
            await asyncio.sleep(0.01)
        return {"by": self.context.name, "factor": self.config["factor"]}
    @control_action("count")
    def counted(self, data):
        return {"pid": os.getpid(), "data": data}

class Client(ServiceAgent):
    def info(self):
        return {"name": "asker", "type": "client", "capabilities": ["asks"]}
"""
FILE = """
[registry]
port = 0
tokens = "tokens"
[agents.worker]
class = "workers.py:Worker"
count = 3
options = { factor = 2, password = "hidden" }
[agents.asker]
class = "workers.py:Client"
isolation = "inline"
"""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Up]]:
    folder = tmp_path_factory.mktemp("services")
    (folder / "workers.py").write_text(CLASSES)
    (folder / "services.toml").write_text(FILE)
    (folder / "tokens").write_text("read:t-read\nwrite:t-write\nadmin:t-admin\n")
    (folder / "tokens").chmod(0o600)
    with up(folder) as running:
        running.until("^ready: 4 services;")
        yield folder, running


@pytest.fixture(params=["store", "registry"])
def place(request: pytest.FixtureRequest, services: tuple[Path, Up]) -> tuple[Path, dict[str, str]]:
    folder, running = services
    if request.param == "store":
        return folder, {}
    return folder, {"SHOAL_REGISTRY_URL": running.url, "SHOAL_REGISTRY_TOKEN": "t-admin"}


Place = tuple[Path, dict[str, str]]


def do(place: Place, *words: str) -> Any:
    return shoal(place[0], *words, variables=place[1])


def instances(place: Place, *words: str) -> list[str]:
    return sorted(each["instance"] for each in said(do(place, "discover", *words, "--json")))


WORKERS = [f"worker_{number}" for number in range(3)]


def test_discover_finds_by_capability_and_type(place: Place) -> None:
    assert instances(place) == instances(place, "WORK", "--type", "server") == WORKERS
    assert instances(place, "--all") == ["asker_0", *WORKERS]
    assert instances(place, "--all", "--type", "client") == instances(place, "asks", "--all") == ["asker_0"]
    assert instances(place, "asks") == instances(place, "nothing") == []
    empty = do(place, "discover", "nothing")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "no services answer\n")


def test_what_records_say_is_shown_and_not_obeyed(services: tuple[Path, Up]) -> None:
    done = shoal(services[0], "discover")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["INSTANCE", "NAME", "VERSION", "CAPABILITIES", "STATE", "LOAD", "HEALTH", "PID", "NODE"]
    assert len(rows) == 3
    for row in rows:
        assert "work [red]\\x1b]0;x\\x07" in row and row.split()[5:8] == ["running", "0", "100"]
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout


def test_the_load_is_that_of_the_moment(services: tuple[Path, Up], tmp_path: Path) -> None:
    folder = services[0]
    asked = begin(folder, "call", "worker_1", json.dumps({"file": str(tmp_path / "end")}))
    try:
        while not (busy := [each for each in said(shoal(folder, "discover", "work", "--json")) if each["load"] > 0]):
            assert asked.poll() is None
        assert [(each["instance"], each["load"]) for each in busy] == [("worker_1", 0.25)]
        (tmp_path / "end").touch()
        assert asked.wait(GUARD_SECONDS) == 0
    finally:
        asked.kill()
        asked.communicate()


def test_call_prints_the_answer(place: Place) -> None:
    assert said(do(place, "call", "worker_2", "{}"))["by"] == "worker_2"
    assert said(do(place, "call", "worker", '{"any": 1}'))["by"] in WORKERS
    assert said(do(place, "call", "work", "{}", "--capability"))["by"] in WORKERS
    by_key = [said(do(place, "call", "worker", "{}", "--key", key))["by"] for key in ("k1", "k3", "ada")]
    assert by_key == ["worker_1", "worker_2", "worker_0"], "by their names, whoever asks"
    (place[0] / "payload.json").write_text('{"fail": "OWN"}')
    assert do(place, "call", "worker", "@payload.json").returncode == 4


def test_what_a_service_refuses_is_told_with_its_code_and_details(place: Place) -> None:
    done = do(place, "call", "worker", '{"fail": "MISSING_FIELD"}')
    assert (done.returncode, done.stdout) == (4, "")
    first, _, details = done.stderr.partition("\n")
    assert first == "shoal: MISSING_FIELD: \\x1b[31mno good"
    assert json.loads(details) == {"n": [1, 2]}
    own = do(place, "call", "worker_0", '{"fail": "NOT_FOUND"}')
    assert own.returncode == 4, "the service is there: what it did not find is its own affair"


def test_nobody_there_and_no_answer_in_time_have_exit_codes_of_their_own(place: Place, tmp_path: Path) -> None:
    refused(do(place, "call", "nobody", "{}"), 2, "NOT_FOUND", "discover --all")
    refused(do(place, "call", "nothing", "{}", "--capability"), 2, "NO_WORKERS", "discover --all")
    refused(do(place, "control", "nobody", "pause"), 2, "NOT_FOUND", "discover --all")
    refused(do(place, "call", "asker_0", "{}"), 4, "NOT_A_SERVER")
    late = json.dumps({"file": str(tmp_path / "never")})
    refused(do(place, "call", "worker_0", late, "--timeout", "200ms"), 5, "TIMEOUT")


def test_control_by_the_names_of_the_actions(services: tuple[Path, Up]) -> None:
    place: Place = services[0], {}

    def control(*words: str) -> Any:
        return do(place, "control", "worker_0", *words)

    assert control("pause").stdout == control("pause").stdout == "Paused\n"
    paused = said(control("status"))
    assert (paused["paused"], paused["state"], paused["name"]) == (True, "paused", "worker")
    assert said(control("health"))["state"] == "paused"
    assert instances(place) == WORKERS[1:] and instances(place, "--all") == ["asker_0", *WORKERS]
    assert control("resume").stdout == "Resumed\n"
    assert control("update_config", '{"config": {"factor": 5}}').stdout == "Configuration updated\n"
    assert said(do(place, "call", "worker_0", "{}"))["factor"] == 5
    refused(control("update_config", '{"config": {"factor": "x"}}'), 4, "VALIDATION_ERROR", "factor")
    assert said(control("status"))["config"] == {"factor": 5, "password": "***"}
    refused(control("dance"), 4, "INVALID_ACTION")


def test_control_goes_both_ways(place: Place) -> None:
    assert do(place, "control", "worker_1", "pause").stdout == "Paused\n"
    assert said(do(place, "control", "worker_1", "resume", "--json")) == "Resumed"
    assert said(do(place, "control", "worker_1", "count", "[1]"))["data"] == [1]


def test_control_of_a_service_with_several_instances(place: Place) -> None:
    one = do(place, "control", "worker", "pause")
    assert (one.returncode, one.stdout) == (0, "Paused\n")
    chosen = one.stderr.removeprefix("shoal: this was ").partition(",")[0]
    assert one.stderr == f"shoal: this was {chosen}, one of 3 instances; --all takes each of them\n"
    assert instances(place) == [worker for worker in WORKERS if worker != chosen]
    everyone = do(place, "control", "worker", "resume", "--all")
    assert (everyone.returncode, everyone.stderr) == (0, "")
    assert sorted(everyone.stdout.splitlines()) == [f"{worker}: Resumed" for worker in WORKERS]
    assert sorted(said(do(place, "control", "worker", "status", "--all"))) == instances(place) == WORKERS
    assert do(place, "control", "worker_1", "resume", "--all").stdout == "Resumed\n"
    refused(do(place, "control", "nobody", "pause", "--all"), 2, "NOT_FOUND", "discover --all")


def test_standard_input_is_read(services: tuple[Path, Up]) -> None:
    done = subprocess.run(
        [SHOAL, "call", "worker_1", "-"],
        input='{"n": 1}', cwd=services[0], env=environment(), text=True, capture_output=True, timeout=GUARD_SECONDS,
    )  # fmt: skip
    assert said(done)["by"] == "worker_1"


def test_a_token_lets_in_as_far_as_its_role_goes(services: tuple[Path, Up]) -> None:
    folder, running = services

    def by(token: str, *words: str) -> Any:
        return shoal(folder, *words, "--url", running.url, variables={"SHOAL_REGISTRY_TOKEN": token})

    assert len(said(by("t-read", "discover", "--json"))) == 3
    refused(by("t-read", "call", "worker", "{}"), 4, "UNAUTHORIZED", "SHOAL_REGISTRY_TOKEN")
    assert said(by("t-write", "call", "worker", "{}"))["by"] in WORKERS
    refused(by("t-write", "control", "worker_0", "status"), 4, "UNAUTHORIZED")
    assert said(by("t-admin", "control", "worker_0", "status"))["name"] == "worker"
    stranger = by("t-nobody", "discover")
    refused(stranger, 4, "UNAUTHORIZED", "SHOAL_REGISTRY_TOKEN")
    assert "t-nobody" not in stranger.stderr


def test_where_no_registry_is(tmp_path: Path) -> None:
    refused(shoal(tmp_path, "discover", "--url", "http://127.0.0.1:9"), 1, "registry")


def test_the_store_of_the_line_goes_over_the_registry_of_the_environment(services: tuple[Path, Up]) -> None:
    found = shoal(
        services[0], "discover", "--json", "--store", "shoal.db", variables={"SHOAL_REGISTRY_URL": "http://127.0.0.1:9"}
    )
    assert len(said(found)) == 3


def test_drain_lets_what_is_under_way_end(tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text(CLASSES)
    (tmp_path / "services.toml").write_text('[agents.worker]\nclass = "workers.py:Worker"\ncount = 2\n'
        "options = { factor = 1 }\n")  # fmt: skip
    with up(tmp_path) as running:
        running.until("^ready: 2 services;")
        asked = begin(tmp_path, "call", "worker_0", '{"file": "end"}')
        try:
            while not any(each["load"] for each in said(shoal(tmp_path, "discover", "--json"))):
                assert asked.poll() is None
            assert shoal(tmp_path, "control", "worker_0", "drain").stdout == "Draining\n"
            running.until("^worker_0  ends$")
            refused(shoal(tmp_path, "call", "worker_0", "{}"), 4, "DRAINING")
            assert said(shoal(tmp_path, "call", "worker", "{}"))["by"] == "worker_1"
            (tmp_path / "end").touch()
            assert asked.wait(GUARD_SECONDS) == 0
            running.until("^worker_0  has ended$")
        finally:
            asked.kill()
            asked.communicate()
