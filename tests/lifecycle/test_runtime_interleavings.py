"""What happens to an agent while something else is on its way: a start that fails, a pause, a stop, a death."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, AgentStatus, BaseAgent, ResourceLimit, RestartPolicy, Task, TaskStatus
from shoal.errors import AgentLimitError, AgentPauseError, AgentStartError, RuntimeStoppingError, StoreError
from shoal.kernel import launching
from tests.support.processes import gone
from tests.support.runtimes import running, until

Run = Callable[..., Any]


async def nothing(task: Task) -> str:
    return "done"


def full_disk(point: str) -> None:
    raise OSError(28, "No space left on device")


# -- starts


class FailsToStart(BaseAgent):
    async def on_start(self) -> None:
        await asyncio.sleep(0.2)
        raise ValueError("not today")

    async def execute_task(self, task: Task) -> None:
        return None


def test_a_start_that_fails_gives_its_place_to_who_waits(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, limits=ResourceLimit(max_concurrent_agents=1)) as runtime:
            await runtime.register_agent("first", FailsToStart)
            await runtime.register_agent("second", nothing)
            first = asyncio.create_task(runtime.start_agent("first"))
            await until(lambda: runtime.get_agent_status("first").status is AgentStatus.STARTING)
            with pytest.raises(AgentLimitError):
                await runtime.start_agent("second")
            with pytest.raises(AgentStartError):
                await first
            await until(lambda: runtime.get_agent_status("second").status is AgentStatus.RUNNING, 5)

    run(main)


class Deaf(BaseAgent):
    """Notes its process, and listens to nobody."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        Path(config["file"]).write_text(str(os.getpid()))

    async def _for_ever(self) -> None:
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                continue

    async def on_start(self) -> None:
        await self._for_ever()

    async def on_stop(self) -> None:
        await self._for_ever()

    async def execute_task(self, task: Task) -> None:
        return None


def test_a_process_that_is_deaf_while_it_starts_ends_with_its_node(tmp_path: Path, store_url: str, run: Run) -> None:
    file = tmp_path / "pid"

    async def main() -> None:
        async with running(store_url, cancel_grace_seconds=1) as runtime:
            await runtime.register_agent("a", Deaf, {"file": str(file)}, isolation="process")
            start = asyncio.create_task(runtime.start_agent("a"))
            await until(lambda: file.exists() and file.read_text())
            await until(lambda: any("on_start" in task.get_name() for task in asyncio.all_tasks()))
            await runtime.stop()
            with pytest.raises(RuntimeStoppingError):
                await start
        assert gone(int(file.read_text()))

    run(main)


class BuildsSlowly(BaseAgent):
    def __init__(self) -> None:
        super().__init__()
        until = time.monotonic() + 5
        while time.monotonic() < until:
            time.sleep(0.01)

    async def execute_task(self, task: Task) -> None:
        return None


def test_a_constructor_in_a_thread_has_bounded_time(store_url: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "READY_SECONDS", 0.3)

    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.register_agent("a", BuildsSlowly, isolation="thread")
            began = time.monotonic()
            with pytest.raises(AgentStartError, match="did not come up in time"):
                await runtime.start_agent("a")
            assert time.monotonic() - began < 3
            assert runtime.get_agent_status("a").status is AgentStatus.FAILED

    run(main)


def test_who_is_forgotten_is_not_restarted(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, limits=ResourceLimit(max_concurrent_agents=1)) as runtime:
            policy = RestartPolicy(initial_seconds=600)
            await runtime.register_agent("a", nothing, isolation="process", restart=policy)
            await runtime.register_agent("b", nothing)
            await runtime.start_agent("a")
            pid = runtime.get_agent_status("a").process_id
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: runtime._here.cells.places.due)
            with pytest.raises(AgentLimitError):
                await runtime.start_agent("b")
            await runtime.unregister_agent("a")
            await until(lambda: runtime.get_agent_status("b").status is AgentStatus.RUNNING, 5)
            assert not any("restart" in task.get_name() for task in asyncio.all_tasks())

    run(main)


def test_an_agent_whose_stop_is_refused_keeps_its_turn(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, {"a": nothing}, limits=ResourceLimit(max_concurrent_agents=1)) as runtime:
            await runtime.register_agent("b", nothing)
            with pytest.raises(AgentLimitError):
                await runtime.start_agent("b")
            database: Any = runtime.store.database  # type: ignore[attr-defined]
            database.faults = full_disk
            with pytest.raises(StoreError):
                await runtime.stop_agent("b")
            database.faults = None
            await runtime.stop_agent("a")
            await until(lambda: runtime.get_agent_status("b").status is AgentStatus.RUNNING, 5)

    run(main)


# -- pauses


