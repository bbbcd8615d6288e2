"""Bad things done to nodes and servers at random moments: afterwards nothing is lost, doubled, disordered or shared.

Each round is one bad thing, in the midst of work: two of each, and under SHOAL_LONG=full as many as each test says.
``CHAOS_SEED`` gives the choices of an earlier run again; what they meet is a matter of time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.cluster import NatsServer, PostgresServer
from tests.lifecycle.chaos.cluster import LONG_LEASE_SECONDS, Cluster, chaos
from tests.lifecycle.chaos.member import Servers
from tests.support.history import faults, figures

pytestmark = pytest.mark.long
SEED = int(os.environ.get("CHAOS_SEED", "47"))
SOAK_SECONDS = 3600.0
_SCHEMAS = itertools.count(1)
Rounds = Callable[[int, int], int]
Run = Callable[..., Any]


@pytest.fixture
def servers(postgres_server: PostgresServer, nats_server: NatsServer, nats_url: str) -> Servers:
    """The servers of this pytest process, and a place of this test's own on them."""
    store = f"{postgres_server.url}?schema=chaos_{os.getpid()}_{next(_SCHEMAS)}"
    return Servers(postgres_server, nats_server, store, nats_url)


@pytest.fixture
def suffer(servers: Servers, tmp_path: Path, run: Run) -> Callable[..., None]:
    """``suffer(bad_thing, rounds, **chaos)`` does it so many times, and holds what happened to what is promised."""

    def suffer(bad_thing: Callable[[Cluster], Awaitable[None]], rounds: int, **given: Any) -> None:
        async def main() -> None:
            async with chaos(servers, tmp_path, SEED, **given) as cluster:
                for _ in range(rounds):
                    await bad_thing(cluster)
                history = await cluster.finish()
            print(f"{rounds} rounds: {dict(figures(history))}")
            broken = faults(history)
            if broken:
                kept = tmp_path / "history.json"
                kept.write_bytes(msgspec.json.encode(history))
                broken.append(f"the whole history is in {kept}")
            assert not broken, "\n".join(broken)

        run(main, SOAK_SECONDS if rounds > 10 else 250.0)

    return suffer


def test_nodes_are_killed(suffer: Callable[..., None], rounds: Rounds) -> None:
    suffer(Cluster.kill, rounds(100, 2))


def test_postgres_is_killed(suffer: Callable[..., None], rounds: Rounds) -> None:
    suffer(Cluster.restart_postgres, rounds(30, 2))


def test_nats_is_killed(suffer: Callable[..., None], rounds: Rounds) -> None:
    suffer(Cluster.restart_nats, rounds(30, 2))


def test_nodes_stand_still_past_their_leases(suffer: Callable[..., None], rounds: Rounds) -> None:
    suffer(Cluster.freeze, rounds(50, 2), lease=LONG_LEASE_SECONDS)


@pytest.mark.parametrize("what", ["store", "bus"])
def test_nodes_are_cut_off(suffer: Callable[..., None], rounds: Rounds, what: Any) -> None:
    suffer(lambda cluster: cluster.cut(what), rounds(40, 2), lease=LONG_LEASE_SECONDS, proxied=True)


def test_clocks_are_minutes_apart(suffer: Callable[..., None], rounds: Rounds) -> None:
    suffer(Cluster.kill, rounds(40, 2), skews=(-300.0, 0.0, 300.0))


def test_all_of_it(suffer: Callable[..., None], rounds: Rounds) -> None:
    async def bad_thing(cluster: Cluster) -> None:
        things: list[Callable[[], Awaitable[None]]] = [
            cluster.kill,
            cluster.freeze,
            cluster.restart_postgres,
            cluster.restart_nats,
        ]
        things += [lambda: cluster.cut("store"), lambda: cluster.cut("bus")]
        await cluster.chance.choice(things)()

    suffer(bad_thing, rounds(100, 2), lease=LONG_LEASE_SECONDS, proxied=True)
