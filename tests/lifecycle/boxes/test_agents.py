"""Agents of an AgentRuntime within walls: the same agent gives the same at every level."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal import AgentRuntime, AgentStatus, BaseAgent, BoxLimits, BoxSpec, ResourceLimit, Task, TaskStatus
from shoal.boxes.procfs import all_stats, descendants
from shoal.errors import BoxSpecError, ConfigError, DeadAgentError, IsolationUnavailableError
from tests.support.backend import fresh_store
from tests.support.levels import need

pytestmark = pytest.mark.usefixtures("backend")

LEVELS = ("inline", "process", "bubblewrap", "gvisor", "microvm")
WALLS = ("bubblewrap", "gvisor", "microvm")


class Counter(BaseAgent):
    """Has state, hooks, messages and steps."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.count = int(self.config.get("from", 0))
        self.started = False

    async def on_start(self) -> None:
        self.started = True

    async def execute_task(self, task: Task) -> Any:
        self.count += 1
        step = await self.context.step("add", lambda: self.count * 10)
        await self.context.shared.set("seen", step)
        return {"count": self.count, "step": step, "started": self.started, "config": self.config}

    async def on_message(self, message: Any) -> Any:
        return {"count": self.count, "said": message.data["text"], "from": message.message_type}

    async def on_pause(self) -> dict[str, Any]:
        return {"count": self.count}

    async def on_resume(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class Mortal(BaseAgent):
    """Dies in the first attempt of each task."""

    async def execute_task(self, task: Task) -> Any:
        if await self.context.shared.get("died") is None:
            await self.context.shared.set("died", True)
            os._exit(3)
        return "alive"


class Busy(BaseAgent):
    """Computes, and never looks up."""

    async def on_message(self, message: Any) -> Any:
        await self.context.shared.set("asked", True)
        while True:
            pass

    async def execute_task(self, task: Task) -> Any:
        await self.context.shared.set("computes", True)
        number = 0
        while number < 20_000_000 or not task.input_data.get("ends"):
            number += 1
        return number


class Patient(Busy):
    """Computes, and takes its messages afterwards."""

    async def on_message(self, message: Any) -> Any:
        await self.context.shared.set("noted", message.data["text"])


@asynccontextmanager
async def runtime_with(source: Any, level: Any, **options: Any) -> AsyncIterator[AgentRuntime]:
    async with AgentRuntime(store=fresh_store()) as runtime:
        await runtime.register_agent("agent", source, isolation=level, **options)
        await runtime.start_agent("agent")
        yield runtime


def at(*levels: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("level", levels, indirect=True)


@pytest.fixture
def level(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name != "inline":
        need(name)
    return name


Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


async def done(runtime: AgentRuntime, **input_data: Any) -> Task:
    task_id = await runtime.submit_task("work", input_data, agent="agent")
    return await runtime.wait_for_task(task_id, timeout_seconds=60)


@pytest.mark.spec("B47")
@at(*LEVELS)
def test_an_agent_gives_the_same_everywhere(level: str, run: Run) -> None:
    async def main() -> None:
        async with runtime_with(Counter, level, config={"from": 4}) as runtime:
            first, second = await done(runtime), await done(runtime)
            assert first.status is TaskStatus.COMPLETED, first.error_message
            config = {"from": 4}
            assert first.output_data == {"count": 5, "step": 50, "started": True, "config": config}
            assert second.output_data == {"count": 6, "step": 60, "started": True, "config": config}
            answer = await runtime.request("agent", "greeting", {"text": "hello"})
            assert answer.data == {"count": 6, "said": "hello", "from": "greeting"}
            await runtime.pause_agent("agent")
            assert runtime.store.agents.saved_state(runtime.get_agent_status("agent").agent_id) == {"count": 6}
            await runtime.resume_agent("agent")
            third = await done(runtime)
            assert third.output_data["count"] == 7
            assert runtime.get_agent_status("agent").isolation == level

    run(main)


@pytest.mark.spec("B47")
@at("process", *WALLS)
def test_a_task_of_an_agent_that_dies_is_tried_again(level: str, run: Run) -> None:
    async def main() -> None:
        async with runtime_with(Mortal, level) as runtime:
            task = await done(runtime)
            assert (task.status, task.output_data) == (TaskStatus.COMPLETED, "alive")
            failed = runtime.query_events(event_type="agent_failed")
            assert [event.details["process_exit_code"] for event in failed] == [3]

    run(main)


@pytest.mark.spec("B47")
@at("bubblewrap", "gvisor")
def test_whoever_waits_for_an_agent_that_is_killed_hears_of_it(level: str, run: Run) -> None:
    async def main() -> None:
        async with runtime_with(Busy, level) as runtime:
            asking = asyncio.create_task(runtime.request("agent", "are_you_there", {}))
            while await runtime.shared.get("asked") is None:
                await asyncio.sleep(0.01)
            pid = runtime.get_agent_status("agent").process_id
            assert pid is not None
            os.kill(descendants(pid, all_stats())[-1].pid, 9)
            with pytest.raises(DeadAgentError):
                await asking

    run(main)


@pytest.mark.spec("B49")
@at("process", "bubblewrap", "gvisor")
def test_a_paused_box_uses_no_time_and_loses_nothing(level: str, run: Run) -> None:
    async def main() -> None:
        async with runtime_with(Patient, level) as runtime:
            task_id = await runtime.submit_task("work", {"ends": True}, agent="agent")
            while await runtime.shared.get("computes") is None:
                await asyncio.sleep(0.01)
            await runtime.pause_agent("agent", timeout_seconds=0.05)  # too busy to answer: it is frozen
            await runtime.send_message(["agent"], "note", {"text": "kept"}, durable=True)
            pid = runtime.get_agent_status("agent").process_id
            assert pid is not None

            def cpu() -> float:
                return sum(stat.cpu for stat in all_stats() if stat.session == pid or stat.parent == pid)

            before = cpu()
            await asyncio.sleep(1.0)
            assert cpu() - before <= 0.05
            assert runtime.get_task_status(task_id).status is TaskStatus.RUNNING
            await runtime.resume_agent("agent")
            task = await runtime.wait_for_task(task_id, timeout_seconds=60)
            assert (task.status, task.output_data) == (TaskStatus.COMPLETED, 20_000_000)
            while await runtime.shared.get("noted") != "kept":
                await asyncio.sleep(0.01)

    run(main)


@at("bubblewrap", "gvisor")
def test_its_walls_hold_its_memory_limit(level: str, run: Run) -> None:
    async def eat(task: Task) -> int:
        return len(b"x" * (task.input_data["mib"] << 20))

    async def main() -> None:
        async with runtime_with(eat, level, limits=ResourceLimit(max_memory_per_agent_mb=200)) as runtime:
            assert (await done(runtime, mib=10)).status is TaskStatus.COMPLETED
            task_id = await runtime.submit_task("work", {"mib": 600}, agent="agent", max_retries=0)
            task = await runtime.wait_for_task(task_id, timeout_seconds=60)
            assert (task.status, task.error_type) == (TaskStatus.FAILED, "ResourceLimitExceededError")
            assert "200" in (task.error_message or "")

    run(main)


@at("bubblewrap")
def test_a_box_spec_says_more_about_the_walls(level: Any, run: Run) -> None:
    async def look(task: Task) -> Any:
        import socket

        return [os.environ.get("OWN"), os.environ.get("HOME"), os.getcwd(), socket.gethostname()]

    async def main() -> None:
        box = BoxSpec(env={"OWN": "1"}, hostname="alone", limits=BoxLimits(memory_mib=300))
        async with runtime_with(look, level, box=box) as runtime:
            assert (await done(runtime)).output_data == ["1", "/work", "/work", "alone"]
            for bad, error in ((BoxSpec(cwd="relative"), BoxSpecError), ("no spec", BoxSpecError)):
                with pytest.raises(error):
                    await runtime.register_agent("other", look, isolation=level, box=bad)
            others: tuple[Any, ...] = ("inline", "thread", "process")
            for other in others:
                with pytest.raises((ConfigError, BoxSpecError), match="box"):
                    await runtime.register_agent("other", look, isolation=other, box=box)
            assert [agent.name for agent in runtime.list_agents()] == ["agent"]

    run(main)


def test_auto_is_the_strongest_that_works_and_never_a_plain_process(run: Run) -> None:
    async def main() -> None:
        async with AgentRuntime(store=fresh_store()) as runtime:
            try:
                await runtime.register_agent("agent", Counter, isolation="auto")
            except IsolationUnavailableError as error:
                assert "process must be asked for by name" in str(error)
            else:
                assert runtime.get_agent_status("agent").isolation in WALLS
                await runtime.start_agent("agent")
                assert runtime.get_agent_status("agent").status is AgentStatus.RUNNING

    run(main)
