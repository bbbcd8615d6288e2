"""A look at the server of a bus: who is let in is told where it is and what it takes, and nothing is left there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from shoal.bus.trial import try_bus
from shoal.errors import BusError, ConfigError
from shoal.kernel.clock import RealClock
from tests.lifecycle.bus.servers import served

Run = Callable[..., Any]
GUARDED = """
max_payload: 70000
authorization { users: [ { user: me, password: secret, permissions: { subscribe: "mine.>", publish: "mine.>" } } ] }
"""


def test_a_nats_server_tells_its_limit_to_whom_it_lets_in(run: Run) -> None:
    async def main() -> None:
        async with served(GUARDED) as place:
            found = await try_bus(f"nats://me:secret@{place}/mine", RealClock())
            assert found is not None and found.where == f"NATS at nats://{place}, namespace mine"
            assert found.payload_bytes == 70000 and 0 < found.round_trip < 2
            for url in (f"nats://me:wrong-secret@{place}/mine", *[f"nats://me:secret@{place}/theirs"] * 20):
                with pytest.raises(BusError, match="refused this node") as caught:
                    await try_bus(url, RealClock())
                assert "secret" not in str(caught.value)

    run(main)


def test_a_postgresql_server_brings_a_notification_back_and_keeps_nothing(postgres_url: str, run: Run) -> None:
    async def main() -> None:
        found = await try_bus(f"{postgres_url}?schema=team", RealClock())
        assert found is not None and found.where.startswith("PostgreSQL at ") and found.where.endswith(", schema team")
        assert found.payload_bytes == 7999 and 0 < found.round_trip < 2
        connection = await asyncpg.connect(postgres_url)
        assert await connection.fetchval("SELECT to_regnamespace('team')") is None
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while await connection.fetchval(others):
            pass  # the server takes a moment to end the session of a connection that was closed
        await connection.close()

    run(main)


@pytest.mark.parametrize("url", ["nats://me:secret@127.0.0.1:1/x", "postgresql://me:secret@127.0.0.1:1/x"])
def test_a_server_that_is_not_there_is_named_without_a_password(url: str, run: Run) -> None:
    with pytest.raises(BusError, match=r"127\.0\.0\.1:1.* cannot be reached") as caught:
        run(lambda: try_bus(url, RealClock()))
    assert "secret" not in str(caught.value)


def test_faults_of_the_url_come_first_and_a_local_bus_has_no_server(run: Run) -> None:
    with pytest.raises(ConfigError, match="namespace"):
        run(lambda: try_bus("nats://127.0.0.1:1/no.dots", RealClock()))
    assert run(lambda: try_bus("local://", RealClock())) is None
