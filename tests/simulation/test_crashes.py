"""A whole runtime in virtual time, crashed at commit points and started again; every failure prints its seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, ResourceLimit, RetryPolicy, Task, TaskSpec, TaskStatus
from shoal.errors import AgentNameTakenError
from shoal.testing.clock import VirtualClock, run_virtual
from shoal.testing.faults import Faults, SimulatedCrash

START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """What is outside the runtime and survives its crashes: effects, and what callers were promised."""

    def __init__(self, seed: int, path: Path) -> None:
        self.chance = random.Random(f"world {seed}")
        self.path = path
        self.crashes = 0
        self.started: Counter[str] = Counter()  # executions by task name
        self.steps: Counter[str] = Counter()  # effects by task name and step
        self.handled: Counter[str] = Counter()  # durable messages by text
        self.finished: set[str] = set()  # names whose completion was told to a caller
        self.late: list[str] = []  # executions after that
        self.promised: dict[str, str] = {}  # name -> id of acknowledged submits
        self.sent: set[str] = set()  # texts of acknowledged durable messages


def worker(world: World) -> type[BaseAgent]:
    class Worker(BaseAgent):
        async def execute_task(self, task: Task) -> Any:
            world.started[task.name] += 1
            if task.name in world.finished:
                world.late.append(task.name)
            await self.context.shared.get("anything")
            total = 0
            for number in range(3):
                total += await self.context.step(f"step {number}", self.effect, task.name, number)
            if task.input_data.get("fails") and task.retry_count == 0:
                raise ValueError("the first attempt fails")
            return {
                "total": total,
                "dependencies": sorted(t.name for t in (await self.context.dependencies()).values()),
            }

        def effect(self, name: str, number: int) -> int:
            world.steps[f"{name}/{number}"] += 1
            return number

    return Worker


def listener(world: World) -> type[BaseAgent]:
    class Listener(BaseAgent):
        async def on_message(self, message: Any) -> None:
            world.handled[message.data["text"]] += 1

    return Listener


async def live(world: World, clock: VirtualClock, faults: Faults) -> None:
    """One life of the program: take up the agents, submit what was not acknowledged, see everything through."""
    settings = {"durability": "normal", "poll_seconds": 5, "lease_seconds": 20}
    async with AgentRuntime(world.path, ResourceLimit(), settings, clock=clock) as runtime:
        runtime.store.database.faults = faults  # type: ignore[attr-defined]
        for name, source in (("w1", worker(world)), ("w2", worker(world)), ("ear", listener(world))):
            await take_up(runtime, clock, name, source)
        await submit(world, runtime)
        for number in range(3):
            if (text := f"message {number}") not in world.sent:
                await runtime.send_message(["ear"], "note", {"text": text}, durable=True)
                world.sent.add(text)
        for name, task_id in world.promised.items():
            task = await runtime.wait_for_task(task_id, timeout_seconds=600)
            assert task.status is TaskStatus.COMPLETED, (
                f"{name} is {task.status}: {task.error_type} {task.error_message}"
            )
            world.finished.add(name)
        while set(world.handled) != world.sent:
            await clock.sleep(1)
        check_store(world, runtime)


async def take_up(runtime: AgentRuntime, clock: VirtualClock, name: str, source: type[BaseAgent]) -> None:
    """Register and start an agent. The crashed node's process is there (it is this one): its name is free a lease later."""
    while True:
        try:
            await runtime.register_agent(name, source)
        except AgentNameTakenError:
            await clock.sleep(1)
        else:
            break
    await runtime.start_agent(name)


