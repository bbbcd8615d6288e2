"""Who may use the registry over HTTP, how much of it, and what it says to what cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from typing import Any

import httpx2
import pytest

from shoal.errors import ConfigError, MissingExtraError, RuntimeNotStartedError
from shoal.services import RegistryClient, registry_app
from shoal.services.http.limits import Rates
from tests.support.registries import TOKENS, as_, info, registry, served
from tests.support.runtimes import running
from tests.support.servers import Echo


async def status_of(url: str) -> int:
    async with httpx2.AsyncClient(trust_env=False) as http:
        return (await http.get(f"{url}/health")).status_code


@pytest.mark.spec("S41", "S49")
def test_a_token_says_what_its_bearer_may(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url, tokens=TOKENS) as (runtime, http):
            record = await runtime.services.start(Echo)
            at = f"/agents/{record.uuid}"
            calls: list[tuple[str, str, Any]] = [
                ("GET", "/health", None),
                ("GET", f"{at}/health", None),
                ("POST", "/register", info("shell", "echo")),
                ("POST", f"{at}/request", {"payload": {"n": 1}}),
                ("POST", f"{at}/control", {"action": "status"}),
            ]
            for token, allowed in (("reads-1", 2), ("writes-1", 4), ("rules-1", 5)):
                answers = [await http.request(verb, path, json=body, headers=as_(token)) for verb, path, body in calls]
                assert [answer.is_success for answer in answers] == [n < allowed for n in range(5)], token
                assert all(answer.status_code == 403 for answer in answers[allowed:])
            before = len(runtime.services.records())
            for headers in ({}, as_("reads-2"), {"authorization": "Basic reads-1"}, {"authorization": "reads-1"}):
                for verb, path, body in calls:
                    answer = await http.request(verb, path, json=body, headers=headers)
                    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
                    assert answer.headers["www-authenticate"] == "Bearer"
            assert len(runtime.services.records()) == before
            assert (await http.get("/health", params={"token": "rules-1"})).status_code == 401

    run(main)


@pytest.mark.spec("S41")
def test_without_tokens_this_machine_may_read_and_register(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (runtime, http):
            record = await runtime.services.start(Echo)
            assert (await http.post("/register", json=info("shell", "echo"))).status_code == 201
            for path, body in (("request", {"payload": {}}), ("control", {"action": "shutdown"})):
                for headers in ({}, as_("rules-1")):
                    answer = await http.post(f"/agents/{record.uuid}/{path}", json=body, headers=headers)
                    assert answer.status_code == 401
            assert runtime.services.records()[0].state == "running"
            for headers in (
                {"host": "registry.example"},
                {"host": "127.0.0.1.example"},
                {"origin": "http://page.example"},
                {"origin": "null"},
            ):
                answer = await http.post("/register", json=info("page", "echo"), headers=headers)
                assert answer.status_code == 403
            for headers in ({"host": "localhost:4567"}, {"host": "[::1]"}, {"origin": "http://localhost:3000"}):
                assert (await http.get("/health", headers=headers)).status_code == 200

    run(main)


@pytest.mark.spec("S41")
def test_it_is_bound_to_other_than_loopback_with_tokens_only(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            for host in ("0.0.0.0", "::", ""):
                for tokens in (None, dict[str, str]()):
                    with pytest.raises(ConfigError, match="loopback only"):
                        await runtime.services.serve_http(host, 0, tokens)
            serving = await runtime.services.serve_http("0.0.0.0", 0, TOKENS)
            six = await runtime.services.serve_http("::1", 0)
            assert six.url == f"http://[::1]:{six.port}" and await status_of(six.url) == 200
            url = f"http://127.0.0.1:{serving.port}/health"
            async with httpx2.AsyncClient(trust_env=False) as http:
                assert (await http.get(url)).status_code == 401
                assert (await http.get(url, headers=as_("reads-1"))).status_code == 200
            app = registry_app(runtime)
            elsewhere = httpx2.ASGITransport(app=app, client=("192.0.2.1", 1))
            async with httpx2.AsyncClient(transport=elsewhere, base_url="http://127.0.0.1") as http:
                assert (await http.get("/health")).status_code == 403

    run(main)


def test_tokens_that_cannot_be_are_refused_and_not_shown(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            tokens: Any = {"my secret": "read", "hunter2": "king", "": "read"}
            with pytest.raises(ConfigError) as found:
                await runtime.services.serve_http("127.0.0.1", 0, tokens)
            assert len(found.value.faults) == 3
            assert "secret" not in str(found.value) and "hunter2" not in str(found.value)
            for port in (-1, 65_536, "80", True):
                with pytest.raises(ConfigError, match="port"):
                    await runtime.services.serve_http("127.0.0.1", port)  # type: ignore[arg-type]
            for ttl in (0, -1, float("nan"), float("inf"), True):
                with pytest.raises(ValueError, match="ttl"):
                    registry_app(runtime, ttl=ttl)

    run(main)


def test_no_secret_is_logged(store_url: str, run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level(logging.DEBUG)
        async with registry(store_url, tokens=TOKENS) as (_, http):
            client = RegistryClient(str(http.base_url), "rules-1")
            async with client:
                registration = await client.register(info("shell", "echo"))
                secret = registration.owner_token
                assert secret is not None
                await client.renew(registration.uuid or "")
                told = f"{client!r} {registration!r} {caplog.text}"
            (record,) = (await http.get("/", headers=as_("reads-1"))).json()
            assert secret not in told and "rules-1" not in told
            assert secret not in str(record)

    run(main)


BAD: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/register", b"{", 400, "INVALID_FORMAT"),
    ("POST", "/register", b"", 400, "INVALID_FORMAT"),
    ("POST", "/register", b"\xff\xfe", 400, "INVALID_FORMAT"),
    ("POST", "/register", b'[{"name": "a"}]', 400, "INVALID_FORMAT"),
    ("POST", "/register", b"[" * 100_000, 400, "INVALID_FORMAT"),
    ("POST", "/agents", b'{"name": "a", "capabilities": ["b"], "type": NaN}', 400, "INVALID_FORMAT"),
    ("POST", "/register", b'{"name": "a", "capabilities": ["b"], "address": "services:node"}', 400, "VALIDATION_ERROR"),
    ("POST", "/register", b'{"name": "a", "capabilities": ["b"], "address": 5}', 400, "VALIDATION_ERROR"),
    ("POST", "/register", b" " * (2 * 1024 * 1024), 413, "TOO_LARGE"),
    ("POST", "/register", b" " * (9 * 1024 * 1024), 413, "TOO_LARGE"),
    ("GET", "/agents?limit=0", None, 400, "VALIDATION_ERROR"),
    ("GET", "/agents?limit=1001", None, 400, "VALIDATION_ERROR"),
    ("GET", "/?offset=-1", None, 400, "VALIDATION_ERROR"),
    ("GET", "/discover?capability=a&limit=x", None, 400, "VALIDATION_ERROR"),
    ("GET", "/agents/discover?capabilities=a&type=king", None, 400, "VALIDATION_ERROR"),
    ("PUT", "/agents/{uuid}/lease", b'{"health": 101}', 400, "VALIDATION_ERROR"),
    ("PUT", "/agents/{uuid}/lease", b'{"mood": "good"}', 400, "VALIDATION_ERROR"),
    ("PUT", "/agents/{uuid}/lease", b'{"state": "dead"}', 400, "VALIDATION_ERROR"),
    ("PUT", "/agents/{uuid}/lease", b"7", 400, "INVALID_FORMAT"),
    ("POST", "/agents/{uuid}/request", b"{}", 400, "VALIDATION_ERROR"),
    ("POST", "/agents/{uuid}/request", b'{"payload": {}, "timeout": -1}', 400, "VALIDATION_ERROR"),
    ("POST", "/agents/{uuid}/request", b'{"payload": {}, "timeout": true, "more": 1}', 400, "VALIDATION_ERROR"),
    ("POST", "/agents/{uuid}/control", b'{"data": 1}', 400, "VALIDATION_ERROR"),
    ("POST", "/agents/{uuid}/request", b'{"payload": {}}', 404, "NOT_FOUND"),
    ("POST", "/agents/{uuid}/control", b'{"action": "pause"}', 404, "NOT_FOUND"),
    ("GET", "/nowhere", None, 404, "NOT_FOUND"),
    ("GET", "/agents/", None, 404, "NOT_FOUND"),
    ("GET", "/agents/a%00b", None, 404, "NOT_FOUND"),
    ("DELETE", "/discover", None, 405, "INVALID_OPERATION"),
]


@pytest.mark.spec("S49")
@pytest.mark.parametrize(("method", "path", "body", "status", "code"), BAD, ids=[f"{n}" for n in range(len(BAD))])
def test_what_cannot_be_is_refused(
    store_url: str, run: Any, method: str, path: str, body: Any, status: int, code: str
) -> None:
    async def main() -> None:
        async with registry(store_url, tokens=TOKENS) as (runtime, http):
            made = (await http.post("/register", json=info("shell", "echo"), headers=as_("rules-1"))).json()
            before = runtime.services.records()
            answer = await http.request(
                method,
                path.format(**made),
                content=body,
                headers=as_("rules-1", made["owner_token"]),
            )
            told = answer.json()
            assert (answer.status_code, told["code"]) == (status, code), told
            assert told["error"] and told.keys() >= {"error", "code", "details"}
            assert runtime.services.records() == before

    run(main)


@pytest.mark.spec("S49")
def test_all_faults_of_a_registration_are_told(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (runtime, http):
            body = {"name": "", "capabilities": ["a"] * 65, "type": "king", "address": "a b", "colour": "red"}
            answer = await http.post("/register", json=body)
            assert answer.status_code == 400
            told = answer.json()
            assert told["code"] == "VALIDATION_ERROR"
            assert {fault["path"] for fault in told["details"]} == body.keys()
            assert runtime.services.records() == []

    run(main)


@pytest.mark.spec("S49")
def test_markup_is_stored_as_it_is(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (_, http):
            name, word = "<script>alert(1)</script>", "\x1b[2J<b>"
            made = (await http.post("/agents", json=info(name, word))).json()
            answer = await http.get(f"/agents/{made['uuid']}")
            assert (answer.json()["name"], answer.json()["capabilities"]) == (name, [word.lower()])
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert b"\x1b" not in answer.content

    run(main)


def test_two_hundred_registrations_in_a_second(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url) as (_, http):
            asked = [http.post("/register", content=b"{}") for _ in range(600)]
            statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
            assert set(statuses) == {400, 429}
            answer = await http.get("/health")
            assert answer.status_code == 200, "reading has a limit of its own"

    run(main)


@pytest.mark.spec("S49")
def test_no_second_has_more_than_the_limit() -> None:
    rates = Rates()
    assert [rates.admit("a", write=True, now=10.95 + n / 1e4) for n in range(200)] == [n < 100 for n in range(200)]
    assert not rates.admit("a", write=True, now=11.9)
    assert rates.admit("b", write=True, now=11.9)
    assert rates.admit("a", write=True, now=12.1)
    assert sum(rates.admit("a", write=False, now=12.1) for _ in range(3000)) == 2000


def test_all_addresses_of_a_network_of_ipv6_are_one_caller() -> None:
    rates = Rates()
    admitted = [rates.admit(f"2001:db8:1:2::{n:x}", write=True, now=1.0) for n in range(200)]
    assert admitted == [n < 100 for n in range(200)]
    assert rates.admit("2001:db8:1:3::1", write=True, now=1.0)
    assert sum(rates.admit(f"::ffff:10.0.0.{n}", write=True, now=1.0) for n in range(200)) == 200
    assert not all(rates.admit(address, write=True, now=1.0) for address in ["10.0.0.1", "::ffff:10.0.0.1"] * 60)
    assert rates.admit("fe80::1%eth0", write=True, now=1.0) and rates.admit("no:address", write=True, now=1.0)


def test_the_registry_ends_with_its_runtime(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            serving = await runtime.services.serve_http("localhost", 0)
            assert await status_of(serving.url) == 200
            with pytest.raises(OSError, match="in use"):
                await runtime.services.serve_http("127.0.0.1", serving.port)
        with pytest.raises(httpx2.ConnectError):
            await status_of(serving.url)
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", serving.port))
        transport = httpx2.ASGITransport(app=registry_app(runtime), client=("127.0.0.1", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            answer = await http.get("/health")
            assert (answer.status_code, answer.json()["code"]) == (503, "REGISTRY_UNAVAILABLE")

    run(main)


@pytest.mark.parametrize(
    "sent", [b"", b"GET /hea", b"POST /register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{"]
)
def test_a_caller_that_never_ends_holds_up_nothing(store_url: str, run: Any, sent: bytes) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            serving = await runtime.services.serve_http("127.0.0.1", 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
            writer.write(sent)
            assert await status_of(serving.url) == 200
            await asyncio.sleep(0.05)
        async with asyncio.timeout(2):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    run(main)


def test_a_closed_registry_leaves_the_runtime_alone(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            async with served(runtime) as (serving, _):
                assert await status_of(serving.url) == 200
                await serving.close()
                with pytest.raises(httpx2.ConnectError):
                    await status_of(serving.url)
            assert await runtime.services.discover("echo") == []

    run(main)


def test_without_the_extra_it_says_what_to_install(store_url: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            for name in ("starlette.requests", "uvicorn", "httpx2", "starlette.applications", "starlette.exceptions"):
                monkeypatch.setitem(sys.modules, name, None)
            for name in [name for name in sys.modules if name.startswith("shoal.services.http")]:
                monkeypatch.delitem(sys.modules, name)
            with pytest.raises(MissingExtraError, match="'http'"):
                registry_app(runtime)
            with pytest.raises(MissingExtraError, match="'http'"):
                await runtime.services.serve_http("127.0.0.1", 0)
            with pytest.raises(MissingExtraError, match="'http'"):
                RegistryClient()

    run(main)


def test_a_runtime_that_does_not_run_serves_nothing(runtime: Any, run: Any) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeNotStartedError):
            await runtime.services.serve_http("127.0.0.1", 0)

    run(main)
