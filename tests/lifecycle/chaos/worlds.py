"""A world of its own for a cluster: its own networks and mounts, seen by nobody else.

The program ``python -m tests.lifecycle.chaos.worlds JSON`` (see ``World``) is run in new namespaces. It starts its servers
there, does bad things, and writes the history to a file.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from shoal.cluster import NatsServer, PostgresServer
from tests.lifecycle.chaos.cluster import LONG_LEASE_SECONDS, chaos
from tests.lifecycle.chaos.disk import fill
from tests.lifecycle.chaos.harm import Harm, cut_store
from tests.lifecycle.chaos.member import Servers

__all__ = ["World", "command", "no_world"]

NATS_PORT = 4222
SMALL_DISK = "192m"
HARMS: dict[str, Harm] = {
    "links are pulled": cut_store,
    "disk is full": fill,
}
SETTINGS = {"max_wal_size": "64MB", "min_wal_size": "32MB", "shared_buffers": "32MB"}


class World(msgspec.Struct, kw_only=True):
    """What is done in it. ``folder``: for its servers and all that it tells."""

    folder: str
    harm: str
    seed: int
    rounds: int


def command(world: World) -> list[str]:
    """Return what runs a world."""
    words = [sys.executable, "-W", "error", "-m", "tests.lifecycle.chaos.worlds", msgspec.json.encode(world).decode()]
    return [*_unshared(), *words]


def no_world() -> str:
    """Return why there can be no such world here, or nothing."""
    try:
        made = subprocess.run(
            [*_unshared(), "ip", "link", "add", "near", "type", "veth", "peer", "name", "far"],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        return f"there is no {error.filename}"
    return f"no namespaces, or no links in them: {made.stderr.strip()}" if made.returncode else ""


def _unshared() -> list[str]:
    mine = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    return ["unshare", *mine, "--mount", "--net", "--propagation", "private"]


async def main(world: World) -> None:
    """Start the servers, do the harm, and write the history."""
    folder = Path(world.folder)
    _run("ip", "link", "set", "lo", "up")
    data = folder / "postgres"
    data.mkdir()
    linked = world.harm == "links are pulled"
    settings = dict(SETTINGS)
    if linked:
        access = folder / "access"
        access.write_text("host all all samenet scram-sha-256\n")
        access.chmod(0o644)
        settings |= {"fsync": "off", "listen_addresses": "*", "hba_file": str(access)}
    else:
        _run("mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "small", str(data))
    servers = Servers(
        postgres=(postgres := PostgresServer(data, settings=settings)),
        nats=(nats := NatsServer(folder / "nats", port=NATS_PORT, config=f'listen: "0.0.0.0:{NATS_PORT}"')),
        store="",
        bus="",
    )
    try:
        await postgres.start()
        await nats.start()
        servers = msgspec.structs.replace(servers, store=postgres.url, bus=nats.url)
        wires = "linked" if linked else "straight"
        async with chaos(servers, folder, world.seed, lease=LONG_LEASE_SECONDS, wires=wires) as cluster:
            for _ in range(world.rounds):
                await HARMS[world.harm](cluster)
            history = await cluster.finish()
    finally:
        await nats.stop()
        await postgres.stop()
    (folder / "history.json").write_bytes(msgspec.json.encode(history))


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=World)))
