"""What ``deploy/`` says is done, word by word, with processes in place of containers: servers, nodes, probes, ends."""

from __future__ import annotations

import ast
import asyncio
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
import yaml

from shoal.cluster import PostgresServer
from shoal.cluster.nats import _program
from shoal.cluster.process import HOST, free_port
from tests.support.command import said, shoal
from tests.support.engines import fresh_folder
from tests.support.upping import up

DEPLOY = Path(__file__).parents[3] / "deploy"
TOKEN = "secret"
CONNECTIONS = 5


def _manifest(kind: str, name: str) -> Any:
    files = (DEPLOY / "kubernetes").glob("*.yaml")
    found = [each for file in files for each in yaml.safe_load_all(file.read_text())]
    return next(each for each in found if (each["kind"], each["metadata"]["name"]) == (kind, name))


def _container(kind: str, name: str) -> Any:
    (container,) = _manifest(kind, name)["spec"]["template"]["spec"]["containers"]
    return container


def _compose() -> Any:
    text = (DEPLOY / "compose.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{(\w+)(:\?[^}]*)?\}", TOKEN, text))["services"]


class Place(NamedTuple):
    """Where the servers are, and the folder of the image."""

    folder: Path
    store: str
    bus: str


@contextmanager
def _served(kind: str) -> Iterator[Place]:
    """Start the servers as one of the two deployments does."""
    folder = fresh_folder()
    folder.chmod(0o755)
    if kind == "compose":
        of_postgres, of_nats = _compose()["postgres"]["command"][1:], _compose()["nats"]["command"]
    else:
        of_postgres, of_nats = (
            _container("StatefulSet", "postgres")["args"],
            [word.replace("$(NATS_TOKEN)", TOKEN) for word in _container("Deployment", "nats")["args"]],
        )
    settings = dict(word.split("=") for word in of_postgres if word != "-c")
    # A machine of a test has less memory than the servers that these are for.
    server = PostgresServer(folder / "postgres", settings={**settings, "shared_buffers": "64MB", "fsync": "off"})
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        asyncio.run(server.start())
        stack.callback(lambda: asyncio.run(server.stop()))
        shown = asyncio.run(_settings(server, list(settings)))
        assert shown | {"shared_buffers": settings["shared_buffers"]} == settings, "the server knows these words"
        bus = f"nats://{TOKEN}@{HOST}:{stack.enter_context(_nats(of_nats))}/shoal"
        image = folder / "image"
        image.mkdir()
        for name in ("services.toml", "workers.py"):
            shutil.copy(DEPLOY / name, image)
        yield Place(image, server.url, bus)


async def _settings(server: PostgresServer, names: list[str]) -> dict[str, str]:
    connection = await asyncpg.connect(server.url)
    try:
        return {name: await connection.fetchval(f"SHOW {name}") for name in names}
    finally:
        await connection.close()


@contextmanager
def _nats(words: list[str]) -> Iterator[int]:
    """Run ``nats-server`` with these words, but for its ports, which are free ones; gives the port."""
    port, monitor = free_port(), free_port()
    words = [str(monitor) if word == "8222" else word for word in words]
    where = ["--addr", HOST, "--port", str(port)]
    with subprocess.Popen([_program(), *words, *where], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert any("Server is ready" in line for line in server.stderr), "it has ended"
            if str(monitor) in words:
                path = _container("Deployment", "nats")["readinessProbe"]["httpGet"]["path"]
                assert urllib.request.urlopen(f"http://{HOST}:{monitor}{path}", timeout=5).status == 200
            yield port
        finally:
            server.terminate()


class Node:
    """A node, as the image starts it with the words of its manifest, and its probe."""

    def __init__(self, place: Place, name: str) -> None:
        self.name = name
        self._port = str(free_port())
        folder = place.folder.with_name(name)
        shutil.copytree(place.folder, folder)
        file = folder / "services.toml"
        file.write_text(file.read_text().replace("4567", self._port))
        found = re.search(r"^ENTRYPOINT (.*)$", (DEPLOY / "Dockerfile").read_text(), re.M)
        assert found is not None
        entrypoint = ast.literal_eval(found[1])
        words = [word.replace("$(POD_NAME)", name) for word in _container("Deployment", "shoal-nodes")["args"]]
        variables = {"SHOAL_STORE": place.store, "SHOAL_BUS": place.bus}
        assert entrypoint[:5] == ["tini", "--", "shoal", "up", "services.toml"]
        self.up = up(folder, "services.toml", *entrypoint[5:], *words, **variables)
        self._probes = [
            _container("Deployment", "shoal-nodes")[f"{kind}Probe"]["exec"]["command"]
            for kind in ("startup", "readiness", "liveness")
        ] + [_compose()["node"]["healthcheck"]["test"][1:]]

    def is_well(self) -> set[bool]:
        """Return what the probes say."""
        commands = [
            [sys.executable, *(word.replace("4567", self._port) for word in probe[1:])] for probe in self._probes
        ]
        running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]
        return {each.wait(30) == 0 for each in running}


def test_the_servers_of_kubernetes_know_their_words() -> None:
    with _served("kubernetes") as place:
        assert asyncio.run(_connections(place.store)) == 0


@pytest.fixture
def place() -> Iterator[Place]:
    """The servers of the compose file."""
    with _served("compose") as place:
        yield place


def test_the_nodes_of_the_deployment(place: Place) -> None:
    """They start, say that they are well, serve side by side, hold as many connections as is said, and leave in time."""
    variables = {"SHOAL_STORE": place.store, "SHOAL_BUS": place.bus}
    grace = float(_manifest("Deployment", "shoal-nodes")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"])
    one, two = Node(place, "pod-1"), Node(place, "pod-2")
    with one.up as first, two.up as second:
        for running in (first, second):
            running.until(r"^ready: 2 services")
        assert one.is_well() == two.is_well() == {True}
        found = said(shoal(place.folder, "discover", "doubling", "--json", variables=variables))
        assert sorted(each["instance"] for each in found) == [f"worker_{number}" for number in range(4)]
        answer = said(shoal(place.folder, "call", "worker_3", '{"n": 21}', variables=variables))
        assert answer == {"doubled": 42, "version": "1"}
        listed = said(shoal(place.folder, "nodes", "--json", variables=variables))
        assert sorted(node["name"] for node in listed) == ["pod-1", "pod-2"]
        assert asyncio.run(_connections(place.store)) <= 2 * CONNECTIONS
        begun = time.monotonic()
        assert first.end(signal.SIGTERM) == 0
        left = shoal(place.folder, "drain", "pod-2", variables=variables)
        assert (left.returncode, left.stdout) == (0, "pod-2 has left\n"), left.stderr
        assert second.process.wait(grace) == 0
        assert time.monotonic() - begun < grace
        assert one.is_well() == {False}


async def _connections(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shoal'"))
    finally:
        await connection.close()
