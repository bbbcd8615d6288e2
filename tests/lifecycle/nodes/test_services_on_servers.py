"""Services of two nodes whose store is PostgreSQL and whose bus is NATS, or PostgreSQL as well."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.services import Capability, LoadBalancer, NotFound, RequestError
from tests.support.runtimes import until
from tests.support.servers import Echo, Worker

Run = Callable[..., Any]


@pytest.mark.spec("S46")
@pytest.mark.parametrize("bus", ["nats", "postgres"])
def test_two_nodes_serve_as_one(bus: str, request: pytest.FixtureRequest, postgres_url: str, run: Run) -> None:
    bus_url: str | None = request.getfixturevalue("nats_url") if bus == "nats" else None

    async def main() -> None:
        async with (
            AgentRuntime(store=postgres_url, bus=bus_url, node="one") as one,
            AgentRuntime(store=postgres_url, bus=bus_url, node="two") as two,
        ):
            workers = [await node.services.start(Worker) for node in (one, two)]
            echo = await two.services.start(Echo)
            await until(lambda: [each.state for each in one.services.records()] == ["running"] * 3)

            assert [len(await one.services.discover([word])) for word in ("worker", "echo", "unknown")] == [2, 1, 0]
            answers = [await one.services.request("worker", {"n": n}) for n in range(20)]
            assert [each["n"] for each in answers] == list(range(20))
            assert Counter(each["by"] for each in answers) == {each.instance: 10 for each in workers}
            reply = await LoadBalancer(one.services).call(Capability("echo"), {"n": 7})
            assert (reply.data["echo"], reply.record.instance, reply.attempts) == (7, echo.instance, 1)
            with pytest.raises(RequestError, match="INVALID_OPERATION"):
                await one.services.request("echo", {"do": "refuse"})

            assert await one.services.control(echo, "pause") == "Paused"
            waiting = [asyncio.create_task(one.services.request(echo.uuid, {"n": n})) for n in range(10)]
            await until(lambda: two.store.mail.waiting(echo.uuid) == 10)
            assert await one.services.control(echo, "resume") == "Resumed"
            assert [each["echo"] for each in await asyncio.gather(*waiting)] == list(range(10))
            assert (
                await one.services.control(echo, "update_config", {"config": {"a": {"b": 1}}})
                == "Configuration updated"
            )
            assert (await one.services.control(echo, "status"))["config"] == {"a": {"b": 1}}

            asked = [asyncio.create_task(one.services.request("worker", {"n": n})) for n in range(50)]
            await one.services.control(workers[1], "drain")
            assert sorted(each["n"] for each in await asyncio.gather(*asked)) == list(range(50)), "none is lost"
            await until(lambda: len(one.services.records()) == 2)
            with pytest.raises(NotFound):
                await one.services.request(workers[1].instance, {"n": 1})

    run(main)
