"""Agents registered from outside: owners, leases, exclusive names, their addresses, and a registry that comes again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shoal.errors import AgentNameTakenError, NotFound, RequestError, VersionConflictError
from shoal.services import AgentInfo, AgentRecord, Capability
from shoal.services.outside import PREFIX, Outside
from shoal.services.outsiders import Change
from shoal.testing.clock import VirtualClock
from tests.support.registries import TOKENS, as_, info, registry, served
from tests.support.runtimes import running, until
from tests.support.servers import Asker, Echo

TTL = 1.0


def the(name: str, *words: str, **more: Any) -> AgentInfo:
    return AgentInfo.of(info(name, *words, **more))


@pytest.mark.spec("S5", "S49")
def test_nobody_but_its_owner_changes_a_record(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url, tokens=TOKENS) as (_, http):
            made = [
                (await http.post("/agents", json=info("shell", "echo"), headers=as_("writes-1"))).json() for _ in "ab"
            ]
            at = f"/agents/{made[0]['uuid']}"
            before = (await http.get(at, headers=as_("reads-1"))).json()
            for owner in (None, made[1]["owner_token"], "", made[0]["owner_token"][:-1], "\xe9"):
                for verb, path, body in (
                    ("PUT", f"{at}/lease", {"health": 0}),
                    ("PUT", f"/register/{made[0]['uuid']}", {}),
                    ("DELETE", at, None),
                    ("DELETE", f"/withdraw/{made[0]['uuid']}", None),
                ):
                    answer = await http.request(
                        verb,
                        path,
                        json=body,
                        headers={k.encode(): v.encode() for k, v in as_("writes-1", owner).items()},
                    )
                    assert (answer.status_code, answer.json()["code"]) == (403, "UNAUTHORIZED")
            answer = await http.delete(at, headers=as_("rules-1", made[1]["owner_token"]))
            assert answer.status_code == 403, "an admin who says who he is is held to it"
            assert (await http.get(at, headers=as_("reads-1"))).json() == before
            assert (await http.delete(at, headers=as_("rules-1"))).status_code == 204

    run(main)


@pytest.mark.spec("S5")
def test_an_owner_that_wakes_up_after_its_lease_changes_nothing(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime, served(runtime, ttl=TTL) as (_, http):
            old = (await http.post("/agents", json=info("boss", "lead", exclusive=True))).json()
            with pytest.raises(AgentNameTakenError, match="boss"):
                await runtime.services.start(Echo, {"name": "boss"})
            refused = await http.post("/agents", json=info("boss", "lead", exclusive=True))
            assert (refused.status_code, refused.json()["code"]) == (409, "AGENT_EXISTS")
            assert (await http.post("/agents", json=info("boss", "lead"))).status_code == 409

            async def successor() -> Any:
                while (
                    answer := await http.post("/agents", json=info("boss", "lead", exclusive=True))
                ).status_code == 409:
                    await asyncio.sleep(0.05)
                return answer

            answer = await successor()
            assert answer.status_code == 201
            new = answer.json()
            owner = as_(owner=old["owner_token"])
            for uuid, status in ((old["uuid"], 404), (new["uuid"], 403)):
                assert (
                    await http.put(f"/agents/{uuid}/lease", json={"health": 1}, headers=owner)
                ).status_code == status
                assert (await http.delete(f"/agents/{uuid}", headers=owner)).status_code == status
            found = await http.put(f"/agents/{new['uuid']}/lease", headers=as_(owner=new["owner_token"]))
            assert (found.status_code, found.json()["health"]) == (200, 100)

    run(main)


def test_a_record_is_written_over_what_was_read_only(store_url: str, run: Any) -> None:
    """Two registries on one store: the one whose copy is old learns it at the store."""

    async def main() -> None:
        async with running(store_url) as runtime:
            node = runtime.services.node
            one, other = Outside(node), Outside(node)
            record, token = await one.register(the("shell", "echo"), None, 30)
            assert other.get(record.uuid) is not None
            seen = other._book.get(record.uuid)
            assert seen is not None
            await one.renew(record.uuid, token, Change(load=1.0))
            with pytest.raises(VersionConflictError):
                await other._write(seen.outsider, seen.version)
            assert not await other._remove(seen)
            again = await other.renew(record.uuid, token, Change(health=50))
            assert (again.load, again.health) == (1.0, 50)
            renewals = [place.renew(record.uuid, token, Change()) for place in (one, other)]
            assert len(await asyncio.gather(*renewals)) == 2
            await one.withdraw(record.uuid, token)
            with pytest.raises(NotFound):
                await other.renew(record.uuid, token, Change())

    run(main)


def test_of_two_registries_one_gives_an_exclusive_name(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            node = runtime.services.node
            for round_ in range(20):
                places = [Outside(node) for _ in range(3)]
                name = f"boss{round_}"
                asked = [place.register(the(name, "lead", exclusive=True), None, 30) for place in places]
                given = await asyncio.gather(*asked, return_exceptions=True)
                assert sum(isinstance(each, tuple) for each in given) <= 1
                assert all(isinstance(each, (tuple, AgentNameTakenError)) for each in given)
                left = [each for each in Outside(node).records() if each.name == name]
                assert len(left) == sum(isinstance(each, tuple) for each in given)

    run(main)


def test_a_lease_that_is_not_renewed_ends(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime, served(runtime, ttl=TTL) as (_, http):
            services, clock = runtime.services, runtime.services.node.env.clock
            began = clock.monotonic()
            kept, lost = [(await http.post("/agents", json=info(name, "echo"))).json() for name in ("kept", "lost")]
            while len(await services.discover("echo")) == 2:
                answer = await http.put(f"/agents/{kept['uuid']}/lease", headers=as_(owner=kept["owner_token"]))
                assert answer.status_code == 200
                await asyncio.sleep(TTL / 8)
            assert clock.monotonic() - began >= TTL
            assert [each.name for each in await services.discover("echo")] == ["kept"]
            assert (await http.get(f"/agents/{lost['uuid']}")).status_code == 404
            kv = services.node.env.store.kv
            await until(lambda: kv.get(PREFIX + lost["uuid"], now=clock.now()) is None)

    run(main)


@pytest.mark.spec("S49")
def test_a_clock_that_jumps_by_an_hour_ends_no_lease(run: Any) -> None:
    async def main() -> None:
        clock = VirtualClock()
        async with running("sqlite://:memory:", clock=clock) as runtime:
            outside = runtime.services.directory.outside
            record, token = await outside.register(the("shell", "echo"), None, 30)
            clock_now = clock.now
            try:
                clock.now = lambda: clock_now() + timedelta(hours=1)  # type: ignore[method-assign]
                assert outside.get(record.uuid) is not None
                await outside.sweep()
                await outside.renew(record.uuid, token, Change())
                assert Outside(runtime.services.node).get(record.uuid) is not None
            finally:
                clock.now = clock_now  # type: ignore[method-assign]

    run(main)


@pytest.mark.spec("S49")
def test_a_registry_that_comes_again_knows_its_agents(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (_, http):
            made = (await http.post("/agents", json=info("shell", "echo", metadata={"at": "home"}))).json()
        async with registry(store_url) as (_, http):
            found = (await http.get(f"/agents/{made['uuid']}")).json()
            assert found == {key: made[key] for key in found} and found["metadata"] == {"at": "home"}
            owner = as_(owner=made["owner_token"])
            assert (await http.put(f"/agents/{made['uuid']}/lease", headers=owner)).status_code == 200
            assert (await http.delete(f"/agents/{made['uuid']}", headers=owner)).status_code == 204

    run(main)


def test_other_nodes_hear_of_it(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (_, http), running(store_url) as other:
            assert await other.services.discover("echo") == []
            made = (await http.post("/agents", json=info("shell", "echo"))).json()

            async def known(count: int) -> list[AgentRecord]:
                while len(found := await other.services.discover("echo")) != count:
                    await asyncio.sleep(0.01)
                return found

            async with asyncio.timeout(5):
                assert [each.uuid for each in await known(1)] == [made["uuid"]]
                await http.delete(f"/agents/{made['uuid']}", headers=as_(owner=made["owner_token"]))
                await known(0)

    run(main)


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_an_agent_from_outside_is_asked_at_its_address(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime, served(runtime, tokens=TOKENS) as (_, http):
            services = runtime.services
            record = await services.start(Echo)
            await services.start(Asker, isolation=isolation)
            admin = as_("rules-1")
            body = info("shell", "far", address=record.uuid)
            near = (await http.post("/agents", json=body, headers=admin)).json()
            lone = (await http.post("/agents", json=info("lone", "far"), headers=admin)).json()
            lost = info("lost", "far", address="nowhere")
            await http.post("/agents", json=lost, headers=admin)
            for target in ("shell", near["uuid"], near["instance"], Capability("far")):
                assert (await services.request(target, {"n": 4}))["echo"] == 4
            answer = await http.post(f"/agents/{near['uuid']}/request", json={"payload": {"n": 5}}, headers=admin)
            assert answer.json()["echo"] == 5
            asked = await services.request("asker", {"target": "shell", "payload": {"n": 6}})
            assert asked["asked"]["echo"] == 6
            with pytest.raises(RequestError) as found:
                await services.request("asker", {"target": "shell", "payload": {"do": "refuse"}})
            assert (found.value.code, found.value.details) == ("INVALID_OPERATION", {"known": ["echo"]})
            for name in ("lone", "lost"):
                with pytest.raises(RequestError, match="only listed") as found:
                    await services.request(name, {"n": 1})
                assert found.value.code == "NOT_FOUND"
            assert len(await services.discover("far")) == 3
            answer = await http.post(f"/agents/{lone['uuid']}/request", json={"payload": {}}, headers=admin)
            assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
            client = info("client", "far", type="client", address=record.uuid)
            await http.post("/agents", json=client, headers=admin)
            with pytest.raises(RequestError) as found:
                await services.request("client", {"n": 1})
            assert found.value.code == "NOT_A_SERVER"
            assert len(await services.discover("far")) == 3

    run(main)


def test_its_health_is_what_it_told_last(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (runtime, http):
            made = (await http.post("/agents", json=info("shell", "echo"))).json()
            at, owner = f"/agents/{made['uuid']}", as_(owner=made["owner_token"])
            for health, status in ((0, 503), (70, 200)):
                await http.put(f"{at}/lease", json={"health": health}, headers=owner)
                answer = await http.get(f"{at}/health")
                assert (answer.status_code, answer.json()["ok"]) == (status, status == 200)
                assert bool(await runtime.services.discover("echo")) == (status == 200)
            assert len(await runtime.services.discover("echo", healthy=False)) == 1

    run(main)


def test_what_is_no_record_in_the_store_harms_nobody(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (runtime, http):
            made = (await http.post("/agents", json=info("shell", "echo"))).json()
            for value in ({"name": "forged"}, 5, None):
                await runtime.shared.set(f"{PREFIX}forged", value)
                assert [each["uuid"] for each in (await http.get("/")).json()] == [made["uuid"]]
            mine = await runtime.shared.get(f"{PREFIX}{made['uuid']}")
            await runtime.shared.set(f"{PREFIX}other", mine)
            assert [each["uuid"] for each in (await http.get("/")).json()] == [made["uuid"]]

    run(main)


def test_there_is_a_limit_of_records(store_url: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr("shoal.services.outside.MOST", 2)
        async with registry(store_url) as (_, http):
            statuses = [(await http.post("/register", json=info("shell", "echo"))).status_code for _ in range(3)]
            assert statuses == [201, 201, 503]

    run(main)


def test_changes_are_events(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime, served(runtime, ttl=TTL) as (_, http):
            for name in ("withdrawn", "lost"):
                made = (await http.post("/agents", json=info(name, "echo"))).json()
                if name == "withdrawn":
                    at, owner = f"/agents/{made['uuid']}", as_(owner=made["owner_token"])
                    for told in ({}, {"state": "paused"}, {}):
                        await http.put(f"{at}/lease", json=told, headers=owner)
                    await http.delete(at, headers=owner)

            def events(kind: str) -> list[Any]:
                found = runtime.query_events(kind)
                return sorted((event.details["name"], event.details.get("state")) for event in found)

            await until(lambda: len(events("service_left")) == 2)
            assert events("service_joined") == [("lost", "running"), ("withdrawn", "running")]
            assert events("service_changed") == [("withdrawn", "paused")]
            assert events("service_left") == [("lost", None), ("withdrawn", None)]

    run(main)
