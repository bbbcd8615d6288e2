"""A node that tests kill, freeze or starve: ``python one_node.py ROLE FILE``. It says what it does, a line of JSON each."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any

from shoal import AgentRuntime, ResourceLimit, Task
from shoal.errors import StoreError


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


async def forever(task: Task) -> None:
    while True:
        time.sleep(0.05)
        await asyncio.sleep(0)


async def busy_children(file: str) -> None:
    """Two process agents with a task each, ten more tasks that wait; then it only waits for its end."""
    async with AgentRuntime(file) as runtime:
        ids = []
        for name in ("p0", "p1"):
            await runtime.register_agent(name, forever, isolation="process")
            await runtime.start_agent(name)
            ids.append(await runtime.submit_task(f"held {name}", agent=name, priority=0))
        waiting = [
            await runtime.submit_task(f"later {n}", priority=n * 37 % 100, capability="later") for n in range(10)
        ]
        while len(runtime.list_tasks("running")) < 2:
            await asyncio.sleep(0.01)
        say(
            held=ids,
            waiting=waiting,
            agents=[runtime.get_agent_status(name).agent_id for name in ("p0", "p1")],
            pids=[runtime.get_agent_status(name).process_id for name in ("p0", "p1")],
            last_event=runtime.store.events.last_id(),
        )
        await asyncio.sleep(600)


async def slow_task(file: str) -> None:
    """One task of a second; its node is frozen in the midst of it."""

    async def slow(task: Task, context: Any) -> str:
        say(at="started")
        await asyncio.sleep(1)
        say(at="late")
        await context.shared.set("late", 1)
        say(at="wrote")
        return "the frozen node"

    async with AgentRuntime(file, config={"lease_seconds": 2, "poll_seconds": 0.2}) as runtime:
        await runtime.register_agent("a", slow)
        await runtime.start_agent("a")
        task_id = await runtime.submit_task("x", capability=None)
        say(task=task_id)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        try:
            await runtime.submit_task("too late")
        except Exception as error:
            say(refused=type(error).__name__)
    say(at="stopped")


async def no_room(file: str) -> None:
    """The disk is full for a while: no file may grow."""
    done: list[str] = []

    async def short(task: Task) -> int:
        await asyncio.sleep(0.02)
        done.append(task.task_id)
        return int(task.name)

    accepted: list[str] = []
    refused = 0
    async with AgentRuntime(file, ResourceLimit(max_task_queue_size=None), {"poll_seconds": 0.1}) as runtime:
        for name in ("a", "b"):
            await runtime.register_agent(name, short)
            await runtime.start_agent(name)
        number = 0
        for full in (False, True, False, True, False):
            limit = 0 if full else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            before = runtime.store.tasks.counts()["completed"]
            for _ in range(20):
                number += 1
                try:
                    accepted.append(await runtime.submit_task(str(number)))
                except StoreError:
                    refused += 1
                await asyncio.sleep(0.01)
            if full:
                await asyncio.sleep(0.3)
                say(full=True, settled=runtime.store.tasks.counts()["completed"] - before)
        await runtime.wait_for_tasks(accepted, timeout_seconds=30)
        say(accepted=accepted, refused=refused, executed=done)


ROLES = {"busy_children": busy_children, "slow_task": slow_task, "no_room": no_room}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](sys.argv[2]))
