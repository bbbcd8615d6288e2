"""TLS and credentials of PostgreSQL, by URL and by variables: who gets in, who does not, and no password in any error.

The server of the wheel was built without TLS, so it stands behind a front that speaks it. Where a PostgreSQL that was
built with it is installed, the same is done with ``ssl = on`` there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest

from shoal import AgentRuntime
from shoal.bus import open_bus
from shoal.cluster import PostgresServer
from shoal.errors import BusError, ConfigError, StoreError
from shoal.kernel.clock import RealClock
from shoal.store import open_store
from tests.support.certificates import Authority, Pair
from tests.support.engines import UNSYNCED, fresh_folder
from tests.support.tlsfront import TlsFront

_INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
# The database ``picky`` wants to know its clients by a certificate, beside the password.
_HBA = """hostssl picky all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
hostssl postgres all 127.0.0.1/32 scram-sha-256
"""


class Secured(NamedTuple):
    """A server that lets nobody in without TLS, and the files of its clients."""

    ports: dict[str, int]  # by database
    user: str
    password: str
    authority: Authority
    stranger: Authority
    client: Pair
    strange_client: Pair

    def url(
        self, *options: str, database: str = "postgres", password: str | None = None, host: str = "127.0.0.1"
    ) -> str:
        """Return a URL of it, with *options* such as ``sslmode=require``."""
        secret = self.password if password is None else password
        who = f"{self.user}:{secret}" if secret else self.user
        return f"postgresql://{who}@{host}:{self.ports[database]}/{database}?{'&'.join(options)}"

    @property
    def known(self) -> str:
        """The option that names who has signed the certificate of the server."""
        return f"sslrootcert={self.authority.file}"


@pytest.fixture(scope="module", params=["front", *(["installed"] if _INSTALLED else [])])
def secured(request: pytest.FixtureRequest) -> Iterator[Secured]:
    """A PostgreSQL that speaks TLS."""
    folder = fresh_folder()
    folder.chmod(0o755)
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    pair = authority.signed("server", host="localhost")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        if request.param == "front":
            server, ports = _behind_fronts(stack, folder, authority, pair)
        else:
            server = _installed(stack, folder, authority, pair)
            ports = dict.fromkeys(("postgres", "picky"), server.port or 0)
        parts = urlsplit(server.url)
        assert parts.username is not None and parts.password is not None
        clients = authority.signed(parts.username), stranger.signed(f"strange-{parts.username}")
        yield Secured(ports, parts.username, parts.password, authority, stranger, *clients)


def _behind_fronts(
    stack: ExitStack, folder: Path, authority: Authority, pair: Pair
) -> tuple[PostgresServer, dict[str, int]]:
    server = PostgresServer(folder / "plain", settings=UNSYNCED)
    _serve(stack, server)
    asyncio.run(_make_picky(server))
    assert server.port is not None
    ports = {}
    for database in ("postgres", "picky"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        if database == "picky":
            context.load_verify_locations(authority.file)
            context.verify_mode = ssl.CERT_REQUIRED
        ports[database] = stack.enter_context(TlsFront(server.port, context)).port
    return server, ports


def _installed(stack: ExitStack, folder: Path, authority: Authority, pair: Pair) -> PostgresServer:
    """Start the newest one that is installed: without TLS, to prepare it, and then with it."""
    programs = _INSTALLED[-1].parent
    server = PostgresServer(folder / "installed", programs=programs, settings=UNSYNCED)

    async def prepare() -> None:
        await server.start()
        await _make_picky(server)
        await server.stop()

    asyncio.run(prepare())
    data = server.folder / "data"
    owner = data.stat()
    for source, name in ((authority.file, "ca.pem"), (pair.cert, "server.pem"), (pair.key, "server.key")):
        shutil.copy(source, data / name)
        os.chown(data / name, owner.st_uid, owner.st_gid)
    (data / "server.key").chmod(0o600)
    (data / "pg_hba.conf").write_text(_HBA)
    settings = {"ssl": "on", "ssl_ca_file": "ca.pem", "ssl_cert_file": "server.pem", "ssl_key_file": "server.key"}
    secured = PostgresServer(server.folder, programs=programs, settings=UNSYNCED | settings)
    _serve(stack, secured)
    return secured


def _serve(stack: ExitStack, server: PostgresServer) -> None:
    asyncio.run(server.start())
    stack.callback(lambda: asyncio.run(server.stop()))


async def _make_picky(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE DATABASE picky")
    await connection.close()


async def _double(task: Any) -> int:
    return 2 * int(task.input_data["n"])


async def _works(url: str) -> None:
    """Check that tasks are done by a node whose store and bus are at *url*."""
    async with AgentRuntime(store=url) as runtime:
        await runtime.start_agent(await runtime.register_agent("double", _double, capabilities=["math"]))
        task = await runtime.submit_task("double", {"n": 21}, capability="math")
        assert (await runtime.wait_for_task(task, timeout_seconds=30)).output_data == 42
    async with AgentRuntime(store=url) as runtime:
        await runtime.register_agent("double", _double)  # the name is known: it is taken up again


async def _refused(url: str, password: str) -> tuple[str, str]:
    """Return the texts with which store and bus at *url* are refused; *password* is in neither, nor in what caused them."""
    with pytest.raises(StoreError) as of_store:
        await open_store(url).open()
    with pytest.raises(BusError) as of_bus:
        await open_bus(url, clock=RealClock()).start("here")
    for caught in (of_store, of_bus):
        error: BaseException | None = caught.value
        while error is not None:
            assert password not in f"{error!r} {getattr(error, '__notes__', '')}"
            error = error.__cause__ or error.__context__
    return str(of_store.value), str(of_bus.value)


def test_a_server_that_is_known_by_its_certificate(secured: Secured, run: Callable[..., Any]) -> None:
    run(lambda: _works(secured.url("sslmode=verify-full", secured.known, "schema=full", host="localhost")))


@pytest.mark.parametrize("mode", ["require", "verify-ca"])
def test_less_is_checked_when_less_is_wanted(secured: Secured, mode: str, run: Callable[..., Any]) -> None:
    run(lambda: _works(secured.url(f"sslmode={mode}", secured.known, "schema=less")))


def test_what_the_url_does_not_say_is_taken_from_variables(
    secured: Secured, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", secured.password)
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(secured.authority.file))
    run(lambda: _works(secured.url("schema=variables", password="")))


def test_the_password_stands_in_a_file(secured: Secured, run: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:{secured.ports['postgres']}:*:{secured.user}:{secured.password}\n")
    file.chmod(0o600)
    run(lambda: _works(secured.url("sslmode=require", f"passfile={file}", "schema=file", password="")))


def test_a_server_that_wants_to_know_its_clients(secured: Secured, run: Callable[..., Any]) -> None:
    mine, strange = (
        [f"sslcert={pair.cert}", f"sslkey={pair.key}"] for pair in (secured.client, secured.strange_client)
    )
    whole = ("sslmode=verify-full", secured.known, "schema=clients")

    async def main() -> None:
        await _works(secured.url(*whole, *mine, database="picky"))
        for options in (whole, (*whole, *strange)):
            texts = await _refused(secured.url(*options, database="picky"), secured.password)
            assert all(": " in text for text in texts), texts

    run(main)


def test_another_authority_is_refused(secured: Secured, run: Callable[..., Any]) -> None:
    async def main() -> None:
        url = secured.url("sslmode=verify-full", f"sslrootcert={secured.stranger.file}")
        for text in await _refused(url, secured.password):
            assert "cannot be reached: " in text and "certificate verify failed" in text

    run(main)


def test_another_host_than_the_certificate_says_is_refused(secured: Secured, run: Callable[..., Any]) -> None:
    async def main() -> None:
        url = secured.url("sslmode=verify-full", secured.known, host="127.0.0.2")
        for text in await _refused(url, secured.password):
            assert "127.0.0.2" in text, text

    run(main)


def test_a_wrong_password_over_tls(secured: Secured, run: Callable[..., Any]) -> None:
    async def main() -> None:
        url = secured.url("sslmode=require", password="wrong-one")
        for text in await _refused(url, "wrong-one"):
            assert "password authentication failed" in text

    run(main)


def test_a_server_without_tls_is_refused_when_it_is_wanted(postgres_url: str, run: Callable[..., Any]) -> None:
    async def main() -> None:
        password = urlsplit(postgres_url).password or "none"
        for text in await _refused(f"{postgres_url}?sslmode=require", password):
            assert "cannot be reached: " in text and "rejected SSL upgrade" in text
        for options in ("sslmode=verify-full&sslrootcert=/no/such/ca.pem", "sslmode=verifyfull"):
            for opened in (open_store, lambda url: open_bus(url, clock=RealClock())):
                with pytest.raises(ConfigError, match=r"there is no file '/no/such/ca.pem'|sslmode must be one of"):
                    opened(f"{postgres_url}?{options}")

    run(main)
