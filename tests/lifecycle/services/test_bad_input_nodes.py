"""What befalls whole nodes: a store that is away for a minute, and a clock that jumps by an hour. In virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shoal.errors import NotFound, RegistryUnavailableError, StoreError
from shoal.services import AgentInfo, ServiceAgent, registry_app
from shoal.services.outsiders import Change
from shoal.store.sqlite.store import SqliteStore
from shoal.testing.clock import VirtualClock
from tests.simulation.service_nodes import LEASE_SECONDS, SimulatedNode, run_simulated

OUTSIDE = AgentInfo("shell", ("outside",))
TTL = 5.0


class Named(ServiceAgent):
    def info(self) -> AgentInfo:
        return AgentInfo(self.config["name"], ("echo",))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"by": self.config["name"], "n": payload["n"]}


class JumpingClock(VirtualClock):
    """The virtual clock of one node, whose wall clock can be set."""

    ahead = timedelta(0)

    def micros(self) -> int:
        return super().micros() + round(self.ahead.total_seconds() * 1_000_000)


@asynccontextmanager
async def two(folder: Path, one: VirtualClock, other: VirtualClock) -> AsyncIterator[list[SimulatedNode]]:
    """Run two nodes on one store, each with a service: ``node 0`` and ``node 1``."""
    nodes = [SimulatedNode(folder, clock, f"node {n}") for n, clock in enumerate((one, other))]
    for node in nodes:
        await node.start()
        node.alive = True
        await node.services.start(Named, {"name": node.name})
    await one.sleep(3)
    try:
        yield nodes
    finally:
        for node in reversed(nodes):
            if node.alive:
                await node.stop()


@contextmanager
def away(store: SqliteStore) -> Iterator[None]:
    """Let nobody read or write."""
    database: Any = store.database

    def refuse(*args: Any) -> Any:
        raise StoreError("the store is away")

    async def refuse_later(*args: Any) -> Any:
        raise StoreError("the store is away")

    verbs: dict[str, Any] = {"read": refuse, "write_apart": refuse}
    verbs["write"] = lambda *args: asyncio.ensure_future(refuse_later())
    for name, verb in verbs.items():
        setattr(database, name, verb)
    try:
        yield
    finally:
        for name in verbs:
            delattr(database, name)


async def everybody_answers(nodes: list[SimulatedNode]) -> None:
    for node in nodes:
        found = [record.name for record in await node.services.discover("echo")]
        assert sorted(found) == ["node 0", "node 1"]
        for name in found:
            assert await node.services.request(name, {"n": 1}, timeout=5) == {"by": name, "n": 1}


def lost(nodes: list[SimulatedNode]) -> list[Any]:
    return [event for node in nodes for event in node.query_events("node_lost")]


@pytest.mark.spec("S49")
def test_registry_down_for_60_seconds_local_copy_serves_and_leases_are_renewed(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        async with two(tmp_path, clock, clock) as nodes:
            await everybody_answers(nodes)
            with away(nodes[0].simulated_store), away(nodes[1].simulated_store):
                for _ in range(60):
                    await clock.sleep(1)
                    await everybody_answers(nodes)
            await clock.sleep(LEASE_SECONDS)
            await everybody_answers(nodes)
            leases = nodes[0].simulated_store.leases.nodes()
            assert [lease.lease_until > clock.now() for lease in leases] == [True, True]
            assert lost(nodes) == [] and not any(node.here.env.lost for node in nodes)
            assert [record.state for record in nodes[1].services.records()] == ["running", "running"]

    run_simulated(main, 0, shuffle=False)


@pytest.mark.spec("S49")
def test_registry_down_at_the_start(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        node = SimulatedNode(tmp_path, clock, "node")
        await node.start()
        services = node.services
        with away(node.simulated_store):
            began = clock.monotonic()
            agent = Named({"name": "late"})
            with pytest.raises(RegistryUnavailableError) as error:
                await agent.run(node)
            assert (error.value.attempts, agent.registered, agent.record) == (3, False, None)
            assert clock.monotonic() - began == pytest.approx(2.0, abs=0.1)
            with pytest.raises(RegistryUnavailableError):
                await services.discover("echo")
        assert await services.discover("echo") == []
        await services.start(Named, {"name": "late"})
        assert (await services.request("late", {"n": 1}))["by"] == "late"
        await node.stop()

    run_simulated(main, 0, shuffle=False)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("which", [0, 1])
def test_clock_of_a_node_jumps_by_an_hour(tmp_path: Path, hours: int, which: int) -> None:
    async def main(clock: VirtualClock) -> None:
        own = [JumpingClock(1), JumpingClock(2)]
        async with two(tmp_path, *own) as nodes:
            await everybody_answers(nodes)
            outside = [node.services.directory.outside for node in nodes]
            kept, token = await outside[0].register(OUTSIDE, None, TTL)
            left, _ = await outside[1].register(OUTSIDE, None, TTL)
            own[which].ahead = timedelta(hours=hours)
            begun = clock.monotonic()
            for second in range(60):
                await clock.sleep(1)
                await outside[second % 2].renew(kept.uuid, token, Change())
                for place in outside:
                    assert place.get(kept.uuid) is not None, "who renews does not expire"
                    since = clock.monotonic() - begun
                    if since < TTL - 1:
                        assert place.get(left.uuid) is not None
                    elif since > TTL + 1:
                        assert place.get(left.uuid) is None
                for node in nodes:
                    assert not node.here.env.lost
                    seen = await node.services.discover("echo")
                    assert len(seen) == 2, (second, node.name, lost(nodes), node.services.records())
                    assert (await node.services.request(node.name, {"n": second}))["n"] == second
            assert lost(nodes) == []
            with pytest.raises(NotFound):
                await outside[which].renew(left.uuid, token, Change())
            own[which].ahead = timedelta(0)
            await clock.sleep(2 * LEASE_SECONDS)
            await everybody_answers(nodes)
            assert lost(nodes) == []

    run_simulated(main, 0, shuffle=False)


@pytest.mark.spec("S49")
def test_200_registrations_in_a_second(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        node = SimulatedNode(tmp_path, clock, "node")
        await node.start()
        transport = httpx2.ASGITransport(app=registry_app(node), client=("127.0.0.1", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            body = OUTSIDE.to_data()
            began = clock.monotonic()
            answers = [await http.post("/register", json=body) for _ in range(200)]
            assert clock.monotonic() - began < 1
            assert Counter(answer.status_code for answer in answers) == {201: 100, 429: 100}
            assert answers[-1].json()["code"] == "RATE_LIMITED"
            assert len(node.services.records()) == 100, "what was refused changed nothing"
            assert (await http.get("/health")).json()["agent_count"] == 100
            await clock.sleep(2)
            assert (await http.post("/register", json=body)).status_code == 201
        await node.stop()

    run_simulated(main, 0, shuffle=False)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("hours", [1, 0, -1])
def test_clock_that_is_wrong_does_not_keep_a_dead_node_alive(tmp_path: Path, hours: int) -> None:
    async def main(clock: VirtualClock) -> None:
        own = [JumpingClock(1), JumpingClock(2)]
        async with two(tmp_path, *own) as nodes:
            own[1].ahead = timedelta(hours=hours)
            await clock.sleep(3 * LEASE_SECONDS)
            assert lost(nodes) == []
            await nodes[1].kill()
            await clock.sleep(3 * LEASE_SECONDS)
            assert [event.node_id for event in lost(nodes[:1])] == [nodes[1].node_id]
            assert [record.name for record in await nodes[0].services.discover("echo")] == ["node 0"]
            await nodes[0].services.start(Named, {"name": "node 1"})
            assert (await nodes[0].services.request("node 1", {"n": 1}))["by"] == "node 1"

    run_simulated(main, 0, shuffle=False)
