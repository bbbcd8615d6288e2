"""Claims beside many idle agents: what they look at, and that they take what free lanes could run, and no more."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shoal import AgentRuntime, Task
from shoal.kernel.cell import Cell
from shoal.kernel.room import Room, Slot
from tests.support.runtimes import UNLIMITED, count, running, until

MEMORY = "sqlite://:memory:"
Run = Callable[..., None]


async def nothing(task: Task) -> None:
    return None


class Looks:
    """Counts the cells whose room is asked for, and the slots that the store is shown."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.cells = self.slots = 0
        slots, takers = Cell.slots, Room.takers

        def counted_slots(cell: Cell) -> list[Slot]:
            self.cells += 1
            return slots(cell)

        def counted_takers(room: Room, word: str) -> Iterator[Slot]:
            for slot in takers(room, word):
                self.slots += 1
                yield slot

        patch.setattr(Cell, "slots", counted_slots)
        patch.setattr(Room, "takers", counted_takers)


@pytest.mark.parametrize("target", ["any", "agent", "capability", "group"])
def test_a_claim_looks_at_as_much_beside_many_idle_agents_as_beside_few(
    target: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: dict[int, tuple[int, int]] = {}

    async def main(idle: int) -> None:
        async with running(MEMORY, limits=UNLIMITED, poll_seconds=3600) as runtime:
            for n in range(idle):
                await runtime.register_agent(f"w{n}", nothing, capabilities=["skill"], group="all")
                await runtime.start_agent(f"w{n}")
            to = {"agent": "w1", "capability": "skill", "group": "all"}.get(target)
            given: dict[str, Any] = {} if to is None else {target: to}
            await runtime.wait_for_task(await runtime.submit_task("first", **given))
            with monkeypatch.context() as patch:
                looks = Looks(patch)
                for _ in range(20):
                    await runtime.wait_for_task(await runtime.submit_task("x", **given))
            looked[idle] = looks.cells, looks.slots

    run(lambda: main(3))
    run(lambda: main(100))
    for cells, slots in looked.values():  # of each task: when it is given and when it has ended
        assert cells <= 20 * 3 and slots <= 20 * 3


@pytest.mark.parametrize("seed", range(10))
def test_after_a_claim_no_task_waits_that_a_free_lane_could_run(seed: int, run: Run) -> None:
    """Agents of different skills, groups and lanes hold what they are given; then it is looked who waits for what."""

    async def main() -> None:
        chance = random.Random(seed)
        release = asyncio.Event()

        async def hold(task: Task) -> None:
            if task.priority != 7:
                await release.wait()

        async with running(MEMORY, limits=UNLIMITED, poll_seconds=3600) as runtime:
            for n in range(6):
                await runtime.register_agent(
                    f"w{n}",
                    hold,
                    capabilities=chance.sample(["a", "b", "c"], chance.randint(0, 2)),
                    max_concurrent_tasks=chance.randint(1, 3),
                )
                await runtime.start_agent(f"w{n}")
            await runtime.create_group("g", ["w0", "w3"])
            targets: list[dict[str, Any]] = [{}, {"agent": "w2"}, {"group": "g"}, *({"capability": w} for w in "abc")]
            submitted: list[str] = []
            for _ in range(chance.randint(8, 20)):
                priority = chance.choice([0, 7, 50])
                submitted.append(await runtime.submit_task("x", priority=priority, **chance.choice(targets)))
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
            await until(lambda: _all_that_can_run_does(runtime), 10)
            release.set()
            await until(lambda: count(runtime, "running") == 0 and _all_that_can_run_does(runtime), 10)

    run(main)


def _all_that_can_run_does(runtime: AgentRuntime) -> bool:
    pending = runtime.list_tasks("pending", limit=1000)
    busy = Counter(task.assigned_agent_id for task in runtime.list_tasks("running", limit=1000))
    free = []
    for agent in runtime.list_agents():
        lanes = runtime._here.registrations[agent.agent_id].options.max_concurrent_tasks - busy[agent.agent_id]
        assert lanes >= 0
        if lanes:
            free.append(agent)
    return not any(_takes(agent, task) for agent in free for task in pending)


def _takes(agent: Any, task: Task) -> bool:
    if task.agent is not None:
        return bool(task.agent == agent.agent_id)
    if task.capability is not None:
        return task.capability in agent.capabilities
    return task.group is None or task.group in agent.groups
