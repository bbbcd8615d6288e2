"""``RegistryClient``: what it tells and hides, and what it does while the registry is away."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from shoal.errors import ConfigError, InfoError, NotFound, RegistryUnavailableError, RequestError
from shoal.services import Capability, RegistryClient
from shoal.services.leases import Registration
from shoal.services.registry import serve_registry
from tests.support.registries import TOKENS, info, registry, served
from tests.support.runtimes import running
from tests.support.servers import Echo


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def stands(thing: RegistryClient | Registration) -> bool:
    return thing.registered


def test_an_empty_token_is_none(store_url: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with registry(store_url, tokens=TOKENS) as (_, http):
            monkeypatch.setenv("SHOAL_REGISTRY_TOKEN", "")
            async with RegistryClient(str(http.base_url)) as client:
                with pytest.raises(RequestError, match="UNAUTHORIZED: a token is needed"):
                    await client.fetch_all()

    run(main)


def test_all_that_a_client_can_do(store_url: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with registry(store_url, tokens=TOKENS) as (runtime, http):
            monkeypatch.setenv("SHOAL_REGISTRY_URL", str(http.base_url))
            monkeypatch.setenv("SHOAL_REGISTRY_TOKEN", "rules-1")
            record = await runtime.services.start(Echo)
            async with RegistryClient() as client:
                assert not stands(client)
                mine = await client.register(info("shell", "Echo", metadata={"at": "home"}))
                assert stands(client) and stands(mine) and mine.uuid and mine.ttl == 30
                assert await mine.wait() == mine.uuid
                found = await client.discover("echo")
                assert [each.uuid for each in found] == [record.uuid, mine.uuid]
                assert [each.uuid for each in await client.discover(["echo", "test word"])] == [record.uuid]
                assert [each.uuid for each in await client.discover("echo", type="hybrid", limit=1)] == [mine.uuid]
                assert await client.discover("nothing") == []
                assert (await client.get(mine.uuid)).metadata == {"at": "home"}
                assert (await client.get(record.instance)).uuid == record.uuid
                assert len(await client.fetch_all()) == 2
                assert (await client.renew(mine.uuid, load=0.25, health=0)).load == 0.25
                assert (await client.health(mine.uuid))["ok"] is False
                assert (await client.health(record.uuid))["ok"] is True
                assert (await client.health())["agent_count"] == 2
                assert (await client.request(record, {"n": 7}))["echo"] == 7
                assert await client.control(record.instance, "shout", "aha") == "AHA"
                with pytest.raises(RequestError) as refused:
                    await client.request("echo", {"do": "refuse"})
                assert (refused.value.code, refused.value.details) == ("INVALID_OPERATION", {"known": ["echo"]})
                with pytest.raises(RequestError, match="UNAUTHORIZED"):
                    await client.withdraw(record.uuid)
                await client.withdraw(mine.uuid)
                assert not stands(client) and [mine.uuid] == [None]
                for call in (client.get("nobody"), client.health("nobody"), client.request("nobody", {})):
                    with pytest.raises(NotFound):
                        await call
            async with RegistryClient(token="reads-1") as reader:
                with pytest.raises(RequestError, match="UNAUTHORIZED"):
                    await reader.register(info("shell", "echo"))
                assert not stands(reader)

    run(main)


def test_all_pages_are_fetched(store_url: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr("shoal.services.client.PAGE", 2)
        async with registry(store_url) as (_, http), RegistryClient(str(http.base_url)) as client:
            for n in range(5):
                await client.register(info(f"shell{n}", "echo"))
            assert [each.name for each in await client.fetch_all()] == [f"shell{n}" for n in range(5)]

    run(main)


def test_what_cannot_be_is_refused_at_the_call(run: Any) -> None:
    async def main() -> None:
        wrong: list[dict[str, Any]] = [
            {"retries": 0},
            {"retries": True},
            {"retry_delay": -1},
            {"retry_delay": float("nan")},
            {"base_url": "ftp://x"},
            {"base_url": "http://user:word@x"},
        ]
        for bad in wrong:
            with pytest.raises(ValueError, match="must"):
                RegistryClient(**bad)
        assert issubclass(ConfigError, ValueError)
        async with RegistryClient("http://127.0.0.1:9", retries=1) as client:
            with pytest.raises(InfoError):
                await client.register({"name": "", "capabilities": []})
            with pytest.raises(ValueError, match="background"):
                await client.register(info("shell", "echo"), register="later")
            with pytest.raises(TypeError):
                await client.request(Capability("echo"), {})

    run(main)


@pytest.mark.spec("S6", "S49")
def test_a_registry_that_comes_late_is_reached_by_the_third_try(store_url: str, run: Any) -> None:
    async def main() -> None:
        port = free_port()
        async with running(store_url) as runtime, RegistryClient(f"http://127.0.0.1:{port}") as client:
            began = time.monotonic()

            async def late() -> Any:
                await asyncio.sleep(1.5)
                return await serve_registry(runtime.services, "127.0.0.1", port, None)

            coming = asyncio.create_task(late())
            registration = await client.register(info("shell", "echo"))
            assert 2.0 <= time.monotonic() - began < 10
            assert registration.uuid and stands(client)
            assert [each.uuid for each in runtime.services.records()] == [registration.uuid]
            await coming

    run(main)


@pytest.mark.spec("S6", "S49")
def test_a_registry_that_is_down_for_good_is_an_error(run: Any) -> None:
    async def main() -> None:
        port = free_port()
        async with RegistryClient(f"http://127.0.0.1:{port}") as client:
            began = time.monotonic()
            with pytest.raises(RegistryUnavailableError) as found:
                await client.register(info("shell", "echo"))
            assert found.value.attempts == 3
            assert 2.0 <= time.monotonic() - began < 10
            assert not stands(client)
        async with RegistryClient(f"http://127.0.0.1:{port}", retry_delay=0.01) as client:
            registration = await client.register(info("shell", "echo"), register="background")
            assert (registration.registered, registration.uuid) == (False, None)
            with pytest.raises(RegistryUnavailableError):
                await client.discover("echo")
            assert not stands(client)

    run(main)


@pytest.mark.spec("S49")
def test_in_the_background_it_registers_renews_and_comes_again(store_url: str, run: Any) -> None:
    async def main() -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        async with running(store_url) as runtime, RegistryClient(url, retry_delay=0.02) as client:
            mine = await client.register(info("shell", "echo"), register="background")
            assert not stands(mine) and not stands(client)
            await asyncio.sleep(0.05)
            async with served(runtime, ttl=1.6, port=port):
                first = await mine.wait()
                async with asyncio.timeout(20):
                    for _ in range(24):  # beyond a lease
                        await asyncio.sleep(0.1)
                        assert [each.uuid for each in await runtime.services.discover("echo")] == [first]
            assert stands(mine), "while the registry is away, it is what it was as far as is known"
            async with asyncio.timeout(20):
                while await runtime.services.discover("echo"):
                    await asyncio.sleep(0.05)
            async with served(runtime, ttl=30, port=port), asyncio.timeout(20):
                while not (found := await runtime.services.discover("echo")):
                    await asyncio.sleep(0.05)
                assert await mine.wait() == found[0].uuid != first
                await client.withdraw(found[0].uuid)
                assert not stands(mine) and await runtime.services.discover("echo") == []

    run(main)


def test_in_the_background_what_does_not_pass_is_told(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with (
            registry(store_url, tokens=TOKENS) as (_, http),
            RegistryClient(str(http.base_url), "reads-1") as client,
        ):
            mine = await client.register(info("shell", "echo"), register="background")
            with pytest.raises(RequestError, match="UNAUTHORIZED"):
                await mine.wait()
            assert not stands(mine) and not stands(client)

    run(main)


def test_what_is_no_registry_is_none(run: Any) -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            asked.append(1)

        asked: list[int] = []
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with RegistryClient(url, retry_delay=0.01) as client:
                with pytest.raises(RegistryUnavailableError, match="no registry answers"):
                    await client.discover("echo")
                assert len(asked) == 3
                with pytest.raises(RegistryUnavailableError):
                    await client.request("echo", {})
                assert len(asked) == 4, "what may have been done is not done again"

    run(main)


@pytest.mark.parametrize(
    "body", ["<html>Welcome</html>", "[]", '{"uuid": "", "owner_token": "a", "ttl": 1}', "", "null"]
)
def test_what_answers_well_but_is_no_registry_is_one_that_is_away(body: str, run: Any) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with RegistryClient(url, retries=1, retry_delay=0) as client:
            asked: list[Any] = [client.register(info("shell", "echo")), client.discover("a"), client.get("a")]
            if not body.startswith("{"):  # any object may be the answer of a service
                asked += [client.health("a"), client.request("a", {}), client.control("a", "status")]
            for asking in asked:
                with pytest.raises(RegistryUnavailableError, match="no registry answers at"):
                    await asking
            waiting = await client.register(info("shell", "echo"), register="background")
            await asyncio.sleep(0.1)
            assert len(client._keepers) == 1, "it is tried again, whatever answers now"
            assert not waiting.registered
        server.close()

    run(main)
