"""Locks of agents in virtual time: what is held is renewed, for many times its ttl."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from shoal import AgentRuntime, LockTimeoutError, Task, get_lock
from shoal.testing.clock import VirtualClock, run_virtual


def test_a_lock_is_held_past_its_ttl_and_then_given_to_who_came_first(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        order: list[Any] = []

        async def agent(task: Task) -> None:
            name, minutes = task.input_data["name"], task.input_data["minutes"]
            try:
                async with get_lock("room", "k", task.input_data["timeout"]) as lock:
                    order.append((name, lock.token))
                    await clock.sleep(minutes * 60)
                order.append(name)
            except LockTimeoutError as error:
                order.append(str(error).partition(",")[0])

        async with AgentRuntime(store=f"sqlite:///{tmp_path}/shoal.db", clock=clock) as runtime:
            tasks = []
            for name, minutes, timeout in (
                ("first", 4, None),
                ("late", 1, 60.0),
                ("second", 1, None),
                ("third", 1, None),
            ):
                await runtime.register_agent(name, agent)
                await runtime.start_agent(name)
                wanted = {"name": name, "minutes": minutes, "timeout": timeout}
                tasks.append(await runtime.submit_task("hold", wanted, agent=name))
                await clock.sleep(1)
            await asyncio.gather(*(runtime.wait_for_task(task) for task in tasks))
            assert order == [
                ("first", 1), "room:k not free after 60 s", "first", ("second", 2), "second", ("third", 3), "third",
            ]  # fmt: skip

    run_virtual(main)