class SavesSlowly(BaseAgent):
    """Its pause takes longer than its task has."""

    async def execute_task(self, task: Task) -> str:
        await self.context.shared.set("begun", True)
        await asyncio.sleep(0.4)
        return "done"

    async def on_pause(self) -> dict[str, object]:
        await asyncio.sleep(1)
        return {"n": 1}


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_a_time_out_does_not_reach_what_is_about_to_be_held(store_url: str, run: Run, isolation: Any) -> None:
    async def main() -> None:
        options = {"isolation": isolation}
        async with running(store_url, {"a": SavesSlowly}, options=options, cancel_grace_seconds=0.2) as runtime:
            task_id = await runtime.submit_task("x", timeout_seconds=0.8)
            while await runtime.shared.get("begun") is None:
                await asyncio.sleep(0.005)
            await runtime.pause_agent("a")
            await asyncio.sleep(1)
            assert runtime.get_agent_status("a").status is AgentStatus.PAUSED
            assert runtime.get_task_status(task_id).status is TaskStatus.RUNNING
            await runtime.resume_agent("a")
            assert (await runtime.wait_for_task(task_id, 10)).result() == "done"
            assert runtime.get_agent_status("a").restart_count == 0

    run(main)


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_a_cancel_during_a_pause_leaves_the_agent_paused(store_url: str, run: Run, isolation: Any) -> None:
    async def main() -> None:
        options = {"isolation": isolation}
        async with running(store_url, {"a": SavesSlowly}, options=options, cancel_grace_seconds=0.2) as runtime:
            task_id = await runtime.submit_task("x")
            while await runtime.shared.get("begun") is None:
                await asyncio.sleep(0.005)
            pause = asyncio.create_task(runtime.pause_agent("a"))
            await until(lambda: any("on_pause" in task.get_name() for task in asyncio.all_tasks()))
            assert await runtime.cancel_task(task_id)
            await pause
            await until(lambda: not {"end x", "rebuild a"} & {task.get_name() for task in asyncio.all_tasks()})
            found = runtime.get_agent_status("a")
            assert (found.status, found.restart_count) == (AgentStatus.PAUSED, 0)
            await runtime.resume_agent("a")
            assert (await runtime.wait_for_task(await runtime.submit_task("y"), 10)).result() == "done"

    run(main)


def counts(task: Task) -> None:
    """Count in a file, and never ask the context for anything."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with open(task.input_data["file"], "a") as file:
            file.write("x")
        time.sleep(0.01)


def test_a_cancel_in_a_frozen_process_leaves_the_rest_frozen(tmp_path: Path, store_url: str, run: Run) -> None:
    files = [tmp_path / "one", tmp_path / "two"]

    async def main() -> None:
        async with running(store_url, cancel_grace_seconds=0.3) as runtime:
            await runtime.register_agent("a", counts, isolation="process", max_concurrent_tasks=2)
            await runtime.start_agent("a")
            first, second = [await runtime.submit_task("x", {"file": str(file)}) for file in files]
            await until(lambda: all(file.exists() for file in files))
            await runtime.pause_agent("a", timeout_seconds=0.2)
            assert await runtime.cancel_task(first)
            await until(lambda: not any(task.get_name() == "end x" for task in asyncio.all_tasks()))
            size = files[1].stat().st_size
            await asyncio.sleep(0.3)
            assert files[1].stat().st_size == size, "it stands still again"
            assert runtime.get_agent_status("a").status is AgentStatus.PAUSED
            await runtime.resume_agent("a")
            await until(lambda: files[1].stat().st_size > size)
            await runtime.cancel_task(second)

    run(main)


def test_an_agent_that_has_just_died_cannot_be_paused(store_url: str, run: Run) -> None:
    async def slow(task: Task) -> None:
        await asyncio.sleep(600)

    async def main() -> None:
        async with running(store_url, {"a": slow}, options={"isolation": "process"}) as runtime:
            task_id = await runtime.submit_task("x")
            await until(lambda: runtime.get_task_status(task_id).status is TaskStatus.RUNNING)
            cell = runtime._here.post.cells[runtime.get_agent_status("a").agent_id]
            assert cell.handle.process_id is not None
            os.kill(cell.handle.process_id, signal.SIGKILL)
            while not cell.handle.exited.done():
                await asyncio.sleep(0)
            with pytest.raises(AgentPauseError, match="just died"):
                await runtime.pause_agent("a", timeout_seconds=2)
            await until(lambda: runtime.get_agent_status("a").restart_count == 1)
            await runtime.cancel_task(task_id)

    run(main)


# -- stops


def test_a_task_whose_end_the_store_did_not_hear_goes_back_with_its_node(store_url: str, run: Run) -> None:
    begun: list[str] = []
    stopped: list[bool] = []

    async def slow(task: Task) -> str:
        begun.append(task.task_id)
        if not stopped:
            await asyncio.sleep(600)
        return "done"

    async def main() -> None:
        runtime = AgentRuntime(store=store_url, config={"cancel_grace_seconds": 0.2})
        await runtime.start()
        await runtime.register_agent("a", slow)
        await runtime.start_agent("a")
        task_id = await runtime.submit_task("x")
        await until(lambda: begun)
        database: Any = runtime.store.database  # type: ignore[attr-defined]
        refused: list[str] = []

        def refuse_once(point: str) -> None:
            if not refused:
                refused.append(point)
                full_disk(point)

        database.faults = refuse_once  # the next write is that of the attempt's end; its second try comes too late
        await runtime.stop(timeout_seconds=0)
        assert refused
        stopped.append(True)
        async with running(store_url) as again:
            found = again.get_task_status(task_id)
            assert (found.status, found.interruptions) == (TaskStatus.PENDING, 0)
            await again.register_agent("a", slow)
            await again.start_agent("a")
            assert (await again.wait_for_task(task_id, 10)).result() == "done"

    run(main)