async def submit(world: World, runtime: AgentRuntime) -> None:
    for number in range(4):
        name = f"single {number}"
        if name not in world.promised:
            options = {"retry": RetryPolicy(max_retries=2)} if number == 0 else {}
            world.promised[name] = await runtime.submit_task(
                name,
                {"fails": number == 0},
                priority=number * 10,
                idempotency_key=name,
                **options,  # type: ignore[arg-type]
            )
    if "chain c" not in world.promised:
        specs = [
            TaskSpec(name="chain a", key="a", idempotency_key="chain a"),
            TaskSpec(name="chain b", key="b", dependencies=["a"], idempotency_key="chain b"),
            TaskSpec(name="chain c", key="c", dependencies=["a", "b"], idempotency_key="chain c"),
        ]
        ids = await runtime.submit_tasks(specs)
        world.promised.update(zip(("chain a", "chain b", "chain c"), ids, strict=True))


def check_store(world: World, runtime: AgentRuntime) -> None:
    tasks = {task.name: task for task in runtime.list_tasks(limit=1000)}
    assert set(tasks) == set(world.promised), "a task was stored twice, or one was never promised"
    events = runtime.query_events(limit=10_000)
    ids = [event.event_id for event in events]
    assert ids == sorted(ids, reverse=True) and len(set(ids)) == len(ids)
    completed = Counter(event.task_id for event in events if event.event_type == "task_completed")
    assert completed == Counter(world.promised.values()), "one task_completed for each task"
    counts = runtime.get_queue_status()
    assert (counts["pending_count"], counts["running_count"]) == (0, 0)
    assert counts["completed_count"] == len(world.promised)
    assert tasks["chain c"].output_data == {"total": 3, "dependencies": ["chain a", "chain b"]}
    at = {name: task.completed_at for name, task in tasks.items()}
    assert at["chain a"] <= tasks["chain b"].started_at and at["chain b"] <= tasks["chain c"].started_at  # type: ignore[operator]


def check_effects(world: World) -> None:
    assert not world.late, f"executed again after completion was told: {world.late}"
    for name, number in world.started.items():
        wanted = 2 if name == "single 0" else 1  # its first attempt fails
        assert number <= wanted + world.crashes, f"{name} was executed {number} times in {world.crashes} crashes"
    for step, number in world.steps.items():
        assert number <= 1 + world.crashes, f"{step} was done {number} times in {world.crashes} crashes"
    assert set(world.handled) == world.sent


def simulate(seed: int, path: Path) -> World:
    """Live, crash up to three times at points drawn from the seed, live on, and check every promise."""
    world = World(seed, path)
    for life in range(world.chance.randint(1, 3) + 1):
        last = life == 3
        faults = Faults()
        if not last:
            faults.crash(world.chance.choice(["before_commit", "after_commit"]), at=world.chance.randint(1, 60))
        start = START + timedelta(hours=life)
        clock_seed = world.chance.getrandbits(32)

        async def main(clock: VirtualClock, faults: Faults = faults, start: datetime = start) -> None:
            clock.start_at(start)
            await live(world, clock, faults)

        try:
            run_virtual(main, seed=clock_seed, shuffle=True, limit_seconds=7200)
        except SimulatedCrash:
            world.crashes += 1
        else:
            break
    else:
        run_virtual(lambda clock: _last_life(world, clock), seed=seed, limit_seconds=7200)
    check_effects(world)
    return world


async def _last_life(world: World, clock: VirtualClock) -> None:
    clock.start_at(START + timedelta(hours=9))
    await live(world, clock, Faults())


@pytest.mark.long
@pytest.mark.spec("R44", "R47")
@pytest.mark.parametrize("block", range(10))
def test_promises_hold_over_crashes_at_every_commit_point(
    tmp_path: Path, block: int, rounds: Callable[[int, int], int]
) -> None:
    crashes = 0
    seeds = rounds(1000, 100)
    for seed in range(block * seeds // 10, (block + 1) * seeds // 10):
        try:
            crashes += simulate(seed, tmp_path / f"{seed}.db").crashes
        except BaseException as error:
            error.add_note(f"seed {seed}: replay with simulate({seed}, path)")
            raise
    assert crashes > seeds // 20, "the crashes must really strike"
