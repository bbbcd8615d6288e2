"""What must be left when a storm over services is over: everybody there for everybody, numbers that add up, nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.services import LoadBalancer
from tests.simulation.service_history import Sending
from tests.simulation.service_nodes import SimulatedNode
from tests.simulation.service_world import World

__all__ = ["check_idle", "probe"]

CALM_SECONDS = 35.0
"""Connections are made again, mail that is over is swept away, circuits may be tried."""


async def probe(world: World) -> None:
    """See that all nodes know the same services, and each is answered by each of them."""
    await world.start_worker(world.living[0])
    await world.clock.sleep(CALM_SECONDS)
    seen = {node.name: {r.uuid for r in await node.services.discover("work")} for node in world.living}
    if len({frozenset(each) for each in seen.values()}) != 1:
        world.history.fault(f"the nodes see different services: {seen}")
    for node in world.living:
        for uuid in sorted(seen[node.name]):
            await world.probe(node, uuid)


def check_idle(world: World) -> None:
    """See that nobody waits for anything, and that what is counted is what has happened."""
    for node in world.living:
        for text in (*_left_over(world, node), *_miscounted(world, node)):
            world.history.fault(f"{node.name}: {text}")


def _left_over(world: World, node: SimulatedNode) -> Iterator[str]:
    yield from node.simulated_bus.waiting
    yield from (f"someone hopes for {agent_id}" for agent_id in node.here.post.asking._hoping)
    yield from (f"someone stands in line for {name}" for name in node.here.env.leasing._wakes)
    for registration in node.here.cells.alive:
        cell = registration.cell
        assert cell is not None
        box = cell.inbox
        if box.asks or cell.entries or box.mailbox or box.parked or box._coming or box._withdrawn:
            yield f"{cell.name} has {len(box.asks)} asks, {len(cell.entries)} entries, {box.parked} parked"
        for mail in node.simulated_store.mail.due([cell.agent_id], now=world.clock.now()):
            yield f"{cell.name} has mail in the store: {mail}"


def _miscounted(world: World, node: SimulatedNode) -> Iterator[str]:
    sendings = world.history.sendings
    runtime_id = node.here.env.runtime_id
    yield from _wrong(node.services._balancer, [each for each in sendings if each.sender == runtime_id])
    living = {}  # by agent: its last life
    for agent, born, life in world.objects:
        if hasattr(agent, "context") and agent.context.agent_id in node.here.registrations:
            living[agent.context.agent_id] = agent, born, life
    for agent_id, (agent, born, life) in living.items():
        if life and agent.inner.requests != world.handled[life]:
            yield f"life {life} counts {agent.inner.requests} requests, and had {world.handled[life]}"
        balancer = getattr(agent, "_workers_of", agent.inner.balancer)
        yield from _wrong(balancer, [each for each in sendings if each.sender == agent_id and each.at >= born])


def _wrong(balancer: LoadBalancer, sent: list[Sending]) -> Iterator[str]:
    """Yield what a balancer counts wrongly of the requests that it has sent."""
    stats = balancer.stats.values()
    told = {
        "requests": sum(each.requests for each in stats),
        "successes": sum(each.successes for each in stats),
        "ended": sum(each.successes + each.failures for each in stats),
        "retried": sum(each.retried for each in stats),
        "in_flight": sum(each.in_flight for each in stats),
    }
    true = {
        "requests": len(sent),
        "successes": sum(each.outcome is not None and each.outcome.error is None for each in sent),
        "ended": len(sent),
        "retried": sum(each.attempt > 1 for each in sent),
        "in_flight": 0,
    }
    if told != true:
        yield f"a balancer counts {told}, and it was {true}"
