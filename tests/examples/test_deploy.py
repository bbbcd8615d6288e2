"""The files of ``deploy/`` can be read, and say the same as the program: ports, variables, words, times."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
import typer
import yaml

from shoal.bus import open_bus
from shoal.cli.app import build
from shoal.config import load_config
from shoal.errors import ConfigError
from shoal.kernel.clock import RealClock
from shoal.servicefile import load_services
from shoal.store import open_store
from tests.examples.programs import ROOT

DEPLOY = ROOT / "deploy"
END_SECONDS = 12
"""What a drain may take beyond its grace (``Leaving.drain``)."""


def documents() -> dict[tuple[str, str], Any]:
    """Return all objects of the manifests, by kind and name."""
    found = [each for file in (DEPLOY / "kubernetes").glob("*.yaml") for each in yaml.safe_load_all(file.read_text())]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def compose() -> Any:
    """Return the compose file, with values for what must be set."""
    text = (DEPLOY / "compose.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{(\w+)(:\?[^}]*)?\}", r"\1", text))


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch) -> float:
    """The grace of the service file that is deployed."""
    monkeypatch.delenv("SHOAL_STORE", raising=False)
    return load_services(DEPLOY / "services.toml").grace


def check_urls(store: str, bus: str, hosts: set[str]) -> None:
    """Check that both can be opened, and that they name *hosts*."""
    open_store(store)
    open_bus(bus, clock=RealClock())
    assert re.findall(r"@([\w.-]+):(\d+)/", f"{store} {bus}") == [("postgres", "5432"), ("nats", "4222")]
    assert {"postgres", "nats"} <= hosts


def check_command(words: list[str]) -> None:
    """Check that the program knows these words of a command line."""
    group: Any = typer.main.get_command(build())
    command = group.commands[words[1]]
    command.make_context("up", [str(DEPLOY / word) if word.endswith(".toml") else word for word in words[2:]])


def entrypoint() -> list[str]:
    """Return the command of the image, without what runs it as process 1."""
    found = re.search(r"^ENTRYPOINT (.*)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert found is not None
    words: list[str] = ast.literal_eval(found[1])
    assert words[:2] == ["tini", "--"], "without it what agents leave behind stays as zombies"
    return words[2:]


def workloads() -> dict[str, Any]:
    """Return the pods of the manifests, by the name of what makes them."""
    return {
        name: each["spec"]["template"]["spec"]
        for (kind, name), each in documents().items()
        if kind in ("Deployment", "StatefulSet")
    }


def test_the_image_has_what_it_runs() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    check_command(entrypoint())
    assert re.search(r"apt-get install .*\btini\b", text)
    (copied,) = re.findall(r"^COPY (.*) \./$", text, re.M)
    assert all((DEPLOY / name).exists() for name in copied.split())
    (extras,) = re.findall(r'shoal-\*\.whl\)\[(.*?)\]"', text)
    declared = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", declared, re.M) for extra in extras.split(","))


def test_compose(grace: float) -> None:
    services = compose()["services"]
    node = services["node"]
    check_urls(node["environment"]["SHOAL_STORE"], node["environment"]["SHOAL_BUS"], set(services))
    load_config(environment=node["environment"])
    assert int(node["stop_grace_period"].removesuffix("s")) >= grace + END_SECONDS
    assert node["stop_signal"] == "SIGTERM"
    check_probe(node["healthcheck"]["test"][1:])


def check_probe(command: list[str]) -> None:
    """Check that a probe asks the registry of the service file."""
    registry = load_services(DEPLOY / "services.toml").registry
    assert registry is not None
    assert f"http://{registry.host}:{registry.port}/health" in command[-1]
    ast.parse(command[-1])


def test_kubernetes(grace: float) -> None:
    found = documents()
    secret = found["Secret", "shoal"]["stringData"]
    check_urls(secret["SHOAL_STORE"], secret["SHOAL_BUS"], {name for kind, name in found if kind == "Service"})
    nodes = found["Deployment", "shoal-nodes"]["spec"]
    pod = nodes["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= grace + END_SECONDS
    (container,) = pod["containers"]
    check_command([*entrypoint(), *container["args"]])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        check_probe(container[probe]["exec"]["command"])
    budget = found["PodDisruptionBudget", "shoal-nodes"]["spec"]
    assert budget["selector"]["matchLabels"] == nodes["template"]["metadata"]["labels"]


KNOWN = {
    "compose": {
        "image", "build", "command", "environment", "volumes", "healthcheck", "stop_signal", "stop_grace_period", "restart",
        "mem_limit", "shm_size", "depends_on", "deploy", "user", "read_only", "tmpfs", "cap_drop", "security_opt",
    },
    "healthcheck": {"test", "interval", "timeout", "retries", "start_period"},
    "pod": {
        "terminationGracePeriodSeconds", "automountServiceAccountToken", "securityContext", "topologySpreadConstraints",
        "containers", "volumes", "enableServiceLinks",
    },
    "pod security": {"runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "seccompProfile"},
    "container": {
        "name", "image", "args", "env", "ports", "resources", "volumeMounts", "securityContext",
        "startupProbe", "readinessProbe", "livenessProbe",
    },
    "container security": {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"},
    "probe": {"exec", "httpGet", "timeoutSeconds", "periodSeconds", "failureThreshold"},
}  # fmt: skip
"""The words that the files use, as Compose and Kubernetes spell them: another one is a slip of the pen."""


def test_no_word_is_misspelt() -> None:
    for service in compose()["services"].values():
        assert service.keys() <= KNOWN["compose"]
        assert service.get("healthcheck", {}).keys() <= KNOWN["healthcheck"]
    for (kind, _), each in documents().items():
        if kind not in ("Deployment", "StatefulSet"):
            continue
        pod = each["spec"]["template"]["spec"]
        assert pod.keys() <= KNOWN["pod"]
        assert pod["securityContext"].keys() <= KNOWN["pod security"]
        (container,) = pod["containers"]
        assert container.keys() <= KNOWN["container"]
        assert container["securityContext"].keys() <= KNOWN["container security"]
        for name, probe in container.items():
            assert not name.endswith("Probe") or probe.keys() <= KNOWN["probe"]
        volumes = {volume["name"] for volume in [*pod.get("volumes", ()), *_claimed(each)]}
        assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes


def _claimed(workload: Any) -> list[Any]:
    return [claim["metadata"] for claim in workload["spec"].get("volumeClaimTemplates", ())]


def test_only_the_nodes_reach_the_servers() -> None:
    found = documents()
    nodes = found["Deployment", "shoal-nodes"]["spec"]["template"]["metadata"]["labels"]
    for name in ("postgres", "nats"):
        policy = found["NetworkPolicy", name]["spec"]
        assert policy["podSelector"]["matchLabels"] == found["Service", name]["spec"]["selector"]
        (rule,) = policy["ingress"]
        assert [each["podSelector"]["matchLabels"] for each in rule["from"]] == [nodes]
        assert [each["port"] for each in rule["ports"]] == [
            port["port"] for port in found["Service", name]["spec"]["ports"]
        ]
        assert "ports" not in compose()["services"][name], "it is not published on the machine"


WRITES = {
    "shoal-nodes": {"/tmp"},
    "nats": set(),
    "postgres": {"/tmp", "/var/run/postgresql", "/dev/shm", "/var/lib/postgresql"},
}
"""Where each writes."""


def test_nobody_is_root_or_writes_elsewhere() -> None:
    for name, pod in workloads().items():
        user = pod["securityContext"]
        assert user["runAsNonRoot"] is True and user["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {mount["mountPath"] for mount in container.get("volumeMounts", ())} == WRITES[name]
    uid = workloads()["shoal-nodes"]["securityContext"]["runAsUser"]
    assert f"--uid {uid} " in (DEPLOY / "Dockerfile").read_text()
    for name in ("node", "nats"):
        service = compose()["services"][name]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert compose()["services"]["node"]["tmpfs"] == "/tmp"


def test_a_service_of_any_name_may_stand_beside_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workloads()["shoal-nodes"]["enableServiceLinks"] is False
    monkeypatch.setenv("SHOAL_NODES_PORT", "tcp://10.0.0.1:4567")
    with pytest.raises(ConfigError, match="SHOAL_NODES_PORT"):
        load_config()


def test_postgres_is_ready_when_it_can_be_reached() -> None:
    """While the image makes the database, a server answers on its socket alone."""
    (container,) = workloads()["postgres"]["containers"]
    checks = [
        container["readinessProbe"]["exec"]["command"],
        compose()["services"]["postgres"]["healthcheck"]["test"][1:],
    ]
    for command in checks:
        assert command[:3] == ["pg_isready", "-h", "127.0.0.1"]


def test_the_compose_file_has_a_name_and_its_passwords_stay_here() -> None:
    assert compose()["name"] == "shoal", "not the name of the folder, which others have, too"
    assert "deploy/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_a_node_that_is_cut_off_is_not_killed_for_it() -> None:
    (container,) = documents()["Deployment", "shoal-nodes"]["spec"]["template"]["spec"]["containers"]
    alive = container["livenessProbe"]
    assert alive["periodSeconds"] * alive["failureThreshold"] >= 60
    assert alive["timeoutSeconds"] > 3, "longer than the probe itself waits"


def test_every_port_and_secret_is_there() -> None:
    found = documents()
    secret = found["Secret", "shoal"]["stringData"]
    for (kind, name), each in found.items():
        if kind not in ("Deployment", "StatefulSet"):
            continue
        assert each["spec"]["selector"]["matchLabels"] == each["spec"]["template"]["metadata"]["labels"]
        (container,) = each["spec"]["template"]["spec"]["containers"]
        assert {"requests", "limits"} <= container["resources"].keys()
        for variable in container.get("env", ()):
            key = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("key")
            assert key is None or key in secret, f"{name}: {variable['name']}"
        if ("Service", name) in found:
            ports = {port["containerPort"] for port in container["ports"]}
            assert {port["port"] for port in found["Service", name]["spec"]["ports"]} <= ports


def test_the_server_has_room_for_the_nodes() -> None:
    (limit,) = re.findall(r"max_connections=(\d+)", (DEPLOY / "kubernetes" / "postgres.yaml").read_text())
    replicas = documents()["Deployment", "shoal-nodes"]["spec"]["replicas"]
    assert replicas * 7 < int(limit)
