"""Requests: answers, errors and their codes, who may ask whom, chains, deadlines."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from shoal.errors import AgentNotFoundError, DeadAgentError, InfoError, ResponseTimeoutError
from shoal.kernel.message import AgentMessage
from shoal.services import AgentInfo, Capability, RequestError, ServiceAgent, ValidationFailed
from tests.support.runtimes import UNLIMITED, running, until
from tests.support.servers import Asker, Echo, Looper, SyncAsker, SyncEcho

LEVELS = ("inline", "thread", "process")


async def refused(asking: Any) -> RequestError:
    began = time.monotonic()
    with pytest.raises(RequestError) as found:
        await asking
    assert time.monotonic() - began < 2
    return found.value


@pytest.mark.spec("S49")
@pytest.mark.parametrize("isolation", LEVELS)
def test_what_it_returns_raises_or_sends_is_the_answer(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            ask = runtime.services.request
            record = await runtime.services.start(Echo, isolation=isolation)
            assert (await ask("echo", {"n": 1}))["echo"] == 1
            for target in (record, record.uuid, record.instance, Capability(" ECHO ")):
                assert (await ask(target, {"n": 2}))["echo"] == 2
            assert await ask("echo", {"do": "nothing"}) == {}
            assert await ask("echo", {"do": "twice"}) == {"n": 1}
            for do, code, text in (
                ("refuse", "INVALID_OPERATION", "no such operation"),
                ("raise", "EXECUTION_ERROR", "lost"),
                ("set", "EXECUTION_ERROR", "process_request()"),
                ("list", "EXECUTION_ERROR", "must return a dict"),
                ("forget", "EXECUTION_ERROR", "sleep() without waiting for it: an await is missing"),
                ("error", "CLOSED", "not today"),
            ):
                error = await refused(ask("echo", {"do": do}))
                assert (error.code, text in str(error)) == (code, True), error
            assert (await refused(ask("echo", {"do": "error"}))).details == {"until": "tomorrow"}
            assert (await ask("echo", {"do": "header"}))["attempt"] == 1

    run(main)


def test_what_it_raises_is_logged_with_its_name(store_url: str, run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Echo)
            assert (await refused(runtime.services.request("echo", {"do": "raise"}))).code == "EXECUTION_ERROR"
            assert [each.message for each in caplog.records if each.exc_info] == [
                f"process_request of {record.instance} failed"
            ]

    run(main)


@pytest.mark.parametrize("isolation", LEVELS)
def test_synchronous_code_asks_others_through_wait_for(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.services.start(SyncEcho, isolation=isolation)
            await runtime.services.start(SyncAsker, isolation=isolation)
            assert await runtime.services.request("sync_asker", {"n": 7}) == {"asked": {"echo": 7}}

    run(main)


def test_waiting_threads_lend_their_places(store_url: str, run: Any) -> None:
    class Wide(SyncAsker):
        concurrency = 40

    async def main() -> None:
        async with running(store_url, threads=2) as runtime:
            await runtime.services.start(SyncEcho)
            await runtime.services.start(Wide)
            asked = [runtime.services.request("sync_asker", {"n": n}) for n in range(40)]
            assert await asyncio.gather(*asked) == [{"asked": {"echo": n}} for n in range(40)]

    run(main)


@pytest.mark.parametrize("isolation", LEVELS)
def test_synchronous_code_that_asks_itself_for_ever_is_stopped(store_url: str, run: Any, isolation: Any) -> None:
    class Narcissus(ServiceAgent):
        def info(self) -> AgentInfo:
            return AgentInfo("narcissus", ("mirror",))

        def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            return self.wait_for(self.send_request("narcissus", payload)) if payload["n"] else {"seen": 1}

    async def main() -> None:
        async with running(store_url, threads=2) as runtime:
            await runtime.services.start(Narcissus, isolation=isolation)
            assert (await refused(runtime.services.request("narcissus", {"n": 1}))).code == "CHAIN_TOO_DEEP"
            assert await runtime.services.request("narcissus", {"n": 0}) == {"seen": 1}

    run(main)


@pytest.mark.spec("S29")
@pytest.mark.parametrize("isolation", LEVELS)
def test_types_are_enforced(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            services = runtime.services
            await services.start(Echo, isolation=isolation)
            for kind in ("server", "client", "hybrid"):
                await services.start(Asker, {"type": kind, "name": kind}, isolation=isolation)
            payload = {"target": "echo", "payload": {"n": 1}}
            client = next(record for record in services.records() if record.name == "client")
            for target in ("client", client, client.instance):
                assert (await refused(services.request(target, payload))).code == "NOT_A_SERVER"
            data = {"header": header_of(client.uuid), "payload": payload}
            answer = await runtime.request(client.uuid, "request", data)
            assert (answer.data["failed"], answer.data["payload"]["code"]) == (True, "NOT_A_SERVER")
            assert {record.name for record in await services.discover("asker")} == {"server", "hybrid"}
            assert (await refused(services.request("server", payload))).code == "TYPE_NOT_ALLOWED"
            assert (await services.request("hybrid", payload))["asked"]["echo"] == 1

    run(main)


def header_of(uuid: str) -> dict[str, Any]:
    return {"from_uuid": "tester", "to_uuid": uuid, "event_uuid": "e1", "type": "request", "timestamp": 1}


@pytest.mark.spec("S7")
def test_the_reply_swaps_from_and_to_and_keeps_the_event(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            echo = await runtime.services.start(Echo)
            sent = {**header_of(echo.uuid), "timestamp": 1638360000000000}
            answer = await runtime.request(echo.uuid, "request", {"header": sent, "payload": {"n": 1}})
            header = answer.data["header"]
            assert (header["from_uuid"], header["to_uuid"]) == (echo.uuid, "tester")
            assert (header["event_uuid"], header["type"]) == ("e1", "response")
            assert header["timestamp"] > sent["timestamp"]

    run(main)


@pytest.mark.spec("S34")
@pytest.mark.parametrize("isolation", LEVELS)
def test_chains_circles_and_an_agent_that_asks_itself(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            ask = runtime.services.request
            for name in ("a", "b"):
                await runtime.services.start(Looper, {"name": name}, isolation=isolation)
            assert await ask("a", {"ring": ["b", "a"]}) == {"via": ["a", "b", "a"]}
            assert await ask("a", {"ring": ["a"]}) == {"via": ["a", "a"]}
            both = (ask("a", {"ring": ["b"], "pause": 0.1}), ask("b", {"ring": ["a"], "pause": 0.1}))
            one, other = tuple(await asyncio.gather(*both, return_exceptions=True))
            error, answer = (one, other) if isinstance(one, RequestError) else (other, one)
            assert isinstance(error, RequestError)
            assert error.code == "DEADLOCK"
            assert isinstance(answer, dict)
            deep = await refused(ask("a", {"for_ever": True}))
            assert deep.code == "CHAIN_TOO_DEEP"

    run(main)


@pytest.mark.spec("S42")
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_time_out_is_kept_and_what_waited_behind_never_runs(store_url: str, run: Any, isolation: Any) -> None:
    class Slow(ServiceAgent):
        def __init__(self, config: Any = None) -> None:
            self.begun: list[int] = []

        def info(self) -> AgentInfo:
            return AgentInfo("slow", ("slow",))

        async def process_request(self, payload: dict[str, Any]) -> Any:
            if "look" in payload:
                return {"begun": self.begun}
            self.begun.append(payload["n"])
            await asyncio.sleep(5)
            return None

    async def main() -> None:
        async with running(store_url) as runtime:
            ask = runtime.services.request
            await runtime.services.start(Slow, isolation=isolation)
            began = time.monotonic()
            first = asyncio.ensure_future(ask("slow", {"n": 1}, timeout=0.5))
            await asyncio.sleep(0.05)
            behind = asyncio.ensure_future(ask("slow", {"n": 2}, timeout=0.4))
            given_up = asyncio.ensure_future(ask("slow", {"n": 3}))
            await asyncio.sleep(0.1)
            given_up.cancel()
            with pytest.raises(ResponseTimeoutError) as error:
                await first
            assert getattr(error.value, "code", None) == "TIMEOUT"
            assert re.fullmatch(r"TIMEOUT: no answer from slow/[0-9a-f]{8}, within 0\.5 s", str(error.value))
            assert 0.4 <= time.monotonic() - began <= 0.6
            assert isinstance((await asyncio.gather(behind, return_exceptions=True))[0], ResponseTimeoutError)
            assert await ask("slow", {"look": True}) == {"begun": [1]}

    run(main)


def test_a_time_out_says_that_who_was_asked_is_paused(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Echo)
            await runtime.services.control(record, "pause")
            with pytest.raises(ResponseTimeoutError) as error:
                await runtime.services.request("echo", {"n": 1}, timeout=0.2)
            assert str(error.value) == f"TIMEOUT: no answer from {record.instance}, which is paused, within 0.2 s"

    run(main)


@pytest.mark.spec("S28")
@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("most", [1, 5, 20])
def test_replies_are_never_crossed(store_url: str, run: Any, rounds: Any, kind: str, most: int) -> None:
    class Async(Echo):
        concurrency = most

        async def process_request(self, payload: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            self.send_response(n=payload["n"], event=self.header.event_uuid if self.header else None)
            await asyncio.sleep(0)

    class Sync(Echo):
        concurrency = most

        def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
            self.send_response(n=payload["n"], event=self.header.event_uuid if self.header else None)
            return {"n": "late"}

    total = rounds(10_000, 400)

    async def caller(runtime: Any, first: int) -> None:
        for number in range(first, total, 20):
            found = await runtime.services.request("echo", {"n": number})
            assert found["n"] == number

    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.services.start(Async if kind == "async" else Sync)
            await asyncio.gather(*(caller(runtime, first) for first in range(20)))

    run(main)


@pytest.mark.spec("S47")
def test_a_task_reaches_a_service_by_its_capability(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.services.start(Echo)
            await runtime.services.start(SyncEcho)
            task_id = await runtime.submit_task("any", {"n": 5}, capability="test word")
            done = await runtime.wait_for_task(task_id, 20)
            assert done.result()["echo"] == 5
            task_id = await runtime.submit_task("any", {"do": "refuse"}, capability="test word")
            failed = await runtime.wait_for_task(task_id, 20)
            assert "INVALID_OPERATION: no such operation" in str(failed.error_message)

    run(main)


def test_schemas_are_checked_before_and_after(store_url: str, run: Any) -> None:
    class Strict(ServiceAgent):
        def info(self) -> AgentInfo:
            schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
            answer = {"type": "object", "required": ["double"]}
            return AgentInfo("strict", ("strict",), request_schema=schema, response_schema=answer)

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            return {"double": payload["n"] * 2} if payload["n"] else {}

    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Strict)
            assert record.request_schema["required"] == ["n"]
            assert await runtime.services.request("strict", {"n": 2}) == {"double": 4}
            with pytest.raises(ValidationFailed) as error:
                await runtime.services.request("strict", {"n": "x"})
            assert [each["path"] for each in error.value.details] == ["n"]
            assert (await refused(runtime.services.request("strict", {"n": 0}))).code == "EXECUTION_ERROR"

    run(main)


def test_bad_requests_are_refused_where_they_are_made(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, max_payload_mb=0.1) as runtime:
            ask = runtime.services.request
            echo = await runtime.services.start(Echo)
            assert (await refused(ask("echo", [1]))).code == "INVALID_FORMAT"  # type: ignore[arg-type]
            assert (await refused(ask("echo", {"n": {1}}))).code == "INVALID_FORMAT"
            assert (await refused(ask("echo", {"n": float("nan")}))).code == "INVALID_FORMAT"
            assert (await refused(ask("echo", {"n": "x" * 200_000}))).code == "TOO_LARGE"
            with pytest.raises(ValueError, match="timeout must be positive"):
                await ask("echo", {}, timeout=0)
            with pytest.raises(TypeError, match="a target is"):
                await ask(5, {})
            unknown = await refused(ask("ecko", {}))
            assert unknown.code == "NOT_FOUND"
            assert isinstance(unknown, AgentNotFoundError)
            assert (await refused(ask(Capability("dance"), {}))).code == "NO_WORKERS"
            malformed = await runtime.request(echo.uuid, "request", {"header": {"from_uuid": 5}, "payload": {}})
            assert malformed.data["payload"]["code"] == "INVALID_FORMAT"
            strange = await runtime.request(echo.uuid, "dance", "now")
            assert strange.data["payload"]["code"] == "INVALID_FORMAT"
            assert (await ask("echo", {"n": 1}))["echo"] == 1

    run(main)


@pytest.mark.spec("S49")
def test_info_names_all_faults_and_nothing_is_started(store_url: str, run: Any) -> None:
    class Bad(ServiceAgent):
        def info(self) -> dict[str, Any]:
            return {"capabilities": [f"w{n}" for n in range(65)], "type": "boss"}

    class Nameless(ServiceAgent):
        pass

    async def main() -> None:
        async with running(store_url) as runtime:
            with pytest.raises(InfoError) as error:
                await runtime.services.start(Bad)
            assert len(error.value.faults) == 3
            with pytest.raises(InfoError, match=r"has no info\(\)"):
                await runtime.services.start(Nameless)
            with pytest.raises(InfoError, match="is no ServiceAgent"):
                await runtime.services.start(dict)  # type: ignore[arg-type]
            assert runtime.services.records() == []
            assert runtime.list_agents() == []

    run(main)


def test_a_dead_instance_is_told_from_an_unknown_one(store_url: str, run: Any) -> None:
    from shoal.services import RestartPolicy

    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            record = await runtime.services.start(Echo, isolation="process", restart=RestartPolicy(mode="never"))
            busy = asyncio.ensure_future(runtime.services.request(record, {"pause": 20, "n": 1}))
            waiting = asyncio.ensure_future(runtime.services.request(record, {"n": 2}))
            await asyncio.sleep(0.1)
            import os
            import signal

            assert record.pid is not None
            os.kill(record.pid, signal.SIGKILL)
            for asked in (busy, waiting):
                error = await refused(asked)
                assert error.code == "AGENT_DIED"
                assert isinstance(error, DeadAgentError)
                assert error.exit_code == -9
            await until(lambda: runtime.services.records()[0].state == "failed")
            assert (await refused(runtime.services.request(record, {}))).code == "AGENT_DIED"
            assert (await refused(runtime.services.request("echo", {}))).code == "AGENT_DIED"
            assert await runtime.services.discover("echo") == []

    run(main)


def test_messages_of_other_kinds_do_not_disturb(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            echo = await runtime.services.start(Echo)
            await runtime.send_message([echo.uuid], "event", {"any": 1})
            await runtime.send_message([echo.uuid], "note", ["odd"])
            assert (await runtime.services.request("echo", {"n": 1}))["echo"] == 1
            assert isinstance(await runtime.request(echo.uuid, "x", None), AgentMessage)

    run(main)
