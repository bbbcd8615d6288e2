"""What the nodes of chaos tests do: tasks of every kind, one agent that lives once, ears, and errands that are runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, ClassVar

from shoal import BaseAgent, Task, get_lock
from shoal.errors import LeaseLostError
from shoal.kernel.scope import current_scope
from shoal.orchestration import Pipeline
from tests.lifecycle.chaos.diary import STAGES, TALLY, Diary

__all__ = ["Keeper", "Listener", "Worker", "errand"]

STEPS = 4
TICKS = 6
ADDITIONS = 10
TASKS_A_TALLY = 100
HEAR_SECONDS = 0.01
STAGE_SECONDS = 0.05
LOCK_TTL_SECONDS = 2.0


class Noting(BaseAgent):
    """Notes the begin and the end of each task."""

    diary: ClassVar[Diary]

    def note(self, kind: str, task: Task, **what: Any) -> None:
        """Add a line about a task."""
        self.diary.note(kind, task=task.task_id, attempt=task.attempt, **what)

    async def execute_task(self, task: Task) -> Any:
        self.note("begin", task, work=task.input_data["work"])
        value = await getattr(self, task.input_data["work"])(task)
        self.note("end", task)
        return value

    async def ticking(self, task: Task) -> int:
        """Ask the store before each effect: whoever lost his lease is refused."""
        for number in range(TICKS):
            await self.context.checkpoint({"tick": number})
            self.note("tick", task)
            await asyncio.sleep(task.input_data["pause"] / TICKS)
        return task.attempt


class Worker(Noting):
    """Does tasks of each kind but one."""

    async def plain(self, task: Task) -> int:
        await asyncio.sleep(task.input_data["pause"])
        return task.attempt

    after = plain  # another task
    guarded = Noting.ticking

    async def flaky(self, task: Task) -> int:
        await asyncio.sleep(task.input_data["pause"])
        if task.retry_count < task.input_data["failures"]:
            self.note("failed", task)
            raise RuntimeError("not this time")
        return task.attempt

    async def steps(self, task: Task) -> dict[str, str]:
        done: dict[str, str] = {}
        for number in range(STEPS):
            key = f"step {number}"

            async def effect(key: str = key) -> str:
                value = f"{key} of attempt {task.attempt} in {self.diary.life}"
                self.note("step", task, key=key, value=value)
                await asyncio.sleep(task.input_data["pause"] / STEPS)
                return value

            done[key] = await self.context.step(key, effect)
            self.note("recorded", task, key=key, value=done[key])
        return done

    async def locked(self, task: Task) -> int:
        lock = get_lock("chaos", "one", 60, ttl=LOCK_TTL_SECONDS)
        await lock.acquire()
        token = lock.token
        self.note("took", task, token=token)
        try:
            await asyncio.sleep(min(0.05, task.input_data["pause"]))
        finally:
            with suppress(LeaseLostError):
                if lock.token == token:
                    self.note("gave", task, token=token)
                await lock.release()
        return token

    async def counted(self, task: Task) -> str:
        """Add to a shared value which others add to at the same time."""
        key = f"{TALLY}{task.input_data['number'] // TASKS_A_TALLY}"
        for number in range(ADDITIONS):
            entry = f"{task.task_id}/{task.attempt}/{number}"
            await self.context.shared.update(key, lambda past: [*past, entry], [])  # noqa: B023  called at once
            self.note("counted", task, key=key, value=entry)
        return key


class Keeper(Noting):
    """Lives on one node at a time."""

    kept = Noting.ticking


class Listener(BaseAgent):
    """Hears what is said to it."""

    async def on_message(self, message: Any) -> None:
        Noting.diary.note("heard", message=message.message_id, durable=message.durable, to=self.name, **message.data)
        await asyncio.sleep(HEAR_SECONDS)


class Stage:
    """A call of an errand. What it answers tells in which life it was made."""

    def __init__(self, number: int, diary: Diary) -> None:
        self.name = f"s{number}"
        self._number = number
        self._diary = diary

    async def chat(self, message: str) -> str:
        scope = current_scope.get()
        assert scope is not None
        value = f"{self.name}@{self._diary.life}"
        self._diary.note("call", run=scope.run.run_id, number=self._number, value=value, text=message)
        await asyncio.sleep(STAGE_SECONDS)
        return f"{message} {value}"


def errand(diary: Diary) -> Pipeline:
    """Return the pattern that all nodes have."""
    return Pipeline([Stage(number, diary) for number in range(STAGES)], name="errand")
