"""Control: what the runtime carries out, what the service's code answers, and who may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from shoal.kernel.agent import RestartPolicy
from shoal.runtime import AgentRuntime
from shoal.services import AgentInfo, RequestError, ServiceAgent
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.runtimes import running
from tests.support.servers import Asker, Echo, Sick, SyncEcho

LEVELS = ("inline", "thread", "process")
KEYS = {"type", "id", "name", "paused", "config", "uptime"}
MORE = {"state", "queued", "in_flight", "requests", "errors", "restarts"}


async def code_of(asking: Any) -> str:
    with pytest.raises(RequestError) as error:
        await asking
    return error.value.code


class Tuned(Echo):
    def info(self) -> AgentInfo:
        schema = {"type": "object", "properties": {"depth": {"type": "integer"}}}
        return AgentInfo("tuned", ("tuned",), control_schema=schema)

    def on_config(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        if new.get("depth") == 13:
            raise ValueError("not that one")
        self.seen = (old, new)


@pytest.mark.spec("S9", "S49")
@pytest.mark.parametrize("isolation", LEVELS)
def test_a_configuration_is_merged_checked_and_shown_without_secrets(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            order = runtime.services.control
            first = {"db": {"host": "a", "password": "p"}, "gone": 1}
            tuned = await runtime.services.start(Tuned, first, isolation=isolation)
            changes = {"config": {"db": {"port": 5}, "gone": None, "depth": 2}}
            assert await order(tuned, "update_config", changes) == "Configuration updated"
            merged = {"db": {"host": "a", "password": "***", "port": 5}, "depth": 2}
            status = await order("tuned", "status")
            assert status.keys() >= KEYS | MORE
            assert (status["type"], status["id"], status["name"]) == ("status", tuned.uuid, "tuned")
            assert (status["config"], status["paused"], status["state"]) == (merged, False, "running")
            for wrong in ([1], {"config": [1]}, {"config": {"depth": "deep"}}, {"config": {"depth": 13}}, None):
                assert await code_of(order(tuned, "update_config", wrong)) == "VALIDATION_ERROR"
            with pytest.raises(RequestError, match=r'config is missing: .* as \{"config": \{\.\.\.\}\}'):
                await order(tuned, "update_config", {"depth": 7})
            assert (await order(tuned, "status"))["config"] == merged
            assert await code_of(order(tuned, "dance")) == "INVALID_ACTION"
            assert await order(tuned, "shout", "hey") == "HEY"

    run(main)


def test_status_is_told_before_it_runs() -> None:
    status = Echo({"token": "t", "list": [{"api_key": "k"}]}).status()
    assert status.keys() >= KEYS | MORE
    assert status["config"] == {"token": "***", "list": [{"api_key": "***"}]}
    assert status["state"] == "stopped"


def test_what_it_was_told_outlives_its_process(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(
                Tuned, isolation="process", restart=RestartPolicy(initial_seconds=0.0)
            )
            await runtime.services.control(record, "update_config", {"config": {"depth": 7}})
            await kill(runtime, record.instance)
            status = await runtime.services.control(record, "status")
            assert (status["config"], status["restarts"]) == ({"depth": 7}, 1)

    run(main)


async def kill(runtime: AgentRuntime, instance: str) -> None:
    """Kill the process of an instance, and return when another one has taken its place."""
    import os
    import signal

    pid = runtime.agents.get(instance).process_id
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while (
            runtime.agents.get(instance).process_id in (pid, None) or runtime.agents.get(instance).status != "running"
        ):
            await asyncio.sleep(0.01)


def test_control_is_answered_while_the_code_is_busy(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            busy = await runtime.services.start(SyncEcho)
            asked = [asyncio.ensure_future(runtime.services.request(busy, {"n": n, "pause": 0.4})) for n in range(2)]
            await asyncio.sleep(0.05)
            began = time.monotonic()
            status = await runtime.services.control(busy, "status")
            assert (status["in_flight"], status["queued"]) == (1, 1)
            assert (await runtime.services.control(busy, "health"))["ok"]
            assert time.monotonic() - began < 0.3
            assert await asyncio.gather(*asked) == [{"echo": 0}, {"echo": 1}]

    run(main)


class Boss(ServiceAgent):
    def info(self) -> AgentInfo:
        return AgentInfo(self.config["name"], ("boss",))

    async def process_request(self, payload: dict[str, Any]) -> Any:
        return {"said": await self.send_control(payload["whom"], payload["action"])}


class Subject(Echo):
    def info(self) -> AgentInfo:
        return AgentInfo("subject", ("subject",), control_from=("chief*",))


@pytest.mark.spec("S49")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_only_those_named_may_control(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            await services.start(Subject, isolation=isolation)
            for name in ("chief", "clerk"):
                await services.start(Boss, {"name": name}, isolation=isolation)
            order = {"whom": "subject", "action": "pause"}
            assert await code_of(services.request("clerk", order)) == "UNAUTHORIZED"
            assert (await services.control("subject", "status"))["paused"] is False
            assert await services.request("chief", order) == {"said": "Paused"}
            assert (await services.control("subject", "status"))["paused"] is True
            assert await services.control("subject", "resume") == "Resumed"
            assert await code_of(services.control("nobody", "status")) == "NOT_FOUND"

    run(main)


@pytest.mark.spec("S10")
@pytest.mark.parametrize("how", ["itself", "operator"])
def test_the_end_of_one_leaves_the_others(store_url: str, run: Any, how: str) -> None:
    class Leaver(Echo):
        async def process_request(self, payload: dict[str, Any]) -> Any:
            if payload.get("leave"):
                await self.shutdown()
                return {"bye": True}
            return await super().process_request(payload)

    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            first, *others = [await services.start(Leaver) for _ in range(3)]
            if how == "itself":
                assert await services.request(first, {"leave": True}) == {"bye": True}
            else:
                assert await services.control(first, "shutdown") == "Shutting down"
            asked = [services.request(others[n % 2], {"n": n}) for n in range(100)]
            assert [answer["echo"] for answer in await asyncio.gather(*asked)] == list(range(100))
            async with asyncio.timeout(5):
                while len(services.records()) != 2:
                    await asyncio.sleep(0.01)
            assert [record.uuid for record in services.records()] == [record.uuid for record in others]
            assert await code_of(services.request(first, {"n": 1})) == "NOT_FOUND"

    run(main)


@pytest.mark.spec("S40")
def test_who_is_not_well_is_left_out_until_it_is() -> None:
    async def main(clock: VirtualClock) -> None:
        async with AgentRuntime(store="sqlite://:memory:", clock=clock) as runtime:
            services = runtime.services
            sick = await services.start(Sick)
            await services.control(sick, "be", False)
            await clock.sleep(25)
            assert [record.health for record in await services.discover("echo")] == [34]
            await clock.sleep(10)
            assert await services.discover("echo") == []
            assert [record.health for record in await services.discover("echo", healthy=False)] == [0]
            assert (await services.control(sick, "health"))["ok"] is False
            await services.control(sick, "be", True)
            await clock.sleep(10)
            assert [record.health for record in await services.discover("echo")] == [100]

    run_virtual(main)


@pytest.mark.spec("S38")
def test_a_monitor_asks_for_health_and_warns_of_the_one_that_failed(store_url: str, run: Any) -> None:
    class Monitor(ServiceAgent):
        def info(self) -> AgentInfo:
            return AgentInfo("monitor", ("monitor",))

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            alerts = []
            found = await self.discover_agents(["echo"], healthy=False)
            for record in found:
                health = await self.send_control(record, "health")
                if not health["ok"]:
                    alerts.append({"level": "warning", "service": record.name})
            return {"checked": len(found), "alerts": alerts}

    class Open(Sick):
        def info(self) -> AgentInfo:
            return AgentInfo(self.config["name"], ("echo",), control_from=("monitor",))

    async def main() -> None:
        async with running(store_url) as runtime:
            for name in ("one", "two", "three"):
                await runtime.services.start(Open, {"name": name})
            await runtime.services.start(Monitor)
            await runtime.services.control("two", "be", False)
            report = await runtime.services.request("monitor", {})
            assert report == {"checked": 3, "alerts": [{"level": "warning", "service": "two"}]}

    run(main)


def test_the_default_health_counts_failures_and_waiting_mail(store_url: str, run: Any) -> None:
    class Small(Echo):
        mailbox = 10

    async def main() -> None:
        async with running(store_url) as runtime:
            small = await runtime.services.start(Small)
            health: Callable[[], Any] = lambda: runtime.services.control(small, "health")  # noqa: E731
            assert (await health())["ok"]
            asked = [asyncio.ensure_future(runtime.services.request(small, {"pause": 0.1, "n": n})) for n in range(11)]
            await asyncio.sleep(0.05)
            assert not (await health())["ok"]
            full = [runtime.services.request(small, {"n": n}) for n in range(2)]
            assert "MAILBOX_FULL" in {
                getattr(e, "code", "") for e in await asyncio.gather(*full, return_exceptions=True)
            }
            await asyncio.gather(*asked)
            assert (await health())["ok"]
            for _ in range(15):
                assert await code_of(runtime.services.request(small, {"do": "refuse"})) == "INVALID_OPERATION"
            assert not (await health())["ok"]

    run(main)


def test_names_are_found_by_exclusive_and_by_agent(store_url: str, run: Any) -> None:
    from shoal.errors import AgentNameTakenError

    class Only(Echo):
        def info(self) -> AgentInfo:
            return AgentInfo("only", ("only",), exclusive=True)

    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            only = await services.start(Only)
            assert only.instance == "only"
            with pytest.raises(AgentNameTakenError):
                await services.start(Only)
            await services.stop("only")
            await services.stop("only")
            assert (await services.start(Only)).uuid != only.uuid
            named = await services.start(Asker, instance="asker_0")
            assert (named.instance, named["name"]) == ("asker_0", "asker")

    run(main)


class Deliberate(Echo):
    async def on_config(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("isolation", LEVELS)
def test_changes_of_a_configuration_at_once_are_all_kept(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Deliberate, isolation=isolation)
            order = runtime.services.control
            await asyncio.gather(*(order(record, "update_config", {"config": {f"k{n}": n}}) for n in range(4)))
            assert (await order(record, "status"))["config"].keys() >= {"k0", "k1", "k2", "k3"}
            registration = runtime.services.node.registrations[record.uuid]
            assert registration.config is not None and registration.config.keys() >= {"k0", "k1", "k2", "k3"}

    run(main)


class SlowToStart(Echo):
    async def on_start(self) -> None:
        await asyncio.sleep(0.3)


def test_to_resume_who_is_just_starting_changes_nothing(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            starting = asyncio.ensure_future(services.start(SlowToStart))
            while not any(record.state == "starting" for record in services.records()):
                await asyncio.sleep(0.01)
            assert await services.control("echo", "resume") == "Resumed"
            assert (await starting).state == "running"

    run(main)
