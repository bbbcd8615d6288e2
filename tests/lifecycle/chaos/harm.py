"""The bad things that are done to a cluster, each at a moment that nobody knows before."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from shoal.errors import ServerError
from tests.lifecycle.chaos.cluster import Cluster
from tests.lifecycle.chaos.member import Member
from tests.lifecycle.chaos.wires import How, Way

__all__ = [
    "Harm",
    "cut_bus",
    "cut_store",
    "drain",
    "freeze",
    "kill",
    "restart_nats",
    "restart_postgres",
    "start_postgres",
]


Harm = Callable[[Cluster], Awaitable[None]]


async def kill(cluster: Cluster) -> None:
    """End a node by SIGKILL, and start it again: at once, or when the others know."""
    node = cluster.chance.choice(cluster.nodes)
    await cluster.moment()
    await _busy(cluster, node)
    cluster.strike(node)
    if cluster.chance.random() < 0.5:
        await cluster.until(lambda: cluster.is_lost(node.life), "the others know that a node is dead")
    await cluster.start(node)


async def drain(cluster: Cluster) -> None:
    """Let a node leave in order, and start it again."""
    node = cluster.chance.choice(cluster.nodes)
    await cluster.moment()
    await _busy(cluster, node)
    await cluster.leave(node)
    await cluster.start(node)


async def freeze(cluster: Cluster) -> None:
    """Stop a node until others have its work, as a rule, and let it go on."""
    node = cluster.chance.choice(cluster.nodes)
    await cluster.moment()
    cluster.note("frozen", node.life)
    node.process.signal(signal.SIGSTOP)
    if cluster.chance.random() < 0.75:
        await cluster.until(lambda: cluster.is_lost(node.life), "the others know that a node is silent")
        await cluster.others_work(node)
    else:
        await asyncio.sleep(cluster.chance.uniform(0, cluster.lease / 2))
    cluster.note("thawed", node.life)
    node.process.signal(signal.SIGCONT)
    await cluster.all_work()


async def cut_store(cluster: Cluster) -> None:
    """Cut a node off from PostgreSQL until others have its work, for less than its lease, or for about as long."""
    node = await _cut(cluster, "store")
    how = cluster.chance.random()
    if how < 0.5:
        await cluster.until(lambda: cluster.is_lost(node.life), "the others know that a node is cut off")
        await cluster.others_work(node)
    elif how < 0.75:
        await asyncio.sleep(cluster.chance.uniform(0.2, cluster.lease * 0.75))
    else:
        await asyncio.sleep(cluster.chance.uniform(0.9, 1.4) * cluster.lease)
    await _heal(cluster, node, "store")


async def cut_bus(cluster: Cluster) -> None:
    """Cut a node off from NATS for a while: it works on, and is not taken for dead."""
    node = await _cut(cluster, "bus")
    await asyncio.sleep(cluster.chance.uniform(0.2, cluster.lease / 2))
    await cluster.others_work(node)
    await _heal(cluster, node, "bus")


async def _cut(cluster: Cluster, way: Way) -> Member:
    node = cluster.chance.choice(cluster.nodes)
    how: How = "refused" if cluster.chance.random() < 0.3 else "silent"
    await cluster.moment()
    await _busy(cluster, node)
    cluster.note("cut", node.life, way)
    node.wires.cut(way, how)
    return node


async def _heal(cluster: Cluster, node: Member, way: Way) -> None:
    cluster.note("healed", node.life, way)
    node.wires.heal(way, broken=cluster.chance.random() < 0.5)
    await cluster.all_work()


async def restart_postgres(cluster: Cluster) -> None:
    """End the server by SIGKILL, and start it again on its port."""
    await cluster.moment()
    cluster.note("server", key="store")
    await cluster.servers.postgres.process.kill()
    await asyncio.sleep(cluster.chance.uniform(0, 1))
    await start_postgres(cluster)
    await cluster.all_work()


async def restart_nats(cluster: Cluster) -> None:
    """End the server by SIGKILL, and start it again on its port."""
    await cluster.moment()
    cluster.note("server", key="bus")
    await cluster.servers.nats.process.kill()
    await asyncio.sleep(cluster.chance.uniform(0, 1))
    await cluster.servers.nats.start()
    await cluster.all_work()


async def start_postgres(cluster: Cluster) -> None:
    """Start the server, if it does not run, as soon as what is left of its last life has gone."""
    pid = cluster.servers.postgres.process.pid
    if pid is not None and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return
    while True:
        try:
            await cluster.servers.postgres.start()
            return
        except ServerError as error:
            if "shared memory block" not in str(error) and "lock file" not in str(error):
                raise


async def _busy(cluster: Cluster, node: Member) -> None:
    """Wait until a node is in the midst of something."""
    here = cluster.size

    def begins() -> bool:
        begun = {line.task for line in cluster.lines(here) if line.life == node.life and line.kind == "begin"}
        return bool(
            begun - {line.task for line in cluster.lines(here) if line.life == node.life and line.kind == "end"}
        )

    await cluster.until(begins, f"node {node.life} is at something")
