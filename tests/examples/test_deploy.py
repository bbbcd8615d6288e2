"""The files of ``deploy/`` can be read, and say the same as the program: ports, variables, words, times."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
import typer
import yaml

from shoal.bus import open_bus
from shoal.cli.app import app
from shoal.config import load_config
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
    group: Any = typer.main.get_command(app)
    command = group.commands[words[1]]
    command.make_context("up", [str(DEPLOY / word) if word.endswith(".toml") else word for word in words[2:]])


def entrypoint() -> list[str]:
    """Return the command of the image."""
    found = re.search(r"^ENTRYPOINT (.*)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert found is not None
    return list(ast.literal_eval(found[1]))


def test_the_image_has_what_it_runs() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    check_command(entrypoint())
    (copied,) = re.findall(r"^COPY (.*) \./$", text, re.M)
    assert all((DEPLOY / name).exists() for name in copied.split())
    (extras,) = re.findall(r'"shoal\[(.*?)\]"', text)
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
