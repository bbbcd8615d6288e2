"""Callers of the registry that say nothing, take nothing, leave, or call themselves by another's name."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from shoal.services import AgentInfo, ServiceAgent
from shoal.services.http import callers
from tests.support.registries import TOKENS, as_, info, registry, served
from tests.support.runtimes import running, until
from tests.support.servers import Echo

HEAD = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"


@pytest.mark.parametrize("said", [[], [HEAD], [HEAD + b"\r\n", b"", HEAD]], ids=["nothing", "half", "half of a second"])
def test_who_does_not_come_to_the_point_is_hung_up_on(
    store_url: str, run: Any, monkeypatch: pytest.MonkeyPatch, said: list[bytes]
) -> None:
    monkeypatch.setattr(callers, "HEAD_SECONDS", 0.4)

    async def main() -> None:
        async with running(store_url) as runtime, served(runtime) as (serving, http):
            reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
            for part in said:
                writer.write(part)
                await asyncio.sleep(0.1)
            async with asyncio.timeout(3):
                while await reader.read(1000):
                    pass
            writer.close()
            assert (await http.get("/health")).status_code == 200

    run(main)


def test_who_takes_nothing_is_hung_up_on(store_url: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "TAKE_SECONDS", 0.4)

    async def main() -> None:
        async with running(store_url) as runtime, served(runtime) as (serving, http):
            body = info("large", "large", metadata={"text": "x" * 900_000})
            for _ in range(8):
                assert (await http.post("/register", json=body)).status_code == 201
            _, writer = await asyncio.open_connection("127.0.0.1", serving.port, limit=1000)
            writer.write(HEAD.replace(b"/health", b"/agents") + b"\r\n")
            connections = serving._server.server_state.connections
            await until(lambda: len(connections) > 1)
            async with asyncio.timeout(10):
                while len(connections) > 1:
                    await asyncio.sleep(0.05)
            writer.close()

    run(main)


class Patient(ServiceAgent):
    """Holds the first request until it is let go."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.ran: list[int] = []
        self.go = asyncio.Event()

    def info(self) -> AgentInfo:
        return AgentInfo("patient", ("patient",))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.ran.append(payload["n"])
        await self.go.wait()
        return {"n": payload["n"]}


def test_who_has_gone_has_withdrawn_what_had_not_begun(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime, served(runtime, tokens=TOKENS) as (serving, http):
            agent = Patient()
            await runtime.services.start(agent)
            writers = []
            for number in range(3):
                body = json.dumps({"payload": {"n": number}, "timeout": 20}).encode()
                _, writer = await asyncio.open_connection("127.0.0.1", serving.port)
                head = f"POST /agents/patient/request HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
                writer.write(f"{head}authorization: Bearer rules-1\r\n\r\n".encode() + body)
                writers.append(writer)
            await until(lambda: bool(agent.ran) and runtime.services.records()[0].load == 3)
            for writer in writers[1:]:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
            await until(lambda: runtime.services.records()[0].load == 1)
            agent.go.set()
            more = {"payload": {"n": 9}}
            answer = await http.post("/agents/patient/request", json=more, headers=as_("rules-1"))
            assert answer.json() == {"n": 9}
            assert len(agent.ran) == 2, "only who stayed was served"
            writers[0].close()

    run(main)


def test_nobody_is_found_in_the_place_of_another(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (runtime, http):
            record = await runtime.services.start(Echo)
            other = (await http.post("/agents", json=info("shell", "echo"))).json()
            for taken in (record.instance, record.uuid, other["instance"], other["uuid"]):
                if len(taken) <= 90:
                    answer = await http.post("/register", json=info(taken, "echo", exclusive=True))
                    assert (answer.status_code, answer.json()["code"]) == (409, "AGENT_EXISTS"), taken
            for uuid, name in ((record.uuid, record.instance), (other["uuid"], other["instance"])):
                assert (await http.get(f"/agents/{name}")).json()["uuid"] == uuid

    run(main)


def test_who_came_first_from_outside_does_not_hide_an_agent_of_a_node(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (runtime, http):
            assert (await http.post("/register", json=info("echo_0", "echo", exclusive=True))).status_code == 201
            record = await runtime.services.start(Echo, instance="echo_0")
            assert (await http.get("/agents/echo_0")).json()["uuid"] == record.uuid
            assert (await http.get("/agents/echo_0/health")).json()["state"] == "running"

    run(main)
