"""Bad input to requests: what is asked of whom it cannot be, of too many, too deep, in no form that could be read."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shoal.errors import ChainTooDeepError, PayloadError, RequestError
from shoal.kernel.agent import RestartPolicy
from shoal.kernel.message import AgentMessage
from shoal.services import AgentInfo, Capability, LoadBalancer, LoadBalancerAgent, ServiceAgent
from tests.support.runtimes import UNLIMITED, running, until
from tests.support.servers import Asker, Echo, Worker

Run = Callable[..., Any]
NEVER = RestartPolicy(mode="never")
PROMPT_SECONDS = 0.1


async def refused(asking: Awaitable[Any], seconds: float = 10 * PROMPT_SECONDS) -> RequestError:
    """Return the error of a request that is refused at once: the guard is ten times the figure."""
    began = time.monotonic()
    with pytest.raises(RequestError) as found:
        await asking
    assert time.monotonic() - began < seconds
    return found.value


@pytest.mark.spec("S49")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_payload_of_set_nan_bytes_or_over_10_mb(store_url: str, run: Run, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            echo = await services.start(Echo, isolation=isolation)
            for value, path in (({1}, "n"), (float("nan"), "n"), (b"x", "n"), ({"deep": [1, {2}]}, "deep")):
                error = await refused(services.request(echo, {"n": value}))
                assert isinstance(error, PayloadError) and error.code == "INVALID_FORMAT"
                assert path in error.message and path in getattr(error, "path", "")
            large = await refused(services.request(echo, {"n": "x" * (10 << 20)}), 5)
            assert isinstance(large, PayloadError)
            assert (large.code, large.details["limit"]) == ("TOO_LARGE", 10 << 20)
            status = await services.control(echo, "status")
            assert (status["requests"], status["errors"]) == (0, 0), "nothing of it was sent"
            stats = services._balancer.stats[echo.instance]
            assert (stats.in_flight, stats.breaker) == (0, "closed")
            assert (await services.request(echo, {"n": "x" * (1 << 20)}))["echo"] == "x" * (1 << 20)

    run(main)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("payload", [None, [], "text", 5, ({},)])
def test_payload_that_is_no_dict(store_url: str, run: Run, payload: Any) -> None:
    class Sender(Echo):
        def info(self) -> AgentInfo:
            return AgentInfo("sender", ("sender",))

        async def process_request(self, _: dict[str, Any]) -> Any:
            return await self.send_request("echo", payload)

    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            echo, _ = await services.start(Echo), await services.start(Sender)
            assert (await refused(services.request("echo", payload))).code == "INVALID_FORMAT"
            assert (await refused(services.request("sender", {}))).code == "INVALID_FORMAT"
            header = {"from_uuid": "x", "to_uuid": echo.uuid, "event_uuid": "e", "type": "request", "timestamp": 1}
            answer = await runtime.request(echo.uuid, "request", {"header": header, "payload": payload})
            assert (answer.data["failed"], answer.data["payload"]["code"]) == (True, "INVALID_FORMAT")

    run(main)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_malformed_message_and_unknown_type_on_the_bus(store_url: str, run: Run, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            echo = await runtime.services.start(Echo, isolation=isolation)
            node = runtime.services.node
            bad: list[tuple[str, Any]] = [
                ("request", None), ("request", {"header": {"from_uuid": 5}, "payload": {}}), ("dance", {"n": 1}),
                ("request", {"header": {}, "payload": {}}), ("response", {}), ("request", [1, 2, 3]),
            ]  # fmt: skip
            for kind, data in bad:
                answer = await runtime.request(echo.uuid, kind, data)
                header, payload = answer.data["header"], answer.data["payload"]
                assert (payload["code"], header["type"], header["from_uuid"]) == (
                    "INVALID_FORMAT",
                    "response",
                    echo.uuid,
                )
            counters = node.env.numbers.counters
            await until(lambda: counters["agent_malformed"] == len(bad))
            unread = [each for each in bad if each[0] != "response"]  # which waits for who expects it
            for kind, data in unread:
                await node.env.bus.send(
                    echo.uuid,
                    AgentMessage(
                        message_id=node.env.clock.new_id(),
                        sender_id="",  # nobody can be answered
                        sender_name="",
                        message_type=kind,
                        data=data,
                        timestamp=node.env.clock.now(),
                    ),
                )
            assert (await runtime.services.request(echo, {"n": 1}))["echo"] == 1, "it goes on"
            await until(lambda: counters["agent_malformed"] == len(bad) + len(unread))

    run(main)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_target_unknown_client_full_draining_or_dead(store_url: str, run: Run, isolation: Any) -> None:
    class Small(Echo):
        mailbox = 2

    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            services = runtime.services
            ask, start = services.request, services.start
            unknown = await refused(ask("nobody", {}))
            assert (unknown.code, "nobody" in str(unknown)) == ("NOT_FOUND", True)
            await start(Asker, {"name": "client", "type": "client"}, isolation)
            assert (await refused(ask("client", {}))).code == "NOT_A_SERVER"
            full = await start(Small, {"name": "full"}, isolation)
            await services.control(full, "pause")
            kept = [asyncio.ensure_future(ask(full, {"n": n})) for n in range(2)]
            await until(lambda: services.records()[-1].load == 2)
            assert (await refused(ask(full, {"n": 3}))).code == "MAILBOX_FULL"
            draining = await start(Echo, {"name": "draining"}, isolation)
            busy = asyncio.ensure_future(ask(draining, {"pause": 0.5, "n": 1}))
            await until(lambda: services.records()[-1].load == 1)
            await services.control(draining, "drain")
            await until(lambda: services.records()[-1].state == "draining")
            assert (await refused(ask(draining, {}))).code == "DRAINING"
            await start_and_kill(runtime)
            for target in ("dead", "dead/0"):
                dead = await refused(ask(target, {}))
                assert (dead.code, dead.details["name"]) == ("AGENT_DIED", "dead/0")
            await services.control(full, "resume")
            assert [answer["echo"] for answer in await asyncio.gather(*kept, busy)] == [0, 1, 1]

    run(main)


async def start_and_kill(runtime: Any) -> None:
    """Have an instance ``dead/0`` of a service ``dead`` that was killed and does not come back."""
    record = await runtime.services.start(Echo, {"name": "dead"}, "process", instance="dead/0", restart=NEVER)
    os.kill(record.pid, signal.SIGKILL)
    await until(lambda: runtime.agents.get(record.uuid).status == "failed")


@pytest.mark.spec("S49")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_an_agent_that_asks_itself_and_for_ever(store_url: str, run: Run, isolation: Any) -> None:
    class Mirror(ServiceAgent):
        count = 0

        def info(self) -> AgentInfo:
            return AgentInfo("mirror", ("mirror",))

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            self.count += 1
            if not payload["left"]:
                return {"count": self.count}
            return await self.send_request("mirror", {"left": payload["left"] - 1}, timeout=20)

    async def main() -> None:
        async with running(store_url) as runtime:
            mirror = await runtime.services.start(Mirror, isolation=isolation)
            ask = runtime.services.request
            assert await ask(mirror, {"left": 1}) == {"count": 2}, "it is in the chain"
            assert await ask(mirror, {"left": 64}) == {"count": 2 + 65}
            for left in (65, 10**9):
                deep = await refused(ask(mirror, {"left": left}), 10)
                assert deep.code == "CHAIN_TOO_DEEP" and isinstance(deep, ChainTooDeepError)
            assert await ask(mirror, {"left": 0}) == {"count": 2 + 65 + 65 + 65 + 1}, "never deeper, and it goes on"
            assert (await runtime.services.control(mirror, "status"))["in_flight"] == 0

    run(main)


@pytest.mark.spec("S49")
def test_no_worker_all_failing_and_one_that_dies_while_handling(store_url: str, run: Run) -> None:
    class Wrong(Worker):
        async def process_request(self, payload: dict[str, Any]) -> Any:
            raise RequestError("CLOSED", f"{self.context.name} is closed", retryable=True)

    class Dying(Worker):
        async def process_request(self, payload: dict[str, Any]) -> Any:
            if payload["n"] == self.config["dies at"]:
                os.kill(os.getpid(), signal.SIGKILL)
            return await super().process_request(payload)

    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            services = runtime.services
            proxy = await services.start(LoadBalancerAgent)
            none = await refused(services.request(proxy, {"n": 1}))
            assert (none.code, none.message) == ("NO_WORKERS", "No workers available")
            assert (await refused(services.request(Capability("worker"), {"n": 1}))).code == "NO_WORKERS"
            wrong = [await services.start(Wrong, instance=f"wrong/{n}") for n in range(3)]
            failed = await refused(services.request(proxy, {"n": 1}))
            assert (failed.code, failed.details["code"]) == ("WORKER_ERROR", "CLOSED")
            assert failed.message == "Worker failed: CLOSED: wrong/2 is closed", "the last of three attempts"
            for each in wrong:
                await services.stop(each.instance)
            config = {"dies at": 1}
            both = [await services.start(Dying, config, "process", restart=NEVER, instance=f"w/{n}") for n in range(2)]
            died = await refused(services.request(both[0], {"n": 1}))
            assert (died.code, died.details["exit_code"]) == ("AGENT_DIED", -9)
            third = await services.start(Worker, instance="w/2")
            balancer = LoadBalancer(services)
            reply = await balancer.call(Capability("worker"), {"n": 1}, idempotent=True)
            assert (reply.attempts, reply.record.uuid, reply.data["by"]) == (2, third.uuid, "w/2"), "retried by rule 6"

    run(main)


@pytest.mark.spec("S49")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_1001_requests_to_a_paused_agent(store_url: str, run: Run, isolation: Any) -> None:
    class Ordered(Echo):
        async def process_request(self, payload: dict[str, Any]) -> Any:
            return {"n": payload["n"]}

    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            services = runtime.services
            record = await services.start(Ordered, isolation=isolation)
            await services.control(record, "pause")
            ends: list[Any] = []

            async def ask(n: int) -> None:
                try:
                    ends.append((await services.request(record, {"n": n}, timeout=60))["n"])
                except RequestError as error:
                    ends.append(error.code)

            asked = [asyncio.ensure_future(ask(n)) for n in range(1001)]
            await until(lambda: services.records()[0].load == 1000)
            await until(lambda: len(ends) == 1)
            assert ends == ["MAILBOX_FULL"]
            assert (await services.control(record, "status"))["queued"] == 1000
            await services.control(record, "resume")
            await asyncio.gather(*asked)
            assert Counter(map(type, ends)) == {str: 1, int: 1000}
            assert ends[1:] == list(range(1000)), "in order, and the last one was refused"

    run(main)
