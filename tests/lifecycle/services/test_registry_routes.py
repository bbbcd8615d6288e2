"""The registry over HTTP: both shapes of routes, their bodies and codes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.registries import TOKENS, as_, info, registry
from tests.support.servers import Echo, Sick


@pytest.mark.spec("S1")
def test_the_first_shape(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (_, http):
            assert (await http.get("/healthcheck")).json() == {"agent_count": 0}
            made = await http.post("/register", json=info("adder", "Math", " Sums "))
            assert made.status_code == 201
            body = made.json()
            assert body.keys() == {"uuid", "owner_token", "ttl"}
            assert body["ttl"] == 30 and len(body["owner_token"]) >= 32
            (found,) = (await http.get("/discover", params={"capability": "mATH"})).json()
            assert (found["uuid"], found["name"], found["capabilities"]) == (body["uuid"], "adder", ["math", "sums"])
            assert [each["uuid"] for each in (await http.get("/")).json()] == [body["uuid"]]
            assert (await http.get("/healthcheck")).json() == {"agent_count": 1}
            owner = as_(owner=body["owner_token"])
            renewed = await http.put(f"/register/{body['uuid']}", headers=owner)
            assert (renewed.status_code, renewed.json()["uuid"]) == (200, body["uuid"])
            assert renewed.json()["lease_expires_at"] > found["lease_expires_at"]
            gone = await http.delete(f"/withdraw/{body['uuid']}", headers=owner)
            assert (gone.status_code, gone.content) == (204, b"")
            for answer in (
                await http.delete(f"/withdraw/{body['uuid']}", headers=owner),
                await http.put(f"/register/{body['uuid']}", headers=owner),
                await http.delete("/withdraw/nobody", headers=owner),
            ):
                assert answer.status_code == 404
                assert answer.json()["code"] == "NOT_FOUND" and "nobody is called" in answer.json()["error"]
            assert (await http.get("/discover", params={"capability": "math"})).json() == []

    run(main)


@pytest.mark.spec("S2")
def test_the_second_shape(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (_, http):
            health = (await http.get("/health")).json()
            assert health.keys() == {"status", "uptime", "agent_count"}
            assert (health["status"], health["agent_count"]) == ("ok", 0) and health["uptime"] >= 0
            made = [
                await http.post("/agents", json=info(f"adder{n}", "math", f"n{n}", type="server")) for n in range(5)
            ]
            assert {answer.status_code for answer in made} == {201}
            bodies = [answer.json() for answer in made]
            assert bodies[0]["name"] == "adder0" and bodies[0]["state"] == "running" and bodies[0]["owner_token"]
            search = "/agents/discover"
            found = (await http.get(search, params={"capabilities": "MATH", "limit": 2, "offset": 1})).json()
            assert [each["name"] for each in found["agents"]] == ["adder1", "adder2"]
            assert (found["total_count"], found["matching_capabilities"]) == (5, ["math"])
            found = (await http.get(search, params={"capabilities": "math, N3"})).json()
            assert ([each["name"] for each in found["agents"]], found["total_count"]) == (["adder3"], 1)
            for kind, count in (("server", 5), ("hybrid", 0)):
                answer = await http.get(search, params={"capabilities": "math", "type": kind})
                assert answer.json()["total_count"] == count
            page = (await http.get("/agents", params={"limit": 2, "offset": 4})).json()
            assert [each["name"] for each in page] == ["adder4"]
            first, owner = f"/agents/{bodies[0]['uuid']}", as_(owner=bodies[0]["owner_token"])
            known = (await http.get(first)).json()
            assert known == {key: bodies[0][key] for key in known} and "owner_token" not in known
            changed = await http.put(f"{first}/lease", headers=owner, json={"load": 0.5, "state": "paused"})
            assert (changed.status_code, changed.json()["load"], changed.json()["state"]) == (200, 0.5, "paused")
            assert (await http.get(search, params={"capabilities": "math"})).json()["total_count"] == 4
            assert (await http.delete(first, headers=owner)).status_code == 204
            for answer in (
                await http.get(first),
                await http.delete(first, headers=owner),
                await http.put(f"{first}/lease", headers=owner),
                await http.get(f"{first}/health"),
            ):
                assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")

    run(main)


@pytest.mark.spec("S3")
def test_what_is_found_and_what_is_not(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (runtime, http):
            for name, word in (("adder", "math"), ("painter", "art"), ("solver", "Math")):
                assert (await http.post("/register", json=info(name, word))).status_code == 201
            found = (await http.get("/discover", params={"capability": "math"})).json()
            assert [each["name"] for each in found] == ["adder", "solver"]
            assert (await http.get("/discover", params={"capability": "cooking"})).json() == []
            empty = (await http.get("/agents/discover", params={"capabilities": "cooking"})).json()
            assert (empty["agents"], empty["total_count"]) == ([], 0)
            for path, query in (
                ("/discover", {}),
                ("/discover", {"capability": " ,"}),
                ("/agents/discover", {"type": "server"}),
            ):
                answer = await http.get(path, params=query)
                assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
            assert [each.name for each in await runtime.services.discover("math")] == ["adder", "solver"]

    run(main)


def test_agents_of_nodes_and_from_outside_stand_side_by_side(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (runtime, http):
            record = await runtime.services.start(Echo)
            made = (await http.post("/register", json=info("shell", "echo"))).json()
            found = (await http.get("/discover", params={"capability": "echo"})).json()
            assert [each["uuid"] for each in found] == [record.uuid, made["uuid"]]
            assert [each.uuid for each in runtime.services.records()] == [record.uuid, made["uuid"]]
            by_instance = (await http.get(f"/agents/{record.instance}")).json()
            assert "/" in record.instance and by_instance["uuid"] == record.uuid
            answer = await http.delete(f"/agents/{record.uuid}", headers=as_(owner=made["owner_token"]))
            assert (answer.status_code, answer.json()["code"]) == (403, "UNAUTHORIZED")
            assert runtime.services.records()[0].state == "running"

    run(main)


def test_requests_and_control_over_http(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url, tokens=TOKENS) as (runtime, http):
            record = await runtime.services.start(Echo)
            at, admin = f"/agents/{record.instance}", as_("rules-1")
            trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
            answer = await http.post(
                f"{at}/request", json={"payload": {"n": 3}, "timeout": 5}, headers=admin | {"traceparent": trace}
            )
            assert (answer.status_code, answer.json()["echo"]) == (200, 3)
            assert answer.headers["traceparent"].split("-")[1] == "a" * 32
            for do, status, code in (
                ("refuse", 400, "INVALID_OPERATION"),
                ("raise", 500, "EXECUTION_ERROR"),
                ("error", 422, "CLOSED"),
            ):
                answer = await http.post(f"{at}/request", json={"payload": {"do": do}}, headers=admin)
                assert (answer.status_code, answer.json()["code"]) == (status, code)
                assert answer.json().keys() == {"error", "code", "details"}
            answer = await http.post(f"{at}/request", json={"payload": {"pause": 5}, "timeout": 0.1}, headers=admin)
            assert (answer.status_code, answer.json()["code"]) == (504, "TIMEOUT")
            answer = await http.post("/agents/nobody/request", json={"payload": {}}, headers=admin)
            assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
            for action, data, told in (("pause", None, "Paused"), ("resume", None, "Resumed"), ("shout", "a", "A")):
                answer = await http.post(f"{at}/control", json={"action": action, "data": data}, headers=admin)
                assert answer.json() == {"type": "control", "action": "response", "data": told}
            answer = await http.post(f"{at}/control", json={"action": "dance"}, headers=admin)
            assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ACTION")

    run(main)


@pytest.mark.spec("S40")
def test_who_is_not_well_is_left_out_and_says_so_over_http(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (runtime, http):
            record = await runtime.services.start(Sick)
            at, services = f"/agents/{record.uuid}/health", runtime.services
            assert (await http.get(at)).status_code == 200
            await services.control(record, "be", False)
            answer = await http.get(at)
            assert (answer.status_code, answer.json()["ok"]) == (503, False)
            for failures in (1, 2, 3):
                await services._checkup.look()
                found = (await http.get("/discover", params={"capability": "echo"})).json()
                assert bool(found) == (failures < 3)
            assert (await http.get(f"/agents/{record.uuid}")).json()["health"] == 0
            await services.control(record, "be", True)
            assert (await http.get(at)).status_code == 200
            await services._checkup.look()
            assert len((await http.get("/discover", params={"capability": "echo"})).json()) == 1

    run(main)
