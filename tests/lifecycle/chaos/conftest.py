"""How the chaos tests are run: on which servers, and held to which promises."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.cluster import NatsServer, PostgresServer
from tests.lifecycle.chaos.cluster import SEED, SOAK_SECONDS, chaos
from tests.lifecycle.chaos.harm import Harm
from tests.lifecycle.chaos.member import Servers
from tests.support.history import History, figures
from tests.support.promises import faults

CI_SECONDS = 250.0
_SCHEMAS = itertools.count(1)


@pytest.fixture
def servers(postgres_server: PostgresServer, nats_server: NatsServer, nats_url: str) -> Servers:
    """The servers of this pytest process, and a place of this test's own on them."""
    store = f"{postgres_server.url}?schema=chaos_{os.getpid()}_{next(_SCHEMAS)}"
    return Servers(postgres_server, nats_server, store, nats_url)


@pytest.fixture
def judge(tmp_path: Path) -> Callable[[History], None]:
    """``judge(history)`` tells what happened, and holds it to what is promised."""

    def judged(history: History) -> None:
        print(dict(figures(history)))
        broken = faults(history)
        if broken:
            kept = tmp_path / "history.json"
            kept.write_bytes(msgspec.json.encode(history))
            broken.append(f"the whole history is in {kept}")
        assert not broken, "\n".join(broken)

    return judged


@pytest.fixture
def suffer(
    request: pytest.FixtureRequest, tmp_path: Path, run: Callable[..., Any], judge: Callable[[History], None]
) -> Callable[..., None]:
    """``suffer(rounds, *harms, **chaos)`` does so many of them, each as often as the others, and judges what happened."""

    def suffered(rounds: int, *harms: Harm, servers: Servers | None = None, **given: Any) -> None:
        on: Servers = servers or request.getfixturevalue("servers")
        order = list(harms)

        async def main() -> History:
            async with chaos(on, tmp_path, SEED, **given) as cluster:
                for number in range(rounds):
                    if number % len(order) == 0:
                        cluster.chance.shuffle(order)
                    await order[number % len(order)](cluster)
                return await cluster.finish()

        judge(run(main, SOAK_SECONDS if rounds > 10 else CI_SECONDS))

    return suffered
